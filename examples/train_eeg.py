#!/usr/bin/env python3
"""Train tinybrain on THINGS-EEG2, judge it beside its baselines, draw what it does.

    python examples/train_eeg.py                       the embedded demo, minutes on a CPU
    python examples/train_eeg.py --data FOLDER --subject 1
    python examples/train_eeg.py --data FOLDER --subject 1 --features FOLDER --recipe paper

CLIP features come from --features, or are made: of ViT-L/14, downloaded once, unless --clip says
otherwise. --context text or image+text tells the network the concept's name, or a caption. With
--data the network, epochs and batch size are the paper's (Section 4.2: a GPU is wanted);
--small takes the demo's. The run folder holds model.pt, report.md, report.json, log.csv and the
figures. Ctrl-C stops after the step under way; the same command continues.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tinybrain import experiment
from tinybrain.things import EEG2, make_demo
from tinybrain.things.demo import read_truth


def main() -> None:
    args = experiment.arguments(__doc__, "THINGS-EEG2").parse_args()
    data = args.data or make_demo(Path("runs") / "demo-data", seed=0)
    train = EEG2(data, args.subject, "train")
    test = EEG2(data, args.subject, "test", repeats="single")
    folder = experiment.folder_of(args, f"sub-{args.subject:02d}" if args.data else "demo")
    experiment.run(args, train, test, folder, None if args.data else read_truth(data).test)


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError, MemoryError, KeyboardInterrupt) as problem:
        sys.exit(f"train_eeg.py: {problem}")
