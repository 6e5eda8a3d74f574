"""One experiment: a recording and what its images say, a model trained, judged and drawn.

`run` is the order of Figure 2 and Section 4: context, model, training, evaluation, figures. The
examples say which recording it is and how it is read; here is what they have in common. A run
folder holds model.pt, report.md, report.json, log.csv, generated.npz and the figures. One model of
several subjects is judged on each of them, in folders of their own; its report.md then averages
over them.
Letters: n images, k trials, h sensors, w time points.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from . import cohort, command_line, figures, generated, report
from .cohort import Floats, each_subject, overview
from .command_line import above_zero, positive, share, subject
from .contexts import ContextOptions, make_contexts
from .encoder import CONTEXTS, TEMPLATE
from .heldout import heldout_references, hold_out
from .parallel import Ranks, barrier, in_turn, pick_device, process_group, ranks
from .pipeline import ImageToBrain
from .recipes import RECIPES, VALIDATIONS, Recipe
from .recorded import Recorded
from .report_figures import draw_report
from .run_figures import Places, draw
from .run_folder import check_place
from .samplers import SAMPLERS
from .speed import Speed
from .subjects import Subjects, each_image_once, tell_whose
from .things.layouts import read_layout
from .train import fit
from .unet import CONDITIONINGS, UNetConfig

# The paper's network, a sixteenth as wide, and fewer and larger steps. MEG has so many points that
# it is a level deeper, and attends where 17 x 13 positions are left.
SMALL: dict[str, dict[str, Any]] = {
    "eeg": {"channels": (8, 16, 32, 32), "attention": (False, False, True, True), "groups": 4},
    "meg": {"channels": (8, 16, 32, 64, 64), "attention": (False, False, False, False, True),
            "groups": 8},
}
NARROW: dict[str, Any] = {"layers_per_block": 1, "heads": 4}
SMALL_RUN: dict[str, dict[str, Any]] = {
    "eeg": {"epochs": 10, "lr": 3e-3, "batch_size": 32},
    "meg": {"epochs": 2, "lr": 1e-3},
}
BATCH = {"eeg": 16, "meg": 4}  # Section 4.2
MANY = 10_000  # positions; the paper's networks attend at 3,400 (MEG) and 1,008 (EEG) at most


def arguments(description: str, data: str) -> argparse.ArgumentParser:
    """The command line of an example that trains on `data`, such as "THINGS-EEG2"."""
    cli = command_line.parser(description)
    what = cli.add_argument_group("data")
    what.add_argument("--data", type=Path, help=f"a {data} folder; without it, the demo")
    who = what.add_mutually_exclusive_group()
    who.add_argument("--subject", type=subject, default="1", help="by default 1")
    who.add_argument("--subjects", type=subject, nargs="+", help="one model of several, as 1 2 3")
    what.add_argument("--leave-out", type=subject, metavar="SUBJECT", help="one of --subjects to "
                      "keep out of training; the model, told of nobody in particular, is judged on "
                      "them")
    told = cli.add_argument_group("what the network is told")
    told.add_argument("--context", choices=CONTEXTS, default="image")
    told.add_argument("--features", type=Path, help="folder of clip_feature_maps_*.npy as NICE has "
                      "them, or of what encode_images.py wrote")
    told.add_argument("--clip", help="weights: ViT-L/14, a file or a folder; or random or "
                      "random-small, a tower that has learned nothing, for trying without")
    told.add_argument("--tokens", action="store_true", help="all tokens of an image, not one")
    told.add_argument("--template", default=TEMPLATE, help="of a caption: %(default)s")
    told.add_argument("--captions", type=Path, help="table with the columns image and caption")
    how = cli.add_argument_group("model and training")
    how.add_argument("--recipe", choices=sorted(RECIPES), default="tinybrain",
                     help="by default %(default)s; what is not said below is the recipe's")
    how.add_argument("--small", action="store_true", help="the demo's network, epochs and tower")
    how.add_argument("--conditioning", choices=CONDITIONINGS, default="cross_attention")
    how.add_argument("--channels", type=positive, nargs="+", help="widths of the U-Net's levels")
    how.add_argument("--epochs", type=positive, help="by default 50, fewer of the demo")
    how.add_argument("--batch-size", type=positive, help="by default 16, of MEG 4")
    how.add_argument("--micro-batch", type=positive, help="rows that the network sees at a time, "
                     "to spare memory; results do not depend on it, but for rounding")
    how.add_argument("--recompute", action="store_true", help="spare memory: compute the blocks of "
                     "the network twice instead of remembering them")
    how.add_argument("--no-tf32", action="store_true", help="products in full float32 on a GPU")
    how.add_argument("--compile", action="store_true", help="torch.compile the network: minutes at "
                     "first, faster steps then")
    how.add_argument("--lr", type=above_zero, help="by default 1e-4, more of the demo")
    how.add_argument("--validation", choices=VALIDATIONS, help="what is kept aside of training "
                     "for choosing the epoch: concepts, or images as NICE does")
    how.add_argument("--heldout", type=share, help="share of them, from 0 to 0.5; by default 0.05, "
                     "of the paper's recipe 0")
    how.add_argument("--seed", type=int, default=0, help="by default 0")
    how.add_argument("--device", help="cpu, cuda, cuda:1 ...; by default a GPU if there is one")
    judge = cli.add_argument_group("evaluation")
    judge.add_argument("--trials", type=positive, default=4, help="samples per test image; "
                       "by default %(default)s")
    judge.add_argument("--sampler", choices=tuple(SAMPLERS))
    judge.add_argument("--steps", type=positive, help="sampling steps")
    judge.add_argument("--layout", type=Path, help="places of sensors for the scalp maps: a table "
                       "with name, x, y or name, x, y, z, a .lout, or a file of electrodes")
    cli.add_argument("--out", "--run", dest="run", type=Path, help="run folder; by default one in "
                     "runs/ (torchrun may take --run for one of its own)")
    cli.add_argument("--restart", action="store_true", help="train anew, not from where it stopped")
    cli.add_argument("--force", action="store_true", help="go on with a run of other settings")
    return cli


def main(
    args: argparse.Namespace, kind: str, name: Callable[[int], str], reader: cohort.Reader
) -> None:
    """All of an example: the recordings of its command line, or the demo's; then `run`.

    Parameters
    ----------
    args, kind, name, reader : as `cohort.recordings`

    Raises
    ------
    FileNotFoundError, ValueError, OSError, MemoryError, KeyboardInterrupt
        As the reader, `train.fit` and `report.evaluate`.
    """
    settings(args, kind, context_dim=768)  # what cannot be is said before anything is read
    check_place(args.run or Path("runs"))
    train, test, truth, called = cohort.recordings(args, kind, name, reader)
    run(args, train, test, folder_of(args, called), truth)


def run(
    args: argparse.Namespace, train: Recorded, test: Recorded, folder: Path,
    truth: Floats | None = None,
) -> None:
    """Train on one recording, judge on the other, write all of it into `folder`.

    Parameters
    ----------
    args : of `arguments`
    train, test : recordings, `test` with single repetitions; either of one subject or `Subjects`.
        A model of several is judged on each of those in `test`; one that is not of several is a
        subject left out.
    folder : the run's; `args.run` comes before it
    truth : (n, h, w), noise-free test signals where they are known, for the rows of `test`
    """
    began, folder = time.monotonic(), args.run or folder
    places = read_layout(args.layout) if args.layout else None
    device = pick_device(ranks(), args.device)
    with process_group(device) as here:
        model, context = learn(args, train, test, folder, device, here)
        by = Judging(args, model, places, here, began)
        if isinstance(train, Subjects) and isinstance(test, Subjects):
            reports = {}
            for name, own in each_subject(train, test, context, truth):
                reports[name] = judge(by, *own, folder / name)
            if here.first:
                print(f"\nmeans: {overview(reports, folder)}")
        else:
            reports = judge(by, train, test, context, truth, folder)
        if here.first:
            model.card["report"] = report.plain(reports)
            print(f"model {model.save(folder / 'model.pt')}")
        barrier()


def learn(
    args: argparse.Namespace, train: Recorded, test: Recorded, folder: Path,
    device: torch.device, here: Ranks,
) -> tuple[ImageToBrain, dict[str, Tensor]]:
    """The first part of `run`: contexts, model and training, by all ranks together."""
    say: Callable[[str], object] = print if here.first else lambda words: None
    say(f"{train.summary}\n{test.summary}")
    with in_turn(here):  # what is kept is made by the first
        encoder, context = make_contexts(
            context_options(args, train.kind), {"train": train, "test": test}, device=device,
            progress=sys.stderr.isatty() and here.first,
        )
    say(f"context {tuple(context['train'].shape[1:])}: {encoder.describe()}")

    people = train.subjects if isinstance(train, Subjects) else ()
    for split, recording in (("train", train), ("test", test)):
        context[split] = tell_whose(context[split], recording, people)
    recipe, config = settings(args, train.kind, context["train"].shape[2])
    if here.first and (costly := attention_cost(config, *train.signals.shape[1:])):
        warnings.warn(costly, stacklevel=2)
    model, y0 = ImageToBrain.prepare(recipe, config, train, context["train"], encoder)
    model.to(device)
    _, places = each_image_once(train)
    aside = hold_out(train.concepts, recipe.heldout, recipe.seed, recipe.validation, places)
    count, rows = sum(p.numel() for p in model.unet.parameters()), f"{len(y0):,} images"
    rows += f" of {len(people)} subjects together" * bool(people)
    say(f"training {count:,} parameters on {rows}, {device}: {folder}")
    whose = train.subject if isinstance(train, Subjects) else None
    references: dict[str, float] = {}
    if aside is not None:
        references = heldout_references(model, train.signals, y0, aside, whose)

    def watch(log: list[dict[str, Any]]) -> None:
        figures.plot_loss(log, folder / "loss.png", references, kept=model.card["epoch"])

    model.speed = Speed(args.compile, args.recompute, tf32=not args.no_tf32)
    log = fit(
        model, y0, context["train"], folder, heldout=aside, micro_batch=args.micro_batch,
        speed=model.speed, restart=args.restart, force=args.force, watch=watch,
    )
    if here.first:
        watch(log)
    return model, context


@dataclass(frozen=True)
class Judging:
    """What `judge` needs beside a subject's recordings."""

    args: argparse.Namespace
    model: ImageToBrain
    places: Places | None  # of sensors, if not known
    here: Ranks
    began: float  # time.monotonic()


