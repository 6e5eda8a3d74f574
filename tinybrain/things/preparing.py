"""What making a store takes, of EEG as of MEG: to be alone at it, and to know what is there."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from ..files import try_lock
from . import store

SPLITS = ("train", "test")
PARTS = ".sessions"  # the folder in a store that holds what is not yet merged
Report = Callable[[str], object]  # is told in a line what was made


def silent(line: str) -> None:
    """The `Report` of those who want none."""


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Be the only process that makes this store.

    An empty file beside it, ``.sub-01.lock``, is locked meanwhile and stays; a process that ends,
    however it ends, lets go of it.

    Raises
    ------
    BlockingIOError
        Another process is at it.
    """
    lock = folder.with_name(f".{folder.name}.lock")
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("ab") as file:
        if try_lock(file):
            yield
            return
    raise BlockingIOError(f"{folder}: another process prepares it; wait for it, or stop it")


def made_before(folder: Path, wanted: Mapping[str, object]) -> store.Card | None:
    """The card of the store that is there, if any.

    Parameters
    ----------
    wanted : what the card must say of its `source`; values that are mappings are compared name by
        name, and what else it says does not matter.

    Raises
    ------
    ValueError
        It was made otherwise; what differs is listed.
    """
    if not store.is_store(folder):
        return None
    card = store.read_card(folder)
    if other := list(_differences(card.source, json.loads(json.dumps(wanted)))):
        raise ValueError(
            f"{folder}: a recording made otherwise is there ({'; '.join(other)[:300]}); remove it "
            "or name another folder"
        )
    return card


def _differences(there: object, wanted: Mapping[str, object]) -> Iterator[str]:
    known = there if isinstance(there, dict) else {}
    for name, value in wanted.items():
        if isinstance(value, dict):
            yield from _differences(known.get(name), value)
        elif known.get(name) != value:
            yield f"{name} {known.get(name)!r}, now {value!r}"
