"""How sure a number is: the bootstrap over images (Efron 1979, percentile intervals).

A test set is a draw of images; another draw would have given another number. Images are drawn
again from those there are, with replacement, and the number is computed of each draw: the middle
95 % of what comes out is the interval. What is compared is drawn together, so that images that are
hard for all cancel.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

BLOCK = 1000  # draws at a time


class Interval(NamedTuple):
    """A number and the bounds of its interval."""

    value: float
    low: float
    high: float


def bootstrap(
    values: np.ndarray, statistic: Callable[[np.ndarray], np.ndarray] | None = None, *,
    draws: int = 10_000, level: float = 0.95, seed: int = 0,
) -> Interval:
    """Interval of a statistic of per-image means.

    Parameters
    ----------
    values : (n, m), m numbers of each of n images, such as the squared errors of m models
    statistic : of the means over images (..., m) to numbers (...,); by default m is 1 and it is
        the mean itself
    draws, level, seed

    Raises
    ------
    ValueError
        Fewer than two images, or values that are not finite.
    """
    values = np.asarray(values, np.float64)
    values = values[:, None] if values.ndim == 1 else values
    if values.ndim != 2 or len(values) < 2 or not np.isfinite(values).all():
        raise ValueError(f"bootstrap: values {values.shape}; wanted (images, numbers), two images "
                         "or more, all finite")
    statistic = statistic or (lambda means: means[..., 0])
    rng, found = np.random.default_rng(seed), []
    for start in range(0, draws, BLOCK):
        count = min(BLOCK, draws - start)
        times = rng.multinomial(len(values), np.full(len(values), 1 / len(values)), count)
        found.append(statistic(times @ values / len(values)))                  # (count,)
    low, high = np.quantile(np.concatenate(found), [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(statistic(values.mean(axis=0))), float(low), float(high))


def gap_closed(
    model: np.ndarray, reference: np.ndarray, best: np.ndarray, *, draws: int = 10_000,
    seed: int = 0,
) -> Interval:
    """Share of the way from a reference's mean squared error down to the best possible.

    Parameters
    ----------
    model, reference, best : (n,) squared error of each image, of the same images
    """
    def share(means: np.ndarray) -> np.ndarray:
        mine, theirs, least = np.moveaxis(means, -1, 0)
        return (theirs - mine) / (theirs - least)

    return bootstrap(np.stack([model, reference, best], axis=1), share, draws=draws, seed=seed)
