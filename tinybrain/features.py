"""What the U-Net is told about the images: their context, (n, l, d) float32.

Either CLIP encodes the images (`encode`), or the features come from a file (`find_features`,
`read_features`), first of all in the form of NICE (Song et al. 2024): `clip_feature_maps_test.npy`,
ViT-L/14's projected class token at unit length, (n, 1, 768), one row per row of the EEG. Those of
others (`feature_files.py`) are read as well.

Letters: n images, b batch, s pixels on a side, l tokens, d width.
"""

from __future__ import annotations

import os
import re
import warnings
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from einops import rearrange
from numpy.typing import NDArray
from torch import Tensor
from torch.hub import tqdm  # type: ignore[attr-defined]  # a plainer bar where tqdm is missing
from torch.nn import functional as F

from .messages import first_few

if TYPE_CHECKING:  # CLIP's modules are read when there is an image to encode
    from .clip.model import CLIP, VisionConfig

DECODERS = min(16, os.cpu_count() or 1)  # threads; PIL lets go of the interpreter while it works
NAMES = {
    split: re.compile(
        rf"(clip_feature_maps_{word}|.+_feats_{split}|image_{split})\.npy|.+_{split}(_full)?\.pt|"
        rf".+_features_{split}(_full)?\.safetensors", re.IGNORECASE
    )
    for split, word in (("train", "train(ing)?"), ("test", "test"))
}
PRECISIONS = ("float32", "bf16")
PATCHES = 16 * 16  # of ViT-L/14 and ViT-H/14
SLICE = 32 << 20  # bytes of the largest activation of one forward on a CPU, see `_forward`


# -------------------------------------------------------------------------------------------------
# From images


def encode(
    clip: CLIP,
    images: Sequence[Any],
    *,
    tokens: bool = False,
    unit_length: bool = False,
    batch_size: int = 64,
    precision: str = "float32",
    device: str | torch.device | None = None,
    progress: bool = False,
) -> Tensor:
    """Encode images, decoding the next ones while CLIP is at work.

    Parameters
    ----------
    clip : CLIP
    images : sequence of paths, PIL images or uint8 arrays
        Preprocessed as `clip.image` says, at the tower's own size.
    tokens : bool
        All 1 + patches tokens of each image, not the class token alone.
    unit_length : bool
        Scale each vector to unit length, as those in NICE's files are.
    batch_size : int
        Images per batch. Besides the result, three batches of pixels are held at most.
    precision : "float32" or "bf16"
        bf16: matrix products in bfloat16 (autocast), the rest and the result in float32.
    device : str or torch.device, optional
        Where to compute; `clip` is moved there. By default it stays where it is.
    progress : bool
        Show a bar.

    Returns
    -------
    Tensor, (n, l, d) float32, on the CPU
        l is 1, or 1 + patches with `tokens`.

    Raises
    ------
    FileNotFoundError, ValueError, TypeError
        As `clip.preprocess`, with the image's place in the list.

    Examples
    --------
    >>> import numpy as np
    >>> from tinybrain.clip import DEMO_VISION, random_clip
    >>> images = [np.zeros((48, 64, 3), np.uint8), np.full((64, 64, 3), 255, np.uint8)]
    >>> z = encode(random_clip(DEMO_VISION), images, unit_length=True)
    >>> z.shape, round(float(z[0].norm()), 3)
    (torch.Size([2, 1, 256]), 1.0)
    """
    if isinstance(images, (str, bytes)) or not isinstance(images, Sequence):
        raise TypeError(f"encode takes a list of images, not {type(images).__name__}")
    if not images:
        raise ValueError("no images: the list is empty")
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}; wanted 1 or more")
    vision = clip.to(device).visual.config if device else clip.visual.config
    features = torch.empty(len(images), vision.tokens if tokens else 1, vision.embed_dim)
    start = 0
    with tqdm(total=len(images), unit="image", disable=not progress) as bar:
        for z in encode_batches(clip, images, tokens, unit_length, batch_size, precision):
            features[start : start + len(z)] = z  # (b, l, d)
            start += len(z)
            bar.update(len(z))
    return features


