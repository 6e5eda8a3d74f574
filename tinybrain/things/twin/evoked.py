"""A brain for the demo: what a scene evokes in the sensors, and the noise of its single trials.

A scene with attributes u evokes a sum of components, each a map over the sensors times a wave:

    R(h, t | u) = sum_c a_c(u) (m_c(h) + side s_c(h)) g((t - tau_c - delay_c(u)) / sigma_c)

with g(x) = exp(-x^2 / 2). Images follow each other every 200 ms in sequences of 20, as in
THINGS-EEG2. Averaged over all images, the neighbours of an image evoke the mean response E as
well, so that the mean recording is

    M(h, t) = sum_k (1 - |k| / 20) E(h, t - 0.2 k),   minus its baseline before onset.

THINGS-MEG shows an image every 1.5 s, so that M = E. Laws, waves and time courses are those of the
EEG; maps are the fields of dipoles (`fields.py`) instead of bumps of the potential.

Noise is Gaussian, independent over trials, of covariance sum_j (A_j A_j') x T_j (sensors x time):
a smooth 1/f background, a 10 Hz rhythm over the back of the head, and the sensors' white noise.
Letters: n images, k trials, h sensors, w time points, a attributes, m sources.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..sensors import is_meg, positions
from .drawing import ATTRIBUTES, SPREAD, Scenes
from .fields import gain
from .people import FIRST, Person

INTERVAL, SEQUENCE = 0.2, 20  # seconds from image to image, images in a sequence
MEG_INTERVAL = 1.5
BASELINE = 0.2  # seconds before onset
BUMP = 0.45  # width of the map of one source


@dataclass(frozen=True)
class Component:
    """One deflection: latency and width in seconds, and the map, as bumps of a height each."""

    latency: float
    width: float
    bumps: dict[str, float]
    sided: dict[str, float]  # added in proportion to `side`: the half field opposite answers more


COMPONENTS = {
    "P1": Component(0.100, 0.018, {"O1": 1, "O2": 1, "FCz": -0.6}, {"PO7": 1, "PO8": -1}),
    "N1": Component(0.165, 0.021, {"PO7": -1, "PO8": -1, "FCz": 0.6}, {"PO7": -1, "PO8": 1}),
    "P2": Component(0.225, 0.026, {"POz": 1, "Oz": 0.5, "AFz": -0.5}, {}),
    "N300": Component(0.300, 0.038, {"FCz": -0.8, "AFz": -0.4, "P7": 0.5, "P8": 0.5}, {}),
    "P300": Component(0.400, 0.065, {"Pz": 0.7, "CPz": 0.4}, {}),
    "late": Component(0.580, 0.120, {"CPz": 0.5, "POz": 0.3}, {}),
}

# The same components in a magnetometer: dipoles under these electrodes, at an angle in degrees
# (`fields.gain`) and of a strength each, on average and in proportion to `side`. What mirrors a
# dipole from left to right turns its angle about.
Dipoles = dict[tuple[str, float], float]
DIPOLES: dict[str, tuple[Dipoles, Dipoles]] = {
    "P1": ({("O1", 30): 0.7, ("O2", -30): 0.7}, {("O1", 30): 0.7, ("O2", -30): -0.7}),
    "N1": ({("PO7", -60): 1, ("PO8", 60): 1}, {("PO7", -60): 1, ("PO8", 60): -1}),
    "P2": ({("PO3", 120): 0.6, ("PO4", -120): 0.6}, {}),
    "N300": ({("P7", -20): 0.7, ("P8", 20): 0.7}, {}),
    "P300": ({("P3", 160): 0.6, ("P4", -160): 0.6}, {}),
    "late": ({("CP3", 100): 0.4, ("CP4", -100): 0.4}, {}),
}

# Sources of the background, all over the scalp, and of the rhythm, over the back of the head.
BACKGROUND = (
    "Fp1", "Fp2", "F7", "F3", "Fz", "F4", "F8", "T7", "C3", "Cz", "C4", "T8", "P7", "P3", "Pz",
    "P4", "P8", "O1", "O2",
)  # fmt: skip
RHYTHM = ("PO7", "POz", "PO8", "O1", "O2")


def _laws(attributes: Scenes) -> dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Amplitude (n,) and delay in seconds (n,) of each component.

    About half of the variance is linear in the attributes. The rest is products of two, which no
    linear map of linear features has, one law of kind and number, and shifts in time.
    """
    z = dict(zip(ATTRIBUTES, (attributes / SPREAD).T))  # variance one
    bright, warm, red, stripes = z["lightness"], z["warmth"], z["redness"], z["texture"]
    crowd = np.sign(z["kind"]) * (z["count"] > 0)  # many angular things, or many round ones
    glow, prompt = np.tanh(bright * red), np.zeros_like(bright)
    return {
        "P1": (
            1 + 0.3 * (stripes + bright) + 0.4 * glow + 0.1 * z["contrast"] * z["size"],
            -0.003 * bright,
        ),
        "N1": (1 + 0.2 * z["frequency"] + 0.3 * red + 0.5 * bright * red, 0.002 * stripes),
        "P2": (1 + 0.45 * warm + 0.5 * warm * stripes, prompt),
        "N300": (0.7 + 0.4 * red + 0.5 * bright * stripes + 0.15 * crowd, prompt),
        "P300": (0.8 + 0.35 * bright + 0.2 * z["yellowness"] + 0.5 * warm * red, prompt),
        "late": (0.5 + 0.25 * (red + warm) + 0.3 * glow, prompt),
    }


