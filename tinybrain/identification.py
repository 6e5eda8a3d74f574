"""Which image was it? Recorded responses identified by generated ones.

The recorded pattern of each test image is correlated with the pattern generated for every
candidate image; the true image should come first (Kay et al. 2008; for THINGS-EEG2, Gifford et al.
2022). Patterns are values at some sensors and time points, the features, that *training* data
chose. A generator that never looks at the image gives all candidates one correlation: it can only
tie, and a tie is settled by chance, so that it gets exactly what guessing gets.

Let A of the M - 1 other candidates be better than the true one, and T equal to it. Breaking ties at
random makes every rank 1 + A ... 1 + A + T equally likely. Among c candidates, c - 1 drawn from
those M - 1, the number of better ones is hypergeometric, so

    P(true one among the first k of c) = mean over a = A ... A + T of P(Hypergeom(M-1, a, c-1) < k)

says how identification falls as candidates are added (Gifford et al. 2022 drew them instead).
Letters: n images, M candidates, f features, h sensors, w time points.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from einops import rearrange
from numpy.typing import ArrayLike

from .ceilings import ncsnr
from .metrics import as_array, pcc_map, unit
from .uncertainty import Interval, bootstrap

TIE = 1e-12  # correlations this close are equal: which is larger is a matter of rounding


class Ranking(NamedTuple):
    """Where the true image came, for each recorded image.

    Attributes
    ----------
    above : (n,) how many candidates correlate better than the true one.
    tied : (n,) how many others correlate equally well.
    candidates : M, the true one included.

    Examples
    --------
    Of 4 candidates, the true one came first; then last; then tied with one other for the first:

    >>> ranking = Ranking(np.array([0, 3, 0]), np.array([0, 0, 1]), candidates=4)
    >>> ranking.ranks(), ranking.top(1), ranking.top(1, among=2).round(2)
    (array([1. , 4. , 1.5]), array([1. , 0. , 0.5]), array([1.  , 0.  , 0.83]))
    """

    above: np.ndarray
    tied: np.ndarray
    candidates: int

    def ranks(self) -> np.ndarray:
        """Expected rank of the true image, 1 the best; by chance (M + 1) / 2. (n,) float64."""
        return 1 + self.above + self.tied / 2

    def pairwise(self) -> np.ndarray:
        """Share of the other candidates that it beats, ties half; by chance 1/2. (n,) float64."""
        return 1 - (self.above + self.tied / 2) / (self.candidates - 1)

    def top(self, k: int, among: int | None = None) -> np.ndarray:
        """Probability that the true image is one of the first k, (n,) float64; by chance k / among.

        Parameters
        ----------
        k : at least 1
        among : itself and among - 1 other candidates drawn at random; by default all of them.

        Raises
        ------
        ValueError : k below 1, or `among` not between 2 and the number of candidates.
        """
        from scipy.stats import hypergeom

        others, among = self.candidates - 1, self.candidates if among is None else among
        if k < 1 or not 2 <= among <= self.candidates:
            raise ValueError(f"first {k} among {among} candidates: wanted 1 or more, among 2 to "
                             f"{self.candidates}")
        better = np.arange(others + 1)
        first = sum(hypergeom.pmf(x, others, better, among - 1) for x in range(min(k, among)))
        total = np.concatenate([[0.0], np.cumsum(first)])
        sums = total[self.above + self.tied + 1] - total[self.above]
        shares: np.ndarray = sums / (self.tied + 1)
        return shares


@dataclass(frozen=True)
class Identification:
    """How well generated patterns identify recorded ones.

    Attributes
    ----------
    top1, top5, median_rank, pairwise : what `Ranking` says of an image, its mean over images (of
        the rank the median), each with its interval.
    growth : top-1 by number of candidates.
    images, candidates, features : how many there were. By chance top-k is k / candidates, the
        median rank (candidates + 1) / 2, pairwise 1/2.
    seed : of the intervals: images are drawn again, the candidates stay.
    """

    top1: Interval
    top5: Interval
    median_rank: Interval
    pairwise: Interval
    growth: dict[int, Interval]
    images: int
    candidates: int
    features: int
    seed: int


def encoding_features(predicted: ArrayLike, recorded: ArrayLike, count: int = 300) -> np.ndarray:
    """The sensors and time points whose recordings are predicted best across *training* images.

    Parameters
    ----------
    predicted, recorded : (n, h, w), of training images. Let the prediction of an image come from
        a fit without it, as the left-out ones of `baselines.fit_ridge` do: a fit that has seen
        the image finds noise predictable as well.
    count : how many features to choose (300 in the code of Gifford et al. 2022).

    Returns
    -------
    (count,) indices into (h, w) made flat, best first.

    Raises
    ------
    ValueError : as `pcc_map`, or too few places where the correlation is defined.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> recorded = rng.normal(size=(50, 6, 20))
    >>> predicted = rng.normal(size=(50, 6, 20))
    >>> predicted[:, 3, :2] = recorded[:, 3, :2]  # the image tells two places of sensor 3
    >>> np.unravel_index(encoding_features(predicted, recorded, count=2), (6, 20))
    (array([3, 3]), array([0, 1]))
    """
    return _best(pcc_map(predicted, recorded), count)


def reliable_features(repeats: ArrayLike, count: int = 300) -> np.ndarray:
    """The sensors and time points most reliable over repetitions of *training* images (`ncsnr`).

    Parameters
    ----------
    repeats : (n, r, h, w), single repetitions of training images; r >= 2
    count : how many features to choose

    Returns
    -------
    (count,) indices into (h, w) made flat, best first.

    Raises
    ------
    ValueError : as `ncsnr`, or too few places where it is defined.

    Examples
    --------
    >>> repeats = np.random.default_rng(0).normal(size=(50, 4, 6, 20))
    >>> repeats[:, :, 3, 7] += np.arange(50)[:, None]  # differs between images, not repetitions
    >>> divmod(int(reliable_features(repeats, count=2)[0]), 20)
    (3, 7)
    """
    return _best(ncsnr(repeats), count)


def rank(
    recorded: ArrayLike, generated: ArrayLike, features: np.ndarray, *,
    erp: ArrayLike | None = None,
) -> Ranking:
    """Place of the true image among the candidates, by correlation over features.

    Parameters
    ----------
    recorded : (n, h, w), of test images
    generated : (M, h, w), M >= n: of the same images in the same order, then of any others
    features : (f,) from `encoding_features` or `reliable_features`
    erp : (h, w), subtracted from both: the mean ERP of the training images, so that what all images
        share does not count. By default it counts, as in Gifford et al. 2022.

    Raises
    ------
    ValueError : shapes do not match, fewer than 2 features or candidates, NaN or infinity.

    Examples
    --------
    The second image's recording resembles what was generated for the third:

    >>> generated = np.random.default_rng(0).normal(size=(3, 2, 10))
    >>> recorded = generated[[0, 2, 2]]
    >>> rank(recorded, generated, features=np.arange(20)).ranks()
    array([1., 3., 1.])
    """
    recorded = as_array("recorded", recorded, (3,))
    generated = as_array("generated", generated, (3,))
    shape = recorded.shape[1:]
    if generated.shape[1:] != shape or len(generated) < max(2, len(recorded)):
        raise ValueError(f"generated {generated.shape} for recorded {recorded.shape}: wanted the "
                         "same sensors and time points, the same images first, 2 candidates or "
                         "more")
    erp = as_array("erp", np.zeros(shape) if erp is None else erp, (2,))
    if erp.shape != shape:
        raise ValueError(f"erp {erp.shape}: wanted {shape}, as the recording")
    features = _check_features(features, erp.size)
    level = erp.astype(float).ravel()[features]                                    # (f,)
    patterns, candidates = (unit(_flat(x)[:, features] - level)[0]
                            for x in (recorded, generated))                        # (n, f), (M, f)
    above, tied = [], []
    for image, pattern in enumerate(patterns):  # a constant pattern is 0: it ties with all
        correlations = candidates @ pattern                                        # (M,)
        lead = correlations - correlations[image]
        above.append((lead > TIE).sum())
        tied.append((np.abs(lead) <= TIE).sum() - 1)
    return Ranking(np.array(above), np.array(tied), len(generated))


def identify(
    recorded: ArrayLike, generated: ArrayLike, features: np.ndarray, *,
    erp: ArrayLike | None = None, sizes: tuple[int, ...] | None = None, seed: int = 0,
) -> Identification:
    """Identification with its intervals; parameters as `rank`.

    Parameters
    ----------
    sizes : numbers of candidates for the growth; by default 2, 4, 8, ... and all
    seed : of the bootstrap over images

    Raises
    ------
    ValueError : as `rank`, fewer than 2 recorded images, or sizes beyond the candidates.

    Examples
    --------
    Among 50 images, chance comes first in 0.02:

    >>> rng = np.random.default_rng(0)
    >>> generated = rng.normal(size=(50, 6, 20))
    >>> recorded = generated + 6 * rng.normal(size=(50, 6, 20))
    >>> found = identify(recorded, generated, features=np.arange(120), sizes=(2, 10, 50))
    >>> for size, top in found.growth.items():
    ...     print(f"{size:2} candidates: {top.value:.2f}, {top.low:.2f} to {top.high:.2f}")
     2 candidates: 0.92, 0.88 to 0.95
    10 candidates: 0.65, 0.56 to 0.74
    50 candidates: 0.32, 0.20 to 0.46
    """
    ranking = rank(recorded, generated, features, erp=erp)
    every = ranking.candidates
    if sizes is None:
        sizes = (*(2**power for power in range(1, (every - 1).bit_length())), every)
    return Identification(
        top1=bootstrap(ranking.top(1), seed=seed),
        top5=bootstrap(ranking.top(5), seed=seed),
        median_rank=median(ranking.ranks(), seed=seed),
        pairwise=bootstrap(ranking.pairwise(), seed=seed),
        growth={size: bootstrap(ranking.top(1, size), seed=seed) for size in sizes},
        images=len(ranking.above), candidates=every, features=len(features), seed=seed,
    )


def median(values: np.ndarray, *, seed: int = 0) -> Interval:
    """Median of values (n,), with the bootstrap's interval.

    The median is no mean, but it is read from the shares of the images that have each value, and
    those are.

    >>> median(np.array([1.0, 2.0, 2.0, 9.0])).value
    2.0
    """
    grid, place = np.unique(values, return_inverse=True)

    def middle(shares: np.ndarray) -> np.ndarray:                                  # (..., g)
        below = shares.cumsum(-1)  # with an even number of images two values meet at 1/2
        low, high = (grid[(below < half).sum(-1)] for half in (0.5 - TIE, 0.5 + TIE))
        between: np.ndarray = (low + high) / 2
        return between

    return bootstrap(np.eye(len(grid))[place], middle, seed=seed)


def _best(score: np.ndarray, count: int) -> np.ndarray:
    """Flat indices of the largest scores, best first; never one that is nan."""
    defined = int((~np.isnan(score)).sum())
    if not 2 <= count <= defined:
        raise ValueError(f"{count} features: wanted 2 to {defined}, the sensors and time points "
                         "where training data give a score")
    return np.argsort(-score, axis=None, kind="stable")[:count]


def _check_features(features: np.ndarray, size: int) -> np.ndarray:
    features = np.asarray(features)
    if (features.ndim != 1 or features.dtype.kind not in "iu" or len(features) < 2
            or len(np.unique(features)) < len(features)
            or features.min() < 0 or features.max() >= size):
        raise ValueError(f"features: wanted 2 or more different indices below {size}, from "
                         "encoding_features or reliable_features")
    return features


def _flat(x: np.ndarray) -> np.ndarray:
    return rearrange(x, "n h w -> n (h w)")
