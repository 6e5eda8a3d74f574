"""A piece of the study: one model trained and judged, in a folder of its own.

    OUT/eeg/sub-01/cross_attention-1/       model.pt, report.json, report.md, log.csv, figures, as
                                            a run of `experiment` leaves them; generated.npz, of
                                            which tables are made; piece.json, the settings of it
    OUT/eeg/without-01/cross_attention-1/   likewise, one model of all other subjects

A piece is finished when report.json and generated.npz are there and piece.json has the settings
that are asked for. A finished piece is not run again; one that was begun continues at the step
where it stopped. One that has other settings is refused, with the difference. If two processes
want the same piece, the lock of its run folder refuses the second. Features of the images are made
once, in OUT/features, for all pieces.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from .. import experiment, generated, report
from ..checkpoint import config_to_dict
from ..contexts import make_contexts
from ..files import write_text
from ..messages import differences
from ..parallel import Ranks, barrier, in_turn, pick_device, process_group, ranks
from ..recorded import Recorded
from ..run_folder import remove_states, states
from ..subjects import together
from ..things import EEG2, MEG
from ..things.demo import read_truth

Report = dict[str, Any]  # as report.json has it

SETTINGS = "piece.json"
READERS = {"eeg": EEG2, "meg": MEG}
# Ways to tell the network the image: name, then conditioning and whether all tokens are told.
WAYS = {
    "addition-1": ("addition", False),
    "concatenation-1": ("concatenation", False),
    "cross_attention-1": ("cross_attention", False),
    "cross_attention-all": ("cross_attention", True),
}
PAPERS = "cross_attention-1"  # the paper's own: that of Tables 1 to 5


@dataclass(frozen=True)
class Piece:
    """Which model.

    Attributes
    ----------
    kind : "eeg" or "meg"
    subject : who it is tested on
    way : of `WAYS`, to tell it the image
    others : who it is trained on, if not on the subject

    Raises
    ------
    ValueError
        Another way than those of `WAYS`.

    Examples
    --------
    >>> print(Piece("eeg", 1), Piece("eeg", 1, others=(2, 3)), sep="; ")
    eeg sub-01 cross_attention-1; eeg without-01 cross_attention-1
    """

    kind: str
    subject: int
    way: str = PAPERS
    others: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.way not in WAYS:
            raise ValueError(f"way {self.way!r}: wanted one of {', '.join(WAYS)}")

    def __str__(self) -> str:
        return f"{self.kind} {self.of} {self.way}"

    @property
    def of(self) -> str:
        """Whose model it is, as its folder says."""
        return f"without-{self.subject:02d}" if self.others else subject_name(self.subject)


def subject_name(subject: int) -> str:
    """As THINGS names subjects in folders: sub-01."""
    return f"sub-{subject:02d}"


@dataclass(frozen=True)
class Study:
    """What all pieces of one kind of recording share.

    Attributes
    ----------
    kind : "eeg" or "meg"
    data : folder of the recordings
    subjects : of the study, by number
    args : of `experiment.arguments`; conditioning, tokens and subject are each piece's own
    out : folder of the pieces
    """

    kind: str
    data: Path
    subjects: tuple[int, ...]
    args: argparse.Namespace
    out: Path

    @property
    def demo(self) -> bool:
        """Whether the recordings are simulated: their truth is known, and the paper's numbers are
        of other recordings."""
        return self.args.data is None

    def folder(self, piece: Piece) -> Path:
        """Where a piece is kept."""
        return self.out / piece.kind / piece.of / piece.way

    def pieces(self, *ways: str) -> list[Piece]:
        """Every subject in these ways; by default the paper's."""
        return [Piece(self.kind, s, way) for s in self.subjects for way in ways or (PAPERS,)]

    def pieces_without(self) -> list[Piece]:
        """For every subject one model of all the others."""
        everyone = self.subjects
        return [
            Piece(self.kind, one, PAPERS, tuple(s for s in everyone if s != one))
            for one in everyone
        ]

    def arguments(self, piece: Piece) -> argparse.Namespace:
        """The command line of a run of `experiment` that makes this piece."""
        conditioning, tokens = WAYS[piece.way]
        own = {"subject": piece.subject, "conditioning": conditioning, "tokens": tokens}
        return argparse.Namespace(**vars(self.args) | own)

    def settings(self, piece: Piece) -> dict[str, Any]:
        """What decides the result of a piece, as JSON has it."""
        args = self.arguments(piece)
        recipe, config = experiment.settings(args, self.kind, 1)
        network = config_to_dict(config)
        del network["context_dim"]  # the encoder's, which is only known when it is there
        told = experiment.context_options(args, self.kind)
        found: dict[str, Any] = json.loads(json.dumps({
            "piece": asdict(piece),
            "data": str(Path(self.data).resolve()),
            "context": {"features": str(told.features or ""), "clip": told.clip},
            "recipe": config_to_dict(recipe),
            "network": network,
            "trials": args.trials,
        }))
        return found

    def recordings(self, piece: Piece) -> tuple[Recorded, Recorded]:
        """Training recording, and test recording with single repetitions."""
        reader = READERS[self.kind]
        test = reader(self.data, piece.subject, "test", repeats="single")
        if not piece.others:
            return reader(self.data, piece.subject, "train"), test
        parts = [reader(self.data, other, "train") for other in piece.others]
        return together(parts, [subject_name(other) for other in piece.others]), test


