"""Feature files of NICE, NeuroBridge, ATM, ZEISS and UBP, written as they write them."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.test_features import Payload, unit
from tinybrain.contexts import ContextOptions, make_contexts
from tinybrain.features import find_features, read_features

CONCEPTS, EACH, WIDTH = ("00001_aardvark", "00002_bat", "00010_lens"), 4, 8
IMAGES = tuple(
    Path(f"/here/training_images/{concept}/{concept[6:]}_{number:02d}s.jpg")
    for concept in CONCEPTS for number in range(EACH)
)
VALUES = unit(len(IMAGES), WIDTH)
WORDS = torch.ones(3, WIDTH)


def save_safetensors(path, tensors):
    """As the format's readme says: length of the header, header, numbers."""
    header, place = {}, 0
    codes = {torch.float16: "F16", torch.bfloat16: "BF16", torch.float32: "F32"}
    for name, tensor in tensors.items():
        end = place + tensor.nbytes
        header[name] = {"dtype": codes[tensor.dtype], "shape": list(tensor.shape),
                        "data_offsets": [place, end]}
        place = end
    text = json.dumps(header).encode()
    numbers = b"".join(tensor.view(torch.uint8).numpy().tobytes() for tensor in tensors.values())
    path.write_bytes(struct.pack("<Q", len(text)) + text + numbers)


def save_ubp(path, values=VALUES, images=IMAGES, shuffle=True, **how):
    """UBP: paths are numpy's texts, elements of an array; they stand in the order of a set."""
    names = np.array([f"train_images/{image.parent.name}/{image.name}" for image in images])
    order = np.random.default_rng(0).permutation(len(names)) if shuffle else range(len(names))
    vectors = {names[row]: torch.from_numpy(values)[row].float() for row in order}
    torch.save({"text_features": {np.str_("bat"): WORDS[0]}, "img_features": vectors}, path, **how)


def write(kind, path):
    tensor = torch.from_numpy(VALUES)
    if kind == "NICE":
        np.save(path, VALUES[:, None])
    elif kind == "NeuroBridge":
        np.save(path, VALUES.reshape(len(CONCEPTS), EACH, WIDTH))
    elif kind in ("ATM", "ATM half"):
        tensor = tensor.half() if kind == "ATM half" else tensor
        torch.save({"text_features": WORDS, "img_features": tensor}, path)
    elif kind == "bare tensor":
        torch.save(tensor, path)
    elif kind.startswith("UBP"):
        save_ubp(path, pickle_protocol=int(kind[-1]))
    else:
        dtype = {"F16": torch.float16, "BF16": torch.bfloat16}[kind.split()[1]]
        save_safetensors(path, {"img_features": tensor.to(dtype), "text_features": WORDS.half()})
    return path


FILES = {
    "NICE": "clip_feature_maps_training.npy", "NeuroBridge": "image_train.npy",
    "ATM": "ViT-H-14_features_train.pt", "ATM half": "ViT-L-14_features_GIT_train.pt",
    "bare tensor": "a_train.pt", "UBP 2": "ubp_train.pt", "UBP 4": "ubp_train.pt",
    "ZEISS F16": "ViT-H-14_features_train.safetensors",
    "ZEISS BF16": "dinov2_features_train_full.safetensors",
}


@pytest.mark.parametrize("kind", FILES)
def test_each_file_gives_every_image_its_own_vector(tmp_path, kind):
    path = write(kind, tmp_path / FILES[kind])
    assert find_features(tmp_path, "train") == path
    read = read_features(path, len(IMAGES), IMAGES)
    assert read.shape == (len(IMAGES), 1, WIDTH) and read.dtype == torch.float32
    rough = {"ATM half": 1e-3, "ZEISS F16": 1e-3, "ZEISS BF16": 1e-2}.get(kind, 0)
    np.testing.assert_allclose(read[:, 0], VALUES, atol=rough)


def test_tokens_of_an_image_stay_together(tmp_path):
    tokens = torch.from_numpy(unit(len(IMAGES), 5, WIDTH)).half()
    path = tmp_path / "L_features_train_full.safetensors"
    save_safetensors(path, {"img_features": tokens})
    assert torch.equal(read_features(path, len(IMAGES), IMAGES), tokens.float())


@pytest.mark.parametrize("kind", ["NeuroBridge", "ATM", "ZEISS F16"])
def test_files_without_names_want_sorted_images(tmp_path, kind):
    path, other = write(kind, tmp_path / FILES[kind]), (*IMAGES[4:], *IMAGES[:4])
    with pytest.raises(ValueError, match=r"row 0 is 00002_bat/bat_00s.jpg.*by their image's path"):
        read_features(path, len(IMAGES), other)


