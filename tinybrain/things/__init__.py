"""THINGS recordings on disk: reading them, their images, their sensors, and a statistical twin."""

from .eeg2.reader import EEG2
from .meg.reader import MEG

__all__ = ["EEG2", "MEG", "make_demo"]


def __getattr__(name: str):
    # The demo draws images and so needs more than numpy: it is imported when somebody asks for it.
    if name == "make_demo":
        from .demo import make_demo

        return make_demo
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
