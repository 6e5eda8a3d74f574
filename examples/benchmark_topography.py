#!/usr/bin/env python3
"""Time to draw a figure of 4 x 11 scalp maps and write it as PNG, beside MNE's plot_topomap.

    python examples/benchmark_topography.py
    python examples/benchmark_topography.py --rounds 9 --kinds eeg

63 EEG electrodes or 271 MEG gradiometers; the same smooth fields, picture size, colour scale, cubic
interpolation and six contour lines a map; 200 dots per inch. MNE extrapolates as it chooses itself:
to the head in EEG, around the sensors in MEG. The two take turns in one process; each has drawn
once before. The table has medians of the processor's time and of the time on the wall, and how well
the two agree inside the sensors' hull. Needs mne.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tinybrain import command_line
from tinybrain.command_line import positive
from tinybrain.scalp import interpolate
from tinybrain.style import DPI
from tinybrain.things.sensors import THINGS_EEG2_63, THINGS_MEG_271, layout
from tinybrain.topography import plot_topographies

NAMES = {"eeg": THINGS_EEG2_63, "meg": THINGS_MEG_271}
EXTRAPOLATE = {"eeg": "head", "meg": "local"}  # MNE's own choices
ROWS = ("Training", "Test", "Generated", "Training - Test")
TIMES = np.arange(11) / 10


def arguments() -> argparse.Namespace:
    cli = command_line.parser(__doc__)
    cli.add_argument("--rounds", type=positive, default=5, help="turns of each")
    cli.add_argument("--kinds", nargs="+", choices=sorted(NAMES), default=sorted(NAMES))
    return cli.parse_args()


def smooth_fields(xy: np.ndarray) -> dict[str, np.ndarray]:
    """Random fields that vary over 0.4 head radii, as scalp potentials do: (h, w) by row."""
    rng, distance = np.random.default_rng(0), np.linalg.norm(xy[:, None] - xy, axis=-1)
    covariance = np.exp(-((distance / 0.4) ** 2) / 2) + 1e-9 * np.eye(len(xy))
    mixing = np.linalg.cholesky(covariance)
    return {row: mixing @ rng.standard_normal((len(xy), len(TIMES))) for row in ROWS}


def by_tinybrain(rows: dict, xy: np.ndarray, kind: str, path: Path) -> None:
    plot_topographies(rows, sensors=NAMES[kind], xy=xy, times=TIMES, unit="whitened", path=path)


def by_mne(rows: dict, xy: np.ndarray, kind: str, path: Path) -> None:
    import mne
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.2, 3.5))
    FigureCanvasAgg(figure)
    limit = max(np.abs(signals).max() for signals in rows.values())
    grid = figure.subplots(len(rows), len(TIMES))
    for place, field in zip(grid.flat, np.concatenate([v.T for v in rows.values()]), strict=True):
        image, _ = mne.viz.plot_topomap(
            field, xy, axes=place, show=False, sphere=(0, 0, 0, 1), vlim=(-limit, limit),
            image_interp="cubic", extrapolate=EXTRAPOLATE[kind], border="mean", contours=6,
        )  # fmt: skip
    figure.colorbar(image, ax=grid, label="whitened")
    figure.savefig(path, dpi=DPI)


def agreement(rows: dict, xy: np.ndarray, kind: str) -> float:
    """The least correlation with MNE's maps at 1,000 points between the sensors."""
    import mne
    from matplotlib.figure import Figure
    from scipy.spatial import Delaunay

    seen = []
    for field in np.concatenate([signals.T for signals in rows.values()]):
        image, _ = mne.viz.plot_topomap(
            field, xy, axes=Figure().add_subplot(), show=False, sphere=(0, 0, 0, 1), res=256,
            contours=0, image_interp="cubic", extrapolate=EXTRAPOLATE[kind], border="mean",
        )  # fmt: skip
        left, right, low, high = image.get_extent()
        side = np.meshgrid(np.linspace(left, right, 256), np.linspace(low, high, 256))
        points = np.stack(side, axis=-1)                                       # (256, 256, 2)
        inside = np.argwhere(Delaunay(xy).find_simplex(points) >= 0)
        at = tuple(np.random.default_rng(0).choice(inside, 1000, replace=False).T)
        ours = interpolate(field, xy, points[at])
        seen.append(np.corrcoef(ours, np.asarray(image.get_array())[at])[0, 1])
    return min(seen)


def seconds(draw: Callable[..., None], *what) -> tuple[float, float]:
    """Of the processor, and on the wall."""
    cpu, wall = time.process_time(), time.perf_counter()
    draw(*what)
    return time.process_time() - cpu, time.perf_counter() - wall


def medians(rows: dict, xy: np.ndarray, kind: str, rounds: int) -> list[tuple[float, float]]:
    """Of `seconds`, tinybrain's and MNE's, which take turns after one that does not count."""
    with tempfile.TemporaryDirectory() as folder:
        what = rows, xy, kind, Path(folder, "maps.png")
        turns = [[seconds(draw, *what) for draw in (by_tinybrain, by_mne)]
                 for _ in range(rounds + 1)][1:]
    return [tuple(map(statistics.median, zip(*side))) for side in zip(*turns)]


def main() -> None:
    args = arguments()
    print(f"{os.cpu_count()} cores; medians of {args.rounds}\n")
    print("| sensors | tinybrain, CPU (wall) | mne, CPU (wall) | faster x | correlation, least |")
    print("|---|---:|---:|---:|---:|")
    for kind in args.kinds:
        xy = layout(NAMES[kind])
        rows = smooth_fields(xy)
        ours, theirs = medians(rows, xy, kind, args.rounds)
        times = " | ".join("{:.2f} s ({:.2f})".format(*both) for both in (ours, theirs))
        print(f"| {len(xy)} {kind.upper()} | {times} | {theirs[0] / ours[0]:.1f} | "
              f"{agreement(rows, xy, kind):.5f} |", flush=True)


if __name__ == "__main__":
    command_line.run(main)