def encode_batches(
    clip: CLIP, images: Sequence[Any], tokens: bool = False, unit_length: bool = False,
    batch_size: int = 64, precision: str = "float32",
) -> Iterator[Tensor]:
    """What `encode` puts together, batch by batch: (b, l, d) float32 on the CPU."""
    if precision not in PRECISIONS:
        raise ValueError(f"precision is one of {', '.join(PRECISIONS)}, not {precision!r}")
    for batch in _squares(images, clip.visual.config.image_size, batch_size):
        z = _forward(clip, batch, tokens, precision)
        yield F.normalize(z, dim=-1) if unit_length else z


@torch.no_grad()
def _forward(clip: CLIP, batch: Tensor, tokens: bool, precision: str) -> Tensor:
    """Features (b, l, d) of pixels (b, 3, s, s) uint8.

    On a CPU a few images at a time: beyond some 32 MB the C library fetches each activation from
    fresh pages, and a tenth of the time goes by clearing them.
    """
    from .clip.image import normalize

    weight = clip.visual.conv1.weight
    at_once = _images_per_forward(clip.visual.config) if weight.device.type == "cpu" else len(batch)
    answers = []
    for start in range(0, len(batch), at_once):
        part = batch[start : start + at_once]
        pixels = normalize(part.to(weight.device)).to(weight.dtype)  # (b, 3, s, s)
        with torch.autocast(weight.device.type, torch.bfloat16, enabled=precision == "bf16"):
            answers.append(clip.encode_image(pixels, tokens))
    z = torch.cat(answers).float().cpu()
    return z if tokens else z[:, None]  # (b, l, d)


