"""The card of a recording in this project's own form (`store.py`), and how much of it to believe.

recording.json may come from anywhere and may be damaged: sizes, types, names and matrices are
checked before anything is made of them, and the signals that it speaks of are looked at.

Letters: n images, r repetitions, h sensors, w time points.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from . import pickles
from .images import ImageTable, named_images
from .recording import Content, sensor_names, time_axis

FORMAT, VERSION = "tinybrain recording", 1
CARD = "recording.json"
SPLITS = ("train", "test")
MAX_CARD = 128 << 20  # bytes; 12 sessions of 271 sensors take 40 MB, most of it matrices
MAX_NAME = 300  # letters


@dataclass(frozen=True)
class Split:
    """The rows of one split: images as folder/file and concepts, (n,); sessions, (n, r)."""

    images: tuple[str, ...]
    concepts: tuple[str, ...]
    sessions: NDArray[np.int64] | None = None


@dataclass(frozen=True)
class Whitening:
    """The matrix (h, h) that whitened a session, and its inverse."""

    session: int
    matrix: np.ndarray
    inverse: np.ndarray


@dataclass(frozen=True, repr=False)
class Card:
    """What recording.json says, checked; `store.read_card` gives it.

    Attributes
    ----------
    folder : Path
        Where the recording lies.
    kind : "eeg" or "meg"
    subject : int
    sensors : tuple of str, (h,)
    times : float64, (w,)
        Seconds from image onset.
    unit : str
    source : how the signals were made, as whoever made them said.
    splits : `Split` by "train" and "test"
    whitening : one `Whitening` a session, in its order; none if the signals were not whitened
    """

    folder: Path
    kind: str
    subject: int
    sensors: tuple[str, ...]
    times: NDArray[np.float64]
    unit: str
    source: object
    splits: Mapping[str, Split]
    whitening: tuple[Whitening, ...] = ()

    def __repr__(self) -> str:
        """One line, in place of every image's name and every matrix."""
        rows = ", ".join(f"{len(split.images)} {name}" for name, split in self.splits.items())
        return (
            f"<Card {self.kind}, subject {self.subject}: {rows or 'no'} images x "
            f"{len(self.sensors)} sensors x {len(self.times)} points {self.times[0]:.3f} to "
            f"{self.times[-1]:.3f} s, {self.unit}; {self.folder}>"
        )

    def content(
        self,
        split: str,
        root: str | Path | None = None,
        look_up: Callable[..., ImageTable] = named_images,
    ) -> Content:
        """One split, its signals mapped and not yet read.

        Parameters
        ----------
        split : "train" or "test"
        root : a folder in or above which the images lie; the store's own by default.
        look_up : finds them, `look_up(root, split, names, told_by)`: see `named_images`.

        Returns
        -------
        Content

        Raises
        ------
        FileNotFoundError
            The card has no such split, or some images of it are missing.
        ValueError
            The signals are damaged, or other than the card says.
        """
        if split not in self.splits:
            raise FileNotFoundError(
                f"{self.folder / CARD}: no {split} split; there are {', '.join(self.splits)}"
            )
        rows = self.splits[split]
        names = [name.rpartition("/")[::2] for name in rows.images]
        table = look_up(root or self.folder, split, names, self.folder / CARD)
        signals = map_signals(self.folder, split)
        shape = (len(rows.images), signals.shape[1], len(self.sensors), len(self.times))
        if signals.shape != shape:
            raise _other_shape(self.folder, split, signals.shape, shape)
        return Content(
            self.folder,
            signals,
            self.sensors,
            self.times,
            producer="tinybrain's own store",
            unit=self.unit,
            images=replace(table, concepts=rows.concepts),
        )

    def unwhitening(self) -> NDArray[np.float64]:
        """The mean over sessions of the inverses (h, h): for averages and generated signals.

        Returns
        -------
        (h, h), from the unit of the signals to volts or tesla.

        Raises
        ------
        ValueError
            The recording was not whitened.

        Examples
        --------
        >>> w = (Whitening(1, np.eye(2), np.eye(2)), Whitening(2, np.eye(2) / 3, 3 * np.eye(2)))
        >>> Card(Path("sub-01"), "eeg", 1, ("O1", "O2"), np.zeros(5), "V", "", {}, w).unwhitening()
        array([[2., 0.],
               [0., 2.]])
        """
        if not self.whitening:
            raise ValueError(f"{self.folder / CARD}: no whitening is kept; its unit is {self.unit}")
        mean: NDArray[np.float64] = np.mean([each.inverse for each in self.whitening], axis=0)
        return mean


