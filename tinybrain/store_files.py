"""The files of a feature store (`feature_store.py`), and what each state of them means.

    features.npy     (n, l, d) float32, one row per image
    features.json    what made them, and the name, size and time of change of each image
    unfinished/      both while they are being made, and `done`, a byte per row: 1, it is on disk
    kept/            an `unfinished` that no longer fits, until what still holds is copied from it
    lock             empty, locked by the process that builds

Whenever that process is killed, the next can tell what it left, and continues:

    a row is flushed to disk before its byte in `done` is, so at most one batch is encoded twice
    unfinished/features.json is written last: without it the folder is a start that came to nothing
    at the end features.npy is moved up, then features.json: where only the latter is in
    `unfinished`, every row done, it describes the features.npy above

Letters: n images, b batch, l tokens, d width.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from .files import try_lock, write_text
from .messages import first_few

FORMAT, VERSION = "tinybrain features", 1
ARRAY, ABOUT, DONE = "features.npy", "features.json", "done"
UNFINISHED, KEPT, LOCK = "unfinished", "kept", "lock"
SETTINGS = ("weights", "tower", "preprocessing", "tokens", "unit_length", "precision")
STAMP = ("file", "bytes", "mtime_ns")  # of weights in a file: their content is told by the sha256

Vectors = NDArray[np.float32]
About = dict[str, Any]  # the content of features.json: FORMAT, VERSION, SETTINGS and images


def check_folder(folder: Path) -> None:
    """Raise ValueError for a folder that holds another kind of thing."""
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file; features are kept in a folder")
    there = sorted(entry.name for entry in folder.iterdir()) if folder.exists() else []
    others = [name for name in there if not name.startswith(".")]
    if others and not {ABOUT, UNFINISHED, KEPT, LOCK}.intersection(others):
        raise ValueError(
            f"{folder} holds {first_few(others)}, and no {ABOUT} of features: name a folder that "
            "is new or empty"
        )


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Be the only process that writes here; `BlockingIOError` if another does."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / LOCK, "ab") as file:
        if not try_lock(file):
            raise BlockingIOError(
                f"another process is building {folder}; wait for it, or name another folder"
            )
        yield


# -------------------------------------------------------------------------------------------------
# Descriptions


def describe(folder: Path) -> About | None:
    """What the finished features are, if there are any."""
    return read_about(folder / UNFINISHED if _half_moved(folder) else folder)


def _half_moved(folder: Path) -> bool:
    part = folder / UNFINISHED
    there = [(part / name).exists() for name in (ABOUT, DONE, ARRAY)]
    return there == [True, True, False] and all((part / DONE).read_bytes())


def read_about(folder: Path) -> About | None:
    path = folder / ABOUT
    if not path.is_file():
        return None
    try:
        about = json.loads(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path} is damaged, or describes no features: {error}") from None
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        raise ValueError(f"{path} is another kind of thing, wanted {FORMAT!r}; name another folder")
    if about["version"] > VERSION:
        raise ValueError(
            f"{path} has version {about['version']}, this tinybrain reads up to {VERSION}; update "
            "tinybrain"
        )
    return about


def write_about(folder: Path, about: About) -> None:
    write_text(folder / ABOUT, json.dumps(about, ensure_ascii=False))


def fits(old: About | None, new: About) -> bool:
    """Same settings, same images in the same order."""
    if old is None or changes(old, new):
        return False
    return list(old["images"].items()) == list(new["images"].items())


def changes(old: About, new: About) -> list[str]:
    """Which settings make the features of `old` useless for `new`; None fits any."""
    known = [name for name in SETTINGS if new[name] is not None]
    return [name for name in known if _essence(old[name]) != _essence(new[name])]


def _essence(setting: Any) -> Any:
    """Weights in a file without their STAMP; any other setting as it is."""
    if not isinstance(setting, dict) or "sha256" not in setting:
        return setting
    return {key: value for key, value in setting.items() if key not in STAMP}


# -------------------------------------------------------------------------------------------------
# Arrays


def shape(about: About) -> tuple[int, int, int]:
    """(n, l, d)."""
    tower = about["tower"]
    tokens = 1 + (tower["image_size"] // tower["patch_size"]) ** 2 if about["tokens"] else 1
    return len(about["images"]), tokens, tower["embed_dim"]


def map_array(folder: Path, about: About) -> Vectors:
    """The array (n, l, d) of a folder, a read-only memory map."""
    path = folder / ARRAY
    try:
        array: Vectors = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # numpy's parser of headers raises many kinds
        raise ValueError(
            f"{path} is missing or damaged ({error}); remove its folder and build it again"
        ) from error
    if array.shape != shape(about) or array.dtype != np.float32:
        raise ValueError(
            f"{path} is {array.dtype} of shape {array.shape}, {ABOUT} says float32 of "
            f"{shape(about)}; remove the folder and build it again"
        )
    return array


@contextmanager
def opened(part: Path) -> Iterator[Callable[[list[int], Vectors], None]]:
    """A function that puts rows of vectors (b, l, d) into an unfinished store."""
    with open(part / ARRAY, "r+b") as array, open(part / DONE, "r+b") as done:
        end, n = array.seek(0, os.SEEK_END), done.seek(0, os.SEEK_END)

        def put(rows: list[int], z: Vectors) -> None:
            for row, vectors in zip(rows, z):
                array.seek(end + (row - n) * vectors.nbytes)  # rows end where the file does
                array.write(vectors.tobytes())
            _sync(array)
            for row in rows:
                done.seek(row)
                done.write(b"\1")
            _sync(done)

        yield put


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


# -------------------------------------------------------------------------------------------------
# From one state to the next


def settle(folder: Path) -> None:
    """Complete a move that was cut short, drop a start that came to nothing."""
    part = folder / UNFINISHED
    if _half_moved(folder):
        os.replace(part / ABOUT, folder / ABOUT)
    if not (part / ARRAY).exists() or not (part / ABOUT).exists():
        shutil.rmtree(part, ignore_errors=True)


def set_aside(folder: Path) -> None:
    """Keep the rows of an `unfinished` that no longer fits, until `start` has copied them."""
    part, kept = folder / UNFINISHED, folder / KEPT
    if part.exists():  # it holds all that an older `kept` was kept for
        shutil.rmtree(kept, ignore_errors=True)
        part.rename(kept)


def reusable(folder: Path, wanted: About) -> tuple[dict[str, Vectors], About | None]:
    """Rows (l, d), by name, of the images that are as they were, and the description of them."""
    rows: dict[str, Vectors] = {}
    found = None
    for source in (folder, folder / KEPT):
        about = read_about(source)
        if about is None or changes(about, wanted):
            continue
        array, found = map_array(source, about), about
        done = (source / DONE).read_bytes() if source != folder else b"\1" * len(array)
        for row, (name, stamp) in enumerate(about["images"].items()):
            if done[row] and wanted["images"].get(name) == stamp:
                rows[name] = array[row]
    return rows, found


def start(folder: Path, wanted: About, rows: dict[str, Vectors]) -> None:
    """Make `unfinished`, with the rows that there are already."""
    part = folder / UNFINISHED
    part.mkdir()
    array = np.lib.format.open_memmap(part / ARRAY, "w+", np.float32, shape=shape(wanted))
    for row, name in enumerate(wanted["images"]):
        if name in rows:  # the others are a hole in the file, which takes no space yet
            array[row] = rows[name]
    array.flush()
    with open(part / DONE, "wb") as file:
        file.write(bytes(name in rows for name in wanted["images"]))
        _sync(file)
    write_about(part, wanted)
    shutil.rmtree(folder / KEPT, ignore_errors=True)


def finish(folder: Path) -> None:
    """Put complete features in the place of the old ones."""
    os.replace(folder / UNFINISHED / ARRAY, folder / ARRAY)
    os.replace(folder / UNFINISHED / ABOUT, folder / ABOUT)
    for rest in (UNFINISHED, KEPT):
        shutil.rmtree(folder / rest, ignore_errors=True)
