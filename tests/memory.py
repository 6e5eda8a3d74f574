"""How much memory something takes, of what Python and numpy allocate."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def peak_memory(run: Callable[[], T]) -> tuple[T, int]:
    """What it returns, and the bytes that it holds at the most at once: the least of three times.

    Whatever happens to run when a table of the interpreter's own grows is charged with that, with
    4 MB when it is the one of interned names; and what imports a module, with the module.
    """
    peaks = []
    for _ in range(3):
        tracemalloc.start()
        try:
            result = run()
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    return result, min(peaks)
