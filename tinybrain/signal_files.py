"""The files of a folder of generated signals: what they hold, written and read with checks.

    signals.npy     (n, k, h, w) float32
    signals.json    format, version, shape, sensors, times, kind, unit; images where their names are
                    known; of `generation` also more

Letters: n images, k trials, h sensors, w time points.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .files import write_text

FORMAT, VERSION = "tinybrain signals", 1
ARRAY, ABOUT = "signals.npy", "signals.json"
KINDS = ("eeg", "meg")
Check = tuple[Callable[[Any], bool], str]  # whether a value will do; what is wanted, in words
NAMES: Check = (lambda v: _is_list(v, str), "names")
WANTED: dict[str, Check] = {  # of signals.json
    "shape": (lambda v: _is_list(v, int) and len(v) == 4 and min(v) > 0, "four lengths"),
    "sensors": NAMES,
    "times": (lambda v: _is_list(v, (int, float)) and bool(np.isfinite(v).all()), "seconds"),
    "kind": (lambda v: v in KINDS, "'eeg' or 'meg'"),
    "unit": (lambda v: isinstance(v, str), "a string"),
}


def axes(
    shape: Sequence[int], sensors: Sequence[str], times: Sequence[float] | np.ndarray, kind: str,
    unit: str,
) -> dict[str, Any]:
    """The part of signals.json that every array (n, k, h, w) needs."""
    return {
        "format": FORMAT, "version": VERSION, "shape": list(shape), "sensors": list(sensors),
        "times": [float(time) for time in times], "kind": kind, "unit": unit,
    }  # fmt: skip


def check_axes(
    shape: Sequence[int], sensors: Sequence[str], times: Sequence[float] | np.ndarray, kind: str,
    images: Sequence[str] = (),
) -> None:
    """ValueError unless an array of this shape is signals (n, k, h, w) with these axes."""
    if len(shape) != 4 or 0 in shape:
        raise ValueError(
            f"data are {tuple(shape)}; wanted (images, trials, sensors, times), one or more of each"
        )
    if np.ndim(times) != 1 or tuple(shape[2:]) != (len(sensors), len(times)):
        raise ValueError(
            f"data are {tuple(shape)}, (images, trials, sensors, times), but there are "
            f"{len(sensors)} sensors and {np.size(times)} times"
        )
    if kind not in KINDS:
        raise ValueError(f"kind is {kind!r}; wanted 'eeg' or 'meg'")
    if images and len(images) != shape[0]:
        raise ValueError(f"data are of {shape[0]} images, but there are names of {len(images)}")


def write_about(path: Path, about: dict[str, Any]) -> Path:
    return write_text(path, json.dumps(about, indent=1, ensure_ascii=False) + "\n")


def read_about(path: Path) -> dict[str, Any] | None:
    """The content of a signals.json, checked; None if there is no such file."""
    if not path.is_file():
        return None
    try:
        about = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged, or no JSON: {error}") from None
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        raise ValueError(f"{path} is another kind of thing; wanted the format {FORMAT!r}")
    version = about.get("version")
    if type(version) is not int or not 1 <= version <= VERSION:
        raise ValueError(
            f"{path}: version {version!r}, this tinybrain reads up to {VERSION}; update tinybrain"
        )
    wanted = WANTED | ({"images": NAMES} if "images" in about else {})
    for key, (holds, what) in wanted.items():
        if not holds(about.get(key)):
            raise ValueError(f"{path}: {key} is {str(about.get(key))[:60]!r}; wanted {what}")
    if about["shape"][2:] != [len(about["sensors"]), len(about["times"])]:
        raise ValueError(
            f"{path}: shape {about['shape']}, but {len(about['sensors'])} sensors and "
            f"{len(about['times'])} times"
        )
    if (named := len(about.get("images", ()))) not in (0, about["shape"][0]):
        raise ValueError(f"{path}: shape {about['shape']}, but {named} names of images")
    return about


def _is_list(value: Any, of: type | tuple[type, ...]) -> bool:
    return isinstance(value, list) and all(
        isinstance(item, of) and not isinstance(item, bool) for item in value
    )


def map_array(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """The array (n, k, h, w), a read-only memory map."""
    try:
        data: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # numpy's parser of headers raises many kinds
        raise ValueError(f"{path} is missing, damaged or no plain array: {error}") from None
    if data.shape != shape or data.dtype != np.float32:
        raise ValueError(
            f"{path} is {data.dtype} of shape {data.shape}, {ABOUT} says float32 of {shape}; "
            "one of the two files is another run's"
        )
    return data
