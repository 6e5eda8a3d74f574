"""What a model is worth: its numbers beside those it must beat and those it cannot.

`judge` takes arrays alone: samples, conditional mean, recordings, ridge's predictions. `evaluate`
makes them from a model. The report is one dictionary, as report.json has it:

    rows             baselines, samples, mean, truth (`scores.py`), ceilings (`ceiling_rows.py`),
                     and the paper's value where the data are its own
    ceiling          by random halvings (`ceilings.py`); sample_ceiling: a perfect sampler's
    curves           PCC image by sensor and by time
    identification   which image was it? (`identification.py`)
    realism          samples against held-out recordings, each beside chance (`realism/`)
    image_effect     true against shuffled images (`image_effect.py`)
    verdict          the facts, from which the words are made (`verdict.py`)

A sample carries the noise of a training target, as it should; its MSE is therefore that noise plus
the error of its mean, whatever the model has learned. Hence the row beneath it, what a perfect
sampler's sample would score.
Letters: n images, k samples of each, r repetitions, h sensors, w time points.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from . import __version__, baselines, ceilings, metrics, scores
from . import report_sections as sections
from . import verdict as verdicts
from .attention import cross_attention_maps
from .ceiling_rows import Components, ceiling_rows, components
from .checkpoint import config_to_dict
from .denoiser import seeded
from .features import as_context
from .files import write_text
from .paper import PAPER_EEG, PAPER_MEG, comparable
from .parallel import Ranks
from .pipeline import ImageToBrain
from .recorded import Recorded
from .report_page import TRUTH, table, to_markdown

__all__ = ["Evaluation", "attention_to_words", "evaluate", "judge", "plain", "table",
           "to_markdown", "verdict", "write"]

# Within subject: by kind the table's number, and the table.
PAPER: dict[str, tuple[int, dict[int, tuple[float, float]]]] = {
    "eeg": (1, PAPER_EEG), "meg": (4, PAPER_MEG),
}  # fmt: skip
ONE, CONDITIONAL = "one sample", "conditional mean"


class Evaluation(NamedTuple):
    """A report and the signals it was made from."""

    report: dict[str, Any]
    samples: np.ndarray  # (n, k, h, w)
    mean: np.ndarray  # (n, h, w): the conditional mean, or without one the mean of the k samples

    def __repr__(self) -> str:
        return table(self.report["rows"])


def evaluate(
    model: ImageToBrain, train: Recorded, context_train: torch.Tensor, test: Recorded,
    context_test: torch.Tensor, *, trials: int = 10, truth: np.ndarray | None = None,
    subject: int | None = None, seed: int = 0, here: Ranks = Ranks(), progress: bool = False,
) -> Evaluation:
    """Score a model on a test recording, beside its baselines.

    Parameters
    ----------
    model : ImageToBrain
    train : recording with `signals` (n_train, h, w); mean ERP and ridge are fitted on all of it
    test : recording with `signals` (n, r, h, w), single repetitions; their mean is the target
    context_train, context_test : raw features (n, d) or (n, l, d) of their rows
    trials : k, samples per test image
    truth : (n, h, w), the noise-free signals where they are known
    subject : for the paper's value, where test recordings are of its form (`paper.comparable`)
    seed : of the samples, and of all that is drawn to judge them
    here : which of the ranks that share the sampling this is; all call
    progress : show the sampling's

    Raises
    ------
    ValueError
        If shapes do not match or a signal is not finite (`metrics`).
    """
    pooled = model.encoder.pooled
    context_train, context_test = as_context(context_train), as_context(context_test)
    ridge, left_out = baselines.fit_ridge(
        pooled(context_train), baselines.tensor_of(train.signals), groups=train.concepts
    )
    samples = model.generate(
        context_test, trials, seed=seed, here=here, progress=progress and here.first
    ).data
    mean = model.mean(context_test).data[:, 0] if model.recipe.has_conditional_mean else None
    base = model.encoding.name if model.encoding else None  # what the network adds to
    adds_to = {} if base in (None, "ridge") else {base: model.base(context_test).numpy()}
    report = judge(
        samples, mean, train, test, ridge=ridge.predict(pooled(context_test)).numpy(),
        left_out=left_out.numpy(), truth=truth, subject=subject, seed=seed,
        others=adds_to, adds_to=base,
    ) | {
        "encoder": asdict(model.encoder),
        "attention": attention_to_words(model, context_test),
        "recipe": config_to_dict(model.recipe),
        "unet": config_to_dict(model.unet.config),
        "parameters": sum(p.numel() for p in model.unet.parameters()),
        "epoch": model.card.get("epoch"),
        "device": str(model.device),
    }
    return Evaluation(report, samples, samples.mean(axis=1) if mean is None else mean)


def judge(
    samples: np.ndarray, mean: np.ndarray | None, train: Recorded, test: Recorded, *,
    ridge: np.ndarray | None = None, left_out: np.ndarray | None = None,
    others: Mapping[str, np.ndarray] | None = None, adds_to: str | None = None,
    truth: np.ndarray | None = None, subject: int | None = None, seed: int = 0,
) -> dict[str, Any]:
    """The whole report of generated signals, from arrays; no network.

    Parameters
    ----------
    samples : (n, k, h, w) of the test images
    mean : (n, h, w), the conditional mean; None where there is none
    train : recording with `signals` (n_train, h, w)
    test : recording with `signals` (n, r, h, w), single repetitions; their mean is the target
    ridge : (n, h, w), ridge's prediction of the test images
    left_out : (n_train, h, w), that of each training image by a fit without it. They choose the
        features of identification and the patterns of realism; without them there is neither.
    others : (n, h, w) by name, further predictions to have a row
    adds_to : the encoding model that the network adds to, "ridge" or a name among `others`; the
        verdict, the curves and identification then have it beside the prediction
    truth : (n, h, w), the noise-free signals where they are known
    subject : for the paper's value, where test recordings are of its form (`paper.comparable`)
    seed : of all that is drawn

    Returns
    -------
    dictionary; the module's docstring has its keys. `plain` makes JSON of it.

    Raises
    ------
    ValueError
        If shapes do not match or a signal is not finite (`metrics`).

    Examples
    --------
    Samples that are as good as they could be, of 8 images, beside the recording of them:

    >>> from tinybrain.recorded import OwnRecording
    >>> rng, axes = np.random.default_rng(0), (("O1", "Oz"), np.arange(6) / 100)
    >>> response = 2 * rng.normal(size=(8, 2, 6))
    >>> train = OwnRecording(rng.normal(size=(20, 2, 6)), map(str, range(20)), *axes)
    >>> test = OwnRecording(response[:, None] + rng.normal(size=(8, 4, 2, 6)), "abcdefgh", *axes)
    >>> samples = response[:, None] + rng.normal(size=(8, 3, 2, 6))
    >>> found = judge(samples, mean=response, train=train, test=test)
    >>> for row in found["rows"][-2:]:
    ...     print(f"{row['name']}: MSE {row['mse']:.2f}, PCC image {row['image']:.2f}")
    conditional mean: MSE 0.22, PCC image 0.96
    noise ceiling: MSE 0.25, PCC image 0.95
    """
    target = test.signals.mean(axis=1, dtype=np.float64)                       # (n, h, w)
    k, guesses = samples.shape[1], _guesses(samples, mean, train, ridge, others, truth)
    sampled = f"mean of {k} samples" if k > 1 else ONE
    best = sampled if mean is None else CONDITIONAL
    known = {name: guess for name, guess in guesses.items() if guess is not None}
    sums = {name: scores.sums(guess, target) for name, guess in known.items()}
    errors = {name: own.error for name, own in sums.items()}
    rows = [scores.row(name, sums.get(name), errors, seed) for name in guesses]
    found: dict[str, Any] = {"rows": rows, "ceiling": None, "sample_ceiling": None}
    single, level = None, None
    bases = list(dict.fromkeys(("ridge", *([adds_to] if adds_to else []))))
    curves = {name: scores.curves(known[name], target) for name in (best, *bases) if name in known}
    if test.signals.shape[1] > 1:
        noise, r = ceilings.noise_per_image(test.signals), test.signals.shape[1]
        single, level = noise * (1 / train.repeats + 1 / r), noise / r
        parts = components(test.signals)
        curves["noise ceiling"] = scores.curves_of_map(parts.map())
        _add_ceilings(found, test.signals, parts, train.repeats, k, errors, seed)
    found["rows"] += _paper_row(train.kind, target.shape, subject)
    shown = {name: known[name] for name in ("mean ERP", *bases, sampled, CONDITIONAL)
             if name in known}
    found["curves"] = curves | {"times": list(train.times)}
    found["identification"] = sections.identification(shown, target, train, left_out, seed)
    found["realism"] = sections.likeness(samples, train, test.signals, left_out, seed)
    found["image_effect"] = sections.image_effects(
        {name: known[name] for name in (best, sampled)}, target, seed)
    found["verdict"] = verdicts.facts(errors, best, single, level, found["realism"],
                                      found["image_effect"], seed, adds_to=adds_to)
    return found | _about(samples, train, test, seed)


def _guesses(
    samples: np.ndarray, mean: np.ndarray | None, train: Recorded, ridge: np.ndarray | None,
    others: Mapping[str, np.ndarray] | None, truth: np.ndarray | None,
) -> dict[str, np.ndarray | None]:
    """Predictions (n, h, w) by the name of their row, in the table's order."""
    n, k, *shape = samples.shape
    erp = baselines.mean_erp(baselines.tensor_of(train.signals)).numpy()       # (h, w)
    found: dict[str, np.ndarray | None] = {
        "zero": np.zeros((n, *shape)), "mean ERP": np.broadcast_to(erp, (n, *shape)),
    }
    found |= {} if ridge is None else {"ridge": ridge}
    found |= dict(others or {}) | {ONE: samples[:, 0]}
    found |= {f"mean of {k} samples": samples.mean(axis=1)} if k > 1 else {}
    return found | {CONDITIONAL: mean} | ({} if truth is None else {TRUTH: truth})