def read_json(file: Path, most: int) -> dict[str, Any]:
    """The object in a JSON file of at most `most` bytes; ValueError with the file's name."""
    if (size := file.stat().st_size) > most:
        raise ValueError(f"{file}: {size} bytes; wanted at most {most}")
    try:
        content = json.loads(file.read_bytes().decode(), parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file}: damaged, or no JSON: {str(error)[:100]}") from None
    if isinstance(content, dict):
        return content
    raise ValueError(f"{file}: it holds a {type(content).__name__}; wanted names and values")


def _no_number(name: str) -> None:
    raise ValueError(f"{name} stands for no number")


def understand(folder: Path, content: dict[str, Any]) -> Card:
    """The card, once everything in it is what it should be."""
    file = folder / CARD
    if content.get("format") != FORMAT:
        raise ValueError(f"{file}: another kind of thing; wanted the card of a {FORMAT!r}")
    if content.get("version") != VERSION:
        came = repr(content.get("version"))[:20]
        raise ValueError(f"{file}: version {came}; this tinybrain reads {VERSION}: update it")
    kind, subject, unit = (content.get(key) for key in ("kind", "subject", "unit"))
    if kind not in ("eeg", "meg") or type(subject) is not int or not 0 < subject < 10_000:
        raise ValueError(f"{file}: kind {str(kind)[:20]!r} of subject {str(subject)[:20]}; wanted "
                         "'eeg' or 'meg', and a number from 1")  # fmt: skip
    if not _is_name(unit):
        raise ValueError(f"{file}: the unit is no word")
    times, sensors = _list(content.get("times")), _list(content.get("sensors"))
    count, h = len(times), len(sensors)
    if not count or not h or not all(map(_is_name, sensors)):
        raise ValueError(f"{file}: it lacks a list of times, or of names of sensors")
    return Card(
        folder=folder,
        kind=kind,
        subject=subject,
        sensors=sensor_names(file, sensors, h),
        times=time_axis(file, times, count)[0],
        unit=unit,
        source=content.get("source"),
        whitening=(whitening := _whitening(file, content.get("whitening"), h)),
        splits=_splits(folder, content.get("splits"), (h, count), whitening),
    )


def _splits(
    folder: Path, given: object, shape: tuple[int, int], whitening: Sequence[Whitening]
) -> dict[str, Split]:
    """The splits by name, in the order train, test."""
    file = folder / CARD
    if not isinstance(given, dict) or not given or not set(given) <= set(SPLITS):
        raise ValueError(f"{file}: wanted splits called {' and '.join(SPLITS)}")
    splits = {}
    for name in (name for name in SPLITS if name in given):
        entry = given[name] if isinstance(given[name], dict) else {}
        if entry.get("file") != place(folder, name).name:
            raise ValueError(f"{file}: the signals of {name} should be {place(folder, name).name}")
        came = map_signals(folder, name).shape
        if entry.get("shape") != list(came) or came[2:] != shape:
            raise _other_shape(folder, name, came, entry.get("shape"))
        images, concepts = (
            _names(file, name, entry, key, came[0]) for key in ("images", "concepts")
        )
        sessions = _numbers(file, f"sessions of {name}", entry.get("sessions"), came[:2])
        known = [each.session for each in whitening]
        if whitening and sessions is not None and not np.isin(sessions, known).all():
            raise ValueError(f"{file}: sessions of {name} that have no whitening; known: {known}")
        splits[name] = Split(images, concepts, sessions)
    return splits