def evoked(
    attributes: Scenes, sensors: Sequence[str], times: NDArray[np.float64], person: Person = FIRST
) -> NDArray[np.float32]:
    """Response R to each image alone, without its neighbours.

    Parameters
    ----------
    attributes : (n, a), in the order of `drawing.ATTRIBUTES`.
    sensors : names of the 10-10 system, or of a CTF helmet.
    times : (w,), seconds from onset.
    person : whose gains, asymmetries, delay and head position it is.

    Returns
    -------
    (n, h, w) float32, of arbitrary scale.

    Examples
    --------
    Over the back of the head the first deflection to an average scene is up, the next one down:

    >>> evoked(np.zeros((1, 13)), ["O1", "PO8"], np.array([0, 0.1, 0.165])).round(1)[0]
    array([[ 0. ,  1.4, -0.9],
           [ 0. ,  0.9, -1. ]], dtype=float32)
    """
    response = np.zeros((len(attributes), len(sensors), len(times)), np.float32)
    for maps, waves in _components(attributes, sensors, times, person):
        response += maps.astype(np.float32)[:, :, None] * waves.astype(np.float32)[:, None]
    return response


def mean_recording(
    attributes: Scenes, sensors: Sequence[str], times: NDArray[np.float64], person: Person = FIRST
) -> NDArray[np.float64]:
    """Mean recording M in a stream of such images, (h, w) float64; parameters as in `evoked`."""
    interval = MEG_INTERVAL if is_meg(sensors) else INTERVAL
    before = np.arange(-50, 0) / 50 * BASELINE
    moments = np.concatenate([before, times])
    mean = np.zeros((len(sensors), len(moments)))
    for k in range(1 - SEQUENCE, SEQUENCE):
        if not np.any(np.abs(moments - k * interval - 0.5) < 0.6):
            continue  # a response is over within a second
        weight = (1 - abs(k) / SEQUENCE) / len(attributes)
        for maps, waves in _components(attributes, sensors, moments - k * interval, person):
            mean += weight * maps.T @ waves  # (h, n) @ (n, w)
    mean -= mean[:, : len(before)].mean(axis=1, keepdims=True)
    return mean[:, len(before) :]


def _components(
    attributes: Scenes, sensors: Sequence[str], times: NDArray[np.float64], person: Person
) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Maps (n, h) and waves (n, w) of one component after the other."""
    side = attributes[:, ATTRIBUTES.index("side")]
    traits = zip(person.gains, person.leans, strict=True)
    for (name, (amplitude, delay)), (factor, lean) in zip(_laws(attributes).items(), traits):
        component = COMPONENTS[name]
        late = times - component.latency - delay[:, None] - person.delay
        waves = np.exp(-((late / component.width) ** 2) / 2)
        common, sided = _maps(name, sensors, person.rotation)
        yield factor * amplitude[:, None] * (common + np.outer(side + lean, sided)), waves


def _maps(
    name: str, sensors: Sequence[str], rotation: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A component's map on average, and what `side` adds to it, (h,) each; the head is turned."""

    def of_dipoles(part: Dipoles) -> NDArray[np.float64]:
        return gain(sensors, list(part), rotation) @ np.array(list(part.values()), np.float64)

    def of_bumps(part: dict[str, float]) -> NDArray[np.float64]:
        return _bumps(sensors, list(part), rotation) @ np.array(list(part.values()), np.float64)

    if is_meg(sensors):
        common, sided = DIPOLES[name]
        return of_dipoles(common), of_dipoles(sided)
    return of_bumps(COMPONENTS[name].bumps), of_bumps(COMPONENTS[name].sided)


