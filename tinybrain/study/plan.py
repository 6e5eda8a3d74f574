"""What is there, what is to do, and about how long that will take.

The time of a piece is that of finished pieces of its kind, and of its way if there is one; where
none is finished, a few training steps are timed on zeros of the recordings' size; on a CPU and of
a large network with one row in place of the batch, times its size, which is a little too long as
the optimizer's part does not grow with the batch. All say at most: training stops early when
held-out concepts say so. Times of finished pieces include waiting for other work on the machine;
timed steps leave out reading, baselines and figures.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import NamedTuple

import torch
from torch import Tensor

from .. import experiment
from ..clip.model import DEMO_VISION, VisionConfig
from ..denoiser import first_weights
from ..heldout import hold_out
from ..parallel import pick_device, ranks
from ..recipes import Recipe
from ..step import State as Training
from ..step import start, train_step
from .pieces import WAYS, Piece, State, Study, look, read_report
from .tables import Table

STEPS = 2  # that are timed, after one that is not
LARGE = 10**8  # weights times rows: a CPU is at a step of more for seconds to minutes


class Estimate(NamedTuple):
    """Seconds, and where they come from in words."""

    seconds: float
    source: str


class Entry(NamedTuple):
    """One line of a plan; nothing is estimated of what is finished."""

    piece: Piece
    state: State
    estimate: Estimate | None


def make_plan(
    work: Sequence[tuple[Study, Piece]],
    measure: Callable[[Study, Piece], Estimate] | None = None,
) -> list[Entry]:
    """How far every piece is and how long what is missing will take.

    Parameters
    ----------
    work : pieces, each with its study
    measure : times a piece of which no finished one tells; by default `time_steps`
    """
    measure = measure or time_steps
    states = [look(study, piece) for study, piece in work]
    known: dict[tuple[str, str], list[float]] = {}
    for (study, piece), state in zip(work, states):
        if state.word == "finished" and (seconds := read_report(study, piece).get("seconds")):
            known.setdefault((piece.kind, piece.way), []).append(seconds)
    measured: dict[tuple[str, str], Estimate] = {}
    entries = []
    for (study, piece), state in zip(work, states):
        estimate = None
        if state.word != "finished":
            key = (piece.kind, piece.way)
            estimate = _from_finished(known, piece) or measured.get(key)
            if estimate is None:
                estimate = measured[key] = measure(study, piece)
        entries.append(Entry(piece, state, estimate))
    return entries


def _from_finished(known: dict[tuple[str, str], list[float]], piece: Piece) -> Estimate | None:
    """The median of finished pieces: of this way, else of those told as many tokens."""
    same = known.get((piece.kind, piece.way), [])
    tokens = WAYS[piece.way][1]
    near = [s for (kind, way), of in known.items()
            if kind == piece.kind and WAYS[way][1] == tokens for s in of]
    times = same or near
    if not times:
        return None
    return Estimate(statistics.median(times), f"{len(times)} finished of {piece.kind}")


def time_steps(study: Study, piece: Piece) -> Estimate:
    """Time a few training steps, and reckon training and sampling from them.

    A sampling step is a forward pass, a third of a training step for the same number of signals.
    What is timed is said on stderr before it begins.
    """
    args = study.arguments(piece)
    device = pick_device(ranks(), args.device)
    width, tokens = _context(args)
    recipe, config = experiment.settings(args, study.kind, width)
    unet = first_weights(config, recipe.seed).to(device)
    weights = sum(p.numel() for p in unet.parameters())
    if ranks().first:
        said = f"timing {STEPS} steps of a network of {weights:,} parameters for the plan ..."
        print(said, file=sys.stderr, flush=True)
    train, test = study.recordings(piece)
    aside = hold_out(train.concepts, recipe.heldout, recipe.seed, recipe.validation)
    rows = len(train.concepts) - (0 if aside is None else len(aside))
    batch = min(recipe.batch_size, rows)
    b = 1 if device.type == "cpu" and weights * batch > LARGE else batch
    y0 = torch.zeros(b, *train.signals.shape[1:], device=device)
    context = torch.zeros(b, tokens, width, device=device)
    timed = _seconds(start(unet, recipe, tokens=tokens), recipe, y0, context, args.micro_batch)
    step = timed * batch / b
    training = step * recipe.epochs * -(-rows // recipe.batch_size)
    sampling = step / 3 * recipe.sampling_steps * args.trials * len(test.images) / batch
    rest = "" if b == batch else f" on 1 row, times {batch}"
    return Estimate(training + sampling, f"{STEPS} steps of {timed:.2g} s{rest}")


def _seconds(
    state: Training, recipe: Recipe, y0: Tensor, context: Tensor, micro_batch: int | None
) -> float:
    """What a training step on all rows of y0 (b, h, w) and context (b, l, d) takes."""
    rows = torch.arange(len(y0), device=y0.device)
    marks = []
    for _ in range(1 + STEPS):
        train_step(state, recipe, recipe.ddpm(), y0, context, rows, micro_batch=micro_batch)
        float(state.skipped)  # wait for the device
        marks.append(time.monotonic())
    return (marks[-1] - marks[0]) / STEPS


def _context(args: argparse.Namespace) -> tuple[int, int]:
    """Width and number of the tokens that a piece will be told, of the usual towers."""
    small = experiment.context_options(args, "eeg").clip == "random-small"
    tower = DEMO_VISION if small else VisionConfig()
    return tower.embed_dim, tower.tokens if args.tokens else 1


def to_table(entries: Sequence[Entry], digits: int = 1) -> Table:
    """The plan as a table, in minutes.

    >>> piece, estimate = Piece("eeg", 1), Estimate(90.0, "2 steps of 0.1 s")
    >>> made = to_table([Entry(piece, State("to do"), estimate)])
    >>> print(made.caption, made.rows[0])
    1 of 1 models to make, about 0:01:30 in all, one at a time.
    ('eeg sub-01 cross_attention-1', 'to do', 1.5, '2 steps of 0.1 s')
    """
    rows = []
    for piece, state, estimate in entries:
        word = f"begun, step {state.step}" if state.word == "begun" and state.step else state.word
        minutes, source = (estimate.seconds / 60, estimate.source) if estimate else (None, "")
        rows.append((str(piece), word, minutes, source))
    left = [entry.estimate.seconds for entry in entries if entry.estimate]
    total = timedelta(seconds=round(sum(left)))
    said = f"{len(left)} of {len(entries)} models to make, about {total} in all, one at a time"
    if not left:
        said = f"all {len(entries)} models are finished"
    return Table("Plan", f"{said}.", ("model", "state", "minutes", "estimated from"), tuple(rows),
                 digits=digits)
