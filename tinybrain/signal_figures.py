"""Pictures of generated signals alone: trials or images at some sensors, and scalp maps.

For pictures beside recordings see `figures.py` and `topography.py`, whose parts these are.
Letters: n images, k trials, h sensors, w time points.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from einops import rearrange

from .figures import informative_sensors
from .scalp import check_positions
from .style import GENERATED, INK, ONSET, WIDTH, time_axis
from .things.sensors import layout
from .topography import lay_out, nearest_samples

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from .signals import BrainSignals

MOST = 6  # sensors in one figure
COLUMNS = 11  # maps in one line of a figure
Places = Mapping[str, Sequence[float]]  # (x, y) in head radii by name, as `layouts` reads them


def draw_signals(signals: BrainSignals, image: int | None) -> Figure:
    """`BrainSignals.plot`: mean, spread and first of an image's trials, or of all images."""
    from matplotlib.figure import Figure

    y, of = _drawn(signals, image)                                             # (k or n, h, w)
    mean, spread = y.mean(axis=0), y.std(axis=0, ddof=len(y) > 1)
    few = len(signals.sensors) <= MOST
    names = list(signals.sensors) if few else informative_sensors(mean, signals.sensors, MOST)
    columns = 2 if len(names) in (2, 4) else min(3, len(names))
    rows = -(-len(names) // columns)
    figure, axes = Figure(figsize=(WIDTH, 0.9 + 1.5 * rows), layout="constrained"), None
    for place, name in enumerate(names):
        h = signals.sensors.index(name)
        axes = figure.add_subplot(rows, columns, place + 1, sharex=axes, sharey=axes)
        drawn = _draw_trials(axes, signals.times, mean[h], spread[h], y[:, h], of)
        axes.set_title(name, loc="left", size=11, weight="bold")
        axes.tick_params(labelbottom=place >= len(names) - columns, labelleft=place % columns == 0)
    figure.supxlabel(ONSET, size=10)
    figure.supylabel(f"generated ({signals.unit})", size=10)
    figure.legend(
        list(drawn.values()), list(drawn), loc="outside upper center", ncols=3, frameon=False
    )
    return figure


def _drawn(signals: BrainSignals, image: int | None) -> tuple[np.ndarray, str]:
    """The trials of an image, or every image's mean over its trials, and what they are."""
    if image is None:
        return signals.data.mean(axis=1, dtype=np.float64), "image"
    return signals.data[_number(signals, image)].astype(np.float64), "trial"


def _draw_trials(
    axes: Axes, times: np.ndarray, mean: np.ndarray, spread: np.ndarray, y: np.ndarray, of: str
) -> dict[str, Artist]:
    """Curves (w,) and trials (k, w) at one sensor; what was drawn, by its name in the legend."""
    time_axis(axes, times)
    ms = 1000 * np.asarray(times)
    if len(y) == 1:
        return {f"one {of}": axes.plot(ms, mean, color=GENERATED, lw=1.5)[0]}
    band = axes.fill_between(ms, mean - spread, mean + spread, color=GENERATED, alpha=0.2, lw=0)
    (one,) = axes.plot(ms, y[0], color=INK, lw=0.6)
    (line,) = axes.plot(ms, mean, color=GENERATED, lw=2)
    return {f"mean of {len(y)} {of}s": line, f"\N{PLUS-MINUS SIGN} 1 s.d. of {of}s": band,
            f"first {of}": one}


def draw_topography(
    signals: BrainSignals, every: float, image: int | None, places: Places | None
) -> Figure:
    """`BrainSignals.plot_topography`: maps of the mean over trials, in lines of at most COLUMNS."""
    if (h := len(signals.sensors)) < 3:
        raise ValueError(f"{h} sensor{'s' * (h > 1)}: a map wants three or more")
    xy = check_positions(layout(signals.sensors, places), signals.sensors)
    which = slice(None) if image is None else [_number(signals, image)]
    first, last = (float(signals.times[end]) for end in (0, -1))
    if every > max(1.0, last - first):  # the map at 0 s alone would answer no such question
        raise ValueError(
            f"every is {every:g} s from map to map, but the signals run from {first:g} to "
            f"{last:g} s (times are in seconds)"
        )
    shown = nearest_samples(np.asarray(signals.times), every)
    mean = signals.data[which][..., shown].mean(axis=(0, 1), dtype=np.float64)  # (h, columns)
    figure, _ = lay_out(
        rearrange(mean, "h c -> 1 c h"), xy, labels=["Generated"], times=signals.times[shown],
        unit=signals.unit, colours={"Generated": GENERATED}, title=_averaged(signals, image),
        most=COLUMNS,
    )
    return figure


def _averaged(signals: BrainSignals, image: int | None) -> str:
    """Over what a map is the mean."""
    n, k = signals.data.shape[:2]
    trials = "one signal" if k == 1 else f"mean of {k} trials"
    if image is None:
        return trials if n == 1 else f"mean of {n} images, {trials} of each"
    return f"image {_number(signals, image)}, {trials}"


def _number(signals: BrainSignals, image: int) -> int:
    """An image's number from 0, or a ValueError if there are not so many."""
    n = len(signals.data)
    if not -n <= image < n:
        raise ValueError(f"no image {image}; there are {n}, numbered from 0")
    return image % n
