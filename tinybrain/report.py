"""What a model is worth: its numbers beside those it must beat and those it cannot.

Rows: zero, mean ERP and ridge (the baselines), one sample, the mean of k samples, the conditional
mean (the model), the truth where it is known, the noise ceiling, and the paper's value where the
data are its own. Columns: MSE, R^2 against the mean ERP, and the three correlations of
`metrics.pcc`.

A sample carries the noise of a training target, as it should; its MSE is therefore that noise plus
the error of its mean, whatever the model has learned. Hence the rows beneath it.
"""

from __future__ import annotations

import json
import platform
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from . import baselines, ceilings, metrics
from .attention import cross_attention_maps
from .checkpoint import config_to_dict
from .denoiser import seeded
from .encoder import Encoder
from .files import write_text
from .paper import PAPER_EEG, PAPER_MEG
from .parallel import Ranks
from .pipeline import ImageToBrain

# Within subject: by kind and shape the table's number, and the table.
PAPER = {("eeg", (63, 250)): (1, PAPER_EEG), ("meg", (271, 200)): (4, PAPER_MEG)}
COLUMNS = ("mse", "r2", "pattern", "image", "pooled")
HEADINGS = ("MSE", "R² vs mean ERP", "PCC pattern", "PCC image", "PCC pooled")


class Evaluation(NamedTuple):
    """A report and the signals it was made from."""

    report: dict[str, Any]
    samples: np.ndarray  # (n, k, h, w)
    mean: np.ndarray  # (n, h, w): the conditional mean, or without one the mean of the k samples


def evaluate(
    model: ImageToBrain, train, context_train: torch.Tensor, test, context_test: torch.Tensor, *,
    trials: int = 10, truth: np.ndarray | None = None, subject: int | None = None, seed: int = 0,
    here: Ranks = Ranks(), progress: bool = False,
) -> Evaluation:
    """Score a model on a test recording, beside its baselines.

    Parameters
    ----------
    model : ImageToBrain
    train : recording with `signals` (n_train, h, w); mean ERP and ridge are fitted on all of it
    test : recording with `signals` (n, r, h, w), single repetitions; their mean is the target
    context_train, context_test : raw features (n, l, d) of their rows
    trials : k, samples per test image
    truth : (n, h, w), the noise-free signals where they are known
    subject : for the paper's value, where shapes are the paper's
    seed : of the samples and of the ceiling's splits
    here : which of the ranks that share the sampling this is; all call

    Raises
    ------
    ValueError
        If shapes do not match or a signal is not finite (`metrics`).
    """
    target = test.signals.mean(axis=1, dtype=np.float64)                       # (n, h, w)
    learned = torch.from_numpy(train.signals)
    erp = np.broadcast_to(baselines.mean_erp(learned).numpy(), target.shape)
    pooled = model.encoder.pooled
    ridge, _ = baselines.fit_ridge(pooled(context_train), learned, groups=train.concepts)
    samples = model.generate(
        context_test, trials, seed=seed, here=here, progress=progress and here.first
    ).data
    added = model.encoding.name if model.encoding else "ridge"  # what the network adds to
    guesses = {
        "zero": np.zeros_like(target),
        "mean ERP": erp,
        "ridge": ridge.predict(pooled(context_test)).numpy(),
        **({added: model.base(context_test).numpy()} if added != "ridge" else {}),
        "one sample": samples[:, 0],
        **({f"mean of {trials} samples": samples.mean(axis=1)} if trials > 1 else {}),
        "conditional mean": None,
    }
    if model.recipe.has_conditional_mean:
        guesses["conditional mean"] = model.mean(context_test).data[:, 0]
    if truth is not None:
        guesses["truth (best possible)"] = truth
    rows = [score(name, guess, target, erp) for name, guess in guesses.items()]
    if test.repeats > 1:
        ceiling = ceilings.noise_ceiling(test.signals, seed=seed)
        against = 1 - ceiling.mse / metrics.mse(erp, target)
        rows.append(
            {"name": "noise ceiling", "mse": ceiling.mse, "r2": against, **ceiling.corrected}
        )
    place, paper = PAPER.get((model.kind, tuple(model.shape)), (0, {}))
    if subject in paper:
        mse, pcc = paper[subject]
        name = f"the paper, Table {place} (axes not stated)"
        rows.append({"name": name, "mse": mse, "pattern": pcc})

    ratio = metrics.variance_per_sensor(samples) / metrics.variance_per_sensor(train.signals)
    report = {
        "rows": rows,
        "ceiling": asdict(ceiling) if test.repeats > 1 else None,
        "sample_variance_ratio": dict(zip(model.sensors, ratio.tolist())),
        "data": {"train": train.summary, "test": test.summary},
        "repeats": {"train": train.repeats, "test": test.repeats},
        "shape": model.shape,
        "unit": model.unit,
        "encoder": asdict(model.encoder),
        "attention": attention_to_words(model, context_test),
        "recipe": config_to_dict(model.recipe),
        "unet": config_to_dict(model.unet.config),
        "parameters": sum(p.numel() for p in model.unet.parameters()),
        "epoch": model.card.get("epoch"),
        "trials": trials,
        "seed": seed,
        "device": str(model.device),
        "versions": {"python": platform.python_version(), "torch": str(torch.__version__)},
    }
    mean = guesses["conditional mean"]
    return Evaluation(report, samples, samples.mean(axis=1) if mean is None else mean)


def score(
    name: str, guess: np.ndarray | None, target: np.ndarray, erp: np.ndarray
) -> dict[str, Any]:
    """One row of the table; a row without a guess has no numbers."""
    if guess is None:
        return {"name": name}
    return {
        "name": name,
        "mse": metrics.mse(guess, target),
        "r2": metrics.r2(guess, target, erp),
        **{kind: metrics.pcc(guess, target, kind) for kind in metrics.KINDS},
    }


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


