"""CLIP features of a whole set of images: computed once, kept on disk, continued after a stop.

A store is a folder with features.npy, (n, l, d) float32, one row per image, that numpy and
`features.read_features` read, and features.json, which says what made them. `build` encodes only
what is not there yet; `store_files.py` says how this holds whenever a process is killed.

Letters: n images, k of them, b batch, l tokens, d width.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch.hub import tqdm  # type: ignore[attr-defined]  # a plainer bar where tqdm is missing

from . import store_files
from .clip.image import RULES
from .clip.model import CLIP
from .download import file_sha256
from .features import PRECISIONS, encode_batches
from .things.images import list_images


@dataclass(frozen=True)
class FeatureStore:
    """Finished features.

    Attributes
    ----------
    folder : Path
    features : array, (n, l, d) float32
        A read-only memory map.
    about : dict
        What features.json says: `weights`, `tower`, `preprocessing`, `tokens`, `unit_length`,
        `precision`, `images`.
    encoded : int
        How many of the rows the call of `build` had to encode; for an example see there.
    """

    folder: Path
    features: NDArray[np.float32]
    about: dict[str, Any]
    encoded: int = 0

    @classmethod
    def open(cls, folder: str | Path) -> FeatureStore:
        """Open a finished store; nothing is written.

        Raises
        ------
        FileNotFoundError
            No store, or one that is not finished.
        ValueError
            Another kind of thing, or damaged.
        """
        folder = Path(folder)
        about = store_files.describe(folder)
        if about is None:
            begun = (folder / store_files.UNFINISHED).exists()
            state = "features that are not finished, build them again" if begun else "no features"
            raise FileNotFoundError(f"{folder} holds {state}")
        return cls(folder, store_files.map_array(folder, about), about)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The images' paths below the root of their set, with /, one per row."""
        return tuple(self.about["images"])

    @property
    def weights(self) -> dict[str, Any]:
        """What the tower's weights were."""
        return cast(dict[str, Any], self.about["weights"])

    @cached_property
    def _row_of(self) -> dict[str, int]:
        return {name: row for row, name in enumerate(self.names)}

    def row(self, name: str | Path) -> int:
        """The row of an image: its name, or a path anywhere that ends in its name.

        Raises ValueError if there is none.
        """
        parts = Path(name).parts
        for start in range(len(parts)):
            row = self._row_of.get("/".join(parts[start:]))
            if row is not None:
                return row
        raise ValueError(f"{self.folder} has no features of {name}; one of its images is "
                         f"{self.names[0]}")  # fmt: skip

    def rows(self, names: Sequence[str | Path]) -> NDArray[np.int64]:
        """The rows of images, (k,) int64: `features[rows(recording.images)]`."""
        return np.array([self.row(name) for name in names], dtype=np.int64)


