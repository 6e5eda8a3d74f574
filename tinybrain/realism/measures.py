"""What is measured of signals to tell whether samples look like recordings.

Signals are y (h, w): h sensors, w time points, at a rate in Hz. <.> is the mean over images and
trials, and over time where a letter t stands in it. Each measure has a profile, which is what
one draws, and a difference between two profiles, whose size is the distance:

    Variance          V_h = <(y_ht - <y_h>)^2>; difference in dB, 10 log10 V_h / V'_h
    Spectrum          S_h(f): periodogram of y_h less its mean, Hann window (Welch 1967, with one
                      segment a trial); of each sensor's shares S_h(f) / sum_f S_h(f), in dB
    Covariance        C = <(y_t - <y>)(y_t - <y>)^T>; eigenvalues of C'^-1 C in dB, less their mean
    Autocorrelation   R_h(lag) = <y_ht y_h,t+lag> / <y_ht^2>; R - R'
    Frechet           of features P y, mean m and covariance S; the two shares of
                      (|m - m'|^2 + tr(S + S' - 2 (S S')^1/2)) / tr S'

where ' marks the reference. The size is the root mean square of the difference, for Frechet its
sum. The first three divide the work: a wrong scale changes the variance, not the shares of the
spectrum, nor the covariance less its mean level. Autocorrelation sees what the spectrum sees
(Wiener-Khinchin), more of its slow and less of its fast side.

- The eigenvalues of C'^-1 C (Foerstner & Moonen 1999, the affine-invariant Riemannian distance) say
  along which spatial filters power is wrong, and by how much. They are the same for whitened and
  for unwhitened signals, as sensors may be mixed by any invertible matrix.
- Signals are taken whole: evoked response, image, noise. To look at one part, pass that part.
- A ratio to nothing is undefined: a sensor that is constant in the reference is left out. Nothing
  beside something counts as a ratio of 2^-52, -157 dB, for silence must not pay.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from einops import rearrange

SMALLEST = np.finfo(float).eps  # least ratio of two powers that counts
RANK = 1e-8  # of the largest eigenvalue: below, the reference has no variance in a direction

Difference = Callable[[np.ndarray], np.ndarray]  # of a profile to the reference's


class Measure(ABC):
    """What the measures share; each has `moments`, `profile` and `against` of its own."""

    name: str
    unit: str

    @abstractmethod
    def moments(self, y: np.ndarray) -> np.ndarray:
        """Means over the trials of y (k, h, w) float64, of any shape. Averaged over images too they
        are all that a profile needs."""

    @abstractmethod
    def profile(self, moments: np.ndarray) -> np.ndarray:
        """What one draws."""

    @abstractmethod
    def against(self, reference: np.ndarray) -> Difference:
        """A function from a profile to its difference from the reference's, nan where undefined."""

    def size(self, difference: np.ndarray) -> float:
        """The distance: the root mean square of the difference."""
        return rms(difference)

    def axis(self, points: int) -> np.ndarray | None:
        """The last axis of profiles of signals with w points, where it is one of numbers."""
        return None


class Variance(Measure):
    """Variance of each sensor, (h,) unit^2; as `metrics.variance_per_sensor`.

    Examples
    --------
    The profile of recorded signals, of samples, and how far they are apart:

    >>> y = np.random.default_rng(0).normal(size=(100, 3, 40))                 # (k, h, w)
    >>> measure = Variance()
    >>> recorded, generated = (measure.profile(measure.moments(x)) for x in (y, 10 * y))
    >>> measure.against(recorded)(generated)                                   # (h,), dB
    array([20., 20., 20.])
    """

    name, unit = "variance", "dB"

    def moments(self, y: np.ndarray) -> np.ndarray:
        """y (k, h, w) -> (2, h)."""
        return np.stack([y.mean(axis=(0, 2)), np.square(y).mean(axis=(0, 2))])

    def profile(self, moments: np.ndarray) -> np.ndarray:
        """Averaged moments (2, h) -> (h,)."""
        mean, square = moments
        variance: np.ndarray = square - mean**2
        return variance

    def against(self, reference: np.ndarray) -> Difference:
        """Profile -> difference (h,), dB, nan where the reference is constant."""
        return lambda profile: decibels(profile, reference)


