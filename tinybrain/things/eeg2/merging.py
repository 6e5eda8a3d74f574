"""The sessions of THINGS-EEG2 put together: row i is image i, whose code is i + 1.

A training image is in two of the four sessions, a test image in all. Of each signal x of session s
W_s x is taken, W_s = C_s^(-1/2), C_s the session's noise covariance (`whitening.py`); the
repetitions stand in order of session, then, all together, in one random order.

Letters: n images, r repetitions in a session, k sessions of an image, h sensors, w time points,
b images at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from einops import rearrange

from ..images import ImageTable
from ..store import Whitening
from ..whitening import dewhitener, noise_covariance, whitener
from .epochs import shuffled
from .session import Part, Settings

BLOCK = 256  # epochs at a time, 32 MB


class Merge(NamedTuple):
    """One split of all sessions, still in parts."""

    parts: list[Part]  # one a session
    sessions: list[int]  # their numbers
    holder: np.ndarray  # (n, k): which of the parts hold image i
    row: np.ndarray  # (n, k): its row there
    order: np.ndarray  # (k r,): the order of the repetitions


def find_rows(
    parts: list[Part], sessions: list[int], table: ImageTable, split: str, settings: Settings
) -> Merge:
    """Find each image in the parts; ValueError if they do not hold the same number of each."""
    n, rates = len(table.paths), [part.about["rate"] for part in parts]
    if len(set(rates)) > 1:
        raise ValueError(f"{split}: sessions {sessions} are of {rates} Hz; wanted one rate")
    found: list[list[tuple[int, int]]] = [[] for _ in range(n)]
    for index, part in enumerate(parts):
        if (largest := part.images.max()) > n:
            raise ValueError(
                f"{part.about['origin']['file']}: an event of image {largest}, but there are {n} "
                f"{split} images ({table.source}); are both from the same data set?"
            )
        for row, code in enumerate(part.images.tolist()):
            found[code - 1].append((index, row))
    held = np.array([len(places) for places in found])
    if held.min() != held.max() or not held.min():
        first = int(np.argmin(held))
        raise ValueError(
            f"{split}: image {first + 1} ({table.paths[first].name}) is in {held[first]} of the "
            f"sessions {sessions}, others in {held.max()}; wanted each of the {n} images in "
            "equally many: is a session missing?"
        )
    places = np.array(found)                                                       # n k 2
    count = places.shape[1] * settings.repeats(split)
    order = shuffled(count, settings.seed) if settings.permute else np.arange(count)
    return Merge(parts, sessions, places[..., 0], places[..., 1], order)


def blocks(merge: Merge, matrices: Sequence[np.ndarray] | None) -> Iterator[np.ndarray]:
    """The split's rows (b, k r, h, w), float64, whitened if there are matrices (h, h)."""
    n, k = merge.row.shape
    r, h, w = merge.parts[0].about["shape"][1:]
    step = max(1, BLOCK // (k * r))
    for at in range(0, n, step):
        holder, row = merge.holder[at : at + step], merge.row[at : at + step]
        x = np.empty((*row.shape, r, h, w))                                       # b k r h w
        for index, part in enumerate(merge.parts):
            x[holder == index] = mapped(part.file)[row[holder == index]]
            if matrices is not None:
                x[holder == index] = matrices[index] @ x[holder == index]
        yield rearrange(x, "b k r h w -> b (k r) h w")[:, merge.order]


def mapped(file: Path, mode: Literal["r", "r+"] = "r") -> np.ndarray:
    """The array in a file, for a moment: what was touched of a map is memory until it is closed."""
    found: np.ndarray = np.load(file, mmap_mode=mode, allow_pickle=False)
    return found


# Whitening


def whiten_sessions(
    parts: dict[str, list[Part]], sessions: list[int], settings: Settings
) -> list[Whitening]:
    """The matrix of each session and its inverse, or none."""
    if settings.mvnn == "none":
        return []
    splits = ("train",) if settings.noise_from == "train" else ("test", "train")
    found = []
    for index, session in enumerate(sessions):
        each = [_covariance(parts[split][index].file, settings.mvnn) for split in splits]
        noise = np.mean(each, axis=0)                                             # h h
        try:
            matrices = [root(noise, settings.sensors) for root in (whitener, dewhitener)]
        except ValueError as error:
            file = parts["train"][index].about["origin"]["file"]
            raise ValueError(f"{file}: {error}") from None
        found.append(Whitening(session, *matrices))
    return found


def _covariance(file: Path, over: str) -> np.ndarray:
    """The noise covariance (h, h) of a part (n, r, h, w): the mean over its images."""
    n, r, h, _ = mapped(file).shape
    total, step = np.zeros((h, h)), max(1, 4 * BLOCK // r)
    for at in range(0, n, step):
        x = mapped(file)[at : at + step]
        total += len(x) * noise_covariance(x, over)
    mean: np.ndarray = total / n
    return mean
