"""Which image each row of generated signals is of: named, kept, written, told to MNE."""

from __future__ import annotations

import json
import os
from dataclasses import replace

import mne
import numpy as np
import pytest
import torch
from PIL import Image

from tests.test_generation import photos, saved
from tests.test_pipeline import TOWER, gaussian_model
from tests.test_train import CONFIG, prepared, recording
from tinybrain.clip.model import TextConfig
from tinybrain.encoder import random_encoder
from tinybrain.generation import Plan, generate
from tinybrain.pipeline import ImageToBrain
from tinybrain.recipes import TINYBRAIN
from tinybrain.signal_axes import image_names, with_names
from tinybrain.signals import BrainSignals
from tinybrain.stimuli import find_stimuli

NAMES = ("c0/0.png", "c0/2.png", "c1/1.png", "c1/3.png")  # of four photos


def make(images=(), n=2):
    data = np.random.default_rng(0).normal(size=(n, 3, 2, 20)).astype(np.float32)
    return BrainSignals(data, ("Oz", "Cz"), np.arange(20) / 50, "eeg", "a.u.", tuple(images))


@pytest.fixture(scope="module")
def model():
    return gaussian_model()


# -------------------------------------------------------------------------------------------------
# Where names come from


def test_the_model_names_what_has_a_file(model, tmp_path, monkeypatch):
    folder = photos(tmp_path / "set")
    files = [folder / name for name in NAMES]
    opened = [Image.open(file) for file in files]
    mixed = [files[0], *opened[1:]]
    for images in (folder, str(folder), files, tuple(map(str, files)), opened, mixed):
        assert model.generate(images, steps=1).images == NAMES
        assert model.mean(images, draws=1).images == NAMES
    for alone in (files[2], str(files[2]), opened[2]):
        assert model.generate(alone, steps=1).images == ("1.png",)
    assert model.mean(files[:2][::-1], draws=1).images == ("2.png", "0.png")  # of one folder
    assert model.mean([files[0]] * 2, draws=1).images == ("0.png", "0.png")
    monkeypatch.chdir(folder / "c1")
    assert model.mean(["../c0/2.png", "3.png"], draws=1).images == ("c0/2.png", "c1/3.png")


def test_what_has_no_file_has_no_name(model, tmp_path):
    (file,) = [photos(tmp_path, 1) / "c0/0.png"]
    picture, pixels = Image.open(file), np.asarray(Image.open(file))
    np.save(tmp_path / "pixels.npy", pixels)
    mapped = np.load(str(tmp_path / "pixels.npy"), mmap_mode="r")
    assert mapped.filename
    features = np.ones((2, 12), np.float32)
    for images in (picture.copy(), pixels, [pixels], [file, pixels], [mapped], pixels[None],
                   [picture, picture.resize((50, 50))], features, torch.from_numpy(features)):
        assert model.generate(images, steps=1).images == ()
        assert model.mean(images, draws=1).images == ()


def test_a_model_that_only_reads_names_no_images():
    words = TextConfig(514, width=16, layers=1, heads=2, embed_dim=12)
    encoder = random_encoder(TOWER, context="text", text=words)
    recipe = replace(TINYBRAIN, sampling_steps=1)
    model, _ = ImageToBrain.prepare(recipe, CONFIG, *recording(), encoder)
    for images in (None, "not looked at.jpg"):
        assert model.generate(images, captions=["a cat", "a dog"]).images == ()
        assert model.mean(images, captions=["a cat", "a dog"]).images == ()


def test_an_empty_path_is_no_folder(model, tmp_path, monkeypatch):
    monkeypatch.chdir(photos(tmp_path))
    for images in ("", [], ()):
        with pytest.raises(ValueError, match="^no images"):
            model.generate(images)


def test_names_are_those_of_generation(model, tmp_path):
    """One image is called the same by a model in the hand and by what fills a folder."""
    folder = photos(tmp_path / "set")
    for sources in ([folder], [folder / "c0"], [folder / "c1/1.png"],
                    [folder / "c1/1.png", folder / "c0/2.png"]):
        stimuli = find_stimuli(sources)
        assert with_names(list(stimuli.images)) == (list(stimuli.images), stimuli.names)
    assert with_names(folder) == ([folder / name for name in NAMES], NAMES)


