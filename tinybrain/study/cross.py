"""Tables 2, 3 and 5: trained on one subject (source), tested on another (target).

A model generates from images, and the test images are the same for all subjects: what it made of
them once (`generated.py`) is compared with every subject's recordings, image by image, by name.
Nothing is sampled again. Margins are the paper's: mean and sample standard deviation (n - 1) of
each row and column; in the corner the mean of all cells, and the average of the lower margin's
deviations, as in its Tables 2, 3 and 5(b) (that of Table 5(a) is the spread of all cells).

Two baselines need no image. The source's mean ERP asks whether a model gives more of its subject
than the average; the other subjects' mean ERP, whether a target needs any model at all.

Pairs that share a source or a target are not independent. The interval of a mean over them is the
jackknife's over subjects: each subject is left out as source and target at once. Two subjects,
whose pairs share both, have none.
Letters: s subjects, n images, h sensors, w time points.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .. import generated, metrics, paper
from ..generated import Generated
from ..margins import margins
from ..subjects import mean_of_others
from ..uncertainty import Interval, jackknife, student
from .drawing import Matrix, plot_matrices
from .page import Figure, Part, Section
from .pieces import Piece, Study, subject_name
from .tables import Cell, Table
from .within import DEMO_NOTE, over_subjects, why_left_out

TABLES = {  # by kind and measure: the paper's number, and the name of its measure
    ("eeg", "mse"): ("2", "MSE"), ("eeg", "pattern"): ("3", "PCC"),
    ("meg", "mse"): ("5(a)", "MSE"), ("meg", "pattern"): ("5(b)", "PCC"),
}  # fmt: skip
OVER = ("In brackets: 95 % intervals over subjects. Of a subject's own model and mean ERP: "
        "Student's t. Of what others predict: the jackknife, each subject left out as source and "
        "target at once, as pairs that share a subject are not independent; of two there is none.")
WHAT = {"one": "one sample", "best": "conditional mean"}  # field of Generated: its name


def score(guess: np.ndarray, target: np.ndarray, measure: str) -> float:
    """MSE, or one of the correlations of `metrics.py`."""
    if measure == "mse":
        return metrics.mse(guess, target)
    return metrics.pcc(guess, target, measure)


def check_alike(found: Mapping[int, Generated]) -> None:
    """Refuse subjects whose signals cannot be compared.

    Raises
    ------
    ValueError
        Other sensors, times or units than the first subject's.
    """
    first, *others = found
    a = found[first]
    for subject in others:
        b = found[subject]
        same_times = a.times.shape == b.times.shape and np.allclose(a.times, b.times, atol=1e-6)
        if a.sensors != b.sensors or not same_times or a.unit != b.unit:
            raise ValueError(
                f"subjects {first} and {subject} have {len(a.sensors)} and {len(b.sensors)} "
                f"sensors, {len(a.times)} and {len(b.times)} times, units {a.unit} and {b.unit}; "
                "wanted the same sensors in the same order, the same times and unit"
            )


def matrix(found: Mapping[int, Generated], field: str, measure: str) -> np.ndarray:
    """Score of every pair: (s, s), row: source, column: target. The diagonal is within subject.

    Parameters
    ----------
    found : by subject
    field : "one" or "best", of Generated
    measure : "mse", "pattern", "image" or "pooled"

    Raises
    ------
    ValueError
        Sensors, times, units or test images differ.
    """
    check_alike(found)
    cells = np.empty((len(found), len(found)))
    for i, source in enumerate(found.values()):
        for j, target in enumerate(found.values()):
            guess = getattr(source, field)[source.rows(target.images)]
            cells[i, j] = score(guess, target.recorded, measure)
    return cells


def without_diagonal(cells: np.ndarray) -> np.ndarray:
    """A copy with nan where source and target are the same.

    >>> without_diagonal(np.array([[1, 2], [3, 4]]))
    array([[nan,  2.],
           [ 3., nan]])
    """
    cells = cells.astype(float)
    np.fill_diagonal(cells, np.nan)
    return cells


def matrix_table(
    study: Study, cells: np.ndarray, measure: str, what: str, subjects: tuple[int, ...],
    left_out: str,
) -> Table:
    """A matrix with its margins, as the paper prints it.

    The paper's corner is there unless `left_out`, of `within.why_left_out`, says why not.
    """
    number, short = TABLES[study.kind, measure]
    cells = without_diagonal(cells)
    beside = margins(cells)
    names = [subject_name(subject) for subject in subjects]
    rows: list[tuple[Cell, ...]] = [
        (name, *line.tolist(), mean, std) for name, line, mean, std
        in zip(names, cells, beside.source_mean.tolist(), beside.source_std.tolist())
    ]
    rows.append(("mean", *beside.target_mean.tolist(), beside.mean, None))
    corner = float(beside.target_std.mean())
    rows.append(("standard deviation", *beside.target_std.tolist(), None, corner))
    notes = ["Deviations are over subjects (n - 1); in the corner the average of the lower "
             "margin's."]
    if not left_out:
        printed = paper.cross_subject(study.kind, "mse" if measure == "mse" else "pcc")
        notes[0] += f" The paper's corner: {printed.mean:.3f}, deviation {printed.std:.3f}."
    return Table(
        f"Table {number}, {study.kind.upper()}, {short} of {what}",
        "Across subjects. Rows: subject trained on; columns: subject tested on.",
        ("trained on", *names, "mean", "standard deviation"), tuple(rows),
        tuple(notes + [left_out] * bool(left_out)),
    )


# -------------------------------------------------------------------------------------------------
# Baselines


class Column(NamedTuple):
    """One number of each target, and their mean with its interval."""

    values: np.ndarray  # (s,)
    mean: Interval


def baselines(found: Mapping[int, Generated], measure: str) -> dict[str, Column]:
    """Of each target: what models of other subjects score, and what mean ERPs do.

    Other subjects' models are averaged as scores; "all other subjects' mean ERP" is one signal,
    the average of their mean training recordings.
    """
    columns: dict[str, Column] = {}
    for field, what in WHAT.items():
        cells = matrix(found, field, measure)
        columns[f"others' models, {what}"] = _of_others(cells)
        columns[f"own model, {what}"] = _of_own(cells)
    erps = np.array([
        [_flat_score(_erp(source), target, measure) for target in found.values()]
        for source in found.values()
    ])
    columns["others' mean ERPs"] = _of_others(erps)
    columns["all other subjects' mean ERP"] = _of_pooled(found, measure)
    columns["own mean ERP"] = _of_own(erps)
    return columns


def _of_own(cells: np.ndarray) -> Column:
    return Column(np.diag(cells), student(np.diag(cells)))


def _of_others(cells: np.ndarray) -> Column:
    return Column(margins(without_diagonal(cells)).target_mean, mean_of_pairs(cells))


def mean_of_pairs(cells: np.ndarray) -> Interval:
    """Mean of cells (s, s) off the diagonal, with its jackknife's interval over subjects.

    Its bounds are nan of two subjects: without one of them there is no pair.

    >>> mean_of_pairs(np.array([[9, 1, 2], [1, 9, 3], [2, 3, 9]]))
    Interval(value=2.0, low=-2.96..., high=6.96...)
    """
    cells = without_diagonal(cells)
    fewer = [np.delete(np.delete(cells, i, 0), i, 1) for i in range(len(cells))]
    return jackknife(margins(cells).mean, [margins(rest).mean for rest in fewer])


def _of_pooled(found: Mapping[int, Generated], measure: str) -> Column:
    """Of each target the score of one signal: the others' mean of their mean ERPs."""
    def scores(subjects: list[int]) -> np.ndarray:
        own: dict[Hashable, np.ndarray] = {i: _erp(found[i]) for i in subjects}
        return np.array([_flat_score(mean_of_others(own, j), found[j], measure) for j in subjects])

    values, fewer = scores(list(found)), [[j for j in found if j != i] for i in found]
    without = [scores(rest).mean() if len(rest) > 1 else np.nan for rest in fewer]
    return Column(values, jackknife(float(values.mean()), without))


