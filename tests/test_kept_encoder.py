"""A model trained on kept features sees photographs by the encoder that made them.

The README's steps: encode_images.py writes a store, training takes it, generate.py takes photos.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from tests.test_contexts import recordings
from tests.test_encode_images import run_example as encode_by_random_small
from tests.test_store_files import HERE
from tests.test_train import CONFIG, QUICK, recording
from tinybrain.clip import weights
from tinybrain.clip.model import DEMO_VISION, VisionConfig, random_clip
from tinybrain.contexts import ContextOptions, choose_encoder, encoder_of, make_contexts
from tinybrain.encoder import Encoder
from tinybrain.feature_store import FeatureStore, build
from tinybrain.generation import Plan, generate
from tinybrain.pipeline import ImageToBrain
from tinybrain.recipes import TINYBRAIN
from tinybrain.stimuli import find_stimuli

TOWER = VisionConfig(image_size=32, patch_size=16, width=64, layers=1, heads=1, embed_dim=12)


@pytest.fixture
def tower(tmp_path):
    """The file of a tower's weights."""
    torch.save(random_clip(TOWER, 4).state_dict(), tmp_path / "tower.pt")
    return tmp_path / "tower.pt"


def keep(folder, images, file, **how):
    return build(folder, images, lambda: weights.load(file), weights=file, **how)


def trained_on(folder, data):
    """A model as the examples prepare it from `--features folder` alone."""
    encoder, made = make_contexts(ContextOptions(features=folder, clip=""), data)
    fields, _ = recording(n=len(made["train"]))
    config = dataclasses.replace(CONFIG, context_dim=made["train"].shape[2])
    model, _ = ImageToBrain.prepare(
        dataclasses.replace(TINYBRAIN, **QUICK), config, fields, made["train"], encoder
    )
    torch.nn.init.normal_(model.unet.conv_out.weight, generator=torch.manual_seed(0))
    return model, made


@pytest.mark.parametrize("how", [{}, {"tokens": True}, {"unit_length": False}])
def test_photographs_and_their_features_give_the_same_signals(tmp_path, tower, how):
    data = recordings(tmp_path / "images", counts=(8, 3))
    for name, split in (("training", "train"), ("test", "test")):
        keep(tmp_path / "kept" / name, data[split].images, tower, **how)
    model, made = trained_on(tmp_path / "kept", data)
    path = model.save(tmp_path / "model.pt")
    again = ImageToBrain.load(path)
    assert dataclasses.asdict(again.encoder) == dataclasses.asdict(model.encoder)
    torch.testing.assert_close(again.encode(data["test"].images), made["test"])
    photos = find_stimuli([tmp_path / "images" / "test"])
    assert generate(path, photos, Plan(trials=2, steps=2), tmp_path / "out") == 6
    wanted = again.generate(made["test"], trials=2, steps=2).data
    np.testing.assert_allclose(np.load(tmp_path / "out/signals.npy"), wanted, rtol=1e-4, atol=1e-4)


def test_the_examples_store_is_enough(tmp_path, tower):
    """With the weights of a file, and with a tower drawn at random."""
    data = recordings(tmp_path / "images")
    command = [sys.executable, "examples/encode_images.py", tmp_path / "images"]
    done = subprocess.run([*map(str, command), "--out", tmp_path / "kept", "--weights", tower],
                          capture_output=True, text=True, check=False, **HERE)
    assert not done.returncode, done.stderr
    of_file = choose_encoder(ContextOptions(features=tmp_path / "kept", clip=""))
    assert (of_file.name, of_file.weights) == ("clip", str(tower))
    assert of_file.sha256 == weights.checksum(tower) and of_file.unit_length
    assert not encode_by_random_small(tmp_path / "images", "--out", tmp_path / "drawn").returncode
    drawn = choose_encoder(ContextOptions(features=tmp_path / "drawn", clip=""))
    assert (drawn.name, drawn.seed) == ("random", 3)
    for encoder, folder in ((of_file, "kept"), (drawn, "drawn")):
        found = encoder.encode(encoder.load_clip(), data["test"].images)
        store = FeatureStore.open(tmp_path / folder)
        torch.testing.assert_close(
            found, torch.from_numpy(store.features[store.rows(data["test"].images)])
        )


