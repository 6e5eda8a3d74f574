"""Contexts of images: encoded in batches, or read from a file."""

from __future__ import annotations

import io
import pickle
import threading
import warnings

import numpy as np
import pytest
import torch
from PIL import Image

from tinybrain.clip import VisionConfig, preprocess, random_clip
from tinybrain.features import as_context, encode, find_features, pooled, read_features

TINY = VisionConfig(image_size=16, patch_size=8, width=32, layers=2, heads=4, embed_dim=24)


@pytest.fixture(scope="module")
def clip():
    return random_clip(TINY)


def photos(n, size=(30, 20)):
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)) for _ in range(n)]


def write(tmp_path, array, name="clip_feature_maps_test.npy"):
    np.save(tmp_path / name, array)
    return tmp_path / name


def unit(*shape, seed=0):
    array = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    return array / np.linalg.norm(array, axis=-1, keepdims=True)


# -------------------------------------------------------------------------------------------------
# Encoding


@pytest.mark.parametrize("batch_size", [1, 3, 7, 50])
@pytest.mark.parametrize("tokens", [False, True])
def test_batches_equal_one_image_at_a_time(tmp_path, clip, batch_size, tokens):
    images = photos(7)
    images[1].save(tmp_path / "one.png")
    mixed = [images[0], tmp_path / "one.png", np.asarray(images[2]), *images[3:]]
    z = encode(clip, mixed, tokens=tokens, batch_size=batch_size)
    alone = [clip.encode_image(preprocess(image, 16)[None], tokens) for image in images]
    wanted = torch.cat(alone) if tokens else torch.cat(alone)[:, None]
    assert z.shape == (7, 5 if tokens else 1, 24) and z.dtype == torch.float32
    torch.testing.assert_close(z, wanted, rtol=1e-5, atol=1e-5)


def test_unit_length_is_asked_for(clip):
    raw, scaled = encode(clip, photos(3)), encode(clip, tuple(photos(3)), unit_length=True)
    assert (raw.norm(dim=2) - 1).abs().min() > 0.1
    torch.testing.assert_close(scaled, raw / raw.norm(dim=2, keepdim=True))


class Watched(list):
    """A list that notes which places were asked for."""

    asked = -1

    def __getitem__(self, place):
        self.asked = max(self.asked, place)
        return super().__getitem__(place)


def test_next_images_are_decoded_meanwhile_and_no_more_than_two_batches(clip, monkeypatch):
    images, ahead = Watched(photos(40)), []
    forward = clip.encode_image

    def slow(pixels, tokens):
        for _ in range(200):  # as long as it may take for the decoders to do all they may
            threading.Event().wait(0.005)
            if images.asked >= min(39, 4 * len(ahead) + 11):
                break
        ahead.append(images.asked - 4 * len(ahead) - 3)  # beyond the batch being encoded
        return forward(pixels, tokens)

    monkeypatch.setattr(clip, "encode_image", slow)
    encode(clip, images, batch_size=4)
    assert ahead == [8] * 8 + [4, 0]


def test_no_gradients_and_only_one_image(clip):
    clip = random_clip(TINY).requires_grad_(True)
    z = encode(clip, photos(1))
    assert not z.requires_grad and z.shape == (1, 1, 24)


def test_errors_name_the_image_and_leave_no_thread(tmp_path, clip):
    images = [tmp_path / f"{place}.png" for place in range(30)]
    for path, image in zip(images, photos(30)):
        image.save(path)
    before = threading.active_count()
    images[17].write_bytes(images[17].read_bytes()[:60])
    with pytest.raises(ValueError, match=r"image 17 of 30, counted from 0: .*17\.png is trunc"):
        encode(clip, images, batch_size=4)
    images[17].unlink()
    with pytest.raises(FileNotFoundError, match=r"image 17 of 30, .*17\.png does not exist"):
        encode(clip, images, batch_size=4)
    images[17] = 3.5
    with pytest.raises(TypeError, match="image 17 of 30, .*not float"):
        encode(clip, images, batch_size=4)
    assert threading.active_count() == before