def test_names_match_any_order_and_a_part_of_the_images(tmp_path):
    save_ubp(tmp_path / "ubp_train.pt")
    rows = [7, 2, 11]
    read = read_features(tmp_path / "ubp_train.pt", 3, [IMAGES[row] for row in rows])
    np.testing.assert_array_equal(read[:, 0], VALUES[rows])
    with pytest.raises(ValueError, match="pass `images`"):
        read_features(tmp_path / "ubp_train.pt", 3)


def test_images_that_lack_or_repeat_are_named(tmp_path):
    path = tmp_path / "ubp_train.pt"
    save_ubp(path, images=IMAGES[:-1])
    with pytest.raises(ValueError, match=r"no features of 1 of 12 .*00010_lens/lens_03s\.jpg"):
        read_features(path, len(IMAGES), IMAGES)
    torch.save({"img_features": {"a/b/c.jpg": WORDS[0], "d/b/c.jpg": WORDS[0]}}, path)
    with pytest.raises(ValueError, match="1 images are named twice"):
        read_features(path, 1, [Path("b/c.jpg")])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"img_features": {"low": {"a.jpg": WORDS[0]}, "avg": {"a.jpg": WORDS[0]}}}, "low, avg"),
        ({"eeg": WORDS}, "no array called img_features .* it has eeg"),
        ({}, "it has none"),
        ([1, 2], "holds a list"),
        ({"a.jpg": WORDS[0], "b.jpg": WORDS[0, :3]}, "2 shapes"),
        ({"img_features": WORDS.bfloat16()}, "bfloat16"),
    ],
)
def test_other_contents_are_told(tmp_path, content, message):
    torch.save(content, tmp_path / "x_train.pt")
    with pytest.raises(ValueError, match=rf"x_train\.pt.*{message}"):
        read_features(tmp_path / "x_train.pt", 3, IMAGES[:3])


def test_numbers_of_rows_and_missing_class_tokens_are_told(tmp_path):
    path = write("ATM", tmp_path / "a_train.pt")
    with pytest.raises(ValueError, match="12 rows .* recording has 4 images"):
        read_features(path, 4, IMAGES[:4])
    torch.save({"img_features": torch.from_numpy(unit(2, 256, WIDTH))}, path)
    with pytest.warns(UserWarning, match="256 tokens are the patches"):
        read_features(path, 2, IMAGES[:2])
    save_safetensors(tmp_path / "b.safetensors", {"text_features": WORDS})
    with pytest.raises(ValueError, match="text_features; wanted img_features"):
        read_features(tmp_path / "b.safetensors", 3)


@pytest.mark.parametrize("protocol", [2, 4])
def test_nothing_in_a_torch_file_is_run(tmp_path, protocol):
    path, marker = tmp_path / "a_train.pt", tmp_path / "it_ran"
    torch.save({"img_features": Payload(marker)}, path, pickle_protocol=protocol)
    with pytest.raises(ValueError, match=r"a_train\.pt is a zip archive .*cannot be read"):
        read_features(path, 3, IMAGES[:3])
    assert not marker.exists()


@pytest.mark.parametrize("kind", FILES)
def test_damage_is_an_error_that_names_the_file(tmp_path, kind):
    path = write(kind, tmp_path / FILES[kind])
    whole = path.read_bytes()
    for cut in (0, 5, 9, 60, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:cut])
        with pytest.raises(ValueError, match=path.name):
            read_features(path, len(IMAGES), IMAGES)


def test_contexts_are_made_from_them(tmp_path):
    """What `--features` of the examples does, with UBP's files of both splits."""
    from types import SimpleNamespace

    save_ubp(tmp_path / "ubp_train.pt")
    save_ubp(tmp_path / "ubp_test.pt", values=-VALUES, images=IMAGES)
    recording = SimpleNamespace(images=IMAGES[::-1], concepts=["bat"] * 12, kind="meg")
    options = ContextOptions(features=tmp_path, clip="")
    encoder, made = make_contexts(options, {"train": recording, "test": recording})
    np.testing.assert_array_equal(made["train"][:, 0], VALUES[::-1])
    np.testing.assert_array_equal(made["test"][:, 0], -VALUES[::-1])
    assert not encoder.tokens


def test_two_files_that_could_be_meant_are_refused(tmp_path):
    for name in ("a_features_train.pt", "a_features_train_full.pt"):
        write("ATM", tmp_path / name)
    with pytest.raises(ValueError, match=r"a_features_train\.pt and a_features_train_full\.pt"):
        find_features(tmp_path, "train")
