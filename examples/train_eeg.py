#!/usr/bin/env python3
"""Train tinybrain on THINGS-EEG2, judge it beside its baselines, draw what it does.

    python examples/train_eeg.py                       the embedded demo, minutes on a CPU
    python examples/train_eeg.py --data FOLDER --subject 1
    python examples/train_eeg.py --data FOLDER --subject 1 --features FOLDER --recipe paper
    python examples/train_eeg.py --data FOLDER --subjects 1 2 3
    python examples/train_eeg.py --data FOLDER --subjects 1 2 3 --leave-out 3

--subjects makes one model of several and judges it on each; with --leave-out it never sees one of
them and is judged on that one, told of nobody in particular.

CLIP features come from --features, or are made: of ViT-L/14, downloaded once, unless --clip says
otherwise. --context text or image+text tells the network the concept's name, or a caption. With
--data the network, epochs and batch size are the paper's (Section 4.2: a GPU is wanted);
--small takes the demo's. The run folder holds model.pt, report.md, report.json, log.csv and the
figures. Ctrl-C stops after the step under way; the same command continues.
"""

from __future__ import annotations

from tinybrain import command_line, experiment
from tinybrain.things import EEG2


def main() -> None:
    args = experiment.arguments(__doc__, "THINGS-EEG2").parse_args()
    experiment.main(args, "eeg", "sub-{:02d}".format, EEG2)


if __name__ == "__main__":
    command_line.run(main)
