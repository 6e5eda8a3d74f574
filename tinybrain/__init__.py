"""Images to EEG and MEG by a from-scratch diffusion model.

    from tinybrain import ImageToBrain

    model = ImageToBrain.load("model.pt")
    signals = model.generate("photo.jpg", trials=20)

The package reads in the order of the table in the README, from `ddpm` down.
"""

import re
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the names that `__getattr__` brings, for type checkers
    from . import clip, ddpm, interop, samplers, things, unet
    from .pipeline import ImageToBrain
    from .signals import BrainSignals

__version__ = "0.1.0"
__all__ = ["BrainSignals", "ImageToBrain", "clip", "ddpm", "interop", "samplers", "things", "unet"]

LEAST_TORCH = (2, 4)  # as setup.cfg asks


def _check_torch() -> None:
    """Refuse a torch that was installed past pip's requirements, before it fails somewhere deep.

    Its version is read from its files: importing it would take seconds.
    """
    found = find_spec("torch")
    said = Path(found.origin).with_name("version.py") if found and found.origin else None
    text = said.read_text(encoding="utf-8") if said and said.is_file() else ""
    version = re.search(r"__version__ = '((\d+)\.(\d+)[^']*)'", text)
    if version and (int(version[2]), int(version[3])) < LEAST_TORCH:
        least = ".".join(map(str, LEAST_TORCH))
        raise ImportError(
            f"torch {version[1]} is installed; tinybrain needs {least} or newer: "
            f"pip install --upgrade 'torch>={least}'"
        )


_check_torch()


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