def _sources(sensors: Sequence[str], places: Sequence[str]) -> NDArray[np.float64]:
    """What sources at these places give each sensor, (h, m); in MEG two dipoles at each."""
    if is_meg(sensors):
        return gain(sensors, [(place, angle) for place in places for angle in (0, 90)])
    return _bumps(sensors, places)


def _bumps(
    sensors: Sequence[str], centres: Sequence[str], rotation: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """What each source gives each sensor, (h, m): 1 right above it, half at 30 degrees."""
    seen = positions(sensors) if rotation is None else positions(sensors) @ rotation
    bumps: NDArray[np.float64] = np.exp((seen @ positions(centres).T - 1) / BUMP**2)
    return bumps


@dataclass(frozen=True)
class Noise:
    """Single-trial noise: each part's sources (h, m) and root of covariance in time (w, w)."""

    parts: tuple[tuple[NDArray[np.float64], NDArray[np.float64]], ...]

    @property
    def variance(self) -> NDArray[np.float64]:
        """Variance at each sensor, (h,), at any time."""
        each = [np.square(sources).sum(axis=1) for sources, _ in self.parts]
        total: NDArray[np.float64] = np.sum(each, axis=0)
        return total

    def draw(self, trials: int, rng: np.random.Generator) -> NDArray[np.float32]:
        """New trials, (k, h, w)."""
        h, w = len(self.parts[0][0]), len(self.parts[0][1])
        noise = np.zeros((trials, h, w), np.float32)
        for sources, root in self.parts:
            shape = (trials, sources.shape[1], len(root))
            normal = rng.standard_normal(shape, dtype=np.float32)  # (k, m, w)
            noise += sources.astype(np.float32) @ (normal @ root.astype(np.float32))
        return noise


def noise_model(sensors: Sequence[str], times: NDArray[np.float64], variance: float) -> Noise:
    """Noise at these sensors and times, of that variance on average over the sensors.

    About half of it is background and a third white; the rhythm is strongest at the back.

    Examples
    --------
    >>> noise = noise_model(["Fz", "Oz"], np.arange(50) / 50, variance=0.87)
    >>> noise.variance.round(1), noise.draw(4, np.random.default_rng(0)).shape
    (array([0.8, 0.9]), (4, 2, 50))
    """
    lag = np.subtract.outer(times, times)
    frequency = np.arange(0.25, 40, 0.25)  # Hz
    power = 1 / np.hypot(frequency, 2)  # flat below 2 Hz, then 1/f
    background = np.cos(2 * np.pi * np.multiply.outer(lag, frequency)) @ power / power.sum()
    rhythm = np.cos(2 * np.pi * 10 * lag) * np.exp(-((lag / 0.25) ** 2) / 2)  # waxing and waning
    smooth = _sources(sensors, BACKGROUND)
    smooth /= np.linalg.norm(smooth, axis=1, keepdims=True)
    parts = (
        (0.5**0.5 * smooth, background),
        (0.25 * _sources(sensors, RHYTHM), rhythm),
        (0.3**0.5 * np.eye(len(sensors)), np.eye(len(times))),
    )
    noise = Noise(tuple((sources, _root(covariance)) for sources, covariance in parts))
    scale = (variance / noise.variance.mean()) ** 0.5
    return Noise(tuple((scale * sources, root) for sources, root in noise.parts))


def _root(covariance: NDArray[np.float64]) -> NDArray[np.float64]:
    """The symmetric square root, which does not depend on the signs that a solver chose."""
    values, vectors = np.linalg.eigh(covariance)
    root: NDArray[np.float64] = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    return root
