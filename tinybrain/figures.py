"""Figures: evoked responses, means of samples, denoising, and `loss_figure.py`'s learning curves.

Each function writes its file whole or not at all and returns its path; colours are `style.py`'s.
Shapes: n images, k trials, h sensors, w time points. Times are seconds; axes show milliseconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .loss_figure import plot_loss as plot_loss
from .style import (
    DIVERGING,
    GENERATED,
    GREY,
    INK,
    ONSET,
    REAL,
    WIDTH,
    frame,
    save_figure,
    save_frames,
    time_axis,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage
    from matplotlib.lines import Line2D

def informative_sensors(real: np.ndarray, names: Sequence[str], count: int = 6) -> list[str]:
    """Names of the sensors that show much of the evoked response, and little of it twice.

    The first is the sensor whose evoked response has the greatest power; each next one has the
    greatest power left once the responses already chosen are projected out (pivoted QR).

    Parameters
    ----------
    real : (n, h, w), averaged over images here, or an evoked response (h, w).
    names : of the h sensors.
    count : how many; all of them where there are fewer.

    Returns
    -------
    `count` names, the most informative first.

    Raises
    ------
    ValueError : as many names as sensors are wanted.

    Examples
    --------
    Pz is a weaker copy of Oz, and so tells less that is new than Cz does:

    >>> import numpy as np
    >>> from tinybrain.figures import informative_sensors
    >>> wave, other = np.sin(np.arange(60) / 5), np.cos(np.arange(60) / 3)
    >>> informative_sensors(np.stack([0.9 * wave, wave, 0.5 * other]), ["Pz", "Oz", "Cz"], 2)
    ['Oz', 'Cz']
    """
    from scipy.linalg import qr

    evoked = np.asarray(real, dtype=np.float64)
    evoked = evoked.mean(axis=0) if evoked.ndim == 3 else evoked
    if evoked.ndim != 2 or len(evoked) != len(names):
        raise ValueError(f"signals have shape {np.shape(real)}, but there are {len(names)} names")
    _, _, order = qr(evoked.T, mode="economic", pivoting=True)
    return [names[i] for i in order[:count]]


def plot_evoked(
    real: np.ndarray, generated: np.ndarray, *, sensors: Sequence[str], times: np.ndarray,
    picks: Sequence[str], unit: str, path: str | Path, conditional_mean: np.ndarray | None = None,
) -> Path:
    """Draw the evoked response at some sensors: recorded against generated, mean over images.

    Bands are 2 standard errors of the mean over images to each side: what another choice of images
    could change. Trials of one image are averaged first.

    Parameters
    ----------
    real : (n, h, w) recorded signals of the test images.
    generated : (n, k, h, w) or (n, h, w), of the same images.
    sensors, times : names (h,), seconds (w,) from stimulus onset.
    picks : names of the sensors to show, such as those of `informative_sensors`.
    unit, path : unit of the signals; file to write.
    conditional_mean : (n, h, w), drawn dotted.

    Raises
    ------
    ValueError : shapes that do not fit; a pick that is no sensor.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from tinybrain.figures import plot_evoked
    >>> real = np.random.default_rng(0).normal(size=(20, 2, 50))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     plot_evoked(real, real[:, None], sensors=["Oz", "Cz"], times=np.arange(50) / 50,
    ...                 picks=["Oz"], unit="µV", path=f"{folder}/evoked.png").name
    'evoked.png'
    """
    from matplotlib.figure import Figure

    real, times = _check_signals(real, sensors, times)
    lines = {"recorded": (real, REAL, "-"), "generated": (_like(generated, real), GENERATED, "-")}
    if conditional_mean is not None:
        lines["conditional mean"] = (_like(conditional_mean, real), INK, ":")
    if not picks:
        raise ValueError("no sensors to draw: wanted one pick or more")
    index = [_index(pick, sensors) for pick in picks]
    columns = 2 if len(index) in (2, 4) else min(3, len(index))
    rows = -(-len(index) // columns)
    figure = Figure(figsize=(WIDTH, 0.9 + 1.5 * rows), layout="constrained")
    axes = None
    for place, i in enumerate(index):
        axes = figure.add_subplot(rows, columns, place + 1, sharex=axes, sharey=axes)
        drawn = [_draw_mean(axes, times, y[:, i], *style) for y, *style in lines.values()]
        time_axis(axes, times)
        axes.set_title(sensors[i], loc="left", size=11, weight="bold")
        lowest = place >= len(index) - columns
        axes.tick_params(labelbottom=lowest, labelleft=place % columns == 0)
    figure.supxlabel(ONSET, size=10)
    figure.supylabel(f"mean of {len(real)} images\n\N{PLUS-MINUS SIGN} 2 s.e. ({unit})", size=10)
    figure.legend(drawn, lines, loc="outside upper center", ncols=3, frameon=False)
    return save_figure(figure, path)


def _draw_mean(axes: Axes, times: np.ndarray, y: np.ndarray, colour: str, style: str) -> Line2D:
    """The mean of y (n, w) over n, in a band of 2 standard errors to each side."""
    mean = y.mean(axis=0)
    (line,) = axes.plot(1000 * times, mean, color=colour, ls=style, lw=1.5)
    if len(y) > 1:
        error = 2 * y.std(axis=0, ddof=1) / np.sqrt(len(y))
        axes.fill_between(1000 * times, mean - error, mean + error, color=colour, alpha=0.2, lw=0)
    return line


def plot_means(
    errors: Mapping[int, float], mean: float, variance: float, *, levels: Mapping[str, float],
    unit: str, path: str | Path,
) -> Path:
    """Draw the MSE of means of k samples beside what it should be, `mean` + `variance` / k.

    Parameters
    ----------
    errors : MSE by k, the number of samples averaged
    mean, variance : MSE of the conditional mean; of the samples of an image, in square units
    levels : MSE by name: of baselines, drawn grey, and of the "noise ceiling"
    unit, path : unit of the signals; file to write

    Raises
    ------
    ValueError : no errors.

    Examples
    --------
    >>> import tempfile
    >>> from tinybrain.figures import plot_means
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     plot_means({1: 0.25, 4: 0.1}, 0.05, 0.2, levels={"mean ERP": 0.06}, unit="µV",
    ...                path=f"{folder}/means.png").name
    'means.png'
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator

    if not errors:
        raise ValueError("no errors: wanted the MSE of one number of samples or more")
    figure = Figure(figsize=(WIDTH, 3.6), layout="constrained")
    axes, k = figure.subplots(), np.geomspace(1, max(errors))
    styles = cycle((":", "-", "-.", (0, (1, 4))))
    for name, mse in levels.items():
        colour, style = (REAL, "--") if name == "noise ceiling" else (GREY, next(styles))
        axes.axhline(mse, color=colour, ls=style, lw=1, label=name)
    axes.axhline(mean, color=GENERATED, ls="--", label="conditional mean")
    axes.plot(k, mean + variance / k, color=INK, lw=1, label="MSE of the conditional mean + V / k")
    axes.plot(list(errors), list(errors.values()), "o", color=GENERATED, label="mean of k samples")
    axes.set(xscale="log", yscale="log", xlabel="samples averaged, k", ylabel=f"MSE ({unit}²)")
    axes.set_xticks(list(errors), [str(k) for k in errors])
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.minorticks_off()
    figure.legend(loc="outside right center", frameon=False)
    return save_figure(figure, path)


