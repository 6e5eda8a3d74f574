"""One session of THINGS-EEG2 from raw recording to epochs on disk, in bounded memory.

Events, epochs of -0.2 to 1 s, baseline, resampling to 250 Hz, and the cut to 0 to 0.996 s, for the
chosen repetitions only, a block of epochs at a time. What is kept on disk is not yet whitened:

    ses-01_train.npy    float64 (n, r, h, w), in volts; images in order of their code
    ses-01_train.json   what it was made of and by which settings, written last

so that a run that was stopped goes on with the next part, and never takes one that was made
otherwise. Letters: n images, r repetitions, h sensors, w time points, e epochs.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from ...files import write_atomically, write_text
from ..resampling import resample
from ..sensors import THINGS_EEG2_63
from .epochs import choose, cut, find_events, subtract_baseline, within
from .raw import Raw, read_raw

TARGET = 99999  # the code of catch trials
BLOCK = 64  # epochs at a time: 39 MB before resampling
SAMPLES = 500_000  # of the row of codes at a time, 256 MB of the file if it is spread over it
# Repetitions are counted for each partition; these do not touch the epochs.
LATER = ("mvnn", "noise_from", "permute", "train_repeats", "test_repeats")


@dataclass(frozen=True)
class Settings:
    """How raw THINGS-EEG2 becomes an array; the defaults are NICE's, which the paper follows.

    Attributes
    ----------
    rate : Hz, of the result.
    tmin, tmax : seconds from onset, ends of the epochs; the baseline is tmin to 0, ends included.
    start, stop : seconds from onset, first and last time point that is kept, before whitening.
    sensors : their names, in the order of the result.
    aligned : put the first output sample at tmin exactly. MNE's resampling, which everybody uses
        and which is the default, gives the signal 1 ms after each nominal time.
    train_repeats, test_repeats : of each image and session, chosen at random.
    seed : of that choice, and of the order of repetitions.
    mvnn : "epochs", "time" or "none": over what the noise covariance is taken, see `whitening.py`.
    noise_from : "train", or "both" for the mean of training and test, as Gifford et al. do.
    permute : put the repetitions of all sessions in random order.
    """

    rate: float = 250.0
    tmin: float = -0.2
    tmax: float = 1.0
    start: float = 0.0
    stop: float = 0.996
    sensors: tuple[str, ...] = THINGS_EEG2_63
    aligned: bool = False
    train_repeats: int = 2
    test_repeats: int = 20
    seed: int = 20200220
    mvnn: str = "epochs"
    noise_from: str = "train"
    permute: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "sensors", tuple(self.sensors))  # JSON has lists
        if self.mvnn not in ("epochs", "time", "none") or self.noise_from not in ("train", "both"):
            raise ValueError(
                f"mvnn {self.mvnn!r}, noise_from {self.noise_from!r}; wanted mvnn 'epochs', "
                "'time' or 'none', and noise from 'train' or 'both'"
            )
        if not (self.tmin < 0 < self.tmax and self.tmin <= self.start <= self.stop <= self.tmax):
            raise ValueError(
                f"epochs {self.tmin} to {self.tmax} s, kept {self.start} to {self.stop} s; wanted "
                "epochs around onset, 0 s, and what is kept inside them"
            )
        if min(self.train_repeats, self.test_repeats) < 1 or not self.rate > 0:
            raise ValueError(f"{self.train_repeats} and {self.test_repeats} repetitions at "
                             f"{self.rate} Hz; wanted at least one, at a rate above 0")  # fmt: skip
        if not self.sensors or len(set(self.sensors)) != len(self.sensors):
            raise ValueError("sensors: wanted different names, at least one")

    def repeats(self, split: str) -> int:
        return self.train_repeats if split == "train" else self.test_repeats


PAPER = Settings()


class Part(NamedTuple):
    """One partition of one session, on disk."""

    file: Path  # float64 (n, r, h, w)
    images: np.ndarray  # (n,), their codes
    about: dict[str, Any]  # content of the JSON beside it


class Axis(NamedTuple):
    """The samples of an epoch and what becomes of them."""

    first: int  # samples from onset
    last: int
    times: np.ndarray  # seconds, all points after resampling
    kept: slice  # of `times`


def time_axis(settings: Settings, rate: float) -> Axis:
    """Which samples at `rate` make an epoch, and its time points after resampling."""
    if settings.rate > rate:
        raise ValueError(f"recorded at {rate:g} Hz; wanted at least {settings.rate:g} Hz")
    first, last = round(settings.tmin * rate), round(settings.tmax * rate)
    points = max(1, round(settings.rate / rate * (last - first + 1)))
    times = first / rate + np.arange(points) / settings.rate
    near = 1e-6  # seconds; times are sums of fractions
    at = np.flatnonzero((times >= settings.start - near) & (times <= settings.stop + near))
    if not len(at):
        raise ValueError(
            f"no time point from {settings.start} to {settings.stop} s at {settings.rate} Hz"
        )
    return Axis(first, last, times, slice(int(at[0]), int(at[-1]) + 1))


def make_part(raw_file: Path, split: str, settings: Settings, place: Path) -> tuple[Part, bool]:
    """One partition of one session: as it is on disk if it fits, else made.

    Parameters
    ----------
    raw_file : raw_eeg_training.npy or raw_eeg_test.npy.
    split : "train" or "test"
    settings : Settings
    place : where, without ending.

    Returns
    -------
    part : Part
    made : False if it was there already.

    Raises
    ------
    ValueError
        The file is not a raw recording, or an image has too few repetitions in it.
    """
    stat = raw_file.stat()
    origin = {
        "file": str(raw_file.absolute()),
        "bytes": stat.st_size,
        "mtime_ns": stat.st_mtime_ns,
        "split": split,
        "repeats": settings.repeats(split),
        "settings": {key: value for key, value in asdict(settings).items() if key not in LATER},
    }
    origin = json.loads(json.dumps(origin))  # as it comes back
    if (part := read_part(place)) is not None and part.about.get("origin") == origin:
        return part, False
    place.with_suffix(".json").unlink(missing_ok=True)  # it would describe another array
    raw = read_raw(raw_file)
    try:
        onsets, images, counts = _select(raw, split, settings)
    except ValueError as error:
        raise ValueError(f"{raw_file}: {error}") from None
    shape = _write(raw, onsets, settings, place.with_suffix(".npy"))
    text = json.dumps({"origin": origin, "shape": shape, "rate": raw.rate,
                       "images": images.tolist(), "counts": counts})  # fmt: skip
    write_text(place.with_suffix(".json"), text)
    return Part(place.with_suffix(".npy"), images, json.loads(text)), True


def read_part(place: Path) -> Part | None:
    """A part that was finished, or None."""
    card, file = place.with_suffix(".json"), place.with_suffix(".npy")
    if not (card.is_file() and file.is_file()):
        return None
    try:
        about = json.loads(card.read_bytes())
        shape = np.load(file, mmap_mode="r", allow_pickle=False).shape
        whole = list(shape) == about["shape"] and shape[0] == len(about["images"])
        return Part(file, np.array(about["images"]), about) if whole else None
    except (ValueError, KeyError, TypeError, EOFError):  # damaged: it is made again
        return None


def _select(
    raw: Raw, split: str, settings: Settings
) -> tuple[np.ndarray, np.ndarray, dict[str, int]]:
    """Onsets (n, r) of the chosen epochs, the codes (n,) of their images, and what was left out."""
    axis = time_axis(settings, raw.rate)
    onsets, codes = find_events(_codes(raw))
    target = codes == TARGET
    whole = within(onsets, axis.first, axis.last, raw.data.shape[1])
    used = ~target & whole
    if not used.any():
        raise ValueError(f"{len(codes)} events, none of an image; is the row of codes empty?")
    images, chosen = choose(codes[used], settings.repeats(split), settings.seed)
    counts = {
        "events": len(codes),
        "targets": int(target.sum()),
        "beyond_the_ends": int((~whole & ~target).sum()),
        "images": len(images),
        "epochs": chosen.size,
        "not_chosen": int(used.sum()) - chosen.size,
    }
    return onsets[used][chosen], images, counts


def _codes(raw: Raw) -> np.ndarray:
    """The row of codes; in Fortran's order it is spread over the whole file."""
    starts = range(0, raw.data.shape[1], SAMPLES)
    # Mapped anew: what was touched of a map counts as memory until it is closed.
    parts = [read_raw(raw.file).data[raw.stim, at : at + SAMPLES].copy() for at in starts]
    return np.concatenate(parts)


