"""Scalp maps: values at sensors painted on a head seen from above (Section 4.4, Figure 3).

What lies between the sensors is `scalp.py`'s. Figures are laid out in inches, so that a head has
one size however many there are; all heads are one picture, and so have one colour scale.

Positions are in head radii: x to the right, y to the nose, radius 1 the head's outline.
Shapes: h sensors, w time points, r rows of maps, c columns of maps, m pixels across a map.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from einops import rearrange

from .scalp import arc, check_positions, extend, is_painted, painted_area
from .style import DIVERGING, INK, MINUS, add_axes, save_figure

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

CELL = 2.4  # head radii that a map is given: the head, its nose and some air
PIXELS = 96  # across a cell
SIDE, TOP = 0.8, 0.3  # inches: of a cell, and of the words above a line of them
AIR = 0.03  # inches between the words beside a colour bar and the figure's edge


def plot_topographies(
    rows: Mapping[str, np.ndarray], *, sensors: Sequence[str], xy: np.ndarray, times: np.ndarray,
    every: float = 0.1, unit: str, path: str | Path, title: str | None = None,
    colours: Mapping[str, str] | None = None,
) -> Path:
    """Draw evoked responses as rows of scalp maps over time, one colour scale for all of them.

    The scale is symmetric about 0 and reaches the largest value shown: white is zero, no map is
    saturated, and maps can be compared across rows and columns.

    Parameters
    ----------
    rows : signals (h, w) by row name, such as Training, Test, Generated, Training - Test.
    sensors, xy, times : names, positions (h, 2) in head radii, seconds (w,).
    every : seconds from column to column. A column shows the sample nearest to a multiple of it and
        is labelled with that sample's own time.
    unit : of the signals, for the colour bar.
    path : file to write; its suffix chooses the format.
    title : above all maps; by default none.
    colours : of the names of rows, black where not given.

    Returns
    -------
    The path.

    Raises
    ------
    ValueError : signals, sensors, positions and times that do not fit together.

    Examples
    --------
    A bump of voltage that travels from one side of the head to the other in 0.5 s:

    >>> import tempfile
    >>> import numpy as np
    >>> from tinybrain.things.sensors import THINGS_EEG2_63, layout
    >>> from tinybrain.topography import plot_topographies
    >>> xy, times = layout(THINGS_EEG2_63), np.arange(6) / 10
    >>> wave = np.exp(-((xy[:, :1] + 0.8 - 3.2 * times) ** 2) / 0.1)  # (63, 6)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = plot_topographies({"Wave": wave}, sensors=THINGS_EEG2_63, xy=xy, times=times,
    ...                              unit="µV", path=f"{folder}/wave.png")
    ...     path.name
    'wave.png'
    """
    xy, times = check_positions(xy, sensors), np.asarray(times, dtype=np.float64)
    shown = nearest_samples(times, every)
    signals = _check_rows(rows, (len(xy), len(times)))
    figure, _ = lay_out(
        rearrange(signals[..., shown], "r h c -> r c h"), xy, labels=list(rows), colours=colours,
        times=times[shown], unit=unit, title=title,
    )
    return save_figure(figure, path)


def lay_out(
    values: np.ndarray, xy: np.ndarray, *, labels: Sequence[str], times: np.ndarray, unit: str,
    title: str | None = None, colours: Mapping[str, str] | None = None, margin: float = 0.0,
    most: int | None = None,
) -> tuple[Figure, Axes]:
    """A figure of maps of values (r, c, h), rows and columns named, with its colour bar.

    `margin` inches stay free at the left. More columns than `most` go on in further lines beneath,
    of like length. In the axes that come back, the first line's, each map is one unit wide.
    """
    from matplotlib.figure import Figure

    (maps, limit), (r, c, _) = paint(values, xy), values.shape
    lines = np.array_split(np.arange(c), -(-c // (most or c)))
    labels, colours = [label.replace(" - ", f"\n{MINUS} ") for label in labels], colours or {}
    longest = max(len(line) for label in labels for line in label.split("\n"))
    left, width, line = margin + 0.2 + 0.1 * longest, SIDE * len(lines[0]), SIDE * r + TOP  # inches
    right = max(0.9, 0.5 + 0.1 * len(f"+{limit:g}"))  # for the numbers of the colour bar
    figure = Figure(figsize=(left + width + right, line * len(lines) + (TOP if title else 0)))
    drawn = []
    for above, columns in enumerate(lines, start=1):
        bottom = line * (len(lines) - above)
        axes = add_axes(figure, left, bottom, SIDE * len(columns), SIDE * r)
        drawn.append((axes, draw_painted(axes, maps[:, columns], xy, limit)))
    axes, image = drawn[0]
    for i, label in enumerate(labels):
        axes.text(-0.05, r - i - 0.5, label, size=11, ha="right", va="center",
                  color=colours.get(label, INK))
    for (beneath, _), columns in zip(drawn, lines):
        for j, t in enumerate(times[columns]):
            beneath.text(j + 0.5, r, milliseconds(t), size=11, ha="center", va="bottom")
    if title:
        axes.text(len(lines[0]) / 2, r + 0.35, title, size=12, ha="center", va="bottom")
    high = line * len(lines) - TOP
    tall = min(0.7 * high, 2.0)
    draw_scale(add_axes(figure, left + width + 0.08, (high - tall) / 2, 0.1, tall), image, unit)
    return figure, axes


def paint(values: np.ndarray, xy: np.ndarray) -> tuple[np.ndarray, float]:
    """Maps (..., m, m) of values (..., h), and a limit for their scale.

    The first axis of a map goes up, the second to the right, over `cell_width(xy)` head radii. The
    limit is the largest value painted in any of them, rounded up to two digits.
    """
    pixel = ((np.arange(PIXELS) + 0.5) / PIXELS - 0.5) * cell_width(xy)
    grid = np.stack(np.meshgrid(pixel, pixel), axis=-1)  # (m, m, 2)
    maps = extend(values, xy, grid)  # (..., m, m)
    return maps, round_up(np.abs(maps[..., is_painted(xy, grid)]).max())


def cell_width(xy: np.ndarray) -> float:
    """Head radii that a map is wide: more where sensors sit below the outline."""
    return CELL * max(1.0, float(np.linalg.norm(xy, axis=1).max()))


def draw_painted(
    axes: Axes, maps: np.ndarray, xy: np.ndarray, limit: float, contours: bool = True
) -> AxesImage:
    """Fill axes with maps (r, c, m, m) of `paint`, each one unit wide, the first row at the top.

    One picture, so one colour scale: from -limit to limit.
    """
    r, c, _, _ = maps.shape
    picture = rearrange(maps[::-1], "r c y x -> (r y) (c x)")
    image = axes.imshow(picture, DIVERGING, origin="lower", extent=(0, c, 0, r))
    image.set(clim=(-limit, limit), interpolation="bilinear")
    cut: list[Artist] = [image]
    if contours:
        levels = limit * np.array([-0.75, -0.5, -0.25, 0.25, 0.5, 0.75])
        lines = axes.contour(picture, levels, origin="lower", extent=(0, c, 0, r))
        lines.set(edgecolor=INK, linestyle="-", linewidth=0.3, alpha=0.5)
        cut.append(lines)
    column, row = np.meshgrid(np.arange(c), np.arange(r))
    centres = rearrange([column, row], "xy r c -> (r c) 1 xy") + 0.5
    _draw_heads(axes, xy, cell_width(xy), centres, cut)
    axes.set(xlim=(0, c), ylim=(0, r), aspect="equal")
    axes.axis("off")
    return image


def _draw_heads(
    axes: Axes, xy: np.ndarray, cell: float, centres: np.ndarray, painted: Sequence[Artist]
) -> None:
    """Outline, nose, ears and sensors at each centre (maps, 1, 2); the paint is cut to shape."""
    from matplotlib.collections import LineCollection
    from matplotlib.path import Path as Outline

    area = painted_area(xy)
    area = np.concatenate([area, area[:1]]) / cell
    shape = Outline.make_compound_path(*[Outline(area + centre) for centre in centres])
    for artist in painted:
        artist.set_clip_path(shape, axes.transData)
    nose = np.array([(-0.16, 0.987), (0, 1.15), (0.16, 0.987)])
    ear = (0.98, 0) + arc(-80, 80) * (0.1, 0.22)
    head = (arc(0, 360), nose, ear, ear * (-1, 1))
    lines = [part / cell + centre for centre in centres for part in head]
    axes.add_collection(LineCollection(lines, colors=INK, linewidths=0.8, zorder=2))
    x, y = rearrange(xy / cell + centres, "map h xy -> xy (map h)")
    size, alpha = min(2, 100 / len(xy)), min(1, 64 / len(xy))  # many dots must not hide the map
    axes.scatter(x, y, s=size, color=INK, alpha=alpha, linewidths=0, zorder=3)


def draw_scale(axes: Axes, image: AxesImage, unit: str) -> None:
    """A colour bar of a symmetric scale: its ends, zero, and the unit."""
    _, limit = image.get_clim()
    bar = axes.figure.colorbar(image, cax=axes)
    bar.set_ticks([-limit, 0, limit], labels=[f"{MINUS}{limit:g}", "0", f"+{limit:g}"])
    bar.ax.tick_params(labelsize=11, length=2)
    bar.set_label(unit, size=11, labelpad=-6 if len(unit) < 5 else 2)  # long ones would touch 0
    _keep_inside(bar.ax)


def _keep_inside(axes: Axes) -> None:
    """Move the label along its axis, or make it smaller, until all of it is in the figure."""
    label, figure, edge = axes.yaxis.label, axes.figure.bbox, AIR * axes.figure.dpi  # pixels
    axes.get_tightbbox()  # which puts the label to its place
    long, room = label.get_window_extent().height, figure.height - 2 * edge
    label.set_fontsize(float(label.get_fontsize()) * room / max(long, room))
    half = min(long, room) / 2 + edge
    middle = np.clip((axes.bbox.y0 + axes.bbox.y1) / 2, half, figure.height - half)
    label.set_y((middle - axes.bbox.y0) / axes.bbox.height)


def _check_rows(rows: Mapping[str, np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    """The rows as one array (r, h, w), if each has the shape (h, w) of sensors and times."""
    if not rows:
        raise ValueError("no rows: wanted at least one name with its signals (sensors, times)")
    for name, signals in rows.items():
        if np.shape(signals) != shape:
            raise ValueError(
                f"row {name!r} has shape {np.shape(signals)}: wanted (sensors, times) = {shape}"
            )
    return np.stack(list(rows.values()))


def nearest_samples(times: np.ndarray, every: float) -> np.ndarray:
    """Indices of the samples nearest to the multiples of `every` that the recording covers.

    A multiple counts as covered up to one sample beyond the ends: 250 points from -0.2 s at 250 Hz
    end at 0.796 s, and stand for 0.8 s too.

    Parameters
    ----------
    times : (w,) seconds, increasing.
    every : seconds.

    Raises
    ------
    ValueError : times that do not increase, or that pass no multiple of `every`; an `every` above
        a second that is longer than the recording, so likely meant in milliseconds.

    Examples
    --------
    >>> import numpy as np
    >>> from tinybrain.topography import nearest_samples
    >>> nearest_samples(np.arange(250) / 250 - 0.2, 0.25)
    array([ 50, 112, 175, 237])
    """
    if not every > 0 or np.any(np.diff(times) <= 0):
        raise ValueError(f"every is {every} s: wanted it above 0, and times that increase")
    if every > max(1, times[-1] - times[0]):
        raise ValueError(
            f"every is {every:g} s, and times run from {times[0]:g} to {times[-1]:g} s: it counts "
            f"in seconds, so wanted {every / 1000:g} for {every:g} ms"
        )
    sample = np.diff(times).max(initial=1e-6) * (1 + 1e-6)
    first, last = math.ceil((times[0] - sample) / every), math.floor((times[-1] + sample) / every)
    wanted = every * np.arange(first, last + 1)
    if not len(wanted):
        raise ValueError(
            f"times run from {times[0]:g} to {times[-1]:g} s, past no multiple of {every:g} s"
        )
    return np.unique(np.abs(times[:, None] - wanted).argmin(axis=0))


def milliseconds(seconds: float) -> str:
    """Such as "-200 ms", with a typographic minus."""
    return f"{round(1000 * seconds)} ms".replace("-", MINUS)


def round_up(limit: float) -> float:
    """The next number of two digits, so that a colour bar ends where its label says."""
    if limit == 0:
        return 1.0
    unit = 10.0 ** (math.floor(math.log10(limit)) - 1)
    return math.ceil(limit / unit * (1 - 1e-9)) * unit
