"""CLIP's preprocessing against transformers' PIL processor, and what becomes of odd images."""

from __future__ import annotations

import io
import warnings

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from tinybrain.clip import image as clip_image
from tinybrain.clip import preprocess

try:  # transformers 5 has two processors; the plain name is the torchvision one
    from transformers.models.clip.image_processing_pil_clip import (
        CLIPImageProcessorPil as CLIPImageProcessor,
    )
except ImportError:
    from transformers import CLIPImageProcessor

WRITERS = ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP")


def photo(width, height, seed=0) -> Image.Image:
    """Something with soft and with sharp places, RGB."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (4, 5, 3), dtype=np.uint8))
    pixels = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)).copy()
    pixels[::7, ::3] = rng.integers(0, 256, 3)
    return Image.fromarray(pixels)


def encoded(image: Image.Image, kind="PNG", **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def reference(image: Image.Image, size: int) -> torch.Tensor:
    """transformers' resizing and normalising, cut out where torchvision's CenterCrop cuts."""
    processor = CLIPImageProcessor(size={"shortest_edge": size}, do_center_crop=False)
    pixels = torch.as_tensor(np.array(processor(image)["pixel_values"][0]))
    top, left = (round((side - size) / 2) for side in pixels.shape[1:])
    return pixels[:, top : top + size, left : left + size]


def assert_equal(ours: torch.Tensor, wanted: torch.Tensor) -> None:
    assert ours.dtype == torch.float32 and ours.shape == wanted.shape
    assert (ours - wanted).abs().max() <= 1e-6


# -------------------------------------------------------------------------------------------------
# Ordinary images


@pytest.mark.parametrize("size", [224, 64, 33])
@pytest.mark.parametrize(
    "shape",
    [(224, 224), (500, 375), (375, 500), (640, 427), (333, 1000), (65, 64), (37, 100), (7, 5),
     (1, 1), (1, 90), (90, 1), (2, 3)],
)  # fmt: skip
def test_equal_to_transformers_in_every_shape(shape, size):
    image = photo(*shape)
    assert_equal(preprocess(image, size), reference(image, size))


@pytest.mark.parametrize("extra", range(9))
def test_square_is_cut_out_as_openai_s_reference_does(extra):
    # torchvision rounds (long - size) / 2 to the even number, transformers rounds it down.
    image = photo(32 + extra, 32)
    both = CLIPImageProcessor(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
    )
    theirs = torch.as_tensor(np.array(both(image)["pixel_values"][0]))
    left = [0, 0, 1, 2, 2, 2, 3, 4, 4][extra]
    pixels = torch.as_tensor(np.array(image)).permute(2, 0, 1)[:, :, left : left + 32]
    assert_equal(preprocess(image, 32), clip_image.normalize(pixels))
    if left == extra // 2:
        assert_equal(preprocess(image, 32), theirs)
    else:
        assert_equal(preprocess(image, 32)[:, :, :-1], theirs[:, :, 1:])


def theirs(image: Image.Image) -> torch.Tensor:
    """transformers' processor as it is, its own crop and all."""
    return torch.as_tensor(np.array(CLIPImageProcessor()(image)["pixel_values"][0]))


def assert_equal_but_for_the_crop(ours: torch.Tensor, image: Image.Image) -> None:
    """Equal; where the long side leaves 3, 7, 11, ... over, transformers' square is 1 pixel off."""
    wanted = theirs(image)
    if (224 * max(image.size) // min(image.size) - 224) % 4 == 3:
        wide = image.width > image.height
        ours, wanted = (ours[..., :-1], wanted[..., 1:]) if wide else (ours[:, :-1], wanted[:, 1:])
    assert_equal(ours, wanted)


def random_shapes(count):
    rng = np.random.default_rng(0)
    sides = np.exp(rng.uniform(0, np.log(900), (count, 2))).astype(int)
    return [(int(w), int(h)) for w, h in sides if max(w, h) <= 12 * min(w, h)]


@pytest.mark.parametrize("shape", [*random_shapes(60), (640, 427), (427, 640), (640, 390)])
def test_equal_to_transformers_own_square_at_224(shape):
    image = photo(*shape, seed=sum(shape))
    assert_equal_but_for_the_crop(preprocess(image), image)


@pytest.mark.parametrize(
    ("kind", "mode"),
    [(kind, mode) for kind, modes in {
        "JPEG": ("RGB", "L", "CMYK", "YCbCr"),
        "PNG": ("RGB", "L", "P", "1"),
        "GIF": ("RGB", "L", "P", "1"),
        "WEBP": ("RGB", "L"),
        "TIFF": ("RGB", "L", "P", "CMYK", "YCbCr", "LAB", "1"),
        "BMP": ("RGB", "L", "P", "1"),
        "PPM": ("RGB", "L", "1"),
        "ICO": ("RGB",),
    }.items() for mode in modes],
)  # fmt: skip
@pytest.mark.parametrize("shape", [(251, 180), (97, 230)])
def test_files_of_every_kind_and_mode_equal_transformers(tmp_path, kind, mode, shape):
    path = tmp_path / f"photo.{kind.lower()}"
    image = photo(*shape)
    (lab(image) if mode == "LAB" else image.convert(mode)).save(path, kind)
    with Image.open(path) as image:
        assert_equal_but_for_the_crop(preprocess(path), image)


def lab(image: Image.Image) -> Image.Image:
    return ImageCms.profileToProfile(
        image, ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
    )


def test_normalisation_is_clip_s():
    pixels = preprocess(np.full((8, 8, 3), (0, 128, 255), dtype=np.uint8), 8)
    colour = torch.tensor([0, 128 / 255, 1])
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073])
    std = torch.tensor([0.26862954, 0.26130258, 0.27577711])
    wanted = ((colour - mean) / std)[:, None, None].expand(3, 8, 8)
    torch.testing.assert_close(pixels, wanted, rtol=0, atol=1e-6)


