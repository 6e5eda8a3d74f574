"""Did the image matter? A score with the true images against the same score with shuffled ones.

A generator may score well and look at no image: what all images share is enough. If the image
matters, giving every prediction to another image must cost something. The permutation test says
whether it does: with B random permutations of the predictions, of which b score as well as the true
pairing or better,

    p = (1 + b) / (1 + B)                                      Phipson & Smyth (2010)

which is never 0, since the true pairing is one of the permutations. MSE and the correlations of
`metrics.py` are means over images of a score of pairs, P[i, j] of prediction i and target j,

    MSE       |x_i - y_j|^2 / (h w)
    pattern   x_i . y_j, each centred and of length 1
    image     n / (h w) x_i . y_j, each place centred over images and of length 1
    pooled    n x_i . y_j, everything centred and of length 1 at once

so that one matrix serves all permutations. Letters: n images, h sensors, w time points.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from einops import rearrange
from numpy.typing import ArrayLike

from .metrics import KINDS, as_pair, unit
from .uncertainty import Interval, bootstrap

SCORES = ("mse", *KINDS)
ROUNDING = 1e-10  # relative: scores this close are equal


@dataclass(frozen=True)
class ImageEffect:
    """A score with true and with shuffled pairing.

    Attributes
    ----------
    value : with the true pairing.
    shuffled : mean over permutations, and the bounds of their middle 95 %.
    p_value : one-sided; 1 where the score is undefined or the pairing makes no difference.
    permutations, seed : how many, and the seed they were drawn from.
    """

    value: float
    shuffled: Interval
    p_value: float
    permutations: int
    seed: int


def image_effect(
    pred: ArrayLike, target: ArrayLike, over: str, *, permutations: int = 9_999, seed: int = 0,
) -> ImageEffect:
    """The permutation test of a score of `metrics.py`.

    Parameters
    ----------
    pred, target : (n, h, w)
    over : "mse", "pattern", "image" or "pooled"
    permutations, seed : as `permutation_test`

    Raises
    ------
    ValueError : as `pair_scores` and `permutation_test`.

    Examples
    --------
    Two models: the first has seen the images through much noise, the second not at all.

    >>> rng = np.random.default_rng(0)
    >>> target, noise, blind = rng.normal(size=(3, 40, 6, 20))
    >>> image_effect(target + 9 * noise, target, "image", permutations=999).p_value
    0.001
    >>> image_effect(blind, target, "image", permutations=999).p_value
    0.116
    """
    pairs = pair_scores(pred, target, over)
    defined = np.flatnonzero(~np.isnan(pairs).all(0))  # targets that vary

    def mean(order: np.ndarray) -> float:
        return float(pairs[order[defined], defined].mean()) if len(defined) else float("nan")

    return permutation_test(mean, len(pairs), lower_is_better=over == "mse",
                            permutations=permutations, seed=seed)


def permutation_test(
    score: Callable[[np.ndarray], float], n: int, *, lower_is_better: bool = False,
    permutations: int = 999, seed: int = 0,
) -> ImageEffect:
    """Whether any score depends on which prediction goes with which image.

    Parameters
    ----------
    score : of an order (n,) of the predictions, such as
        `lambda order: metrics.r2(pred[order], target, erp)`
    n : number of images
    lower_is_better : as for errors
    permutations, seed : number of random permutations, and the seed they are drawn from

    Raises
    ------
    ValueError : fewer than 2 images or 1 permutation.

    Examples
    --------
    Any score will do, here the correlation of each image's mean:

    >>> target, noise = np.random.default_rng(0).normal(size=(2, 40, 6, 20))
    >>> true, guessed = (signals.mean((1, 2)) for signals in (target, target + noise))
    >>> found = permutation_test(lambda order: np.corrcoef(guessed[order], true)[0, 1], 40)
    >>> round(found.value, 2), found.p_value
    (0.84, 0.001)
    """
    if n < 2 or permutations < 1:
        raise ValueError(f"{n} images and {permutations} permutations: wanted at least 2 and 1")
    rng = np.random.default_rng(seed)
    value = float(score(np.arange(n)))
    shuffled = np.array([score(rng.permutation(n)) for _ in range(permutations)])
    lead = shuffled - value if lower_is_better else value - shuffled  # of the true pairing
    beaten = int((lead > ROUNDING * abs(value)).sum())  # never, where it is nan
    bounds = np.quantile(shuffled, [0.025, 0.975])
    return ImageEffect(value, Interval(float(shuffled.mean()), *(float(b) for b in bounds)),
                       (1 + permutations - beaten) / (1 + permutations), permutations, seed)


def image_gap(pairs: np.ndarray, *, seed: int = 0) -> Interval:
    """What the right image changes: the mean score of own pairs less that of all other pairs.

    Image i is in one own pair, and as prediction and as target in others; its share of the gap is
    P[i, i] - (mean of its row) - (mean of its column) + (mean of all others), own pairs left out
    (Hoeffding 1948, the projection of a U-statistic): the gap on average, and as uncertain.

    Parameters
    ----------
    pairs : (n, n), from `pair_scores`; a target without variance is left out
    seed : of the bootstrap over images

    Raises
    ------
    ValueError : fewer than 2 images are left; where nothing is defined the result is nan.

    Examples
    --------
    >>> pairs = np.full((5, 5), 0.1) + 0.3 * np.eye(5)  # own pairs score 0.4, others 0.1
    >>> round(image_gap(pairs).value, 3)
    0.3
    """
    defined = ~np.isnan(pairs).all(0)
    if not defined.any():
        return Interval(*[float("nan")] * 3)
    pairs = pairs[np.ix_(defined, defined)]
    own, n = np.diagonal(pairs), len(pairs)
    if n < 2:
        raise ValueError(f"{n} image: wanted 2 or more, to pair it with another")
    rows, columns = ((pairs.sum(axis) - own) / (n - 1) for axis in (1, 0))
    return bootstrap(own - rows - columns + rows.mean(), seed=seed)


def pair_scores(pred: ArrayLike, target: ArrayLike, over: str) -> np.ndarray:
    """The score P[i, j] of every prediction with every target; (n, n) float64.

    The mean of its diagonal is `metrics.mse` or `metrics.pcc`, by the same rule for constants: the
    column of a target without variance is nan, the row of a prediction without is 0, and all is
    nan where no prediction has any.

    Parameters
    ----------
    pred, target : (n, h, w)
    over : "mse", "pattern", "image" or "pooled"

    Raises
    ------
    ValueError : unknown `over`, shapes differ, are not (n, h, w), or values are not finite.

    Examples
    --------
    >>> target = np.arange(3.0).reshape(3, 1, 1)
    >>> pair_scores(target, target, "mse")
    array([[0., 1., 4.],
           [1., 0., 1.],
           [4., 1., 0.]])
    """
    if over not in SCORES:
        raise ValueError(f"over={over!r}: wanted one of {SCORES}")
    pred, target = as_pair(pred, target)
    if over == "mse":
        return _squared(pred, target)
    if over == "image":
        return _across_images(pred, target)
    n, layout = len(pred), "n h w -> n (h w)" if over == "pattern" else "n h w -> 1 (n h w)"
    (x, heard), (y, varies) = (unit(rearrange(v, layout)) for v in (pred, target))
    pairs = x.reshape(n, -1) @ y.reshape(n, -1).T * (1 if over == "pattern" else n)
    pairs[:, np.broadcast_to(~varies, n)] = np.nan
    return pairs if heard.any() else np.full_like(pairs, np.nan)


def _squared(pred: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Mean squared differences of all pairs (n, n), a sensor at a time."""
    pairs = np.zeros((len(pred), len(target)))
    for sensor in range(target.shape[1]):
        y = target[:, sensor].astype(float)                                        # (n, w)
        level = y.mean(0)  # off both: squares of large offsets would leave no digits
        x, y = pred[:, sensor] - level, y - level
        pairs += np.square(x).sum(1)[:, None] + np.square(y).sum(1) - 2 * x @ y.T
    mean: np.ndarray = pairs / target[0].size
    return mean


def _across_images(pred: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Shares of all pairs in the correlation across images (n, n), a sensor at a time."""
    n, places, anything = len(pred), 0, False
    pairs = np.zeros((n, n))
    for sensor in range(target.shape[1]):
        (x, heard), (y, varies) = unit(pred[:, sensor].T), unit(target[:, sensor].T)  # (w, n)
        pairs += x.T @ y
        places += varies.sum()
        anything |= bool((heard & varies).any())
    return pairs * n / places if anything else np.full((n, n), np.nan)
