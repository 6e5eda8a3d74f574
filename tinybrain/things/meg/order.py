"""What THINGS-MEG showed where no table says it: from codes, from names, or in the standard order.

Every subject saw the same: exemplars 1 to 12 of 1,854 concepts once (22,248 images), 200 test
images in each of 12 sessions, and catch trials. `TEST_IMAGES` are their numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from .images import exemplar_of
from .tested import TEST_CONCEPTS, TEST_EXEMPLARS, TEST_IMAGES
from .trials import EXEMPLARS, Trials, completed

CONCEPTS, SESSIONS = 1854, 12
CATCH = 999999  # event code of catch trials in the distributed epochs


def trials_from_codes(codes: Sequence[int] | np.ndarray, source: str = "event codes") -> Trials:
    """Trials from THINGS' image numbers: once is training, 12 times test, 999999 a catch trial.

    Concept and exemplar follow if all 22,248 training images are there: they are the first 12 of
    every concept.

    Raises
    ------
    ValueError
        A number that comes neither once nor 12 times, as in files of different subjects.
    """
    codes = np.asarray(codes, np.int64)
    values, inverse, counts = np.unique(codes, return_inverse=True, return_counts=True)
    odd = ~np.isin(counts, (1, SESSIONS)) & (values != CATCH)
    if odd.any():
        raise ValueError(
            f"{source}: image {values[odd][0]} comes {counts[odd][0]} times; {odd.sum()} images "
            f"come neither once nor {SESSIONS} times; wanted all trials of one subject"
        )
    kind = np.where(codes == CATCH, "catch", np.where(counts[inverse] == 1, "exp", "test"))
    shown = np.where(codes == CATCH, 0, codes)
    exp, concept = np.sort(codes[kind == "exp"]), np.zeros(len(codes), np.int64)
    if len(exp) == CONCEPTS * EXEMPLARS:
        first = exp[::EXEMPLARS]
        concept = np.where(kind == "catch", 0, np.searchsorted(first, shown, side="right"))
    zero = np.zeros(len(codes), np.int64)
    image = np.full(len(codes), "")
    return completed(
        Trials(kind, shown, concept, zero, zero, image, zero, zero, zero, source=source)
    )


def standard_trials() -> Trials:
    """The images of every subject without their place in time: 22,248 once, and 200 x 12."""
    concept, exemplar = np.divmod(np.arange(CONCEPTS * EXEMPLARS), EXEMPLARS)
    none, test = np.zeros(len(concept), np.int64), np.arange(SESSIONS * len(TEST_IMAGES))
    session, test = np.divmod(test, len(TEST_IMAGES))
    zero = np.zeros(len(none) + len(test), np.int64)
    return Trials(
        kind=np.repeat(["exp", "test"], [len(none), len(test)]),
        image_number=np.append(none, np.array(TEST_IMAGES)[test]),
        concept_number=np.append(concept + 1, np.array(TEST_CONCEPTS)[test]),
        exemplar=np.append(exemplar + 1, np.array(TEST_EXEMPLARS)[test]),
        test_number=np.append(none, test + 1),
        image=np.full(len(zero), ""),
        session=np.append(none, session + 1),
        run=zero,
        sample=zero,
        source="the standard order of THINGS-MEG",
    )


def trials_from_names(names: Sequence[str], concepts: Mapping[str, int], kind: str) -> Trials:
    """Trials from images such as ``"vest/vest_10s.jpg"``, given the numbers of their concepts.

    Parameters
    ----------
    kind : "exp" or "test", of all of them.
    """
    number = np.array([concepts[name.split("/")[0]] for name in names], np.int64)
    index = {concept: index for index, concept in enumerate(TEST_CONCEPTS, 1)}
    test = np.array([index.get(each, 0) for each in number.tolist()]) * (kind == "test")
    zero = np.zeros(len(names), np.int64)
    return Trials(
        kind=np.full(len(names), kind),
        image_number=np.append(0, TEST_IMAGES)[test],
        concept_number=number,
        exemplar=np.array([exemplar_of(name) for name in names], np.int64),
        test_number=test,
        image=np.array(names),
        session=zero,
        run=zero,
        sample=zero,
        source="names of images",
    )
