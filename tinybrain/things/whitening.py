"""Multivariate noise normalisation (MVNN): sensors made uncorrelated, their noise of variance 1.

Guggenmos et al. (2018), in the way Gifford et al. (2022) apply it to THINGS-EEG2. C, the covariance
of the noise, is a mean of many covariances; W = C^(-1/2), the symmetric root, whitens: the noise of
W x has covariance I, as far as C was not shrunk. What the many are of:

    over="epochs"    each single trial; its observations are the w time points
    over="time"      each condition and time point; its observations are the r repetitions

Each is shrunk as Ledoit & Wolf (2004) say, after standardising, so that correlations shrink and
variances do not. With z the n observations of p sensors, centred and divided by their standard
deviation sd (n in the denominator), and z_i one observation,

    S    = z'z / n,     m = tr(S) / p,     d2 = |S - m I|^2 / p
    b2   = (sum_i |z_i|^4 / n - |S|^2) / (n p)
    rate = min(b2, d2) / d2
    covariance = diag(sd) ((1 - rate) S + rate m I) diag(sd)

This is scikit-learn's `shrinkage="auto"`, for a batch at once. sum_i |z_i|^4 is the sum of all
entries of (z^2)'(z^2), the usual way to write b2, without that second product of matrices.

Letters: n conditions (images), r repetitions, h sensors, w time points; within a covariance
b covariances, n observations, p sensors.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from einops import rearrange
from numpy.typing import NDArray

BLOCK = 1_000_000  # numbers worked on at once: a few arrays of 8 MB, small enough for the cache


def shrunk_covariance(x: np.ndarray) -> NDArray[np.float64]:
    """Ledoit-Wolf covariances of standardised data, float64 (b, p, p).

    Parameters
    ----------
    x : (b, n, p), n observations of p sensors for each of b covariances, any unit
        A sensor that is constant counts as of standard deviation 1, as in scikit-learn: what
        shrinking adds to its variance is then rate m in squared units of x.

    Returns
    -------
    (b, p, p), in squared units of x.

    Raises
    ------
    ValueError
        If `x` is not (b, n, p) with at least two observations.

    Examples
    --------
    Two sensors that always agree; so few observations are not quite believed:

    >>> x = np.array([[[0.0, 0], [1, 1], [2, 2], [3, 3]]])
    >>> shrunk_covariance(x).round(2)
    array([[[1.25, 0.85],
            [0.85, 1.25]]])
    """
    x = np.asarray(x, np.float64)
    if x.ndim != 3 or x.shape[1] < 2 or x.shape[2] < 1:
        raise ValueError(
            f"observations of shape {x.shape}; wanted (covariances, observations, sensors) with "
            "at least 2 observations: one alone has no covariance"
        )
    n, p = x.shape[1:]
    mean = x.mean(axis=1, keepdims=True)                                            # b 1 p
    z = x - mean                                                                    # b n p
    sd = np.sqrt(np.einsum("bnp,bnp->bp", z, z) / n)[:, None]                       # b 1 p
    sd[sd <= n * np.finfo(np.float64).eps * abs(mean)] = 1  # constant but for rounding of the mean
    z /= sd
    covariance: NDArray[np.float64] = z.swapaxes(1, 2) @ z / n                      # b p p
    diagonal = np.einsum("bpp->bp", covariance)  # a view: writing to it writes to the covariance
    m = diagonal.mean(axis=1)                                                       # b
    squared = np.einsum("bpq,bpq->b", covariance, covariance)
    d2 = squared / p - m**2
    fourth = np.square(np.einsum("bnp,bnp->bn", z, z)).sum(axis=1)
    b2 = np.minimum((fourth / n - squared) / (n * p), d2)
    rate = np.divide(b2, d2, out=np.zeros_like(d2), where=d2 > 0)  # d2 = 0: nothing to shrink
    covariance *= (1 - rate)[:, None, None]
    diagonal += (rate * m)[:, None]
    covariance *= sd * sd.swapaxes(1, 2)
    return covariance


def noise_covariance(x: np.ndarray, over: str = "epochs") -> NDArray[np.float64]:
    """The mean of the shrunk covariances of a recording, float64 (h, h).

    Parameters
    ----------
    x : (n, r, h, w), conditions, repetitions, sensors, time points
        May be a memory map: it is read once, a few megabytes at a time, and never copied whole.
    over : "epochs" or "time"
        A covariance over the time points of each single trial (what NICE and ATM use), or over
        the repetitions at each time point of each condition. Two repetitions, as in one session
        of THINGS-EEG2 training, know little of a covariance: "time" then mostly shrinks.

    Returns
    -------
    (h, h), in squared units of `x`.

    Raises
    ------
    ValueError
        If `x` is not such an array, holds NaN or infinity, or has one observation a covariance.

    Examples
    --------
    Ten images, four repetitions each, of two sensors; the second is three times as noisy:

    >>> rng = np.random.default_rng(0)
    >>> x = rng.standard_normal((10, 4, 2, 200)) * [[1], [3]]
    >>> np.sqrt(np.diag(noise_covariance(x))).round(1)
    array([1., 3.])
    """
    layouts = {"epochs": "n r h w -> (n r) w h", "time": "n r h w -> (n w) r h"}
    if over not in layouts:
        raise ValueError(f"over={over!r}; wanted 'epochs' (time points) or 'time' (repetitions)")
    if np.ndim(x) != 4 or 0 in np.shape(x):
        raise ValueError(
            f"signals of shape {np.shape(x)}; wanted (conditions, repetitions, sensors, time "
            "points), none of them 0"
        )
    n, r, h, w = x.shape
    each = r if over == "epochs" else w  # covariances a condition
    step = max(1, BLOCK // (h * max(r * w, each * h)))
    total = np.zeros((h, h))
    for start in range(0, n, step):
        block = np.asarray(x[start : start + step], np.float64)                     # n r h w
        if not np.isfinite(block).all():
            raise ValueError(
                f"NaN or infinite values in conditions {start} to {start + len(block) - 1}; "
                "wanted finite signals: leave broken trials or sensors out"
            )
        total += shrunk_covariance(rearrange(block, layouts[over])).sum(axis=0)
    mean: NDArray[np.float64] = total / (n * each)
    return mean


def whitener(covariance: np.ndarray, sensors: Sequence[str] = ()) -> NDArray[np.float64]:
    """W = C^(-1/2), the symmetric (ZCA) root: `whitener(c) @ x` for signals x (..., h, w).

    Of all matrices that whiten it changes the signals least, so each row keeps its sensor's name;
    yet it mixes sensors, and a map of whitened signals is not a map of the scalp. `dewhitener`
    takes them back.

    Parameters
    ----------
    covariance : (h, h), such as `noise_covariance` gives
    sensors : h names for messages

    Returns
    -------
    (h, h) float64, in 1 / units of the signals.

    Raises
    ------
    ValueError
        If the covariance is not a symmetric matrix of full rank; sensors that are silent or
        depend on each other are named.

    Examples
    --------
    >>> w = whitener(np.array([[4.0, 0], [0, 9]]))
    >>> w @ [2.0, 3.0]  # one standard deviation of each
    array([1., 1.])
    """
    values, vectors = _decompose(covariance, sensors)
    return (vectors * values**-0.5) @ vectors.T


def dewhitener(covariance: np.ndarray, sensors: Sequence[str] = ()) -> NDArray[np.float64]:
    """C^(1/2), the inverse of `whitener` of the same covariance; parameters and errors as there.

    Examples
    --------
    >>> c = np.array([[4.0, 1], [1, 9]])
    >>> np.allclose(dewhitener(c) @ whitener(c), np.eye(2))
    True
    """
    values, vectors = _decompose(covariance, sensors)
    return (vectors * values**0.5) @ vectors.T


def _decompose(
    covariance: np.ndarray, sensors: Sequence[str]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Eigenvalues (h,), all above rounding errors, and eigenvectors (h, h) in columns."""
    c = np.asarray(covariance, np.float64)
    square = c.ndim == 2 and c.shape[0] == c.shape[1] > 0
    if not square or not np.isfinite(c).all() or abs(c - c.T).max() > 1e-9 * abs(c).max():
        raise ValueError(
            f"covariance of shape {c.shape}; wanted a finite, symmetric (sensors, sensors) matrix"
        )
    values, vectors = np.linalg.eigh(c)
    lost = values <= max(values[-1], 0) * len(c) * np.finfo(np.float64).eps
    if lost.any():
        names = tuple(sensors) or tuple(f"sensor {number}" for number in range(len(c)))
        raise ValueError(_why_singular(c, vectors[:, lost], names))
    return values, vectors


def _why_singular(c: np.ndarray, lost: np.ndarray, names: Sequence[str]) -> str:
    """Name the sensors that take part in the directions `lost` (h, k) without variance."""
    silent = np.diag(c) <= np.diag(c).max() * len(c) * np.finfo(np.float64).eps
    share = np.where(silent, 0, np.square(lost).sum(axis=1))  # a copy has 1/2, as has its original
    tied = (share > share.max() / 4) & (lost.shape[1] > silent.sum())
    said = [
        f"{what} {', '.join(name for name, is_so in zip(names, which) if is_so)}"
        for what, which in (("silent:", silent), ("copies or sums of each other:", tied))
        if which.any()
    ]
    return (
        f"the covariance of {len(c)} sensors has rank {len(c) - lost.shape[1]} and cannot be "
        f"inverted ({'; '.join(said)}); leave out silent sensors and one of each set that depends "
        "on each other (after an average reference, any one)"
    )
