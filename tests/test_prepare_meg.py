"""things.meg.convert, and examples/prepare_meg.py as a person runs it."""

from __future__ import annotations

import csv
import pickle
import subprocess
import sys
import time

import mne
import numpy as np
import pytest

from tests.meg_recordings import (
    KEPT,
    LEFT,
    by_mne,
    close,
    name_of,
    where,
    write_names,
    write_subject,
)
from tests.test_store_files import HERE
from tinybrain.things import MEG, store
from tinybrain.things.meg import convert as meg_convert
from tinybrain.things.meg.convert import convert
from tinybrain.things.meg.run import Dropout
from tinybrain.things.meg.selection import Selection
from tinybrain.things.sensors import THINGS_MEG_271

# A cache of Song in miniature: concepts 2, 10 and 13, the last two of them tested.
SHOWN = [("exp", 2, 1), ("exp", 2, 2), ("exp", 10, 1), ("test", 10, 13), ("test", 13, 13)]


def write_song(folder):
    """Trials of two sessions with their table, and the arrays (n, 271, 201), (n, r, 271, 201)."""
    folder.mkdir(parents=True)
    columns = ["trial_type", "things_category_nr", "things_image_nr", "things_exemplar_nr",
               "test_image_nr", "image_path", "session_nr", "run_nr"]  # fmt: skip
    rows = []
    for session in (1, 2):
        for kind, concept, exemplar in SHOWN:
            image = 14 * (concept - 1) + exemplar
            if kind == "test" or session == 1:
                number = {10: 2, 13: 1}[concept] if kind == "test" else ""
                rows.append([kind, concept, image, exemplar, number, f"images_meg/{name_of(image)}",
                             session, 1])  # fmt: skip
    with open(folder / "sample_attributes_P1.csv", "w", newline="") as file:
        csv.writer(file).writerows([columns, *rows])
    rng = np.random.default_rng(0)
    train, test = rng.standard_normal((3, 271, 201)), rng.standard_normal((2, 2, 271, 201))
    for split, data in (("train", train), ("test", test)):
        (folder / f"meg_sub-01_{split}.pkl").write_bytes(pickle.dumps(data, protocol=4))
    return train, test


def run_example(*args):
    command = [sys.executable, "examples/prepare_meg.py", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, check=False, **HERE)


def test_a_cache_becomes_the_same_recording_in_the_store(tmp_path):
    train, test = write_song(tmp_path / "song")
    made = convert(tmp_path / "song", tmp_path / "out", 1)
    np.testing.assert_array_equal(
        np.load(made / "signals_train.npy"), train[:2, None, :, 1:].astype("f4")
    )
    np.testing.assert_array_equal(np.load(made / "signals_test.npy"), test[..., 1:].astype("f4"))
    for split in ("train", "test"):
        before = MEG(tmp_path / "song", 1, split, repeats="single")
        after = MEG(tmp_path / "out", 1, split, repeats="single")
        np.testing.assert_array_equal(before.signals, after.signals)
        np.testing.assert_allclose(before.times, after.times, atol=1e-12)
        assert before.sensors == after.sensors and before.unit == after.unit == "baseline sd"
        assert [p.name for p in before.images] == [p.name for p in after.images]
        assert before.concepts == after.concepts
    wanted = Selection("closed", drop_test_concepts=False, test_order="image")
    whole = convert(tmp_path / "song", tmp_path / "whole", 1, wanted=wanted)
    np.testing.assert_array_equal(
        np.load(whole / "signals_train.npy"), train[:, None].astype("f4")
    )
    np.testing.assert_array_equal(np.load(whole / "signals_test.npy"), test[::-1].astype("f4"))


def test_distributed_epochs_in_four_files_become_a_store(tmp_path):
    write_names(tmp_path)
    rng = np.random.default_rng(1)
    codes = rng.permutation([20, 15, 18, 16, 999999, 999999, *[191, 148] * 12])
    data = rng.standard_normal((len(codes), 271, 281)).astype("f4")
    events = np.stack([2000 * np.arange(len(codes)), 0 * codes, codes], axis=1)
    info = mne.create_info(list(THINGS_MEG_271), 200, "mag")
    epochs = mne.EpochsArray(data, info, events, tmin=-0.1, verbose="error")
    epochs.save(tmp_path / "preprocessed_P1-epo.fif", split_size="3MB", verbose="error")
    assert len(list(tmp_path.glob("*.fif"))) >= 4
    wanted = Selection(drop_test_concepts=False, test_order="image")
    made = convert(tmp_path, tmp_path / "out", 1, wanted=wanted)
    train, test = (np.load(made / f"signals_{split}.npy") for split in ("train", "test"))
    for row, image in enumerate(LEFT):
        np.testing.assert_array_equal(train[row], data[codes == image][:, :, 21:221])
    for row, image in enumerate([148, 191]):
        np.testing.assert_array_equal(test[row], data[codes == image][:, :, 21:221])
    assert store.read_card(made).splits["test"].images == (name_of(148), name_of(191))


