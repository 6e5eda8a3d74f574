"""examples/prepare_eeg.py as a person runs it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.raw_things import write_raw, write_table
from tests.test_brainvision import write_part
from tests.test_store_files import HERE
from tinybrain.things import EEG2, store


def run_example(*args):
    command = [sys.executable, "examples/prepare_eeg.py", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, check=False, **HERE)


@pytest.fixture(scope="module")
def things(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("things")
    for number in (1, 2):
        write_raw(root / f"Raw_data/sub-02/ses-{number:02d}", number)
    write_table(root)
    return root


def test_example_makes_a_store_and_the_files_of_nice(things, tmp_path):
    args = ("--subjects", "02", "--repeats", 2, 3, "--nice", tmp_path / "nice")
    done = run_example(things, "--out", tmp_path, *args)
    assert not done.returncode, done.stderr
    lines = done.stdout.splitlines()
    assert "sub-02 session 1 train: 80 epochs of 40 images made; left out: 4 targets" in lines[0]
    assert len(lines) == 5 and "ready after" in lines[-1]
    assert store.read_card(tmp_path / "sub-02").unit == "whitened"
    for folder in (tmp_path, tmp_path / "nice"):
        shutil.copytree(things / "Image_set", folder / "Image_set")
    for split, n in (("train", 80), ("test", 6)):
        signals = np.load(tmp_path / f"sub-02/signals_{split}.npy")
        for root in (tmp_path / "sub-02", tmp_path / "nice"):
            eeg = EEG2(root, 2, split, repeats="single", shape=(63, 250))
            np.testing.assert_allclose(eeg.signals, signals, rtol=1e-6)
            assert len(eeg.images) == n and abs(eeg.times[0]) < 1e-9 and eeg.unit == "whitened"
    again = run_example(things, "--out", tmp_path, *args)
    assert "complete" in again.stdout.splitlines()[0]
    other = run_example(things, "--out", tmp_path, *args, "--mvnn", "time")
    assert other.returncode == 1 and "mvnn 'epochs', now 'time'" in other.stderr
    assert "Traceback" not in other.stderr


def test_every_option_arrives(things, tmp_path):
    done = run_example(
        things, "--out", tmp_path, "--subjects", 2, "--sessions", 1, 2, "--repeats", 1, 2,
        "--mvnn", "none", "--noise-from", "both", "--rate", 100, "--epoch", -0.1, 0.5,
        "--keep", -0.1, 0.3, "--sensors", "Oz", "Pz", "--aligned", "--seed", 5, "--no-permute",
    )  # fmt: skip
    assert not done.returncode, done.stderr
    card = store.read_card(tmp_path / "sub-02")
    assert card.source["settings"] == {
        "rate": 100, "tmin": -0.1, "tmax": 0.5, "start": -0.1, "stop": 0.3,
        "sensors": ["Oz", "Pz"], "aligned": True, "train_repeats": 1, "test_repeats": 2,
        "seed": 5, "mvnn": "none", "noise_from": "both", "permute": False,
    }  # fmt: skip
    assert card.sensors == ("Oz", "Pz") and card.unit == "V" and len(card.times) == 41


def test_example_says_what_is_wrong(tmp_path):
    bad = run_example(tmp_path, "--out", tmp_path / "out")
    assert bad.returncode == 1 and "no raw recordings of subject 1" in bad.stderr
    assert "Figshare" in bad.stderr and "Traceback" not in bad.stderr
    bad = run_example(tmp_path / "none", "--out", tmp_path / "out")
    assert bad.stderr.startswith(f"prepare_eeg.py: {tmp_path / 'none'}: there is no such folder")
    bad = run_example(tmp_path, "--out", tmp_path / "out", "--keep", -1, 2)
    assert "what is kept inside them" in bad.stderr and "Traceback" not in bad.stderr


def test_example_starts_from_brainvision_files(tmp_path):
    for number in (1, 2):
        folder = tmp_path / f"source_data/sub-01/ses-{number:02d}/eeg"
        stem = f"sub-01_ses-{number:02d}_task-"
        onsets = 300 + 200 * np.arange(8)
        images = [1 + 4 * (number - 1) + i % 4 for i in range(8)]
        write_part(folder / f"{stem}train_part-01", "train", onsets, images, samples=3000, seed=1)
        write_part(folder / f"{stem}test", "test", onsets, [1, 2] * 4, samples=3000, seed=2)
    table = {
        "train_img_concepts": ["00001_a"] * 8,
        "train_img_files": [f"a_{i}.jpg" for i in range(8)],
        "test_img_concepts": ["00001_b", "00002_c"],
        "test_img_files": ["b_1.jpg", "c_1.jpg"],
    }
    np.save(tmp_path / "image_metadata.npy", table, allow_pickle=True)
    raw = tmp_path / "raw_data"
    done = run_example(raw, "--source", tmp_path, "--out", tmp_path / "out", "--repeats", 2, 3)
    assert not done.returncode, done.stderr
    assert "1 parts, 8 events" in done.stdout
    card = store.read_card(tmp_path / "out/sub-01")
    assert card.splits["train"].images[7] == "00001_a/a_7.jpg"
    assert np.load(tmp_path / "out/sub-01/signals_train.npy").shape == (8, 2, 63, 250)
