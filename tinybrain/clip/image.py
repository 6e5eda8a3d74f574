"""From an image of any kind to the pixels CLIP was trained on.

As OpenAI's reference (torchvision's Resize, bicubic, and CenterCrop): the short side becomes
`size`, the long one int(size long / short), by PIL's antialiased bicubic filter; the middle square
is cut out, its corner at round((long - size) / 2), halves to the even number; then
(x / 255 - MEAN) / STD per channel. transformers rounds the corner down: where long - size is 3, 7,
11, ... its square lies one pixel further left or up.

Every image is made RGB first:

    greyscale             the same value in all three channels
    palette               its colours
    alpha, transparency   dropped, the colours stored under it stay, as OpenAI's code does
                          (transformers 5 lays the image on white)
    16-bit greyscale      round(x / 257); PIL's own conversion would clip at 255
    16-bit colour         the high byte, which is what PIL reads
    CMYK, YCbCr, HSV, ... PIL's conversion; colour profiles and EXIF rotation are not applied
    several frames        the first
    32-bit and float      refused: what their black and white are is not known

A JPEG is decoded whole: PIL's `draft`, which decodes it smaller and faster, changes the pixels.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Picture = str | os.PathLike[str] | Image.Image | NDArray[np.uint8]

MEAN = (0.48145466, 0.4578275, 0.40821073)  # of the images OpenAI trained on: R, G, B
STD = (0.26862954, 0.26130258, 0.27577711)
RULES = 1  # goes up when the pixels that come out change; features kept on disk say theirs
MAX_ASPECT = 1000  # a longer strip would fill gigabytes once its short side is `size`


def preprocess(image: Picture, size: int = 224) -> Tensor:
    """Make one image what a tower with `image_size` = `size` takes.

    Parameters
    ----------
    image : path, PIL image, or uint8 array (H, W, 3) or (H, W)
        It is not changed.
    size : int
        Pixels on a side.

    Returns
    -------
    Tensor, (3, size, size) float32
        Each channel standardised by CLIP's MEAN and STD.

    Raises
    ------
    FileNotFoundError
        No such file.
    ValueError
        A truncated file, no image, or one of the kinds refused above; the file is named.
    TypeError
        Neither a path, nor a PIL image, nor a uint8 array.

    Examples
    --------
    >>> white = preprocess(Image.new("RGB", (640, 480), "white"))
    >>> white.shape, white[:, 0, 0]
    (torch.Size([3, 224, 224]), tensor([1.9303, 2.0749, 2.1459]))
    """
    return normalize(square(image, size))


def normalize(pixels: Tensor) -> Tensor:
    """Standardise uint8 pixels (..., 3, h, w); the result is float32."""
    mean, std = (torch.tensor(c, device=pixels.device)[:, None, None] for c in (MEAN, STD))
    return (pixels / 255 - mean) / std


def square(image: Picture, size: int = 224) -> Tensor:
    """The pixels before `normalize`, (3, size, size) uint8: what is cheap to keep and to move."""
    if isinstance(image, (str, os.PathLike)):
        with _open(Path(image)) as file:
            return _square(file, str(image), size)
    if isinstance(image, Image.Image):
        return _square(image, getattr(image, "filename", "") or "the image in memory", size)
    return _square(_from_array(image), "the array", size)


def _square(image: Image.Image, name: str, size: int) -> Tensor:
    rgb = _rgb(image, name)
    width, height = (size * side // min(rgb.size) for side in rgb.size)
    left, top = (round((side - size) / 2) for side in (width, height))
    rgb = rgb.resize((width, height), Image.Resampling.BICUBIC)
    rgb = rgb.crop((left, top, left + size, top + size))
    pixels = torch.frombuffer(bytearray(rgb.tobytes()), dtype=torch.uint8)
    return pixels.view(size, size, 3).permute(2, 0, 1).contiguous()


def _open(path: Path) -> Image.Image:
    if not path.is_file():
        found = "is a folder" if path.is_dir() else "does not exist"
        raise FileNotFoundError(f"{path} {found}; an image file was wanted")
    try:
        return Image.open(path)
    except UnidentifiedImageError:
        raise ValueError(f"{path} is not an image, or of a kind PIL does not read") from None
    except Exception as error:  # each of PIL's readers has its own
        raise ValueError(f"{path} cannot be opened as an image: {error}") from error


def _from_array(array: NDArray[np.uint8]) -> Image.Image:
    shape, dtype = getattr(array, "shape", ()), getattr(array, "dtype", None)
    if str(dtype) != "uint8":
        came = type(array).__name__ if dtype is None else f"array of {dtype}"
        raise TypeError(f"an image is a path, a PIL image or a uint8 array, not {came}")
    if shape[2:] not in ((), (3,)) or len(shape) < 2 or 0 in shape:
        many = "; pass several as a list" if len(shape) == 4 else ""
        raise ValueError(f"an image array is (H, W, 3) or (H, W), not {tuple(shape)}{many}")
    return Image.fromarray(array)


def _rgb(image: Image.Image, name: str) -> Image.Image:
    """Decode and convert, see the table at the top."""
    if not 0 < max(image.size) <= MAX_ASPECT * min(image.size):
        raise ValueError(
            f"{name} is {image.width} x {image.height}: no square can be cut from an image more "
            f"than {MAX_ASPECT} times as long as wide; crop it first"
        )
    # PIL opens 16-bit PGM files, and in older releases 16-bit PNG files, as 32-bit integers.
    sixteen = image.mode.startswith("I;16") or (
        image.mode == "I" and image.format in ("PPM", "PNG")
    )
    if image.mode in ("I", "F") and not sixteen:
        raise ValueError(
            f"{name} has 32-bit pixels (mode {image.mode}), whose black and white are not known; "
            "scale them to 8 bit first"
        )
    try:
        image.load()
        if image.mode == "RGB":
            return image  # spares a copy
        return (_eight_bit(image) if sixteen else image).convert("RGB")
    except Exception as error:  # each of PIL's decoders has its own
        raise ValueError(f"{name} is truncated or damaged: {error}") from error


def _eight_bit(image: Image.Image) -> Image.Image:
    """16-bit greyscale to 8-bit: 0 stays 0, 65535 becomes 255."""
    values = torch.frombuffer(bytearray(image.convert("I").tobytes()), dtype=torch.int32)
    eight = torch.round(values / 257).to(torch.uint8)
    return Image.frombytes("L", image.size, eight.numpy().tobytes())