def _add_ceilings(
    found: dict[str, Any], repeats: np.ndarray, parts: Components, averaged: float, k: int,
    errors: Mapping[str, np.ndarray], seed: int,
) -> None:
    """The rows of what cannot be beaten, each beneath the one that cannot beat it."""
    below = {ONE: averaged, **({f"mean of {k} samples": k * averaged} if k > 1 else {})}
    names = {f"{name}, perfect sampler": many for name, many in below.items()}
    rows, found["ceiling"], found["sample_ceiling"] = ceiling_rows(
        repeats, parts, names, errors, seed
    )
    for name, row in zip(below, rows, strict=False):
        place = next(i for i, own in enumerate(found["rows"]) if own["name"] == name)
        found["rows"].insert(place + 1, row)
    found["rows"].append(rows[-1])


def _paper_row(kind: str, shape: tuple[int, ...], subject: int | None) -> list[dict[str, Any]]:
    place, values = PAPER[kind]
    if subject not in values or not comparable(kind, shape):
        return []
    mse, pcc = values[subject]
    name = f"the paper, Table {place} (axes not stated)"
    return [{"name": name, "mse": mse, "pattern": pcc, "intervals": {}}]


def _about(samples: np.ndarray, train: Recorded, test: Recorded, seed: int) -> dict[str, Any]:
    """What was judged, and with what."""
    ratio = metrics.variance_per_sensor(samples) / metrics.variance_per_sensor(train.signals)
    return {
        "sample_variance_ratio": dict(zip(train.sensors, ratio.tolist())),
        "data": {"train": train.summary, "test": test.summary},
        "repeats": {"train": train.repeats, "test": test.repeats},
        "shape": tuple(samples.shape[2:]),
        "unit": train.unit,
        "trials": samples.shape[1],
        "seed": seed,
        "versions": {"tinybrain": __version__, "python": platform.python_version(),
                     "torch": str(torch.__version__), "numpy": np.__version__},
    }  # fmt: skip


