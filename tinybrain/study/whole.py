"""The whole study on one page: verdicts, every table, every figure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .. import generated, report
from ..run_figures import MAPS
from ..things.sensors import layout
from ..topography_sheets import evoked, plot_contact_sheet, plot_subject
from . import cross, ways, within
from .page import Figure, Part, Section
from .pieces import WAYS, Piece, Study, read_report, subject_name


def sections(found: Sequence[Study], folder: Path) -> list[Section]:
    """All sections of studies whose pieces are finished; figures are drawn into `folder`."""
    made = [summary(found)]
    for study in found:
        made.append(within.section(study, folder))
        if len(study.subjects) > 1:
            made.append(cross.section(study, folder))
        made += [ways.section(study, folder), maps(study, folder)]
    return made


def summary(found: Sequence[Study]) -> Section:
    """What was run, and the verdict of each model in words."""
    body: list[Part] = list(dict.fromkeys(filter(None, map(within.why_left_out, found))))
    for study in found:
        subjects = ", ".join(map(str, study.subjects))
        body.append(
            f"{study.kind.upper()}: {study.data}, subjects {subjects}; recipe {study.args.recipe}, "
            f"seed {study.args.seed}, {study.args.trials} samples of each test image."
        )
    for study in found:
        for piece in study.pieces(*WAYS):
            body.append(f"{piece}: {report.verdict(read_report(study, piece))}")
    return Section("What was found", tuple(body))


def maps(study: Study, folder: Path) -> Section:
    """Topographies: a sheet of all subjects, then each of them."""
    kind, title = study.kind, f"Topographies: {study.kind.upper()}"
    shown = [
        evoked(generated.read(study.folder(Piece(kind, subject))), subject_name(subject))
        for subject in study.subjects
    ]
    try:
        xy = layout(shown[0].sensors)
    except ValueError as error:  # sensors without a known position
        return Section(title, (f"None: {error}.",))
    body: list[Part] = []
    if len(shown) > 1:
        path = plot_contact_sheet(shown, xy, folder / f"topographies-{kind}.png")
        body.append(Figure(path, f"{kind.upper()}: what was recorded and what was generated for "
                           "the test images, means over images, every 100 ms, of each subject."))
    for each in shown:
        path = plot_subject(each, xy, folder / f"topographies-{kind}-{each.name}.png")
        body.append(Figure(path, f"{kind.upper()}, {each.name}: topographies every 100 ms, as the "
                           f"paper's {MAPS[kind]}, and generated minus test."))
    return Section(title, tuple(body))