def _images_per_forward(vision: VisionConfig) -> int:
    largest = 4 * vision.tokens * 4 * vision.width  # bytes of one image between an MLP's layers
    return max(1, SLICE // largest)


def _squares(images: Sequence[Any], size: int, batch_size: int) -> Iterator[Tensor]:
    """Batches (b, 3, s, s) uint8 in the order of the images, two of them being decoded ahead."""
    pool = ThreadPoolExecutor(DECODERS)
    ahead: deque[list[Future[Tensor]]] = deque()
    try:
        for start in range(0, len(images), batch_size):
            places = range(start, min(start + batch_size, len(images)))
            ahead.append([pool.submit(_square, images, place, size) for place in places])
            if len(ahead) > 2:
                yield torch.stack([future.result() for future in ahead.popleft()])
        while ahead:
            yield torch.stack([future.result() for future in ahead.popleft()])
    finally:
        pool.shutdown(cancel_futures=True)


def _square(images: Sequence[Any], place: int, size: int) -> Tensor:
    from .clip.image import square

    try:
        return square(images[place], size)
    except (FileNotFoundError, ValueError, TypeError) as error:
        raise type(error)(f"image {place} of {len(images)}, counted from 0: {error}") from error


# -------------------------------------------------------------------------------------------------
# From files


def find_features(folder_or_file: str | Path, split: str) -> Path:
    """The feature file of a split, "train" or "test"; a path to a file is that file.

    Raises
    ------
    FileNotFoundError
        Nothing there, or nothing by the names that NICE and others give; the error lists what
        there is.
    ValueError
        Two files that could be meant.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Path(folder, "clip_feature_maps_test.npy").touch()
    ...     find_features(folder, "test").name
    'clip_feature_maps_test.npy'
    """
    path = Path(folder_or_file)
    if path.is_file():
        return path
    if not path.is_dir():
        raise FileNotFoundError(f"{path} does not exist; a feature file or its folder was wanted")
    names = sorted(entry.name for entry in path.iterdir())
    found = [name for name in names if NAMES[split].fullmatch(name)]
    if len(found) > 1:
        raise ValueError(f"{path} holds {' and '.join(found)}: remove one, or name the file")
    if not found:
        wanted = {"train": "clip_feature_maps_training.npy", "test": "clip_feature_maps_test.npy"}
        there = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
        raise FileNotFoundError(
            f"{path} holds no {wanted[split]}, the features of the {split} images; "
            f"it holds {there or 'nothing'}"
        )
    return path / found[0]


def count_rows(path: str | Path) -> int:
    """How many images a .npy file has features of; errors as `read_features`."""
    from .feature_files import open_array

    return len(open_array(path))


def read_features(path: str | Path, rows: int, images: Sequence[Path] | None = None) -> Tensor:
    """Read the features of `rows` images from a file.

    Parameters
    ----------
    path : str or Path
        Floats, (n, d) or (n, l, d), in a .npy of NICE or NeuroBridge, in a file of torch.save as
        ATM's, ZEISS' and UBP's, or in safetensors: see `feature_files`.
    rows : int
        How many images the recording has. Where the file does not say whose its rows are, row i
        must be the image of the recording's row i, and only the number can be checked.
    images : sequence of (n,) paths, optional
        Those of the recording. A file that names its images is matched to them; of one whose rows
        are sorted by name, it is checked that they are, too.

    Returns
    -------
    Tensor, (n, l, d) float32
        Values as in the file.

    Raises
    ------
    FileNotFoundError
        No such file.
    ValueError
        Not a file of floats, another rank, another number of rows, rows that are zero or not
        finite; images that the file does not have, or that are in another order.

    Warns
    -----
    UserWarning
        The vectors are neither of unit length nor of like length, or the class token is missing.

    Examples
    --------
    >>> import numpy as np, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "clip_feature_maps_test.npy"
    ...     np.save(path, np.eye(3, 8, dtype=np.float32))
    ...     read_features(path, rows=3).shape
    torch.Size([3, 1, 8])
    """
    from .feature_files import open_features

    array = open_features(path).in_rows(rows, images)
    if array.ndim not in (2, 3) or 0 in array.shape or array.dtype.kind != "f":
        raise ValueError(
            f"{path} holds {array.dtype} of shape {array.shape}; features are floats of shape "
            "(images, width) or (images, tokens, width)"
        )
    if len(array) != rows:
        raise ValueError(_wrong_rows(path, array.shape, rows))
    features = torch.from_numpy(np.array(array, dtype=np.float32, order="C"))
    features = features if features.ndim == 3 else features[:, None]  # (n, l, d)
    _check_norms(features, path)
    if features.shape[1] == PATCHES:
        warnings.warn(
            f"{path}: {PATCHES} tokens are the patches of an image without its class token; what "
            "needs one vector of an image (ridge) takes the first patch",
            stacklevel=2,
        )
    return features


def as_context(features: NDArray[Any] | Tensor) -> Tensor:
    """Features (n, d) or (n, l, d) as the context (n, l, d) they are, in their precision.

    An array is copied only if torch cannot share it: read-only, rows backwards, foreign bytes.

    Examples
    --------
    >>> as_context(np.ones((2, 5))[::-1]).shape
    torch.Size([2, 1, 5])
    """
    if isinstance(features, np.ndarray):
        own = np.ascontiguousarray(features, dtype=features.dtype.newbyteorder("="))
        features = torch.from_numpy(own if own.flags.writeable else own.copy())
    return rearrange(features, "n d -> n 1 d") if features.ndim == 2 else features


def pooled(context: Tensor) -> Tensor:
    """The one vector of each image, (n, l, d) -> (n, d): token 0.

    That is CLIP's class token, the only one that was trained to stand for the image; the patches
    never met the loss. Where l is 1 it is all there is. Linear encoding (ridge) uses it.

    Examples
    --------
    >>> pooled(torch.zeros(5, 257, 768)).shape
    torch.Size([5, 768])
    """
    return context[:, 0]


def _wrong_rows(path: str | Path, shape: tuple[int, ...], rows: int) -> str:
    message = (
        f"{path} has {shape[0]} rows (shape {shape}), the recording has {rows} images; wanted one "
        "row of features per image, in the order of the recording's rows"
    )
    if len(shape) == 3 and shape[0] * shape[1] == rows:
        message += ". Is it (concepts, images, width)? Then pass `images`, to check their order"
    return message


def _check_norms(features: Tensor, path: str | Path) -> None:
    norms = torch.linalg.vector_norm(features, dim=2)  # (n, l); one NaN or inf makes them so
    bad = (~torch.isfinite(norms) | (norms == 0)).any(dim=1).nonzero()[:, 0].tolist()
    if bad:
        raise ValueError(
            f"{path}: {len(bad)} of {len(features)} rows hold a zero vector, NaN or infinity "
            f"(rows {first_few(bad)}, counted from 0); make the features of these images again"
        )
    norms = norms[:, 0]  # (n,), of the class tokens: patches may differ as they like
    if (norms - 1).abs().max() > 1e-2 and norms.max() > 2 * norms.min():
        warnings.warn(
            f"{path}: the vectors are {norms.min():.3g} to {norms.max():.3g} long, neither 1 nor "
            "alike; were raw and normalised CLIP features mixed?",
            stacklevel=3,
        )
