"""Generated signals: the array and what its axes mean, in memory and in a folder.

    signals.npy     (n, k, h, w) float32
    signals.json    format, version, shape, sensors, times, kind, unit; of `generation` also more

Letters: n images, k trials, h sensors, w time points.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from einops import rearrange

from .files import write_atomically, write_text

FORMAT, VERSION = "tinybrain signals", 1
ARRAY, ABOUT = "signals.npy", "signals.json"
WANTED = {  # of signals.json: what a key must hold, and how to say so
    "shape": (lambda v: _is_list(v, int) and len(v) == 4 and min(v) > 0, "four lengths"),
    "sensors": (lambda v: _is_list(v, str), "names"),
    "times": (lambda v: _is_list(v, (int, float)) and bool(np.isfinite(v).all()), "seconds"),
    "kind": (lambda v: v in ("eeg", "meg"), "'eeg' or 'meg'"),
    "unit": (lambda v: isinstance(v, str), "a string"),
}


@dataclass(frozen=True)
class BrainSignals:
    """Generated signals.

    Attributes
    ----------
    data : (n, k, h, w) float32 array, in `unit`
    sensors : h names
    times : (w,) float64 array, seconds from image onset
    kind : "eeg" or "meg"
    unit : as the training recording's
    """

    data: np.ndarray
    sensors: tuple[str, ...]
    times: np.ndarray
    kind: str
    unit: str

    def to_mne(self):
        """The trials as an `mne.EpochsArray` (n * k), in their own unit; event ids are images.

        Raises
        ------
        ImportError
            If mne is not installed.
        """
        try:
            import mne
        except ImportError as error:
            raise ImportError(
                "to_mne needs MNE-Python: pip install 'tinybrain-ddpm[mne]'"
            ) from error
        rate = (len(self.times) - 1) / (self.times[-1] - self.times[0])
        info = mne.create_info(list(self.sensors), rate, "mag" if self.kind == "meg" else self.kind)
        trials = rearrange(self.data, "n k h w -> (n k) h w")
        index = np.arange(len(trials))
        events = np.stack([index, 0 * index, index // self.data.shape[1]], axis=1)
        return mne.EpochsArray(
            trials.astype(np.float64), info, events, tmin=float(self.times[0]), verbose="error"
        )

    def save(self, folder: str | Path) -> Path:
        """Write signals.npy and signals.json into a folder, in the place of older ones.

        Raises
        ------
        OSError
            The folder cannot be written or the disk is full.
        """
        folder = Path(folder)
        about = axes(self.data.shape, self.sensors, self.times, self.kind, self.unit)
        (folder / ABOUT).unlink(missing_ok=True)  # never beside an array it does not describe
        data = np.asarray(self.data, dtype=np.float32)
        write_atomically(folder / ARRAY, lambda file: np.save(file, data))
        write_about(folder / ABOUT, about)
        return folder

    @classmethod
    def load(cls, folder: str | Path) -> BrainSignals:
        """What `save` or `examples/generate.py` wrote; `data` is a read-only memory map.

        Raises
        ------
        FileNotFoundError
            No signals.json there: nothing was generated, or not to its end.
        ValueError
            A file is damaged, of another make or of a later version, or the two disagree.
        """
        folder = Path(folder)
        about = read_about(folder / ABOUT)
        if about is None:
            raise FileNotFoundError(
                f"{folder / ABOUT} does not exist; wanted a folder that `BrainSignals.save` or a "
                "finished examples/generate.py wrote"
            )
        data = _map(folder / ARRAY, tuple(about["shape"]))
        times = np.array(about["times"], dtype=np.float64)
        return cls(data, tuple(about["sensors"]), times, about["kind"], about["unit"])


# -------------------------------------------------------------------------------------------------
# The folder's files


def axes(shape, sensors, times, kind: str, unit: str) -> dict[str, Any]:
    """The part of signals.json that every array (n, k, h, w) needs."""
    return {
        "format": FORMAT, "version": VERSION, "shape": list(shape), "sensors": list(sensors),
        "times": [float(time) for time in times], "kind": kind, "unit": unit,
    }  # fmt: skip


def write_about(path: Path, about: dict[str, Any]) -> Path:
    return write_text(path, json.dumps(about, indent=1, ensure_ascii=False) + "\n")


def read_about(path: Path) -> dict[str, Any] | None:
    """The content of a signals.json, checked; None if there is no such file."""
    if not path.is_file():
        return None
    try:
        about = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged, or no JSON: {error}") from None
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        raise ValueError(f"{path} is another kind of thing; wanted the format {FORMAT!r}")
    version = about.get("version")
    if type(version) is not int or not 1 <= version <= VERSION:
        raise ValueError(
            f"{path}: version {version!r}, this tinybrain reads up to {VERSION}; update tinybrain"
        )
    for key, (holds, what) in WANTED.items():
        if not holds(about.get(key)):
            raise ValueError(f"{path}: {key} is {str(about.get(key))[:60]!r}; wanted {what}")
    if about["shape"][2:] != [len(about["sensors"]), len(about["times"])]:
        raise ValueError(
            f"{path}: shape {about['shape']}, but {len(about['sensors'])} sensors and "
            f"{len(about['times'])} times"
        )
    return about


def _is_list(value: Any, of: type | tuple[type, ...]) -> bool:
    return isinstance(value, list) and all(
        isinstance(item, of) and not isinstance(item, bool) for item in value
    )


def _map(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """The array (n, k, h, w), a read-only memory map."""
    try:
        data = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # numpy's parser of headers raises many kinds
        raise ValueError(f"{path} is missing, damaged or no plain array: {error}") from None
    if data.shape != shape or data.dtype != np.float32:
        raise ValueError(
            f"{path} is {data.dtype} of shape {data.shape}, {ABOUT} says float32 of {shape}; "
            "one of the two files is another run's"
        )
    return data
