#!/usr/bin/env python3
"""Tables 6 to 9 and Figure 5 of the paper: addition, concatenation, cross-attention.

    python examples/compare_conditioning.py                a demo of both kinds, some minutes
    python examples/compare_conditioning.py --meg FOLDER --out runs/study

Each subject's model is trained in four ways: with the image's class token added to the network's
features, concatenated, or attended to, as the paper; and attending to all tokens of the image.
Everything else is the same. --plan says how long that takes. Ctrl-C stops after the step under
way; the same command continues.
"""

from __future__ import annotations

from pathlib import Path

from tinybrain import command_line
from tinybrain.study import command, ways
from tinybrain.study.page import Section
from tinybrain.study.pieces import WAYS, Piece, Study


def pieces(study: Study) -> list[Piece]:
    return study.pieces(*WAYS)


def sections(found: list[Study], folder: Path) -> list[Section]:
    return [ways.section(study, folder) for study in found]


def main() -> None:
    args = command.arguments(__doc__).parse_args()
    title = "Ways of conditioning: Tables 6 to 9 and Figure 5"
    command.main(args, "compare_conditioning", title, pieces, sections)


if __name__ == "__main__":
    command_line.run(main)