def table(rows: list[dict[str, Any]]) -> str:
    """The rows in Markdown, aligned; a number that does not exist is a dash."""
    cells = [["", *HEADINGS]]
    for row in rows:
        cells.append([row["name"], *(number(row.get(column), column) for column in COLUMNS)])
    widths = [max(len(line[i]) for line in cells) for i in range(len(cells[0]))]
    for line in cells:
        line[:] = [line[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(line[1:], widths[1:]))]
    rule = ["-" * widths[0], *("-" * (w - 1) + ":" for w in widths[1:])]
    return "\n".join(f"| {' | '.join(line)} |" for line in [cells[0], rule, *cells[1:]])


def number(value: float | None, column: str) -> str:
    if value is None or not np.isfinite(value):
        return "–"
    return f"{value:.4f}" if column == "mse" else f"{value:.3f}"


# -------------------------------------------------------------------------------------------------
# In words


def verdict(report: dict[str, Any]) -> str:
    """The findings in two sentences, computed from the rows."""
    mse = {row["name"]: row.get("mse") for row in report["rows"]}
    averaged = f"mean of {report['trials']} samples" if report["trials"] > 1 else "one sample"
    best = "conditional mean" if mse["conditional mean"] else averaged
    erp, ridge = (mse[best] / mse[name] for name in ("mean ERP", "ridge"))
    text = (
        f"{best.capitalize()}: MSE {mse[best]:.4f}, {erp:.2f} x the mean ERP's "
        f"({'better' if erp < 1 else 'worse'}) and {ridge:.3f} x ridge's "
        f"({'better' if ridge < 1 else 'worse'})"
    )
    if "noise ceiling" in mse and erp < 1:
        reach = (mse["mean ERP"] - mse[best]) / (mse["mean ERP"] - mse["noise ceiling"])
        text += f"; {reach:.0%} of the way from the mean ERP to the noise ceiling"
    ratios = list(report["sample_variance_ratio"].values())
    return text + (
        f". Samples: variance per sensor {min(ratios):.2f} to {max(ratios):.2f} x that of the "
        f"training targets (median {np.median(ratios):.2f})."
    )


def to_markdown(report: dict[str, Any], figures: dict[str, str]) -> str:
    """The report as a page; `figures` are file names by caption."""
    repeats, recipe, encoder = report["repeats"], report["recipe"], Encoder(**report["encoder"])
    lines = [
        "# tinybrain report", "", verdict(report), "", table(report["rows"]), "",
        f"MSE in {report['unit']}² over images, sensors and time points, against the mean of the "
        f"test repetitions ({repeats['test']}). PCC: pattern, per image over sensors and time "
        "points; image, per sensor and time point across images; pooled, over everything. Mean "
        "ERP and ridge are fitted on all training images. The noise ceiling is what the expected "
        "response itself would score, estimated from the repetitions (correlations: "
        "Spearman-Brown).",
    ]  # fmt: skip
    if repeats["train"] != repeats["test"]:
        lines.append(
            f"\nTraining targets average {repeats['train']} repetitions, test targets "
            f"{repeats['test']}: one sample rightly carries the noise of the former, so its MSE is "
            "high however good the model."
        )
    if not recipe["zero_terminal_snr"]:
        lines.append(
            "\nThis recipe has no conditional mean: its last timestep is not pure noise "
            "(no zero terminal SNR)."
        )
    validation = (
        f"{recipe['heldout']:.1%} of the training {recipe['validation']}s held out, seed "
        f"{recipe['seed']}" if recipe["heldout"] else "none"
    )
    attention = []
    if report["attention"]:
        mean, least, most = (report["attention"][name] for name in ("mean", "least", "most"))
        attention = [
            f"- attention to the words, not the image: {mean:.2f} on average over layers, heads "
            f"and positions, {least:.2f} to {most:.2f}"
        ]
    lines += [
        "", "## What was run", "",
        f"- training: {report['data']['train']}",
        f"- test: {report['data']['test']}",
        f"- context: {encoder.describe()}",
        *attention,
        f"- recipe {recipe['name']}: {recipe['prediction']}-prediction, {recipe['schedule']} "
        f"schedule{' with zero terminal SNR' if recipe['zero_terminal_snr'] else ''}, "
        f"{'ridge residual, ' if recipe['residual'] else ''}at most {recipe['epochs']} epochs of "
        f"batch {recipe['batch_size']}, learning rate {recipe['lr']:g}; epoch {report['epoch']} is "
        "kept",
        f"- validation: {validation}",
        f"- network: {report['parameters']:,} parameters, channels {report['unet']['channels']}, "
        f"{report['unet']['conditioning']}",
        f"- sampling: {recipe['sampler']}, {recipe['sampling_steps']} steps, {report['trials']} "
        f"trial{'s' * (report['trials'] > 1)} an image, seed {report['seed']}; "
        f"device {report['device']}, torch {report['versions']['torch']}",
        "",
    ]  # fmt: skip
    for caption, file in figures.items():
        lines += [f"![{caption}]({file})", "", f"*{caption}*", ""]
    return "\n".join(lines)


def write(report: dict[str, Any], folder: str | Path, figures: dict[str, str]) -> Path:
    """`report.json` and `report.md` in a folder; returns the latter's path."""
    folder = Path(folder)
    write_text(folder / "report.json", json.dumps(plain(report), indent=1) + "\n")
    return write_text(folder / "report.md", to_markdown(report, figures))


def plain(value: Any) -> Any:
    """As JSON and a checkpoint can hold it: no numpy numbers, None for one that does not exist."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, (float, np.floating)):
        return float(value) if np.isfinite(value) else None
    return value
