"""What is taken of a recording of THINGS-MEG: its images, their order, and the time points.

Producers differ in all three; `MEG` says who does what.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..recording import span

CROPS = {  # first and last time, in seconds
    "paper": (0.005, 1.0),
    "onset": (0.0, 0.995),
    "closed": (0.0, 1.0),
    "all": (-np.inf, np.inf),
}


@dataclass(frozen=True)
class Selection:
    """Images, order and time points; ValueError for words that mean none.

    Attributes
    ----------
    crop : "paper", "onset", "closed" or "all"
    drop_test_concepts : bool
    test_order : "presentation" or "image"
        All three as `MEG` takes them.
    """

    crop: str = "paper"
    drop_test_concepts: bool = True
    test_order: str = "presentation"

    def __post_init__(self) -> None:
        if self.crop not in CROPS or self.test_order not in ("presentation", "image"):
            raise ValueError(
                f"crop {self.crop!r}, test_order {self.test_order!r}; wanted crop "
                f"{', '.join(CROPS)} and test_order 'presentation' or 'image'"
            )

    def window(self, file: Path, times: np.ndarray) -> slice:
        """The points (w,) of the crop; ValueError that says which crops a file has, if not it."""
        step = np.diff(times).mean() if len(times) > 1 else 1.0
        inside = {
            name: np.flatnonzero((times > first - step / 2) & (times < last + step / 2))
            for name, (first, last) in CROPS.items()
        }
        whole = [
            name
            for name, (first, last) in CROPS.items()
            if name == "all"
            or (times[0] < first + step / 2 and times[-1] > last - step / 2 and len(inside[name]))
        ]
        if self.crop not in whole:
            start, stop = CROPS[self.crop]
            raise ValueError(
                f"{file}: its {len(times)} points are {span(times)}; crop={self.crop!r} wants "
                f"{start:g} to {stop:g} s: take crop={' or '.join(map(repr, whole))}"
            )
        return slice(int(inside[self.crop][0]), int(inside[self.crop][-1]) + 1)


USUAL = Selection()
