"""The source files of THINGS-EEG2, BrainVision and behaviour, made into raw_eeg_*.npy.

    source_data/sub-01/ses-01/eeg/sub-01_ses-01_task-train_part-01_eeg.vhdr, .eeg, .vmrk
    source_data/sub-01/ses-01/beh/sub-01_ses-01_task-train_part-01_beh.mat         (parts 1 to 5)

A marker is one byte and cannot hold the number of an image. It tells when; what was shown stands in
the behaviour file, trial by trial: data.images(i).tot_img_number, 0 for a target. The marker is 255
for a target, the number itself in the test, and its first two digits in the training, which shows
whether the two files run in step. The parts are joined end to end. MNE reads the signals.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..images import visible
from ..pickle_stream import write_dict
from ..preparing import Report, silent
from .raw import SESSION, subject_folders, subject_number
from .session import TARGET

if TYPE_CHECKING:
    from mne.io import BaseRaw

NAME = re.compile(
    r"sub-\d+_ses-\d+_task-(train|test)(?:_part-0*(\d+))?_(eeg\.vhdr|beh\.mat)", re.IGNORECASE
)
STIMULUS = re.compile(r"Stimulus/\D*(\d+)")
RAW_NAME = {"train": "raw_eeg_training.npy", "test": "raw_eeg_test.npy"}
TARGET_MARKER = 255
BLOCK = 20_000  # samples at a time: 10 MB


class Events(NamedTuple):
    """When and what, in one part."""

    onsets: np.ndarray  # (e,) samples
    codes: np.ndarray  # (e,) numbers of images, TARGET for targets


def convert(
    source: str | Path,
    out: str | Path,
    subject: int | str,
    *,
    check_markers: bool = True,
    report: Report = silent,
) -> Path:
    """Write ``out/sub-01/ses-XX/raw_eeg_{training,test}.npy`` from a subject's source files.

    They are as the published ones, dicts in np.save's container with float64 in volts, but for the
    memory order (Fortran's), which lets them be written and read a moment at a time.

    Parameters
    ----------
    source : str or Path
        The project, its source_data, or a subject's folder.
    out : str or Path
        The folder of raw data. Files that are there already stay as they are.
    subject : int or str
        ``1``, ``"01"`` or ``"sub-01"``.
    check_markers : bool
        Refuse markers that do not agree with the numbers of the images.
    report : function of a line of text, optional
        Is told of each file how many parts and events it has.

    Returns
    -------
    Path
        The subject's raw data, ``out/sub-01``.

    Raises
    ------
    ImportError
        MNE is not installed.
    FileNotFoundError
        No source files of this subject, or a part without its .vhdr or its .mat.
    ValueError
        Damaged files; parts with different sensors; markers and trials that do not agree.
    """
    _mne()
    number = subject_number(subject)
    folder = Path(out) / f"sub-{number:02d}"
    for (session, split), parts in _find(Path(source), number).items():
        path = folder / f"ses-{session:02d}" / RAW_NAME[split]
        if path.exists():
            report(f"{path}: there already")
            continue
        events = _write(path, parts, split, check_markers)
        report(f"{path}: {len(parts)} parts, {events} events")
    return folder


def _mne() -> ModuleType:
    try:
        import mne
    except ImportError:
        raise ImportError(
            "BrainVision files are read by MNE: pip install 'tinybrain-ddpm[mne]'"
        ) from None
    module: ModuleType = mne
    return module


def _find(source: Path, number: int) -> dict[tuple[int, str], list[tuple[Path, Path]]]:
    """(.vhdr, .mat) of every part in order, by session and split."""
    found: dict[tuple[int, str], dict[int, dict[str, Path]]] = {}
    for folder in (folder for owner, folder in subject_folders(source) if owner == number):
        for session in visible(folder):
            if not (match := SESSION.fullmatch(session.name)):
                continue
            for path in sorted(session.rglob("*")):
                if name := NAME.fullmatch(path.name):
                    parts = found.setdefault((int(match[1]), name[1].lower()), {})
                    part = parts.setdefault(int(name[2] or 1), {})
                    part[name[3].lower()] = path
    if not found:
        raise FileNotFoundError(
            f"{source}: no source files of subject {number}; wanted, in "
            f"source_data/sub-{number:02d}/ses-01, sub-{number:02d}_ses-01_task-train_part-01_eeg"
            ".vhdr with its .eeg and .vmrk, and ..._beh.mat"
        )
    return {key: _pairs(parts) for key, parts in sorted(found.items())}


def _pairs(parts: dict[int, dict[str, Path]]) -> list[tuple[Path, Path]]:
    for part in parts.values():
        if len(part) < 2:
            there = next(iter(part.values()))
            wanted = "beh.mat, with the images shown" if there.suffix == ".vhdr" else "eeg.vhdr"
            raise FileNotFoundError(f"{there}: without its partner ..._{wanted}")
    if missing := sorted(set(range(1, max(parts) + 1)) - set(parts)):
        there = parts[min(parts)]["eeg.vhdr"].parent
        raise FileNotFoundError(f"{there}: part {missing[0]} of {max(parts)} is missing")
    return [(parts[part]["eeg.vhdr"], parts[part]["beh.mat"]) for part in sorted(parts)]


def _write(path: Path, parts: list[tuple[Path, Path]], split: str, check_markers: bool) -> int:
    """Write one raw file; the number of its events."""
    opened = [_open(header) for header, _ in parts]
    first = opened[0]
    for raw, (header, _) in zip(opened, parts):
        if raw.ch_names != first.ch_names or raw.info["sfreq"] != first.info["sfreq"]:
            raise ValueError(f"{header}: other sensors or another rate than {parts[0][0]}")
    events = [_events(raw, *pair, split, check_markers) for raw, pair in zip(opened, parts)]
    others = {
        "ch_names": [*first.ch_names, "stim"],
        "ch_types": ["eeg"] * len(first.ch_names) + ["stim"],
        "sfreq": float(first.info["sfreq"]),
        "highpass": float(first.info["highpass"]),
        "lowpass": float(first.info["lowpass"]),
    }
    shape = (len(first.ch_names) + 1, sum(raw.n_times for raw in opened))
    blocks = _blocks(opened, events)
    write_dict(path, "raw_eeg_data", shape, blocks, others, order="F", container="npy")
    return sum(len(part.onsets) for part in events)


def _open(header: Path) -> BaseRaw:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of settings in the header that do not matter here
            return _mne().io.read_raw_brainvision(header, preload=False, verbose="error")
    except Exception as error:  # MNE's and configparser's own kinds
        raise ValueError(f"{header}: MNE cannot read it: {str(error)[:200]}") from error


def _blocks(opened: list[BaseRaw], events: list[Events]) -> Iterator[np.ndarray]:
    """Signals and codes (64, samples), volts, a moment at a time."""
    for raw, (onsets, codes) in zip(opened, events):
        stim = np.zeros(raw.n_times)
        stim[onsets] = codes
        for at in range(0, raw.n_times, BLOCK):
            signals = raw.get_data(start=at, stop=min(at + BLOCK, raw.n_times))
            yield np.concatenate([signals, stim[None, at : at + BLOCK]])


def _events(
    raw: BaseRaw, header: Path, behaviour: Path, split: str, check_markers: bool
) -> Events:
    """Onsets from the markers, codes from the behaviour."""
    onsets, markers = _markers(raw)
    numbers = _numbers(behaviour)
    if len(onsets) != len(numbers):
        raise ValueError(
            f"{header}: {len(onsets)} stimulus markers, but {behaviour.name} has {len(numbers)} "
            "trials; wanted one marker a trial"
        )
    expected = np.array([_marker(number, split) for number in numbers.tolist()])
    if check_markers and (wrong := np.flatnonzero(markers != expected)).size:
        at = wrong[0]
        raise ValueError(
            f"{header}: {len(wrong)} of {len(markers)} markers do not fit {behaviour.name}, first "
            f"trial {at + 1}: marker {markers[at]}, image {numbers[at]}, whose marker is "
            f"{expected[at]}; are they of the same part? check_markers=False (--ignore-markers) "
            "takes them as they are"
        )
    return Events(onsets, np.where(numbers == 0, TARGET, numbers))


def _markers(raw: BaseRaw) -> tuple[np.ndarray, np.ndarray]:
    """Samples and values of the stimulus markers; "New Segment", the first of all, is none."""

    def value(description: str) -> int | None:
        match = STIMULUS.fullmatch(description)
        return int(match[1]) if match else None

    if not any(value(description) for description in raw.annotations.description):
        return np.zeros(0, int), np.zeros(0, int)
    events, _ = _mne().events_from_annotations(raw, event_id=value, verbose="error")
    return events[:, 0] - raw.first_samp, events[:, 2]


def _marker(number: int, split: str) -> int:
    """The byte that was sent when an image was shown."""
    if number == 0:
        return TARGET_MARKER
    return number if split == "test" else int(str(number)[:2])


def _numbers(behaviour: Path) -> np.ndarray:
    """The number of the image of each trial (e,), 0 for targets."""
    from scipy.io import loadmat

    try:
        data = loadmat(behaviour, simplify_cells=True)["data"]
        images = data["images"]
        images = images if isinstance(images, (list, np.ndarray)) else [images]
        numbers = np.array([image["tot_img_number"] for image in images])
    except Exception as error:  # scipy's reader raises many kinds
        raise ValueError(
            f"{behaviour}: wanted MATLAB's data.images(i).tot_img_number; came {str(error)[:100]!r}"
        ) from error
    if numbers.ndim != 1 or numbers.dtype.kind not in "iuf" or (numbers < 0).any():
        raise ValueError(f"{behaviour}: tot_img_number are no numbers of images, from 0")
    return numbers.astype(np.int64)
