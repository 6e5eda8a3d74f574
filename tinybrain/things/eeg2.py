"""THINGS-EEG2: one subject's responses to 16,540 training and 200 test images (Section 4.1).

On disk, for each subject and split, a dict in one of two containers (see `pickles.py`):

    preprocessed_eeg_data   (n, r, h, w): n images, r repetitions, h sensors, w points
    ch_names                h names
    times                   w times in s; in NICE's files 300, of which the last 250 hold

    OSF (Gifford et al. 2022)    17 x 100, -0.2 to 0.79 s at 100 Hz
    NICE (Song et al. 2024)      63 x 250,  0 to 0.996 s at 250 Hz; what the paper uses

Images followed each other every 200 ms, so that a signal of 1 s also holds the response to the
next four. No file is loaded whole: repetitions are averaged block by block from a memory map.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from . import pickles
from .images import image_table, visible
from .sensors import THINGS_EEG2_63

KEYS = ("preprocessed_eeg_data", "ch_names", "times")
FILE = {
    "train": re.compile(r"preprocessed_eeg_train(ing)?\.npy", re.IGNORECASE),
    "test": re.compile(r"preprocessed_eeg_test\.npy", re.IGNORECASE),
}
SUBJECT = re.compile(r"(?:sub-?)?0*(\d+)", re.IGNORECASE)
OTHERS = (
    (re.compile(r"(train|test)\.pt", re.IGNORECASE), "UBP's torch files"),
    (re.compile(r"(train|test)\.npy", re.IGNORECASE), "NeuroBridge's arrays"),
    (re.compile(r".*\.h(df)?5", re.IGNORECASE), "HDF5 files as BERG's"),
    (re.compile(r"ses-\d+.*", re.IGNORECASE), "sessions, as raw data and ZEISS's files have"),
)
OSF_17 = ("Pz", "P3", "P7", "O1", "Oz", "O2", "P4", "P8",
          "P1", "P5", "PO7", "PO3", "POz", "PO4", "PO8", "P6", "P2")  # fmt: skip
PRODUCERS = {
    (17, 100): ("OSF", "the preprocessed files on OSF, component anp5v"),
    (63, 250): ("NICE", "Preprocessed_data_250Hz, which NICE-EEG's scripts make of the raw data"),
}
BLOCK = 8_000_000  # bytes read at a time


class EEG2:
    """One subject and split of THINGS-EEG2.

    Parameters
    ----------
    root : str or Path
        The THINGS-EEG2 folder. Signals may lie in it, in ``*/sub-XX`` or in
        ``eeg_dataset/preprocessed_data/sub-XX``; images in ``Image_set``; in any capitals.
    subject : int or str
        ``1``, ``"01"`` or ``"sub-01"``.
    split : "train" or "test"
    repeats : "mean" or "single"
        Average the repetitions of each image, or keep them. Training images were shown 4 times
        and test images 80 times, so that averages of the two differ in noise.
    shape : (h, w), optional
        Sensors and time points that the caller needs, to be told at once if the files have others.

    Attributes
    ----------
    signals : float32, (n, h, w), or (n, r, h, w) for single repetitions
    images : tuple of Path, (n,)
    concepts : tuple of str, (n,)
        Folder names such as ``"00001_aardvark"``.
    sensors : tuple of str, (h,)
    times : float64, (w,)
        Seconds from image onset.
    repeats : int
        Repetitions of each image in the file.
    kind : "eeg"
    unit : str
        ``"whitened"`` (multivariate noise normalisation), ``"V"`` or ``"a.u."``, by scale.
    summary : str
        One line that says what was recognised.

    Raises
    ------
    FileNotFoundError
        No such subject or split, no images and no table of them, images missing.
    ValueError
        Files of another kind, damaged, ambiguous or hostile; NaN or infinite values; another
        shape than asked; images that do not match. Messages name the file.
    """

    kind = "eeg"

    def __init__(
        self,
        root: str | Path,
        subject: int | str,
        split: str,
        *,
        repeats: str = "mean",
        shape: tuple[int, int] | None = None,
    ):
        if split not in FILE or repeats not in ("mean", "single"):
            raise ValueError(
                f"split {split!r}, repeats {repeats!r}; wanted split 'train' or 'test' and "
                "repeats 'mean' or 'single'"
            )
        file = find_file(root, subject, split)
        data, names, times = _fields(file, shape)
        n, r, h, w = data.shape
        self.times, cut = _time_axis(file, times, w)
        self.sensors = _sensor_names(file, names, h)
        table = image_table(root, split, n)
        self.images, self.concepts, self.repeats = table.paths, table.concepts, r
        read = read_signals(data, average=repeats == "mean")
        _check_values(file, read, table.paths, self.sensors)
        self.signals, self.unit = read.signals, _unit(read.rms, (h, w))
        self.summary = (
            f"THINGS-EEG2 {split}, {file} ({_producer(file, (h, w))}): {n} images, "
            f"{'mean of ' if repeats == 'mean' else ''}{r} repetition{'s' * (r > 1)}, "
            f"{h} sensors {self.sensors[0]} to {self.sensors[-1]}, {w} points "
            f"{_span(self.times)}{cut}, unit {self.unit}; images: {table.source}"
        )

    def __repr__(self) -> str:
        return f"<EEG2 {self.summary}>"


# Finding the file


def find_file(root: str | Path, subject: int | str, split: str) -> Path:
    """The subject's file of this split, or an error that lists what is there."""
    root, number = Path(root), SUBJECT.fullmatch(str(subject))
    if number is None:
        raise ValueError(f"subject {subject!r}; wanted a number such as 1, or 'sub-01'")
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: there is no such folder; wanted a THINGS-EEG2 folder")
    inside = [(n, path) for n, folder in _subject_folders(root) for path in visible(folder)]
    files = [(n, path) for n, path in inside if FILE[split].fullmatch(path.name)]
    found = [path for n, path in files if n == int(number[1])]
    if len(found) == 1:
        return found[0]
    if found:
        raise ValueError(
            f"{root}: {len(found)} {split} files of subject {subject}: "
            f"{', '.join(map(str, found))}; pass the folder that holds the one you mean"
        )
    there = ", ".join(str(path) for _, path in files) or "none"
    names = [path.name for n, path in inside if n == int(number[1])]
    other = next((what for name, what in OTHERS if any(map(name.fullmatch, names))), None)
    raise FileNotFoundError(
        f"{root}: no preprocessed_eeg_{'training' if split == 'train' else split}.npy of subject "
        f"{subject}, in it or in a folder such as Preprocessed_data_250Hz/sub-01; {split} files "
        f"there: {there}"
        + (f". Of this subject there are {other}, which are not read yet" if other else "")
    )


