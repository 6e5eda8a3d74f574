"""Little scenes for the demo: a few objects above a striped ground, drawn from attributes.

Every attribute lies between -1 and 1, and a drawing is a function of its attributes alone. A
concept is a prototype p, uniform in that range; its exemplars are (1 - JITTER) p + JITTER u with u
uniform too, so that exemplars resemble each other and nothing leaves the range.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Scenes = NDArray[np.float64]  # attributes, the last axis, of one scene or of many
ATTRIBUTES = (
    "lightness",  # of the whole scene: dark ... bright
    "warmth",  # of the background: blue ... orange
    "contrast",  # of the objects: darker ... brighter than the background
    "redness",  # of the objects: green ... red
    "yellowness",  # of the objects: blue ... yellow
    "size",  # of the objects
    "side",  # where the objects stand: left ... right
    "texture",  # strength of the stripes: none ... strong
    "frequency",  # of the stripes: coarse ... fine
    "count",  # of the objects: one ... four
    "stretch",  # of the objects: as wide as high ... three times as long
    "turn",  # of the objects, and how they stand around each other
    "kind",  # of the objects: KINDS in order, so below 0 round and above 0 angular
)
KINDS = ("disc", "ring", "flower", "leaf", "box", "cross", "triangle", "star")
COLOURS = (  # by thirds of redness (rows) and yellowness
    ("teal", "green", "lime"),
    ("blue", "grey", "yellow"),
    ("purple", "pink", "orange"),
)
JITTER = 0.4
SPREAD = (((1 - JITTER) ** 2 + JITTER**2) / 3) ** 0.5  # an attribute's standard deviation
SHARED = [ATTRIBUTES.index("count"), ATTRIBUTES.index("kind")]  # by all exemplars of a concept


def draw_attributes(concepts: int, exemplars: int, rng: np.random.Generator) -> Scenes:
    """Attributes of all exemplars of new concepts, (concepts, exemplars, a), in [-1, 1].

    Examples
    --------
    >>> draw_attributes(10, 4, np.random.default_rng(0)).shape
    (10, 4, 13)
    """
    prototypes = rng.uniform(-1, 1, (concepts, 1, len(ATTRIBUTES)))
    noise = rng.uniform(-1, 1, (concepts, exemplars, len(ATTRIBUTES)))
    scenes = (1 - JITTER) * prototypes + JITTER * noise
    scenes[..., SHARED] = prototypes[..., SHARED]
    return scenes


def name(scene: Scenes) -> str:
    """What the objects of a scene (a,) would be called: their colour and their kind.

    Examples
    --------
    >>> name(np.zeros(13)), name(np.ones(13))
    ('grey_box', 'orange_star')
    """
    value = dict(zip(ATTRIBUTES, scene))
    return f"{COLOURS[_bin(value['redness'], 3)][_bin(value['yellowness'], 3)]}_{_kind(value)}"


def draw(scene: Scenes, size: int) -> Image.Image:
    """Draw the attributes (a,) of one scene as an RGB image, `size` pixels on a side.

    Examples
    --------
    >>> draw(np.zeros(13), size=32)
    <PIL.Image.Image image mode=RGB size=32x32 at ...>
    """
    value = dict(zip(ATTRIBUTES, scene))
    fine = 2 * size  # objects are drawn at twice the size, so that their edges come out smooth
    image = Image.fromarray(_background(value, size))
    image = image.resize((fine, fine), Image.Resampling.NEAREST)
    pen = ImageDraw.Draw(image)
    light = 0.5 + 0.2 * value["lightness"] + 0.3 * value["contrast"]
    red, yellow = value["redness"], value["yellowness"]
    colour = light + np.array([0.3 * red + 0.1 * yellow, 0.1 * yellow - 0.3 * red, -0.35 * yellow])
    for outline in _outlines(value):
        points = fine * outline
        pen.polygon(_flat(points + fine * np.array([0.012, 0.02])), fill=_rgb(0.45 * colour))
        pen.polygon(_flat(points), fill=_rgb(colour))
    return image.resize((size, size), Image.Resampling.BOX)


def _background(value: dict[str, float], size: int) -> NDArray[np.uint8]:
    """Sky and striped ground, (size, size, 3) uint8."""
    x, y = (np.arange(size) + 0.5) / size, (np.arange(size)[:, None] + 0.5) / size
    ground = y > 0.55
    light = 0.5 + 0.2 * value["lightness"] + np.where(ground, 0.15 * (y - 0.9), 0.12 * (0.5 - y))
    cycles = 9.0 * 2 ** value["frequency"]
    stripes = np.sin(2 * np.pi * cycles * (x + 0.35 * y))
    light = light + 0.1 * (1 + value["texture"]) * (stripes - 0.7) * np.where(ground, 1, 0.25)
    tint = 0.2 * value["warmth"] * np.array([1.0, 0.1, -1.0])
    return (255 * np.clip(light[..., None] + tint, 0, 1)).astype(np.uint8)


def _outlines(value: dict[str, float]) -> list[np.ndarray]:
    """The objects' outlines, (points, 2) each, in units of the image's side, y downwards."""
    many = 1 + _bin(value["count"], 4)
    turn = np.pi * value["turn"]
    length = 0.15 * 2 ** (0.6 * value["size"]) / many**0.35  # half an object's height
    stretch = 3 ** ((1 + value["stretch"]) / 4)
    tilt = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    outline = _unit_outline(_kind(value)) * (stretch, 1 / stretch) @ tilt * length
    around = turn + 2 * np.pi * np.arange(many) / many
    radius = 0 if many == 1 else 0.6 * length * many**0.5 + 0.04
    middle = np.array([0.5 + 0.22 * value["side"], 0.5])
    centres = middle + radius * np.stack([np.cos(around), 0.8 * np.sin(around)], axis=1)
    return [centre + outline for centre in centres]


def _unit_outline(kind: str) -> NDArray[np.float64]:
    """The outline of an object of size 1 as a polygon, (points, 2)."""
    angle = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    corners = {"box": 4, "triangle": 3}
    if kind in corners:
        angle = np.linspace(0, 2 * np.pi, corners[kind], endpoint=False) + np.pi / corners[kind]
        radius = np.full_like(angle, 1.3)
    elif kind == "star":
        angle = np.linspace(0, 2 * np.pi, 10, endpoint=False)
        radius = np.where(np.arange(10) % 2, 0.5, 1.35)
    elif kind == "cross":
        angle = np.linspace(0, 2 * np.pi, 12, endpoint=False)
        radius = np.where(np.arange(12) % 3, 1.3, 0.5)
    elif kind == "ring":  # there and back again, so that the inside stays empty
        angle = np.concatenate([np.append(angle, 0), np.append(angle, 0)[::-1]])
        radius = np.repeat([1.1, 0.55], 49)
    elif kind == "flower":
        radius = 1 + 0.3 * np.cos(5 * angle)
    elif kind == "leaf":
        radius = 0.6 + 0.7 * np.abs(np.cos(angle)) ** 3
    else:
        radius = np.full_like(angle, 1.0)
    outline: NDArray[np.float64] = radius * np.stack([np.cos(angle), np.sin(angle)])
    return outline.T


def _kind(value: dict[str, float]) -> str:
    return KINDS[_bin(value["kind"], len(KINDS))]


def _bin(value: float, bins: int) -> int:
    """Which of so many equal parts of [-1, 1] a value lies in."""
    return min(int((value + 1) / 2 * bins), bins - 1)


def _rgb(colour: np.ndarray) -> tuple[int, ...]:
    return tuple(int(c) for c in 255 * np.clip(colour, 0, 1))


def _flat(points: np.ndarray) -> list[tuple[float, float]]:
    return [tuple(point) for point in points]


def by_name(scenes: dict[str, Scenes]) -> dict[str, dict[str, Scenes]]:
    """Each split's concepts (images, a) by name and in the order of names, as in THINGS.

    Concepts that look alike are told apart by a number, so that no name stands twice.
    """
    taken: Counter[str] = Counter()
    named = {}
    for split, concepts in scenes.items():
        found = {}
        for concept in concepts:
            looks = name(concept[0])
            taken[looks] += 1
            found[f"{looks}{taken[looks]}" if taken[looks] > 1 else looks] = concept
        named[split] = {looks: found[looks] for looks in sorted(found)}
    return named