def test_single_images_and_empty_lists_are_refused(tmp_path, clip):
    for single in ("image.png", tmp_path, photos(1)[0], np.zeros((8, 8, 3), np.uint8)):
        with pytest.raises(TypeError, match="takes a list of images"):
            encode(clip, single)
    with pytest.raises(ValueError, match="no images: the list is empty"):
        encode(clip, [])
    with pytest.raises(ValueError, match="batch_size is -1; wanted 1 or more"):
        encode(clip, photos(2), batch_size=-1)


def test_progress_is_shown_when_asked(clip, capsys):
    encode(clip, photos(3))
    assert not capsys.readouterr().err
    encode(clip, photos(3), progress=True)
    assert "3" in capsys.readouterr().err


# -------------------------------------------------------------------------------------------------
# Reading


@pytest.mark.parametrize("shape", [(6, 8), (6, 1, 8), (6, 5, 8)])
@pytest.mark.parametrize("kind", ["<f4", "<f2", "<f8", ">f4"])
def test_values_are_those_of_the_file(tmp_path, shape, kind):
    array = np.asarray(unit(*shape), dtype=kind)
    features = read_features(write(tmp_path, array), 6)
    assert features.dtype == torch.float32 and features.is_contiguous()
    wanted = array.astype(np.float32).reshape(6, -1, 8)
    np.testing.assert_array_equal(features.numpy(), wanted)
    again = read_features(str(write(tmp_path, np.asfortranarray(array))), 6)
    assert torch.equal(again, features)


def test_result_does_not_hang_on_the_file(tmp_path):
    path = write(tmp_path, unit(6, 8))
    features = read_features(path, 6)
    features += 1
    np.testing.assert_array_equal(np.load(path), unit(6, 8))


@pytest.mark.parametrize(
    "array",
    [unit(6), unit(6, 1, 1, 8), np.ones((6, 8), int), np.ones((6, 8), complex), unit(6, 0, 8),
     np.array(3.0), np.full((6, 8), "a")],
)  # fmt: skip
def test_other_shapes_and_types_are_refused(tmp_path, array):
    path = write(tmp_path, array)
    with pytest.raises(ValueError, match=r"test\.npy holds .*features are floats of shape"):
        read_features(path, 6)


def test_other_numbers_of_rows_are_refused(tmp_path):
    path = write(tmp_path, unit(6, 1, 8))
    with pytest.raises(ValueError, match=r"has 6 rows .*recording has 200 images.*order") as error:
        read_features(path, 200)
    assert "(concepts" not in str(error.value)
    path = write(tmp_path, unit(3, 4, 8))
    with pytest.raises(ValueError, match=r"\(concepts, images, width\).*pass `images`"):
        read_features(path, 12)