def _subject_folders(root: Path) -> list[tuple[int, Path]]:
    """(number, folder) of every subject at the places where THINGS folders have them."""
    parts = visible(root)
    deeper = [part for part in parts if part.name.lower() == "eeg_dataset"]
    holders = [root, *parts, *(inner for part in deeper for inner in visible(part))]
    folders = [root.absolute(), *(path for holder in holders for path in visible(holder))]
    return [
        (int(SUBJECT.fullmatch(folder.name)[1]), folder)
        for folder in folders
        if folder.name.lower().startswith("sub") and SUBJECT.fullmatch(folder.name)
    ]


# What the file says


def _fields(file: Path, shape: tuple[int, int] | None) -> tuple[np.ndarray, object, object]:
    """Signals (n, r, h, w), sensor names and times as they are in the file."""
    content = pickles.read(file)
    if type(content) is not dict:
        came = f"a bare array of shape {content.shape}, as NeuroBridge, ZEISS and BrainAE write"
        raise ValueError(f"{file}: {came}; wanted a dict with {', '.join(KEYS)}")
    if missing := [key for key in KEYS if key not in content and key != "ch_names"]:
        came = ", ".join(repr(key[:40]) for key in list(content)[:10])
        raise ValueError(f"{file}: its keys are {came}; wanted {' and '.join(missing)} as well")
    data = np.asarray(content["preprocessed_eeg_data"])
    if data.ndim == 3:
        data = data[:, None]  # (n, 1, h, w)
    if data.ndim != 4 or data.dtype.kind not in "fiu" or 0 in data.shape:
        raise ValueError(
            f"{file}: preprocessed_eeg_data is {data.dtype} of shape {data.shape}; "
            "wanted numbers (images, repetitions, sensors, time points)"
        )
    if shape is not None and data.shape[2:] != tuple(shape):
        came, wanted = data.shape[2:], tuple(shape)
        raise ValueError(
            f"{file}: {came[0]} sensors x {came[1]} points came{_says(came)}; "
            f"wanted {wanted[0]} x {wanted[1]}{_says(wanted)}"
        )
    return data, content.get("ch_names"), content["times"]


def _says(shape: tuple[int, int]) -> str:
    return f" ({': '.join(PRODUCERS[shape])})" if shape in PRODUCERS else ""