def test_it_continues_with_the_second_split_and_refuses_what_was_made_otherwise(
    tmp_path, monkeypatch
):
    write_song(tmp_path / "song")
    read, lines = meg_convert.read_signals, []

    def stops(data, **more):
        read(data, **more)
        if data.shape[1] == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(meg_convert, "read_signals", lambda *a, **k: stops(*a, **k) or read(*a, **k))
        convert(tmp_path / "song", tmp_path / "out", 1)
    place = tmp_path / "out/sub-01"
    assert sorted(path.name for path in place.iterdir()) == ["recording.json", "signals_train.npy"]
    convert(tmp_path / "song", tmp_path / "out", 1, report=lines.append)
    assert lines[0] == "train: there" and set(store.read_card(place).splits) == {"train", "test"}
    with pytest.raises(ValueError, match=r"otherwise.*\(crop 'paper', now 'closed'\); remove it"):
        convert(tmp_path / "song", tmp_path / "out", 1, wanted=Selection("closed"))


def test_values_that_are_no_numbers_leave_nothing_behind(tmp_path):
    train, _ = write_song(tmp_path / "song")
    train[1, 3, 7] = np.nan
    (tmp_path / "song/meg_sub-01_train.pkl").write_bytes(pickle.dumps(train, protocol=4))
    with pytest.raises(ValueError, match="NaN or infinite values in 1 of 2 rows"):
        convert(tmp_path / "song", tmp_path / "out", 1)
    assert not list((tmp_path / "out/sub-01").iterdir())


# The example


def test_example_makes_the_store_from_raw_recordings(tmp_path):
    subject, out = write_subject(tmp_path / "bids", ".ds"), tmp_path / "bids" / "Prepared"
    done = run_example(tmp_path / "bids", "--out", out, "--band", "0.1", "100",
                       "--dropout", 1, 1, 3, 0.2)  # fmt: skip
    assert not done.returncode, done.stderr
    assert "session 02, run 01: 3 trials" in done.stdout and "ready after" in done.stdout
    trials = by_mne(subject, (0.1, 100), [Dropout(1, 1, 1, 3.0, 0.2)])
    train = np.load(out / "sub-01/signals_train.npy")
    for row, image in enumerate(LEFT):
        close(train[row, 0], trials[where(image, "exp")[0]][:, 21:221])
    again = run_example(tmp_path / "bids", "--out", out, "--band", "0.1", "100",
                        "--dropout", 1, 1, 3, 0.2)  # fmt: skip
    assert "sub-01: complete" in again.stdout
    other = run_example(tmp_path / "bids", "--out", out, "--band", "none")
    assert other.returncode == 1 and "band [0.1, 100.0], now None" in other.stderr


def test_example_killed_between_sessions_continues(tmp_path):
    write_subject(tmp_path / "bids")
    command = [sys.executable, "examples/prepare_meg.py", tmp_path / "bids", "--out",
               tmp_path / "out"]  # fmt: skip
    child, began = subprocess.Popen(command, stdout=subprocess.DEVNULL, **HERE), time.monotonic()
    card = tmp_path / "out/sub-01/.sessions/ses-01.json"
    while not card.exists() and child.poll() is None and time.monotonic() - began < 30:
        time.sleep(0.005)
    child.kill()
    child.wait()
    assert card.exists() and not (tmp_path / "out/sub-01/recording.json").exists()
    done = run_example(tmp_path / "bids", "--out", tmp_path / "out")
    assert "session 01: kept from before" in done.stdout, done.stderr
    assert list(store.read_card(tmp_path / "out/sub-01").sensors) == KEPT
    assert not card.parent.exists()


def test_example_converts_what_was_prepared_and_says_what_is_wrong(tmp_path):
    write_song(tmp_path / "song")
    done = run_example(tmp_path / "song", "--out", tmp_path / "out", "--keep-test-concepts")
    assert not done.returncode, done.stderr
    assert np.load(tmp_path / "out/sub-01/signals_train.npy").shape == (3, 1, 271, 200)
    assert "Song" in done.stdout
    cases = [
        ([tmp_path / "song", "--subject", 2], "or raw recordings, sub-BIGMEG1"),
        ([tmp_path / "song", "--band", "none"], "are for raw recordings"),
        ([tmp_path / "nowhere"], "nowhere"),
    ]
    subject = write_subject(tmp_path / "both")
    cases += [([tmp_path / "both", "--band", *band], "wanted two frequencies below 600 Hz")
              for band in (["40", "0.1"], ["40"], ["0.1", "700"])]  # fmt: skip
    for args, message in cases:
        bad = run_example(*args, "--out", tmp_path / "new")
        assert bad.returncode == 1 and message in bad.stderr, bad.stderr
        assert "Traceback" not in bad.stderr
    write_song(subject.parent / "derivatives")
    bad = run_example(subject.parent, "--out", tmp_path / "new")
    assert "name " in bad.stderr and "or the subject's own folder" in bad.stderr
