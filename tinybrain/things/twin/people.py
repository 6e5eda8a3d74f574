"""How the people of a demo differ: in what images evoke, how strongly, where and when.

With u the attributes of an image and R_s(u) the evoked response of `evoked.py` as person s has it
(that person's gains, delay, asymmetry and head position), what is specific to the image is

    D_s(u) = a_s (sqrt(c) S_s(u) + sqrt(1 - c) R_s(P_s u))          own attributes for the own part
    S_s(u) = sqrt(c) R_s(u) + sqrt(1 - c) R_s(P u)                  what everybody shares

P and P_s deal the attributes out anew, each with a random sign: R(P u) is then as good a response
as R(u), and uncorrelated with it but for chance. The first person's D is R(u) as it stands, which
correlates with S by sqrt(c) as everybody's does: any two people's D by c (SHARED), times what
gains, delay and place take from it. Mean responses share the components and differ in these only.

The sizes below are chosen, not fitted. Between two people of a demo the true mean responses
correlate by 0.77 in EEG and 0.68 in MEG (0.33 to 0.97), image responses by 0.48 and 0.41. For
comparison: in Tables 1 and 3 of the paper a model of another person keeps 0.104 / 0.188 = 0.55 of
the correlation; of 20 people who saw line drawings (UCI EEG database) means of 15 trials correlate
by 0.33 between people and by 0.65 within.
Letters: a attributes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .drawing import ATTRIBUTES

COMPONENTS = 6  # of `evoked.COMPONENTS`
SHARED = 0.6  # c
SIZE = 0.25  # standard deviation of log a_s: amplitudes differ by a quarter from person to person
GAIN = 0.45  # of the log of each component's amplitude against the others
LEAN = 0.3  # of each component's asymmetry, as if everything stood that far to one side
DELAY = 0.01  # s: as N1 latencies of people differ
TURN = 0.15  # radians about each axis: anatomy, and how cap or helmet sit
NOISE = 0.15  # of the log of the noise variance: little, as recordings are whitened


Part = tuple[float, NDArray[np.intp], NDArray[np.float64]]


@dataclass(frozen=True)
class Person:
    """One subject. Fields are described above; `parts` are weight, order (a,) and signs (a,)."""

    size: float
    gains: NDArray[np.float64]
    leans: NDArray[np.float64]
    delay: float
    rotation: NDArray[np.float64]
    noise: float
    parts: tuple[Part, ...]


def streams(seed: int, subject: int) -> list[np.random.Generator]:
    """A subject's generators: traits (of the first subject, scenes), training, test, order."""
    entropy = seed if subject == 1 else [seed, subject]
    return [np.random.default_rng(each) for each in np.random.SeedSequence(entropy).spawn(4)]


def person(seed: int, subject: int) -> Person:
    """The subject of that number; the first is the average person. Others do not depend on it."""
    if subject == 1:
        return FIRST
    from scipy.spatial.transform import Rotation

    traits = streams(seed, subject)[0]
    everyone = np.random.default_rng([seed, 1])  # the same for all but the first
    normal = traits.standard_normal
    return Person(
        size=float(np.exp(SIZE * normal())),
        gains=np.exp(GAIN * normal(COMPONENTS)),
        leans=LEAN * normal(COMPONENTS),
        delay=float(DELAY * normal()),
        rotation=Rotation.from_rotvec(TURN * normal(3)).as_matrix(),
        noise=float(np.exp(NOISE * normal())),
        parts=(
            (SHARED, *_AS_THEY_ARE),
            ((SHARED * (1 - SHARED)) ** 0.5, *_dealt(everyone)),
            ((1 - SHARED) ** 0.5, *_dealt(traits)),
        ),
    )


def _dealt(rng: np.random.Generator) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """A random order of the attributes, none in its own place, and a random sign of each."""
    order = np.arange(len(ATTRIBUTES))
    while np.any(order == np.arange(len(order))):
        order = rng.permutation(len(order))
    return order, rng.choice([-1.0, 1.0], len(order))


_AS_THEY_ARE = np.arange(len(ATTRIBUTES)), np.ones(len(ATTRIBUTES))
FIRST = Person(
    1.0, np.ones(COMPONENTS), np.zeros(COMPONENTS), 0.0, np.eye(3), 1.0, ((1.0, *_AS_THEY_ARE),)
)
