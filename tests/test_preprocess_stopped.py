"""Preparing THINGS-EEG2: stopped, continued, changed, and what is refused."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests import raw_things
from tests.raw_things import SETTINGS, recording, write_table
from tests.test_store_files import HERE
from tinybrain.things import pickles, preprocess
from tinybrain.things.eeg2 import session as eeg_session
from tinybrain.things.eeg2.raw import find_sessions
from tinybrain.things.preparing import alone
from tinybrain.things.preprocess import Settings, prepare
from tinybrain.things.sensors import THINGS_EEG2_63

things, made = raw_things.things, raw_things.made  # fixtures

# Stopped and continued

KILLED = """
import os, signal, sys
from tinybrain.things.eeg2 import session
from tinybrain.things.preparing import alone
from tinybrain.things.preprocess import Settings, prepare
calls, resample = [], session.resample
def dying(*args, **options):
    calls.append(1)
    if len(calls) == 5:                  # in the second session's training part
        os.kill(os.getpid(), signal.SIGKILL)
    return resample(*args, **options)
session.resample = dying
prepare(sys.argv[1], sys.argv[2], 1, settings=Settings(test_repeats=3))
"""


def files(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


def test_a_killed_run_continues_and_gives_the_same(things, made, tmp_path):
    done = subprocess.run([sys.executable, "-c", KILLED, things, tmp_path], check=False, **HERE)
    assert done.returncode == -signal.SIGKILL
    parts = tmp_path / "sub-01" / preprocess.PARTS
    before = files(parts)
    finished = {f"ses-01_{split}.{end}" for split in ("train", "test") for end in ("npy", "json")}
    assert set(before) == finished | {"ses-02_train.npy.part"}
    lines, seen = [], []

    def report(line):
        lines.append(line)
        seen.append(files(parts))

    prepare(things, tmp_path, 1, settings=SETTINGS, report=report)
    assert ["kept" in line for line in lines] == [True, True] + [False] * 6
    assert all(seen[-1][name] == before[name] for name in finished)
    assert not parts.exists()
    for split in ("train", "test"):
        name = f"sub-01/signals_{split}.npy"
        assert (tmp_path / name).read_bytes() == (made / name).read_bytes()
    cards = [json.loads((out / "sub-01/recording.json").read_text()) for out in (tmp_path, made)]
    assert cards[0] == cards[1]


def interrupted(things: Path, out: Path, after: int, sessions=None) -> None:
    lines = []

    def report(line):
        lines.append(line)
        if len(lines) == after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(things, out, 1, settings=SETTINGS, sessions=sessions, report=report)


@pytest.mark.parametrize(
    ("change", "kept"),
    [({"seed": 1}, 0), ({"aligned": True}, 0), ({"train_repeats": 1}, 1), ({"mvnn": "none"}, 3),
     ({"sensors": THINGS_EEG2_63[:9]}, 0)],
)  # fmt: skip
def test_parts_made_by_other_settings_are_not_used(things, tmp_path, change, kept):
    interrupted(things, tmp_path, after=3, sessions=[1, 2])
    lines, how = [], {"settings": replace(SETTINGS, **change), "sessions": [1, 2]}
    prepare(things, tmp_path, 1, report=lines.append, **how)
    assert sum("kept" in line for line in lines) == kept
    wanted = prepare(things, tmp_path / "fresh", 1, **how)
    for split in ("train", "test"):
        name = f"signals_{split}.npy"
        assert (tmp_path / "sub-01" / name).read_bytes() == (wanted / name).read_bytes()


def test_parts_of_a_raw_file_that_changed_are_not_used(things, tmp_path):
    interrupted(things, tmp_path, after=3)
    file = things / "Raw_Data/sub-01/ses-01/raw_eeg_test.npy"
    os.utime(file, ns=(0, file.stat().st_mtime_ns + 1))
    lines = []
    prepare(things, tmp_path, 1, settings=SETTINGS, report=lines.append)
    assert ["kept" in line for line in lines][:4] == [True, False, True, False]


def test_damaged_parts_are_made_again(things, made, tmp_path):
    interrupted(things, tmp_path, after=3)
    parts = tmp_path / "sub-01" / preprocess.PARTS
    (parts / "ses-01_train.json").write_text("{")
    (parts / "ses-01_test.npy").write_bytes(b"no array")
    lines = []
    prepare(things, tmp_path, 1, settings=SETTINGS, report=lines.append)
    assert ["kept" in line for line in lines][:4] == [False, False, True, False]
    for split in ("train", "test"):
        name = f"sub-01/signals_{split}.npy"
        assert (tmp_path / name).read_bytes() == (made / name).read_bytes()


def test_a_complete_store_stays_and_another_is_refused(things, made):
    before = files(made / "sub-01")
    lines = []
    prepare(things, made, 1, settings=SETTINGS, nice=made / "nice", report=lines.append)
    assert len(lines) == 1 and "complete" in lines[0] and files(made / "sub-01") == before
    with pytest.raises(ValueError, match=r"made otherwise.*mvnn 'epochs', now 'time'"):
        prepare(things, made, 1, settings=replace(SETTINGS, mvnn="time"))
    with pytest.raises(ValueError, match=r"session_numbers \[1, 2, 3, 4\], now \[1, 2\]"):
        prepare(things, made, 1, settings=SETTINGS, sessions=[2, 1])


def test_two_processes_cannot_prepare_one_subject_at_once(things, tmp_path):
    with alone(tmp_path / "sub-01"), pytest.raises(BlockingIOError, match="another process"):
        prepare(things, tmp_path, 1, settings=SETTINGS)
    assert not (tmp_path / "sub-01").exists()


# What is refused


def test_two_sessions_that_hold_every_image_once(things, tmp_path):
    folder = prepare(things, tmp_path, "sub-01", settings=SETTINGS, sessions=[3, 4])
    assert np.load(folder / "signals_train.npy").shape == (80, 2, 63, 250)
    with pytest.raises(ValueError, match=r"image 41 .* in 0 of the sessions \[1\], others in 1"):
        prepare(things, tmp_path / "b", 1, settings=SETTINGS, sessions=[1])
    with pytest.raises(ValueError, match=r"sessions \[1, 2, 3\].*is a session missing"):
        prepare(things, tmp_path / "c", 1, settings=SETTINGS, sessions=[1, 2, 3])
    with pytest.raises(FileNotFoundError, match=r"no sessions \[7\]; there are \[1, 2, 3, 4\]"):
        prepare(things, tmp_path / "d", 1, settings=SETTINGS, sessions=[1, 7])


def test_too_few_repetitions_name_the_file(things, tmp_path):
    with pytest.raises(ValueError, match=r"raw_eeg_test.npy: .* fewer than 20 epochs: 1 \("):
        prepare(things, tmp_path, 1)


@pytest.mark.parametrize(
    "wrong",
    [{"mvnn": "trials"}, {"noise_from": "test"}, {"start": -0.5}, {"rate": 0}, {"sensors": ()},
     {"sensors": ("Oz", "Oz")}, {"train_repeats": 0}, {"tmin": 0.1}],
)  # fmt: skip
def test_settings_that_mean_nothing(wrong):
    with pytest.raises(ValueError, match="wanted"):
        Settings(**wrong)


def damaged(tmp_path: Path, change) -> Path:
    content = recording("test", np.arange(1, 3), 3, seed=0)
    change(content)
    np.save(tmp_path / "raw_eeg_test.npy", content, allow_pickle=True)
    return tmp_path / "raw_eeg_test.npy"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda raw: raw.pop("sfreq"), "wanted a dict with raw_eeg_data, ch_names, sfreq"),
        (lambda raw: raw.update(raw_eeg_data=raw["raw_eeg_data"][0]), "wanted floats"),
        (lambda raw: raw.update(ch_names=raw["ch_names"][1:]), "63 ch_names for 64 rows"),
        (lambda raw: raw["ch_names"].__setitem__(3, raw["ch_names"][4]), "more than once"),
        (lambda raw: raw["ch_names"].__setitem__(3, "X"), "wanted every sensor by its name"),
        (lambda raw: raw["ch_types"].__setitem__(63, "eeg"), "0 rows of type 'stim'"),
        (lambda raw: raw.update(sfreq=-1), "wanted samples per second"),
        (lambda raw: raw.update(sfreq=np.inf), "wanted samples per second"),
        (lambda raw: raw.update(sfreq=1e-9), "wanted at least 250 Hz"),
        (lambda raw: raw["raw_eeg_data"].__setitem__((63, slice(None)), 0), "none of an image"),
        (lambda raw: raw["raw_eeg_data"].__setitem__((63, 9), 0.5), "code 0.5 at sample 9"),
        (lambda raw: raw["raw_eeg_data"].__setitem__((2, slice(700, 2000)), np.nan), "NaN or inf"),
    ],
)
def test_files_that_are_no_raw_recordings(tmp_path, change, message):
    file = damaged(tmp_path, change)
    with pytest.raises(ValueError, match=message) as error:
        eeg_session.make_part(file, "test", SETTINGS, tmp_path / "ses-01_test")
    assert str(file) in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == [file.name]


def test_images_of_another_data_set(things, tmp_path):
    write_table(tmp_path / "other")
    table = tmp_path / "other/Image_set/image_metadata.npy"
    content = pickles.read(table)
    np.save(table, {key: list(names)[:3] for key, names in content.items()}, allow_pickle=True)
    with pytest.raises(ValueError, match="an event of image 40, but there are 3 train images"):
        prepare(things, tmp_path, 1, settings=SETTINGS, images=tmp_path / "other")


@pytest.mark.parametrize(
    "place", ["raw_data/sub-01", "eeg_dataset/RAW_DATA/Sub-01", "sub-1", "Raw_data/sub-001"]
)
def test_raw_files_in_every_layout(tmp_path, place):
    for number in (10, 2):
        folder = tmp_path / place / f"Ses-{number:02d}"
        folder.mkdir(parents=True)
        for name in ("raw_eeg_train.npy", "RAW_eeg_test.npy", "notes.txt"):
            (folder / name).touch()
    for root in (tmp_path, tmp_path / place):
        found = find_sessions(root, "01")
        assert list(found) == [2, 10]
        assert found[2]["train"].name == "raw_eeg_train.npy"
    with pytest.raises(FileNotFoundError, match="no raw recordings of subject 2"):
        find_sessions(tmp_path, 2)
    (tmp_path / place / "Ses-02" / "raw_eeg_training.npy").touch()
    with pytest.raises(ValueError, match="are the same part"):
        find_sessions(tmp_path, 1)
    for name in ("raw_eeg_training.npy", "raw_eeg_train.npy"):
        (tmp_path / place / "Ses-02" / name).unlink()
    with pytest.raises(FileNotFoundError, match="session 2 has RAW_eeg_test.npy only"):
        find_sessions(tmp_path, 1)
