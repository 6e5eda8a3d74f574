"""Images to EEG and MEG by a from-scratch diffusion model.

    from tinybrain import ImageToBrain

    model = ImageToBrain.load("model.pt")
    signals = model.generate("photo.jpg", trials=20)

The package reads in the order of the table in the README, from `ddpm` down.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the names that `__getattr__` brings, for type checkers
    from . import clip, ddpm, interop, samplers, things, unet
    from .pipeline import ImageToBrain
    from .signals import BrainSignals

__version__ = "0.1.0"
__all__ = ["BrainSignals", "ImageToBrain", "clip", "ddpm", "interop", "samplers", "things", "unet"]


def __getattr__(name: str) -> Any:
    # What needs more than a moment to import is imported when somebody asks for it.
    from importlib import import_module

    if name == "ImageToBrain":
        return import_module(".pipeline", __name__).ImageToBrain
    if name == "BrainSignals":
        return import_module(".signals", __name__).BrainSignals
    if name in __all__:
        return import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