# -------------------------------------------------------------------------------------------------
# What is there


@dataclass(frozen=True)
class State:
    """How far a piece is: "to do", "begun", "finished" or "other settings"."""

    word: str
    step: int = 0  # of training, where it is begun
    differences: tuple[str, ...] = ()


def look(study: Study, piece: Piece) -> State:
    """How far a piece is; nothing is changed. With --restart it is still to do."""
    folder = study.folder(piece)
    kept = folder / SETTINGS
    if study.args.restart or not kept.exists():
        return State("to do")
    try:
        before = json.loads(kept.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{kept} is damaged ({error}): delete it, or use --restart") from None
    found = differences(before, study.settings(piece), word="asked for")
    if found and not study.args.force:
        return State("other settings", differences=tuple(found))
    if all((folder / name).exists() for name in ("report.json", generated.FILE)):
        return State("finished")
    step = next(iter(states(folder)), 0)
    return State("begun", step)


def read_report(study: Study, piece: Piece) -> Report:
    """The report of a finished piece.

    Raises ValueError if it is damaged.
    """
    path = study.folder(piece) / "report.json"
    try:
        found: Report = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}): delete it and run again") from None
    return found


# -------------------------------------------------------------------------------------------------
# Making it


def make(study: Study, piece: Piece) -> bool:
    """Have a piece finished; whether there was something to do.

    Raises
    ------
    ValueError
        The folder holds other settings, another process is at it, or as `experiment` does.
    KeyboardInterrupt
        After Ctrl-C or SIGTERM; the same call continues.
    """
    state, args = look(study, piece), study.arguments(piece)
    refuse_others([(study.folder(piece), state)])
    if state.word == "finished":
        return False
    began, folder = time.monotonic(), study.folder(piece)
    device = pick_device(ranks(), args.device)
    with process_group(device) as here:
        if here.first:
            _begin(folder, study.settings(piece), state, args)
        train, test = study.recordings(piece)
        share_features(study, args, train, test, device, here)
        model, context = experiment.learn(args, train, test, folder, device, here)
        result = report.evaluate(
            model, train, context["train"], test, context["test"], trials=args.trials,
            truth=read_truth(study.data, piece.subject).test if study.demo else None,
            subject=None if study.demo or piece.others else piece.subject, seed=args.seed,
            here=here, progress=sys.stderr.isatty(),
        )
        if here.first:
            result.report["seconds"] = round(time.monotonic() - began, 1)
            model.card["report"] = report.plain(result.report)
            model.save(folder / "model.pt")
            experiment.leave(folder, model, train, test, context["test"], result)
            print(report.verdict(result.report))
        barrier()
    return True


def refuse_others(found: Sequence[tuple[Path, State]]) -> None:
    """Refuse folders that hold models of other settings.

    Raises
    ------
    ValueError
        There are some: all are named, those with the same differences together.
    """
    same: dict[tuple[str, ...], list[str]] = {}
    for folder, state in found:
        if state.word == "other settings":
            same.setdefault(state.differences, []).append(str(folder))
    lines = []
    for unlike, folders in same.items():
        holds = "holds a model" if len(folders) == 1 else "hold models"
        lines += [f"{', '.join(folders)}: {holds} with other settings:"]
        lines += [f"  {line}" for line in unlike]
    if lines:
        raise ValueError("\n".join(lines) + "\nchoose another --out, --restart to train all "
                         "models anew, or --force to take those there as they are")


def _begin(folder: Path, settings: dict[str, Any], state: State, args: argparse.Namespace) -> None:
    """Note the settings; what other settings left, and what is made anew, is no longer there."""
    if state.word != "begun":
        for name in (SETTINGS, "report.json", generated.FILE):
            (folder / name).unlink(missing_ok=True)
    if args.restart:
        remove_states(folder)
        args.restart = False
    write_text(folder / SETTINGS, json.dumps(settings, indent=1) + "\n")


def share_features(
    study: Study, args: argparse.Namespace, train: Recorded, test: Recorded, device: torch.device,
    here: Ranks,
) -> None:
    """Make the features of these images in a folder that all pieces read; `args` then names it.

    Those of a tower with random weights are made in seconds, and not kept; those that the user
    gave are there.
    """
    options = experiment.context_options(args, study.kind)
    if options.features or options.clip.startswith("random"):
        return
    keep = study.out / "features" / f"{study.kind}-{'all' if args.tokens else '1'}"
    with in_turn(here):
        make_contexts(
            replace(options, keep=keep), {"train": train, "test": test}, device=device,
            progress=sys.stderr.isatty() and here.first,
        )
    args.features, args.clip = keep, options.clip
