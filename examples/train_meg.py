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

from pathlib import Path

from tinybrain import command_line, experiment
from tinybrain.things import MEG


def main() -> None:
    cli = experiment.arguments(__doc__, "THINGS-MEG")
    cli.add_argument("--keep-test-concepts", action="store_true", help="train on all 1,854 "
                     "concepts, of which 200 are those of the test images")
    args = cli.parse_args()

    def reader(root: Path, subject: int, split: str, *, repeats: str) -> MEG:
        drop = split == "test" or not args.keep_test_concepts
        return MEG(root, subject, split, repeats=repeats, drop_test_concepts=drop)

    experiment.main(args, "meg", "P{}".format, reader)


if __name__ == "__main__":
    command_line.run(main)