def build(
    folder: str | Path,
    images: str | Path | Sequence[str | Path],
    clip: CLIP | Callable[[], CLIP],
    *,
    weights: str | Path | dict[str, Any],
    root: str | Path | None = None,
    tokens: bool = False,
    unit_length: bool = True,
    batch_size: int = 64,
    precision: str = "float32",
    device: str | torch.device | None = None,
    anew: bool = False,
    progress: bool = False,
) -> FeatureStore:
    """Have the features of all images in `folder`, encoding those that are not there yet.

    An image whose size or time of change differs is encoded again; rows of the others stay as they
    are, bit for bit. If anything else differs, that is an error unless all may be encoded `anew`;
    the old features stay until the new ones are complete.

    Parameters
    ----------
    folder : path
        New, empty, or a store.
    images : folder, or sequence of paths
        A row each, in this order; a folder's in the order of `list_images`.
    clip : CLIP, or a function of no arguments that loads it
        The function is called only if an image has to be encoded.
    weights : path of the file of weights, or dict
        What tells these weights from others. Of a file that is its sha256, computed only when the
        file's path, size or time of change is new; a dict (JSON) is compared as it is.
    root : path, optional
        Names are relative to it. By default the lowest folder above all images: give it where the
        list may grow beyond that.
    tokens, unit_length, batch_size, precision, device
        As `features.encode`.
    anew : bool
        Replace features that were made otherwise, by other weights say; a warning tells what
        differs.
    progress : bool
        Show a bar with images per second and the time left.

    Raises
    ------
    FileNotFoundError, ValueError, TypeError
        No images; one that is missing, twice there or, after what came before it was encoded and
        kept, cannot be read; a folder that holds another kind of thing, or features that were made
        otherwise.
    BlockingIOError
        Another process is building this store.

    Examples
    --------
    >>> import tempfile
    >>> from PIL import Image
    >>> from tinybrain.clip import DEMO_VISION, random_clip
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Image.new("RGB", (64, 64)).save(f"{folder}/black.png")
    ...     how = {"clip": random_clip(DEMO_VISION), "weights": {"random": 0}}
    ...     store = build(f"{folder}/features", f"{folder}/black.png", **how)
    ...     again = build(f"{folder}/features", f"{folder}/black.png", **how)
    >>> store.names, store.features.shape, (store.encoded, again.encoded)
    (('black.png',), (1, 1, 256), (1, 0))
    """
    folder = Path(folder)
    if batch_size < 1 or precision not in PRECISIONS:
        raise ValueError(
            f"batch_size {batch_size}, precision {precision!r}; wanted at least 1, and one of "
            f"{', '.join(PRECISIONS)}"
        )
    store_files.check_folder(folder)
    paths, stamps = _look_at(images, root)
    wanted = {
        "format": store_files.FORMAT,
        "version": store_files.VERSION,
        "weights": _identity(weights, folder),
        "tower": _tower(clip) if isinstance(clip, CLIP) else None,
        "preprocessing": f"tinybrain.clip.image, rules {RULES}",
        "tokens": tokens,
        "unit_length": unit_length,
        "precision": precision,
        "images": stamps,
    }
    about = store_files.describe(folder)
    if about and store_files.fits(about, wanted) and about["weights"] == wanted["weights"]:
        return FeatureStore.open(folder)
    load = cache((lambda: clip) if isinstance(clip, CLIP) else clip)
    with store_files.locked(folder):
        encoded = _complete(folder, paths, wanted, load, batch_size, device, anew, progress)
    return replace(FeatureStore.open(folder), encoded=encoded)


def _complete(
    folder: Path, paths: list[str], wanted: store_files.About, load: Callable[[], CLIP],
    batch_size: int, device: str | torch.device | None, anew: bool, progress: bool,
) -> int:  # fmt: skip
    """From whatever state the folder is in to the wanted one; how many images were encoded."""
    store_files.settle(folder)
    about = store_files.read_about(folder)
    if about and store_files.fits(about, wanted):  # made by another process, or weights touched
        store_files.write_about(folder, {**about, "weights": wanted["weights"]})
        return 0
    unfinished = folder / store_files.UNFINISHED
    if not store_files.fits(store_files.read_about(unfinished), wanted):
        store_files.set_aside(folder)
        rows, source = store_files.reusable(folder, wanted)
        if not rows:
            load()  # a file that holds no weights is told before what they would change
            _tell_changes(folder, wanted, anew)
        tower = wanted["tower"] or (source["tower"] if source else _tower(load()))
        store_files.start(folder, {**wanted, "tower": tower}, rows)
    encoded = _encode(unfinished, paths, load, batch_size, device, progress)
    store_files.finish(folder)
    return encoded


def _tell_changes(folder: Path, wanted: store_files.About, anew: bool) -> None:
    """Say what has changed where no row can be kept; ValueError unless that is wanted."""
    for source in (folder, folder / store_files.KEPT):
        about = store_files.read_about(source)
        if about and (changes := store_files.changes(about, wanted)):
            said = f"{folder}: {' and '.join(changes)} changed: all {len(wanted['images'])} images"
            if not anew:
                raise ValueError(
                    f"{said} would be encoded anew, in the place of those there; name another "
                    "folder, or say --anew (in code anew=True)"
                )
            warnings.warn(f"{said} are encoded anew", stacklevel=4)
            return