def test_weights_of_a_known_name_are_that_name_wherever_they_lay(tmp_path, tower, monkeypatch):
    sha256 = weights.checksum(tower)
    monkeypatch.setitem(weights.WEIGHTS, "ViT-L/14", weights.Source("no url", sha256, "x.pt"))
    keep(tmp_path / "kept", recordings(tmp_path / "images")["train"].images, tower)
    encoder = choose_encoder(ContextOptions(features=tmp_path / "kept", clip=""))
    assert (encoder.weights, encoder.sha256) == ("ViT-L/14", sha256)


@pytest.mark.parametrize(
    "told", [{"by": "hand"}, {"random": "small"}, {"random": "mine", "seed": 0},
             {"random": "ViT-L/14", "seed": 0}, {"file": "tower.pt"}, {"sha256": "0" * 64}],
)
def test_a_store_that_does_not_say_what_made_it_is_features_alone(tmp_path, told):
    """Nothing, or not all of it, or another tower than its name's."""
    images = recordings(tmp_path / "images")["train"].images
    store = build(tmp_path / "kept", images, random_clip(DEMO_VISION), weights=told)
    assert encoder_of(store.about) is None
    encoder = choose_encoder(ContextOptions(features=tmp_path / "kept", clip=""))
    assert encoder == Encoder("features", source=str(tmp_path / "kept"))


def test_weights_that_are_gone_or_others_are_named(tmp_path, tower):
    data = recordings(tmp_path / "images", counts=(8, 3))
    keep(tmp_path / "kept", [*data["train"].images, *data["test"].images], tower)
    model, made = trained_on(tmp_path / "kept", data)
    sha256, whole = weights.checksum(tower), tower.read_bytes()
    tower.unlink()
    with pytest.raises(FileNotFoundError) as caught:
        model.generate(data["test"].images)
    assert str(tower) in str(caught.value) and sha256 in str(caught.value)
    assert model.generate(made["test"], steps=1).data.shape[0] == 3, "features need no weights"
    tower.write_bytes(whole + b"\n")
    with pytest.raises(ValueError, match=r"tower.pt is not the file of weights this model was"):
        model.generate(data["test"].images)
    tower.write_bytes(whole)
    about = json.loads((tmp_path / "kept/features.json").read_text())
    about["tower"]["heads"] = 4  # as a caller may have read them
    model.encoder = encoder_of(about)
    with pytest.raises(ValueError, match=r"tower.pt: read as .*'heads': 1.* made as .*'heads': 4"):
        model.generate(data["test"].images)


def test_both_splits_must_be_of_one_make(tmp_path, tower):
    data = recordings(tmp_path / "images")
    keep(tmp_path / "kept/training", data["train"].images, tower)
    keep(tmp_path / "kept/test", data["test"].images, tower, unit_length=False)
    with pytest.raises(ValueError, match=r"kept/test was made otherwise than the features of the"):
        make_contexts(ContextOptions(features=tmp_path / "kept", clip=""), data)


def test_a_store_from_before_paths_were_kept_learns_its_path(tmp_path, tower):
    """And no image is encoded again for that."""
    images = recordings(tmp_path / "images")["train"].images
    keep(tmp_path / "kept", images, tower)
    file = tmp_path / "kept/features.json"
    about = json.loads(file.read_text())
    file.write_text(json.dumps(about | {"weights": about["weights"] | {"file": "tower.pt"}}))
    store = keep(tmp_path / "kept", images, tower)
    assert store.encoded == 0 and store.weights["file"] == str(tower)