def _erp(of: Generated) -> np.ndarray:
    if of.erp is None:
        raise ValueError(f"{generated.FILE} holds no mean training recording (erp): delete it and "
                         "evaluate anew")
    return of.erp


def _flat_score(erp: np.ndarray, target: Generated, measure: str) -> float:
    """The score of the same signal (h, w) for every image."""
    return score(np.broadcast_to(erp, target.recorded.shape), target.recorded, measure)


def baseline_table(study: Study, found: Mapping[int, Generated], measure: str) -> Table:
    """Targets down; others' models, the target's own, and mean ERPs across."""
    number, short = TABLES[study.kind, measure]
    columns = baselines(found, measure)
    rows: list[tuple[Cell, ...]] = [
        (subject_name(subject), *(float(column.values[i]) for column in columns.values()))
        for i, subject in enumerate(found)
    ]
    rows.append(("mean", *(column.mean for column in columns.values())))
    deviations = (over_subjects(column.values.tolist())[1] for column in columns.values())
    rows.append(("standard deviation", *deviations))
    return Table(
        f"Table {number}, {study.kind.upper()}, {short} beside mean ERPs",
        "What each subject's recordings are predicted by: models and mean training recordings of "
        "others, averaged over them, and the subject's own.",
        ("tested on", *columns), tuple(rows), (OVER, *[DEMO_NOTE] * study.demo),
    )


