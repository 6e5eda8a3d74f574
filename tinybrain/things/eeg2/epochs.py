"""From a continuous recording to epochs: events, baseline, and which repetitions are kept.

An event is a sample at which the row of codes changes to a code above zero; an epoch is what was
recorded around it, minus the mean of its baseline, sensor by sensor. Of the repetitions of an image
in a session k are kept at random: those that `sklearn.utils.shuffle(index, random_state=seed,
n_samples=k)` gives, by which THINGS-EEG2's own preprocessing (Gifford et al. 2022) chooses.

Letters: e epochs, n images, k repetitions kept, h sensors, w time points.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...messages import first_few


def find_events(stim: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Onsets (e,) in samples and codes (e,) of a row of codes (samples,).

    A code that is held for several samples is one event, at the first of them; one that is there
    when the recording starts is an event at sample 0, which `mne.find_events` leaves out.

    Raises ValueError if a code is not a whole number from 0.
    """
    stim = np.asarray(stim)
    onsets = np.flatnonzero(stim != np.concatenate([[0], stim[:-1]]))
    codes = stim[onsets]
    wrong = ~((codes >= 0) & (codes < 2**31) & (codes == np.floor(codes)))  # NaN is wrong too
    if wrong.any():
        at = onsets[wrong][0]
        raise ValueError(f"code {stim[at]:g} at sample {at}; wanted whole numbers from 0")
    return onsets[codes > 0], codes[codes > 0].astype(np.int64)


def within(onsets: np.ndarray, first: int, last: int, samples: int) -> np.ndarray:
    """Which epochs (e,), of samples `first` to `last` around their onset, lie in the recording."""
    return (onsets + first >= 0) & (onsets + last < samples)


def shuffled(count: int, seed: int) -> np.ndarray:
    """0, ..., count - 1 in the order of `sklearn.utils.shuffle(range(count), random_state=seed)`.

    It is numpy's old generator; a new one would choose other repetitions than everybody else.
    """
    order = np.arange(count)
    np.random.RandomState(seed).shuffle(order)
    return order


def choose(codes: np.ndarray, k: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The images in order of their code, and k repetitions of each.

    Parameters
    ----------
    codes : (e,) whole numbers, in order of time.
    k : how many repetitions to keep.
    seed : the same for each image, as in the published preprocessing.

    Returns
    -------
    images : (n,), the codes that occur, increasing.
    chosen : (n, k), indices into `codes`.

    Raises
    ------
    ValueError
        An image was shown fewer than k times.
    """
    images, inverse, counts = np.unique(codes, return_inverse=True, return_counts=True)
    if (counts < k).any():
        few = [f"{image} ({count})" for image, count in zip(images, counts) if count < k]
        raise ValueError(
            f"{len(few)} of {len(images)} images have fewer than {k} epochs: "
            f"{first_few(few)}; ask for at most {counts.min()} of "
            "each by --repeats TRAIN TEST, or leave this session out by --sessions"
        )
    by_image = np.split(np.argsort(inverse, kind="stable"), np.cumsum(counts)[:-1])
    picks = {count: shuffled(count, seed)[:k] for count in set(counts.tolist())}
    chosen = [index[picks[len(index)]] for index in by_image if len(index)]
    return images, np.array(chosen, np.int64).reshape(len(images), k)


def cut(
    data: np.ndarray, rows: Sequence[int], onsets: np.ndarray, first: int, last: int
) -> np.ndarray:
    """Epochs (e, h, w) float64 of the rows of a recording (rows, samples), ends included."""
    epochs = np.empty((len(onsets), len(rows), last - first + 1))
    for epoch, onset in zip(epochs, onsets.tolist()):
        epoch[:] = data[:, onset + first : onset + last + 1][rows]
    return epochs


def subtract_baseline(epochs: np.ndarray, points: int) -> np.ndarray:
    """Epochs (e, h, w) minus the mean of their first `points` time points, in place."""
    epochs -= epochs[..., :points].mean(axis=-1, keepdims=True)
    return epochs
