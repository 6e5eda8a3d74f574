"""How sure a number is: the bootstrap over images (Efron 1979, percentile intervals).

A test set is a draw of images; another draw would have given another number. Images are drawn
again from those there are, with replacement, and the number is computed of each draw: the middle
95 % of what comes out is the interval. What is compared is drawn together, so that images that are
hard for all cancel.

A number that is no function of means over images, or of too many, has the jackknife's interval
(Tukey 1958): one block of images after the other is left out, of B,

    s^2 = (B - 1) / B sum_b (value_b - mean of them)^2,    value +- t(B - 1; 97.5 %) s

A mean over subjects has Student's (1908). Subjects are few, and draws of few say too little: those
of two end at the two numbers, and hold the truth one time in two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

BLOCK = 1000  # draws at a time
KEEP = 4_000_000  # counts of a bootstrap that are kept, for the next one draws the same: 8 MB


class Interval(NamedTuple):
    """A number and the bounds of its interval, nan where there are none."""

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
    draws : how often the images are drawn again
    level : share of the draws that the interval holds
    seed : of the draws

    Returns
    -------
    Interval
        The statistic of the images as they are, and the draws' quantiles.

    Raises
    ------
    ValueError
        Fewer than two images, or values that are not finite.

    Examples
    --------
    Squared errors of 200 images; then R^2 against a model that errs twice as much on each, which
    leaves no doubt:

    >>> rng = np.random.default_rng(0)
    >>> errors = rng.chisquare(1, size=200)
    >>> print("{:.2f}, 95 % interval {:.2f} to {:.2f}".format(*bootstrap(errors)))
    1.10, 95 % interval 0.92 to 1.30
    >>> both = np.stack([errors, 2 * errors], axis=1)                           # (n, 2)
    >>> print(bootstrap(both, lambda means: 1 - means[..., 0] / means[..., 1]))
    Interval(value=0.5, low=0.5, high=0.5)
    """
    values = np.asarray(values, np.float64)
    values = values[:, None] if values.ndim == 1 else values
    if values.ndim != 2 or len(values) < 2 or not np.isfinite(values).all():
        raise ValueError(f"bootstrap: values {values.shape}; wanted (images, numbers), two images "
                         "or more, all finite")
    statistic, n = statistic or (lambda means: means[..., 0]), len(values)
    counts = _kept(n, draws, seed) if n * draws <= KEEP else _counts(n, draws, seed)
    found = [statistic(times @ values / n) for times in counts]                # each (count,)
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
    draws, seed : as `bootstrap`

    Returns
    -------
    Interval
        1 where the model errs no more than the best, 0 where it errs as the reference does.

    Raises
    ------
    ValueError
        As `bootstrap`.

    Examples
    --------
    >>> erp, ridge, ceiling = np.array([[4.0, 6.0, 5.0], [2.0, 3.0, 4.0], [1.0, 1.0, 1.0]])
    >>> gap_closed(ridge, erp, ceiling).value
    0.5
    """
    def share(means: np.ndarray) -> np.ndarray:
        mine, theirs, least = np.moveaxis(means, -1, 0)
        closed: np.ndarray = (theirs - mine) / (theirs - least)
        return closed

    return bootstrap(np.stack([model, reference, best], axis=1), share, draws=draws, seed=seed)


def jackknife(
    value: float, without: Sequence[float] | np.ndarray, *, level: float = 0.95
) -> Interval:
    """Interval of any number from its values without each block of images (Tukey 1958).

    Blocks are of one size, or nearly. The interval is symmetric, and not cut where the number
    itself must end, such as a correlation at 1.

    Parameters
    ----------
    value : with all images
    without : (B,), without each block
    level : of confidence

    Returns
    -------
    Interval
        Its bounds are nan where there are fewer than two blocks or a value is not finite.

    Examples
    --------
    Of a mean, with each image a block, it is Student's interval:

    >>> x = np.array([1.0, 2.0, 3.0, 4.0])
    >>> found = jackknife(x.mean(), (x.sum() - x) / 3)
    >>> round(found.low, 3), round(found.high, 3)
    (0.446, 4.554)
    """
    from scipy.special import stdtrit

    blocks, without = len(without), np.asarray(without, np.float64)
    if blocks < 2 or not np.isfinite([value, *without]).all():
        return Interval(float(value), float("nan"), float("nan"))
    error = np.sqrt((blocks - 1) / blocks * np.square(without - without.mean()).sum())
    reach = stdtrit(blocks - 1, (1 + level) / 2) * error
    return Interval(float(value), float(value - reach), float(value + reach))


def student(values: Sequence[float] | np.ndarray, *, level: float = 0.95) -> Interval:
    """Mean of a few numbers, of subjects, with Student's t interval of n - 1 degrees of freedom.

    Parameters
    ----------
    values : (n,), independent of each other
    level : of confidence

    Returns
    -------
    Interval
        Its bounds are nan where there is one number.

    Raises
    ------
    ValueError
        No number at all, or numbers that are not finite.

    Examples
    --------
    >>> print("{:.3f}, 95 % interval {:.3f} to {:.3f}".format(*student([0.056, 0.063])))
    0.059, 95 % interval 0.015 to 0.104
    """
    from scipy.special import stdtrit

    values = np.asarray(values, np.float64)
    if values.ndim != 1 or not len(values) or not np.isfinite(values).all():
        raise ValueError(f"Student's t: values {values.shape}; wanted (subjects,), one or more, "
                         "all finite")
    n, mean = len(values), float(values.mean())
    if n < 2:
        return Interval(mean, float("nan"), float("nan"))
    reach = float(stdtrit(n - 1, (1 + level) / 2) * values.std(ddof=1) / np.sqrt(n))
    return Interval(mean, mean - reach, mean + reach)


def _counts(n: int, draws: int, seed: int) -> Iterator[np.ndarray]:
    """How often each of n images is in each draw, (count, n), some draws at a time."""
    rng = np.random.default_rng(seed)
    for start in range(0, draws, BLOCK):
        yield rng.multinomial(n, np.full(n, 1 / n), min(BLOCK, draws - start))


@lru_cache(maxsize=2)
def _kept(n: int, draws: int, seed: int) -> tuple[np.ndarray, ...]:
    """The same, kept in int16: n is small where they are."""
    return tuple(times.astype(np.int16) for times in _counts(n, draws, seed))
