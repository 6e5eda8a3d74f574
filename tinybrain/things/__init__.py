"""THINGS recordings on disk: reading them, their images, their sensors, and a statistical twin.

    EEG2, MEG                       recordings of one subject, whoever prepared them
    make_demo                       a folder like theirs, for trying things out
    images, layouts, pickles, resampling, sensors, store, whitening     what these are made of
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the names that `__getattr__` brings, for type checkers
    from . import images, layouts, pickles, resampling, sensors, store, whitening
    from .demo import make_demo
    from .eeg2.reader import EEG2
    from .meg.reader import MEG

__all__ = [
    "EEG2", "MEG", "images", "layouts", "make_demo", "pickles", "resampling", "sensors", "store",
    "whitening",
]  # fmt: skip

_HOME = {"EEG2": "eeg2.reader", "MEG": "meg.reader", "make_demo": "demo"}


def __getattr__(name: str) -> Any:
    # Who generates from a model needs no reader of recordings; who reads EEG needs none of MEG.
    from importlib import import_module

    if name in _HOME:
        return getattr(import_module(f".{_HOME[name]}", __name__), name)
    if name in __all__:
        return import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