def _write(raw: Raw, onsets: np.ndarray, settings: Settings, path: Path) -> tuple[int, ...]:
    """Write the epochs at these onsets (n, r), in order of time, each at its place in the file."""
    axis = time_axis(settings, raw.rate)
    shape = (*onsets.shape, len(settings.sensors), axis.kept.stop - axis.kept.start)

    def write(file: BinaryIO) -> None:
        header = {"descr": "<f8", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        start, size = file.tell(), 8 * math.prod(shape[2:])
        for rows, epochs in _epochs(raw.file, onsets.ravel(), settings, axis):
            for row, epoch in zip(rows.tolist(), epochs):
                file.seek(start + row * size)
                file.write(epoch.tobytes())

    write_atomically(path, write)
    return shape


def _epochs(
    file: Path, onsets: np.ndarray, settings: Settings, axis: Axis
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Epochs (e, h, w) in order of time, a block at a time, and where each is in `onsets` (e,)."""
    order = np.argsort(onsets, kind="stable")
    for at in range(0, len(order), BLOCK):
        rows = order[at : at + BLOCK]
        raw = read_raw(file)  # anew: what was read of a map counts as memory until it is closed
        x = cut(raw.data, raw.rows(settings.sensors), onsets[rows], axis.first, axis.last)
        if not np.isfinite(x).all():
            bad = onsets[rows][~np.isfinite(x).all(axis=(1, 2))][0]
            raise ValueError(f"{file}: NaN or infinite values around sample {bad}; repair the file")
        subtract_baseline(x, 1 - axis.first)
        yield rows, resample(x, raw.rate, settings.rate, aligned=settings.aligned)[..., axis.kept]
