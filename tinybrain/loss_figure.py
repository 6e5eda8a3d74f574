"""The learning curves of a run: its loss, and the error of the conditional mean.

What is drawn stands in the run's log.csv (`log.py`), a row for each epoch.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from .style import GENERATED, GREY, INK, STEPS, WIDTH, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BINS = 10  # of the timestep, in the training log
TOLERANCE = 1e-3  # of the held-out error, as in `log.py`: what it takes to be worse
Log = Sequence[Mapping[str, object]]  # an epoch each: numbers, or the words of a CSV


def plot_loss(
    log: str | Path | Log, path: str | Path, references: Mapping[str, float],
    kept: int | None = None,
) -> Path:
    """Draw how training went: its loss, and the conditional mean's error on held-out images.

    Left: the loss of each epoch, and of ten bins of the timestep from light (little noise) to dark;
    dots where there is but one epoch.
    Right, if measured: the conditional mean's MSE on held-out images, the epoch kept, baselines.

    Parameters
    ----------
    log : rows with epoch, loss, heldout_mse, bin0 ... bin9 (empty: not measured), or their CSV.
    path : file to write; its suffix chooses the format.
    references : MSE of each baseline by name.
    kept : the epoch that was kept, the last whose error is within TOLERANCE of the least; without
        it the one of least error is marked.

    Raises
    ------
    ValueError : no rows; a column that is missing or holds something that is not a number.

    Examples
    --------
    >>> import tempfile
    >>> from tinybrain.figures import plot_loss
    >>> bins = {f"bin{i}": 0.5 for i in range(10)}
    >>> log = [{"epoch": e, "loss": 1 / (e + 1), "heldout_mse": 0.03, **bins} for e in range(3)]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     plot_loss(log, f"{folder}/loss.png", {"mean ERP": 0.04, "ridge": 0.02}).name
    'loss.png'
    """
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    table = _read_log(log)
    panels = 1 + bool(np.isfinite(table["heldout_mse"]).any())
    figure = Figure(figsize=(WIDTH, 3.4), layout=ConstrainedLayoutEngine(wspace=0.08))
    axes = figure.subplots(1, panels, squeeze=False)[0]
    _draw_loss(axes[0], table)
    if panels == 2:
        _draw_heldout(axes[1], table, references, kept)
    return save_figure(figure, path)


def _draw_loss(axes: Axes, table: dict[str, np.ndarray]) -> None:
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap

    shades = ListedColormap(colormaps[STEPS](np.linspace(0.25, 1, BINS)))
    marker = "o" if len(table["epoch"]) == 1 else ""  # a line through one point is not seen
    for i in range(BINS):
        axes.plot(table["epoch"], table[f"bin{i}"], marker=marker, color=shades(i), lw=1, ms=4)
    axes.plot(table["epoch"], table["loss"], marker=marker, color=INK, lw=2, label="all timesteps")
    bar = axes.figure.colorbar(ScalarMappable(cmap=shades), ax=axes, ticks=[0, 0.5, 1])
    bar.set_label(f"{'small dots' if marker else 'thin lines'}: timestep t / T")
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
    said = "least" if kept is None else f"kept: the last within {100 * TOLERANCE:g} % of the least"
    axes.plot(epoch[at], mse[at], "o", mfc="none", mec=INK, ms=10, label=said)
    axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0)
    axes.set(xlabel="epoch", ylabel="MSE of the conditional mean,\nkept out of training")
    _logarithmic(axes)
    free = -np.inf
    for name, value in sorted(levels.items(), key=lambda item: item[1]):
        _, height = axes.transAxes.inverted().transform(axes.transData.transform((0, value)))
        free = max(height, free + 0.07)  # a line of text, as a share of the axes
        axes.text(1.02, free, name, color=GREY, va="center", transform=axes.transAxes)


def _logarithmic(axes: Axes) -> None:
    """Whole epochs below; a logarithmic y axis with plain numbers, also within a single decade."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))  # of 1 epoch: 1
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    decades = np.log10(high / low)
    places = LogLocator(subs=(1, 2, 5) if decades > 1 else (1, 1.5, 2, 3, 4, 5, 6, 8))
    among = np.array(places.tick_values(low, high))
    few = ((among >= low) & (among <= high)).sum() < 3  # of a narrow range
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]) if few else places)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.spines[["top", "right"]].set_visible(False)


def _read_log(log: str | Path | Log) -> dict[str, np.ndarray]:
    """The columns that are drawn, as float64, NaN where a cell is empty."""
    name, rows = "the log", log
    if isinstance(log, (str, Path)):
        name = str(log)
        with open(log, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    rows = cast(Log, rows)
    columns = ["epoch", "loss", "heldout_mse", *(f"bin{i}" for i in range(BINS))]
    missing = [column for column in columns if not rows or column not in rows[0]]
    if missing:
        raise ValueError(f"{name}: no column {', '.join(missing)} in its {len(rows)} rows")
    try:
        values = [[_number(row[column]) for column in columns] for row in rows]
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name}: a cell is not a number: {error}") from None
    return dict(zip(columns, np.array(values).T, strict=True))


def _number(cell: object) -> float:
    return np.nan if cell in ("", None) else float(cast(float, cell))