def _list(given: object) -> list[Any]:
    return given if isinstance(given, list) else []


def _is_name(name: object) -> TypeGuard[str]:
    return isinstance(name, str) and 0 < len(name) <= MAX_NAME and name.isprintable()


def _names(file: Path, split: str, entry: dict[str, Any], key: str, n: int) -> tuple[str, ...]:
    """n names; those of images are folders and a file below the image set."""
    names = entry.get(key)
    if not isinstance(names, list) or len(names) != n or not all(map(_is_name, names)):
        raise ValueError(f"{file}: {key} of {split}: wanted {n} names, one for each row of signals")
    for name in names:
        if "\\" in name or any(part in ("", ".", "..") for part in name.split("/")):
            raise ValueError(f"{file}: {key} of {split}: {name[:80]!r} is no name below a folder")
    return tuple(names)


def _numbers(
    file: Path, what: str, given: object, shape: tuple[int, ...]
) -> NDArray[np.int64] | None:
    """Whole numbers (n, r), or None where they are not known."""
    if given is None:
        return None
    rows: list[Any] = _list(given) if len(_list(given)) == shape[0] else [None]
    for row in rows:
        whole = isinstance(row, list) and len(row) == shape[1]
        if not whole or not all(type(x) is int and 0 <= x < 10_000 for x in row):
            raise ValueError(f"{file}: {what}: wanted {shape[0]} x {shape[1]} numbers from 0")
    return np.array(rows, np.int64)


def _whitening(file: Path, given: object, h: int) -> tuple[Whitening, ...]:
    entries = given if isinstance(given, list) else [None]
    found = []
    for entry in entries:
        if not isinstance(entry, dict) or type(entry.get("session")) is not int:
            raise ValueError(f"{file}: whitening: wanted a list of sessions with their matrices")
        matrix, inverse = (_matrix(file, entry.get(key), h) for key in ("matrix", "inverse"))
        with np.errstate(all="ignore"):
            if not np.allclose(matrix @ inverse, np.eye(h), atol=1e-3):
                raise ValueError(f"{file}: whitening: an inverse that does not undo its matrix")
        found.append(Whitening(entry["session"], matrix, inverse))
    if len({each.session for each in found}) != len(found):
        raise ValueError(f"{file}: whitening: a session stands there twice")
    return tuple(found)


def _matrix(file: Path, given: object, h: int) -> NDArray[np.float64]:
    try:
        matrix = np.array(given, np.float64)
    except (TypeError, ValueError, OverflowError):
        matrix = np.empty(0)
    if matrix.shape != (h, h) or not np.isfinite(matrix).all():
        raise ValueError(f"{file}: whitening: wanted matrices of {h} x {h} finite numbers")
    return matrix


def place(folder: Path, split: str) -> Path:
    """The file of a split's signals."""
    if split not in SPLITS:
        raise ValueError(f"split {split!r}; wanted one of {', '.join(SPLITS)}")
    return folder / f"signals_{split}.npy"


def map_signals(folder: Path, split: str) -> NDArray[np.float32]:
    """The memory map (n, r, h, w), private: writing to it does not change the file."""
    path = place(folder, split)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: missing; make this recording again")
    header = np.asarray(pickles.read(path))  # a dict has no axes
    good = header.dtype == "<f4" and header.ndim == 4 and header.flags.c_contiguous
    if not good or 0 in header.shape:
        came = f"{header.dtype} of shape {header.shape}"
        raise ValueError(f"{path}: {came}; wanted float32 (images, repetitions, sensors, times)")
    start = path.stat().st_size - header.nbytes
    return np.memmap(path, np.float32, "c", start, header.shape)


def _other_shape(
    folder: Path, split: str, came: tuple[int, ...], wanted: object
) -> ValueError:
    return ValueError(
        f"{place(folder, split)}: signals of shape {came}; {CARD} speaks of {str(wanted)[:80]}, "
        "and of its sensors and times: they do not belong together; make this recording again"
    )
