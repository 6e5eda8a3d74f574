"""Features of a set of images on disk: made once, continued after any stop, never stale."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tinybrain.clip import VisionConfig, random_clip
from tinybrain.feature_store import FeatureStore, build
from tinybrain.features import encode, read_features

TINY = VisionConfig(image_size=16, patch_size=8, width=32, layers=1, heads=4, embed_dim=24)
SEED = {"random": "tiny", "seed": 0}


def photo(path, seed, size=(30, 20)):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    os.utime(path, ns=(0, seed * 10**9))  # a time of change that no clock's coarseness can hide
    return path


def image_set(folder):
    return [photo(folder / f"{i // 4:05d}_c/{i:02d}.png", i) for i in range(7)]


@pytest.fixture
def images(tmp_path):
    return image_set(tmp_path / "set")


class Tower:
    """Loads the tiny tower, counting how often, and how many images it has encoded."""

    def __init__(self, seed=0):
        self.loads, self.encoded, self.seed = 0, 0, seed

    def __call__(self):
        self.loads += 1
        clip = random_clip(TINY, self.seed)
        forward = clip.encode_image

        def counting(pixels, tokens=False):
            self.encoded += len(pixels)
            return forward(pixels, tokens)

        clip.encode_image = counting
        return clip


def make(folder, images, tower=None, **how):
    how = {"weights": SEED, "batch_size": 2, "anew": True, **how}
    return build(folder, images, tower or Tower(), **how)


def refuse(*_, **__):
    raise AssertionError("the tower was loaded")


# -------------------------------------------------------------------------------------------------
# What is made


@pytest.mark.parametrize("tokens", [False, True])
@pytest.mark.parametrize("unit_length", [False, True])
def test_rows_are_those_of_encode(tmp_path, images, tokens, unit_length):
    how = {"tokens": tokens, "unit_length": unit_length}
    store = make(tmp_path / "store", images, batch_size=3, **how)
    wanted = encode(random_clip(TINY), images, batch_size=3, **how).numpy()
    np.testing.assert_array_equal(store.features, wanted)
    assert store.features.shape == (7, 5 if tokens else 1, 24) and store.encoded == 7
    assert store.names[5] == "00001_c/05.png" and store.weights == SEED
    plain = np.load(tmp_path / "store/features.npy", mmap_mode="r")
    assert plain.dtype == np.float32 and plain.flags.c_contiguous
    np.testing.assert_array_equal(plain, wanted)
    np.testing.assert_array_equal(read_features(tmp_path / "store/features.npy", 7), wanted)
    assert sorted(os.listdir(tmp_path / "store")) == ["features.json", "features.npy", "lock"]


def test_description_says_what_made_the_features(tmp_path, images):
    make(tmp_path / "store", tmp_path / "set", tokens=True)
    about = json.loads((tmp_path / "store/features.json").read_text())
    assert about["format"] == "tinybrain features" and about["version"] == 1
    assert about["weights"] == SEED and about["tower"]["image_size"] == 16
    assert about["tokens"] is True and about["unit_length"] is True
    assert about["precision"] == "float32" and "clip.image" in about["preprocessing"]
    seen = images[5].stat()
    assert about["images"]["00001_c/05.png"] == [seen.st_size, seen.st_mtime_ns]


def test_bf16_is_near_float32_and_kept_as_float32(tmp_path, images):
    exact = make(tmp_path / "exact", images).features
    store = make(tmp_path / "store", images, precision="bf16")
    assert store.features.dtype == np.float32
    assert 0 < np.abs(store.features - exact).max() < 0.02
    np.testing.assert_allclose(np.linalg.norm(store.features, axis=2), 1, rtol=1e-6)


def test_rows_are_found_by_name_and_by_path(tmp_path, images):
    store = make(tmp_path / "store", images)
    assert store.row("00001_c/04.png") == store.row(images[4]) == 4
    elsewhere = [Path("/mnt/things") / path.relative_to(tmp_path) for path in images[::-1]]
    np.testing.assert_array_equal(store.rows(elsewhere), range(6, -1, -1))
    with pytest.raises(ValueError, match=r"no features of 04\.png; one .*00000_c/00\.png"):
        store.row("04.png")


# -------------------------------------------------------------------------------------------------
# Asked again


def test_asked_again_nothing_is_loaded_or_written(tmp_path, images):
    make(tmp_path / "store", images)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "store").iterdir()}
    store = make(tmp_path / "store", images, refuse)
    assert store.encoded == 0 and len(store.features) == 7
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "store").iterdir()}


def test_only_changed_and_new_images_are_encoded(tmp_path, images):
    old = np.array(make(tmp_path / "store", images).features)
    photo(images[2], 50)
    new = photo(tmp_path / "set/00000_c/005.png", 51)
    wanted = [new, *images[1:]]  # the first is gone
    store = make(tmp_path / "store", wanted, tower := Tower())
    assert tower.encoded == store.encoded == 2
    np.testing.assert_array_equal(store.features[[1, 3, 4, 5, 6]], old[[1, 3, 4, 5, 6]])
    both = make(tmp_path / "both", [new, images[2]])  # one batch there, as here: equal to the bit
    np.testing.assert_array_equal(store.features[[0, 2]], both.features)
    assert store.names[0] == "00000_c/005.png" and "00000_c/00.png" not in store.names


@pytest.mark.parametrize("what", ["bytes", "mtime"])
def test_either_sign_of_change_counts(tmp_path, images, what):
    make(tmp_path / "store", images)
    seen = images[3].stat()
    if what == "bytes":
        images[3].write_bytes(images[3].read_bytes() + b"\0")
    os.utime(images[3], ns=(0, seen.st_mtime_ns + (what == "mtime")))
    assert make(tmp_path / "store", images).encoded == 1


def test_order_and_removal_need_no_tower(tmp_path, images):
    old = np.array(make(tmp_path / "store", images).features)
    store = make(tmp_path / "store", images[::-2], refuse)
    np.testing.assert_array_equal(store.features, old[::-2])


@pytest.mark.parametrize(
    ("name", "how"),
    [("weights", {"weights": {"random": "tiny", "seed": 1}, "tower": Tower(1)}),
     ("tokens", {"tokens": True}), ("unit_length", {"unit_length": False}),
     ("precision", {"precision": "bf16"}),
     ("tower", {"tower": random_clip(VisionConfig(16, 8, 32, 1, 2, 24))})],
)  # fmt: skip
def test_other_settings_encode_all_anew_and_say_so(tmp_path, images, name, how):
    old = np.array(make(tmp_path / "store", images).features)
    with pytest.warns(UserWarning, match=rf"store: {name} changed: all 7 images"):
        store = make(tmp_path / "store", images, **how)
    assert store.encoded == 7 and not np.array_equal(store.features, old)


def test_features_made_otherwise_are_not_replaced_unasked(tmp_path, images):
    """Hours of work, and what trained models stand on: finished, and half made."""
    old = np.array(make(tmp_path / "store", images).features)
    other = {"tokens": True, "anew": False}
    for _ in range(2):
        with pytest.raises(ValueError, match=r"store: tokens changed: all 7 .* or say --anew"):
            make(tmp_path / "store", images, tower := Tower(), **other)
        assert tower.encoded == 0
        np.testing.assert_array_equal(FeatureStore.open(tmp_path / "store").features, old)
    assert make(tmp_path / "store", images, refuse, anew=False).encoded == 0
    photo(images[0], 60)
    assert make(tmp_path / "store", images, anew=False).encoded == 1  # one image is another thing


def test_other_preprocessing_is_noticed(tmp_path, images, monkeypatch):
    make(tmp_path / "store", images)
    monkeypatch.setattr("tinybrain.feature_store.RULES", 99)
    with pytest.warns(UserWarning, match="preprocessing changed"):
        assert make(tmp_path / "store", images).encoded == 7


def test_old_features_stay_until_new_ones_are_complete(tmp_path, images):
    old = np.array(make(tmp_path / "store", images).features)
    good = images[5].read_bytes()
    images[5].write_bytes(good[:50])
    with pytest.warns(UserWarning), pytest.raises(ValueError, match=r"05\.png is trunc.*4 of 7"):
        make(tmp_path / "store", images, tokens=True)
    np.testing.assert_array_equal(FeatureStore.open(tmp_path / "store").features, old)


def test_touched_weights_are_hashed_once_and_nothing_is_encoded(tmp_path, images, monkeypatch):
    weights, hashed = tmp_path / "w.pt", []
    weights.write_bytes(b"weights")
    make(tmp_path / "store", images, weights=weights)
    monkeypatch.setattr("tinybrain.feature_store.file_sha256", lambda p: hashed.append(p) or known)
    known = FeatureStore.open(tmp_path / "store").weights["sha256"]
    assert len(known) == 64
    make(tmp_path / "store", images, refuse, weights=weights)
    assert not hashed
    os.utime(weights, ns=(0, 1))
    make(tmp_path / "store", images, refuse, weights=weights)
    make(tmp_path / "store", images, refuse, weights=weights)
    assert hashed == [weights]
    os.utime(weights, ns=(0, 2))
    monkeypatch.setattr("tinybrain.feature_store.file_sha256", lambda path: "of another content")
    with pytest.warns(UserWarning, match="weights changed"):
        make(tmp_path / "store", images, weights=weights)


def test_a_loader_of_another_tower_is_refused(tmp_path, images):
    make(tmp_path / "store", images)
    photo(images[0], 60)
    with pytest.raises(ValueError, match=r"the tower is .*'heads': 2.*'heads': 4"):
        make(tmp_path / "store", images, lambda: random_clip(VisionConfig(16, 8, 32, 1, 2, 24)))


# -------------------------------------------------------------------------------------------------
# Refused


def test_a_broken_image_is_named_and_what_came_before_is_kept(tmp_path, images):
    good = images[5].read_bytes()
    images[5].write_bytes(good[:50])
    with pytest.raises(ValueError, match=r"05\.png is truncated.*; 4 of 7 rows are kept: mend"):
        make(tmp_path / "store", images)
    images[5].write_bytes(good)
    assert make(tmp_path / "store", images).encoded == 3
    images[5].unlink()
    with pytest.raises(FileNotFoundError, match=r"05\.png is not a file"):
        make(tmp_path / "store", images)


def test_features_that_are_no_numbers_are_not_kept(tmp_path, images):
    clip = random_clip(TINY)
    clip.visual.proj[0, 0] = float("nan")
    with pytest.raises(ValueError, match=r"NaN .*00\.png on; 0 of 7 rows are kept"):
        make(tmp_path / "store", images, clip)


def test_lists_that_are_none_are_refused(tmp_path, images):
    for wrong, error, match in [
        ([], ValueError, "no images"),
        ([*images, images[2]], ValueError, r"02\.png is listed twice"),
        ([*images, tmp_path / "gone.png"], FileNotFoundError, r"gone\.png is not a file"),
        ([Image.new("RGB", (9, 9))], TypeError, "of image files, not of a Image"),
    ]:
        with pytest.raises(error, match=match):
            make(tmp_path / "store", wrong, refuse)
    with pytest.raises(FileNotFoundError, match=r"04\.png is not a file below .*00000_c"):
        make(tmp_path / "store", images, refuse, root=images[0].parent)
    for how in ({"batch_size": 0}, {"precision": "half"}):
        with pytest.raises(ValueError, match="wanted at least 1, and one of float32, bf16"):
            make(tmp_path / "store", images, refuse, **how)
    assert not (tmp_path / "store").exists()


def test_folders_of_other_things_are_refused(tmp_path, images):
    with pytest.raises(ValueError, match=r"holds 00000_c, 00001_c, and no features\.json"):
        make(tmp_path / "set", images, refuse)
    with pytest.raises(ValueError, match="is a file; features are kept in a folder"):
        make(images[0], images, refuse)
    for content, match in [("{}", "another kind"), ("{", "damaged"), ("[]", "another kind")]:
        (tmp_path / "set/features.json").write_text(content)
        with pytest.raises(ValueError, match=rf"features\.json is .*{match}"):
            make(tmp_path / "set", images, refuse)
    assert not (tmp_path / "set/unfinished").exists()
    with pytest.raises(FileNotFoundError, match="nowhere holds no features"):
        FeatureStore.open(tmp_path / "nowhere")


def test_damaged_and_newer_stores_are_named(tmp_path, images):
    make(tmp_path / "store", images)
    array, about = tmp_path / "store/features.npy", tmp_path / "store/features.json"
    whole = array.read_bytes()
    for content in (whole[:-4], b"", None):
        array.unlink() if content is None else array.write_bytes(content)
        with pytest.raises(ValueError, match=r"features\.npy is missing or damaged.*build it agai"):
            FeatureStore.open(tmp_path / "store")
    np.save(array, np.zeros((6, 1, 24), np.float32))
    with pytest.raises(ValueError, match=r"shape \(6, 1, 24\), features\.json says .*\(7, 1, 24\)"):
        FeatureStore.open(tmp_path / "store")
    about.write_text(json.dumps({**json.loads(about.read_text()), "version": 2}))
    with pytest.raises(ValueError, match="has version 2, this tinybrain reads up to 1"):
        FeatureStore.open(tmp_path / "store")
