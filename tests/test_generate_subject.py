"""Signals of one of a model's subjects, into a folder."""

from __future__ import annotations

import json
import runpy
import sys

import numpy as np
import pytest

from tests.test_generation import saved
from tests.test_store_files import ROOT
from tests.test_subjects import FEATURES, NAMES
from tests.test_subjects import prepared as several
from tests.test_train import prepared
from tinybrain.generation import Plan, generate
from tinybrain.pipeline import ImageToBrain
from tinybrain.signals import BrainSignals
from tinybrain.stimuli import find_stimuli

SUBJECTS = (None, *NAMES)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """A model of three subjects in a file, and 5 features."""
    root = tmp_path_factory.mktemp("subject")
    np.save(root / "features.npy", FEATURES[:5, 0].numpy())
    return saved(root / "model.pt", several()[0]), root / "features.npy"


def test_numbers_of_numpys_make_the_same_signals(inputs, tmp_path):
    """Written, too: JSON knows none of them."""
    path, features = inputs
    stimuli, one = find_stimuli([features]), np.int64(1)
    plans = Plan(trials=1, steps=2, seed=1, batch_size=1), Plan(one, steps=2 * one, seed=one,
                                                                batch_size=one)  # fmt: skip
    for name, plan in zip("ab", plans):
        assert generate(path, stimuli, plan, tmp_path / name) == 5
    assert np.array_equal(*(BrainSignals.load(tmp_path / name).data for name in "ab"))
    assert generate(path, stimuli, plans[0], tmp_path / "b") == 0  # what is there is the same


@pytest.mark.parametrize("mean", [False, True])
def test_the_signals_are_those_of_the_subject_asked_for(inputs, tmp_path, mean):
    path, features = inputs
    model, stimuli, seen = ImageToBrain.load(path), find_stimuli([features]), {}
    for subject in SUBJECTS:
        plan = Plan(trials=1 if mean else 2, mean=mean, batch_size=5, subject=subject)
        folder = tmp_path / str(subject)
        generate(path, stimuli, plan, folder)
        seen[subject] = BrainSignals.load(folder).data
        if mean:
            wanted = model.mean(FEATURES[:5], subject=subject)
        else:
            wanted = model.generate(FEATURES[:5], 2, subject=subject, batch_size=5)
        np.testing.assert_allclose(seen[subject], wanted.data, rtol=1e-5, atol=1e-5)
        assert json.loads((folder / "signals.json").read_text())["subject"] == subject
    scales = [np.abs(seen[name]).mean() for name in NAMES]  # people ten times as loud, each
    assert scales[1] / scales[0] > 3 and scales[2] / scales[1] > 3
    assert not np.allclose(seen[None], seen[NAMES[2]])


def test_the_subject_is_part_of_what_the_folder_holds(inputs, tmp_path):
    path, features = inputs
    stimuli = find_stimuli([features])
    assert generate(path, stimuli, Plan(subject="sub-02"), tmp_path) == 5
    assert generate(path, stimuli, Plan(subject="sub-02"), tmp_path) == 0
    assert generate(path.parent, stimuli, Plan(subject="2"), tmp_path) == 0  # a run's folder
    with pytest.raises(ValueError, match="subject: sub-02 there, sub-05 now"):
        generate(path, stimuli, Plan(subject="sub-05"), tmp_path)
    with pytest.raises(ValueError, match="subject: sub-02 there, None now"):
        generate(path, stimuli, Plan(), tmp_path)
    assert generate(path, stimuli, Plan(subject="sub-05"), tmp_path, restart=True) == 5


def test_folders_from_before_there_was_the_option_are_continued(inputs, tmp_path):
    path, features = inputs
    generate(path, find_stimuli([features]), Plan(), tmp_path)
    about = json.loads((tmp_path / "signals.json").read_text())
    del about["subject"]
    (tmp_path / "signals.json").write_text(json.dumps(about))
    assert generate(path, find_stimuli([features]), Plan(), tmp_path) == 0


def command(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["generate.py", *map(str, arguments), "--device", "cpu"])
    runpy.run_path(str(ROOT / "examples/generate.py"), run_name="__main__")


def test_the_example_takes_a_name_and_names_those_it_knows(inputs, tmp_path, monkeypatch, capsys):
    path, features = inputs
    out = ("--out", tmp_path / "out")
    with pytest.raises(SystemExit) as ended:
        command(monkeypatch, path, features, *out, "--subject", "sub-7")
    assert ended.value.code == (
        "generate.py: there is no subject 'sub-7'; known are: sub-01, sub-02, sub-05"
    )
    alone = saved(tmp_path / "alone.pt", prepared(heldout=0.0)[0])
    with pytest.raises(SystemExit) as ended:
        command(monkeypatch, alone, features, *out, "--subject", "sub-01")
    assert "none by name, as the model is of one subject" in ended.value.code
    assert not (tmp_path / "out").exists()
    command(monkeypatch, path, features, *out, "--subject", "sub-02")
    assert "5 images x 1 of 3 sensors x 6 times" in capsys.readouterr().out
    assert json.loads((tmp_path / "out/signals.json").read_text())["subject"] == "sub-02"


def test_features_that_tell_of_a_subject_already_are_refused(inputs, tmp_path):
    path, _ = inputs
    np.save(tmp_path / "told.npy", np.ones((4, 5 + len(NAMES)), np.float32))
    with pytest.raises(ValueError, match=r"told.npy: features are \(1, 1, 8\); this model wants"):
        generate(path, find_stimuli([tmp_path / "told.npy"]), Plan(subject="sub-01"), tmp_path)