def test_paths_images_and_arrays_give_the_same_and_stay_as_they_were(tmp_path):
    image = photo(60, 40)
    path = tmp_path / "photo.png"
    image.save(path)
    array = np.asarray(image)
    array.setflags(write=False)
    wanted = preprocess(image, 32)
    backwards = np.ascontiguousarray(array[::-1])[::-1]  # strides below zero
    for same in (path, str(path), Image.open(path), array, backwards):
        assert torch.equal(preprocess(same, 32), wanted)
    grey = image.convert("L")
    assert torch.equal(preprocess(np.asarray(grey), 32), preprocess(grey, 32))
    assert image.size == (60, 40) and grey.mode == "L"


def test_jpeg_is_decoded_whole(tmp_path):
    path = tmp_path / "large.jpg"
    photo(1600, 1200).save(path, quality=90)
    with Image.open(path) as image:
        whole = Image.fromarray(np.asarray(image))
    assert_equal(preprocess(path, 64), reference(whole, 64))


# -------------------------------------------------------------------------------------------------
# Other modes


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "YCbCr", "HSV"])
def test_modes_are_converted_by_pil(mode):
    image = photo(50, 40).convert(mode)
    assert_equal(preprocess(image, 32), reference(image.convert("RGB"), 32))


def test_greyscale_is_the_same_in_three_channels():
    pixels = preprocess(photo(50, 40).convert("L"), 32)
    mean, std = torch.tensor(clip_image.MEAN), torch.tensor(clip_image.STD)
    grey = pixels * std[:, None, None] + mean[:, None, None]
    torch.testing.assert_close(grey[0], grey[1])
    torch.testing.assert_close(grey[0], grey[2])


@pytest.mark.parametrize("alpha", [0, 100])
def test_alpha_is_dropped_and_the_colours_under_it_stay(tmp_path, alpha):
    image = photo(50, 40)
    clear = image.copy()
    clear.putalpha(alpha)
    path = tmp_path / "clear.png"
    clear.save(path)
    assert torch.equal(preprocess(path, 32), preprocess(image, 32))
    grey = image.convert("L")
    faded = grey.copy()
    faded.putalpha(alpha)
    assert faded.mode == "LA" and torch.equal(preprocess(faded, 32), preprocess(grey, 32))


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_is_what_transformers_5_lays_on_white(mode):
    image = photo(96, 60).convert(mode)
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    white = Image.new("RGBA", image.size, "white")
    white.alpha_composite(image.convert("RGBA"))
    assert_equal(theirs(image), preprocess(white))
    assert_equal(preprocess(image), theirs(image.convert("RGB")))
    assert (preprocess(image) - theirs(image)).abs().max() > 1
    image.putalpha(255)
    assert_equal(preprocess(image), theirs(image))


@pytest.mark.parametrize("transparency", [0, bytes([0, 9, 255])])
def test_palette_with_transparency_keeps_its_colours(tmp_path, transparency):
    image = photo(50, 40).quantize(8)
    path = tmp_path / "palette.png"
    image.save(path, transparency=transparency)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PIL recommends RGBA
        assert torch.equal(preprocess(path, 32), preprocess(image.convert("RGB"), 32))


