"""Checkpoints: whole or not at all, refused by name when they are something else."""

import errno
import hashlib
import io
import os
import pickle
import random
import re
import zipfile

import pytest
import torch

from tests.memory import peak_memory
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
    """With a good checksum too: anyone can write one."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bare.pt").write_bytes(pickle.dumps(Bomb(), protocol=2))
    checkpoint.save("evil.pt", "model", {"x": Bomb()})
    put_line(tmp_path / "bare.pt")
    for name in ("evil.pt", "bare.pt"):
        with pytest.raises(ValueError, match=f"{name}: not a readable checkpoint"):
            checkpoint.load(name, "model")
    assert not (tmp_path / "struck").exists()


def put_line(path):
    """What `sha256sum` would say of the file, in the words of the last line."""
    data = path.read_bytes()
    path.write_bytes(data + f"\nsha256 {hashlib.sha256(data).hexdigest()}\n".encode())


def test_the_last_line_is_the_checksum_of_all_before_it_and_others_do_not_mind_it(tmp_path):
    path = checkpoint.save(tmp_path / "x.pt", "model", CONTENT)
    whole = path.read_bytes()
    torch.save({"format": checkpoint.FORMAT, "version": checkpoint.VERSION, "kind": "model",
                "content": CONTENT}, tmp_path / "y.pt")
    put_line(tmp_path / "y.pt")
    assert re.fullmatch(rb"\nsha256 [0-9a-f]{64}\n", whole[-73:])
    assert hashlib.sha256(whole[:-73]).hexdigest().encode() in whole[-73:]
    assert checkpoint.load(tmp_path / "y.pt", "model")["b"] == CONTENT["b"]
    assert torch.equal(torch.load(path, weights_only=True)["content"]["a"], CONTENT["a"])
    assert zipfile.ZipFile(path).testzip() is None


def test_every_truncation_is_found(tmp_path):
    path = checkpoint.save(tmp_path / "x.pt", "model", CONTENT)
    whole = path.read_bytes()
    for length in (*range(len(whole)), None):
        path.write_bytes(whole[:length] if length is not None else whole + b"\n")
        with pytest.raises(checkpoint.Damaged, match=r"x.pt: (not a file that|damaged)"):
            checkpoint.load(path, "model")


def test_a_flipped_bit_is_found_in_every_byte(tmp_path):
    """Archive headers, pickle, weights, padding, checksum. Of most, torch says nothing."""
    path = checkpoint.save(tmp_path / "x.pt", "model", CONTENT)
    whole, rng = path.read_bytes(), random.Random(0)
    for place in range(len(whole)):
        wrong = bytearray(whole)
        wrong[place] ^= 1 << rng.randrange(8)
        path.write_bytes(wrong)
        with pytest.raises(checkpoint.Damaged, match=r"x.pt: (not a file that|damaged)"):
            checkpoint.load(path, "model")
    weights = whole.index(CONTENT["a"].numpy().tobytes())
    path.write_bytes(whole[: weights + 7] + b"\x41" + whole[weights + 8 :])
    unseen = torch.load(path, weights_only=True)["content"]["a"]
    assert unseen[1] != CONTENT["a"][1], "torch alone takes it, hence the checksum"


def test_a_file_of_many_pieces_is_compared_whole(tmp_path):
    path = checkpoint.save(tmp_path / "x.pt", "model", {"a": torch.arange(1_000_000)})
    assert torch.equal(checkpoint.load(path, "model")["a"], torch.arange(1_000_000))
    for place in (0, 1 << 20, (1 << 20) - 1, 7_999_999, path.stat().st_size - 74):
        with open(path, "r+b") as file:
            for change in (1, 0):  # wrong, then right again
                file.seek(place)
                byte = file.read(1)[0]
                file.seek(place)
                file.write(bytes([byte ^ 1]))
                file.flush()
                if change:
                    with pytest.raises(checkpoint.Damaged, match="damaged"):
                        checkpoint.load(path, "model")
    assert torch.equal(checkpoint.load(path, "model")["a"], torch.arange(1_000_000))


def test_the_checksum_takes_no_memory_however_large_the_file(tmp_path):
    content = {"a": torch.arange(4_000_000)}                                   # 32 MB
    path = tmp_path / "x.pt"
    _, peak = peak_memory(lambda: checkpoint.load(checkpoint.save(path, "model", content), "model"))
    assert peak < 4 << 20


class FullDisk(io.BytesIO):
    def __init__(self, room):
        super().__init__()
        self.room = room

    def write(self, data):
        self.room -= len(data)
        if self.room < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(data)


def test_a_full_disk_is_called_that_wherever_it_ends(tmp_path, monkeypatch):
    """Also where torch says "unexpected pos 704 vs 598" instead."""
    size = checkpoint.save(tmp_path / "x.pt", "model", CONTENT).stat().st_size

    def write(room):
        monkeypatch.setattr(checkpoint, "write_atomically", lambda path, fill: fill(FullDisk(room)))
        checkpoint.save(tmp_path / "x.pt", "model", CONTENT)

    for room in range(size):
        with pytest.raises(OSError, match="No space left"):
            write(room)
    write(size)


def test_errors_that_are_not_the_disk_s_stay_what_they_are(tmp_path):
    with pytest.raises((TypeError, AttributeError, pickle.PicklingError)):
        checkpoint.save(tmp_path / "x.pt", "model", {"x": lambda: 0})
    assert os.listdir(tmp_path) == []


def test_other_files_are_refused_by_what_they_are(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none.pt: no such checkpoint"):
        checkpoint.load(tmp_path / "none.pt", "model")
    torch.save({"weights": torch.ones(2)}, tmp_path / "other.pt")
    with pytest.raises(ValueError, match=r"other.pt: not a file that tinybrain wrote, or cut"):
        checkpoint.load(tmp_path / "other.pt", "model")
    put_line(tmp_path / "other.pt")
    with pytest.raises(ValueError, match="not a tinybrain checkpoint"):
        checkpoint.load(tmp_path / "other.pt", "model")
    checkpoint.save(tmp_path / "run.pt", "run", CONTENT)
    with pytest.raises(ValueError, match="of kind 'run'; wanted 'model'"):
        checkpoint.load(tmp_path / "run.pt", "model")
    newer = {"format": checkpoint.FORMAT, "version": 99, "kind": "model"}
    torch.save(newer, tmp_path / "newer.pt")
    put_line(tmp_path / "newer.pt")
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
