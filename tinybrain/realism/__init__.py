"""Are generated signals like recorded ones? Each measure beside what chance gives.

    from tinybrain import realism

    targets = realism.single_targets(test.signals, average=4)      # (n, 20, h, w), as in training
    found = realism.evaluate(samples, targets, rate=250)            # samples (n, k, h, w)
    found.numbers()["spectrum"]                                    # distance, chance, p
    realism.compare(samples, targets, realism.Spectrum(250))       # one of them, to draw

In this order: `inputs.py` what to compare with; `measures.py` what is measured, with formulas;
`chance.py` three sets of signals, distance and chance, intervals, p; `classifier.py` the two-sample
test.

MSE and PCC ask whether one sample hits one recording, and punish the noise that a sample should
have. Realism asks whether samples could be recordings, and does not ask of which image.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .chance import Comparison, Split, compare, compare_split, split
from .classifier import TwoSample, trial_features, two_sample
from .inputs import encoding_patterns, single_targets
from .measures import Autocorrelation, Covariance, Frechet, Measure, Spectrum, Variance

__all__ = [
    "Autocorrelation", "Comparison", "Covariance", "Frechet", "Measure", "Realism", "Spectrum",
    "Split", "TwoSample", "Variance", "compare", "compare_split", "encoding_patterns", "evaluate",
    "single_targets", "split", "trial_features", "two_sample",
]  # fmt: skip


@dataclass(frozen=True)
class Realism:
    """All measures of one model's samples.

    Attributes
    ----------
    comparisons : by the measure's name; "frechet" only where there were patterns.
    classifier, classifier_chance : generated against recorded, and recorded against recorded.
    features : (d,) what the classifier's weights belong to.
    seed : of all that was drawn.
    """

    comparisons: dict[str, Comparison]
    classifier: TwoSample
    classifier_chance: TwoSample
    features: tuple[str, ...]
    seed: int

    def numbers(self) -> dict[str, dict[str, Any]]:
        """The numbers alone, as JSON holds them: by measure its unit, the generated signals'
        [value, low, high], chance's, and p."""
        found = {
            name: {"unit": each.unit, "generated": list(each.distance),
                   "chance": list(each.chance), "p": each.p}
            for name, each in self.comparisons.items()
        }
        found["classifier"] = {
            "unit": "accuracy", "generated": list(self.classifier.accuracy),
            "chance": list(self.classifier_chance.accuracy), "p": self.classifier.p,
        }
        return found


def evaluate(
    generated: ArrayLike, recorded: ArrayLike, rate: float, *,
    patterns: np.ndarray | None = None, band: tuple[float, float] = (0.0, math.inf),
    trials: int | None = None, swaps: int = 199, seed: int = 0,
) -> Realism:
    """Every measure, on the same three sets of signals.

    Parameters
    ----------
    generated, recorded, trials : see `chance.split`
    rate : Hz
    patterns : (m, h, w), see `encoding_patterns`; without them there is no Frechet distance
    band : frequencies that count, Hz, see `Spectrum`
    swaps, seed : see `chance.compare`

    Raises
    ------
    ValueError
        As `chance.split`.
    """
    parts = split(generated, recorded, trials=trials, seed=seed)
    spectrum = Spectrum(rate, band)
    measures = [Variance(), spectrum, Covariance(), Autocorrelation(rate)]
    measures += [] if patterns is None else [Frechet(patterns)]
    comparisons = {measure.name: compare_split(parts, measure, swaps=swaps, seed=seed)
                   for measure in measures}
    features, names = trial_features(parts, spectrum, patterns)
    told, chance = (two_sample(features[which], features["reference"], seed=seed)
                    for which in ("generated", "other"))
    return Realism(comparisons, told, chance, names, seed)
