#!/usr/bin/env python3
"""Scalp maps of one or many subjects: recorded, generated and their differences, every 100 ms.

    python examples/topographies.py                                        the demo, in runs/demo
    python examples/topographies.py runs/sub-01 runs/sub-02 runs/sub-03 --out figures
    python examples/topographies.py runs/sub-* --data FOLDER --unwhiten --format pdf

For each run folder a figure with the rows training, test, generated, training - test and
generated - test (the paper's Figures 3, 4 and 6-9), and test beside generated as a moving GIF; for
several subjects a contact sheet of test and generated. One symmetric colour scale a figure. EEG and
MEG may stand in one command; each has its own sheet.

Signals come from the run's generated.npz, or are drawn from its model.pt and kept there. Whitened
ones are drawn as they are, as in the paper; --unwhiten shows microvolts, where prepare_eeg.py has
kept the matrices. The subject is the number in the name of the folder, as in sub-01, or --subjects.
"""

from __future__ import annotations

import argparse
import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from tinybrain import command_line, generated
from tinybrain import topography_sheets as sheets
from tinybrain.command_line import subject
from tinybrain.generated import Generated
from tinybrain.pipeline import ImageToBrain
from tinybrain.report import Evaluation
from tinybrain.things import EEG2, MEG, store
from tinybrain.things.eeg2.reader import find_file as find_eeg
from tinybrain.things.layouts import read_layout
from tinybrain.things.meg.files import find_file as find_meg
from tinybrain.things.sensors import layout

DEMO, DEMO_DATA = Path("runs", "demo"), Path("runs", "demo-data")
READERS, FINDERS = {"eeg": EEG2, "meg": MEG}, {"eeg": find_eeg, "meg": find_meg}
NUMBER = re.compile(r"\b(?:sub-|P)0*(\d+)")


def arguments() -> argparse.Namespace:
    cli = command_line.parser(__doc__)
    cli.add_argument("runs", type=Path, nargs="*", help="run folders, one a subject")
    cli.add_argument("--data", type=Path, help="folder of the recordings; wanted for --unwhiten, "
                     "and where a run has no generated.npz")
    cli.add_argument("--subjects", type=subject, nargs="+", help="their numbers, one for each run")
    cli.add_argument("--which", choices=sheets.WHICH, default="mean", help="the generated row: the "
                     "mean of all samples of an image, one of them, or the conditional mean")
    cli.add_argument("--unwhiten", action="store_true", help="microvolts, not whitened signals")
    cli.add_argument("--every", type=float, default=0.1, help="seconds from column to "
                     "column: 0.1 is 100 ms")
    cli.add_argument("--trials", type=int, default=4, help="samples, where they are drawn here")
    cli.add_argument("--layout", type=Path, help="places of sensors that are not known here: a "
                     "table with name, x, y or name, x, y, z, a .lout, or a file of electrodes")
    cli.add_argument("--format", choices=("png", "pdf", "svg"), default="png")
    cli.add_argument("--no-gif", action="store_true", help="no moving figures")
    cli.add_argument("--out", type=Path, default=Path("figures"), help="folder of the figures")
    args = cli.parse_args()
    if not args.runs:
        args.runs, args.data = [DEMO], args.data or DEMO_DATA
        args.subjects = args.subjects or [1]
    if args.subjects and len(args.subjects) != len(args.runs):
        cli.error(f"{len(args.subjects)} --subjects for {len(args.runs)} runs; wanted one for each")
    return args


def number_of(folder: Path) -> int | None:
    """The subject of a run, as the last name on its path that has one says."""
    found = [NUMBER.search(part) for part in folder.parts]
    return next((int(match[1]) for match in reversed(found) if match), None)


def data_of(args: argparse.Namespace, number: int | None, why: str) -> tuple[Path, int]:
    """Where a subject's recording is, or a ValueError that says why it is wanted."""
    if args.data is None or number is None:
        raise ValueError(f"{why}: give --data FOLDER" + " and --subjects" * (number is None))
    return args.data, number


