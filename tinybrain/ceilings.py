"""How close anything could come, from the repetitions of the test images.

Repetition i of an image is s + e_i: what the image evokes and noise of its own. At each place (an
image's pattern; a sensor and time point across images; everything) S and N are the variances of s
and of e. The mean of m repetitions then has the

    reliability          rel(m) = S / (S + N / m)                  Spearman (1910), Brown (1910)

and two means of a and b repetitions, with nothing in common but s, correlate by

    attenuation          r = sqrt(rel(a) rel(b))                   Spearman (1904)

and differ by MSE = N / a + N / b. Against the mean of the r test repetitions that gives

    the perfect conditional mean, s itself   a = infinity   r = sqrt(rel(r)),  MSE = N / r
    half of the repetitions, the other half  a = b = r / 2  a lower bound of it
    half of the repetitions, all of them     noise is shared: an upper bound (Gifford et al. 2022)
    one sample of a perfect sampler          a = the repetitions that a training target averages
    the mean of k such samples               a = k times that

`ncsnr` says the same as a share of variance, place by place, as is usual for THINGS-MEG.
Letters: n images, r repetitions, h sensors, w time points, s splits, m points correlated over.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from einops import rearrange
from numpy.typing import ArrayLike

from .metrics import as_array, average, centre, ratio

POINTS = 128  # time points worked on at once across images: bounds memory


@dataclass(frozen=True)
class Ceiling:
    """What the best prediction possible would score against the average of all repetitions.

    The best is the perfect conditional mean, i.e. the signal without its trial-to-trial noise.

    Attributes
    ----------
    noise_variance : variance of a single repetition around its image's expectation, unit^2.
    mse : expected MSE of the perfect conditional mean: noise_variance / repetitions.
    lower : per kind of PCC, half of the repetitions against the other half: noisier than the
        perfect conditional mean on both sides, so a good model may exceed it.
    upper : per kind, half against all. Biased upwards: all contains the half, and so its noise.
    corrected : per kind, Spearman-Brown: with rho half against half, all repetitions have the
        reliability 2 rho / (1 + rho), and the perfect conditional mean reaches its square root.
    repetitions, splits, seed : how many repetitions there were, how many random halvings, and the
        seed they were drawn from.
    """

    noise_variance: float
    mse: float
    lower: dict[str, float]
    upper: dict[str, float]
    corrected: dict[str, float]
    repetitions: int
    splits: int
    seed: int


@dataclass(frozen=True)
class SampleCeiling:
    """What one sample of a perfect sampler would score against the average of all repetitions.

    Attributes
    ----------
    mse : expected MSE: noise_variance / averaged + noise_variance / repetitions.
    pcc : per kind, the expected correlation.
    averaged : how many repetitions the sample has the noise of.
    repetitions : how many the test targets average.
    """

    mse: float
    pcc: dict[str, float]
    averaged: float
    repetitions: int


def noise_ceiling(repeats: ArrayLike, *, splits: int = 100, seed: int = 0) -> Ceiling:
    """Split-half noise ceilings from single repetitions (n, r, h, w).

    Each split draws two disjoint halves of r // 2 repetitions, the same for all images (with odd r
    one repetition sits out, another each time). Averaging repetitions is linear, so all splits
    follow from the r x r matrices of products between repetitions, G: the covariance of halves
    with weights a and b is a'Gb. No half is ever formed.

    Parameters
    ----------
    repeats : (n, r, h, w), any unit; r >= 2.
    splits, seed : number of random splits, and the seed they are drawn from.

    Raises
    ------
    ValueError : not (n, r, h, w), fewer than 2 repetitions or 1 split, NaN or infinity.

    Notes
    -----
    Split halves as Gifford et al. 2022; Spearman's and Brown's correction is made at each place
    (image, or sensor and time point) from the mean over splits, then averaged. A negative rho keeps
    its sign, so that places without signal average to 0. Where there is little signal at a place
    the root of its estimate is too low on average: "pooled", of all together, suffers least.

    Examples
    --------
    Signal and noise of one variance: the perfect conditional mean reaches sqrt(1 / (1 + 1/10)).

    >>> rng = np.random.default_rng(0)
    >>> signal = rng.normal(size=(100, 1, 6, 20))
    >>> found = noise_ceiling(signal + rng.normal(size=(100, 10, 6, 20)))
    >>> print(f"MSE {found.mse:.2f}, {found.lower['image']:.2f} to {found.upper['image']:.2f}, "
    ...       f"corrected {found.corrected['image']:.2f}")
    MSE 0.10, 0.83 to 0.96, corrected 0.95
    """
    if splits < 1:
        raise ValueError(f"{splits} splits: wanted at least 1")
    repeats = as_repeats(repeats)
    noise_variance, r = float(noise_per_image(repeats).mean()), repeats.shape[1]
    halves = _random_halves(r, splits, np.random.default_rng(seed))                # (2, r, s)
    within, total = _products_within_images(repeats)                        # (n, r, r), (r, r)
    blocks = [repeats[:, :, sensor, start:start + POINTS] for sensor in range(repeats.shape[2])
              for start in range(0, repeats.shape[3], POINTS)]
    across = [_split_half(_products(rearrange(block, "n r w -> w r n")), halves)
              for block in blocks]
    places = {"pattern": _split_half(within, halves), "image": np.concatenate(across, -1),
              "pooled": _split_half(total, halves)}
    lower, upper, corrected = {}, {}, {}
    for kind, (half, whole, power) in places.items():
        spearman_brown = np.sign(half) * np.sqrt(2 * np.abs(half) / (1 + np.abs(half)))
        lower[kind] = average(half, power > 0)
        upper[kind] = average(whole, power > 0)
        corrected[kind] = average(spearman_brown, power > 0)
    return Ceiling(noise_variance, noise_variance / r, lower, upper, corrected, r, splits, seed)


def sample_ceiling(repeats: ArrayLike, averaged: float = 1) -> SampleCeiling:
    """What a perfect sampler of training targets reaches with one sample.

    Such a sampler draws s + e as if the image were recorded again: its sample carries the noise of
    a training target, whatever it knows. Hence N / averaged + N / r, and the attenuation of the
    module's docstring with S and N estimated without bias at each place: with V(1) the variance of
    one repetition, averaged over repetitions, and V(r) that of their mean,

        S = (r V(r) - V(1)) / (r - 1),    N = V(1) - S.

    Where an estimate of S is negative the correlation is that of |S|, negative: places without
    signal then average to 0.

    Parameters
    ----------
    repeats : (n, r, h, w), single repetitions of the test images, any unit; r >= 2.
    averaged : how many repetitions a training target averages (THINGS-EEG2: 4, THINGS-MEG: 1).
        For the mean of k samples, k times that; `math.inf` is the perfect conditional mean.

    Raises
    ------
    ValueError : not (n, r, h, w), fewer than 2 repetitions, `averaged` below 1, NaN or infinity.

    Examples
    --------
    Signal and noise of one variance, ten repetitions. A sample that has the noise of one is off by
    1 + 1/10; the mean of many samples comes close to the noise ceiling.

    >>> rng = np.random.default_rng(0)
    >>> signal = rng.normal(size=(100, 1, 6, 20))
    >>> repeats = signal + rng.normal(size=(100, 10, 6, 20))
    >>> for found in (sample_ceiling(repeats), sample_ceiling(repeats, averaged=100)):
    ...     print(f"MSE {found.mse:.2f}, PCC {found.pcc['image']:.2f}")
    MSE 1.10, PCC 0.67
    MSE 0.11, PCC 0.95
    """
    if not averaged >= 1:
        raise ValueError(f"a target that averages {averaged} repetitions: wanted 1 or more")
    repeats = as_repeats(repeats)
    noise, r = float(noise_per_image(repeats).mean()), repeats.shape[1]
    pattern, pooled = _powers_within_images(repeats)                               # (2, n), (2,)
    image = np.stack([_power(rearrange(repeats[:, :, sensor], "n r w -> w r n"))[0]
                      for sensor in range(repeats.shape[2])], 1)                   # (2, h, w)
    pcc = {}
    for kind, (one, mean) in {"pattern": pattern, "image": image, "pooled": pooled}.items():
        signal = (r * mean - one) / (r - 1)
        noise_here, size = one - signal, np.abs(signal)
        with np.errstate(invalid="ignore"):  # 0 / 0 where all is constant: left out
            reliability = size / (size + noise_here / averaged) * size / (size + noise_here / r)
        pcc[kind] = average(np.sign(signal) * np.sqrt(reliability), mean > 0)
    return SampleCeiling(noise / averaged + noise / r, pcc, averaged, r)


def noise_per_image(repeats: ArrayLike) -> np.ndarray:
    """Noise variance of one repetition of each image, mean over sensors and times: (n,), unit^2.

    Unbiased (r - 1 below the sum of squares). Divided by r it is the squared error that the perfect
    conditional mean is expected to have on that image.

    Parameters
    ----------
    repeats : (n, r, h, w), r >= 2

    Raises
    ------
    ValueError : not (n, r, h, w), fewer than 2 repetitions, NaN or infinity.

    Examples
    --------
    >>> noise = np.random.default_rng(0).normal(size=(2, 10, 6, 40))
    >>> noise_per_image(noise * [[[[1]]], [[[3]]]]).round()
    array([1., 9.])
    """
    return np.array([image.astype(float).var(axis=0, ddof=1).mean()
                     for image in as_repeats(repeats)])


def ncsnr(repeats: ArrayLike) -> np.ndarray:
    """Noise ceiling signal-to-noise ratio of each sensor and time point, (h, w) float64.

    With every repetition z-scored across images, its variance is 1, of which the noise has sigma^2,
    the variance over repetitions (r - 1 below the sum), averaged over images:

        ncsnr = sqrt(max(0, 1 - sigma^2)) / sigma                  Allen et al. (2022)

    nan where a repetition is the same for all images, infinite without noise. For THINGS-MEG by
    Hebart et al. (2023), from the 12 repetitions of the test images; see `explainable`.

    Parameters
    ----------
    repeats : (n, r, h, w), r >= 2

    Raises
    ------
    ValueError : as `noise_per_image`.

    Examples
    --------
    Signal of twice the noise's standard deviation:

    >>> rng = np.random.default_rng(0)
    >>> snr = ncsnr(2 * rng.normal(size=(500, 1, 3, 10)) + rng.normal(size=(500, 12, 3, 10)))
    >>> snr.shape, round(float(snr.mean()), 1)
    ((3, 10), 2.0)
    >>> round(float(explainable(snr, averaged=12).mean()))  # per cent, of the mean of all 12
    98
    """
    repeats, rows = as_repeats(repeats), []
    for sensor in range(repeats.shape[2]):
        x, _ = centre(rearrange(repeats[:, :, sensor], "n r w -> w r n"))
        with np.errstate(invalid="ignore", divide="ignore"):
            x /= np.sqrt(np.square(x).mean(-1, keepdims=True))
            noise = x.var(-2, ddof=1).mean(-1)                                     # (w,)
            rows.append(np.sqrt(np.maximum(0, 1 - noise) / noise))
    return np.stack(rows)


def explainable(snr: np.ndarray, averaged: int) -> np.ndarray:
    """Per cent of the variance of a mean of repetitions that is not noise, 100 s^2 / (s^2 + 1/m).

    Parameters
    ----------
    snr : (h, w), from `ncsnr`
    averaged : m, how many repetitions the mean is taken of; its square root over 10 is the
        correlation that the perfect conditional mean has with it.

    Returns
    -------
    (h, w)

    Examples
    --------
    >>> explainable(np.array([[1.0]]), averaged=4)
    array([[80.]])
    """
    with np.errstate(divide="ignore"):
        share: np.ndarray = 100 / (1 + 1 / (averaged * np.square(snr)))
    return share


def as_repeats(repeats: ArrayLike) -> np.ndarray:
    """Repetitions as an array (n, r, h, w), r >= 2, finite; ValueError if they are not."""
    repeats = as_array("repeats", repeats, (4,))
    if repeats.shape[1] < 2:
        raise ValueError(f"{repeats.shape[1]} repetitions: wanted at least 2, for without another "
                         "repetition noise cannot be told from signal")
    return repeats


# -------------------------------------------------------------------------------------------------
# Sums over repetitions


def _power(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of repetitions x (..., r, m): variances over m of one and of their mean (2, ...), and the
    mean over m of each (..., r)."""
    x, means = centre(x)
    one = np.square(x).mean((-2, -1))
    return np.stack([one, np.square(x.mean(-2)).mean(-1)]), means