def judge(
    by: Judging, train: Recorded, test: Recorded, context: dict[str, Tensor],
    truth: Floats | None, folder: Path,
) -> dict[str, Any]:
    """The last part of `run`, for one subject: the report, with its figures in a folder."""
    args, model, here = by.args, by.model, by.here
    if here.first:
        print(f"evaluating: {folder}")
    within = args.data and not model.subjects  # the paper's first table is of such models
    result = report.evaluate(
        model, train, context["train"], test, context["test"], trials=args.trials, truth=truth,
        subject=args.subject if within else None, seed=model.recipe.seed, here=here,
        progress=sys.stderr.isatty(),
    )
    if here.first:
        result.report["seconds"] = round(time.monotonic() - by.began)
        page = leave(folder, model, train, test, context["test"], result, by.places)
        print("", report.table(result.report["rows"]), "", report.verdict(result.report), sep="\n")
        print(f"\n{page} (figures beside it)")
    return result.report


def leave(
    folder: Path, model: ImageToBrain, train: Recorded, test: Recorded, context_test: Tensor,
    result: report.Evaluation, places: Places | None = None,
) -> Path:
    """What was found, in a folder: signals, figures, and the report last; returns its page."""
    folder.mkdir(parents=True, exist_ok=True)
    erp = train.signals.mean(axis=0, dtype=np.float64)
    generated.write(folder, model, test, result, erp)
    drawn = draw_report(result.report, folder)
    drawn |= draw(folder, model, train, test, context_test, result, places)
    return report.write(result.report, folder, drawn)


