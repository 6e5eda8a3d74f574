"""Which file of a subject is read where a folder has several.

A store that was prepared here (`store.py`) goes before the files of other producers: somebody had
it made, of what else lies there, and the recording's summary names what it was preferred to.
Between all others nothing decides but the person who reads them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ..messages import first_few
from .store_card import CARD


class Chosen(NamedTuple):
    """The file to read, and in words for the summary what was passed over."""

    file: Path
    note: str = ""


def choose(found: Sequence[Path], what: str) -> Chosen:
    """The file to read of those that hold the same split of the same subject.

    Parameters
    ----------
    found : at least one.
    what : is there several times, for the message.

    Raises
    ------
    ValueError
        Several stores, or several files and no store; it names them and what to pass instead.
    """
    stores = [path for path in found if path.name.lower() == CARD]
    best = stores or found
    if len(best) > 1:
        raise ValueError(f"{len(best)} {what}: {first_few(best, 10)}; {_instead(best)}")
    over = ", ".join(str(path) for path in found if path not in best)
    return Chosen(best[0], f" (prepared here, so preferred to {over})" if over else "")


def _instead(found: Sequence[Path]) -> str:
    """What a person can do: name the highest folder that has one of the files to itself."""
    for file in found:
        shared = {folder for other in found if other != file for folder in other.parents}
        if alone := [folder for folder in file.parents if folder not in shared]:
            return f"pass the folder that holds the one you mean, as in --data {alone[-1]}"
    return "leave one of them there, and move the others to folders of their own"
