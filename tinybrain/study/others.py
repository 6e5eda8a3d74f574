"""Beyond the paper: for every subject one model of all the others, told of nobody in particular.

What a new person's recordings are predicted by before anything of theirs was recorded. Mean ERP and
ridge are the others', too; beside them stands the subject's own model.
"""

from __future__ import annotations

from collections.abc import Mapping

from .page import Section
from .pieces import Piece, Report, Study, read_report, subject_name
from .tables import Cell, Table
from .within import BRACKETS, DEMO_NOTE, MEASURES, baselines, cell, rows_of, with_means

SHARED = ("Whoever is left out of one model is learned from in all others. Student's t takes rows "
          "to be independent: of others' models and baselines its intervals may be too narrow.")
SAMPLES = ("one sample", "mean of samples", "conditional mean")


def table(
    study: Study, without: Mapping[int, Report], own: Mapping[int, Report], measure: str
) -> Table:
    """Subjects left out down; the others' model and baselines across, and their own model.

    Parameters
    ----------
    without, own : reports by subject, of the model of all others and of the subject's own
    measure : of `within.MEASURES`
    """
    short, said = MEASURES[measure]
    rows: list[list[Cell]] = []
    beside = baselines(without.values())
    for subject, report in without.items():
        found, theirs = rows_of(report), rows_of(own[subject])
        rows.append([
            subject_name(subject),
            *(cell(found.get(name, {}), measure) for name in (*SAMPLES, *beside)),
            *(cell(theirs.get(name, {}), measure) for name in SAMPLES[::2]),
        ])
    heads = [*SAMPLES, *(f"others' {name}" for name in beside[:-1]), beside[-1]]
    heads += [f"own model, {name}" for name in SAMPLES[::2]]
    return Table(
        f"Left out, {study.kind.upper()}, {short}",
        f"One model of all other subjects: {said}.", ("tested on", *heads),
        with_means(rows),
        (BRACKETS, SHARED, *[DEMO_NOTE] * study.demo),
    )


def section(study: Study) -> Section:
    """The tables of a study whose pieces, `Study.pieces_without` among them, are finished."""
    without = {piece.subject: read_report(study, piece) for piece in study.pieces_without()}
    own = {s: read_report(study, Piece(study.kind, s)) for s in study.subjects}
    made = [table(study, without, own, measure) for measure in MEASURES]
    return Section(f"Leave one subject out: {study.kind.upper()}", tuple(made))
