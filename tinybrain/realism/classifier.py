"""Can a classifier tell generated from recorded signals? (Lopez-Paz & Oquab 2017)

Logistic regression p = 1 / (1 + exp(-(w x + c))) is fitted on four fifths of the images and asked
about the signals of the others, five times. There are as many of one kind as of the other, so that
guessing is right in 1/2; and of an image that it has not seen, a classifier is right more or less
often than that with equal chances, if both kinds are drawn alike. Hence the p-value: how often the
mean over images is as great when the sign of each image's excess over 1/2 is drawn at random. For
it one more classifier is fitted on half of the images and asked about the other half: the five have
learned from each other's images, so that their errors go together and the p would be too small.

A linear classifier of raw signals would look for a difference in their means alone. So it is given
what samples may have wrong, of each single signal:

    log variance of each sensor
    log variance along the principal spatial components of all signals
    log power at each frequency, averaged over sensors
    coordinates in the patterns of linear encoding, where there are any (`measures.Frechet`)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from einops import rearrange

from ..uncertainty import Interval, bootstrap
from .chance import SETS, Split
from .measures import Covariance, Frechet, Spectrum

COMPONENTS = 64  # spatial components at most
CONSTANT = 1e-12  # of its mean: a feature that varies less is constant
TINY = np.finfo(float).tiny  # in place of a power of 0, which has no logarithm


@dataclass(frozen=True)
class TwoSample:
    """What the classifier found.

    Attributes
    ----------
    accuracy : share of signals told right, 1/2 by chance, with its 95 % interval over images.
    p : of being right as often by chance, about half of the images after learning from the other.
    each : (n,) share told right of each image's signals.
    scores : (2, n, k) log-odds of being of the first kind, by a classifier that had not seen the
        image; of the first kind's signals, then of the second's. Two histograms to draw.
    weights : (d,) mean over folds, for features in units of their standard deviation.
    """

    accuracy: Interval
    p: float
    each: np.ndarray
    scores: np.ndarray
    weights: np.ndarray


def two_sample(
    first: np.ndarray, second: np.ndarray, *, penalty: float = 10.0, folds: int = 5,
    flips: int = 9999, seed: int = 0,
) -> TwoSample:
    """Tell two kinds of signals apart by their features, on images not seen.

    Parameters
    ----------
    first, second : (n, k, d), features of k signals of each of n images
    penalty : of the weights, see `logistic`
    folds : parts of the images, each left out once; n where there are fewer images
    flips : random signs for p, which is at least 1 / (flips + 1)
    seed : of folds, flips and interval

    Raises
    ------
    ValueError
        Shapes differ or are not (n, k, d), or less than 2 images.

    Examples
    --------
    One of two features is off by one standard deviation:

    >>> rng = np.random.default_rng(0)
    >>> generated, recorded = rng.normal(size=(2, 50, 4, 2))
    >>> found = two_sample(generated + [1, 0], recorded)
    >>> print(f"right in {found.accuracy.value:.0%}, p = {found.p}, weights "
    ...       "{:.1f} and {:.1f}".format(*found.weights))
    right in 65%, p = 0.0045, weights 0.9 and 0.0
    """
    if first.shape != second.shape or first.ndim != 3 or len(first) < 2:
        raise ValueError(f"features {first.shape} and {second.shape}: wanted (images, signals, "
                         "features) twice, at least 2 images")
    n, k, d = first.shape
    rng, folds = np.random.default_rng(seed), min(folds, n)
    fold = rng.permutation(n) % folds
    both = np.stack([first, second]).astype(np.float64)                        # (2, n, k, d)
    scores, weights = np.empty((2, n, k)), np.zeros(d)
    for out in range(folds):
        score, w = _learned(both[:, fold != out], penalty)
        scores[:, fold == out] = score(both[:, fold == out])
        weights += w / folds
    each = _right(scores)                                                      # (n,)
    asked = rng.permutation(n) < n // 2
    score, _ = _learned(both[:, ~asked], penalty)
    excess = _right(score(both[:, asked])) - 0.5                               # (n // 2,)
    flipped = rng.choice([-1.0, 1.0], (flips, len(excess))) @ excess
    p = float((1 + (flipped >= excess.sum() - 1e-9).sum()) / (1 + flips))
    return TwoSample(bootstrap(each, seed=seed), p, each, scores, weights)


def _learned(
    seen: np.ndarray, penalty: float
) -> tuple[Callable[[np.ndarray], np.ndarray], np.ndarray]:
    """Of signals (2, n, k, d) of two kinds: a classifier of others (..., d) and its weights."""
    mean, std = seen.mean(axis=(0, 1, 2)), seen.std(axis=(0, 1, 2))
    scale = np.where(std > CONSTANT * np.abs(mean), std, np.inf)  # a constant tells nothing
    x = rearrange((seen - mean) / scale, "kind n k d -> (kind n k) d")
    w, c = logistic(x, np.arange(len(x)) < len(x) // 2, penalty)
    return lambda y: (y - mean) / scale @ w + c, w


def _right(scores: np.ndarray) -> np.ndarray:
    """Share told right of each image's signals, (n,), by scores (2, n, k); a score of 0 is half."""
    right = (1 + np.sign(scores * np.array([1, -1])[:, None, None])) / 2
    share: np.ndarray = right.mean(axis=(0, 2))
    return share