def _encode(
    part: Path, paths: list[str], load: Callable[[], CLIP], batch_size: int,
    device: str | torch.device | None, progress: bool,
) -> int:  # fmt: skip
    """Encode the rows of an unfinished store that are not done; how many these were."""
    about = cast(store_files.About, store_files.read_about(part))  # `start` has written it
    done = (part / store_files.DONE).read_bytes()
    left = [row for row, is_done in enumerate(done) if not is_done]
    if not left:
        return 0
    clip = load()
    if _tower(clip) != about["tower"]:
        raise ValueError(
            f"{part.parent}: the tower is {_tower(clip)}, rows there were made by {about['tower']} "
            "of the same weights; name another folder, or remove this one"
        )
    clip = clip.to(device) if device else clip
    images, count = [paths[row] for row in left], 0
    how = (about["tokens"], about["unit_length"], batch_size, about["precision"])
    bar = tqdm(total=len(done), initial=len(done) - len(left), unit="image", disable=not progress)
    with bar, store_files.opened(part) as put:
        try:
            for z in encode_batches(clip, images, *how):  # (b, l, d)
                if not torch.isfinite(z).all():
                    raise ValueError(f"NaN or infinity in features from {images[count]} on")
                put(left[count : count + len(z)], z.numpy())
                count += len(z)
                bar.update(len(z))
        except (FileNotFoundError, ValueError, TypeError) as error:
            kept = len(done) - len(left) + count
            raise type(error)(
                f"{error}; {kept} of {len(done)} rows are kept: mend it and build again"
            ) from error
    return len(left)


# -------------------------------------------------------------------------------------------------
# What is asked for


def _look_at(
    images: str | Path | Sequence[str | Path], root: str | Path | None
) -> tuple[list[str], dict[str, list[int]]]:
    """The images' paths, and by name [bytes, mtime_ns]."""
    if isinstance(images, (str, Path)):
        root = root or (images if Path(images).is_dir() else None)
        images = list_images(images)
    if wrong := [image for image in images if not isinstance(image, (str, os.PathLike))]:
        raise TypeError(f"features are kept of image files, not of a {type(wrong[0]).__name__}")
    paths = [os.path.abspath(image) for image in images]
    if not paths:
        raise ValueError("no images: wanted a folder with some, or a list of files")
    root = os.path.abspath(root or os.path.commonpath([os.path.dirname(path) for path in paths]))
    above = root.rstrip(os.sep) + os.sep
    stamps: dict[str, list[int]] = {}
    for path in paths:
        if not path.startswith(above) or not os.path.isfile(path):
            raise FileNotFoundError(f"{path} is not a file below {root}; images there were wanted")
        name = path[len(above) :].replace(os.sep, "/")
        if name in stamps:
            raise ValueError(f"{path} is listed twice; wanted each image once, it has one row")
        seen = os.stat(path)
        stamps[name] = [seen.st_size, seen.st_mtime_ns]
    return paths, stamps


def _identity(weights: str | Path | dict[str, Any], folder: Path) -> dict[str, Any]:
    if isinstance(weights, dict):
        told = json.dumps(weights)  # compared as it will come back from the file
        return cast(dict[str, Any], json.loads(told))
    seen = os.stat(weights)
    where = os.path.abspath(weights)  # who trains on the features can find their encoder again
    stamp = dict(zip(store_files.STAMP, (where, seen.st_size, seen.st_mtime_ns)))
    for place in (folder, folder / store_files.UNFINISHED):
        about = store_files.read_about(place)
        known: dict[str, Any] = about["weights"] if about else {}
        if "sha256" in known and stamp.items() <= known.items():
            return known
    return {**stamp, "sha256": file_sha256(weights)}


def _tower(clip: CLIP) -> dict[str, Any]:
    return {**asdict(clip.visual.config), "dtype": str(clip.visual.proj.dtype)}
