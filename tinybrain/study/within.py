"""Tables 1 and 4: models trained and tested on the same subject, each beside its baselines.

One table for each measure: the MSE; the correlation within images (`pattern` of `metrics.py`),
which is what the paper's PCC most likely is; and across images (`image`), which the paper does not
have, and which is the only one that a generator cannot have without looking at the image.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .. import generated, paper
from ..uncertainty import Interval, student
from .drawing import Panel, plot_bars
from .page import Figure, Section
from .pieces import Piece, Report, Study, read_report, subject_name
from .tables import Cell, Rows, Table, number, value_of

NUMBER = {"eeg": "1", "meg": "4"}
# by measure: its short name, what the caption says of it
MEASURES = {
    "mse": ("MSE", "mean squared error over images, sensors and time points"),
    "pattern": ("PCC", "Pearson correlation of each image's pattern over sensors and time points, "
                "mean over images"),
    "image": ("PCC across images", "Pearson correlation across images, mean over sensors and time "
              "points; the paper has no such number"),
}  # fmt: skip
BASELINES = ("mean ERP", "ridge", "ridge with products", "noise ceiling")
ADDED_TO = "ridge with products"  # the baseline that is there where a network adds to it
DEMO_NOTE = ("Demo: recordings are simulated, in units of their own, and models tiny. The paper's "
             "numbers are left out; beside recordings of its form they have their column.")
BRACKETS = ("In brackets: 95 % intervals, bootstrap over test images; in the row of means "
            "Student's t over subjects.")


def why_left_out(study: Study) -> str:
    """Why the paper's numbers are left out of a study whose pieces are finished; "" if they stand.

    Raises FileNotFoundError or ValueError as `generated.read`.
    """
    if study.demo:
        return DEMO_NOTE
    for piece in study.pieces():
        n, h, w = generated.read(study.folder(piece)).recorded.shape
        if not paper.comparable(study.kind, (n, h, w)):
            images, sensors, points = paper.FORM[study.kind]
            return (f"The paper's numbers are left out: they are of {images} test images and "
                    f"{sensors} sensors x {points} time points, {piece.of} has {n} and {h} x {w}.")
    return ""


def rows_of(report: Report) -> dict[str, dict[str, Any]]:
    """The rows of a report by the names that tables give them."""
    found = {row["name"]: row for row in report["rows"]}
    averaged = (row for name, row in found.items() if name.startswith("mean of "))
    return found | {"mean of samples": next(averaged, {})}


def baselines(reports: Iterable[Report]) -> tuple[str, ...]:
    """Of `BASELINES` those to show: ridge with products only where a model adds to it."""
    there = any(ADDED_TO in rows_of(report) for report in reports)
    return tuple(name for name in BASELINES if there or name != ADDED_TO)


def label(measure: str, reports: Iterable[Report]) -> str:
    """A measure as an axis has it, the MSE with its unit.

    >>> label("mse", [{"unit": "V"}]), label("pattern", [{"unit": "V"}])
    ('MSE (V²)', 'PCC')
    """
    units = ", ".join(sorted({f"{report['unit']}²" for report in reports}))
    return MEASURES[measure][0] + f" ({units})" * (measure == "mse")


def cell(row: Mapping[str, Any], measure: str) -> float | Interval | None:
    """A number of a report's row, with its interval over images where the report has one.

    >>> cell({"mse": 0.2, "intervals": {"mse": [0.1, 0.3]}}, "mse")
    Interval(value=0.2, low=0.1, high=0.3)
    """
    value, bounds = row.get(measure), row.get("intervals", {}).get(measure)
    if value is None:
        return None
    return Interval(value, *bounds) if bounds and None not in bounds else float(value)


def over_subjects(cells: Sequence[Cell]) -> tuple[float | Interval | None, float | None]:
    """Mean with Student's t interval over subjects, and sample standard deviation (n - 1).

    None for what does not exist: of missing numbers, or the deviation of a single one.

    >>> over_subjects([0.2, 0.3, None])
    (None, None)
    """
    values = np.array([value_of(one) for one in cells])
    if not len(values) or not np.isfinite(values).all():
        return None, None
    if len(values) < 2:
        return float(values[0]), None
    return student(values), float(values.std(ddof=1))


def with_means(rows: Sequence[Sequence[Cell]]) -> Rows:
    """Rows of subjects, each beginning with a name; beneath them mean and deviation of columns.

    >>> for row in with_means([["sub-01", 0.2], ["sub-02", 0.2]]):
    ...     print(*row)
    sub-01 0.2
    sub-02 0.2
    mean Interval(value=0.2, low=0.2, high=0.2)
    standard deviation 0.0
    """
    columns = [over_subjects(column) for column in list(zip(*rows))[1:]]
    return (*map(tuple, rows), ("mean", *(mean for mean, _ in columns)),
            ("standard deviation", *(spread for _, spread in columns)))


def paper_value(kind: str, subject: int, measure: str) -> float | None:
    """The paper's number of a subject, if it has one."""
    values = {"eeg": paper.PAPER_EEG, "meg": paper.PAPER_MEG}[kind]
    place = {"mse": 0, "pattern": 1}.get(measure)
    return None if place is None or subject not in values else values[subject][place]