# Denoising ---------------------------------------------------------------------------------------


def plot_denoising(
    states: Sequence[tuple[str, np.ndarray]], *, sensors: Sequence[str], times: np.ndarray,
    unit: str, path: str | Path, pick: str | None = None,
) -> Path:
    """Draw one signal at several steps from noise to signal: all sensors, and one of them beneath.

    All images share a colour scale that ends at the 99th percentile of all magnitudes (its bar has
    arrows for what lies beyond); all traces share their axes.

    Parameters
    ----------
    states : label and signal (h, w) of each step, in order; about six fit.
    sensors, times : names (h,), seconds (w,).
    unit, path : unit of the signals; file to write.
    pick : the sensor to trace; by default the one with the greatest power in the last state.

    Raises as `plot_evoked`.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from tinybrain.figures import plot_denoising
    >>> noise = np.random.default_rng(0).normal(size=(2, 50))
    >>> states = [(f"t = {t}", noise * t / 999) for t in (999, 500, 0)]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     plot_denoising(states, sensors=["Oz", "Cz"], times=np.arange(50) / 50, unit="µV",
    ...                    path=f"{folder}/denoising.png").name
    'denoising.png'
    """
    from matplotlib.figure import Figure

    signals, times, traced = _check_states(states, sensors, times, pick)
    limit = np.quantile(np.abs(signals), 0.99) or 1
    figure = Figure(figsize=(WIDTH, 3.2), layout="constrained")
    grid = figure.subplots(
        2, len(signals), sharex=True, sharey="row", squeeze=False, height_ratios=(3, 2)
    )
    for pair, (label, _), signal in zip(grid.T, states, signals, strict=True):
        image, _ = _draw_state(pair, signal, times, traced)
        image.set_clim(-limit, limit)
        pair[0].set_title(label, size=10)
    grid[0, 0].set_ylabel(f"{len(sensors)} sensors")
    grid[1, 0].set_ylabel(f"{sensors[traced]} ({unit})")
    figure.supxlabel(ONSET, size=10)
    figure.colorbar(image, ax=grid[0], label=unit, extend="both", pad=0.01)
    return save_figure(figure, path)