def folder_of(args: argparse.Namespace, name: str) -> Path:
    """Where a run of this recording goes by default: recipe and context are in its name."""
    suffix = "" if args.recipe == "tinybrain" else f"-{args.recipe}"
    return Path("runs") / (name + suffix + ("" if args.context == "image" else f"-{args.context}"))


def is_small(args: argparse.Namespace) -> bool:
    return args.small or not args.data


def context_options(args: argparse.Namespace, kind: str) -> ContextOptions:
    """The demo's tower where it is small, ViT-L/14 otherwise, unless the user says."""
    clip = args.clip or ("" if args.features else "random-small" if is_small(args) else "ViT-L/14")
    return ContextOptions(
        args.context, args.features, clip, args.tokens, args.template, args.captions,
        keep=Path("runs") / ("features" if kind == "eeg" else f"features-{kind}"),
    )


def settings(
    args: argparse.Namespace, kind: str, context_dim: int
) -> tuple[Recipe, UNetConfig]:
    """Recipe and network: the paper's sizes, or the demo's, changed where the user says so.

    Examples
    --------
    >>> args = arguments("", "THINGS-EEG2").parse_args(["--data", "FOLDER", "--epochs", "20"])
    >>> recipe, config = settings(args, "eeg", context_dim=768)
    >>> recipe.epochs, recipe.batch_size, config.channels
    (20, 16, (128, 256, 512, 512))
    """
    asked = {"epochs": args.epochs, "batch_size": args.batch_size, "lr": args.lr,
             "validation": args.validation, "heldout": args.heldout,
             "sampler": args.sampler, "sampling_steps": args.steps}
    asked = {name: value for name, value in asked.items() if value is not None}
    small = is_small(args)
    usual = {"batch_size": BATCH[kind]} | (SMALL_RUN[kind] if small else {})
    recipe = replace(RECIPES[args.recipe], **usual | asked, seed=args.seed)
    config = UNetConfig(
        **(SMALL[kind] | NARROW if small else {}), context_dim=context_dim,
        conditioning=args.conditioning, zero_output=recipe.residual,
    )
    if args.channels:
        levels = len(args.channels)  # the two innermost attend, as the paper's do
        attention = tuple(level >= levels - 2 for level in range(levels))
        config = replace(config, channels=tuple(args.channels), attention=attention)
    return recipe, config


