"""A small THINGS-EEG2 folder of raw recordings, in the true format."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tinybrain.things.preprocess import Settings, prepare
from tinybrain.things.sensors import THINGS_EEG2_63

SOA, CONCEPTS, EXEMPLARS, TEST = 200, 40, 2, 6  # milliseconds, numbers of images
SETTINGS = Settings(test_repeats=3)
NAME = {"train": "training", "test": "test"}
# In sessions 1 and 2 all training images are shown, in 3 and 4 again, otherwise divided.
EVERY = np.arange(1, 1 + CONCEPTS * EXEMPLARS)
SHOWN = {1: EVERY[:40], 2: EVERY[40:], 3: EVERY[::2], 4: EVERY[1::2]}


def pattern(split: str, image: int) -> np.ndarray:
    """What an image does to the 63 sensors (in the order of THINGS_EEG2_63)."""
    return np.random.default_rng([image, len(split)]).choice([-1.0, 1.0], 63)


def recording(split: str, images, repeats: int, seed: int) -> dict:
    """A raw recording: correlated noise, and from 60 to 120 ms after onset the image's pattern."""
    rng = np.random.default_rng(seed)
    codes = rng.permutation(np.concatenate([np.repeat(images, repeats), images[:5], [99999] * 4]))
    samples = SOA * (len(codes) + 12)
    noise = rng.standard_normal((63, 63)) @ rng.standard_normal((63, samples)) / 4
    signals = 1e-6 * (noise + 20 * rng.standard_normal((63, 1)))
    onsets = 3 * SOA + SOA * np.arange(len(codes)) + rng.integers(0, 5, len(codes))
    stim = np.zeros(samples)
    stim[onsets] = codes
    stim[[100, samples - 900]] = images[0]  # their epochs do not fit into the recording
    for onset, code in zip(onsets, codes):
        signals[:, onset + 60 : onset + 120] += 4e-6 * pattern(split, code)[:, None]
    order = np.random.default_rng(5).permutation(63)  # files have their own order of sensors
    return {
        "raw_eeg_data": np.concatenate([signals[order], stim[None]]),
        "ch_names": [THINGS_EEG2_63[row] for row in order] + ["stim"],
        "ch_types": ["eeg"] * 63 + ["stim"],
        "sfreq": 1000,
        "highpass": 0.01,
        "lowpass": 100,
    }


def write_raw(folder: Path, number: int) -> None:
    folder.mkdir(parents=True)
    shown = {"train": (SHOWN[number], 2), "test": (np.arange(1, 1 + TEST), 3)}
    for split, (images, repeats) in shown.items():
        content = recording(split, images, repeats, seed=10 * number + repeats)
        np.save(folder / f"raw_eeg_{NAME[split]}.npy", content, allow_pickle=True)


def write_table(root: Path) -> None:
    train = [divmod(i, EXEMPLARS) for i in range(CONCEPTS * EXEMPLARS)]  # concept, exemplar
    table = {
        "train_img_concepts": [f"{1 + concept:05d}_thing{concept}" for concept, _ in train],
        "train_img_files": [f"thing{c}_{1 + exemplar:02d}s.jpg" for c, exemplar in train],
        "test_img_concepts": [f"{1 + i:05d}_other{i}" for i in range(TEST)],
        "test_img_files": [f"other{i}_06s.jpg" for i in range(TEST)],
    }
    (root / "Image_set").mkdir(parents=True)
    np.save(root / "Image_set/image_metadata.npy", table, allow_pickle=True)


@pytest.fixture(scope="module")
def things(tmp_path_factory) -> Path:
    """Four sessions of one subject, and the table of images."""
    root = tmp_path_factory.mktemp("things")
    for number in SHOWN:
        write_raw(root / f"Raw_Data/sub-01/ses-{number:02d}", number)
    write_table(root)
    return root


@pytest.fixture(scope="module")
def made(things, tmp_path_factory) -> Path:
    """The store and NICE's files by default settings."""
    out = tmp_path_factory.mktemp("out")
    prepare(things, out, 1, settings=SETTINGS, nice=out / "nice")
    return out
