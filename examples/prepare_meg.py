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
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from tinybrain.things.meg import CROPS
from tinybrain.things.meg.convert import convert
from tinybrain.things.meg.files import find_file
from tinybrain.things.meg.raw import DISTRIBUTED, Settings, prepare
from tinybrain.things.meg.run import Dropout, is_raw


def arguments() -> argparse.Namespace:
    cli = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    cli.add_argument("source", type=Path, metavar="SOURCE")
    cli.add_argument("--out", type=Path, required=True, help="folder of the stores")
    cli.add_argument("--subject", type=int, default=1, help="1 to 4")
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
    how = {
        "crop": args.crop,
        "drop_test_concepts": not args.keep_test_concepts,
        "test_order": args.test_order,
        "report": say,
    }
    if from_raw(args):
        place = prepare(args.source, args.out, args.subject, settings=settings(args),
                        images=args.images, **how)  # fmt: skip
    else:
        place = convert(args.source, args.out, args.subject, tmin=args.tmin, **how)
    say(f"{place}: ready after {time.monotonic() - began:.0f} s")


def from_raw(args: argparse.Namespace) -> bool:
    """Whether SOURCE holds raw recordings and nothing prepared; both at once is refused."""
    try:
        prepared = find_file(args.source, args.subject, "train")
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


def settings(args: argparse.Namespace) -> Settings:
    band, known = DISTRIBUTED.band, DISTRIBUTED.dropouts
    if args.band:
        band = None if args.band == ["none"] else tuple(map(float, args.band))
    if band is not None and not (len(band) == 2 and 0 < band[0] < band[1] < 600):
        raise ValueError(f"--band {' '.join(args.band)}: wanted two frequencies below 600 Hz, the "
                         "lower first, or none")  # fmt: skip
    more = (Dropout(args.subject, int(ses), int(run), float(start), float(last))
            for ses, run, start, last in args.dropout or ())  # fmt: skip
    return Settings(band, (*known, *more))


def say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("prepare_meg.py: stopped; the same command continues")
    except (ValueError, OSError, ImportError) as problem:
        sys.exit(f"prepare_meg.py: {problem}")
