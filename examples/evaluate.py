#!/usr/bin/env python3
"""Tables 1 and 4 of the paper: every subject's own model beside baselines, ceiling and the paper.

    python examples/evaluate.py                            a demo of both kinds, some minutes
    python examples/evaluate.py --eeg FOLDER --meg FOLDER --out runs/study
    python examples/evaluate.py --eeg FOLDER --eeg-subjects 1 2 --recipe paper --plan

Models that are missing are trained first, one after the other; --plan shows which, and about how
long that takes, and stops. Ctrl-C stops after the step under way; the same command continues.
--out holds a folder for each model, the tables in Markdown, CSV, JSON and LaTeX, the figures, and
all of it on one page, evaluate.md and evaluate.html. cross_subject.py and compare_conditioning.py
use the same models if they get the same --out.
"""

from __future__ import annotations

from pathlib import Path

from tinybrain import command_line
from tinybrain.study import command, within
from tinybrain.study.page import Section
from tinybrain.study.pieces import Study


def sections(found: list[Study], folder: Path) -> list[Section]:
    return [within.section(study, folder) for study in found]


def main() -> None:
    args = command.arguments(__doc__).parse_args()
    command.main(args, "evaluate", "Within subject: Tables 1 and 4", Study.pieces, sections)


if __name__ == "__main__":
    command_line.run(main)
