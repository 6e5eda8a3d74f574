"""The figures of a run: learning curves, evoked responses, denoising.

One style: recorded is blue, generated is vermilion (a pair that every kind of colour vision tells
apart), baselines are grey. Each function writes its file whole or not at all and returns its path.
Shapes: n images, k trials, h sensors, w time points. Times are seconds; axes show milliseconds.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .files import write_atomically
from .topography import save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage
    from matplotlib.lines import Line2D

REAL, GENERATED, GREY = "#0072B2", "#D55E00", "0.45"
WIDTH = 8.3  # inches: 100 pixels each in a README
BINS = 10  # of the timestep, in the training log


def plot_loss(
    log: str | Path | Sequence[Mapping[str, object]], path: str | Path,
    references: Mapping[str, float], kept: int | None = None,
) -> Path:
    """Draw how training went: its loss, and the conditional mean's error on held-out images.

    Left: the loss of each epoch, and of ten bins of the timestep from light (little noise) to dark.
    Right, if measured: the conditional mean's MSE on held-out images, the epoch kept, baselines.

    Parameters
    ----------
    log : rows with epoch, loss, heldout_mse, bin0 ... bin9 (empty: not measured), or their CSV.
    path : file to write; its suffix chooses the format.
    references : MSE of each baseline by name.
    kept : the epoch that was kept; by default the one of least error.

    Raises
    ------
    ValueError : no rows; a column that is missing or holds something that is not a number.
    """
    from matplotlib.figure import Figure

    table = _read_log(log)
    panels = 1 + bool(np.isfinite(table["heldout_mse"]).any())
    figure = Figure(figsize=(WIDTH * panels / 2, 3.4), layout="constrained")
    figure.get_layout_engine().set(wspace=0.08)
    axes = figure.subplots(1, panels, squeeze=False)[0]
    _draw_loss(axes[0], table)
    if panels == 2:
        _draw_heldout(axes[1], table, references, kept)
    return save_figure(figure, path)


def _draw_loss(axes: Axes, table: dict[str, np.ndarray]) -> None:
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap

    shades = ListedColormap(colormaps["YlGnBu"](np.linspace(0.25, 1, BINS)))
    for i in range(BINS):
        axes.plot(table["epoch"], table[f"bin{i}"], color=shades(i), lw=1)
    axes.plot(table["epoch"], table["loss"], "k-", lw=2, label="all timesteps")
    bar = axes.figure.colorbar(ScalarMappable(cmap=shades), ax=axes, ticks=[0, 0.5, 1])
    bar.set_label("thin lines: timestep t / T")
    axes.legend(frameon=False, loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0)
    axes.set(xlabel="epoch", ylabel="training loss")
    _logarithmic(axes)


def _draw_heldout(
    axes: Axes, table: dict[str, np.ndarray], levels: Mapping[str, float], kept: int | None
) -> None:
    measured = np.isfinite(table["heldout_mse"])
    epoch, mse = table["epoch"][measured], table["heldout_mse"][measured]
    for value in levels.values():
        axes.axhline(value, color=GREY, lw=1, ls="--")
    axes.plot(epoch, mse, "o-", color=GENERATED, lw=2, ms=3)
    at = mse.argmin() if kept is None else np.flatnonzero(epoch == kept)[0]
    axes.plot(epoch[at], mse[at], "o", mfc="none", mec="k", ms=10)
    axes.annotate("kept", (epoch[at], mse[at]), (0, 9), textcoords="offset points", ha="center")
    axes.set(xlabel="epoch", ylabel="MSE of the conditional mean,\nheld-out images")
    _logarithmic(axes)
    free = -np.inf
    for name, value in sorted(levels.items(), key=lambda item: item[1]):
        _, height = axes.transAxes.inverted().transform(axes.transData.transform((0, value)))
        free = max(height, free + 0.07)  # a line of text, as a share of the axes
        axes.text(1.02, free, name, color=GREY, va="center", transform=axes.transAxes)


def _logarithmic(axes: Axes) -> None:
    """Whole epochs below; a logarithmic y axis with plain numbers, also within a single decade."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_yscale("log")
    subs = (1, 2, 5) if np.ptp(np.log10(axes.get_ylim())) > 1 else (1, 1.5, 2, 3, 4, 5, 6, 8)
    axes.yaxis.set_major_locator(LogLocator(subs=subs))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.spines[["top", "right"]].set_visible(False)


def _read_log(log: str | Path | Sequence[Mapping[str, object]]) -> dict[str, np.ndarray]:
    """The columns that are drawn, as float64, NaN where a cell is empty."""
    name = log if isinstance(log, (str, Path)) else "the log"
    if name is log:
        with open(log, newline="", encoding="utf-8") as file:
            log = list(csv.DictReader(file))
    columns = ["epoch", "loss", "heldout_mse", *(f"bin{i}" for i in range(BINS))]
    missing = [column for column in columns if not log or column not in log[0]]
    if missing:
        raise ValueError(f"{name}: no column {', '.join(missing)} in its {len(log)} rows")
    try:
        cells = [[row[column] for column in columns] for row in log]
        values = [[np.nan if cell in ("", None) else float(cell) for cell in row] for row in cells]
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name}: a cell is not a number: {error}") from None
    return dict(zip(columns, np.array(values).T, strict=True))


