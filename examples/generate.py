#!/usr/bin/env python3
"""Brain signals for images, from a trained model, into a folder: resumable, on many devices.

    python examples/generate.py runs/demo/model.pt PHOTOS --out SIGNALS --trials 20
    python examples/generate.py model.pt features.npy --out SIGNALS --mean
    python examples/generate.py model.pt PHOTOS --out SIGNALS --subject sub-02
    torchrun --nproc-per-node=4 examples/generate.py model.pt PHOTOS --out SIGNALS --trials 80

PHOTOS is a folder, searched with its subfolders, or a list of files; features.npy holds what the
model was trained on, (images, width) or (images, tokens, width), where it has no image encoder.

SIGNALS holds signals.npy, (images, trials, sensors, times) float32, and signals.json, which names
the images and the axes and says what made them; `BrainSignals.load` reads both. With --fif there
is signals-epo.fif as well, for MNE. The same command continues after Ctrl-C, a crash or a full
disk. Its result is the same bit for bit, however often it was stopped and on however many ranks;
only device, --batch-size, --compile and the number of threads (OMP_NUM_THREADS; torchrun sets 1)
can touch the last digits. Several machines need a folder that all of them can write.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from tinybrain import command_line
from tinybrain.command_line import positive
from tinybrain.generation import Plan, generate
from tinybrain.parallel import pick_device, ranks
from tinybrain.signal_files import ABOUT, ARRAY
from tinybrain.signals import BrainSignals
from tinybrain.speed import Speed
from tinybrain.stimuli import find_stimuli


def arguments() -> argparse.Namespace:
    cli = command_line.parser(__doc__)
    cli.add_argument("model", type=Path, help="a model.pt that training wrote")
    cli.add_argument("images", type=Path, nargs="+", help="a folder, files, or features.npy")
    cli.add_argument("--out", type=Path, required=True, help="folder of the signals")
    cli.add_argument("--trials", type=positive, default=1, help="signals for each image")
    cli.add_argument("--mean", action="store_true", help="the conditional mean, not trials")
    cli.add_argument("--sampler", choices=("ancestral", "ddim", "dpm_solver"),
                     help="by default the recipe's")
    cli.add_argument("--steps", type=positive, help="of the sampler")
    cli.add_argument("--guidance", type=float, default=1.0, help="1: none")
    cli.add_argument("--subject", help="whose signals, of a model of several, such as sub-02; by "
                     "default nobody's in particular")
    cli.add_argument("--seed", type=int, default=0)
    cli.add_argument("--batch-size", type=positive, default=64,
                     help="signals at once; bounds memory")
    cli.add_argument("--device", help="cpu, cuda, cuda:1 ...; by default a GPU if there is one")
    cli.add_argument("--compile", action="store_true", help="torch.compile: minutes, then faster")
    cli.add_argument("--no-tf32", action="store_true", help="all digits of products on a GPU")
    cli.add_argument("--captions", type=Path, metavar="TABLE",
                     help="columns image and caption, for a model that reads")
    cli.add_argument("--fif", action="store_true", help="also write signals-epo.fif (needs MNE)")
    cli.add_argument("--restart", action="store_true", help="forget what the folder holds")
    return cli.parse_args()


def main() -> None:
    args, here, began = arguments(), ranks(), time.monotonic()
    device = pick_device(here, args.device)
    plan = Plan(args.trials, args.mean, args.sampler, args.steps, args.guidance, args.seed,
                args.batch_size, args.subject)
    drawn = generate(
        args.model, find_stimuli(args.images, args.captions), plan, args.out, device=device,
        speed=Speed(args.compile, tf32=not args.no_tf32), restart=args.restart, fif=args.fif,
        progress=True,
    )
    if here.first:
        n, k, h, w = BrainSignals.load(args.out).data.shape
        seconds = time.monotonic() - began
        done = f"{drawn} drawn here in {seconds:.1f} s" if drawn else "all were there"
        print(f"{n} images x {k} of {h} sensors x {w} times, {done}: {args.out / ARRAY}, "
              f"described in {ABOUT}")


if __name__ == "__main__":
    command_line.run(main)