def test_files_on_several_drives_have_their_whole_paths(monkeypatch):
    def several(paths):
        raise ValueError("Paths don't have the same drive")

    monkeypatch.setattr(os.path, "commonpath", several)
    assert image_names(["/c/a.jpg", "/d/b.jpg"]) == ("/c/a.jpg", "/d/b.jpg")


# -------------------------------------------------------------------------------------------------
# Kept, written and read


def test_as_many_names_as_images_or_none():
    assert make().images == ()
    for names in (("a",), ("a", "b", "c")):
        told = f"data are of 2 images, but there are names of {len(names)}"
        with pytest.raises(ValueError, match=told):
            make(names)


def test_parts_averages_and_files_keep_names(tmp_path):
    signals = make(("x/a.jpg", "é 中.jpg"))
    assert repr(signals) == repr(make())
    assert signals.pick("Cz", tmin=0.1).average().images == signals.images
    assert BrainSignals.load(signals.save(tmp_path)).images == signals.images
    assert BrainSignals.load(make().save(tmp_path)).images == ()  # in the place of the others
    assert "images" not in json.loads((tmp_path / "signals.json").read_text())


@pytest.mark.parametrize("images, told", [
    (["a", "b", "c"], r"shape \[2, 3, 2, 20\], but 3 names of images"),
    (["a"], "but 1 names of images"), ([1, 2], "images is .* wanted names"),
    ("ab", "images is 'ab'; wanted names"), (None, "images is 'None'; wanted names"),
])
def test_files_whose_names_are_not_of_their_images_are_refused(images, told, tmp_path):
    file = make(("a", "b")).save(tmp_path) / "signals.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "images": images}))
    with pytest.raises(ValueError, match=told):
        BrainSignals.load(tmp_path)


def test_a_folder_of_the_example_has_its_names(tmp_path):
    path = saved(tmp_path / "model.pt", gaussian_model())
    generate(path, find_stimuli([photos(tmp_path / "set")]), Plan(trials=2), tmp_path / "out")
    assert BrainSignals.load(tmp_path / "out").images == NAMES


# -------------------------------------------------------------------------------------------------
# MNE


def test_events_are_selected_by_the_image_s_name(tmp_path):
    names = ("00001_x/x_01.jpg", "00001_x/x_02.jpg", "00002_é/é: 1.jpg")
    signals = make(names, n=3)
    signals.to_mne().save(tmp_path / "s-epo.fif", verbose="error")
    for epochs in (signals.to_mne(), mne.read_epochs(tmp_path / "s-epo.fif", verbose="error")):
        assert epochs.event_id == {name: number for number, name in enumerate(names)}
        for number, name in enumerate(names):
            chosen = epochs[name].get_data(copy=True)
            np.testing.assert_allclose(chosen, signals.data[number], rtol=1e-6)
        assert len(epochs["00001_x"]) == 6


@pytest.mark.parametrize("names", [(), ("a.jpg", "a.jpg"), ("a;b.jpg", "c.jpg"), ("中.jpg", "c")])
def test_events_are_numbers_where_names_will_not_do(names, tmp_path):
    """Of none, of two that are the same, and of those with which MNE reads no file again."""
    epochs = make(names).to_mne()
    assert epochs.event_id == {"0": 0, "1": 1}
    epochs.save(tmp_path / "s-epo.fif", verbose="error")
    assert len(mne.read_epochs(tmp_path / "s-epo.fif", verbose="error")["1"]) == 3


def test_the_example_s_fif_has_names(tmp_path):
    np.save(tmp_path / "f.npy", np.random.default_rng(2).normal(size=(2, 12)))
    path = saved(tmp_path / "model.pt", prepared(heldout=0.0)[0])
    generate(path, find_stimuli([tmp_path / "f.npy"]), Plan(), tmp_path / "out", fif=True)
    epochs = mne.read_epochs(tmp_path / "out/signals-epo.fif", verbose="error")
    assert epochs.event_id == {"f.npy row 0": 0, "f.npy row 1": 1}