# Evoked responses --------------------------------------------------------------------------------


def informative_sensors(real: np.ndarray, names: Sequence[str], count: int = 6) -> list[str]:
    """Names of the sensors that show much of the evoked response, and little of it twice.

    The first is the sensor whose evoked response has the greatest power; each next one has the
    greatest power left once the responses already chosen are projected out (pivoted QR).

    Parameters
    ----------
    real : (n, h, w), averaged over images here, or an evoked response (h, w).
    names : of the h sensors.
    count : how many; all of them where there are fewer.
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
    """
    from matplotlib.figure import Figure

    real, times = _check_signals(real, sensors, times)
    lines = {"recorded": (real, REAL, "-"), "generated": (_like(generated, real), GENERATED, "-")}
    if conditional_mean is not None:
        lines["conditional mean"] = (_like(conditional_mean, real), "k", ":")
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
        _time_axis(axes, times)
        axes.set_title(sensors[i], loc="left", size=11, weight="bold")
        lowest = place >= len(index) - columns
        axes.tick_params(labelbottom=lowest, labelleft=place % columns == 0)
    figure.supxlabel("time from stimulus onset (ms)", size=10)
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


def _time_axis(axes: Axes, times: np.ndarray) -> None:
    """The recording's span, thin lines at stimulus onset and at zero."""
    axes.axhline(0, color=GREY, lw=0.5, zorder=0)
    axes.axvline(0, color=GREY, lw=0.5, zorder=0)
    axes.set_xlim(1000 * times[0], 1000 * times[-1])
    axes.spines[["top", "right"]].set_visible(False)


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
    figure.supxlabel("time from stimulus onset (ms)", size=10)
    figure.colorbar(image, ax=grid[0], label=unit, extend="both", pad=0.01)
    return save_figure(figure, path)


def animate_denoising(
    states: Sequence[tuple[str, np.ndarray]], *, sensors: Sequence[str], times: np.ndarray,
    unit: str, path: str | Path, pick: str | None = None, seconds: float = 3.0,
) -> Path:
    """`plot_denoising` as a GIF: a frame per state, `seconds` in all, then a rest on the last.

    Thirty states of 63 x 250 take half a megabyte: of a long run, pass some.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from PIL import Image

    signals, times, traced = _check_states(states, sensors, times, pick)
    figure = Figure(figsize=(4.2, 3.0), dpi=100, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    pair = above, beneath = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    image, line = _draw_state(pair, signals[0], times, traced)
    limit, reach = np.quantile(np.abs(signals), 0.99) or 1, np.abs(signals[:, traced]).max() or 1
    image.set_clim(-limit, limit)
    above.set_ylabel(f"{len(sensors)} sensors")
    beneath.set(xlabel="time from stimulus onset (ms)", ylabel=f"{sensors[traced]} ({unit})")
    beneath.set_ylim(-reach, reach)
    figure.colorbar(image, ax=above, label=unit, extend="both", pad=0.01)
    frames = []
    for (label, _), signal in zip(states, signals, strict=True):
        above.set_title(label, size=10)
        image.set_data(signal)
        line.set_ydata(signal[traced])
        canvas.draw()
        figure.set_layout_engine("none")  # the first frame's layout holds for all
        frame = Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3])
        frames.append(frame.quantize(64, palette=frames[0] if frames else None, dither=0))
    rest = [round(1000 * seconds / len(frames))] * (len(frames) - 1) + [2000]
    gif = {"save_all": True, "append_images": frames[1:], "duration": rest, "loop": 0}
    return write_atomically(path, lambda file: frames[0].save(file, "GIF", **gif))


def _draw_state(
    pair: Sequence[Axes], signal: np.ndarray, times: np.ndarray, traced: int
) -> tuple[AxesImage, Line2D]:
    """A signal (h, w) as an image, its first sensor at the top, and one sensor as a line."""
    above, beneath = pair
    half = 500 * np.diff(times).mean()  # of a sample, in ms
    extent = (1000 * times[0] - half, 1000 * times[-1] + half, len(signal), 0)
    image = above.imshow(signal, "RdBu_r", extent=extent, aspect="auto", interpolation="nearest")
    above.axvline(0, color="k", lw=0.5)
    above.set_yticks([])
    (line,) = beneath.plot(1000 * times, signal[traced], color=GENERATED, lw=0.8)
    _time_axis(beneath, times)
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
    signals, times = _check_signals([signal for _, signal in states], sensors, times)
    return signals, times, _index(pick or informative_sensors(signals[-1], sensors)[0], sensors)
