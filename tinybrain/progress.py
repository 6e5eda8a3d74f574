"""What a person sees of a long run, and the key that ends it."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from torch.hub import tqdm  # comes with torch: a plainer bar where tqdm is not installed


@contextmanager
def bar(total: int, done: int, progress: bool) -> Iterator[tqdm]:
    """A bar of steps, of which `done` are behind; hidden where there is no terminal."""
    hidden = not progress or not sys.stderr.isatty()
    with tqdm(total=total, initial=done, unit="step", disable=hidden, dynamic_ncols=True) as shown:
        yield shown


@contextmanager
def interruptible() -> Iterator[threading.Event]:
    """Ctrl-C or SIGTERM asks the run to stop after the step under way; a second one at once."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore():
        for number, handler in before.items():
            signal.signal(number, handler)

    def ask(number, frame):
        stop.set()
        restore()

    for number in before:
        signal.signal(number, ask)
    try:
        yield stop
    finally:
        restore()