@pytest.mark.parametrize("kind", ["PNG", "PPM", "TIFF", "memory", "big-endian"])
def test_sixteen_bit_greyscale_is_scaled_not_clipped(tmp_path, kind):
    values = np.linspace(0, 65535, 32 * 32).astype(np.uint16).reshape(32, 32)
    image = Image.fromarray(values)
    if kind == "big-endian":
        image = Image.frombytes("I;16B", (32, 32), values.astype(">u2").tobytes())
    elif kind != "memory":
        image.save(tmp_path / "deep", kind)
        image = tmp_path / "deep"
    eight = np.round(values / 257.0).astype(np.uint8)
    assert torch.equal(preprocess(image, 32), preprocess(eight, 32))


@pytest.mark.parametrize("mode", ["I", "F"])
def test_thirty_two_bit_is_refused(tmp_path, mode):
    path = tmp_path / "deep.tiff"
    Image.new(mode, (9, 9), 70000).save(path)
    with pytest.raises(ValueError, match=r"deep\.tiff has 32-bit pixels \(mode .\)"):
        preprocess(path)


def test_first_frame_and_no_rotation(tmp_path):
    frames = [photo(40, 40, seed).quantize(16) for seed in (1, 2)]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    wanted = preprocess(frames[0].convert("RGB"), 32)
    assert torch.equal(preprocess(tmp_path / "moving.gif", 32), wanted)
    exif = Image.Exif()
    exif[0x0112] = 6  # "turn me right"
    turned = tmp_path / "turned.png"
    photo(40, 40).save(turned, exif=exif)
    assert torch.equal(preprocess(turned, 32), preprocess(photo(40, 40), 32))


# -------------------------------------------------------------------------------------------------
# What is no image


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("part", [0.5, 0.9])
def test_truncated_files_are_refused_by_name(tmp_path, kind, part):
    whole = encoded(photo(64, 64), kind)
    path = tmp_path / f"cut.{kind.lower()}"
    path.write_bytes(whole[: int(part * len(whole))])
    with pytest.raises(ValueError, match=r"cut\.\w+ (is truncated|cannot be opened|is not an)"):
        preprocess(path)


@pytest.mark.parametrize("content", [b"", b"\xff\xd8", b"a text", b"\x80\x04N.", b"PK\x03\x04"])
def test_what_is_no_image_is_refused_by_name(tmp_path, content):
    path = tmp_path / "other.jpg"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"other\.jpg is not an image"):
        preprocess(path)


def test_damage_within_is_refused_by_name(tmp_path):
    whole = bytearray(encoded(photo(64, 64)))
    middle = len(whole) // 2
    whole[middle : middle + 40] = bytes(40)
    (tmp_path / "damaged.png").write_bytes(whole)
    with pytest.raises(ValueError, match=r"damaged\.png is truncated or damaged"):
        preprocess(tmp_path / "damaged.png")
    lazy = Image.open(io.BytesIO(encoded(photo(64, 64), "JPEG")[:900]))
    with pytest.raises(ValueError, match="the image in memory is truncated or damaged"):
        preprocess(lazy)


def test_missing_files_and_folders_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.jpg does not exist"):
        preprocess(tmp_path / "none.jpg")
    with pytest.raises(FileNotFoundError, match="is a folder"):
        preprocess(str(tmp_path))


def test_bombs_and_threads_are_refused_by_name(tmp_path, monkeypatch):
    photo(64, 64).save(tmp_path / "bomb.png")
    photo(1, 1001).save(tmp_path / "thread.png")
    with pytest.raises(ValueError, match=r"thread\.png is 1 x 1001.*crop it"):
        preprocess(tmp_path / "thread.png")
    with pytest.raises(ValueError, match="0 x 0"):
        preprocess(Image.new("RGB", (0, 0)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(ValueError, match=r"bomb\.png cannot be opened as an image.*exceeds"):
        preprocess(tmp_path / "bomb.png")


@pytest.mark.parametrize(
    ("array", "error", "match"),
    [
        (np.zeros((8, 8, 4), np.uint8), ValueError, r"\(8, 8, 4\)"),
        (np.zeros((3, 8, 8), np.uint8), ValueError, r"\(3, 8, 8\)"),
        (np.zeros(8, np.uint8), ValueError, r"\(8,\)"),
        (np.zeros((0, 8), np.uint8), ValueError, r"\(0, 8\)"),
        (np.zeros((8, 8, 3)), TypeError, "array of float64"),
        (np.zeros((8, 8), np.uint16), TypeError, "array of uint16"),
        (torch.zeros(8, 8, 3, dtype=torch.uint8), TypeError, "array of torch.uint8"),
        (None, TypeError, "NoneType"),
        ([1, 2], TypeError, "list"),
    ],
)
def test_other_arrays_and_objects_are_refused(array, error, match):
    with pytest.raises(error, match=match):
        preprocess(array)
