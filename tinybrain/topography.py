"""Scalp maps: values at sensors painted on a head seen from above (Section 4.4, Figure 3).

Between sensors a map is the piecewise cubic of Clough and Tocher (1965) on the Delaunay triangles
of the sensors: smooth (C1), equal to the recording at each sensor, linear in the recording. No
sensor says what happens beyond the outermost, and a cubic left alone there shoots up; so border
points stand around the sensors, each with the mean of the sensors it neighbours. What is further
than MARGIN from the sensors' convex hull is not painted.

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

from .files import write_atomically

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

MARGIN = 0.25  # head radii: carries the 10-20 ring (0.8) to the outline; a patch remains a patch
CELL = 2.4  # head radii that a map is given: the head, its nose and some air
PIXELS = 96  # across a cell
DPI = 200
MINUS = "\N{MINUS SIGN}"


# Interpolation -----------------------------------------------------------------------------------


def interpolate(values: np.ndarray, xy: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Values between sensors: smooth, exact at the sensors, NaN where no sensor is near.

    Parameters
    ----------
    values : (..., h), any unit. All maps share one triangulation: pass many at once.
    xy : (h, 2) positions of the sensors in head radii, three or more.
    points : (..., 2) where to interpolate, such as a grid (m, m, 2) or a list (p, 2).

    Returns
    -------
    float64, the leading axes of `values`, then those of `points`; NaN outside `painted_area(xy)`.

    Raises
    ------
    ValueError : shapes that do not fit; values or positions that are not finite; a position twice.
    """
    xy, points = check_positions(xy), np.asarray(points, dtype=np.float64)
    return np.where(_painted(xy, points), _interpolate(values, xy, points), np.nan)


def painted_area(xy: np.ndarray) -> np.ndarray:
    """The polygon (q, 2) that is painted: the sensors' hull and MARGIN around it, within the head.

    The head ends at radius 1. Where sensors sit below its outline, as those of a MEG helmet do,
    the paint ends with them.
    """
    from scipy.spatial import ConvexHull

    around = _around(xy, MARGIN, step=0.02)
    within = around / np.maximum(1, np.linalg.norm(around, axis=1, keepdims=True))
    points = np.concatenate([within, xy])
    return points[ConvexHull(points).vertices]  # in order, not closed


def check_positions(xy: np.ndarray, sensors: Sequence[str] | None = None) -> np.ndarray:
    """Positions (h, 2) as float64, or a ValueError that names the sensors at fault."""
    xy = np.asarray(xy, dtype=np.float64)
    if xy.ndim != 2 or xy.shape[1] != 2 or len(xy) < 3:
        raise ValueError(f"xy has shape {xy.shape}: wanted (sensors, 2), three sensors or more")
    names = np.array([f"sensor {i}" for i in range(len(xy))] if sensors is None else sensors)
    if len(names) != len(xy):
        raise ValueError(f"xy has shape {xy.shape} but there are {len(names)} sensor names")
    missing = names[~np.isfinite(xy).all(axis=1)]
    if len(missing):
        raise ValueError(f"no finite position for {', '.join(missing)}: leave these sensors out")
    _, place, count = np.unique(xy.round(6), axis=0, return_inverse=True, return_counts=True)
    shared = names[count[place.ravel()] > 1]
    if len(shared):
        raise ValueError(f"{', '.join(shared)} are in the same place: leave out all but one")
    return xy


