"""The command line that the examples of the study share, and their way through it."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from .. import command_line, experiment
from ..command_line import above_zero, positive
from ..parallel import ranks
from ..recipes import RECIPES
from ..things import make_demo
from ..things.eeg2.reader import find_file as find_eeg
from ..things.meg.files import find_file as find_meg
from . import page, plan, tables
from .page import Section
from .pieces import Piece, Study, make, refuse_others

SUBJECTS = {"eeg": tuple(range(1, 11)), "meg": tuple(range(1, 5))}  # of the data sets
FIND = {"eeg": find_eeg, "meg": find_meg}
# The demo: so small that all of its 24 models are made in the time of a coffee break.
DEMO_SUBJECTS = {"eeg": (1, 2, 3, 4), "meg": (1, 2)}
DEMO_DATA: dict[str, dict[str, Any]] = {
    "eeg": {"train_concepts": 80, "train_images": 4, "test_concepts": 40, "test_repeats": 20,
            "points": 40, "rate": 40.0},
    "meg": {"train_concepts": 20, "train_images": 5, "test_concepts": 15},
}  # fmt: skip
DEMO_RUN: dict[str, dict[str, float]] = {
    "eeg": {"epochs": 8, "batch_size": 16, "lr": 3e-3, "heldout": 0.1, "steps": 10},
    "meg": {"epochs": 2, "batch_size": 4, "lr": 1e-3, "heldout": 0.1, "steps": 10},
}
PASSED_ON = ("clip", "recipe", "small", "channels", "epochs", "batch_size", "lr", "micro_batch",
             "seed", "device", "trials", "sampler", "steps", "force", "restart")  # to each run


def arguments(description: str) -> argparse.ArgumentParser:
    """The command line of a study."""
    cli = command_line.parser(description)
    what = cli.add_argument_group("data; without any, a demo of both kinds")
    for kind, name in (("eeg", "THINGS-EEG2"), ("meg", "THINGS-MEG")):
        what.add_argument(f"--{kind}", type=Path, metavar="FOLDER", help=f"a {name} folder")
        what.add_argument(f"--{kind}-subjects", type=command_line.subject, nargs="+", metavar="N",
                          help=f"by default those there are of 1 to {len(SUBJECTS[kind])}; of the "
                          f"demo, 1 to {len(DEMO_SUBJECTS[kind])}")
        what.add_argument(f"--{kind}-features", type=Path, metavar="FOLDER",
                          help="made before, in place of --clip")
    what.add_argument("--only", choices=sorted(SUBJECTS), help="of the demo")
    how = cli.add_argument_group("models; as in train_eeg.py")
    how.add_argument("--clip", help="weights: ViT-L/14 by default, a file or a folder")
    how.add_argument("--recipe", choices=sorted(RECIPES), default="tinybrain")
    how.add_argument("--small", action="store_true", help="the demo's network, epochs and tower")
    how.add_argument("--channels", type=positive, nargs="+", help="widths of the U-Net's levels")
    how.add_argument("--epochs", type=positive)
    how.add_argument("--batch-size", type=positive)
    how.add_argument("--lr", type=above_zero)
    how.add_argument("--micro-batch", type=positive)
    how.add_argument("--seed", type=int, default=0)
    how.add_argument("--device", help="by default a GPU if there is one")
    how.add_argument("--trials", type=positive, help="samples per test image: 4, in the demo "
                     "2")
    how.add_argument("--sampler", choices=("ancestral", "ddim", "dpm_solver"))
    how.add_argument("--steps", type=positive, help="sampling steps")
    cli.add_argument("--out", type=Path, default=Path("runs") / "study", help="%(default)s")
    cli.add_argument("--plan", action="store_true", help="print what there is to do, and stop")
    cli.add_argument("--restart", action="store_true", help="train all models anew; if that is "
                     "stopped, go on without --restart")
    cli.add_argument("--force", action="store_true", help="take models of other settings as theirs")
    return cli


def studies(args: argparse.Namespace) -> list[Study]:
    """One study for each kind of recording; of the demo, its recordings are written first.

    Raises
    ------
    FileNotFoundError
        No such folder, nobody's recordings in it, or not those of somebody who is named.
    ValueError
        --only beside folders; subjects named twice, or whom the demo does not have.
    """
    given = [kind for kind in ("eeg", "meg") if getattr(args, kind)]
    if given and args.only:
        raise ValueError("--only chooses a part of the demo; give the folders of what you want")
    kinds = given or ([args.only] if args.only else ["eeg", "meg"])
    return [_study(args, kind, not given) for kind in kinds]


def _study(args: argparse.Namespace, kind: str, demo: bool) -> Study:
    own = {name: getattr(args, name) for name in PASSED_ON}
    own |= {"data": getattr(args, kind), "features": getattr(args, f"{kind}_features")}
    own["trials"] = (2 if demo else 4) if args.trials is None else args.trials
    if demo:
        own |= {name: value for name, value in DEMO_RUN[kind].items() if own.get(name) is None}
    usual = experiment.arguments("", "").parse_args([])
    named, data = getattr(args, f"{kind}_subjects"), getattr(args, kind)
    subjects = named or DEMO_SUBJECTS[kind]
    if len(set(subjects)) < len(subjects):
        raise ValueError(f"--{kind}-subjects: {subjects}; wanted each once")
    if demo:
        many = len(DEMO_SUBJECTS[kind])
        if not set(subjects) <= set(DEMO_SUBJECTS[kind]):
            raise ValueError(f"--{kind}-subjects: {subjects}; the demo has 1 to {many}")
        data = make_demo(args.out / f"demo-{kind}", kind, subjects=many, **DEMO_DATA[kind])
    else:
        subjects = _found(kind, data, named)
    return Study(
        kind, data, tuple(subjects), argparse.Namespace(**vars(usual) | own), args.out
    )


def _found(kind: str, data: Path, named: Sequence[int] | None) -> Sequence[int]:
    """The named subjects, all of whose files must be there; or those of the data set that are."""
    there, missing = [], {}
    for subject in named or SUBJECTS[kind]:
        try:
            for split in ("train", "test"):
                FIND[kind](data, subject, split)
            there.append(subject)
        except FileNotFoundError as error:
            missing[subject] = error
    if missing and (named or not there):
        raise next(iter(missing.values()))
    if missing and ranks().first:
        listed = ", ".join(map(str, missing))
        print(f"{data}: subjects {', '.join(map(str, there))}; no training and test recordings of "
              f"{listed}, who are left out")
    return there


def walk(work: Sequence[tuple[Study, Piece]], only_plan: bool) -> bool:
    """Show the plan, and make what is missing of it; whether all is there.

    Raises
    ------
    ValueError
        Some folders hold models of other settings; nothing was made.
    ValueError, OSError, MemoryError, KeyboardInterrupt
        As `pieces.make`; the same call continues.
    """
    here = ranks()
    entries = plan.make_plan(work)
    if here.first:
        print(tables.to_markdown(plan.to_table(entries)))
    if only_plan:
        return False
    refuse_others([
        (study.folder(piece), entry.state) for (study, piece), entry in zip(work, entries)
    ])
    for i, (study, piece) in enumerate(work, 1):
        if here.first and entries[i - 1].estimate:
            print(f"\n=== model {i} of {len(work)}: {piece}", flush=True)
        try:
            make(study, piece)
        except KeyboardInterrupt as stop:
            raise KeyboardInterrupt(str(stop) or "stopped; run again to continue") from None
    return True


def main(
    args: argparse.Namespace, name: str, title: str, pieces: Callable[[Study], list[Piece]],
    sections: Callable[[list[Study], Path], list[Section]],
) -> None:
    """An example: its models, its tables and figures, a page of them.

    Parameters
    ----------
    args : of `arguments`
    name, title : of the page
    pieces : what is needed of a study
    sections : makes tables and figures of studies whose pieces are finished, in a folder
    """
    found = studies(args)
    work = [(study, piece) for study in found for piece in pieces(study)]
    if not walk(work, args.plan) or not ranks().first:
        return
    made = sections(found, args.out / "figures")
    for table in (table for section in made for table in section.tables):
        print(f"\n{tables.to_markdown(table)}", end="")
    print("\n" + "\n".join(str(path) for path in page.write(name, title, made, args.out)))
