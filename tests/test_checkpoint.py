"""Checkpoints: whole or not at all, refused by name when they are something else."""

import os
import pickle

import pytest
import torch

from tinybrain import checkpoint
from tinybrain.files import write_atomically
from tinybrain.recipes import PAPER, RECIPES, Recipe
from tinybrain.unet import UNetConfig

CONTENT = {"a": torch.arange(5.0), "b": {"c": [1, 2.5, "three", None]}, "d": True}


def test_round_trip_is_exact(tmp_path):
    path = checkpoint.save(tmp_path / "deep" / "x.pt", "model", CONTENT)
    back = checkpoint.load(path, "model")
    assert torch.equal(back.pop("a"), CONTENT["a"])
    assert back == {key: value for key, value in CONTENT.items() if key != "a"}


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    path = checkpoint.save(tmp_path / "x.pt", "model", CONTENT)
    before = path.read_bytes()

    def fail(file):
        file.write(b"half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, fail)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["x.pt"]


class Bomb:
    def __reduce__(self):
        return os.mkdir, ("struck",)


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"format": checkpoint.FORMAT, "version": 1, "kind": "model", "x": Bomb()}, "evil.pt")
    (tmp_path / "bare.pt").write_bytes(pickle.dumps(Bomb(), protocol=2))
    for name in ("evil.pt", "bare.pt"):
        with pytest.raises(ValueError, match=f"{name}: not a readable checkpoint"):
            checkpoint.load(name, "model")
    assert not (tmp_path / "struck").exists()


@pytest.mark.parametrize("keep", [0, 10, 200, -1])
def test_a_truncated_checkpoint_is_refused(tmp_path, keep):
    path = checkpoint.save(tmp_path / "x.pt", "model", CONTENT)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"x.pt: not a readable checkpoint"):
        checkpoint.load(path, "model")


def test_other_files_are_refused_by_what_they_are(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none.pt: no such checkpoint"):
        checkpoint.load(tmp_path / "none.pt", "model")
    torch.save({"weights": torch.ones(2)}, tmp_path / "other.pt")
    with pytest.raises(ValueError, match="not a tinybrain checkpoint"):
        checkpoint.load(tmp_path / "other.pt", "model")
    checkpoint.save(tmp_path / "run.pt", "run", CONTENT)
    with pytest.raises(ValueError, match="of kind 'run'; wanted 'model'"):
        checkpoint.load(tmp_path / "run.pt", "model")
    newer = {"format": checkpoint.FORMAT, "version": 99, "kind": "model"}
    torch.save(newer, tmp_path / "newer.pt")
    with pytest.raises(ValueError, match="version 99"):
        checkpoint.load(tmp_path / "newer.pt", "model")


def test_configs_survive_the_round_trip():
    import json

    for config in (UNetConfig(), *RECIPES.values()):
        there = json.loads(json.dumps(checkpoint.config_to_dict(config)))
        assert checkpoint.config_from_dict(type(config), there) == config


def test_a_config_with_other_fields_lists_them():
    values = checkpoint.config_to_dict(PAPER)
    values["colour"] = values.pop("lr")
    with pytest.raises(ValueError, match=r"unknown fields \['colour'\], missing fields \['lr'\]"):
        checkpoint.config_from_dict(Recipe, values)
