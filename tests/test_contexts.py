"""Contexts: the encoder that options name, and what must not be mixed."""

from __future__ import annotations

import types
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.test_feature_store import photo
from tinybrain.clip.model import DEMO_TEXT, DEMO_VISION
from tinybrain.contexts import ContextOptions, choose_encoder, image_tokens, make_contexts
from tinybrain.encoder import random_encoder
from tinybrain.feature_store import build
from tinybrain.features import encode
from tinybrain.things.meg.tested import TEST_CONCEPTS


def recordings(folder, counts=(4, 3)):
    """What `make_contexts` asks of recordings: images and concepts."""
    made = {}
    for split, count in zip(("train", "test"), counts):
        paths = tuple(photo(folder / f"{split}/{i:05d}_dog/{i}.png", i) for i in range(count))
        made[split] = types.SimpleNamespace(
            images=paths, concepts=("00001_dog",) * count, kind="eeg"
        )
    return made


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"captions": Path("table.csv")}, "captions are not read with the context 'image'"),
        ({"features": "there", "clip": "random"}, "not made by clip 'random'"),
        ({"features": "there", "clip": "", "context": "text"}, "needs clip for the words"),
    ],
)
def test_options_that_exclude_each_other_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        choose_encoder(ContextOptions(**options))


def test_a_random_tower_encodes_both_splits(tmp_path):
    data = recordings(tmp_path)
    encoder, made = make_contexts(ContextOptions(clip="random-small", context="image+text"), data)
    assert encoder.name == "random" and encoder.context == "image+text"
    clip = random_encoder(DEMO_VISION, context="image+text", text=DEMO_TEXT).load_clip()
    for split, recording in data.items():
        assert made[split].shape == (len(recording.images), 2, 256)
        torch.testing.assert_close(made[split][:, :1], encode(clip, recording.images))
    words = made["train"][:, 1]
    torch.testing.assert_close(words, words[:1].expand_as(words))  # one concept, one caption


def test_rows_of_a_file_are_taken_as_they_are(tmp_path):
    data, rng = recordings(tmp_path), np.random.default_rng(0)
    for name, count in (("training", 4), ("test", 3)):
        values = rng.normal(size=(count, 1, 5)).astype(np.float32)
        values /= np.linalg.norm(values, axis=2, keepdims=True)
        np.save(tmp_path / f"clip_feature_maps_{name}.npy", values)
    encoder, made = make_contexts(ContextOptions(features=tmp_path, clip=""), data)
    assert encoder.name == "features" and encoder.source == str(tmp_path)
    np.testing.assert_array_equal(
        made["test"], np.load(tmp_path / "clip_feature_maps_test.npy")
    )


def test_features_of_all_meg_images_serve_where_test_concepts_are_left_out(tmp_path):
    """The row of an image is told by its concept's place among the 1,654 that are left."""
    concepts = [f"c{number:04d}" for number in range(1, 1855) if number not in TEST_CONCEPTS]
    names = [f"images_meg/{c}/{c}_{e:02d}s.jpg" for c in concepts for e in range(1, 13)]
    train = types.SimpleNamespace(images=[Path(name) for name in names], kind="meg")
    assert len(names) == 19_848
    rows = np.arange(22_248)
    circle = np.stack([np.cos(rows / 22_248), np.sin(rows / 22_248)], axis=1)
    np.save(tmp_path / "vit_feats_train.npy", circle.astype(np.float32))
    options = ContextOptions(features=tmp_path, clip="")
    encoder = choose_encoder(options)
    found = image_tokens(options, encoder, None, train, "train", "cpu", False)
    told = np.array([12 * (int(name[12:16]) - 1) + int(name[-7:-5]) - 1 for name in names])
    np.testing.assert_array_equal(found[:, 0], circle[told].astype(np.float32))
    train.images = train.images[:-12]
    with pytest.raises(ValueError, match="images of 1653 concepts"):
        image_tokens(options, encoder, None, train, "train", "cpu", False)


def test_a_kept_store_is_matched_by_name_and_not_by_row(tmp_path):
    data = recordings(tmp_path / "images")
    clip = random_encoder(DEMO_VISION).load_clip()
    for name, split in (("training", "train"), ("test", "test")):
        backwards = data[split].images[::-1]
        build(tmp_path / "kept" / name, backwards, clip, weights={"random": "small"},
              root=tmp_path / "images" / split)  # fmt: skip
    _, made = make_contexts(ContextOptions(features=tmp_path / "kept", clip=""), data)
    wanted = encode(clip, data["train"].images, unit_length=True)
    torch.testing.assert_close(made["train"], wanted, rtol=1e-5, atol=1e-6)


def test_one_store_of_all_images_serves_both_splits(tmp_path):
    data = recordings(tmp_path / "images")
    everything = [*data["train"].images, *data["test"].images]
    clip = random_encoder(DEMO_VISION).load_clip()
    build(tmp_path / "kept", everything, clip, weights={"random": "small"},
          root=tmp_path / "images")  # fmt: skip
    _, made = make_contexts(ContextOptions(features=tmp_path / "kept", clip=""), data)
    wanted = encode(clip, data["test"].images, unit_length=True)
    torch.testing.assert_close(made["test"], wanted, rtol=1e-5, atol=1e-6)


def test_a_store_of_another_clip_is_refused(tmp_path, monkeypatch):
    data = recordings(tmp_path / "images")
    monkeypatch.setattr("tinybrain.clip.weights.checksum", lambda name: "another")
    build(tmp_path / "kept/training", data["train"].images, random_encoder(DEMO_VISION).load_clip(),
          weights={"random": "small"})  # fmt: skip
    with pytest.raises(ValueError, match="was not made by clip 'L14.pt'"):
        make_contexts(ContextOptions(features=tmp_path / "kept", clip="L14.pt"), data)
