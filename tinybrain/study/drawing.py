"""Bars with the paper's values marked, and heat maps of matrices, in the style of `figures.py`.

Generated is vermilion, recorded blue, baselines grey, the paper's values black diamonds.
Letters: g groups of bars, s subjects.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..figures import GENERATED, GREY, REAL, WIDTH
from ..topography import save_figure
from ..uncertainty import Interval
from .tables import value_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SHADES = {"one sample": "#F2B48C", "conditional mean": GENERATED}
MARKS = {  # marker, colour
    "mean ERP": ("_", GREY), "ridge": ("x", GREY), "noise ceiling": ("_", REAL),
    "paper": ("D", "k"),
}  # fmt: skip


@dataclass(frozen=True)
class Panel:
    """One axis: bars by name, each (g,) with or without intervals, and marks over them."""

    label: str
    groups: tuple[str, ...]
    bars: Mapping[str, Sequence[float | Interval | None]]
    marks: Mapping[str, Sequence[float | Interval | None]] = field(default_factory=dict)


def plot_bars(panels: Sequence[Panel], path: str | Path) -> Path:
    """Panels one beneath the other; one legend for all."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, 0.5 + 2.3 * len(panels)), layout="constrained")
    for axes, panel in zip(figure.subplots(len(panels), 1, squeeze=False)[:, 0], panels):
        _draw_bars(axes, panel)
    handles = {}
    for axes in figure.axes:
        for handle, name in zip(*axes.get_legend_handles_labels()):
            handles.setdefault(name, handle)
    figure.legend(
        list(handles.values()), list(handles), loc="outside upper center", ncols=6,
        frameon=False, fontsize=9,
    )
    return save_figure(figure, path)


def _draw_bars(axes: Axes, panel: Panel) -> None:
    at, wide = np.arange(len(panel.groups)), 0.8 / max(1, len(panel.bars))
    for i, (name, cells) in enumerate(panel.bars.items()):
        places = at + (i - (len(panel.bars) - 1) / 2) * wide
        values = np.array([value_of(cell) for cell in cells])
        axes.bar(places, values, 0.92 * wide, color=SHADES.get(name, GENERATED), label=name)
        for place, cell in zip(places, cells):
            if isinstance(cell, Interval) and np.isfinite(cell).all():
                axes.plot([place, place], [cell.low, cell.high], color="k", lw=1)
    for name, cells in panel.marks.items():
        marker, colour = MARKS[name]
        values = np.array([value_of(cell) for cell in cells])
        size = 22 if marker == "_" else 6
        axes.plot(at, values, marker, color=colour, ms=size, mew=2 - (marker == "D"), label=name,
                  ls="none", mfc="none" if marker == "D" else colour)
    axes.set_xticks(at, panel.groups)
    axes.set_ylabel(panel.label)
    axes.axhline(0, color="k", lw=0.5)
    axes.spines[["top", "right"]].set_visible(False)


@dataclass(frozen=True)
class Matrix:
    """One heat map: (s, s), rows trained on, columns tested on; nan where there is nothing."""

    title: str
    values: np.ndarray
    subjects: tuple[int, ...]
    digits: int = 3


def plot_matrices(matrices: Sequence[Matrix], label: str, path: str | Path) -> Path:
    """Heat maps side by side, each with its own colour scale, all of them of one measure."""
    from matplotlib.figure import Figure

    many = max(len(matrix.subjects) for matrix in matrices)
    wide = max(WIDTH, 0.52 * many * len(matrices) + 2)
    figure = Figure(figsize=(wide, wide / len(matrices) * 0.82 + 0.4), layout="constrained")
    for axes, matrix in zip(figure.subplots(1, len(matrices), squeeze=False)[0], matrices):
        _draw_matrix(axes, matrix, label)
    return save_figure(figure, path)


def _draw_matrix(axes: Axes, matrix: Matrix, label: str) -> None:
    from matplotlib import colormaps

    colours = colormaps["cividis"].with_extremes(bad="0.9")
    image = axes.imshow(np.ma.masked_invalid(matrix.values), colours)
    low, high = image.get_clim()
    for (row, column), value in np.ndenumerate(matrix.values):
        if np.isfinite(value):
            dark = value < (low + high) / 2
            axes.text(column, row, f"{value:.{matrix.digits}f}", ha="center", va="center",
                      color="w" if dark else "k", fontsize=7)
    ticks = range(len(matrix.subjects))
    axes.set_xticks(ticks, matrix.subjects)
    axes.set_yticks(ticks, matrix.subjects)
    axes.set_title(matrix.title, loc="left", fontsize=9)
    axes.set(xlabel="tested on subject", ylabel="trained on subject")
    axes.figure.colorbar(image, ax=axes, label=label, shrink=0.65)
