"""A recording as this project keeps it: one folder a subject, EEG or MEG, ready to be mapped.

    signals_train.npy, signals_test.npy   float32 (n, r, h, w), written by numpy's rules
    recording.json                        what the axes mean, how it was made; written last

Whitened signals are W x, x in volts, W (h, h) of each session (multivariate noise normalisation).
The card keeps W and its inverse, so that x comes back: per session for single repetitions
(`unwhiten`), by the mean inverse for averages and generated signals (`Card.unwhitening`).

Letters: n images, r repetitions, h sensors, w time points.

Examples
--------
Two images of which each was seen once, by one sensor, for three points of time:

>>> import tempfile
>>> split = Split(images=("a/a_01b.jpg", "b/b_01b.jpg"), concepts=("a", "b"))
>>> with tempfile.TemporaryDirectory() as folder:
...     with new_signals(folder, "test", (2, 1, 1, 3)) as signals:
...         signals[:] = 1e-6
...     _ = write_card(folder, kind="eeg", subject=1, sensors=["Oz"], times=[0, 0.1, 0.2],
...                    unit="V", source="the example", splits={"test": split})
...     card = read_card(folder)
...     content = card.content("test")
>>> card.sensors, card.splits["test"].concepts, content.data.shape
(('Oz',), ('a', 'b'), (2, 1, 1, 3))
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..files import reserve, write_text
from .store_card import (
    CARD,
    FORMAT,
    MAX_CARD,
    VERSION,
    Card,
    Split,
    Whitening,
    map_signals,
    place,
    read_json,
    understand,
)

__all__ = [
    "Card",
    "Split",
    "Whitening",
    "is_store",
    "new_signals",
    "read_card",
    "unwhiten",
    "write_card",
]


# Writing


@contextmanager
def new_signals(
    folder: str | Path, split: str, shape: tuple[int, int, int, int]
) -> Iterator[np.memmap]:
    """A float32 memory map (n, r, h, w) to fill; when the block ends it is the split's file.

    After an error nothing of it stays behind. A card that is there describes older signals; it is
    removed when these take their place.

    Parameters
    ----------
    folder : the recording's, made if missing.
    split : "train" or "test"
    shape : (n, r, h, w)

    Raises
    ------
    OSError
        The folder cannot be written, or the disk has no room for this shape.
    """
    path = place(Path(folder), split)
    part = path.with_name(path.name + ".part")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        signals = np.lib.format.open_memmap(part, "w+", np.float32, shape=tuple(map(int, shape)))
        try:
            reserve(part)
        except OSError as error:
            raise OSError(error.errno, "no room for these signals", str(path)) from None
        yield signals
        signals.flush()
        with open(part, "r+b") as file:
            os.fsync(file.fileno())
        (path.parent / CARD).unlink(missing_ok=True)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def write_card(
    folder: str | Path,
    *,
    kind: str,
    subject: int,
    sensors: Sequence[str],
    times: Sequence[float] | np.ndarray,
    unit: str,
    source: object,
    splits: Mapping[str, Split],
    whitening: Sequence[Whitening] = (),
) -> Path:
    """Write recording.json; the signals of every split must be there.

    Parameters
    ----------
    folder : the recording's.
    kind : "eeg" or "meg"
    subject : a number from 1.
    sensors, times : h names; w seconds from image onset.
    unit : of the signals, such as "V" or "whitened".
    source : anything that says how the signals were made, and that JSON can hold.
    splits : `Split` by "train" and "test".
    whitening : one `Whitening` a session.

    Returns
    -------
    The card's path.

    Raises
    ------
    FileNotFoundError
        The signals of a split are missing.
    ValueError, TypeError
        What is said does not agree with the signals, or JSON cannot hold it.
    """
    folder = Path(folder)
    content = {
        "format": FORMAT,
        "version": VERSION,
        "kind": kind,
        "subject": subject,
        "sensors": list(sensors),
        "times": np.asarray(times, np.float64).tolist(),
        "unit": unit,
        "source": source,
        "whitening": [
            {"session": int(each.session)}
            | {key: np.asarray(getattr(each, key)).tolist() for key in ("matrix", "inverse")}
            for each in whitening
        ],
        "splits": {name: _described(folder, name, split) for name, split in splits.items()},
    }
    text = json.dumps(content, ensure_ascii=False, allow_nan=False)
    understand(folder, json.loads(text))  # what is written can be read
    return write_text(folder / CARD, text)


def _described(folder: Path, name: str, split: Split) -> dict[str, Any]:
    return {
        "file": place(folder, name).name,
        "shape": list(map_signals(folder, name).shape),
        "images": list(split.images),
        "concepts": list(split.concepts),
        "sessions": None if split.sessions is None else np.asarray(split.sessions).tolist(),
    }


# Reading


def is_store(folder: str | Path) -> bool:
    """Whether a complete recording lies there: its card is written last."""
    return (Path(folder) / CARD).is_file()


def read_card(folder: str | Path) -> Card:
    """Read and check recording.json and the headers of the signals.

    Parameters
    ----------
    folder : the recording's, such as ``stores/sub-01``.

    Returns
    -------
    Card

    Raises
    ------
    FileNotFoundError
        There is no card, or signals are missing.
    ValueError
        Damaged, hostile, of another kind, or card and signals disagree. The file is named.

    Examples
    --------
    See the example at the top of this module, and without a recording:

    >>> read_card("nothing")
    Traceback (most recent call last):
    FileNotFoundError: nothing...recording.json: there is no such file; wanted a folder ...
    """
    file = Path(folder) / CARD
    if not file.is_file():
        raise FileNotFoundError(f"{file}: there is no such file; wanted a folder with a recording")
    return understand(Path(folder), read_json(file, MAX_CARD))


def unwhiten(
    signals: np.ndarray, card: Card, split: str, rows: slice = slice(None)
) -> NDArray[np.float64]:
    """Undo the whitening of single repetitions, each by the inverse of its own session.

    Parameters
    ----------
    signals : (n, r, h, w), the rows `rows` of the split.
    card, split : of the recording, "train" or "test".
    rows : which rows these are, so that a long recording can be treated in parts.

    Returns
    -------
    (n, r, h, w) float64, in volts or tesla.

    Raises
    ------
    ValueError
        The recording was not whitened, its sessions are not known, or the shape is another.

    Examples
    --------
    One image, seen in two sessions, whose noise was of 2 and of 4 microvolts:

    >>> rows = Split(("a/a_01b.jpg",), ("a",), sessions=np.array([[1, 2]]))
    >>> w = [Whitening(1, np.eye(1) / 2e-6, 2e-6 * np.eye(1)),
    ...      Whitening(2, np.eye(1) / 4e-6, 4e-6 * np.eye(1))]
    >>> splits = {"test": rows}
    >>> card = Card(Path("sub-01"), "eeg", 1, ("Oz",), np.zeros(1), "whitened", "", splits, w)
    >>> unwhiten(np.ones((1, 2, 1, 1)), card, "test").ravel()
    array([2.e-06, 4.e-06])
    """
    file, sessions = card.folder / CARD, card.splits[split].sessions
    if not card.whitening or sessions is None:
        raise ValueError(f"{file}: it does not say how each signal of {split} was whitened")
    sessions, inverse = sessions[rows], {each.session: each.inverse for each in card.whitening}
    if signals.ndim != 4 or signals.shape[:3] != (*sessions.shape, len(card.sensors)):
        wanted = f"({len(sessions)}, {sessions.shape[1]}, {len(card.sensors)}, time points)"
        raise ValueError(f"signals of shape {signals.shape}; {file} wants {wanted} for these rows")
    out = np.empty(signals.shape)  # (n, r, h, w)
    for session in np.unique(sessions).tolist():
        which = sessions == session  # (n, r)
        out[which] = inverse[session] @ signals[which]
    return out
