"""Bars with the paper's values marked, and heat maps of matrices, with the look of `style.py`.

Generated is vermilion, recorded blue, baselines grey, the paper's values black diamonds.
Letters: g groups of bars, s subjects.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..style import (
    GENERATED,
    GENERATED_PALE,
    GREY,
    INK,
    MISSING,
    PAPER,
    REAL,
    SEQUENTIAL,
    WIDTH,
    save_figure,
)
from ..uncertainty import Interval
from .tables import value_of

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.colors import Normalize
    from matplotlib.image import AxesImage

SHADES = {"one sample": GENERATED_PALE, "conditional mean": GENERATED}
ABREAST = 4  # subjects
MARKS = {  # marker, colour, how far beside its group: those of much the same height stand apart
    "mean ERP": ("_", GREY, 0.0), "ridge": ("x", GREY, -0.12),
    "ridge with products": ("+", GREY, 0.12), "noise ceiling": ("_", REAL, 0.0),
    "paper": ("D", INK, 0.0),
}  # fmt: skip


@dataclass(frozen=True)
class Panel:
    """One axis: bars by name, each (g,) with or without intervals, and marks over them."""

    label: str
    groups: tuple[str, ...]
    bars: Mapping[str, Sequence[float | Interval | None]]
    marks: Mapping[str, Sequence[float | Interval | None]] = field(default_factory=dict)


def plot_bars(panels: Sequence[Panel], path: str | Path) -> Path:
    """Panels one beneath the other, one legend for all, in a file whose path comes back.

    Examples
    --------
    >>> import tempfile
    >>> from tinybrain.study.drawing import Panel, plot_bars
    >>> from tinybrain.uncertainty import Interval
    >>> bars = {"one sample": [0.31, 0.28], "conditional mean": [Interval(0.07, 0.06, 0.08), 0.06]}
    >>> panel = Panel("MSE", ("sub-01", "sub-02"), bars, {"paper": [0.22, None]})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     plot_bars([panel], f"{folder}/bars.png").name
    'bars.png'
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, 0.5 + 2.3 * len(panels)), layout="constrained")
    for axes, panel in zip(figure.subplots(len(panels), 1, squeeze=False)[:, 0], panels):
        _draw_bars(axes, panel)
    handles: dict[object, Artist] = {}
    for axes in figure.axes:
        for handle, name in zip(*axes.get_legend_handles_labels()):
            handles.setdefault(name, handle)
    figure.legend(
        list(handles.values()), [str(name) for name in handles], loc="outside upper center",
        ncols=4, frameon=False, fontsize=9,
    )
    return save_figure(figure, path)


def _draw_bars(axes: Axes, panel: Panel) -> None:
    from matplotlib.patheffects import withStroke

    at, wide = np.arange(len(panel.groups)), 0.8 / max(1, len(panel.bars))
    for i, (name, cells) in enumerate(panel.bars.items()):
        places = at + (i - (len(panel.bars) - 1) / 2) * wide
        values = np.array([value_of(cell) for cell in cells])
        axes.bar(places, values, 0.92 * wide, color=SHADES.get(name, GENERATED), label=name)
        for place, cell in zip(places, cells):
            if isinstance(cell, Interval) and np.isfinite(cell).all():
                ends = [cell.low, cell.high]
                axes.plot([place, place], ends, color=INK, lw=1, label="95 % interval")
    for name, cells in panel.marks.items():
        marker, colour, beside = MARKS[name]
        values = np.array([value_of(cell) for cell in cells])
        size = 22 if marker == "_" else 6
        axes.plot(at + beside, values, marker, color=colour, ms=size, mew=2 - (marker == "D"),
                  label=name, ls="none", mfc="none" if marker == "D" else colour,
                  path_effects=[withStroke(linewidth=3.5, foreground=PAPER)])  # seen on a bar, too
    axes.set_xticks(at, panel.groups)
    axes.set_ylabel(panel.label)
    axes.axhline(0, color=INK, lw=0.5)
    axes.spines[["top", "right"]].set_visible(False)


@dataclass(frozen=True)
class Matrix:
    """One heat map: (s, s), rows trained on, columns tested on; nan where there is nothing."""

    title: str
    values: np.ndarray
    subjects: tuple[int, ...]
    digits: int = 3


def plot_matrices(matrices: Sequence[Matrix], label: str, path: str | Path) -> Path:
    """Heat maps of one measure, with one colour scale for all, named by `label`.

    Small ones stand side by side; those of more than ABREAST subjects, whose numbers could not be
    read so, one beneath the other. The path comes back.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from tinybrain.study.drawing import Matrix, plot_matrices
    >>> across = Matrix("one sample", np.array([[np.nan, 0.3], [0.4, np.nan]]), (1, 2))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     plot_matrices([across], "MSE", f"{folder}/across.png").name
    'across.png'
    """
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

    every = np.concatenate([matrix.values.ravel() for matrix in matrices])
    scale = Normalize(np.nanmin(every), np.nanmax(every))
    many, count = max(len(matrix.subjects) for matrix in matrices), len(matrices)
    rows, height = 1, 0.82 * WIDTH / count + 0.6
    if many > ABREAST:
        rows, height = count, count * (0.48 * many + 0.9)
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    grid = figure.subplots(rows, count // rows, squeeze=False)
    for axes, matrix in zip(grid.flat, matrices, strict=True):
        image = _draw_matrix(axes, matrix, scale)
    figure.colorbar(image, ax=list(grid.flat), label=label, shrink=0.65, aspect=20 * rows)
    return save_figure(figure, path)


def _draw_matrix(axes: Axes, matrix: Matrix, scale: Normalize) -> AxesImage:
    from matplotlib import colormaps

    colours = colormaps[SEQUENTIAL].with_extremes(bad=MISSING)
    image = axes.imshow(np.ma.masked_invalid(matrix.values), colours, norm=scale)
    low, high = image.get_clim()
    for (row, column), value in np.ndenumerate(matrix.values):
        if np.isfinite(value):
            dark = value < (low + high) / 2
            axes.text(column, row, f"{value:.{matrix.digits}f}", ha="center", va="center",
                      color=PAPER if dark else INK, fontsize=8)
    ticks, names = range(len(matrix.subjects)), [str(subject) for subject in matrix.subjects]
    axes.set_xticks(ticks, names)
    axes.set_yticks(ticks, names)
    axes.set_title(matrix.title, loc="left", fontsize=9)
    axes.set(xlabel="tested on subject", ylabel="trained on subject")
    return image
