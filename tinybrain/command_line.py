"""How the examples speak on a command line: what --help shows, and the one line of an error."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Callable
from pathlib import Path

# What a person can do something about; anything else is a fault here and keeps its traceback.
TOLD = (ValueError, ImportError, OSError, MemoryError, KeyboardInterrupt)
AGAIN = "stopped; the same command continues"


def parser(description: str | None) -> ArgumentParser:
    """A command line whose --help begins with an example's own words, as they are written.

    Examples
    --------
    >>> cli = parser("Count to N.")
    >>> _ = cli.add_argument("n", type=int)
    >>> cli.parse_args(["3"])
    Namespace(n=3)
    """
    return ArgumentParser(description=description, formatter_class=RawDescriptionHelpFormatter)


def run(main: Callable[[], object], stopped: str = "stopped") -> None:
    """Call `main`; an error that a person can mend ends the program in one line, without traceback.

    Parameters
    ----------
    main : the example
    stopped : what is said after Ctrl-C where `main` itself says nothing

    Raises
    ------
    SystemExit
        After a `ValueError`, `ImportError`, `OSError`, `MemoryError` or Ctrl-C: the name of the
        program and what the error says.

    Examples
    --------
    >>> def main():
    ...     raise ValueError("--trials is 0; wanted 1 or more")
    >>> run(main)
    Traceback (most recent call last):
    SystemExit: ...: --trials is 0; wanted 1 or more
    """
    try:
        main()
    except TOLD as problem:
        silent = stopped if isinstance(problem, KeyboardInterrupt) else type(problem).__name__
        raise SystemExit(f"{Path(sys.argv[0]).name}: {str(problem) or silent}") from None