# -------------------------------------------------------------------------------------------------
# All of it


def section(study: Study, folder: Path) -> Section:
    """The tables of a study whose pieces are finished, and heat maps, drawn into `folder`."""
    if len(study.subjects) < 2:
        raise ValueError(f"across subjects: {len(study.subjects)} came; wanted two or more")
    found = {s: generated.read(study.folder(Piece(study.kind, s))) for s in study.subjects}
    body: list[Part] = []
    left_out = why_left_out(study)
    for measure in ("mse", "pattern"):
        made = {what: matrix(found, field, measure) for field, what in WHAT.items()}
        body += [matrix_table(study, made[what], measure, what, study.subjects, left_out)
                 for what in made]
        body.append(baseline_table(study, found, measure))
        unit = f"{next(iter(found.values())).unit}²" * (measure == "mse")
        body.append(heat_maps(study, made, measure, unit, folder, marked=not left_out))
    numbers = {"eeg": "Tables 2 and 3", "meg": "Table 5"}[study.kind]
    return Section(f"{numbers}: {study.kind.upper()}, across subjects", tuple(body))


def heat_maps(
    study: Study, made: Mapping[str, np.ndarray], measure: str, unit: str, folder: Path, *,
    marked: bool,
) -> Figure:
    """Ours, and if `marked` the paper's beside them, of the subjects that both have."""
    number, short = TABLES[study.kind, measure]
    printed = paper.cross_subject(study.kind, "mse" if measure == "mse" else "pcc").cells
    both = tuple(s for s in study.subjects if s <= len(printed))
    at = np.array(both, dtype=int) - 1
    maps = [Matrix(what, without_diagonal(cells), study.subjects) for what, cells in made.items()]
    said = f"Table {number} as heat maps: {short}, {study.kind.upper()}; one colour scale for all."
    if len(both) > 1 and marked:
        unstated = "\n(unit not stated)" * bool(unit)
        maps.append(Matrix(f"the paper, Table {number}{unstated}", printed[np.ix_(at, at)], both))
        said += " The paper does not state its unit." * bool(unit)
    label = short + f" ({unit})" * bool(unit)
    path = plot_matrices(maps, label, folder / f"cross-{study.kind}-{short.lower()}.png")
    return Figure(path, said)
