"""Change of the sampling rate by Fourier transform, equal to what MNE-Python's epochs do.

The public preprocessing of THINGS-EEG2 calls MNE's `Epochs.resample`. With n samples, the ratio of
rates q = rate_out / rate_in, and halves rounded to even, that is:

    pad      the first and the last value are repeated to P = 2^i >= n + 2 min(n // 8, 100) samples,
             L = (P - n) // 2 of them on the left
    FFT      coefficients F_0 ... F_(P/2)
    cut      to those of N = round(q P) samples, F_0 ... F_(N/2); for even N, F_(N/2) is doubled,
             for it now stands for its conjugate too (where N is not below P, F_(P/2) is halved)
    inverse  N samples, P / N old samples apart
    keep     round(q n) of them from sample a = round(q L) on

Two of the roundings move the result in time: a P / N is not quite L, and where q P is not whole,
P / N is not quite 1 / q. `shift` says by how much. 1201 samples from 1000 to 250 Hz have P = 2048,
L = 423, N = 512, a = 106, and 106 * 4 - 423 = 1: each new sample is the signal of 1 ms after its
nominal time, so that whatever happened seems to have happened 1 ms early. 1001 samples to 100 Hz
lie -3.5 ms off at the first new sample and, as N = 205 where q P = 204.8, -4.5 ms at the last.

`aligned=True` leaves nothing to round. With q = up / down in lowest terms, P = 2^i down and L is a
multiple of down, so that q P and q L are whole; the rest is as above. Either way F_(N/2) keeps the
cosine at half of the new rate, as high as the new samples find it; of its sine, which is zero at
each of them, nothing can be kept.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import NamedTuple

import numpy as np

BLOCK = 500_000  # numbers transformed at once, 4 MB: bounds memory


class _Plan(NamedTuple):
    """Numbers of samples; L, P, N, a of the module's description and how many are kept."""

    left: int
    padded: int
    cut: int
    first: int
    kept: int


def resample(
    x: np.ndarray, rate_in: float, rate_out: float, *, aligned: bool = False
) -> np.ndarray:
    """Signals at another sampling rate, along the last axis.

    Parameters
    ----------
    x : (..., w), any unit
    rate_in, rate_out : float
        Hz. Rates that differ by less than one in a million give a copy, as in MNE.
    aligned : bool
        False is MNE's result, where sample k is the signal k / rate_out + shift[k] seconds after
        the first sample of `x` (see `shift`). True is the signal at k / rate_out.

    Returns
    -------
    (..., round(w rate_out / rate_in)) float64, at least one sample.

    Raises
    ------
    ValueError
        If `x` has no samples, or holds NaN or infinity, or a rate is not above 0; with `aligned`
        also if the ratio of the rates is no fraction of whole numbers up to 1000.

    Examples
    --------
    A rhythm of 10 Hz from 1000 to 250 Hz, 1 ms off as by MNE, and where it belongs:

    >>> x = np.sin(2 * np.pi * 10 * np.arange(1201) / 1000)
    >>> wanted = np.sin(2 * np.pi * 10 * np.arange(300) / 250)
    >>> for aligned in (False, True):
    ...     y = resample(x, 1000, 250, aligned=aligned)
    ...     print(y.shape, f"{abs(y - wanted)[50:-50].max():.3f}")
    (300,) 0.063
    (300,) 0.000
    """
    x = np.asarray(x, np.float64)
    if x.ndim == 0 or x.size == 0:
        raise ValueError(f"signals of shape {x.shape}; wanted samples along the last axis")
    if _unchanged(rate_in, rate_out):
        return x.copy()
    plan = _plan(x.shape[-1], rate_in, rate_out, aligned)
    rows = x.reshape(-1, x.shape[-1])                                               # b w
    out = np.empty((len(rows), plan.kept))
    step = max(1, BLOCK // max(plan.padded, plan.cut))
    for start in range(0, len(rows), step):
        out[start : start + step] = _resample_rows(rows[start : start + step], plan)
    return out.reshape(*x.shape[:-1], plan.kept)


def shift(n: int, rate_in: float, rate_out: float) -> np.ndarray:
    """How much later than its nominal time k / rate_out each sample of `resample` lies, seconds.

    Parameters
    ----------
    n : int
        Samples before.
    rate_in, rate_out : float
        Hz.

    Returns
    -------
    (round(n rate_out / rate_in),) float64. Negative where samples are of an earlier time; constant
    unless the padded length times the ratio of the rates had to be rounded. With `aligned=True`
    there is none.

    Raises
    ------
    ValueError
        If `n` or a rate is not above 0.

    Examples
    --------
    Epochs of 1201 samples from 1000 to 250 Hz lie a millisecond late:

    >>> float(shift(1201, 1000, 250)[0])
    0.001
    """
    if n < 1:
        raise ValueError(f"{n} samples; wanted at least 1")
    if _unchanged(rate_in, rate_out):
        return np.zeros(n)
    plan = _plan(n, rate_in, rate_out, aligned=False)
    k = np.arange(plan.kept)
    return ((plan.first + k) * plan.padded / plan.cut - plan.left) / rate_in - k / rate_out


def _resample_rows(rows: np.ndarray, plan: _Plan) -> np.ndarray:
    """Pad, transform, cut, transform back, keep: (b, w) to (b, w')."""
    if not np.isfinite(rows).all():
        raise ValueError("NaN or infinite values; wanted finite signals: leave broken epochs out")
    right = plan.padded - plan.left - rows.shape[1]
    padded = np.pad(rows, ((0, 0), (plan.left, right)), "edge")
    coefficients = np.fft.rfft(padded)[:, : plan.cut // 2 + 1]
    shorter = plan.cut < plan.padded
    if (even := min(plan.cut, plan.padded)) % 2 == 0:
        coefficients[:, even // 2] *= 2 if shorter else 0.5
    coefficients *= plan.cut / plan.padded
    return np.fft.irfft(coefficients, plan.cut)[:, plan.first : plan.first + plan.kept]


def _plan(n: int, rate_in: float, rate_out: float, aligned: bool) -> _Plan:
    """All lengths for n samples."""
    ratio, least = rate_out / rate_in, n + 2 * min(n // 8, 100)
    kept = max(round(ratio * n), 1)
    if aligned:
        down = _fraction(ratio).denominator
        padded = down * 2 ** math.ceil(math.log2(max(least / down, 1)))
        left = down * round((padded - n) / 2 / down)
    else:
        padded = 2 ** math.ceil(math.log2(least))
        left = (padded - n) // 2
    return _Plan(left, padded, max(round(ratio * padded), 1), round(ratio * left), kept)


def _fraction(ratio: float) -> Fraction:
    """The ratio of two rates as a fraction of small whole numbers."""
    fraction = Fraction(ratio).limit_denominator(1000)
    if fraction == 0 or abs(fraction / Fraction(ratio) - 1) > 1e-9 or fraction.numerator > 1000:
        raise ValueError(
            f"rates in the ratio {ratio:g}; wanted a fraction of whole numbers up to 1000 to align "
            "samples: choose such a rate, or aligned=False and mind `shift`"
        )
    return fraction


def _unchanged(rate_in: float, rate_out: float) -> bool:
    """Whether there is nothing to do, as MNE sees it; refuses what is not a rate."""
    if not (0 < rate_in < math.inf and 0 < rate_out < math.inf):  # false for NaN too
        raise ValueError(f"rates {rate_in} and {rate_out} Hz; wanted both above 0 and finite")
    return abs(rate_out - rate_in) <= 1e-6 * rate_in