def responses(args: argparse.Namespace, folder: Path, number: int | None) -> sheets.Evoked:
    """The averages that are drawn of one run."""
    name = folder.name if number is None else f"Subject {number}"
    found = read_or_draw(args, folder, number)
    if found.erp is None:
        place = data_of(args, number, f"{folder}: generated.npz lacks the mean training recording")
        train = READERS[found.kind](*place, "train")
        found = replace(found, erp=train.signals.mean(axis=0, dtype=np.float64))
    shown = sheets.evoked(found, name, args.which)
    if not args.unwhiten:
        return shown
    place = data_of(args, number, f"{folder}: --unwhiten wants the recording's matrices")
    file = FINDERS[found.kind](*place, "test")
    if not store.is_store(file.parent):
        raise ValueError(f"{file}: no whitening matrices are kept beside it, as prepare_eeg.py "
                         "keeps them; prepare the recording with it, or leave --unwhiten out")
    return sheets.unwhitened(shown, store.read_card(file.parent))


def read_or_draw(args: argparse.Namespace, folder: Path, number: int | None) -> Generated:
    """A run's generated.npz; where it is missing it is made, from model.pt and the images."""
    if (folder / generated.FILE).is_file() or not (folder / "model.pt").is_file():
        return generated.read(folder)
    place = data_of(args, number, f"{folder}: no {generated.FILE}, and to draw signals its images "
                    "are wanted")
    model = ImageToBrain.load(folder / "model.pt")
    if not model.encoder.sees or model.encoder.reads:
        raise ValueError(f"{folder}: no {generated.FILE}, and the model's context is "
                         f"{model.encoder.context!r}, not images alone: evaluate it again")
    reader = READERS[model.kind]
    train, test = reader(*place, "train"), reader(*place, "test", repeats="single")
    print(f"{folder}: drawing {args.trials} signals for each of {len(test.images)} images")
    context = model.encode(list(test.images))                                  # (n, l, d)
    samples = model.generate(context, args.trials, progress=sys.stderr.isatty()).data
    has_mean = model.recipe.has_conditional_mean
    mean = model.mean(context).data[:, 0] if has_mean else samples.mean(axis=1)
    erp = train.signals.mean(axis=0, dtype=np.float64)
    generated.write(folder, model, test, Evaluation(report={}, samples=samples, mean=mean), erp)
    return generated.read(folder)


def draw_subject(args: argparse.Namespace, shown: sheets.Evoked, stem: str, xy: np.ndarray) -> None:
    path = args.out / f"topographies-{shown.kind}-{stem}.{args.format}"
    print(sheets.plot_subject(shown, xy, path, args.every))
    if not args.no_gif:
        print(sheets.animate_topographies(shown, xy, path.with_suffix(".gif")))


def main() -> None:
    args, kinds, drawn = arguments(), {}, set()
    places = read_layout(args.layout) if args.layout else None
    for i, folder in enumerate(args.runs):
        number = args.subjects[i] if args.subjects else number_of(folder)
        shown = responses(args, folder, number)
        stem = folder.name if number is None else f"sub-{number:02d}"
        if (shown.kind, stem) in drawn:
            raise ValueError(f"{folder}: {shown.kind} {stem} is drawn already, from another run; "
                             "give each its own --out, or number them by --subjects")
        drawn.add((shown.kind, stem))
        draw_subject(args, shown, stem, layout(shown.sensors, places))
        kinds.setdefault(shown.kind, []).append(shown)
    for kind, subjects in kinds.items():
        if len(subjects) > 1:
            path = args.out / f"topographies-{kind}-all.{args.format}"
            xy = layout(subjects[0].sensors, places)
            print(sheets.plot_contact_sheet(subjects, xy, path, args.every))


if __name__ == "__main__":
    command_line.run(main)