@dataclass(frozen=True)
class Spectrum(Measure):
    """One-sided power spectral density of each sensor, (h, f) unit^2 / Hz.

    The difference is one of relative power, each sensor's spectrum divided by its sum.

    Parameters
    ----------
    rate : Hz
    band : least and greatest frequency that count, Hz; by default all but the constant. A filtered
        recording has nothing to compare beyond its cut-off.

    Examples
    --------
    >>> measure, t = Spectrum(rate=100), np.arange(100) / 100                  # 1 s
    >>> alpha = np.sin(2 * np.pi * 10 * t)[None, None]                         # (1, 1, 100)
    >>> power = measure.profile(measure.moments(alpha))
    >>> print(power.shape, measure.axis(points=100)[power[0].argmax()], "Hz")
    (1, 50) 10.0 Hz
    """

    rate: float
    band: tuple[float, float] = (0.0, math.inf)
    name, unit = "spectrum", "dB"

    def moments(self, y: np.ndarray) -> np.ndarray:
        """y (k, h, w) -> (h, f)."""
        mean: np.ndarray = self.of_trials(y).mean(axis=0)
        return mean

    def of_trials(self, y: np.ndarray) -> np.ndarray:
        """Periodograms (..., f) of signals (..., w), as scipy.signal.welch(y, rate, nperseg=w)."""
        w = y.shape[-1]
        window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(w) / w)
        waves = np.fft.rfft(window * (y - y.mean(axis=-1, keepdims=True)))
        power = (waves.real**2 + waves.imag**2) / (self.rate * np.square(window).sum())
        power[..., 1 : (w + 1) // 2] *= 2  # with its negative frequency; rate / 2 has none
        counted: np.ndarray = power[..., self._counts(w)]
        return counted

    def profile(self, moments: np.ndarray) -> np.ndarray:
        """(h, f), as it is."""
        return moments

    def against(self, reference: np.ndarray) -> Difference:
        """Profile -> difference (h, f), dB."""
        theirs = _share(reference)
        return lambda profile: decibels(_share(profile), theirs)

    def axis(self, points: int) -> np.ndarray:
        """Frequencies (f,) in Hz of signals with w points."""
        counted: np.ndarray = np.fft.rfftfreq(points, 1 / self.rate)[self._counts(points)]
        return counted

    def _counts(self, points: int) -> np.ndarray:
        frequencies, (low, high) = np.fft.rfftfreq(points, 1 / self.rate), self.band
        counts: np.ndarray = (frequencies > 0) & (frequencies >= low) & (frequencies <= high)
        if not counts.any():
            has = f"{frequencies[1]:g} to {frequencies[-1]:g} Hz" if points > 1 else "none above 0"
            raise ValueError(f"no frequency within {low} to {high} Hz: {points} points at "
                             f"{self.rate} Hz have {has}")
        return counts


class Covariance(Measure):
    """Covariance between sensors, (h, h) unit^2, over images, trials and time.

    The difference is taken in the space where the reference varies, for an average reference
    takes one dimension away: eigenvalues below `RANK` of the largest are none.

    Examples
    --------
    Samples without the correlation of two sensors have too much power in one direction, too little
    in the other; their total power is another measure's business.

    >>> measure = Covariance()
    >>> difference = measure.against(np.array([[1.0, 0.6], [0.6, 1.0]]))
    >>> difference(np.eye(2)).round(1), difference(np.array([[2.0, 1.2], [1.2, 2.0]])).round(1)
    (array([-3.,  3.]), array([0., 0.]))
    """

    name, unit = "covariance", "dB"

    def moments(self, y: np.ndarray) -> np.ndarray:
        """y (k, h, w) -> (h + 1, h)."""
        flat = rearrange(y, "k h w -> h (k w)")
        return np.concatenate([flat.mean(axis=1)[None], flat @ flat.T / flat.shape[1]])

    def profile(self, moments: np.ndarray) -> np.ndarray:
        """(h + 1, h) -> (h, h)."""
        mean, products = moments[0], moments[1:]
        covariance: np.ndarray = products - np.outer(mean, mean)
        return covariance

    def against(self, reference: np.ndarray) -> Difference:
        """Profile -> difference (rank,), dB, ascending."""
        power, filters = np.linalg.eigh(reference)
        some = power > RANK * power[-1]
        whiten = filters[:, some] / np.sqrt(power[some])                       # (h, rank)

        def difference(profile: np.ndarray) -> np.ndarray:
            ratios = np.linalg.eigvalsh(whiten.T @ profile @ whiten)
            levels = decibels(ratios, np.ones_like(ratios))
            return levels - levels.mean() if len(levels) else levels

        return difference


@dataclass(frozen=True)
class Autocorrelation(Measure):
    """Autocorrelation of each sensor, (h, lags), at 0 to `longest` seconds.

    Around the reference's level of each sensor, over all pairs of points one lag apart.

    Parameters
    ----------
    rate : Hz
    longest : seconds; to half of the signal if it is shorter

    Examples
    --------
    >>> measure, t = Autocorrelation(rate=100), np.arange(1000) / 100
    >>> alpha = np.sin(2 * np.pi * 10 * t)[None, None]  # repeats itself after 0.1 s
    >>> measure.profile(measure.moments(alpha))[0, [0, 5, 10]].round(2)
    array([ 1., -1.,  1.])
    """

    rate: float
    longest: float = 0.5
    name, unit = "autocorrelation", "correlation"

    def moments(self, y: np.ndarray) -> np.ndarray:
        """y (k, h, w) -> (h, lags), products by the Fourier transform of the padded signal."""
        w, lags = y.shape[-1], self._lags(y.shape[-1])
        waves = np.fft.rfft(y, n=2 * w)
        power = (waves.real**2 + waves.imag**2).mean(axis=0)                   # (h, w + 1)
        means: np.ndarray = np.fft.irfft(power, n=2 * w)[:, :lags] / (w - np.arange(lags))
        return means

    def profile(self, moments: np.ndarray) -> np.ndarray:
        """(h, lags) -> (h, lags): 1 at the first; 0 where there is nothing."""
        power = moments[:, :1]
        return moments / np.where(power > 0, power, 1)

    def against(self, reference: np.ndarray) -> Difference:
        """Profile -> difference (h, lags), nan where the reference is constant."""
        dead = reference[:, :1] == 0
        return lambda profile: np.where(dead, np.nan, profile - reference)

    def axis(self, points: int) -> np.ndarray:
        """Lags in seconds of signals with w points."""
        return np.arange(self._lags(points)) / self.rate

    def _lags(self, points: int) -> int:
        return min(points // 2, math.floor(self.longest * self.rate + 1e-9)) + 1


@dataclass(frozen=True, eq=False)
class Frechet(Measure):
    """Frechet distance between Gaussians (Dowson & Landau 1982; as FID, Heusel et al. 2017).

    FID asks a network trained to see. There is no such network for M/EEG, and no covariance of all
    h w numbers of a signal. What training data do tell is which patterns images evoke, by linear
    encoding: `inputs.encoding_patterns`. A signal's features are its coordinates in them, m numbers
    in which images differ most; nothing is tuned. A generator whose responses to images are the
    wrong ones or too small is far away here, though its variance and spectrum be right.

    The distance is squared, as FID is, and a share of the reference's variance in these patterns.

    Parameters
    ----------
    patterns : (m, h, w) float64

    Examples
    --------
    Samples that are off by a standard deviation along a pattern, and as spread out as they should:

    >>> pattern = np.eye(1, 12).reshape(1, 3, 4)
    >>> measure = Frechet(pattern)
    >>> y = np.random.default_rng(0).normal(size=(1000, 3, 4))
    >>> recorded, generated = (measure.profile(measure.moments(x)) for x in (y, y + pattern))
    >>> measure.against(recorded)(generated).round(1)
    array([1., 0.])
    """

    patterns: np.ndarray
    name, unit = "frechet", "share of variance"

    def moments(self, y: np.ndarray) -> np.ndarray:
        """y (k, h, w) -> (m + 1, m)."""
        features = self.of_trials(y)                                           # (k, m)
        return np.concatenate([features.mean(axis=0)[None], features.T @ features / len(y)])

    def of_trials(self, y: np.ndarray) -> np.ndarray:
        """Features (k, m) of signals (k, h, w).

        Raises
        ------
        ValueError
            Signals of other sensors or time points than the patterns'.
        """
        if y.shape[1:] != self.patterns.shape[1:]:
            raise ValueError(f"patterns {self.patterns.shape} do not fit signals of (sensors, time "
                             f"points) {y.shape[1:]}")
        flat, axes = rearrange(y, "k h w -> k (h w)"), rearrange(self.patterns, "m h w -> (h w) m")
        features: np.ndarray = flat @ axes
        return features

    def profile(self, moments: np.ndarray) -> np.ndarray:
        """(m + 1, m): the mean in row 0, the covariance below it."""
        mean, products = moments[:1], moments[1:]
        return np.concatenate([mean, products - mean.T @ mean])

    def against(self, reference: np.ndarray) -> Difference:
        """Profile -> (2,): the share of the means, the share of the covariances."""
        mean, covariance = reference[0], reference[1:]
        power, axes = np.linalg.eigh(covariance)
        root = axes * np.sqrt(np.maximum(power, 0)) @ axes.T  # below 0: rounding
        total = np.trace(covariance) or math.nan  # undefined where there is nothing

        def difference(profile: np.ndarray) -> np.ndarray:
            shared = np.linalg.eigvalsh(root @ profile[1:] @ root)
            shared = np.sqrt(np.maximum(shared, 0)).sum()
            spread = np.trace(profile[1:]) + total - 2 * shared
            return np.array([np.square(profile[0] - mean).sum(), spread]) / total

        return difference

    def size(self, difference: np.ndarray) -> float:
        """The distance: the sum of both shares."""
        return float(difference.sum())


def decibels(power: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """10 log10(power / reference), at least -157; nan where the reference is 0."""
    ratio = power / np.where(reference > 0, reference, np.nan)
    return 10 * np.log10(np.maximum(ratio, SMALLEST))


def rms(difference: np.ndarray) -> float:
    """Root mean square over all places that are defined; nan without one."""
    defined = difference[~np.isnan(difference)]
    return float(np.sqrt(np.square(defined).mean())) if defined.size else math.nan


def _share(spectrum: np.ndarray) -> np.ndarray:
    total = spectrum.sum(axis=-1, keepdims=True)
    return spectrum / np.where(total > 0, total, 1)
