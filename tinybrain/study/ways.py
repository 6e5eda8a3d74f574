"""Tables 6 to 9 and Figure 5: ways to tell the network the image.

Addition, concatenation and cross-attention with the class token, as the paper; and cross-attention
with all tokens of the image (257 of ViT-L/14), which is where attention has something to choose.
All are trained and judged alike. Differences are taken subject by subject.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from .. import paper
from ..uncertainty import Interval
from .drawing import Panel, plot_bars
from .page import Figure, Section
from .pieces import PAPERS, WAYS, Piece, Report, Study, read_report, subject_name
from .tables import Cell, Table, number, value_of
from .within import (
    MEASURES,
    cell,
    label,
    over_subjects,
    rows_of,
    why_left_out,
    with_means,
)

TABLES = {
    ("eeg", "mse"): "6", ("eeg", "pattern"): "7", ("meg", "mse"): "8", ("meg", "pattern"): "9",
}  # fmt: skip
NAMES = {
    "addition-1": "addition",
    "concatenation-1": "concatenation",
    "cross_attention-1": "cross-attention, 1 token",
    "cross_attention-all": "cross-attention, all tokens",
}
BEST = ("conditional mean", "mean of samples")  # the second where a recipe has not the first


def values(report: Report, measure: str, what: str) -> float | Interval | None:
    """One number of a report: of one sample, or of the conditional mean."""
    rows = rows_of(report)
    names = ("one sample",) if what == "one sample" else BEST
    found = (cell(rows.get(name, {}), measure) for name in names)
    return next((one for one in found if one is not None), None)


def printed(kind: str, measure: str, way: str, subject: int | None = None) -> float | None:
    """The paper's value of a subject, or its printed average; None where it has none."""
    conditioning, tokens = WAYS[way]
    if tokens:
        return None
    table = paper.conditioning(kind, "mse" if measure == "mse" else "pcc")
    if subject is None:
        return table.average[conditioning]
    each = table.subjects[conditioning]
    return each[subject - 1] if 1 <= subject <= len(each) else None


def table(
    study: Study, reports: Mapping[str, Mapping[int, Report]], measure: str, what: str,
    left_out: str,
) -> Table:
    """Subjects down, ways across, ours and then the paper's; reports by way and subject.

    The paper's columns are there unless `left_out`, of `within.why_left_out`, says why not.
    """
    ours = {
        way: [values(of[subject], measure, what) for subject in study.subjects]
        for way, of in reports.items()
    }
    theirs = {
        way: [printed(study.kind, measure, way, subject) for subject in study.subjects]
        for way in reports if not (left_out or WAYS[way][1])
    }
    columns: list[Sequence[Cell]] = [*ours.values(), *theirs.values()]
    rows = with_means([
        (subject_name(subject), *(column[i] for column in columns))
        for i, subject in enumerate(study.subjects)
    ])
    if PAPERS in ours:
        apart = [difference(column, ours[PAPERS]) for column in ours.values()]
        rows += ((f"minus {NAMES[PAPERS]}", *apart, *[None] * len(theirs)),)
    notes = ["In brackets: 95 % intervals, bootstrap over test images; of means and differences "
             "Student's t over subjects."]
    if theirs:
        averages = ", ".join(f"{NAMES[way].partition(',')[0]} "
                             f"{printed(study.kind, measure, way):.3f}" for way in theirs)
        notes[0] += f" The paper's averages over all of its subjects: {averages}."
    heads = [NAMES[way] for way in ours] + [f"paper: {NAMES[w].partition(',')[0]}" for w in theirs]
    return Table(
        f"Table {TABLES[study.kind, measure]}, {study.kind.upper()}, {MEASURES[measure][0]} of "
        f"{what}",
        f"Ways of conditioning: {MEASURES[measure][1]}.", ("subject", *heads), rows,
        tuple(notes + [left_out] * bool(left_out)),
    )


def difference(column: Sequence[Cell], reference: Sequence[Cell]) -> Cell:
    """Mean difference over subjects, with the t interval of pairs; None from itself."""
    apart = [value_of(a) - value_of(b) for a, b in zip(column, reference)]
    return over_subjects(apart)[0] if np.any(apart) else None


def section(study: Study, folder: Path) -> Section:
    """The tables of a study whose pieces are finished, and Figure 5, drawn into `folder`."""
    reports = {
        way: {s: read_report(study, Piece(study.kind, s, way)) for s in study.subjects}
        for way in WAYS
    }
    numbers = {"eeg": "Tables 6 and 7", "meg": "Tables 8 and 9"}[study.kind]
    whats = ("one sample", "conditional mean")
    left_out = why_left_out(study)
    made = [table(study, reports, measure, what, left_out)
            for measure in ("mse", "pattern") for what in whats]
    every = [report for of in reports.values() for report in of.values()]
    labels = tuple(label(measure, every) for measure in ("mse", "pattern"))
    path = figure(study, made, whats, labels, folder, marked=not left_out)
    caption = (
        f"As the paper's Figure 5, {study.kind.upper()}: averages over subjects; lines on bars are "
        "95 % intervals, Student's t over subjects"
    ) + (", diamonds the paper's averages" * (not left_out) + ".")
    title = f"{numbers} and Figure 5: {study.kind.upper()}, ways of conditioning"
    return Section(title, (*made, Figure(path, caption)))


def figure(
    study: Study, made: list[Table], whats: tuple[str, ...], labels: tuple[str, ...], folder: Path,
    *, marked: bool,
) -> Path:
    """Figure 5 of the tables (MSE of each of `whats`, then PCC), of axes with these labels; the
    paper's averages are marked or not."""
    panels = []
    for i, measure in enumerate(("mse", "pattern")):
        rows = [
            next(row for row in one.rows if row[0] == "mean")
            for one in made[i * len(whats) : (i + 1) * len(whats)]
        ]
        means = [[number(mean) for mean in row[1 : len(WAYS) + 1]] for row in rows]
        marks = {"paper": [printed(study.kind, measure, w) for w in WAYS]} if marked else {}
        groups = tuple(name.replace(", ", ",\n") for name in NAMES.values())
        panels.append(Panel(labels[i], groups, dict(zip(whats, means)), marks))
    return plot_bars(panels, folder / f"ways-{study.kind}.png")