def _interpolate(values: np.ndarray, xy: np.ndarray, points: np.ndarray) -> np.ndarray:
    """`interpolate` before its mask: values as far out as the border points."""
    from scipy.interpolate import CloughTocher2DInterpolator
    from scipy.spatial import Delaunay

    values, h = np.asarray(values, dtype=np.float64), len(xy)
    if values.ndim == 0 or values.shape[-1] != h:
        raise ValueError(f"values have shape {values.shape} and xy {xy.shape}: wanted (..., {h})")
    if not np.isfinite(values).all():
        raise ValueError(f"{(~np.isfinite(values)).sum()} of {values.size} values are not finite")
    columns = values.reshape(-1, h).T  # (h, maps)
    # scipy refines its gradients to an absolute tolerance: volts must come out as microvolts do
    scale = np.maximum(np.abs(columns).max(axis=0), np.finfo(np.float64).tiny)
    triangles = Delaunay(np.concatenate([xy, _around(xy, 2 * MARGIN, step=MARGIN)]))
    start, neighbours = triangles.vertex_neighbor_vertices
    near = [neighbours[start[i] : start[i + 1]] for i in range(h, len(triangles.points))]
    beyond = [columns[n[n < h]].mean(axis=0) for n in near]  # (border, maps)
    knots = np.concatenate([columns, beyond]) / scale
    maps = CloughTocher2DInterpolator(triangles, knots, tol=1e-9)(points) * scale
    return np.moveaxis(maps, -1, 0).reshape(values.shape[:-1] + points.shape[:-1])


def _painted(xy: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Whether each point lies in the painted area, which is convex: behind each of its edges."""
    from scipy.spatial import ConvexHull

    edges = ConvexHull(painted_area(xy)).equations  # (q, 3): outward normal and offset
    return (points @ edges[:, :2].T + edges[:, 2]).max(axis=-1) <= 1e-3  # sensors on a rim are in


def _around(xy: np.ndarray, distance: float, step: float) -> np.ndarray:
    """Points about a step apart on the sensors' convex hull grown by a distance, corners round."""
    from scipy.spatial import ConvexHull

    discs = rearrange(xy[:, None] + distance * _arc(0, 360), "h q xy -> (h q) xy")
    ring = discs[ConvexHull(discs).vertices]  # in order, not closed
    ring = np.concatenate([ring, ring[:1]])
    walked = np.concatenate([[0], np.linalg.norm(np.diff(ring, axis=0), axis=1).cumsum()])
    at = np.linspace(0, walked[-1], round(walked[-1] / step), endpoint=False)
    return np.stack([np.interp(at, walked, ring[:, axis]) for axis in (0, 1)], axis=1)


def _arc(start: float, stop: float) -> np.ndarray:
    """Points 4 degrees apart on the unit circle, from and to an angle in degrees: (q, 2)."""
    angle = np.deg2rad(np.linspace(start, stop, round((stop - start) / 4) + 1))
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


# Drawing -----------------------------------------------------------------------------------------


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
    colours : of the names of rows, black where not given.

    Returns
    -------
    The path.

    Raises
    ------
    ValueError : signals, sensors, positions and times that do not fit together.
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
) -> tuple[Figure, Axes]:
    """A figure of maps of values (r, c, h), rows and columns named, with its colour bar.

    `margin` inches stay free at the left. In the axes that come back each map is one unit wide.
    """
    from matplotlib.figure import Figure

    r, c, _ = values.shape
    labels, colours = [label.replace(" - ", f"\n{MINUS} ") for label in labels], colours or {}
    longest = max(len(line) for label in labels for line in label.split("\n"))
    side, right, top = 0.8, 0.9, 0.6 if title else 0.3  # inches
    left = margin + 0.2 + 0.1 * longest
    figure = Figure(figsize=(left + side * c + right, side * r + top))
    axes = add_axes(figure, left, 0, side * c, side * r)
    image = draw_maps(axes, values, xy)
    for i, label in enumerate(labels):
        axes.text(-0.05, r - i - 0.5, label, size=11, ha="right", va="center",
                  color=colours.get(label, "k"))
    for j, t in enumerate(times):
        axes.text(j + 0.5, r, milliseconds(t), size=11, ha="center", va="bottom")
    if title:
        axes.text(c / 2, r + 0.35, title, size=12, ha="center", va="bottom")
    tall = min(0.7 * r * side, 2.0)
    bar = add_axes(figure, left + side * c + 0.08, (r * side - tall) / 2, 0.1, tall)
    draw_scale(bar, image, unit)
    return figure, axes