def logistic(
    x: np.ndarray, y: np.ndarray, penalty: float, *, steps: int = 100
) -> tuple[np.ndarray, float]:
    """Logistic regression by Newton's method, halving a step that does not descend.

    Minimises  sum_i log(1 + exp(z_i)) - y_i z_i  +  penalty |w|^2 / 2,   z = x w + c.

    Parameters
    ----------
    x : (m, d) float64
    y : (m,) 0 or 1
    penalty : above 0, not on the intercept; scikit-learn's 1 / C
    steps : at most

    Returns
    -------
    w (d,), c

    Examples
    --------
    >>> x = np.array([[-2.0], [-1.0], [1.0], [2.0]])
    >>> w, c = logistic(x, np.array([0, 0, 1, 1]), penalty=1.0)
    >>> print(f"w = {w[0]:.2f}, c = {abs(c):.2f}")
    w = 1.01, c = 0.00
    """
    x, y = np.column_stack([x, np.ones(len(x))]), y.astype(np.float64)
    ridge = np.full(x.shape[1], penalty)
    ridge[-1] = 0

    def loss(v: np.ndarray) -> float:
        z = x @ v
        return float((np.logaddexp(0, z) - y * z).sum() + ridge @ (v * v) / 2)

    v, now = np.zeros(x.shape[1]), len(x) * np.log(2)
    for _ in range(steps):
        p = 0.5 + 0.5 * np.tanh(x @ v / 2)
        gradient = x.T @ (p - y) + ridge * v
        step = np.linalg.solve((x.T * (p * (1 - p))) @ x + np.diag(ridge), gradient)
        reach = 1.0
        while loss(v - reach * step) > now + 1e-12 * abs(now) and reach > 1e-6:
            reach /= 2
        v = v - reach * step
        now = loss(v)
        if np.abs(step).max() <= 1e-12 * (1 + np.abs(v).max()):
            break
    return v[:-1], float(v[-1])


def trial_features(
    parts: Split, spectrum: Spectrum, patterns: np.ndarray | None = None
) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """What the classifier is given, of every signal of the three sets.

    Parameters
    ----------
    parts : see `chance.split`
    spectrum : rate and band
    patterns : (m, h, w), see `inputs.encoding_patterns`

    Returns
    -------
    features : by set, (n, k, d) float64
    names : (d,) which of the four each is

    Examples
    --------
    >>> from tinybrain.realism import split
    >>> rng = np.random.default_rng(0)
    >>> parts = split(rng.normal(size=(5, 4, 3, 40)), rng.normal(size=(5, 8, 3, 40)))
    >>> features, names = trial_features(parts, Spectrum(rate=100))
    >>> features["generated"].shape, {name: names.count(name) for name in names}
    ((5, 4, 26), {'sensor variance': 3, 'component variance': 3, 'spectrum': 20})
    """
    axes = _components(parts)                                                  # (h, c)
    frechet = None if patterns is None else Frechet(patterns)

    def of_trials(y: np.ndarray) -> dict[str, np.ndarray]:                     # y (k, h, w)
        found = {
            "sensor variance": _log(y.var(axis=-1)),
            "component variance": _log((axes.T @ y).var(axis=-1)),
            "spectrum": _log(spectrum.of_trials(y).mean(axis=1)),
        }
        return found if frechet is None else {**found, "patterns": frechet.of_trials(y)}

    features: dict[str, list[np.ndarray]] = {which: [] for which in SETS}
    for which in SETS:
        for y in parts.images(which):
            found = of_trials(y)
            features[which].append(np.concatenate(list(found.values()), axis=1))
    names = tuple(name for name, values in found.items() for _ in range(values.shape[1]))
    return {which: np.stack(rows) for which, rows in features.items()}, names


def _components(parts: Split) -> np.ndarray:
    """Principal axes (h, c) of all three sets together, so that they favour none."""
    measure = Covariance()
    moments = np.mean([np.mean([measure.moments(y) for y in parts.images(which)], axis=0)
                       for which in SETS], axis=0)
    axes = np.linalg.eigh(measure.profile(moments)).eigenvectors              # ascending
    return axes[:, ::-1][:, :COMPONENTS]


def _log(power: np.ndarray) -> np.ndarray:
    log: np.ndarray = np.log(np.maximum(power, TINY))
    return log