def _time_axis(file: Path, times, w: int) -> tuple[np.ndarray, str]:
    """Times (w,) in seconds, and what was cut from them, in words."""
    try:
        axis = np.array(times, np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{file}: times are not numbers") from None
    if axis.ndim != 1 or len(axis) < w or not np.isfinite(axis).all():
        raise ValueError(f"{file}: times of shape {axis.shape}; wanted one for each of {w} points")
    cut = f" (the last {w} of {len(axis)} times)" if len(axis) > w else ""
    axis, steps = axis[-w:], np.diff(axis[-w:])
    if w > 1 and not (steps.min() > 0 and np.ptp(steps) <= 0.01 * steps.mean()):
        raise ValueError(f"{file}: times do not increase evenly; wanted seconds from image onset")
    if np.abs(axis).max() > 20:
        raise ValueError(f"{file}: times reach {axis[-1]:g}; wanted seconds, not ms or samples")
    return axis, cut


def _sensor_names(file: Path, names, h: int) -> tuple[str, ...]:
    if names is None:
        known = {63: THINGS_EEG2_63, 17: OSF_17}.get(h)
        what = "THINGS-EEG2's order of" if known else "E1, E2, ... for"
        warnings.warn(f"{file}: no ch_names; taking {what} {h} sensors", stacklevel=3)
        return known or tuple(f"E{number}" for number in range(1, h + 1))
    names = np.ravel(names).tolist() if isinstance(names, np.ndarray) else names
    if not isinstance(names, (list, tuple)) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{file}: ch_names is not a list of names")
    if len(names) != h:
        raise ValueError(f"{file}: {len(names)} ch_names for {h} sensors")
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"{file}: ch_names has {', '.join(twice[:10])} more than once")
    return tuple(str(name) for name in names)


# Reading the signals


class SignalsRead(NamedTuple):
    """Signals in memory and what was seen of them in the same pass."""

    signals: np.ndarray  # float32 (n, h, w) or (n, r, h, w)
    broken: np.ndarray  # bool (n,): rows with a NaN or an infinite value
    silent: np.ndarray  # bool (h,): sensors that are zero throughout
    rms: float


def read_signals(data: np.ndarray, average: bool) -> SignalsRead:
    """Signals (n, r, h, w) in float32, repetitions averaged or not, in one pass over a file.

    Memory beyond the result is a few blocks of 8 MB.
    """
    n, _, h, w = data.shape
    precise = np.result_type(data.dtype, np.float32)  # half precision would round the mean
    signals = np.empty((n, h, w) if average else data.shape, np.float32)
    broken, sounding, squares = np.zeros(n, bool), np.zeros(h, bool), 0.0
    for at in _blocks(data):
        to = (at[0], at[2], at[3]) if average else at
        with np.errstate(all="ignore"):  # a NaN or an overflow is found below and named
            signals[to] = data[at].mean(axis=1, dtype=precise) if average else data[at]
            part = signals[to].reshape(signals[to].shape[0], -1, h, signals[to].shape[-1])
            broken[at[0]] |= ~np.isfinite(part).all(axis=(1, 2, 3))
            sounding |= part.any(axis=(0, 1, 3))
            squares += float(np.square(part).sum(dtype=np.float64))
    return SignalsRead(signals, broken, ~sounding, (squares / signals.size) ** 0.5)


def _blocks(data: np.ndarray) -> Iterator[tuple[slice, ...]]:
    """Pieces of (n, r, h, w) along the axis that is outermost in the file."""
    outer = max((0, 3), key=lambda axis: (data.shape[axis] > 1) * abs(data.strides[axis]))
    step = max(1, BLOCK * data.shape[outer] // data.nbytes)
    for start in range(0, data.shape[outer], step):
        at = [slice(None)] * 4
        at[outer] = slice(start, start + step)
        yield tuple(at)


def _check_values(file: Path, read: SignalsRead, images: tuple, sensors: tuple) -> None:
    if rows := np.flatnonzero(read.broken).tolist():
        first = ", ".join(f"{row} ({images[row].name})" for row in rows[:5])
        raise ValueError(
            f"{file}: NaN or infinite values in {len(rows)} of {len(images)} rows, the first "
            f"{first}; wanted finite signals: repair the file or leave these images out of it"
        )
    if read.silent.any():
        zero = [name for name, silent in zip(sensors, read.silent) if silent]
        warnings.warn(f"{file}: zero throughout: {', '.join(zero)}", stacklevel=3)


# Saying what it is


def _unit(rms: float, shape: tuple[int, int]) -> str:
    """Volts are about 1e-5; signals whitened by multivariate noise normalisation are about 1."""
    if 0 < rms < 1e-3:
        return "V"
    return "whitened" if shape in PRODUCERS and 0.01 < rms < 10 else "a.u."


def _producer(file: Path, shape: tuple[int, int]) -> str:
    form = "bare pickle" if pickles.container(file) == "pickle" else "np.save"
    return f"{PRODUCERS[shape][0]}, {form}" if shape in PRODUCERS else form


def _span(times: np.ndarray) -> str:
    ends = f"{times[0]:.3f} to {times[-1]:.3f} s"
    if len(times) == 1:
        return ends
    return f"{ends} at {(len(times) - 1) / (times[-1] - times[0]):g} Hz"
