"""What a recording is, THINGS-EEG2 or THINGS-MEG: signals in memory, each row with its image.

A reader finds the files and says what is in them (`Content`); here they are read, averaged over
repetitions if asked, checked, and described in one line. No file is loaded whole: what is not
wanted as it is (float32, single repetitions) is read block by block.
Letters: n images, r repetitions, h sensors, w time points.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ..messages import first_few
from .images import ImageTable

BLOCK = 8_000_000  # bytes read at a time


class Lazy(Protocol):
    """Signals (n, r, h, w) of which a part is read when four slices ask for it."""

    shape: tuple[int, int, int, int]
    dtype: np.dtype
    outer: int  # the axis that is outermost in the file: 0 (images) or 3 (time points)

    def __getitem__(self, at: tuple[slice, ...]) -> np.ndarray: ...


@dataclass(frozen=True)
class Content:
    """One split of one subject as it is on disk.

    Attributes
    ----------
    file : Path
        The file or folder that messages name.
    data : (n, r, h, w), a memory map or `Lazy`
    sensors : tuple of str, (h,)
    times : float64, (w,)
        Seconds from image onset.
    producer : str
        Who writes such files, and in what container, in words.
    note : str
        What was left out or cut, in words, for the summary.
    unit : str, optional
        Told by the scale where the file does not say it: tiny values are volts or tesla.
    normalised : str
        What the unit is called if the scale says that values are about 1.
    images : ImageTable, optional
        Where the file itself names the image of each row.
    """

    file: Path
    data: np.ndarray | Lazy
    sensors: tuple[str, ...]
    times: NDArray[np.float64]
    producer: str
    note: str = ""
    unit: str | None = None
    normalised: str = "a.u."
    images: ImageTable | None = None


class Recording:
    """Signals of one subject and split, and what their axes mean; see `EEG2` and `MEG`.

    Parameters
    ----------
    content : what a reader found on disk.
    table : the image of each row.
    split : "train" or "test", for the summary.
    repeats : "mean" averages the repetitions of each image, "single" keeps them.

    Attributes
    ----------
    signals : float32, (n, h, w), or (n, r, h, w) for single repetitions
    images : tuple of Path, (n,)
    concepts : tuple of str, (n,)
    sensors : tuple of str, (h,)
    times : float64, (w,)
        Seconds from image onset.
    repeats : int
        Repetitions of each image in the file.
    kind : "eeg" or "meg"
    unit : str
        As the file says or, where it does not, by scale.
    summary : str
        One line that says what was recognised.

    Raises
    ------
    ValueError
        NaN or infinite values; the file and the rows are named.

    Examples
    --------
    >>> import tempfile
    >>> from tinybrain.things import EEG2, make_demo
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     small = {"train_concepts": 2, "test_concepts": 3, "points": 10, "image_size": 8}
    ...     eeg = EEG2(make_demo(f"{folder}/demo", **small), subject=1, split="test")
    >>> eeg.signals.shape, eeg.repeats, eeg.sensors[-1], float(eeg.times[-1])
    ((3, 32, 10), 80, 'O2', 0.18)
    >>> eeg.images[0].parent.name == eeg.concepts[0]
    True
    """

    kind: str
    data_set: str  # its name, for the summary
    signals: NDArray[np.float32]
    images: tuple[Path, ...]
    concepts: tuple[str, ...]
    repeats: int
    sensors: tuple[str, ...]
    times: NDArray[np.float64]
    unit: str
    summary: str

    def __init__(self, content: Content, table: ImageTable, split: str, repeats: str):
        n, r, h, w = content.data.shape
        self.images, self.concepts, self.repeats = table.paths, table.concepts, r
        self.sensors, self.times = content.sensors, content.times
        read = read_signals(content.data, average=repeats == "mean")
        check_values(content.file, read, table.paths, self.sensors)
        self.signals = read.signals
        self.unit = content.unit or unit_of(read.rms, content.normalised)
        self.summary = (
            f"{self.data_set} {split}, {content.file} ({content.producer}): {n} images, "
            f"{'mean of ' if repeats == 'mean' and r > 1 else ''}{r} repetition{'s' * (r > 1)}, "
            f"{h} sensors {self.sensors[0]} to {self.sensors[-1]}, {w} points "
            f"{span(self.times)}{content.note}, unit {self.unit}; images: {table.source}"
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.summary}>"


def check_request(split: str, repeats: str) -> None:
    """Refuse what a reader cannot give, before it opens anything."""
    if split not in ("train", "test") or repeats not in ("mean", "single"):
        raise ValueError(
            f"split {split!r}, repeats {repeats!r}; wanted split 'train' or 'test' and "
            "repeats 'mean' or 'single'"
        )


# What a file says of its axes


def time_axis(file: Path, times: object, w: int) -> tuple[NDArray[np.float64], str]:
    """Times (w,) in seconds, and what was cut from them, in words."""
    try:
        axis = np.array(times, np.float64)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{file}: times are not numbers") from None
    if axis.ndim != 1 or len(axis) < w or not np.isfinite(axis).all():
        raise ValueError(f"{file}: times of shape {axis.shape}; wanted one for each of {w} points")
    cut = f" (the last {w} of {len(axis)} times)" if len(axis) > w else ""
    axis = axis[-w:]
    if np.abs(axis).max() > 20:
        raise ValueError(f"{file}: times reach {axis[-1]:g}; wanted seconds, not ms or samples")
    steps = np.diff(axis)
    if w > 1 and not (steps.min() > 0 and np.ptp(steps) <= 0.01 * steps.mean()):
        raise ValueError(f"{file}: times do not increase evenly; wanted seconds from image onset")
    return axis, cut


def sensor_names(
    file: Path, names: object, h: int, known: Sequence[Sequence[str]] = ()
) -> tuple[str, ...]:
    """The names in the file once they are h different ones; without names those `known` for h."""
    if names is None:
        usual = next((tuple(order) for order in known if len(order) == h), None)
        what = "the usual order of" if usual else "E1, E2, ... for"
        warnings.warn(f"{file}: no ch_names; taking {what} {h} sensors", stacklevel=4)
        return usual or tuple(f"E{number}" for number in range(1, h + 1))
    names = np.ravel(names).tolist() if isinstance(names, np.ndarray) else names
    if not isinstance(names, (list, tuple)) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{file}: ch_names is not a list of names")
    if len(names) != h:
        raise ValueError(f"{file}: {len(names)} ch_names for {h} sensors")
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"{file}: ch_names has {first_few(twice)} more than once")
    return tuple(str(name) for name in names)


# Reading the signals


class SignalsRead(NamedTuple):
    """Signals in memory and what was seen of them in the same pass."""

    signals: NDArray[np.float32]  # (n, h, w) or (n, r, h, w)
    broken: NDArray[np.bool_]  # (n,): rows with a NaN or an infinite value
    silent: NDArray[np.bool_]  # (h,): sensors that are zero throughout
    rms: float


def read_signals(
    data: np.ndarray | Lazy, average: bool, out: NDArray[np.float32] | None = None
) -> SignalsRead:
    """Signals (n, r, h, w) in float32, repetitions averaged or not, in one pass over a file.

    Memory beyond the result is a few blocks of 8 MB; a memory map that holds just what is wanted is
    checked, and is the result itself.

    Parameters
    ----------
    data : (n, r, h, w)
    average : the mean over repetitions, (n, h, w), or all of them.
    out : float32, of the result's shape
        Is filled, and is the result.

    Examples
    --------
    >>> read = read_signals(np.ones((5, 4, 63, 250)), average=True)
    >>> read.signals.shape, read.signals.dtype.name, read.rms, int(read.broken.sum())
    ((5, 63, 250), 'float32', 1.0, 0)
    """
    n, r, h, w = data.shape
    precise = np.result_type(data.dtype, np.float32)  # half precision would round the mean
    there = _as_it_is(data, average) if out is None else None
    signals = there if out is None else out
    if signals is None:
        signals = np.empty((n, h, w) if average else (n, r, h, w), np.float32)
    broken, sounding, squares = np.zeros(n, bool), np.zeros(h, bool), 0.0
    for at in _blocks(data):
        to = (at[0], at[2], at[3]) if average else at
        with np.errstate(all="ignore"):  # a NaN or an overflow is found below and named
            if there is None:
                signals[to] = data[at].mean(axis=1, dtype=precise) if average else data[at]
            part = signals[to].reshape(signals[to].shape[0], -1, h, signals[to].shape[-1])
            broken[at[0]] |= ~np.isfinite(part).all(axis=(1, 2, 3))
            sounding |= part.any(axis=(0, 1, 3))
            squares += float(np.square(part).sum(dtype=np.float64))
    return SignalsRead(signals, broken, ~sounding, (squares / signals.size) ** 0.5)


def _as_it_is(data: np.ndarray | Lazy, average: bool) -> NDArray[np.float32] | None:
    """A view of a file that holds just what is wanted, or None."""
    if not isinstance(data, np.ndarray) or data.dtype != np.float32:
        return None
    if average and data.shape[1] > 1:
        return None
    return data[:, 0] if average else data


def _blocks(data: np.ndarray | Lazy) -> Iterator[tuple[slice, ...]]:
    """Pieces of (n, r, h, w) along the axis that is outermost in the file."""
    if isinstance(data, np.ndarray):
        outer = max((0, 3), key=lambda axis: (data.shape[axis] > 1) * abs(data.strides[axis]))
    else:
        outer = data.outer
    size = math.prod(data.shape) * data.dtype.itemsize
    step = max(1, BLOCK * data.shape[outer] // size)
    for start in range(0, data.shape[outer], step):
        at = [slice(None)] * 4
        at[outer] = slice(start, start + step)
        yield tuple(at)


def check_values(
    file: Path, read: SignalsRead, images: Sequence[Path], sensors: Sequence[str]
) -> None:
    """Refuse values that are no numbers; warn of sensors that never say anything."""
    if rows := np.flatnonzero(read.broken).tolist():
        first = first_few([f"{row} ({images[row].name})" for row in rows])
        raise ValueError(
            f"{file}: NaN or infinite values in {len(rows)} of {len(images)} rows, the first "
            f"{first}; wanted finite signals: repair the file or leave these images out of it"
        )
    if read.silent.any():
        zero = [name for name, silent in zip(sensors, read.silent) if silent]
        warnings.warn(f"{file}: zero throughout: {', '.join(zero)}", stacklevel=4)


# Saying what it is


def unit_of(rms: float, normalised: str) -> str:
    """Tesla are about 1e-13, volts 1e-5; what is about 1 was divided by its noise."""
    if 0 < rms < 1e-8:
        return "T"
    if 0 < rms < 1e-3:
        return "V"
    return normalised if 0.01 < rms < 10 else "a.u."


def span(times: np.ndarray) -> str:
    """First and last time and the rate, in words."""
    ends = f"{times[0]:.3f} to {times[-1]:.3f} s"
    if len(times) == 1:
        return ends
    return f"{ends} at {(len(times) - 1) / (times[-1] - times[0]):g} Hz"
