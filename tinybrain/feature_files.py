"""Features that others made, as they are in their files.

    NICE         clip_feature_maps_training.npy            (n, 1, d)                  in order
    NeuroBridge  image_train.npy                           (concepts, images, d)      sorted
    ATM          ViT-H-14_features_train.pt                img_features (n, d)        sorted
    ZEISS        MODEL_features_train.pt, .safetensors     img_features (n, d), (n, l, d)  sorted
    UBP          NAME_train.pt                             img_features {image: (d,)}  by name

In order is that of the recording's rows; sorted is that of folders, then of files, by their names;
by name, the file itself says whose each vector is. Text features, which stand beside those of the
images, are passed over. Nothing in a file is run: its pickle is followed, as that of a recording.

Letters: n images, l tokens, d width.
"""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from einops import rearrange

from .messages import first_few
from .things.machine import MAX_SCALAR, Array, Span, view
from .things.pickles import TRIPPED
from .things.torch_files import TorchMachine
from .untrusted.archive import TorchZip, read_safetensors

IMAGES = "img_features"
KINDS = {b"\x80": "a pickle", b"\x89HDF": "HDF5"}


@dataclass(frozen=True)
class FeatureFile:
    """What a file of features holds.

    Attributes
    ----------
    path : Path
    values : (n, d) or (n, l, d), or of NeuroBridge (concepts, images, d); of the file's own type
    names : the image of each row, where the file says it
    in_order : whether row i is said to be that of the recording's row i, else of the i-th image
        when folders, then files, are sorted
    """

    path: Path
    values: npt.NDArray[Any]
    names: tuple[str, ...] = ()
    in_order: bool = False

    def in_rows(self, rows: int, images: Sequence[Path] | None = None) -> npt.NDArray[Any]:
        """The values of a recording's images, as far as the file can tell whose they are.

        Parameters
        ----------
        rows : n, of the recording
        images : its (n,) images; without them nothing is matched or checked

        Raises
        ------
        ValueError
            The file names its images and `images` are not given, or not all there; or it is
            sorted, and the recording is not.
        """
        shape = self.values.shape
        if self.names and images is None:
            raise ValueError(f"{self.path} names the image of each vector: pass `images`")
        if images is None:
            return self.values
        if self.names:
            return self.values[_image_rows(self.path, self.names, images)]
        by_concept = len(shape) == 3 and shape[0] != rows and shape[0] * shape[1] == rows
        if by_concept or not self.in_order:
            _check_sorted(self.path, images)
        return rearrange(self.values, "c e d -> (c e) d") if by_concept else self.values


def open_features(path: str | Path) -> FeatureFile:
    """What is in a feature file of any kind; large arrays are mapped, not read.

    Raises
    ------
    FileNotFoundError
        No such file.
    ValueError
        Another kind of file, a damaged one, or one that asks for more than data.

    Examples
    --------
    >>> import tempfile, torch
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "UBP_test.pt")
    ...     torch.save({IMAGES: {"test_images/00002_bat/bat_1.jpg": torch.ones(4)}}, path)
    ...     file = open_features(path)
    >>> file.values.shape, file.names
    ((1, 4), ('test_images/00002_bat/bat_1.jpg',))
    """
    path, start = Path(path), _start(Path(path))
    if start.startswith(b"PK"):
        return _open_torch(path)
    if start[8:9] == b"{":  # behind the length of a header
        return _open_safetensors(path)
    return FeatureFile(path, open_array(path), in_order=True)


def open_array(path: str | Path) -> npt.NDArray[Any]:
    """Map a plain .npy array; errors as `open_features`, also for the other kinds.

    An array of objects is a pickle, and reading a pickle can run its code.
    """
    path, start = Path(path), _start(Path(path))
    if not start.startswith(b"\x93NUMPY"):
        marks = KINDS | {b"PK": "a zip archive (torch or npz)"}
        kinds = [kind for mark, kind in marks.items() if start.startswith(mark)] or ["no array"]
        raise ValueError(f"{path} is {kinds[0]}; a plain array written by np.save was wanted")
    try:
        array: npt.NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # numpy's parser of headers raises many kinds
        raise ValueError(f"{path} is damaged, or no plain array: {error}") from error
    return array


def _start(path: Path) -> bytes:
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not a file; a file of features was wanted")
    with open(path, "rb") as file:
        return file.read(9)


# -------------------------------------------------------------------------------------------------
# Containers of torch


