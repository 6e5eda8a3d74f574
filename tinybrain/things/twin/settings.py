"""What a demo depends on, and what it is by default; see `make_demo`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..sensors import THINGS_MEG_271, is_meg, positions
from . import writing

VERSION = 1  # of what is drawn and simulated: to be raised when either changes

# 32 of the 63: all over the scalp, dense over the back of the head, where images are seen.
SENSORS = (
    "Fp1", "Fp2", "F7", "F3", "F4", "F8", "FC5", "FCz", "FC6", "T7", "C3", "Cz", "C4", "T8", "TP9",
    "CPz", "TP10", "P7", "P3", "P1", "Pz", "P2", "P4", "P8", "PO7", "PO3", "POz", "PO4", "PO8",
    "O1", "Oz", "O2",
)  # fmt: skip

DEFAULTS: dict[str, dict[str, Any]] = {
    "eeg": {
        "train_concepts": 400, "train_images": 4, "train_repeats": 4,
        "test_concepts": 100, "test_images": 1, "test_repeats": 80,
        "sensors": SENSORS, "points": 50, "rate": 50.0, "image_size": 96,
        "erp_power": 0.059, "image_variance": 0.018, "noise_variance": 0.87, "container": "pickle",
    },
    "meg": {
        "train_concepts": 50, "train_images": 12, "train_repeats": 1,
        "test_concepts": 15, "test_images": 1, "test_repeats": 12,
        "sensors": THINGS_MEG_271, "points": 201, "rate": 200.0, "image_size": 96,
        "erp_power": 0.02, "image_variance": 0.03, "noise_variance": 1.2, "container": "pickle",
    },
}  # fmt: skip
# What Song's files can hold.
MEG_ONLY = {"train_repeats": 1, "test_images": 1, "container": "pickle"}


@dataclass(frozen=True)
class Settings:
    """All that a demo depends on; see `make_demo` for what it means."""

    kind: str
    seed: int
    train_concepts: int
    train_images: int
    train_repeats: int
    test_concepts: int
    test_images: int
    test_repeats: int
    sensors: tuple[str, ...]
    points: int
    rate: float
    image_size: int
    erp_power: float
    image_variance: float
    noise_variance: float
    container: str
    version: int = VERSION
    subjects: int = 1

    def __post_init__(self) -> None:
        if self.container not in writing.CONTAINERS:
            raise ValueError(f"container {self.container!r}, wanted one of {writing.CONTAINERS}")
        for field in fields(self):
            value = getattr(self, field.name)
            least = 0 if field.name == "seed" else 1
            if field.type == "int" and (type(value) is not int or value < least):
                raise ValueError(f"{field.name} is {value!r}, wanted an integer from {least} up")
            if field.type == "float" and not 0 < value < np.inf:
                raise ValueError(f"{field.name} is {value!r}, wanted a number above 0")
        if max(self.train_images, self.test_images) > 99:
            raise ValueError("more than 99 images of a concept: file names have two digits")
        if self.train_concepts * self.train_images < 2:
            raise ValueError("one training image: wanted two at least, to tell image from mean")
        if len(positions(self.sensors)) == 0 or len(set(self.sensors)) < len(self.sensors):
            raise ValueError(f"sensors are {self.sensors}, wanted names, each once")
        if is_meg(self.sensors) != (self.kind == "meg"):
            wanted = "gradiometers of a CTF helmet"
            wanted = wanted if self.kind == "meg" else "electrodes of the 10-10 system"
            named = ", ".join(self.sensors[:5])
            raise ValueError(f"sensors are {named}: no {wanted}, which {self.kind!r} needs")
        if self.subjects > 99:
            raise ValueError(f"{self.subjects} subjects: more than 99, names have two digits")
        if self.kind == "meg":
            self._check_meg()

    def _check_meg(self) -> None:
        for name, only in MEG_ONLY.items():
            if getattr(self, name) != only:
                came = getattr(self, name)
                raise ValueError(f"{name} is {came!r}, wanted {only!r} as in THINGS-MEG")
        if self.train_images > 98:
            raise ValueError("more than 98 training images of a concept: names have two digits")
        if self.points < 2:
            raise ValueError("points is 1, wanted two at least, as the truth has not the first")

    @property
    def stored(self) -> dict[str, Any]:
        """What a subject's truth depends on; how many others there are is for files to tell."""
        return {name: value for name, value in asdict(self).items() if name != "subjects"}

    @property
    def times(self) -> NDArray[np.float64]:
        """Seconds from onset, (w,)."""
        return np.arange(self.points) / self.rate


def choose(kind: str, seed: int, subjects: int, asked: Mapping[str, Any]) -> Settings:
    """What was asked for, and the defaults of the kind for what was not."""
    if kind not in DEFAULTS:
        raise ValueError(f"kind is {kind!r}, wanted 'eeg' or 'meg'")
    chosen = DEFAULTS[kind] | {name: value for name, value in asked.items() if value is not None}
    for name in ("rate", "erp_power", "image_variance", "noise_variance"):
        chosen[name] = float(chosen[name])
    chosen |= {"sensors": tuple(chosen["sensors"]), "subjects": subjects}
    return Settings(kind, seed, **chosen)
