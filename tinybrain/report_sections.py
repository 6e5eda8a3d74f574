"""Three questions of a report, each answered as report.json has it, or with {"reason": why not}.

Which image was it (`identification.py`), could samples be recordings (`realism/`), did the image
matter (`image_effect.py`)?
Letters: n images, k samples of each, r repetitions, h sensors, w time points.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from . import realism, scores
from .identification import encoding_features, identify
from .image_effect import image_effect, image_gap, pair_scores
from .recorded import Recorded
from .report_figures import realism_curves

FEATURES = 300  # for identification, as in the code of Gifford et al. 2022


def identification(
    guesses: Mapping[str, np.ndarray], target: np.ndarray, train: Recorded,
    left_out: np.ndarray | None, seed: int,
) -> dict[str, Any]:
    """Which image was it? By predictions of a target (n, h, w).

    Parameters
    ----------
    guesses : (n, h, w) by name
    target : (n, h, w)
    train : what the model was trained on, `signals` (n_train, h, w)
    left_out : (n_train, h, w), predictions of the training images, each by a fit without it
    seed : of all that is drawn
    """
    if left_out is None:
        return {"reason": "no predictions of training images were given to choose features by"}
    try:
        count = min(FEATURES, target[0].size)
        features = encoding_features(left_out, train.signals, count)
        found = {name: identify(target, guess, features, seed=seed)
                 for name, guess in guesses.items()}
    except ValueError as error:
        return {"reason": str(error)}
    n, by = len(target), dict[str, dict[str, Any]]()
    for name, each in found.items():
        by[name] = {score: scores.interval(getattr(each, score))
                    for score in ("top1", "top5", "median_rank", "pairwise")}
        by[name]["growth"] = {str(size): scores.interval(top) for size, top in each.growth.items()}
    chance = {"top1": 1 / n, "top5": min(1, 5 / n), "median_rank": (n + 1) / 2, "pairwise": 0.5}
    return {"by": by, "chance": chance, "candidates": n, "features": len(features), "seed": seed}


def likeness(
    samples: np.ndarray, train: Recorded, repeats: np.ndarray, left_out: np.ndarray | None,
    seed: int,
) -> dict[str, Any]:
    """Could samples be recordings? Against recorded signals of as many repetitions as in training.

    Parameters
    ----------
    samples : (n, k, h, w)
    train : what the model was trained on; `repeats` and `times` are read
    repeats : (n, r, h, w), single repetitions of the test images
    left_out, seed : as `identification`
    """
    (n, r), points = repeats.shape[:2], repeats.shape[3]
    if r < 2 * train.repeats:
        each = f"{train.repeats} repetition{'s' * (train.repeats > 1)}"
        return {"reason": f"a training target averages {each}, so two sets of such signals want "
                          f"{2 * train.repeats} test repetitions of an image; there {_is(r)}"}
    if n < 2 or points < 4:
        there = f"{n} image{'s' * (n > 1)} of {points} time point{'s' * (points > 1)}"
        return {"reason": f"{there}; wanted 2 images or more, of 4 time points or more"}
    times = np.asarray(train.times, dtype=float)
    try:
        patterns = None if left_out is None else realism.encoding_patterns(left_out, seed=seed)
    except ValueError:  # linear encoding found nothing
        patterns = None
    found = realism.evaluate(
        samples, realism.single_targets(repeats, train.repeats, seed=seed),
        rate=(len(times) - 1) / (times[-1] - times[0]), patterns=patterns, seed=seed,
    )
    some = found.comparisons["variance"]
    return {"measures": found.numbers(), "curves": realism_curves(found), "images": some.images,
            "trials": some.trials, "averaged": train.repeats, "seed": seed}


def _is(count: int) -> str:
    return f"{'is' if count == 1 else 'are'} {count}"


def image_effects(
    guesses: Mapping[str, np.ndarray], target: np.ndarray, seed: int
) -> dict[str, Any]:
    """Did the image matter? The permutation test of PCC image, of predictions by name."""
    if len(target) < 2:
        return {"reason": "one image cannot be shuffled"}
    found = {}
    for name, guess in guesses.items():
        effect = image_effect(guess, target, "image", seed=seed)
        gap = image_gap(pair_scores(guess, target, "image"), seed=seed)
        found[name] = {
            "score": "image", "value": effect.value, "shuffled": scores.interval(effect.shuffled),
            "p": effect.p_value, "gap": scores.interval(gap),
            "permutations": effect.permutations, "seed": seed,
        }  # fmt: skip
    return found
