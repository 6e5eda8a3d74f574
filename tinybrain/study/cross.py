"""Tables 2, 3 and 5: trained on one subject (source), tested on another (target).

A model generates from images, and the test images are the same for all subjects: what it made of
them once (`generated.py`) is compared with every subject's recordings, image by image, by name.
Nothing is sampled again. Margins are the paper's: mean and sample standard deviation (n - 1) of
each row and column; in the corner the mean of all cells, and the average of the lower margin's
deviations, as in its Tables 2, 3 and 5(b) (that of Table 5(a) is the spread of all cells).

Two baselines need no image. The source's mean ERP asks whether a model gives more of its subject
than the average; the other subjects' mean ERP, whether a target needs any model at all.
Letters: s subjects, n images, h sensors, w time points.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from pathlib import Path

import numpy as np

from .. import generated, metrics, paper
from ..generated import Generated
from ..margins import margins
from ..subjects import mean_of_others
from .drawing import Matrix, plot_matrices
from .page import Figure, Part, Section
from .pieces import Piece, Study, subject_name
from .tables import Cell, Table
from .within import DEMO_NOTE, with_means

TABLES = {  # by kind and measure: the paper's number, and the name of its measure
    ("eeg", "mse"): ("2", "MSE"), ("eeg", "pattern"): ("3", "PCC"),
    ("meg", "mse"): ("5(a)", "MSE"), ("meg", "pattern"): ("5(b)", "PCC"),
}  # fmt: skip
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
    study: Study, cells: np.ndarray, measure: str, what: str, subjects: tuple[int, ...]
) -> Table:
    """A matrix with its margins, as the paper prints it."""
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
    if not study.demo:
        printed = paper.cross_subject(study.kind, "mse" if measure == "mse" else "pcc")
        notes[0] += f" The paper's corner: {printed.mean:.3f}, deviation {printed.std:.3f}."
    return Table(
        f"Table {number}, {study.kind.upper()}, {short} of {what}",
        "Across subjects. Rows: subject trained on; columns: subject tested on.",
        ("trained on", *names, "mean", "standard deviation"), tuple(rows),
        tuple(notes + [DEMO_NOTE] * study.demo),
    )


# -------------------------------------------------------------------------------------------------
# Baselines


def baselines(found: Mapping[int, Generated], measure: str) -> dict[str, np.ndarray]:
    """Of each target (s,): what models of other subjects score, and what mean ERPs do.

    Other subjects' models are averaged as scores; "all other subjects' mean ERP" is one signal,
    the average of their mean training recordings.
    """
    subjects, columns = list(found), {}
    for field, what in WHAT.items():
        cells = matrix(found, field, measure)
        columns[f"others' models, {what}"] = margins(without_diagonal(cells)).target_mean
        columns[f"own model, {what}"] = np.diag(cells)
    own: dict[Hashable, np.ndarray] = {i: _erp(found[i]) for i in subjects}
    erps = np.array([
        [_flat_score(own[i], found[j], measure) for j in subjects] for i in subjects
    ])
    columns["others' mean ERPs"] = margins(without_diagonal(erps)).target_mean
    columns["all other subjects' mean ERP"] = np.array([
        _flat_score(mean_of_others(own, j), found[j], measure)
        for j in subjects
    ])
    columns["own mean ERP"] = np.diag(erps)
    return columns


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
        (subject_name(subject), *(float(values[i]) for values in columns.values()))
        for i, subject in enumerate(found)
    ]
    return Table(
        f"Table {number}, {study.kind.upper()}, {short} beside mean ERPs",
        "What each subject's recordings are predicted by: models and mean training recordings of "
        "others, averaged over them, and the subject's own.",
        ("tested on", *columns), with_means(rows),
        ("In brackets: 95 % interval, bootstrap over subjects.", *[DEMO_NOTE] * study.demo),
    )


# -------------------------------------------------------------------------------------------------
# All of it


def section(study: Study, folder: Path) -> Section:
    """The tables of a study whose pieces are finished, and heat maps, drawn into `folder`."""
    if len(study.subjects) < 2:
        raise ValueError(f"across subjects: {len(study.subjects)} came; wanted two or more")
    found = {s: generated.read(study.folder(Piece(study.kind, s))) for s in study.subjects}
    body: list[Part] = []
    for measure in ("mse", "pattern"):
        made = {what: matrix(found, field, measure) for field, what in WHAT.items()}
        body += [matrix_table(study, made[what], measure, what, study.subjects) for what in made]
        body.append(baseline_table(study, found, measure))
        unit = f"{next(iter(found.values())).unit}²" * (measure == "mse")
        body.append(heat_maps(study, made, measure, unit, folder))
    numbers = {"eeg": "Tables 2 and 3", "meg": "Table 5"}[study.kind]
    return Section(f"{numbers}: {study.kind.upper()}, across subjects", tuple(body))


def heat_maps(
    study: Study, made: Mapping[str, np.ndarray], measure: str, unit: str, folder: Path
) -> Figure:
    """Ours, beside real recordings also the paper's, of the subjects that both have."""
    number, short = TABLES[study.kind, measure]
    printed = paper.cross_subject(study.kind, "mse" if measure == "mse" else "pcc").cells
    both = tuple(s for s in study.subjects if s <= len(printed))
    at = np.array(both, dtype=int) - 1
    maps = [
        Matrix(what, without_diagonal(cells), study.subjects, unit=unit)
        for what, cells in made.items()
    ]
    if len(both) > 1 and not study.demo:
        maps.append(Matrix(f"the paper, Table {number}", printed[np.ix_(at, at)], both))
    path = plot_matrices(maps, short, folder / f"cross-{study.kind}-{short.lower()}.png")
    return Figure(path, f"Table {number} as heat maps: {short}, {study.kind.upper()}. Each map has "
                  "a colour scale of its own: compare numbers between maps, not colours"
                  + "; the paper does not state its unit" * (bool(unit) and len(maps) > len(made))
                  + ".")
