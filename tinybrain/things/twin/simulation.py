"""Recordings for the demo: what images evoke, scaled to variance components, and single trials.

Letters: n images, r repetitions, h sensors, w time points, a attributes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from einops import rearrange
from numpy.typing import NDArray

from . import evoked
from .drawing import Scenes
from .people import FIRST, Person

BLOCK = 4_000_000  # numbers simulated at a time


def responses(
    train: Scenes, test: Scenes, sensors: Sequence[str], times: NDArray[np.float64], *,
    erp_power: float, image_variance: float, counted: NDArray[np.bool_] | slice = slice(None),
    person: Person = FIRST,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Noise-free responses to training and test images, M + D, float32 (n, h, w) each.

    Parameters
    ----------
    train, test : attributes (n, a).
    sensors, times : h names; (w,) seconds from onset.
    erp_power, image_variance : see `make_demo`.
    counted : the rows of `train` that mean and variance are taken over.
    person : whose responses; power and variance are those of an average person.
    """
    erp_power, image_variance = (person.size**2 * each for each in (erp_power, image_variance))
    mean = evoked.mean_recording(train[counted], sensors, times, person)
    mean *= (erp_power / np.mean(mean**2)) ** 0.5
    both = tuple(_evoked(each, sensors, times, person) for each in (train, test))
    average = both[0][counted].mean(axis=0, dtype=np.float64)  # (h, w)
    for rows in both:
        rows -= average
    variance = np.mean([np.mean(np.square(row)) for row in both[0][counted]])  # to spare memory
    for rows in both:
        rows *= (image_variance / variance) ** 0.5
        rows += mean
    return both[0], both[1]


def draw_trials(
    truth: NDArray[np.float32], repeats: int, noise: evoked.Noise, rng: np.random.Generator
) -> Iterator[NDArray[np.float32]]:
    """Single trials of rows of the truth (n, h, w), (b, r, h, w) at a time."""
    for block in _blocks((len(truth), repeats, *truth.shape[1:])):
        rows = truth[block, None]  # (b, 1, h, w)
        drawn = noise.draw(len(rows) * repeats, rng)
        yield rows + rearrange(drawn, "(b r) h w -> b r h w", r=repeats)


def _evoked(
    attributes: Scenes, sensors: Sequence[str], times: NDArray[np.float64], person: Person
) -> NDArray[np.float32]:
    """What a person shares with others and has alone, of many images, some at a time."""
    response = np.zeros((len(attributes), len(sensors), len(times)), np.float32)
    for block in _blocks(response.shape):
        for weight, order, sign in person.parts:
            seen = sign * attributes[block][:, order]                              # (b, a)
            response[block] += np.float32(weight) * evoked.evoked(seen, sensors, times, person)
    return response


def _blocks(shape: tuple[int, ...]) -> Iterator[slice]:
    """Slices of the first axis that hold about BLOCK numbers each."""
    step = max(1, BLOCK // math.prod(shape[1:]))
    return (slice(start, start + step) for start in range(0, shape[0], step))
