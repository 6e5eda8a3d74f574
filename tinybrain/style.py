"""The look of every figure: its colours, its size, its file.

Recorded is blue, generated is vermilion (two of Okabe and Ito's colours, 2008), baselines are grey,
in every figure. Any two colours of PALETTE are far apart for every kind of colour vision, as
tests/test_style.py measures; lines of one colour differ in their dashes. Maps of signals are
DIVERGING: white is zero, and what is drawn reaches as far below it as above.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .files import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from PIL.Image import Image

REAL = "#0072B2"  # recorded, and what recordings bound: the noise ceiling
GENERATED = "#D55E00"
GENERATED_PALE = "#F2B48C"  # one sample where the conditional mean stands beside it
GREY = "0.4"  # baselines; the lines of zero and of image onset
INK = "k"  # words and outlines; what is neither recorded, generated nor a baseline
PAPER = "w"
PALETTE = (REAL, GENERATED, GENERATED_PALE, GREY, INK, PAPER)

DIVERGING = "RdBu_r"  # of signals
SEQUENTIAL = "cividis"  # of scores and weights
STEPS = "YlGnBu"  # of lines in an order, from light to dark
MISSING = "0.9"  # a cell of a SEQUENTIAL map that has no value

WIDTH = 8.3  # inches: 100 pixels each in a README
DPI = 200  # of the files: sharp on a screen that has two pixels for one
MINUS = "\N{MINUS SIGN}"
ONSET = "time from stimulus onset (ms)"


def time_axis(axes: Axes, times: np.ndarray) -> None:
    """The recording's span (w,) in ms; thin lines at stimulus onset and at zero."""
    axes.axhline(0, color=GREY, lw=0.5, zorder=0)
    axes.axvline(0, color=GREY, lw=0.5, zorder=0)
    if len(times) > 1:
        axes.set_xlim(1000 * times[0], 1000 * times[-1])
    axes.spines[["top", "right"]].set_visible(False)


def add_axes(figure: Figure, left: float, bottom: float, width: float, height: float) -> Axes:
    """Axes at a place given in inches."""
    w, h = figure.get_size_inches()
    return figure.add_axes((left / w, bottom / h, width / w, height / h))


def save_figure(figure: Figure, path: str | Path) -> Path:
    """Write a figure in the format of the path's suffix, all of it or nothing.

    Raises
    ------
    ValueError : a suffix of no format that matplotlib writes.
    """
    path = Path(path)
    kinds = figure.canvas.get_supported_filetypes()
    kind = path.suffix.lower().lstrip(".")
    if kind not in kinds:
        raise ValueError(f"{path}: wanted a name that ends in one of .{', .'.join(sorted(kinds))}")
    return write_atomically(path, lambda file: figure.savefig(file, format=kind, dpi=DPI))


# Moving pictures ---------------------------------------------------------------------------------


def frame(figure: Figure) -> Image:
    """A figure as it looks now, in the colours of a GIF: the same for all frames of all figures."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]
    pixels = np.asarray(canvas.buffer_rgba())[..., :3]  # type: ignore[no-untyped-call]
    return Image.fromarray(pixels.copy()).quantize(palette=_colours(), dither=Image.Dither.NONE)


def _colours() -> Image:
    """Of the maps, greys, and what fades from the two lines' colours to white."""
    from matplotlib import colormaps
    from matplotlib.colors import to_rgb
    from PIL import Image

    fading = np.linspace(0, 1, 16)[:, None]
    lines = [(1 - fading) * to_rgb(colour) + fading for colour in (REAL, GENERATED)]
    greys = np.linspace(0, 1, 24)[:, None] * np.ones(3)
    maps = colormaps[DIVERGING](np.linspace(0, 1, 101))[:, :3]  # zero is one of them
    colours = np.concatenate([maps, greys, *lines])                            # (157, 3)
    palette = Image.new("P", (1, 1))
    palette.putpalette((255 * colours).round().astype(np.uint8).tobytes())
    return palette


def save_frames(frames: list[Image], path: str | Path, seconds: float, rest: float) -> Path:
    """Frames as a GIF that repeats: `seconds` in all, then a rest on the last."""
    waits = [round(1000 * seconds / len(frames))] * (len(frames) - 1) + [round(1000 * rest)]
    return write_atomically(path, lambda file: frames[0].save(
        file, "GIF", save_all=True, append_images=frames[1:], duration=waits, loop=0
    ))