def attention_to_words(model: ImageToBrain, context: torch.Tensor) -> dict[str, float] | None:
    """How much of the cross-attention the words get, beside the image, on the first 16 contexts.

    Asked at the last timestep, of pure noise. None where it is not a question.
    """
    if model.encoder.context != "image+text":
        return None
    condition = model.condition(context[:16])
    y_t = torch.randn(len(condition), 1, *model.shape, generator=seeded(0, 0)).to(model.device)
    t = torch.full((len(condition),), model.ddpm.steps - 1, device=model.device)
    maps = cross_attention_maps(model.unet.eval(), y_t, t, condition)
    share = torch.cat([weights[..., -1].flatten() for weights in maps])
    return {"mean": float(share.mean()), "least": float(share.min()), "most": float(share.max())}


def verdict(report: Mapping[str, Any]) -> str:
    """The findings as one paragraph, made from the facts in `report["verdict"]`."""
    return verdicts.words(report["verdict"])


def write(report: dict[str, Any], folder: str | Path, figures: dict[str, str]) -> Path:
    """`report.json` and `report.md` in a folder; returns the latter's path."""
    folder = Path(folder)
    write_text(folder / "report.json", json.dumps(plain(report), indent=1) + "\n")
    return write_text(folder / "report.md", to_markdown(report, figures))


def plain(value: Any) -> Any:
    """As JSON and a checkpoint can hold it: no numpy numbers, None for one that does not exist.

    >>> plain({"mse": np.float64(0.5), "p": float("nan"), "shape": (63, 250)})
    {'mse': 0.5, 'p': None, 'shape': [63, 250]}
    """
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, (float, np.floating)):
        return float(value) if np.isfinite(value) else None
    return value
