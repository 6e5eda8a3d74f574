"""What a recording is to the rest of the package, whoever made it, and one made of your own arrays.

    Recorded        the fields that training, evaluation and figures ask for
    OwnRecording    these fields from arrays, checked

`things.EEG2`, `things.MEG` and `subjects.Subjects` have the same fields.
Letters: n images, r repetitions, h sensors, w time points.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .things.recording import check_values, read_signals, sensor_names, span, time_axis

KINDS = ("eeg", "meg")
NAME = Path("own recording")  # in messages, where a file would be named

Array = NDArray[Any]


class Recorded(Protocol):
    """Signals with their images, and what their axes mean.

    Attributes
    ----------
    signals : (n, h, w), or (n, r, h, w) for single repetitions; float32, or a map of a file of it
    images : (n,), the file of each row's image
    concepts : (n,), what it shows; held-out concepts are chosen among these
    sensors : (h,), names
    times : (w,), seconds from image onset
    repeats : r, single or averaged
    kind : "eeg" or "meg"
    unit : of the signals, in words
    summary : what it is, in one line
    """

    @property
    def signals(self) -> Array: ...
    @property
    def images(self) -> Sequence[Path]: ...
    @property
    def concepts(self) -> Sequence[str]: ...
    @property
    def sensors(self) -> Sequence[str]: ...
    @property
    def times(self) -> NDArray[np.float64]: ...
    @property
    def repeats(self) -> int: ...
    @property
    def kind(self) -> str: ...
    @property
    def unit(self) -> str: ...
    @property
    def summary(self) -> str: ...


class OwnRecording:
    """A recording from arrays: of another data set, or of signals that you have simulated.

    It has the attributes of `Recorded`.

    Parameters
    ----------
    signals : array (n, h, w), or (n, r, h, w) for single repetitions; float32 is not copied
    images : n paths; where features stand in for the images, the files are never opened
    sensors : h names, all different; those of the 10-20 system and of CTF have known places
    times : (w,) seconds from image onset, evenly spaced
    kind : "eeg" or "meg"
    unit : in words
    concepts : n names; by default each image is a concept of its own
    repeats : of how many repetitions each row is the mean, where signals are (n, h, w)

    Raises
    ------
    ValueError
        Lengths that do not agree, values that are not finite, two sensors of one name.

    Examples
    --------
    >>> import numpy as np
    >>> signals = np.random.default_rng(0).normal(size=(3, 2, 50)).astype("float32")
    >>> own = OwnRecording(signals, ["cat.jpg", "cup.jpg", "car.jpg"], ["O1", "Oz"],
    ...                    times=np.arange(50) / 100, unit="uV")
    >>> print(own.summary)
    own recording: 3 images, 1 repetition, 2 sensors O1 to Oz, 50 points 0.000 to 0.490 s
    at 100 Hz, unit uV
    """

    def __init__(
        self, signals: ArrayLike, images: Sequence[str | Path], sensors: Sequence[str],
        times: ArrayLike, *, kind: str = "eeg", unit: str = "a.u.",
        concepts: Sequence[str] | None = None, repeats: int = 1,
    ):
        data = np.asanyarray(signals)
        if data.ndim not in (3, 4) or not data.size:
            raise ValueError(
                f"signals of shape {data.shape}; wanted (images, sensors, times), or (images, "
                "repetitions, sensors, times), and none of them 0"
            )
        data = np.ascontiguousarray(data) if min(data.strides) < 0 else data  # torch knows no other
        if np.shape(times) != data.shape[-1:]:
            raise ValueError(f"times of shape {np.shape(times)}; wanted one for each of the "
                             f"{data.shape[-1]} points")
        if repeats < 1:
            raise ValueError(f"repeats is {repeats}; wanted 1 or more")
        if kind not in KINDS:
            raise ValueError(f"kind is {kind!r}; wanted one of {', '.join(KINDS)}")
        single = data.ndim == 4
        rows = data if single else data[:, None]                               # (n, r, h, w)
        self.images = tuple(Path(image) for image in images)
        self.concepts = tuple(concepts or (image.stem for image in self.images))
        for what, given in (("images", self.images), ("concepts", self.concepts)):
            if len(given) != len(rows):
                raise ValueError(f"{len(given)} {what} for {len(rows)} rows of signals")
        self.sensors = sensor_names(NAME, list(sensors), rows.shape[2])
        self.times, _ = time_axis(NAME, times, rows.shape[3])
        read = read_signals(rows, average=False)
        check_values(NAME, read, self.images, self.sensors)
        self.signals = read.signals if single else read.signals[:, 0]
        self.repeats = rows.shape[1] if single else repeats
        self.kind, self.unit = kind, unit

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.summary.removeprefix(f'{NAME}: ')}>"

    @property
    def summary(self) -> str:
        """What it is, in one line."""
        return (
            f"{NAME}: {len(self.images)} images, {self.repeats} repetition"
            f"{'s' * (self.repeats > 1)}, {len(self.sensors)} sensors {self.sensors[0]} to "
            f"{self.sensors[-1]}, {len(self.times)} points {span(self.times)}, unit {self.unit}"
        )