def animate_denoising(
    states: Sequence[tuple[str, np.ndarray]], *, sensors: Sequence[str], times: np.ndarray,
    unit: str, path: str | Path, pick: str | None = None, seconds: float = 3.0,
) -> Path:
    """`plot_denoising` as a GIF: a frame per state, `seconds` in all, then a rest on the last.

    Thirty states of 63 x 250 take half a megabyte: of a long run, pass some.

    Parameters
    ----------
    states, sensors, times, unit, pick : as in `plot_denoising`.
    path : file to write, a GIF.
    seconds : how long it takes to see it, before the rest.

    Raises as `plot_evoked`.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from PIL import Image
    >>> from tinybrain.figures import animate_denoising
    >>> states = [(f"t = {t}", np.full((2, 50), t / 999)) for t in (999, 500, 0)]
    >>> axes = {"sensors": ["Oz", "Cz"], "times": np.arange(50) / 50, "unit": "µV"}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with Image.open(animate_denoising(states, **axes, path=f"{folder}/a.gif")) as film:
    ...         film.n_frames
    3
    """
    from matplotlib.figure import Figure

    signals, times, traced = _check_states(states, sensors, times, pick)
    figure = Figure(figsize=(4.2, 3.0), dpi=100, layout="constrained")
    pair = above, beneath = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    image, line = _draw_state(pair, signals[0], times, traced)
    limit, reach = np.quantile(np.abs(signals), 0.99) or 1, np.abs(signals[:, traced]).max() or 1
    image.set_clim(-limit, limit)
    above.set_ylabel(f"{len(sensors)} sensors")
    beneath.set(xlabel=ONSET, ylabel=f"{sensors[traced]} ({unit})")
    beneath.set_ylim(-reach, reach)
    figure.colorbar(image, ax=above, label=unit, extend="both", pad=0.01)
    frames = []
    for (label, _), signal in zip(states, signals, strict=True):
        above.set_title(label, size=10)
        image.set_data(signal)
        line.set_ydata(signal[traced])
        frames.append(frame(figure))
        figure.set_layout_engine("none")  # the first frame's layout holds for all
    return save_frames(frames, path, seconds, rest=2)


def _draw_state(
    pair: Sequence[Axes], signal: np.ndarray, times: np.ndarray, traced: int
) -> tuple[AxesImage, Line2D]:
    """A signal (h, w) as an image, its first sensor at the top, and one sensor as a line."""
    above, beneath = pair
    half = 500 * np.diff(times).mean()  # of a sample, in ms
    extent = (1000 * times[0] - half, 1000 * times[-1] + half, len(signal), 0)
    image = above.imshow(signal, DIVERGING, extent=extent, aspect="auto", interpolation="nearest")
    above.axvline(0, color=INK, lw=0.5)
    above.set_yticks([])
    (line,) = beneath.plot(1000 * times, signal[traced], color=GENERATED, lw=0.8)
    time_axis(beneath, times)
    return image, line


def _check_signals(
    real: np.ndarray, sensors: Sequence[str], times: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Signals and times as arrays, if they are (n, h, w) and (w,) for these h sensors."""
    real, times = np.asarray(real), np.asarray(times, dtype=np.float64)
    wanted = (len(sensors), len(times))
    if real.ndim != 3 or real.shape[1:] != wanted or not len(real):
        raise ValueError(f"signals have shape {real.shape}: wanted n of {wanted} (sensors, times)")
    return real, times


def _like(generated: np.ndarray, real: np.ndarray) -> np.ndarray:
    """Generated signals (n, h, w) of the recorded images, trials averaged if there are some."""
    generated = np.asarray(generated)
    mean = generated.mean(axis=1) if generated.ndim == 4 else generated
    if mean.shape != real.shape:
        raise ValueError(
            f"generated has shape {generated.shape}: wanted {real.shape}, with or without trials"
        )
    return mean


def _index(pick: str, sensors: Sequence[str]) -> int:
    if pick not in sensors:
        raise ValueError(f"no sensor {pick!r}: wanted one of {', '.join(sensors)}")
    return list(sensors).index(pick)


def _check_states(
    states: Sequence[tuple[str, np.ndarray]], sensors: Sequence[str], times: np.ndarray,
    pick: str | None,
) -> tuple[np.ndarray, np.ndarray, int]:
    """Signals (states, h, w), times, and which sensor to trace."""
    shapes = {np.shape(signal) for _, signal in states}
    if len(shapes) != 1:
        raise ValueError(f"states have shapes {sorted(shapes)}: wanted states of one shape")
    signals, times = _check_signals(np.stack([y for _, y in states]), sensors, times)
    return signals, times, _index(pick or informative_sensors(signals[-1], sensors)[0], sensors)