class _Machine(TorchMachine):
    """It also knows a text of numpy's own kind, as UBP's paths are."""

    def reduce(self) -> None:
        word, args = self.stack[-2:]
        if word.name == "scalar" and type(args[1]) is bytes and len(args[1]) <= MAX_SCALAR:
            self.last(2)
            content = np.frombuffer(args[1], np.uint8)  # protocol 2 has them as text, decoded
            self.push(view(content, Array(Span(0, len(content)), args[0].value))[()])
        else:
            super().reduce()
        if isinstance(self.stack[-1], np.str_):
            self.push(str(self.stack.pop()))


def _open_torch(path: Path) -> FeatureFile:
    try:
        archive = TorchZip(path)
        whole = _Machine(archive, *archive.place("data.pkl")).run()
    except (*TRIPPED, ValueError, RuntimeError, zipfile.BadZipFile, struct.error) as error:
        came = f"a zip archive (torch or npz) that cannot be read: {str(error)[:300]}"
        raise ValueError(f"{path} is {came}") from None
    if isinstance(whole, Mapping):
        whole = whole.get(IMAGES, whole)
    if isinstance(whole, np.ndarray):
        return FeatureFile(path, whole)
    if not isinstance(whole, Mapping):
        raise ValueError(f"{path} holds a {type(whole).__name__}; wanted {IMAGES}, an array or a "
                         "dict of them by image")  # fmt: skip
    return _by_image(path, whole)


def _by_image(path: Path, vectors: Mapping[str, object]) -> FeatureFile:
    """Vectors (d,) or (l, d), each under the path of its image."""
    arrays = [vector for vector in vectors.values() if isinstance(vector, np.ndarray)]
    if not vectors or len(arrays) < len(vectors) or not all("." in name for name in vectors):
        raise ValueError(
            f"{path} has no array called {IMAGES} and no vectors by their image's path; it has "
            f"{first_few(vectors)}: save the one that is meant, "
            f"torch.save({{'{IMAGES}': ...}}, path)"
        )
    shapes = {array.shape for array in arrays}
    if len(shapes) > 1:
        raise ValueError(f"{path}: vectors are of {len(shapes)} shapes; wanted one for all images")
    return FeatureFile(path, np.stack(arrays), tuple(vectors))


def _open_safetensors(path: Path) -> FeatureFile:
    tensors = read_safetensors(path)  # names the file
    if IMAGES not in tensors:
        raise ValueError(f"{path} has {first_few(tensors)}; wanted {IMAGES}")
    values = tensors[IMAGES]
    values = values if values.dtype.itemsize != 2 else values.float()  # numpy has no bfloat16
    return FeatureFile(path, values.numpy())


# -------------------------------------------------------------------------------------------------
# Whose each row is


def _image_rows(path: Path, names: Sequence[str], images: Sequence[Path]) -> npt.NDArray[np.intp]:
    """The row of each image, (n,), in a file that names them; by folder and file.

    What stands before the folder differs between machines and is not compared.

    Raises
    ------
    ValueError : a name stands twice, or an image has no vector; the first are listed.
    """
    row_of = {_short(Path(name)): row for row, name in enumerate(names)}
    if len(row_of) < len(names):
        raise ValueError(f"{path}: {len(names) - len(row_of)} images are named twice, by folder "
                         "and file; wanted one vector each")  # fmt: skip
    lacking = [_short(image) for image in images if _short(image) not in row_of]
    if lacking:
        raise ValueError(
            f"{path} has no features of {len(lacking)} of {len(images)} images "
            f"({first_few(lacking, 3)}); one that it has is {next(iter(row_of))}"
        )
    return np.array([row_of[_short(image)] for image in images], dtype=np.intp)


def _check_sorted(path: Path, images: Sequence[Path]) -> None:
    """ValueError unless images are in the order of their folders, then files, by their names.

    That is THINGS-EEG2's. THINGS-MEG's is another: features could go to the wrong images.
    """
    keys = [(image.parent.name, image.name) for image in images]
    wrong = next((row for row, (a, b) in enumerate(zip(keys, sorted(keys))) if a != b), None)
    if wrong is not None:
        raise ValueError(
            f"{path} does not name its images: its rows are in the order of sorted folders and "
            f"files, and the recording's are not (row {wrong} is {_short(images[wrong])}); wanted "
            f"vectors by their image's path, torch.save({{'{IMAGES}': {{path: vector}}}}, ...), or "
            "a .npy in the order of the recording"
        )


def _short(image: Path) -> str:
    return f"{image.parent.name}/{image.name}"
