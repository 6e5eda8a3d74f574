"""The ceilings' rows of a report, with intervals: what cannot be beaten, and how sure that is.

At each place (an image; a sensor and time point across images; everything) S and N are the
variances of what the images evoke and of one repetition's noise, estimated without bias from r
repetitions as in `ceilings.sample_ceiling`. With rel(m) = S / (S + N / m), the correlation with
the mean of all repetitions is, for

    noise of a repetitions and no other error   sqrt(rel(a) rel(r))
    nothing but S (Spearman-Brown)              sqrt(rel(r))
    half against the other half (lower)         rel(r / 2)
    half against all (upper)                    sqrt(rel(r / 2) / rel(r))

S and N come from sums over images, so leaving a block of images out is a subtraction: intervals are
the jackknife's, for "pattern" the bootstrap's. The last three are reported as random halvings find
them (`ceilings.noise_ceiling`), and have the distances to the bounds that these formulas have.
Letters: n images, r repetitions, h sensors, w time points, b blocks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from einops import rearrange
from numpy.typing import ArrayLike

from .ceilings import as_repeats, noise_ceiling, noise_per_image
from .metrics import KINDS, average
from .scores import AGAINST, ROUNDING, as_row, block_starts, bounds, explained, level, mean
from .uncertainty import Interval, jackknife

Reach = Callable[[np.ndarray, np.ndarray], np.ndarray]  # from S and N to a correlation


@dataclass(frozen=True)
class Components:
    """S and N, and where anything varies, by kind of correlation.

    Attributes
    ----------
    pattern : (3, n)
    image : (3, h w, 1 + b), of all images and without each block of them
    pooled : (3, 1 + b)
    shape : (h, w)
    repetitions : r
    """

    pattern: np.ndarray
    image: np.ndarray
    pooled: np.ndarray
    shape: tuple[int, int]
    repetitions: int

    def interval(self, kind: str, reach: Reach, seed: int = 0) -> Interval:
        """A ceiling of one kind: mean over places, by the rule of `metrics.py`.

        Parameters
        ----------
        kind : "pattern", "image" or "pooled"
        reach : from S and N to a correlation: `perfect`, `lower` or `upper`
        seed : of the bootstrap of "pattern"
        """
        signal, noise, varies = getattr(self, kind)
        found, varies = reach(signal, noise), varies > 0
        if kind == "pattern":
            return mean(found[varies], seed)
        found, varies = np.atleast_2d(found), np.atleast_2d(varies)                  # (m, 1 + b)
        value, *without = (average(*each) for each in zip(found.T, varies.T, strict=True))
        return jackknife(value, without)

    def map(self) -> np.ndarray:
        """Correlation of the perfect conditional mean across images at each place, (h, w)."""
        signal, noise, varies = self.image[..., 0]
        reach = perfect(math.inf, self.repetitions)(signal, noise)
        return np.where(varies > 0, reach, np.nan).reshape(self.shape)


def perfect(averaged: float, r: float) -> Reach:
    """sqrt(rel(a) rel(r)), with the sign of S: places without signal then average to 0.

    Parameters
    ----------
    averaged : a, how many repetitions the prediction has the noise of; `math.inf` is none
    r : how many the target averages

    Examples
    --------
    >>> perfect(math.inf, 80)(np.array([0.01]), np.array([1.0])).round(2)  # S, N
    array([0.67])
    """
    def reach(signal: np.ndarray, noise: np.ndarray) -> np.ndarray:
        size = np.abs(signal)
        with np.errstate(invalid="ignore"):  # 0 / 0 where all is constant: left out
            both = size / (size + noise / averaged) * size / (size + noise / r)
        found: np.ndarray = np.sign(signal) * np.sqrt(both)
        return found

    return reach


def lower(r: int) -> Reach:
    """rel(r / 2), which is sqrt(rel(r / 2) rel(r / 2)), with the sign of S."""
    return perfect(r / 2, r / 2)


def upper(r: int) -> Reach:
    """sqrt(rel(r / 2) / rel(r)) = sqrt((S + N / r) / (S + 2 N / r))."""
    def reach(signal: np.ndarray, noise: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.sqrt(np.abs((signal + noise / r) / (signal + 2 * noise / r)))

    return reach


def components(repeats: ArrayLike) -> Components:
    """S and N of recordings (n, r, h, w), r >= 2, an image or a sensor at a time in float64.

    Raises
    ------
    ValueError : not (n, r, h, w), fewer than 2 repetitions, NaN or infinity.

    Examples
    --------
    Signal and noise of one variance, ten repetitions: the perfect conditional mean correlates with
    their mean by sqrt(1 / (1 + 1/10)), 0.95. Intervals say how sure these 100 images make it.

    >>> rng = np.random.default_rng(0)
    >>> signal = rng.normal(size=(100, 1, 6, 20))
    >>> found = components(signal + rng.normal(size=(100, 10, 6, 20)))
    >>> print("{:.4f}, {:.4f} to {:.4f}".format(*found.interval("image", perfect(math.inf, 10))))
    0.9521, 0.9507 to 0.9535
    """
    repeats = as_repeats(repeats)
    n, r, h, w = repeats.shape
    pattern = np.stack([_of_image(image) for image in repeats], axis=-1)             # (2, n)
    zero, starts = level(repeats), block_starts(n)
    count = n - np.concatenate([[0], np.diff([*starts, n])])                         # (1 + b,)
    image, parts = [], []
    for sensor in range(h):
        sums = _sums(repeats[:, :, sensor].astype(float) - zero, starts)
        image.append(_variances(sums, count))                                    # (2, w, 1 + b)
        parts.append([each.sum(axis=-2, keepdims=True) for each in sums])
    total = [sum(each[1:], each[0]) for each in zip(*parts, strict=True)]
    pooled = _variances(total, count * (h * w))[:, 0]                                # (2, 1 + b)
    return Components(_separate(pattern, r), _separate(np.concatenate(image, axis=1), r),
                      _separate(pooled, r), (h, w), r)


def ceiling_rows(
    repeats: np.ndarray, found: Components, averaged: Mapping[str, float],
    references: Mapping[str, np.ndarray], seed: int = 0,
) -> tuple[list[dict[str, Any]], dict[str, Any], dict[str, Any]]:
    """Rows of the ceilings of test recordings.

    Parameters
    ----------
    repeats, found : (n, r, h, w), r >= 2, and their `components`
    averaged : by a row's name, how many repetitions' noise such a prediction averages: those of a
        training target for one sample, k times that for the mean of k
    references : as in `scores.row`
    seed : of splits and bootstraps

    Returns
    -------
    rows : one for each of `averaged`, then "noise ceiling", its correlations by Spearman-Brown
    noise : `ceilings.Ceiling` as a dictionary, with "intervals" of lower, corrected and upper
    samples : by the names in `averaged`, what `ceilings.SampleCeiling` holds

    Raises
    ------
    ValueError : as `ceilings.noise_ceiling`.
    """
    noise, r = noise_per_image(repeats), repeats.shape[1]                            # (n,)
    whole = noise_ceiling(repeats, seed=seed)
    halves = {"lower": lower(r), "corrected": perfect(math.inf, r), "upper": upper(r)}
    intervals = {half: {kind: _moved(found.interval(kind, reach, seed), getattr(whole, half)[kind])
                        for kind in KINDS} for half, reach in halves.items()}
    rows, samples = [], {}
    for name, many in averaged.items():
        error = noise * (1 / many + 1 / r)
        pcc = {kind: found.interval(kind, perfect(many, r), seed) for kind in KINDS}
        rows.append(_row(name, error, pcc, references, seed))
        samples[name] = {"mse": float(error.mean()), "averaged": many, "repetitions": r,
                         "pcc": {kind: each.value for kind, each in pcc.items()}}
    rows.append(_row("noise ceiling", noise / r, intervals["corrected"], references, seed))
    drawn = {half: {kind: bounds(each) for kind, each in of.items()}
             for half, of in intervals.items()}
    return rows, {**asdict(whole), "intervals": drawn}, samples


def _row(
    name: str, error: np.ndarray, pcc: Mapping[str, Interval],
    references: Mapping[str, np.ndarray], seed: int,
) -> dict[str, Any]:
    found = {"mse": mean(error, seed)}
    found |= {column: explained(error, references[reference], seed)
              for column, reference in AGAINST.items() if reference in references}
    return as_row(name, found | dict(pcc))


def _moved(interval: Interval, value: float) -> Interval:
    """The interval around another estimate of the same number."""
    by = value - interval.value
    return Interval(value, interval.low + by, interval.high + by)


def _of_image(image: np.ndarray) -> np.ndarray:
    """Variances over sensors and time of one repetition and of the mean, (2,), of (r, h, w)."""
    x = rearrange(image, "r h w -> r (h w)").astype(float)
    x -= x[:, :1].copy()  # first, so that a constant leaves 0
    return np.array([x.var(axis=1).mean(), x.mean(axis=0).var()])


def _sums(x: np.ndarray, starts: np.ndarray) -> list[np.ndarray]:
    """Over images, all and without each block: of x (n, r, w), of <x^2> and of <x>^2 over
    repetitions; (r, w, 1 + b), (w, 1 + b) twice."""
    middle = x.mean(axis=1)                                                          # (n, w)
    found = []
    for each in (x, np.square(x).mean(axis=1), np.square(middle)):
        total = each.sum(axis=0)[None]
        rest = total - np.add.reduceat(each, starts, axis=0)
        found.append(np.moveaxis(np.concatenate([total, rest]), 0, -1))
    return found


def _variances(sums: list[np.ndarray], count: np.ndarray) -> np.ndarray:
    """Variances of one repetition and of the mean of all, (2, ..., 1 + b); 0 for rounding."""
    with np.errstate(invalid="ignore", divide="ignore"):  # one block, and nothing is left
        first, one, all_ = (each / count for each in sums)
        pairs = ((one, np.square(first).mean(axis=0)), (all_, np.square(first.mean(axis=0))))
        return np.stack([np.where(power - less > ROUNDING * power, power - less, 0)
                         for power, less in pairs])


def _separate(variances: np.ndarray, r: int) -> np.ndarray:
    """S, N, and the variance of the mean of all repetitions, (3, ...)."""
    one, all_ = variances
    signal = (r * all_ - one) / (r - 1)
    return np.stack([signal, one - signal, all_])
