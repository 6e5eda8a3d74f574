"""What realism is given besides samples: recorded signals to compare with, and patterns.

A model learns to generate what it was shown. If that was the mean of four repetitions, a sample
must be held against means of four repetitions, of images that it has not seen: single repetitions
have more noise, the mean of all has none.
"""

from __future__ import annotations

import numpy as np
from einops import rearrange
from numpy.typing import ArrayLike

from ..metrics import as_numpy

FLAT = 1e-12  # of the greatest variance of predictions: below, a component is rounding


def single_targets(repeats: ArrayLike, average: int, *, seed: int = 0) -> np.ndarray:
    """Recorded signals such as a model was trained to generate: means of `average` repetitions.

    Parameters
    ----------
    repeats : (n, r, h, w) single repetitions, of test images
    average : repetitions that a training target averages: 4 for THINGS-EEG2, 1 for THINGS-MEG
    seed : which repetitions go together, drawn for each image

    Returns
    -------
    (n, r // average, h, w) float32; r % average repetitions of each image are in none.

    Raises
    ------
    ValueError
        Not (n, r, h, w), or `average` is not between 1 and r.

    Examples
    --------
    >>> repeats = np.random.default_rng(0).normal(size=(5, 80, 3, 10))       # as of THINGS-EEG2
    >>> single_targets(repeats, average=4).shape
    (5, 20, 3, 10)
    """
    repeats = four_axes("repeats", repeats)
    n, r, h, w = repeats.shape
    if not 1 <= average <= r:
        raise ValueError(f"average={average} of {r} repetitions: wanted 1 to {r}")
    rng, groups = np.random.default_rng(seed), r // average
    targets = np.empty((n, groups, h, w), np.float32)
    for image, trials in enumerate(repeats):
        rows = rng.permutation(r)[: groups * average].reshape(groups, average)
        for group, members in enumerate(rows):
            targets[image, group] = trials[members].mean(axis=0, dtype=np.float64)
    return targets


def encoding_patterns(
    predicted: ArrayLike, *, width: int = 32, rows: int = 500, seed: int = 0
) -> np.ndarray:
    """The patterns that images evoke by linear encoding: principal components of its predictions.

    Parameters
    ----------
    predicted : (n, h, w), what ridge, fitted on training data, predicts for training images
    width : m, how many patterns at most
    rows, seed : so many images are drawn, without replacement, and the others not looked at; all
        where there are fewer. Memory: 8 h w bytes each.

    Returns
    -------
    (m, h, w) float64, orthonormal, those with the greatest variance first.

    Raises
    ------
    ValueError
        Not (n, h, w), or the predictions do not differ: linear encoding found nothing.

    Examples
    --------
    Predictions that are made of two patterns have no third:

    >>> rng = np.random.default_rng(0)
    >>> predicted = np.einsum("nm,mhw->nhw", rng.normal(size=(50, 2)), rng.normal(size=(2, 3, 10)))
    >>> encoding_patterns(predicted).shape
    (2, 3, 10)
    """
    predicted = as_numpy(predicted)
    if predicted.ndim != 3 or not predicted.size:
        raise ValueError(f"predictions of shape {predicted.shape}: wanted (images, sensors, time "
                         "points), none empty")
    n, h, w = predicted.shape
    chosen = np.sort(np.random.default_rng(seed).permutation(n)[:rows])
    x = rearrange(predicted[chosen].astype(np.float64), "n h w -> n (h w)")
    x -= x[:1]  # first, so that predictions that are all the same leave 0
    x -= x.mean(axis=0)
    power, u = np.linalg.eigh(x @ x.T)                                         # ascending
    some = np.flatnonzero(power > FLAT * power[-1])[::-1][:width]
    if not power[-1] > 0:
        raise ValueError("the predictions are the same for all images: linear encoding found "
                         "nothing, so it has no patterns")
    patterns = u[:, some].T @ x / np.sqrt(power[some])[:, None]
    return rearrange(patterns, "m (h w) -> m h w", h=h, w=w)


def four_axes(name: str, signals: ArrayLike) -> np.ndarray:
    """The signals as an array (n, k, h, w), not copied; ValueError if they are none."""
    signals = as_numpy(signals)
    if signals.ndim != 4 or not signals.size:
        raise ValueError(f"{name} of shape {signals.shape}: wanted (images, trials, sensors, time "
                         "points), none empty")
    return signals
