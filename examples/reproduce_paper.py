#!/usr/bin/env python3
"""The whole study: every table of the paper, its figures, and what they leave out, on one page.

    python examples/reproduce_paper.py                     the demo: 4 EEG and 2 MEG subjects
    python examples/reproduce_paper.py --eeg FOLDER --meg FOLDER --recipe paper --out runs/paper
    python examples/reproduce_paper.py --plan              what there is to do, how long it takes

Walks subjects x ways of conditioning x directions: Tables 1 to 9, Figures 3 to 9. Stop it whenever
you want, by Ctrl-C, SIGTERM or kill: the same command continues. OUT/study.html holds everything,
figures included, in one file that can be mailed; OUT/study.md is the same beside its figures, and
OUT/tables has each table in Markdown, CSV, JSON and LaTeX.
"""

from __future__ import annotations

from tinybrain import command_line
from tinybrain.study import command, whole
from tinybrain.study.pieces import WAYS, Piece, Study


def pieces(study: Study) -> list[Piece]:
    return study.pieces(*WAYS)


def main() -> None:
    args = command.arguments(__doc__).parse_args()
    title = "From images to EEG and MEG: the study"
    command.main(args, "study", title, pieces, whole.sections)


if __name__ == "__main__":
    command_line.run(main)