def _powers_within_images(repeats: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`_power` over sensors and time of each image (2, n), and over everything (2,)."""
    rows = [_power(rearrange(image, "r h w -> r (h w)")) for image in repeats]
    within, means = (np.stack(part, -1) for part in zip(*rows, strict=True))       # (2, n), (r, n)
    return within, within.mean(-1) + _power(means)[0]


def _products_within_images(repeats: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Products of repetitions over sensors and time, of each image (n, r, r) and of all (r, r)."""
    each, means = [], []
    for image in repeats:
        centred, mean = centre(rearrange(image, "r h w -> r (h w)"))
        each.append(_matmul(centred, centred.T))
        means.append(mean)
    within, size = np.stack(each), repeats[0, 0].size
    return within, within.sum(0) + size * _products(np.stack(means, 1))


def _products(x: np.ndarray) -> np.ndarray:
    """Centred products (..., r, r) of repetitions x (..., r, m)."""
    x = np.ascontiguousarray(centre(x)[0])
    return _matmul(x, x.swapaxes(-2, -1))


def _matmul(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a @ b by torch: numpy calls BLAS once per matrix of a stack, and its threads then wait."""
    return (torch.from_numpy(a) @ torch.from_numpy(b)).numpy()


def _random_halves(r: int, splits: int, rng: np.random.Generator) -> np.ndarray:
    """Weights (2, r, splits) that average two disjoint random halves of r repetitions."""
    order = rng.permuted(np.tile(np.arange(r)[:, None], splits), axis=0)           # (r, s)
    size = r // 2
    return np.stack([order < size, (order >= size) & (order < 2 * size)]) / size


def _split_half(products: np.ndarray, halves: np.ndarray) -> np.ndarray:
    """For products (..., r, r), three times (...): the mean over splits of r(half, other half),
    that of r(half, all), and the power of the average of all, 0 where it is constant."""
    first, second = halves                                                         # (r, s)
    half, other = _matmul(products, first), _matmul(products, second)              # (..., r, s)
    half_half = np.einsum("...rs,rs->...s", half, first)
    half_other = np.einsum("...rs,rs->...s", half, second)
    other_other = np.einsum("...rs,rs->...s", other, second)
    all_all = products.mean((-2, -1))                                              # (...)
    lower = ratio(half_other, half_half, other_other)
    upper = ratio(half.mean(-2), half_half, all_all[..., None])
    return np.stack([lower.mean(-1), upper.mean(-1), all_all])
