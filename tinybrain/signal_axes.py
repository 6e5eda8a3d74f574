"""What the axes of generated signals are called: images by name, and what `pick` asks for.

Letters: n images, h sensors, w time points.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np

NEAR = 1e-6  # seconds: sampling times are rounded fractions, 0.1 may be 0.1000000015
LONG = 20  # seconds: who asks for more means milliseconds


# -------------------------------------------------------------------------------------------------
# Images


def image_names(paths: Sequence[Path]) -> tuple[str, ...]:
    """The names (n,) of image files: their paths from the folder that all of them are in.

    Examples
    --------
    >>> image_names([Path("set/00001_aardvark/a_01.jpg"), Path("set/00002_abacus/b_01.jpg")])
    ('00001_aardvark/a_01.jpg', '00002_abacus/b_01.jpg')
    >>> image_names([Path("photos/a.jpg")])
    ('a.jpg',)
    """
    whole = [os.path.abspath(path) for path in paths]
    try:
        root = os.path.commonpath([os.path.dirname(path) for path in whole])
    except ValueError:  # none, or on several drives of Windows
        return tuple(Path(path).as_posix() for path in whole)
    return tuple(Path(os.path.relpath(path, root)).as_posix() for path in whole)


def with_names(images: Any) -> tuple[Any, tuple[str, ...]]:
    """Images as `Encoder.encode` takes them, a folder listed; and their names, n or none.

    Named are paths and what PIL opened from one; arrays, features, and pictures made in memory have
    none, and then neither have the images beside them.

    Raises
    ------
    FileNotFoundError, ValueError
        As `things.images.list_images`, of one path.

    Examples
    --------
    >>> with_names(["set/a.jpg", "set/b.jpg"])
    (['set/a.jpg', 'set/b.jpg'], ('a.jpg', 'b.jpg'))
    >>> with_names(np.ones((2, 768)))[1]
    ()
    """
    if isinstance(images, (str, Path)) and images != "":
        from .things.images import list_images

        images = list(list_images(images))
    each = images if isinstance(images, Sequence) else [images]
    paths = [_path_of(image) for image in each]
    return images, image_names([Path(path) for path in paths]) if all(paths) else ()


def _path_of(image: Any) -> str:
    """Where an image is, or nothing."""
    if isinstance(image, (str, os.PathLike)):
        return os.fspath(image)
    if isinstance(image, np.ndarray):  # one mapped from a file has that file's name, as have others
        return ""
    path = getattr(image, "filename", "")  # of PIL
    return path if isinstance(path, str) else ""


# -------------------------------------------------------------------------------------------------
# Sensors and times


def sensor_rows(sensors: Sequence[str], wanted: str | Sequence[str] | None) -> np.ndarray:
    """The places of sensors by their names."""
    if wanted is None:
        return np.arange(len(sensors))
    wanted = [wanted] if isinstance(wanted, str) else list(wanted)
    if not wanted:
        raise ValueError("no sensors asked for: give one name or more, or None for all")
    if unknown := [name for name in wanted if name not in sensors]:
        raise ValueError("; ".join(_unknown(str(name), sensors) for name in unknown))
    if twice := sorted({name for name in wanted if wanted.count(name) > 1}):
        raise ValueError(f"asked for {', '.join(twice)} more than once; wanted each sensor once")
    return np.array([list(sensors).index(name) for name in wanted])


def _unknown(name: str, sensors: Sequence[str]) -> str:
    """That there is no such sensor, and which have names like it."""
    by_capitals = {sensor.upper(): sensor for sensor in sensors}
    near = get_close_matches(name.upper(), by_capitals, n=4, cutoff=0.5)
    shown = [by_capitals[upper] for upper in near] or [*sensors[:8], "..."][: len(sensors)]
    return f"no sensor {name!r}; {'near it' if near else 'there'} are {', '.join(shown)}"


def sample_columns(times: np.ndarray, tmin: float | None, tmax: float | None) -> np.ndarray:
    """The places of the samples from tmin to tmax."""
    low, high = (-np.inf if tmin is None else tmin), (np.inf if tmax is None else tmax)
    times = np.asarray(times)
    for name, bound in (("tmin", low), ("tmax", high)):
        if max(LONG, np.abs(times).max()) < abs(bound) < np.inf:
            span = f"{times[0]:g} to {times[-1]:g} s; did you mean {bound / 1000:g}?"
            raise ValueError(f"{name} is {bound:g}: times are in seconds, here from {span}")
    columns = np.flatnonzero((times >= low - NEAR) & (times <= high + NEAR))
    if not len(columns):
        raise ValueError(
            f"no sample from {low:g} to {high:g} s; the signals run from {times[0]:g} to "
            f"{times[-1]:g} s in steps of {np.diff(times[:2]).sum():g} s (tmin, tmax are seconds)"
        )
    return columns