@pytest.mark.parametrize("value", [0, np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("shape", [(9, 8), (9, 4, 8)])
def test_rows_without_a_meaning_are_named(tmp_path, value, shape):
    array = unit(*shape)
    vectors = array.reshape(9, -1, 8)  # a view
    vectors[2, -1] = value  # the last token
    vectors[7, 0, slice(None) if value == 0 else 3] = value
    with pytest.raises(ValueError, match=r"2 of 9 rows hold .*\(rows 2, 7, counted from 0\)"):
        read_features(write(tmp_path, array), 9)


def test_features_are_not_copied_where_torch_can_share_them():
    """Those of all tokens of THINGS are 13 GB."""
    own = np.ones((4, 3, 8), np.float32)
    assert np.shares_memory(as_context(own).numpy(), own)
    assert as_context(own[:, 0]).shape == (4, 1, 8)
    own.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # torch's, of arrays that cannot be written
        assert not np.shares_memory(as_context(own).numpy(), own)


def test_many_bad_rows_are_counted_not_listed(tmp_path):
    with pytest.raises(ValueError, match=r"30 of 30 .*\(rows 0, 1, 2, 3, 4 and 25 more, counted"):
        read_features(write(tmp_path, np.zeros((30, 8), np.float32)), 30)


def test_odd_norms_are_warned_of(tmp_path):
    mixed = unit(6, 1, 8)
    mixed[3:] *= 10
    with pytest.warns(UserWarning, match="1 to 10 long.*raw and normalised"):
        features = read_features(write(tmp_path, mixed), 6)
    np.testing.assert_array_equal(features.numpy(), mixed)


@pytest.mark.parametrize("scales", [(1, 1), (0.83, 0.93), (8, 14)])
def test_unit_and_like_norms_pass_in_silence(tmp_path, scales):
    array = unit(6, 3, 8) * np.linspace(*scales, 6, dtype=np.float32)[:, None, None]
    array[:, 1:] *= np.array([[30], [0.1]], dtype=np.float32)  # patches may differ
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_features(write(tmp_path, array), 6)


class Payload:
    """What a hostile file would run when unpickled."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return open, (str(self.marker), "w")


@pytest.mark.parametrize("container", ["object array", "pickle"])
def test_nothing_in_a_file_is_run(tmp_path, container):
    path, marker = tmp_path / "features.npy", tmp_path / "it_ran"
    if container == "pickle":
        path.write_bytes(pickle.dumps(Payload(marker)))
    else:
        np.save(path, np.array([Payload(marker)] * 6, dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match=r"features\.npy is (a pickle|damaged, or no plain)"):
        read_features(path, 6)
    assert not marker.exists()


def npz() -> bytes:
    file = io.BytesIO()
    np.savez(file, unit(6, 8))
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "match"),
    [(b"", "no array"), (b"text", "no array"), (npz(), "zip"), (b"\x89HDF\r\n", "HDF5"),
     (b"\x93NUMPY\x01\x00\x10\x00{'descr': (((((((", "damaged"),
     (b"\x93NUMPY\x09\x00", "damaged")],
)  # fmt: skip
def test_other_and_damaged_files_are_refused_by_name(tmp_path, content, match):
    path = tmp_path / "features.npy"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"features\.npy is .*{match}"):
        read_features(path, 6)


def test_truncated_and_missing_files_are_named(tmp_path):
    path = write(tmp_path, unit(6, 8))
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(ValueError, match=r"clip_feature_maps_test\.npy is damaged"):
        read_features(path, 6)
    for missing in (tmp_path / "none.npy", tmp_path):
        with pytest.raises(FileNotFoundError, match="is not a file"):
            read_features(missing, 6)


# -------------------------------------------------------------------------------------------------
# Finding, pooling


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("clip_feature_maps_training.npy", "train"),
        ("clip_feature_maps_train.npy", "train"),
        ("CLIP_Feature_Maps_Training.NPY", "train"),
        ("clip_feature_maps_test.npy", "test"),
        ("Clip_feature_maps_TEST.npy", "test"),
    ],
)
def test_nice_s_names_are_found(tmp_path, name, split):
    for other in ("center_clip.npy", "resnet_feature_maps_training.npy", name):
        (tmp_path / other).touch()
    assert find_features(tmp_path, split) == tmp_path / name
    assert find_features(str(tmp_path / "center_clip.npy"), split) == tmp_path / "center_clip.npy"


def test_what_cannot_be_found_lists_what_is_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no clip_feature_maps_test\.npy.*holds nothing"):
        find_features(tmp_path, "test")
    (tmp_path / "clip_feature_maps_train.npy").touch()
    with pytest.raises(FileNotFoundError, match=r"test images; it holds clip_feature_maps_train"):
        find_features(tmp_path, "test")
    (tmp_path / "clip_feature_maps_training.npy").touch()
    with pytest.raises(ValueError, match=r"train\.npy and clip_feature_maps_training\.npy"):
        find_features(tmp_path, "train")
    with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
        find_features(tmp_path / "nowhere", "train")


def test_pooled_is_the_class_token(clip):
    images = photos(4)
    tokens, alone = encode(clip, images, tokens=True), encode(clip, images)
    torch.testing.assert_close(pooled(tokens), alone[:, 0])
    assert torch.equal(pooled(alone), alone[:, 0])
