"""What a person sees of a long run, and the key that ends it."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from types import FrameType

EVERY = 1.0  # seconds between two looks at a run, each of which makes the host wait for the device
WIDTH = 20  # of the bar, in characters
ONCE_MORE = b"\nstopping after what is under way; press Ctrl-C again to stop at once\n"


class Bar:
    """How far a run is: one line of the terminal, drawn anew; nothing where there is none.

    `total` steps are to do, `done` of them are behind.
    """

    def __init__(self, total: int, done: int, shown: bool):
        self.total, self.before, self.done, self.shown = total, done, done, shown
        self.drawn = shown and sys.stderr.isatty()
        self.began = self.looked = time.monotonic()

    def update(self, steps: int = 1, words: Callable[[], str] = str) -> None:
        """So many steps more are done. `words` are asked for only when the line is due."""
        self.done += steps
        now = time.monotonic()
        if self.drawn and now - self.looked >= EVERY:
            self.looked = now
            share = self.done / self.total
            bar = f"{100 * share:3.0f} % [{'#' * int(WIDTH * share):-<{WIDTH}}]"
            said = (f"{bar} {self.done}/{self.total}", f"{self.left()} left", words())
            self._write(", ".join(part for part in said if part))

    def left(self) -> str:
        """The time to the last step, at the pace of all steps that this process has seen."""
        seen = self.done - self.before
        if not seen:
            return "?"
        pace = (time.monotonic() - self.began) / seen
        return str(timedelta(seconds=round(pace * (self.total - self.done))))

    def say(self, line: str) -> None:
        """A line that stays: above the bar, or in the file that a job without terminal writes."""
        if self.shown:
            self.clear()
            print(line, flush=True)

    def clear(self) -> None:
        if self.drawn:
            self._write("")
            sys.stderr.write("\r")
            sys.stderr.flush()

    def _write(self, line: str) -> None:
        width = shutil.get_terminal_size().columns - 1
        sys.stderr.write("\r" + line[:width].ljust(width))
        sys.stderr.flush()


@contextmanager
def bar(total: int, done: int, progress: bool) -> Iterator[Bar]:
    """A bar of steps, of which `done` are behind; silent without `progress`.

    Examples
    --------
    >>> with bar(total=3, done=1, progress=True) as shown:
    ...     shown.update()
    ...     shown.say(f"{shown.done} of {shown.total} are done")
    2 of 3 are done
    """
    shown = Bar(total, done, progress)
    try:
        yield shown
    finally:
        shown.clear()


@contextmanager
def interruptible() -> Iterator[threading.Event]:
    """Ctrl-C or SIGTERM asks the run to stop after the step under way; a second one at once.

    Yields an event that is set once somebody has asked; outside the main thread, where no signal
    arrives, one that never is. Signals are handled as before when the block ends.

    Raises
    ------
    KeyboardInterrupt
        At the second Ctrl-C.

    Examples
    --------
    >>> with interruptible() as stop:
    ...     for step in range(10):
    ...         if stop.is_set():
    ...             break  # what is on disk is whole
    >>> step
    9
    """
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def ask(number: int, frame: FrameType | None) -> None:
        stop.set()
        restore()
        with suppress(OSError):
            os.write(2, ONCE_MORE)  # print may be what was interrupted

    for number in before:
        signal.signal(number, ask)
    try:
        yield stop
    except KeyboardInterrupt as error:
        if error.args:
            raise
        raise KeyboardInterrupt("stopped at once; run again to continue what is on disk") from None
    finally:
        restore()
