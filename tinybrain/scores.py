"""The rows of a report: what each prediction scores, and between which bounds.

Five columns: MSE, R^2 against the mean ERP, and the three correlations of `metrics.pcc`; beside
them R^2 against zero, ridge and ridge with products, which a network may add to. Values are those
of `metrics.py`. Their 95 % intervals:

    MSE, R^2, pattern   bootstrap over images of means, of ratios of means (`uncertainty.bootstrap`)
    pooled              likewise, of the means of x, y, x^2, y^2 and x y of each image
    image               the jackknife over 20 blocks of images (`uncertainty.jackknife`), as
                        correlations across images are taken again without each block, from sums

All bootstraps draw the same images, so that intervals of differences are those of pairs.
Letters: n images, r repetitions, h sensors, w time points, b blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .metrics import KINDS, as_pair, average, centre, pcc_curves, ratio, unit
from .uncertainty import Interval, bootstrap, jackknife

COLUMNS = ("mse", "r2", *KINDS)
AGAINST = {"r2": "mean ERP", "r2_zero": "zero", "r2_ridge": "ridge",
           "r2_products": "ridge with products"}  # the last where it is what a network adds to
BLOCKS = 20  # of images, left out one after the other; fewer if there are fewer images
ROUNDING = 1e-12  # of a sum of squares: what remains of it is rounding
NOWHERE = float("nan")

Intervals = dict[str, Interval]
Triple = list[float | None]  # [value, low, high], as JSON has an interval


@dataclass(frozen=True)
class Sums:
    """All that the scores of one prediction and their intervals need.

    Attributes
    ----------
    error : (n,) mean squared error of each image, unit^2.
    pattern : (m,) correlation of each image whose target varies; nan where none is defined.
    moments : (n, 5) means of x, y, x^2, y^2, x y of each image, both less their level.
    image : correlation across images, mean over sensors and time points.
    without : (b,) the same without each block of images.
    """

    error: np.ndarray
    pattern: np.ndarray
    moments: np.ndarray
    image: float
    without: np.ndarray


def sums(pred: ArrayLike, target: ArrayLike) -> Sums:
    """Everything about a prediction (n, h, w) of a target (n, h, w).

    Raises
    ------
    ValueError : shapes differ, are not (n, h, w), or values are NaN or infinite.

    Examples
    --------
    >>> target, noise = np.random.default_rng(0).normal(size=(2, 40, 6, 20))
    >>> own = sums(target + noise, target)
    >>> own.error.shape, round(own.image, 1), own.without.shape
    ((40,), 0.7, (20,))
    """
    pred, target = as_pair(pred, target)
    levels = [level(values) for values in (pred, target)]
    error, pattern, moments, heard = [], [], [], False
    for p, t in zip(pred, target, strict=True):
        error.append(np.square(p.astype(float) - t).mean())
        (x, speaks), (y, varies) = unit(p.reshape(-1)), unit(t.reshape(-1))
        pattern += [(x * y).sum()] if varies else []
        heard |= bool(speaks and varies)
        x, y = p.astype(float) - levels[0], t.astype(float) - levels[1]
        moments.append([v.mean() for v in (x, y, x * x, y * y, x * y)])
    return Sums(np.array(error), np.array(pattern if heard else []), np.array(moments),
                *_across_images(pred, target))


def row(
    name: str, own: Sums | None, references: Mapping[str, np.ndarray], seed: int = 0
) -> dict[str, Any]:
    """One row of the table: name, columns, and "intervals", [low, high] of each.

    Parameters
    ----------
    name
    own : None gives a row without numbers
    references : by the names in `AGAINST`, squared errors (n,); one that is missing has no column
    seed : of the bootstrap

    Returns
    -------
    dictionary; a value that is undefined is nan, bounds that are (one image) are None.

    Examples
    --------
    >>> target, noise = np.random.default_rng(0).normal(size=(2, 40, 6, 20))
    >>> found = row("noisy", sums(target + noise / 2, target), {"zero": np.ones(40)})
    >>> print(f"MSE {found['mse']:.2f}, R^2 against zero {found['r2_zero']:.2f}, "
    ...       f"PCC image {found['image']:.2f}")
    MSE 0.25, R^2 against zero 0.75, PCC image 0.89
    """
    if own is None:
        return {"name": name}
    found: Intervals = {"mse": mean(own.error, seed)}
    for column, reference in AGAINST.items():
        if reference in references:
            found[column] = explained(own.error, references[reference], seed)
    found["pattern"] = mean(own.pattern, seed)
    found["image"] = jackknife(own.image, own.without)
    found["pooled"] = _interval(own.moments, _pooled, seed)
    return as_row(name, found)


def as_row(name: str, found: Intervals) -> dict[str, Any]:
    """Name, values and intervals as JSON has them."""
    return {
        "name": name,
        **{column: interval.value for column, interval in found.items()},
        "intervals": {column: bounds(interval) for column, interval in found.items()},
    }


def bounds(interval: Interval) -> list[float] | None:
    """[low, high], None where they do not exist."""
    return [interval.low, interval.high] if np.isfinite(interval[1:]).all() else None


def interval(found: Interval) -> Triple:
    """[value, low, high]; None for bounds that do not exist."""
    return [found.value, *(bounds(found) or (None, None))]


def mean(values: np.ndarray, seed: int = 0) -> Interval:
    """Mean of values (n,) with the bootstrap's interval; nan of none, no bounds of one.

    >>> mean(np.array([0.5]))
    Interval(value=0.5, low=nan, high=nan)
    """
    return _interval(values, None, seed)


def explained(error: np.ndarray, reference: np.ndarray, seed: int = 0) -> Interval:
    """R^2 = 1 - MSE / MSE(reference), from squared errors (n,) of the same images.

    >>> explained(np.array([1.0, 2.0, 3.0]), np.array([4.0, 4.0, 8.0])).value
    0.625
    """
    def r2(means: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore", divide="ignore"):
            found: np.ndarray = 1 - means[..., 0] / means[..., 1]
        return found

    return _interval(np.stack([error, reference], axis=1), r2, seed)


def curves(pred: np.ndarray, target: np.ndarray) -> dict[str, list[float]]:
    """PCC image of a prediction, both (n, h, w), by sensor (h,) and by time point (w,).

    As in the table: where the prediction alone is constant, it counts as 0 (`metrics.pcc_curves`).
    """
    found = pcc_curves(pred, target, "image")
    return {"sensors": found.sensors.tolist(), "times": found.times.tolist()}


def curves_of_map(map_: np.ndarray) -> dict[str, list[float]]:
    """A map (h, w) of a correlation by sensor and by time point: means of what is defined."""
    return {"sensors": _nanmean(map_, 1), "times": _nanmean(map_, 0)}


# -------------------------------------------------------------------------------------------------
# Parts


def _interval(
    values: np.ndarray, statistic: Callable[[np.ndarray], np.ndarray] | None, seed: int
) -> Interval:
    """`bootstrap`, also of what is too little for it."""
    if len(values) > 1:
        with np.errstate(invalid="ignore"):
            return bootstrap(values, statistic, seed=seed)
    if not len(values):
        return Interval(NOWHERE, NOWHERE, NOWHERE)
    value = values[0] if statistic is None else statistic(values[0])
    return Interval(float(value), NOWHERE, NOWHERE)


def _pooled(means: np.ndarray) -> np.ndarray:
    """Correlation from means (..., 5) of x, y, x^2, y^2, x y; nan where one is constant."""
    x, y, xx, yy, xy = np.moveaxis(means, -1, 0)
    spread = [square - mean**2 for square, mean in ((xx, x), (yy, y))]
    some = [np.where(var > ROUNDING * square, var, 0) for var, square in zip(spread, (xx, yy))]
    return ratio(xy - x * y, *some)


def level(values: np.ndarray) -> float:
    """Mean of everything, exact for a constant, so that products lose no digits to an offset."""
    first = float(values.flat[0])
    return first + float(np.mean([(row_ - first).mean(dtype=np.float64) for row_ in values]))


def _across_images(pred: np.ndarray, target: np.ndarray) -> tuple[float, np.ndarray]:
    """PCC image of all images, and (b,) without each block, a sensor at a time."""
    n = len(target)
    starts = block_starts(n)
    left = n - np.diff([*starts, n])                                                 # (b,)
    found = []
    for sensor in range(target.shape[1]):
        x, y = (centre(v[:, sensor].T)[0] for v in (pred, target))                   # (w, n)
        products = np.stack([x, y, x * x, y * y, x * y])                             # (5, w, n)
        parts = np.add.reduceat(products, starts, axis=-1)                           # (5, w, b)
        total = products.sum(-1, keepdims=True)
        rest = np.concatenate([total, total - parts], -1)                       # (5, w, 1 + b)
        x, y, xx, yy, xy = rest
        count = np.concatenate([[n], left])
        with np.errstate(invalid="ignore", divide="ignore"):  # one block, and nothing is left
            xy = xy - x * y / count
            xx, yy = (_positive(v - m * m / count, whole)
                      for v, m, whole in zip((xx, yy), (x, y), total[2:4]))
            found.append((ratio(xy, xx, yy), yy > 0))
    r, varies = (np.concatenate(part) for part in zip(*found, strict=True))      # (h w, 1 + b)
    value, *without = (average(*each) for each in zip(r.T, varies.T, strict=True))
    return value, np.array(without)


def _positive(spread: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Sums of squares, 0 where what is left of the whole one is rounding."""
    return np.where(spread > ROUNDING * whole, spread, 0)


def block_starts(n: int) -> np.ndarray:
    """First image of each of the jackknife's blocks, (b,)."""
    blocks = min(BLOCKS, n)
    return np.arange(blocks) * n // blocks


def _nanmean(map_: np.ndarray, axis: int) -> list[float]:
    """Mean over an axis of what is defined, nan where nothing is."""
    defined = ~np.isnan(map_)
    with np.errstate(invalid="ignore"):
        found = np.where(defined, map_, 0).sum(axis) / defined.sum(axis)
    return [float(mean_) for mean_ in found]
