#!/usr/bin/env python3
"""Tables 2, 3 and 5 of the paper: each subject's model tested on every other subject.

    python examples/cross_subject.py                       a demo of both kinds, some minutes
    python examples/cross_subject.py --eeg FOLDER --out runs/study

Test images are the same for all subjects: what a model made of them once is compared with all
recordings, image by image. Matrices have the paper's margins and, where recordings are of its form,
stand beside the paper's as heat maps; beside them what needs no image: mean ERPs of the source, and
of all other subjects. Models are those of evaluate.py; missing ones are trained first, and --plan
says how long that takes. --leave-one-out trains for each subject one model of all the others, too,
and tests it on them.
Ctrl-C stops after the step under way; the same command continues.
"""

from __future__ import annotations

from pathlib import Path

from tinybrain import command_line
from tinybrain.study import command, cross, others
from tinybrain.study.page import Section
from tinybrain.study.pieces import Piece, Study


def main() -> None:
    cli = command.arguments(__doc__)
    cli.add_argument("--leave-one-out", action="store_true", help="also one model of all the "
                     "others for each subject")
    args = cli.parse_args()

    def pieces(study: Study) -> list[Piece]:
        return study.pieces() + (study.pieces_without() if args.leave_one_out else [])

    def sections(found: list[Study], folder: Path) -> list[Section]:
        made = [cross.section(study, folder) for study in found]
        if args.leave_one_out:
            made += [others.section(study) for study in found]
        return made

    command.main(args, "cross_subject", "Across subjects: Tables 2, 3 and 5", pieces, sections)


if __name__ == "__main__":
    command_line.run(main)
