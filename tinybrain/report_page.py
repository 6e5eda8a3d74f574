"""The report as a page: the verdict, the tables, what was run, the figures.

Every number stands with its 95 % interval, except where there is none: one image, or a value that
another paper printed. In a terminal `table` leaves intervals out; they are on the page.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from .encoder import Encoder
from .log import TOLERANCE
from .messages import digits
from .scores import COLUMNS
from .verdict import words

HEADINGS = {
    "mse": "MSE", "r2": "R² vs mean ERP", "pattern": "PCC pattern", "image": "PCC image",
    "pooled": "PCC pooled", "r2_zero": "R² vs zero", "r2_ridge": "R² vs ridge",
    "r2_products": "R² vs ridge with products",
}  # fmt: skip
TRUTH = "truth (best possible)"  # its row, where recordings are simulated
HALVES = {"lower": "half against the other half (lower)", "corrected": "Spearman-Brown",
          "upper": "half against all (upper)"}
MEASURES = {
    "variance": "variance of each sensor", "spectrum": "spectrum of each sensor",
    "covariance": "covariance between sensors", "autocorrelation": "autocorrelation",
    "frechet": "Fréchet distance in ridge's patterns", "classifier": "classifier two-sample test",
}  # fmt: skip


def table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str] = COLUMNS, *,
          intervals: bool = False) -> str:
    """Rows in Markdown, aligned; a number that does not exist is a dash.

    Parameters
    ----------
    rows : of `scores.row`
    columns : keys of `HEADINGS`
    intervals : with [low, high] after each value

    Examples
    --------
    >>> rows = [{"name": "zero", "mse": 0.2}, {"name": "ridge", "mse": 0.1, "image": 0.3}]
    >>> print(table(rows, ("mse", "image")))
    |       |    MSE | PCC image |
    | ----- | -----: | --------: |
    | zero  | 0.2000 |         – |
    | ridge | 0.1000 |     0.300 |
    """
    cells = [["", *(HEADINGS[column] for column in columns)]]
    for row in rows:
        bounds = row.get("intervals", {}) if intervals else {}
        cells.append([row["name"], *(cell(row.get(c), bounds.get(c), _form(c)) for c in columns)])
    return aligned(cells)


def cell(value: float | None, bounds: Sequence[float] | None = None, form: str = ".3f") -> str:
    """A value, and its interval if it has one; a dash if it does not exist.

    >>> cell(0.217, (0.205, 0.23)), cell(math.nan)
    ('0.217 [0.205, 0.230]', '–')
    """
    if value is None or not math.isfinite(value):
        return "–"
    text = digits(value, form)
    return text if bounds is None else f"{text} [{', '.join(digits(b, form) for b in bounds)}]"


def aligned(cells: list[list[str]]) -> str:
    """A Markdown table of a head and rows, numbers to the right."""
    widths = [max(len(line[i]) for line in cells) for i in range(len(cells[0]))]
    lines = [[line[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(line[1:], widths[1:]))]
             for line in cells]
    rule = ["-" * widths[0], *("-" * max(1, w - 1) + ":" for w in widths[1:])]
    return "\n".join(f"| {' | '.join(line)} |" for line in [lines[0], rule, *lines[1:]])


def to_markdown(report: Mapping[str, Any], figures: Mapping[str, str]) -> str:
    """The report as a page; `figures` are file names by caption."""
    lines = ["# tinybrain report", "", words(report["verdict"]), ""]
    lines += [table(report["rows"], intervals=True), "", *_explained(report)]
    lines += ["", "## More references and ceilings", "", *_references(report)]
    lines += ["", "## Which image was it?", "", *_identification(report["identification"])]
    lines += ["", "## Could samples be recordings?", "", *_realism(report["realism"])]
    lines += ["", "## Did the image matter?", "", *_effect(report)]
    lines += ["", "## What was run", "", *_run(report), ""]
    for caption, file in figures.items():
        lines += [f"![{caption}]({file})", "", f"*{caption}*", ""]
    return "\n".join(lines)


def _form(column: str) -> str:
    return ".4f" if column == "mse" else ".3f"


def _triple(found: Sequence[float | None], form: str = ".3f") -> str:
    """A cell of [value, low, high]."""
    value, low, high = found
    return cell(value, None if low is None or high is None else (low, high), form)


def _explained(report: Mapping[str, Any]) -> list[str]:
    repeats = report["repeats"]
    lines = [
        f"In brackets: 95 % intervals, bootstrap over test images (PCC image: jackknife). MSE in "
        f"{report['unit']}² over images, sensors and time points, against the mean of the "
        f"test repetitions ({repeats['test']}). PCC: pattern, per image over sensors and time "
        "points; image, per sensor and time point across images; pooled, over everything. Mean "
        "ERP and ridge are fitted on all training images."
    ]
    if report["ceiling"]:
        lines[0] += (
            " A perfect sampler draws what another recording would be. The noise ceiling is what "
            "the expected response itself would score, estimated from the repetitions "
            "(correlations: Spearman-Brown at each place, averaged; where images evoke little that "
            "is too low, pooled least: a good model may exceed it)."
        )
    if any(row["name"] == TRUTH for row in report["rows"]) and report["ceiling"]:
        lines.append(
            "\nThe truth is known, for these recordings are simulated; the noise ceiling estimates "
            "what it scores from halves of the repetitions, as of any recording. The two differ by "
            "the estimate's error."
        )
    if repeats["train"] != repeats["test"]:
        lines.append(
            f"\nTraining targets average {repeats['train']} repetitions, test targets "
            f"{repeats['test']}: one sample rightly carries the noise of the former, so its MSE is "
            "high however good the model."
        )
    if not any(row["name"] == "conditional mean" and "mse" in row for row in report["rows"]):
        lines.append(
            "\nThere is no conditional mean: a recipe has one if its last timestep is pure noise "
            "(zero terminal SNR)."
        )
    return lines


def _references(report: Mapping[str, Any]) -> list[str]:
    some = [column for column in ("r2_zero", "r2_ridge", "r2_products")
            if any(column in row for row in report["rows"])]
    lines = [table([row for row in report["rows"] if "r2_zero" in row], some, intervals=True)]
    ceiling = report["ceiling"]
    if not ceiling:
        return lines
    kinds = ("pattern", "image", "pooled")
    cells = [["noise ceiling", *(HEADINGS[kind] for kind in kinds)]]
    cells += [[said, *(cell(ceiling[half][kind], ceiling["intervals"][half][kind])
                       for kind in kinds)] for half, said in HALVES.items()]
    said = (f"Noise ceilings of correlations, {ceiling['splits']} random halvings of "
            f"{ceiling['repetitions']} repetitions, seed {ceiling['seed']}. Upper is biased "
            "upwards, for all repetitions hold the half.")
    return [*lines, "", aligned(cells), "", said]


def _identification(found: Mapping[str, Any]) -> list[str]:
    if "reason" in found:
        return [f"Not asked: {found['reason']}."]
    names = {"top1": "top-1", "top5": "top-5", "median_rank": "median rank", "pairwise": "pairwise"}
    forms = {"median_rank": ".1f"}
    cells = [["", *names.values()]]
    cells += [[by, *(_triple(scored[name], forms.get(name, ".3f")) for name in names)]
              for by, scored in found["by"].items()]
    cells.append(["chance", *(format(found["chance"][name], forms.get(name, ".3f"))
                              for name in names)])
    return [aligned(cells), "", (
        f"The recorded pattern of each test image is correlated with what was generated for each "
        f"of {found['candidates']} candidates, over the {found['features']} sensors and times at "
        "which ridge best predicts training images it was not fitted on; ties are settled by "
        f"chance. Seed {found['seed']}."
    )]


def _realism(found: Mapping[str, Any]) -> list[str]:
    if "reason" in found:
        return [f"Not tested: {found['reason']}."]
    cells = [["", "samples", "recordings", "unit", "p"]]
    cells += [[MEASURES[name], _triple(each["generated"]), _triple(each["chance"]), each["unit"],
               cell(each["p"], form=".2g")] for name, each in found["measures"].items()]
    return [aligned(cells), "", (
        f"Distance of {found['trials']} samples an image from recorded signals of {found['images']}"
        f" test images, each the mean of {found['averaged']} repetition"
        f"{'s' * (found['averaged'] > 1)} as training targets are, beside that of other recorded "
        f"signals; p by swapping the two. Seed {found['seed']}."
    )]


def _effect(report: Mapping[str, Any]) -> list[str]:
    found, rows = report["image_effect"], {row["name"]: row for row in report["rows"]}
    if "reason" in found:
        return [f"Not tested: {found['reason']}."]
    cells = [["PCC image", "true image", "shuffled images", "gap", "p"]]
    cells += [[name, cell(each["value"], rows[name]["intervals"]["image"]),
               _triple(each["shuffled"]), _triple(each["gap"]), cell(each["p"], form=".2g")]
              for name, each in found.items()]
    one = next(iter(found.values()))
    return [aligned(cells), "", (
        f"Of {one['permutations']:,} permutations the mean and the middle 95 %; the gap is to "
        f"other images, its interval a bootstrap over images. Seed {one['seed']}."
    )]


def _kept(report: Mapping[str, Any]) -> str:
    """Which epoch is kept, and why that one (`log.kept_epoch`)."""
    recipe = report["recipe"]
    if not (recipe["heldout"] and recipe["zero_terminal_snr"]):  # no held-out error to choose by
        return f"epoch {report['epoch']}, the last, is kept"
    return (f"epoch {report['epoch']} is kept, the last whose held-out MSE is within "
            f"{100 * TOLERANCE:g} % of the least")


def _run(report: Mapping[str, Any]) -> list[str]:
    lines = [f"- training: {report['data']['train']}", f"- test: {report['data']['test']}"]
    count = f"{report['trials']} trial{'s' * (report['trials'] > 1)} an image"
    if "recipe" not in report:
        return [*lines, f"- {count}, seed {report['seed']}"]
    recipe = report["recipe"]
    lines.append(f"- context: {Encoder(**report['encoder']).describe()}")
    if report["attention"]:
        mean, least, most = (report["attention"][name] for name in ("mean", "least", "most"))
        lines.append(
            f"- attention to the words, not the image: {mean:.2f} on average over layers, heads "
            f"and positions, {least:.2f} to {most:.2f}"
        )
    validation = (
        f"{recipe['heldout']:.1%} of the training {recipe['validation']}s held out, seed "
        f"{recipe['seed']}" if recipe["heldout"] else "none"
    )
    return [*lines,
        f"- recipe {recipe['name']}: {recipe['prediction']}-prediction, {recipe['schedule']} "
        f"schedule{' with zero terminal SNR' if recipe['zero_terminal_snr'] else ''}, "
        f"{'ridge residual, ' if recipe['residual'] else ''}at most {recipe['epochs']} epochs of "
        f"batch {recipe['batch_size']}, learning rate {recipe['lr']:g}; {_kept(report)}",
        f"- validation: {validation}",
        f"- network: {report['parameters']:,} parameters, channels {report['unet']['channels']}, "
        f"{report['unet']['conditioning']}",
        f"- sampling: {recipe['sampler']}, {recipe['sampling_steps']} steps, {count}, seed "
        f"{report['seed']}; device {report['device']}, "
        + ", ".join(f"{name} {version}" for name, version in report["versions"].items()),
    ]  # fmt: skip