def attention_cost(config: UNetConfig, h: int, w: int) -> str:
    """A warning if a network attends at more than MANY positions of a signal (h, w), else "".

    Every position is compared with every other. Each level halves the signal, rounding up, and of
    `--channels` the two innermost levels attend, so that more of them make it cheap.

    Examples
    --------
    >>> asked = arguments("", "THINGS-MEG").parse_args(["--channels", "32", "32"])
    >>> attention_cost(settings(asked, "meg", context_dim=768)[1], 271, 200)
    '... 271 x 200 = 54,200 positions ...; give --channels 4 widths or more: ... 3,400'
    """
    if True not in config.attention:
        return ""

    def size(level: int) -> tuple[int, int]:
        return -(-h // 2**level), -(-w // 2**level)

    at = wanted = config.attention.index(True)
    while math.prod(size(wanted)) > MANY:
        wanted += 1
    if wanted == at:
        return ""
    (high, wide), widths = size(at), " ".join(map(str, config.channels))
    return (
        f"channels {widths}: attention at {high} x {wide} = {high * wide:,} positions of the "
        "signal, each compared with each: gigabytes, and minutes a step; give --channels "
        f"{wanted + 2} widths or more: the outermost attention is then at "
        f"{math.prod(size(wanted)):,}"
    )
