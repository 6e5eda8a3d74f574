"""Tables 1 and 4: models trained and tested on the same subject, each beside its baselines.

One table for each measure: the MSE; the correlation within images (`pattern` of `metrics.py`),
which is what the paper's PCC most likely is; and across images (`image`), which the paper does not
have, and which is the only one that a generator cannot have without looking at the image.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from .. import paper
from ..uncertainty import Interval, bootstrap
from .drawing import Panel, plot_bars
from .page import Figure, Section
from .pieces import Piece, Study, read_report, subject_name
from .tables import Cell, Table, value_of

NUMBER = {"eeg": "1", "meg": "4"}
# by measure: its short name, what the caption says of it
MEASURES = {
    "mse": ("MSE", "mean squared error over images, sensors and time points"),
    "pattern": ("PCC", "Pearson correlation of each image's pattern over sensors and time points, "
                "mean over images"),
    "image": ("PCC across images", "Pearson correlation across images, mean over sensors and time "
              "points; the paper has no such number"),
}  # fmt: skip
BASELINES = ("mean ERP", "ridge", "noise ceiling")
DEMO_NOTE = ("Demo: recordings are simulated and models tiny; the paper's numbers stand beside "
             "them to show where they go, not to be compared.")


def rows_of(report: dict[str, Any]) -> dict[str, dict]:
    """The rows of a report by the names that tables give them."""
    found = {row["name"]: row for row in report["rows"]}
    averaged = next((row for name, row in found.items() if name.startswith("mean of ")), {})
    return found | {"mean of samples": averaged}


def cell(row: dict[str, Any], measure: str) -> Cell:
    """A number of a report's row, with its interval over images where the report has one."""
    value, bounds = row.get(measure), row.get("intervals", {}).get(measure)
    if value is None:
        return None
    return Interval(value, *bounds) if bounds and None not in bounds else float(value)


def over_subjects(cells: list[Cell]) -> tuple[Cell, Cell]:
    """Mean with its bootstrap interval over subjects, and sample standard deviation (n - 1)."""
    values = np.array([value_of(one) for one in cells])
    if not len(values) or not np.isfinite(values).all():
        return None, None
    if len(values) < 2:
        return float(values[0]), None
    return bootstrap(values), float(values.std(ddof=1))


def paper_value(kind: str, subject: int, measure: str) -> float | None:
    """The paper's number of a subject, if it has one."""
    values = {"eeg": paper.PAPER_EEG, "meg": paper.PAPER_MEG}[kind]
    place = {"mse": 0, "pattern": 1}.get(measure)
    return None if place is None or subject not in values else values[subject][place]


def table(study: Study, reports: dict[int, dict], measure: str) -> Table:
    """Subjects down, models and baselines across; mean and deviation over subjects beneath."""
    short, said = MEASURES[measure]
    names = ["one sample", "mean of samples", "conditional mean", *BASELINES]
    units = {report["unit"] for report in reports.values()}
    rows = []
    for subject, report in reports.items():
        found = rows_of(report)
        cells = [cell(found.get(name, {}), measure) for name in names]
        rows.append([subject_name(subject), *cells, paper_value(study.kind, subject, measure)])
    means, spreads = zip(*(over_subjects(list(column)) for column in list(zip(*rows))[1:]))
    columns = ["subject", *names, "paper"]
    if measure == "image":
        columns, rows = columns[:-1], [row[:-1] for row in rows]
        means, spreads = means[:-1], spreads[:-1]
    rows += [["mean", *means], ["standard deviation", *spreads]]
    unit = f" in {', '.join(sorted(units))} squared" if measure == "mse" else ""
    number = NUMBER[study.kind]
    printed = paper.AVERAGE[study.kind][0 if measure == "mse" else 1]
    notes = [
        "In brackets: 95 % intervals, bootstrap over test images; in the row of means over "
        "subjects."
    ]
    if measure != "image":
        notes.append(f"The paper prints {printed:.3f} as its mean over all of its subjects.")
    return Table(
        f"Table {number}, {study.kind.upper()}, {short}",
        f"Within subject: {said}{unit}.", tuple(columns), tuple(map(tuple, rows)),
        tuple(notes + [DEMO_NOTE] * study.demo),
    )


def panel(made: Table, label: str) -> Panel:
    """A table of `table` as bars: samples and conditional mean, the others as marks."""
    rows = made.rows[:-1]  # without the deviation
    column = {name: [row[i] for row in rows] for i, name in enumerate(made.columns)}
    bars = {name: column[name] for name in ("one sample", "conditional mean")}
    marks = {name: column[name] for name in (*BASELINES, "paper") if name in column}
    return Panel(label, tuple(column["subject"]), bars, marks)


def section(study: Study, folder: Path) -> Section:
    """The tables of a study whose pieces are finished, and their figure, drawn into `folder`."""
    reports = {s: read_report(study, Piece(study.kind, s)) for s in study.subjects}
    tables = [table(study, reports, measure) for measure in MEASURES]
    labels = [MEASURES[measure][0] for measure in MEASURES]
    path = plot_bars(
        [panel(made, label) for made, label in zip(tables, labels)],
        folder / f"within-{study.kind}.png",
    )
    caption = (
        f"Table {NUMBER[study.kind]} as bars: {study.kind.upper()}, trained and tested on the same "
        "subject. Lines on bars: 95 % intervals."
    )
    title = f"Table {NUMBER[study.kind]}: {study.kind.upper()}, within subject"
    return Section(title, (*tables, Figure(path, caption)))
