"""Writes a folder in the shape of THINGS-EEG2: the images, their table, and recordings.

    Image_set/training_images/00001_name/name_01b.jpg, ..., Image_set/test_images/...
    Image_set/image_metadata.npy
    Preprocessed_data_250Hz/sub-01/preprocessed_eeg_training.npy, preprocessed_eeg_test.npy

The readers are `things/images.py` and `things/eeg2/`.
Letters: n images, r repetitions, h sensors, w time points.
"""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from ...files import write_atomically

if TYPE_CHECKING:
    from PIL.Image import Image

FOLDERS = {"train": "training_images", "test": "test_images"}
CONTAINERS = ("pickle", "npy")


def write_images(
    folder: Path, concepts: Mapping[str, Mapping[str, np.ndarray]],
    draw: Callable[[NDArray[np.float64]], Image],
) -> None:
    """Write the images and, last, `image_metadata.npy`.

    Parameters
    ----------
    folder : the image set.
    concepts : for "train" and "test", each concept's scenes (images, a) by its name, in the order
        of rows.
    draw : makes a PIL image of a scene.
    """
    everything = sorted(name for split in concepts.values() for name in split)
    number = {name: i for i, name in enumerate(everything, start=1)}  # over both, as THINGS counts
    table: dict[str, list[str]] = {}
    for split, scenes in concepts.items():
        rows = [
            (f"{i:05d}_{name}", f"{number[name]:05d}_{name}", file_name(name, j))
            for i, name in enumerate(scenes, start=1)
            for j in range(1, 1 + len(scenes[name]))
        ]
        everyone = (scene for exemplars in scenes.values() for scene in exemplars)
        for (concept, _, file), scene in zip(rows, everyone):
            path = folder / FOLDERS[split] / concept / file
            path.parent.mkdir(parents=True, exist_ok=True)
            draw(scene).save(path, quality=95)
        columns = ("concepts", "concepts_THINGS", "files")
        table |= {f"{split}_img_{key}": list(x) for key, x in zip(columns, zip(*rows))}
    write_atomically(folder / "image_metadata.npy", lambda file: _save(file, table))


def _save(file: BinaryIO, content: dict[str, Any]) -> None:
    """A dict in an .npy file: an array () of one object, as `np.save` makes of a dict."""
    np.save(file, np.array(content, dtype=object))


def file_name(name: str, j: int) -> str:
    """THINGS marks the first image of a concept, which it shows to everyone, by b, others by s."""
    return f"{name}_{j:02d}{'b' if j == 1 else 's'}.jpg"


def write_recording(
    path: Path,
    shape: tuple[int, int, int, int],
    blocks: Iterable[np.ndarray],
    sensors: Sequence[str],
    times: np.ndarray,
    container: str,
) -> None:
    """Write one split of one subject, float64.

    Parameters
    ----------
    path : the file, which ends in .npy in either container.
    shape : (n, r, h, w) of the whole recording.
    blocks : its rows in order, some at a time, (b, r, h, w) each; only one is held in memory.
    sensors, times : h names; seconds, which may begin before the w time points of the signals.
    container : "pickle", a bare pickle as NICE's files, or "npy", a dict in np.save as OSF's.
    """
    with gathered(path.parent, np.float64, shape, blocks) as data:
        content = {"preprocessed_eeg_data": data, "ch_names": list(sensors), "times": times}
        if container == "npy":
            write_atomically(path, lambda file: _save(file, content))
        else:
            write_atomically(path, lambda file: pickle.dump(content, file, protocol=4))


@contextmanager
def gathered(
    folder: Path, dtype: type, shape: tuple[int, ...], blocks: Iterable[np.ndarray]
) -> Iterator[np.ndarray]:
    """Blocks of rows as one array of that shape, which is on disk as long as it is needed."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as scratch:
        data, filled = np.memmap(scratch, dtype, "w+", shape=shape), 0
        for block in blocks:
            data[filled : filled + len(block)] = block
            filled += len(block)
        yield np.asarray(data)