def paint(values: np.ndarray, xy: np.ndarray) -> tuple[np.ndarray, float]:
    """Maps (..., m, m) of values (..., h), and a limit for their scale.

    The first axis of a map goes up, the second to the right, over `cell_width(xy)` head radii. The
    limit is the largest value painted in any of them, rounded up to two digits.
    """
    pixel = ((np.arange(PIXELS) + 0.5) / PIXELS - 0.5) * cell_width(xy)
    grid = np.stack(np.meshgrid(pixel, pixel), axis=-1)  # (m, m, 2)
    maps = _interpolate(values, xy, grid)  # (..., m, m)
    return maps, round_up(np.abs(maps[..., _painted(xy, grid)]).max())


def cell_width(xy: np.ndarray) -> float:
    """Head radii that a map is wide: more where sensors sit below the outline."""
    return CELL * max(1, np.linalg.norm(xy, axis=1).max())


def draw_maps(axes: Axes, values: np.ndarray, xy: np.ndarray) -> AxesImage:
    """Fill axes with maps of values (r, c, h), each one unit wide, the first row at the top.

    One picture, so one colour scale: from minus the limit of `paint` to the limit.
    """
    maps, limit = paint(values, xy)
    return draw_painted(axes, maps, xy, limit)


def draw_painted(
    axes: Axes, maps: np.ndarray, xy: np.ndarray, limit: float, contours: bool = True
) -> AxesImage:
    """`draw_maps` of maps (r, c, m, m) that are painted already, from -limit to limit."""
    r, c, _, _ = maps.shape
    picture = rearrange(maps[::-1], "r c y x -> (r y) (c x)")
    image = axes.imshow(picture, "RdBu_r", origin="lower", extent=(0, c, 0, r))
    image.set(clim=(-limit, limit), interpolation="bilinear")
    cut = [image]
    if contours:
        levels = limit * np.array([-0.75, -0.5, -0.25, 0.25, 0.5, 0.75])
        cut.append(axes.contour(picture, levels, origin="lower", extent=(0, c, 0, r)))
        cut[1].set(edgecolor="k", linestyle="-", linewidth=0.3, alpha=0.5)
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
    ear = (0.98, 0) + _arc(-80, 80) * (0.1, 0.22)
    head = (_arc(0, 360), nose, ear, ear * (-1, 1))
    lines = [part / cell + centre for centre in centres for part in head]
    axes.add_collection(LineCollection(lines, colors="k", linewidths=0.8, zorder=2))
    dots = rearrange(xy / cell + centres, "map h xy -> xy (map h)")
    size, alpha = min(2, 100 / len(xy)), min(1, 64 / len(xy))  # many dots must not hide the map
    axes.scatter(*dots, s=size, c="k", alpha=alpha, linewidths=0, zorder=3)


def draw_scale(axes: Axes, image: AxesImage, unit: str) -> None:
    """A colour bar of a symmetric scale: its ends, zero, and the unit."""
    _, limit = image.get_clim()
    bar = axes.figure.colorbar(image, cax=axes)
    bar.set_ticks([-limit, 0, limit], labels=[f"{MINUS}{limit:g}", "0", f"+{limit:g}"])
    bar.ax.tick_params(labelsize=11, length=2)
    bar.set_label(unit, size=11, labelpad=-6 if len(unit) < 5 else 2)  # long ones would touch 0


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
    """
    if every <= 0 or np.any(np.diff(times) <= 0):
        raise ValueError(f"every is {every} s: wanted it above 0, and times that increase")
    sample = np.diff(times).max(initial=0) * (1 + 1e-6)
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


def add_axes(figure: Figure, left: float, bottom: float, width: float, height: float) -> Axes:
    """Axes at a place given in inches."""
    w, h = figure.get_size_inches()
    return figure.add_axes((left / w, bottom / h, width / w, height / h))


def save_figure(figure: Figure, path: str | Path) -> Path:
    """Write a figure in the format of the path's suffix, all of it or nothing."""
    path = Path(path)
    kinds = figure.canvas.get_supported_filetypes()
    kind = path.suffix.lower().lstrip(".")
    if kind not in kinds:
        raise ValueError(f"{path}: wanted a name that ends in one of .{', .'.join(sorted(kinds))}")
    return write_atomically(path, lambda file: figure.savefig(file, format=kind, dpi=DPI))
