"""How the examples speak on a command line: what --help shows, what a number may be, and the one
line of an error or a warning."""

from __future__ import annotations

import math
import re
import sys
import warnings
from argparse import ArgumentParser, ArgumentTypeError, RawDescriptionHelpFormatter
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

# What a person can do something about; anything else is a fault here and keeps its traceback.
TOLD = (ValueError, ImportError, OSError, MemoryError, KeyboardInterrupt)
AGAIN = "stopped; the same command continues"


class Parser(ArgumentParser):
    """An `ArgumentParser` that says what is wrong in one line, without all the options."""

    def error(self, message: str) -> NoReturn:
        said = re.sub(r"^argument (\S+): is ", r"\1 is ", message)
        self.exit(2, f"{self.prog}: {said}; --help tells the options\n")


def parser(description: str | None) -> ArgumentParser:
    """A command line whose --help begins with an example's own words, as they are written.

    Examples
    --------
    >>> cli = parser("Count to N.")
    >>> _ = cli.add_argument("n", type=positive)
    >>> cli.parse_args(["3"])
    Namespace(n=3)
    """
    return Parser(description=description, formatter_class=RawDescriptionHelpFormatter)


# -------------------------------------------------------------------------------------------------
# The `type` of an argument


def positive(text: str) -> int:
    """A whole number, 1 or more; argparse.ArgumentTypeError if it is none.

    Examples
    --------
    >>> positive("0")
    Traceback (most recent call last):
    argparse.ArgumentTypeError: is 0; wanted 1 or more
    """
    try:
        number = int(text)
    except ValueError:
        raise ArgumentTypeError(f"is {text}; wanted a whole number, 1 or more") from None
    if number < 1:
        raise ArgumentTypeError(f"is {text}; wanted 1 or more")
    return number


def above_zero(text: str) -> float:
    """A number above 0; argparse.ArgumentTypeError if it is none.

    Examples
    --------
    >>> above_zero("3e-4")
    0.0003
    """
    number = _number(text)
    if not 0 < number < math.inf:
        raise ArgumentTypeError(f"is {text}; wanted a number above 0")
    return number


def share(text: str) -> float:
    """A share of training to keep aside, 0 to 0.5; argparse.ArgumentTypeError if it is none.

    Examples
    --------
    >>> share("0.05")
    0.05
    """
    number = _number(text)
    if not 0 <= number <= 0.5:
        raise ArgumentTypeError(f"is {text}; wanted a share from 0 to 0.5")
    return number


def subject(text: str) -> int:
    """The number of a subject, however it is written; argparse.ArgumentTypeError if it is none.

    Examples
    --------
    >>> subject("3"), subject("sub-03"), subject("P3")
    (3, 3, 3)
    """
    if not (match := re.fullmatch(r"(?:sub-)?(?:P|BIGMEG)?(\d+)", text, re.IGNORECASE)):
        raise ArgumentTypeError(f"is {text}; wanted a number such as 1, or sub-01")
    return int(match[1])


def _number(text: str) -> float:
    """NaN, which is within no bounds, of what is no number."""
    try:
        return float(text)
    except ValueError:
        return math.nan


# -------------------------------------------------------------------------------------------------
# The program


def run(main: Callable[[], object], stopped: str = "stopped") -> None:
    """Call `main`; an error that a person can mend ends the program in one line, without traceback.

    Warnings of the package are a line each, too.

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
    ...     raise ValueError("photo.jpg: no such file")
    >>> run(main)
    Traceback (most recent call last):
    SystemExit: ...: photo.jpg: no such file
    """
    usual = warnings.formatwarning

    def in_a_line(
        message: Warning | str, category: type[Warning], filename: str, lineno: int,
        line: str | None = None,
    ) -> str:
        own = Path(filename).resolve()
        if Path(__file__).parent in own.parents or own == Path(sys.argv[0]).resolve():
            return f"{Path(sys.argv[0]).name}: warning: {message}\n"
        return usual(message, category, filename, lineno, line)

    warnings.formatwarning = in_a_line
    try:
        main()
    except TOLD as problem:
        silent = stopped if isinstance(problem, KeyboardInterrupt) else type(problem).__name__
        raise SystemExit(f"{Path(sys.argv[0]).name}: {str(problem) or silent}") from None
    finally:
        warnings.formatwarning = usual
