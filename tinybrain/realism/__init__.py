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

    Examples
    --------
    White noise beside recordings that are smooth:

    >>> rng = np.random.default_rng(0)
    >>> recorded = rng.normal(size=(30, 8, 3, 40))
    >>> recorded[..., 1:] += recorded[..., :-1]
    >>> found = evaluate(rng.normal(size=(30, 4, 3, 40)), recorded, rate=100).numbers()
    >>> for name, each in found.items():
    ...     print(f"{name}: {each['generated'][0]:.2f} {each['unit']}, chance "
    ...           f"{each['chance'][0]:.2f}, p = {each['p']:.2g}")
    variance: 2.75 dB, chance 0.17, p = 0.005
    spectrum: 7.88 dB, chance 0.53, p = 0.005
    covariance: 0.27 dB, chance 0.25, p = 0.38
    autocorrelation: 0.11 correlation, chance 0.03, p = 0.005
    classifier: 1.00 accuracy, chance 0.47, p = 0.0001
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
