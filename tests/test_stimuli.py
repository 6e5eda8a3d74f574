"""Features for a model: those of its own encoder, as far as a features.json beside them says."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import asdict

import numpy as np
import pytest

from tests.test_train import CONFIG, prepared, recording
from tinybrain.clip.model import DEMO_VISION, VisionConfig
from tinybrain.encoder import Encoder, random_encoder
from tinybrain.generation import Plan, generate
from tinybrain.pipeline import ImageToBrain
from tinybrain.recipes import TINYBRAIN
from tinybrain.stimuli import find_stimuli

TOWER = {**asdict(DEMO_VISION), "dtype": "torch.float32"}
ABOUT = {"format": "tinybrain features", "version": 1, "tower": TOWER, "tokens": False,
         "unit_length": False, "weights": {"random": "small", "seed": 0}}
RANDOM = random_encoder(DEMO_VISION)  # seed 0
FILE = {"file": "/there/vit.pt", "sha256": "ab" * 32, "bytes": 1, "mtime_ns": 1}
CLIP = Encoder("clip", weights="vit.pt", sha256="ab" * 32)


def model(encoder):
    recipe = dataclasses.replace(TINYBRAIN, sampling_steps=5, heldout=0.0)
    return ImageToBrain.prepare(recipe, CONFIG, *recording(), encoder)[0]


def features(folder, about=None, name="features.npy"):
    np.save(folder / name, np.random.default_rng(2).normal(size=(2, 1, 12)).astype(np.float32))
    if about is not None:
        (folder / "features.json").write_text(json.dumps(about))
    return find_stimuli([folder / name])


@pytest.mark.parametrize(
    ("encoder", "about", "told"),
    [
        (RANDOM, {"weights": {"random": "small", "seed": 7}},
         r"\(another seed\): seed 7, the image .*; wanted seed 0, the image \(one token\)"),
        (RANDOM, {"unit_length": True}, r"\(another unit_length\): .*, at unit length; wanted"),
        (RANDOM, {"weights": FILE}, r"\(another name\): .* weights /there/vit.pt .*; wanted seed"),
        (CLIP, {"weights": FILE | {"sha256": "cd" * 32}}, r"cdcdcdcdcd\); wanted .* ababababab"),
        (CLIP, {"weights": FILE, "tokens": True}, "all tokens of the image, .*; wanted the image"),
        (dataclasses.replace(CLIP, vision=asdict(VisionConfig())), {"weights": FILE}, "vision"),
        (dataclasses.replace(CLIP, context="image+text"), {"weights": FILE}, "wanted .* and words"),
    ],
)
def test_features_of_another_encoder_are_refused_in_one_line(tmp_path, encoder, about, told):
    stimuli = features(tmp_path, ABOUT | about)
    with pytest.raises(ValueError, match=rf"features\.npy was made by another .*{told}") as error:
        stimuli.check(model(encoder))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("encoder", "about"),
    [
        (RANDOM, ABOUT),
        (CLIP, ABOUT | {"weights": FILE}),  # the model does not know the tower's sizes
        (RANDOM, None),
        (RANDOM, ABOUT | {"weights": {"made": "elsewhere"}}),  # no encoder that is known here
        (Encoder("features", source="mine.npy"), ABOUT),
    ],
)
def test_features_of_the_same_encoder_or_of_nobody_knows_which_are_taken(tmp_path, encoder, about):
    features(tmp_path, about).check(model(encoder))


def test_a_description_is_of_the_features_beside_it_alone(tmp_path):
    other = ABOUT | {"weights": {"random": "small", "seed": 7}}
    features(tmp_path, other, "mine.npy").check(model(RANDOM))


def test_nothing_is_drawn_from_another_encoders_features(tmp_path):
    stimuli = features(tmp_path, ABOUT | {"weights": {"random": "small", "seed": 7}})
    path = model(RANDOM).save(tmp_path / "model.pt")
    with pytest.raises(ValueError, match="another encoder than this model's"):
        generate(path, stimuli, Plan(), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    unknown = prepared(heldout=0.0)[0].save(tmp_path / "unknown.pt")  # of features from a file
    assert generate(unknown, stimuli, Plan(), tmp_path / "out") == 2
