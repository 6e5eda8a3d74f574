"""Generated against recorded signals, beside recorded against recorded ones: what is chance?

No distance is zero, not even between two halves of the same recording, and with fewer signals it
is greater. So three sets of the same size are made, k signals of every image: G generated, and two
disjoint halves of the recorded ones, A the reference and B the others. If G is drawn as B was,

    d(G, A)  and  d(B, A)   have the same distribution,

and so they have after G and B change places in any of the images. That is the test (Pitman 1937):
how often d(G, A) - d(B, A) is as great as it is after random swaps. With a recording as large as
THINGS' any generator will fail it; the distances, in dB for the most part, say by how much.

Intervals are the jackknife's (Tukey 1958), leaving out a block of images at a time. A bootstrap
would not do: it adds the noise of a draw of images to that which the distance holds already.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ..uncertainty import Interval, jackknife
from .inputs import four_axes
from .measures import Measure

SETS = ("generated", "reference", "other")
BLOCKS = 20  # of images, left out and swapped together; fewer if there are fewer images


@dataclass(frozen=True)
class Comparison:
    """What one measure found.

    Attributes
    ----------
    measure, unit : name, and the unit of distances and differences.
    distance : of generated from recorded signals, with its 95 % interval.
    chance : of other recorded signals from the same ones, likewise.
    p : share of random swaps with as great a difference between the two.
    generated, recorded, again : profiles of G, A and B, to be drawn; `measures` gives their shapes
        and units.
    difference, chance_difference : of which the distances are the sizes.
    axis : last axis of the profiles: Hz, seconds, or None.
    images, trials : n and k.
    """

    measure: str
    unit: str
    distance: Interval
    chance: Interval
    p: float
    generated: np.ndarray
    recorded: np.ndarray
    again: np.ndarray
    difference: np.ndarray
    chance_difference: np.ndarray
    axis: np.ndarray | None
    images: int
    trials: int


@dataclass(frozen=True)
class Split:
    """Three sets of k signals an image, without a copy of the recording.

    Attributes
    ----------
    signals : by set, "generated", "reference", "other", an array (n, ?, h, w).
    rows : by set, which k of the trials of each image, (n, k).
    level : (h,) float64, the reference's mean at each sensor, taken off all three. Every measure
        allows it, and products lose fewer digits.
    """

    signals: dict[str, np.ndarray]
    rows: dict[str, np.ndarray]
    level: np.ndarray

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(n, k, h, w)"""
        return (*self.rows["reference"].shape, *self.signals["reference"].shape[2:])

    def images(self, which: str) -> Iterator[np.ndarray]:
        """The signals of one set less their level, image by image, (k, h, w) float64."""
        for trials, rows in zip(self.signals[which], self.rows[which], strict=True):
            yield trials[rows].astype(np.float64) - self.level[:, None]


