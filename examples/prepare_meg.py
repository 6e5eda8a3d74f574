#!/usr/bin/env python3
"""THINGS-MEG as it is on disk to the array that train_meg.py takes.

    python examples/prepare_meg.py ds004212 --out PREPARED --subject 1
    python examples/prepare_meg.py ds004212 --out PREPARED --subject 1 --band 0.1 100
    python examples/prepare_meg.py ds004212/derivatives --out PREPARED --subject 1

SOURCE is the raw data set, ds004212 with sub-BIGMEG1/ses-01/meg/..._meg.ds and events.tsv, or any
folder that tinybrain.things.MEG reads: the distributed epochs (FIF, cosmofile), or a cache of Song,
ATM, UBP, NeuroBridge or AlignVis. PREPARED/sub-01 becomes a store of 4.8 GB: signals in float32,
271 sensors x 200 points, in units of each trial's baseline.

From raw recordings it takes about an hour, 3.5 GB of memory, and 7.5 GB more on disk while it is
made. The distributed epochs were filtered 0.1-40 Hz, which is the default here; the paper says
0.1-100 Hz. Raw recordings and FIF need MNE, cosmofiles h5py.

The same command continues after Ctrl-C or a crash: with the next session, or the next split.
PREPARED may lie in SOURCE: `--data SOURCE` then reads what was prepared before all else in it.
"""

from __future__ import annotations

import time
from argparse import Namespace
from functools import partial
from pathlib import Path

from tinybrain import command_line
from tinybrain.command_line import subject
from tinybrain.things.meg import CROPS
from tinybrain.things.meg.convert import convert
from tinybrain.things.meg.files import look_for
from tinybrain.things.meg.raw import DISTRIBUTED, Settings, prepare
from tinybrain.things.meg.run import Dropout, is_raw
from tinybrain.things.meg.selection import Selection

say = partial(print, flush=True)


def arguments() -> Namespace:
    cli = command_line.parser(__doc__)
    cli.add_argument("source", type=Path, metavar="SOURCE")
    cli.add_argument("--out", type=Path, required=True, help="folder of the stores")
    cli.add_argument("--subject", type=subject, default=1, help="1 to 4")
    cli.add_argument("--crop", choices=CROPS, default="paper", help="paper: 0.005 to 1 s; onset: "
                     "0 to 0.995 s; closed: 0 to 1 s; all: -0.1 to 1.3 s")  # fmt: skip
    cli.add_argument("--keep-test-concepts", action="store_true", help="all 22,248 training "
                     "images, also those of the 200 concepts of the test")  # fmt: skip
    cli.add_argument("--test-order", choices=("presentation", "image"), default="presentation",
                     help="by the experiment's numbers, as Song, or THINGS', as ATM")  # fmt: skip
    cli.add_argument("--tmin", type=float, help="seconds of the first point of a file of 200 "
                     "points that does not tell")  # fmt: skip
    raw = cli.add_argument_group("from raw recordings")
    raw.add_argument("--band", nargs="+", metavar="HZ", help="low and high, or the word none; "
                     "by default 0.1 40")  # fmt: skip
    raw.add_argument("--dropout", nargs=4, action="append", metavar=("SES", "RUN", "FROM", "LAST"),
                     help="seconds to replace by the median, besides the known ones")  # fmt: skip
    raw.add_argument("--images", type=Path, help="image_paths.csv or images, if not in SOURCE")
    return cli.parse_args()


def main() -> None:
    args, began = arguments(), time.monotonic()
    wanted = Selection(args.crop, not args.keep_test_concepts, args.test_order)
    if from_raw(args):
        place = prepare(args.source, args.out, args.subject, settings=settings(args),
                        wanted=wanted, images=args.images, report=say)  # fmt: skip
    else:
        place = convert(args.source, args.out, args.subject, wanted=wanted, tmin=args.tmin,
                        report=say)  # fmt: skip
    say(f"{place}: ready after {time.monotonic() - began:.0f} s")


def from_raw(args: Namespace) -> bool:
    """Whether SOURCE holds raw recordings and nothing prepared; both at once is refused.

    What this makes is no matter, where it is made in SOURCE.
    """
    made = args.out / f"sub-{args.subject:02d}"
    try:
        prepared = look_for(args.source, args.subject, "train", made).file
    except FileNotFoundError as missing:
        if is_raw(args.source, args.subject):
            return True
        raw = "sub-BIGMEG1/ses-*/meg/*_meg.ds"
        raise FileNotFoundError(f"{missing}; or raw recordings, {raw}") from None
    if is_raw(args.source, args.subject):
        raise ValueError(f"{args.source}: raw recordings of subject {args.subject} and {prepared}; "
                         f"name {prepared.parent}, or the subject's own folder")  # fmt: skip
    if args.band or args.dropout or args.images:
        raise ValueError(f"{prepared}: prepared before; --band, --dropout and --images are for raw "
                         "recordings")  # fmt: skip
    return False


def settings(args: Namespace) -> Settings:
    band, known = DISTRIBUTED.band, DISTRIBUTED.dropouts
    if args.band:
        band = None if args.band == ["none"] else tuple(map(float, args.band))
    if band is not None and not (len(band) == 2 and 0 < band[0] < band[1] < 600):
        raise ValueError(f"--band {' '.join(args.band)}: wanted two frequencies below 600 Hz, the "
                         "lower first, or none")  # fmt: skip
    more = (Dropout(args.subject, int(ses), int(run), float(start), float(last))
            for ses, run, start, last in args.dropout or ())  # fmt: skip
    return Settings(band, (*known, *more))


if __name__ == "__main__":
    command_line.run(main, command_line.AGAIN)
