#!/usr/bin/env python3
"""THINGS-EEG2 from its raw recordings to the array that train_eeg.py takes.

    python examples/prepare_eeg.py THINGS --out PREPARED --subjects 1 2
    python examples/prepare_eeg.py THINGS --out PREPARED --subjects 1 --nice NICE
    python examples/prepare_eeg.py THINGS --out PREPARED --subjects 1 --mvnn time --noise-from both

THINGS holds Raw_data/sub-01/ses-01/raw_eeg_training.npy and raw_eeg_test.npy of four sessions, and
Image_set. PREPARED/sub-01 becomes a store of 5.2 GB: signals in float32, 63 sensors x 250 points,
whitened session by session, with the matrices that undo it. While it is made, 10 GB more are
needed. With --nice the files of NICE are written as well (10.4 GB), in float64.

With --source the BrainVision files of source_data are made into raw files first (needs MNE).

The same command continues after Ctrl-C or a crash, with the next part of a session. PREPARED may
lie in THINGS: `--data THINGS` then reads what was prepared before what others have preprocessed.
"""

from __future__ import annotations

import time
from argparse import Namespace
from functools import partial
from pathlib import Path

from tinybrain import command_line
from tinybrain.command_line import above_zero, positive
from tinybrain.things.eeg2 import brainvision
from tinybrain.things.preprocess import PAPER, Settings, prepare

say = partial(print, flush=True)


def arguments() -> Namespace:
    cli = command_line.parser(__doc__)
    cli.add_argument("raw", type=Path, help="the THINGS-EEG2 folder, or its raw data")
    cli.add_argument("--out", type=Path, required=True, help="folder of the stores")
    cli.add_argument("--subjects", nargs="+", default=["1"], help="1 2 ..., by default 1")
    cli.add_argument("--sessions", type=int, nargs="+", help="leave out the others")
    cli.add_argument("--source", type=Path, metavar="FOLDER",
                     help="make the raw files in RAW of the BrainVision files here")  # fmt: skip
    cli.add_argument("--ignore-markers", action="store_true", help="with --source: take markers "
                     "that do not agree with the numbers of the images")  # fmt: skip
    cli.add_argument("--images", type=Path, help="the image set, if it is elsewhere")
    cli.add_argument("--nice", type=Path, metavar="FOLDER", help="also write NICE's files here")
    how = cli.add_argument_group("how; the defaults are the paper's")
    how.add_argument("--mvnn", choices=("epochs", "time", "none"), default=PAPER.mvnn)
    how.add_argument("--noise-from", choices=("train", "both"), default=PAPER.noise_from)
    how.add_argument("--rate", type=above_zero, default=PAPER.rate, help="Hz")
    how.add_argument("--epoch", type=float, nargs=2, default=(PAPER.tmin, PAPER.tmax),
                     metavar=("FROM", "TO"), help="seconds; baseline is FROM to 0")  # fmt: skip
    how.add_argument("--keep", type=float, nargs=2, default=(PAPER.start, PAPER.stop),
                     metavar=("FROM", "TO"), help="seconds, kept of the epoch")  # fmt: skip
    how.add_argument("--sensors", nargs="+", default=PAPER.sensors, help="names, in order")
    how.add_argument("--aligned", action="store_true", help="resample without MNE's 1 ms shift")
    how.add_argument("--repeats", type=positive, nargs=2, metavar=("TRAIN", "TEST"),
                     default=(PAPER.train_repeats, PAPER.test_repeats),
                     help="of each image in a session")  # fmt: skip
    how.add_argument("--seed", type=int, default=PAPER.seed, help="of the choice of repetitions")
    how.add_argument("--no-permute", action="store_true", help="repetitions in order of session")
    return cli.parse_args()


def main() -> None:
    args = arguments()
    settings = Settings(
        rate=args.rate, tmin=args.epoch[0], tmax=args.epoch[1], start=args.keep[0],
        stop=args.keep[1], sensors=args.sensors, aligned=args.aligned,
        train_repeats=args.repeats[0], test_repeats=args.repeats[1], seed=args.seed,
        mvnn=args.mvnn, noise_from=args.noise_from, permute=not args.no_permute,
    )  # fmt: skip
    for subject in args.subjects:
        began = time.monotonic()
        if args.source is not None:
            brainvision.convert(
                args.source, args.raw, subject, check_markers=not args.ignore_markers, report=say
            )
        folder = prepare(
            args.raw, args.out, subject, settings=settings, sessions=args.sessions,
            images=args.images, nice=args.nice, report=say,
        )  # fmt: skip
        say(f"{folder}: ready after {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    command_line.run(main, command_line.AGAIN)
