"""Generated signals for MNE-Python: epochs, with sensor types, places and units.

MNE's axes are those of `things.sensors` (x through the right ear, y through the nasion, z up), so
that directions need only a radius. Of MEG channels MNE wants an orientation too: a coil's z axis,
its last column, points outward.

Letters: n images, k trials, h sensors, w time points.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np
from einops import rearrange

from .messages import first_few
from .things.sensors import positions

if TYPE_CHECKING:
    from mne import EpochsArray, Info

    from .signals import BrainSignals

HEAD, HELMET = 0.095, 0.121  # metres: MNE's sphere of a head, and the best one of a CTF helmet
SI = {"V": 1.0, "mV": 1e-3, "µV": 1e-6, "μV": 1e-6, "uV": 1e-6,  # micro sign, Greek mu, ASCII
      "T": 1.0, "pT": 1e-12, "fT": 1e-15}


def bids_name(subject: int | str, task: str = "things", description: str = "generated") -> str:
    """The name of a file of one subject's epochs, as BIDS puts names together and MNE wants them.

    Derivatives are named by entities, a key and a label of letters and digits each; the ending
    tells MNE that epochs are in it (Gorgolewski et al. 2016; bids-specification.readthedocs.io).

    Parameters
    ----------
    subject : number, or label with or without "sub-"
    task, description : labels

    Raises
    ------
    ValueError : a label of anything but letters and digits.

    Examples
    --------
    >>> from tinybrain.signal_mne import bids_name
    >>> bids_name(1)
    'sub-01_task-things_desc-generated_epo.fif'
    >>> bids_name("sub-02", description="mean")
    'sub-02_task-things_desc-mean_epo.fif'
    """
    number = f"{subject:02d}" if isinstance(subject, int) else subject.removeprefix("sub-")
    labels = {"sub": number, "task": task, "desc": description}
    for entity, label in labels.items():
        if not (label.isascii() and label.isalnum()):
            raise ValueError(f"{entity}-{label}: BIDS wants a label of letters and digits")
    return "_".join(f"{entity}-{label}" for entity, label in labels.items()) + "_epo.fif"


def to_epochs(signals: BrainSignals) -> EpochsArray:
    """`BrainSignals.to_mne`."""
    try:
        import mne
    except ImportError as error:
        raise ImportError("to_mne needs MNE-Python: pip install 'tinybrain-ddpm[mne]'") from error
    rate = _rate(signals.times)
    meg, factor = signals.kind == "meg", SI.get(signals.unit)
    info = mne.create_info(list(signals.sensors), rate, "mag" if meg else "eeg")
    (_place_coils if meg else _place_electrodes)(info, _places(signals.sensors))
    if factor is None:
        called = "tesla" if meg else "volts"
        info["description"] = f"tinybrain: values are in {signals.unit!r}, not in {called}"
    trials = rearrange(np.asarray(signals.data, np.float64), "n k h w -> (n k) h w")
    index = np.arange(len(trials))
    events = np.stack([index, 0 * index, index // signals.data.shape[1]], axis=1)
    trials = trials if factor is None else factor * trials
    return mne.EpochsArray(
        trials, info, events, tmin=float(signals.times[0]), event_id=_event_id(signals.images),
        verbose="error",
    )


def _event_id(images: tuple[str, ...]) -> dict[str, int] | None:
    """The number of each image by its name; None where names will not do, as `to_mne` tells."""
    # A FIF file has events divided by semicolons, and MNE writes with those what Latin-1 lacks.
    text = "".join(images)
    held = ";" not in text and text == text.encode("latin-1", "ignore").decode("latin-1")
    if not images or not held or len(set(images)) < len(images):
        return None
    return {name: number for number, name in enumerate(images)}


def _rate(times: np.ndarray) -> float:
    """Samples a second, if it is one number."""
    steps = np.diff(times)
    if not len(steps) or np.ptp(steps) > 1e-3 * steps.mean() or steps.mean() <= 0:
        raise ValueError(
            f"{len(times)} time points without a common step have no sampling rate; MNE wants two "
            "or more, evenly spaced"
        )
    return float((len(times) - 1) / (times[-1] - times[0]))


def _places(sensors: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Directions of the sensors whose place is known; a warning names the others."""
    found = {}
    for name in sensors:
        try:
            found[name] = positions([name])[0]
        except ValueError:
            continue
    if unknown := [name for name in sensors if name not in found]:
        warnings.warn(
            f"no place is known for {first_few(unknown)}: in MNE they have none either, set one "
            "with Epochs.set_montage", stacklevel=4,
        )  # fmt: skip
    return found


def _place_electrodes(info: Info, places: dict[str, np.ndarray]) -> None:
    import mne

    montage = mne.channels.make_dig_montage(
        {name: HEAD * place for name, place in places.items()}, coord_frame="head",
        nasion=(0, HEAD, 0), lpa=(-HEAD, 0, 0), rpa=(HEAD, 0, 0),
    )
    info.set_montage(montage, on_missing="ignore", verbose="error")


def _place_coils(info: Info, places: dict[str, np.ndarray]) -> None:
    """Places and orientations, in head coordinates: the helmet does not move on this head."""
    from mne.io.constants import FIFF
    from mne.transforms import Transform

    info["dev_head_t"] = Transform("meg", "head", np.eye(4))
    for channel in info["chs"]:
        channel["coil_type"] = FIFF.FIFFV_COIL_CTF_GRAD
        out = places.get(channel["ch_name"])
        if out is None:
            channel["loc"][:] = np.nan
            continue
        # Any two axes across complete a frame; those furthest from `out` are never parallel to it.
        across = np.cross(out, np.eye(3)[np.abs(out).argmin()])
        across /= np.linalg.norm(across)
        channel["loc"][:] = np.concatenate([HELMET * out, across, np.cross(out, across), out])
