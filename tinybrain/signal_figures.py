"""Pictures of generated signals alone: one image's trials at some sensors, and scalp maps.

For pictures beside recordings see `figures.py` and `topography.py`, whose parts and colours these
are. Letters: n images, k trials, h sensors, w time points.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from einops import rearrange

from .figures import GENERATED, GREY, WIDTH, informative_sensors
from .things.sensors import layout
from .topography import check_positions, lay_out, nearest_samples

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from .signals import BrainSignals

MOST = 6  # sensors in one figure


def draw_signals(signals: BrainSignals, image: int) -> Figure:
    """`BrainSignals.plot`: mean, spread and first of an image's trials at up to six sensors."""
    from matplotlib.figure import Figure

    trials = signals.data[_number(signals, image)].astype(np.float64)          # (k, h, w)
    mean, spread = trials.mean(axis=0), trials.std(axis=0, ddof=len(trials) > 1)
    few = len(signals.sensors) <= MOST
    names = signals.sensors if few else informative_sensors(mean, signals.sensors, MOST)
    columns = 2 if len(names) in (2, 4) else min(3, len(names))
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(WIDTH, 0.9 + 1.5 * rows), layout="constrained")
    axes, times = None, 1000 * np.asarray(signals.times)
    for place, name in enumerate(names):
        h = signals.sensors.index(name)
        axes = figure.add_subplot(rows, columns, place + 1, sharex=axes, sharey=axes)
        drawn = _draw_trials(axes, times, mean[h], spread[h], trials[:, h])
        axes.set_title(name, loc="left", size=11, weight="bold")
        axes.tick_params(labelbottom=place >= len(names) - columns, labelleft=place % columns == 0)
    figure.supxlabel("time from stimulus onset (ms)", size=10)
    figure.supylabel(f"generated ({signals.unit})", size=10)
    figure.legend(drawn.values(), drawn, loc="outside upper center", ncols=3, frameon=False)
    return figure


def _draw_trials(
    axes: Axes, times: np.ndarray, mean: np.ndarray, spread: np.ndarray, trials: np.ndarray
) -> dict:
    """Curves (w,) and trials (k, w) at one sensor; what was drawn, by its name in the legend."""
    axes.axhline(0, color=GREY, lw=0.5, zorder=0)
    axes.axvline(0, color=GREY, lw=0.5, zorder=0)
    axes.spines[["top", "right"]].set_visible(False)
    if len(times) > 1:
        axes.set_xlim(times[0], times[-1])
    if len(trials) == 1:
        return {"one signal": axes.plot(times, mean, color=GENERATED, lw=1.5)[0]}
    style = {"color": GENERATED, "alpha": 0.2, "lw": 0}
    band = axes.fill_between(times, mean - spread, mean + spread, **style)
    (one,) = axes.plot(times, trials[0], color="k", lw=0.6)
    (line,) = axes.plot(times, mean, color=GENERATED, lw=2)
    return {f"mean of {len(trials)} trials": line, "\N{PLUS-MINUS SIGN} 1 s.d. of trials": band,
            "first trial": one}


def draw_topography(signals: BrainSignals, every: float, image: int | None) -> Figure:
    """`BrainSignals.plot_topography`: a row of maps of the mean over trials."""
    xy = check_positions(layout(signals.sensors), signals.sensors)
    which = slice(None) if image is None else [_number(signals, image)]
    shown = nearest_samples(np.asarray(signals.times), every)
    mean = signals.data[which][..., shown].mean(axis=(0, 1), dtype=np.float64)  # (h, columns)
    figure, _ = lay_out(
        rearrange(mean, "h c -> 1 c h"), xy, labels=["Generated"], times=signals.times[shown],
        unit=signals.unit, colours={"Generated": GENERATED}, title=_averaged(signals, image),
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
