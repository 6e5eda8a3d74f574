#!/usr/bin/env python3
"""Train tinybrain on THINGS-MEG, judge it beside its baselines, draw what it does.

    python examples/train_meg.py                       the embedded demo, minutes on a CPU
    python examples/train_meg.py --data FOLDER --subject 1
    python examples/train_meg.py --data FOLDER --subject 1 --features FOLDER --recipe paper

The options are those of train_eeg.py. With --data the network is the paper's, 271 sensors x 200
points in batches of 4 (Section 4.2: a GPU is wanted); --small takes the demo's. FOLDER is anything
that tinybrain.things.MEG reads; what prepare_meg.py writes is read in milliseconds.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tinybrain import experiment
from tinybrain.things import MEG, make_demo
from tinybrain.things.demo import read_truth


def main() -> None:
    cli = experiment.arguments(__doc__, "THINGS-MEG")
    cli.add_argument("--keep-test-concepts", action="store_true", help="train on all 1,854 "
                     "concepts, of which 200 are those of the test images")
    args = cli.parse_args()
    data = args.data or make_demo(Path("runs") / "demo-data-meg", kind="meg", seed=0)
    drop = not args.keep_test_concepts
    train = MEG(data, args.subject, "train", drop_test_concepts=drop)
    test = MEG(data, args.subject, "test", repeats="single")
    folder = experiment.folder_of(args, f"meg-P{args.subject}" if args.data else "demo-meg")
    experiment.run(args, train, test, folder, None if args.data else read_truth(data).test)


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError, MemoryError, KeyboardInterrupt) as problem:
        sys.exit(f"train_meg.py: {problem}")