def split(
    generated: ArrayLike, recorded: ArrayLike, *, trials: int | None = None, seed: int = 0
) -> Split:
    """Draw the three sets that everything here compares.

    Parameters
    ----------
    generated : (n, k', h, w), the first k trials of each image are taken
    recorded : (n, r, h, w) of the same images, at least 2 each, that no model was fitted on, and
        that average as many repetitions as the training targets do: see `inputs.single_targets`
    trials : k; by default as many as there are, the least of k' and r // 2. Fewer are faster.
    seed : of the random halves, drawn for each image

    Raises
    ------
    ValueError
        Shapes do not match, less than 2 images or recorded trials, more `trials` than there are,
        NaN or infinity.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> parts = split(rng.normal(size=(30, 10, 3, 40)), rng.normal(size=(30, 8, 3, 40)))
    >>> parts.shape  # eight recorded trials are two sets of four
    (30, 4, 3, 40)
    """
    generated, recorded = four_axes("generated", generated), four_axes("recorded", recorded)
    (n, most, *place), (others, r, *there) = generated.shape, recorded.shape
    if n != others or place != there:
        raise ValueError(f"generated {generated.shape} and recorded {recorded.shape}: wanted the "
                         "same images, sensors and time points, (n, trials, h, w)")
    if n < 2 or r < 2:
        raise ValueError(f"{n} images with {r} recorded trials each: wanted at least 2 and 2, or "
                         "there is no telling what chance is")
    k = min(most, r // 2)
    if trials is not None and not 1 <= trials <= k:
        raise ValueError(f"trials={trials}: {most} generated and {r} recorded trials an image give "
                         f"1 to {k}")
    k = k if trials is None else trials
    order = np.random.default_rng(seed).permuted(np.tile(np.arange(r), (n, 1)), axis=1)
    signals = dict(zip(SETS, (generated, recorded, recorded), strict=True))
    first = np.tile(np.arange(k), (n, 1))
    rows = dict(zip(SETS, (first, order[:, :k], order[:, k:2 * k]), strict=True))
    start = recorded[0, 0, :, 0].astype(np.float64)  # taken off first: then a constant leaves 0
    parts = Split(signals, rows, start)
    means = {which: [_finite(which, i, y).mean(axis=(0, 2))
                     for i, y in enumerate(parts.images(which))] for which in SETS}
    return Split(signals, rows, start + np.mean(means["reference"], axis=0))


def compare(
    generated: ArrayLike, recorded: ArrayLike, measure: Measure, *, trials: int | None = None,
    swaps: int = 199, seed: int = 0,
) -> Comparison:
    """One measure of generated against recorded signals, and of recorded against recorded.

    One pass over the data, an image at a time, float64. Kept are the measure's moments of 20
    blocks of images: for 271 sensors' covariances 40 MB, whatever the number of signals.

    Parameters
    ----------
    generated, recorded, trials : see `split`
    measure : `Variance()`, `Spectrum(rate)`, `Covariance()`, `Autocorrelation(rate)`,
        `Frechet(patterns)`
    swaps : how many for p, which is at least 1 / (swaps + 1)
    seed : of the halves and the swaps

    Raises
    ------
    ValueError
        As `split`.

    Examples
    --------
    Samples with twice the variance, which is 3 dB, give or take what chance gives:

    >>> from tinybrain.realism import Variance
    >>> rng = np.random.default_rng(0)
    >>> recorded = rng.normal(size=(30, 8, 3, 40))
    >>> generated = np.sqrt(2) * rng.normal(size=(30, 4, 3, 40))
    >>> found = compare(generated, recorded, Variance())
    >>> print(f"{found.distance.value:.1f} {found.unit}, by chance {found.chance.value:.1f}, "
    ...       f"p = {found.p}")
    3.2 dB, by chance 0.2, p = 0.005
    """
    return compare_split(split(generated, recorded, trials=trials, seed=seed), measure,
                         swaps=swaps, seed=seed)


def compare_split(
    parts: Split, measure: Measure, *, swaps: int = 199, seed: int = 0
) -> Comparison:
    """`compare` with three sets already drawn, so that several measures see the same ones.

    Parameters
    ----------
    parts : from `split`
    measure, swaps, seed : as `compare`
    """
    sums, images = _block_sums(parts, measure)         # (3, blocks, moments ...), (blocks,)

    def profiles(kept: np.ndarray) -> list[np.ndarray]:
        return [measure.profile(sum_[kept].sum(axis=0) / images[kept].sum()) for sum_ in sums]

    def distances(generated: np.ndarray, recorded: np.ndarray, again: np.ndarray) -> np.ndarray:
        difference = measure.against(recorded)
        return np.array([measure.size(difference(mine)) for mine in (generated, again)])

    everything = np.ones(len(images), dtype=bool)
    generated, recorded, again = profiles(everything)
    found = distances(generated, recorded, again)
    without = [distances(*profiles(everything & (np.arange(len(images)) != block)))
               for block in range(len(images))]
    distance, chance = (
        distance_interval(*each) for each in zip(found, np.transpose(without), strict=True)
    )
    difference = measure.against(recorded)
    swapped = _swapped(sums / images.sum(), measure, swaps, seed)
    n, k, _, w = parts.shape
    return Comparison(
        measure.name, measure.unit, distance, chance, _p(found[0] - found[1], swapped),
        generated, recorded, again, difference(generated), difference(again), measure.axis(w), n, k,
    )  # fmt: skip


def distance_interval(distance: float, without: np.ndarray) -> Interval:
    """The jackknife's, from the distances without each block (blocks,); not below 0."""
    found = jackknife(distance, without)
    return found._replace(low=max(found.low, 0.0))


def _block_sums(parts: Split, measure: Measure) -> tuple[np.ndarray, np.ndarray]:
    """Sums of moments over the images of each block, (3, blocks, ...) for G, A and B, and how many
    images each has."""
    n = parts.shape[0]
    blocks = min(BLOCKS, n)
    block = np.arange(n) * blocks // n                                         # (n,)
    sums = []
    for which in SETS:
        total: np.ndarray | None = None
        for at, y in zip(block, parts.images(which), strict=True):
            moments = measure.moments(y)
            total = np.zeros((blocks, *moments.shape)) if total is None else total
            total[at] += moments
        assert total is not None  # `split` sees to it that there are images
        sums.append(total)
    return np.stack(sums), np.bincount(block)


def _swapped(means: np.ndarray, measure: Measure, swaps: int, seed: int) -> np.ndarray:
    """d(G, A) - d(B, A) after random swaps of G and B within blocks, (swaps,)."""
    generated, reference, other = means                                        # (blocks, ...)
    rng, difference = np.random.default_rng((seed, 1)), measure.against(
        measure.profile(reference.sum(axis=0)))
    middle, half = (generated + other).sum(axis=0) / 2, (generated - other) / 2
    found = np.empty(swaps)
    for i in range(swaps):
        move = np.tensordot(rng.choice([-1.0, 1.0], len(half)), half, 1)
        g, b = (measure.size(difference(measure.profile(middle + x))) for x in (move, -move))
        found[i] = g - b
    return found


def _p(observed: float, swapped: np.ndarray) -> float:
    """Share of swaps, the one observed among them, that are as extreme; nan if undefined."""
    if np.isnan(observed):
        return float("nan")
    as_great = (swapped >= observed - 1e-9 * abs(observed)).sum()
    return float((1 + as_great) / (1 + len(swapped)))


def _finite(which: str, image: int, y: np.ndarray) -> np.ndarray:
    if not np.isfinite(y).all():
        raise ValueError(f"{which} signals of image {image} hold NaN or infinity: repair or leave "
                         "out that image")
    return y
