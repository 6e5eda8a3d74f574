"""One look: colours stand in style.py alone, and every kind of colour vision tells them apart."""

import ast
import itertools
import re
from pathlib import Path

import numpy as np
import pytest
from matplotlib import colormaps
from matplotlib.colors import is_color_like, to_rgb
from matplotlib.figure import Figure

from tinybrain import style

ROOT = Path(__file__).parents[1]
STYLE = ROOT / "tinybrain" / "style.py"
DRAWING = sorted(
    path for folder in ("tinybrain", "examples") for path in (ROOT / folder).rglob("*.py")
    if "matplotlib" in path.read_text(encoding="utf-8") and path != STYLE
)
NO_COLOUR = {"none", "0", "1"}  # the numbers stand at axes
APART = 30  # in CIELAB, where 2.3 is just to be seen; black and white are 100 apart

# Machado, Oliveira and Fernandes (2009), severity 1: linear RGB as seen without one kind of cone
VISION = {
    "all": np.eye(3),
    "protanopia": np.array([[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
                            [-0.003882, -0.048116, 1.051998]]),
    "deuteranopia": np.array([[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
                              [-0.011820, 0.042940, 0.968881]]),
    "tritanopia": np.array([[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602],
                            [0.004733, 0.691367, 0.303900]]),
}
XYZ = np.array([[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750],
                [0.0193339, 0.1191920, 0.9503041]])  # of linear sRGB, white point D65

every_vision = pytest.mark.parametrize("vision", VISION)


def seen(rgb, vision):
    """CIELAB (..., 3) of sRGB colours (..., 3) as an eye sees them."""
    rgb = np.asarray(rgb)
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    xyz = np.clip(linear @ VISION[vision].T, 0, 1) @ XYZ.T / XYZ.sum(axis=1)
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    lightness = 116 * f[..., 1] - 16
    return np.stack([lightness, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])], -1)


def test_colours_are_seen_as_published():
    """CIELAB of pure colours (Lindbloom's calculator); a red and a green that deuteranopes mix."""
    published = {"red": (53.24, 80.09, 67.20), "lime": (87.73, -86.18, 83.18), "w": (100, 0, 0)}
    for name, wanted in published.items():
        np.testing.assert_allclose(seen(to_rgb(name), "all"), wanted, atol=0.02)
    red, green = (to_rgb(name) for name in ("#C0504D", "#71893F"))
    apart = {who: np.linalg.norm(seen(red, who) - seen(green, who)) for who in VISION}
    assert apart["all"] > 2 * APART > 2 * apart["deuteranopia"]


@every_vision
def test_any_two_colours_are_told_apart(vision):
    for one, other in itertools.combinations(style.PALETTE, 2):
        distance = np.linalg.norm(seen(to_rgb(one), vision) - seen(to_rgb(other), vision))
        assert distance > APART, f"{one} and {other} are {distance:.0f} apart in {vision}"


@every_vision
def test_maps_of_signals_are_white_at_zero_and_their_halves_differ(vision):
    shades = seen(colormaps[style.DIVERGING](np.linspace(0, 1, 257))[:, :3], vision)
    below, above = shades[:129][::-1], shades[128:]                            # from zero outward
    assert shades[128, 0] > 95
    for half in (below, above):  # 257 of 256 shades: the middle one stands twice
        assert np.diff(half[:, 0]).max() < 0.5 and half[-1, 0] < 45
    apart = np.linalg.norm(above - below, axis=1)
    assert apart[64:].min() > APART  # beyond half of the scale blue and red are far apart


@every_vision
@pytest.mark.parametrize("name", [style.SEQUENTIAL, style.STEPS])
def test_other_maps_are_read_by_lightness_alone(name, vision):
    lightness = seen(colormaps[name](np.linspace(0.25, 1, 10))[:, :3], vision)[:, 0]
    steps = np.diff(lightness) * np.sign(lightness[-1] - lightness[0])
    assert steps.min() > 2.3


@every_vision
def test_a_missing_cell_is_no_shade_of_its_map(vision):
    shades = seen(colormaps[style.SEQUENTIAL](np.linspace(0, 1, 256))[:, :3], vision)
    assert np.linalg.norm(shades - seen(to_rgb(style.MISSING), vision), axis=1).min() > 15


def test_moving_figures_have_the_colours_of_still_ones():
    """Of so few colours as a GIF's palette has, these are exact; those of maps are near."""
    figure = Figure(figsize=(4, 1), dpi=50)
    for left, colour in zip((0, 0.25), (style.REAL, style.GENERATED)):
        figure.add_axes((left, 0, 0.25, 1), facecolor=colour).set(xticks=[], yticks=[])
    figure.add_axes((0.5, 0, 0.25, 1)).imshow(
        np.linspace(-1, 1, 100)[None], style.DIVERGING, aspect="auto")
    frame = np.asarray(style.frame(figure).convert("RGB"))[25]                 # (200, 3)
    for place, colour in ((25, style.REAL), (75, style.GENERATED), (190, style.PAPER)):
        assert (frame[place] / 255).tolist() == pytest.approx(to_rgb(colour), abs=0.003)
    bar = (np.arange(100, 150) + 0.5 - 100) / 50
    np.testing.assert_allclose(frame[104:146] / 255, colormaps[style.DIVERGING](bar)[4:46, :3],
                               atol=0.05)


def not_drawn(tree):
    """Docstrings, and what follows the colon in f"{value:g}"."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
            if node.body and isinstance(node.body[0], ast.Expr):
                yield node.body[0].value
        elif isinstance(node, ast.FormattedValue) and node.format_spec:
            yield from ast.walk(node.format_spec)


def literals(path):
    """Colours, maps of colours, and formats of lines with a colour, such as "k-": (line, word)."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped = set(not_drawn(tree))
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Constant) and isinstance(node.value, str)):
            continue
        word = node.value
        formatted = re.fullmatch(r"([bgrcmyk]|C\d)([-:.,ov^<>sp*hHx+Dd|_]+)", word)
        coloured = is_color_like(word) and word not in NO_COLOUR
        if node not in skipped and (coloured or word in colormaps or formatted):
            yield node.lineno, word


def test_there_is_something_to_look_at():
    assert {"figures.py", "topography.py", "walkthrough.py"} <= {path.name for path in DRAWING}
    assert {word for _, word in literals(STYLE)} >= {*style.PALETTE, "RdBu_r", "cividis"}


@pytest.mark.parametrize("path", DRAWING, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_colour_stands_outside_style_py(path):
    assert list(literals(path)) == []