def table(study: Study, reports: Mapping[int, Report], measure: str, left_out: str) -> Table:
    """Subjects down, models and baselines across; mean and deviation over subjects beneath.

    The paper's column is there unless `left_out`, of `why_left_out`, says why not.
    """
    short, said = MEASURES[measure]
    names = ["one sample", "mean of samples", "conditional mean"]
    names += baselines(reports.values())
    units = {report["unit"] for report in reports.values()}
    in_paper = measure != "image" and not left_out
    rows = []
    for subject, report in reports.items():
        found = rows_of(report)
        cells = [cell(found.get(name, {}), measure) for name in names]
        theirs = [paper_value(study.kind, subject, measure)] * in_paper
        rows.append([subject_name(subject), *cells, *theirs])
    columns = ("subject", *names, *["paper"] * in_paper)
    unit = f" in {', '.join(sorted(units))} squared" if measure == "mse" else ""
    number = NUMBER[study.kind]
    printed = paper.AVERAGE[study.kind][0 if measure == "mse" else 1]
    notes = [BRACKETS]
    if ADDED_TO in names:
        notes.append("The network adds to ridge with products, where that is there: only what is "
                     "better than it has the network learned.")
    if any(value_of(row[columns.index("noise ceiling")]) < 0 for row in rows):
        notes.append("A noise ceiling below 0 is no true ceiling: halves of few repetitions may "
                     "not correlate.")
    if in_paper:
        notes.append(f"The paper prints {printed:.3f} as its mean over all of its subjects.")
    return Table(
        f"Table {number}, {study.kind.upper()}, {short}",
        f"Within subject: {said}{unit}.", columns, with_means(rows),
        tuple(notes + [left_out] * bool(left_out)),
    )


def panel(made: Table, label: str) -> Panel:
    """A table of `table` as bars: samples and conditional mean, the others as marks."""
    rows = made.rows[:-1]  # without the deviation
    column = {name: [number(row[i]) for row in rows] for i, name in enumerate(made.columns)}
    bars = {name: column[name] for name in ("one sample", "conditional mean")}
    marks = {name: column[name] for name in (*BASELINES, "paper") if name in column}
    return Panel(label, tuple(str(row[0]) for row in rows), bars, marks)


def section(study: Study, folder: Path) -> Section:
    """The tables of a study whose pieces are finished, and their figure, drawn into `folder`."""
    reports = {s: read_report(study, Piece(study.kind, s)) for s in study.subjects}
    left_out = why_left_out(study)
    tables = [table(study, reports, measure, left_out) for measure in MEASURES]
    labels = [label(measure, reports.values()) for measure in MEASURES]
    path = plot_bars(
        [panel(made, said) for made, said in zip(tables, labels)],
        folder / f"within-{study.kind}.png",
    )
    caption = (
        f"Table {NUMBER[study.kind]} as bars: {study.kind.upper()}, trained and tested on the same "
        "subject. Lines on bars: 95 % intervals, those of means Student's t over subjects."
    )
    title = f"Table {NUMBER[study.kind]}: {study.kind.upper()}, within subject"
    return Section(title, (*tables, Figure(path, caption)))
