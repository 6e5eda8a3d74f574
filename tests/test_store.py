"""This project's own recordings on disk: whole or not at all, and believed only after a check."""

from __future__ import annotations

import errno
import json
import os
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tinybrain.things import store

SHAPE = (4, 3, 5, 7)  # n, r, h, w
IMAGES = ("00001_a/a_01b.jpg", "00001_a/a_02s.jpg", "00002_b/b_01b.jpg", "00002_b/b_05s.jpg")
CONCEPTS = ("00001_a", "00001_a", "00002_b", "00002_b")
SESSIONS = np.array([[1, 1, 2], [2, 2, 1], [1, 2, 1], [2, 1, 2]])
SENSORS, TIMES = ("Fp1", "Fp2", "Cz", "O1", "O2"), np.arange(7) / 250


def signals(seed=0):
    return np.random.default_rng(seed).standard_normal(SHAPE).astype(np.float32)


def whitening(seed=1):
    matrices = np.random.default_rng(seed).standard_normal((2, 5, 5)) + 3 * np.eye(5)
    return [store.Whitening(s + 1, m, np.linalg.inv(m)) for s, m in enumerate(matrices)]


def write(folder: Path, data=None, **other) -> Path:
    data = signals() if data is None else data
    with store.new_signals(folder, "train", data.shape) as out:
        out[:] = data
    splits = {"train": store.Split(IMAGES, CONCEPTS, SESSIONS)}
    given = {"kind": "eeg", "subject": 1, "sensors": SENSORS, "times": TIMES, "unit": "whitened",
             "source": {"from": ["raw", 1.5]}, "splits": splits, "whitening": whitening()}
    return store.write_card(folder, **(given | other))


def edit(folder: Path, **changes) -> None:
    """Change entries of the card; `train` stands for those of the split."""
    path = folder / "recording.json"
    content = json.loads(path.read_text())
    content["splits"]["train"] |= changes.pop("train", {})
    path.write_text(json.dumps(content | changes))


def test_what_was_written_is_read(tmp_path):
    assert not store.is_store(tmp_path)
    write(tmp_path / "sub-01")
    assert store.is_store(tmp_path / "sub-01")
    card = store.read_card(tmp_path / "sub-01")
    assert (card.kind, card.subject, card.unit, card.sensors) == ("eeg", 1, "whitened", SENSORS)
    assert card.source == {"from": ["raw", 1.5]} and list(card.splits) == ["train"]
    np.testing.assert_array_equal(card.times, TIMES)
    assert card.splits["train"].images == IMAGES and card.splits["train"].concepts == CONCEPTS
    np.testing.assert_array_equal(card.splits["train"].sessions, SESSIONS)
    for one, other in zip(card.whitening, whitening(), strict=True):
        np.testing.assert_array_equal(one.matrix, other.matrix)
        np.testing.assert_array_equal(one.inverse, other.inverse)
    assert repr(card) == (
        "<Card eeg, subject 1: 4 train images x 5 sensors x 7 points 0.000 to 0.024 s, whitened; "
        f"{tmp_path / 'sub-01'}>"
    )
    names = sorted(path.name for path in (tmp_path / "sub-01").iterdir())
    assert names == ["recording.json", "signals_train.npy"], "nothing else stays"


def test_content_is_mapped_and_can_become_a_tensor(tmp_path):
    write(tmp_path)
    content = store.read_card(tmp_path).content("train")
    assert isinstance(content.data, np.memmap) and content.data.dtype == np.float32
    np.testing.assert_array_equal(content.data, signals())
    np.testing.assert_array_equal(np.load(tmp_path / "signals_train.npy"), signals())
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # torch warns of arrays that may not be written to
        torch.from_numpy(content.data)[0, 0, 0, 0] = 99
    np.testing.assert_array_equal(np.load(tmp_path / "signals_train.npy"), signals())
    assert (content.unit, content.sensors) == ("whitened", SENSORS)
    assert content.images.concepts == CONCEPTS
    assert [f"{path.parent.name}/{path.name}" for path in content.images.paths] == list(IMAGES)
    assert "not there" in content.images.source


def test_images_are_found_where_they_are(tmp_path):
    write(tmp_path / "out/sub-01")
    for name in IMAGES:
        path = tmp_path / "Image_set/training_images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    card = store.read_card(tmp_path / "out/sub-01")
    for root in (None, tmp_path):
        assert all(path.is_file() for path in card.content("train", root).images.paths)
    path.unlink()
    with pytest.raises(FileNotFoundError, match="00002_b/b_05s.jpg"):
        card.content("train")
    with pytest.raises(FileNotFoundError, match=r"recording.json: no test split; there are train"):
        card.content("test")


def test_unwhitening_is_exact_and_by_session(tmp_path):
    volts = signals(3).astype(np.float64)
    white, matrices = np.empty(SHAPE), [each.matrix for each in whitening()]
    for i in range(4):
        for k in range(3):
            white[i, k] = matrices[SESSIONS[i, k] - 1] @ volts[i, k]
    write(tmp_path, white.astype(np.float32))
    card = store.read_card(tmp_path)
    np.testing.assert_allclose(store.unwhiten(white, card, "train"), volts, atol=1e-12)
    part = store.unwhiten(white[1:3], card, "train", slice(1, 3))
    np.testing.assert_allclose(part, volts[1:3], atol=1e-12)
    mean = (whitening()[0].inverse + whitening()[1].inverse) / 2
    np.testing.assert_allclose(card.unwhitening(), mean, atol=1e-15)
    with pytest.raises(ValueError, match=r"\(4, 3, 5, time points\)"):
        store.unwhiten(white[:, :2], card, "train")


def test_signals_that_were_not_whitened_say_so(tmp_path):
    write(tmp_path, whitening=(), unit="V")
    card = store.read_card(tmp_path)
    with pytest.raises(ValueError, match="recording.json: no whitening is kept; its unit is V"):
        card.unwhitening()
    with pytest.raises(ValueError, match="recording.json"):
        store.unwhiten(signals(), card, "train")


def test_an_error_while_writing_leaves_the_old_and_nothing_else(tmp_path):
    write(tmp_path)
    with pytest.raises(RuntimeError), store.new_signals(tmp_path, "train", SHAPE) as out:
        out[:] = 7
        raise RuntimeError
    np.testing.assert_array_equal(store.read_card(tmp_path).content("train").data, signals())
    assert sorted(os.listdir(tmp_path)) == ["recording.json", "signals_train.npy"]
    with pytest.raises(RuntimeError), store.new_signals(tmp_path / "new", "test", SHAPE):
        raise RuntimeError
    assert not os.listdir(tmp_path / "new")


def test_new_signals_take_the_card_of_the_old_ones_away(tmp_path):
    write(tmp_path)
    with store.new_signals(tmp_path, "train", SHAPE) as out:
        out[:] = 7
        assert store.is_store(tmp_path), "until the new ones are whole the old ones hold"
    assert not store.is_store(tmp_path)


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="the system cannot reserve space")
def test_a_full_disk_is_an_error_before_anything_is_written(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match=r"no room for these signals: .*signals_train\.npy"):
        write(tmp_path)
    assert not os.listdir(tmp_path)


def test_a_card_without_its_signals_is_not_written(tmp_path):
    splits = {"test": store.Split(IMAGES, CONCEPTS)}
    with pytest.raises(FileNotFoundError, match=r"signals_test.npy: missing"):
        write(tmp_path, splits=splits)
    assert not store.is_store(tmp_path)


TRAIN = {"train": store.Split(IMAGES, CONCEPTS, SESSIONS)}
WRONG_CARDS = {
    "sensors": ({"sensors": SENSORS[:4], "whitening": ()}, "do not belong together"),
    "times": ({"times": TIMES[:6]}, "do not belong together"),
    "images": ({"splits": {"train": store.Split(IMAGES[:3], CONCEPTS)}}, "wanted 4 names"),
    "concepts": ({"splits": {"train": store.Split(IMAGES, CONCEPTS[1:])}}, "wanted 4 names"),
    "sessions": ({"splits": {"train": store.Split(IMAGES, CONCEPTS, SESSIONS.T)}}, "sessions of"),
    "no splits": ({"splits": {}}, "splits called train and test"),
    "kind": ({"kind": "fmri"}, "'eeg' or 'meg'"),
    "inverse": ({"whitening": [store.Whitening(1, np.eye(5), 2 * np.eye(5))]}, "does not undo"),
    "NaN": ({"source": float("nan")}, "JSON"),
    "unknown session": ({"whitening": whitening()[:1]}, "have no whitening"),
}


@pytest.mark.parametrize("name", list(WRONG_CARDS))
def test_a_card_that_disagrees_with_the_signals_is_not_written(tmp_path, name):
    changes, reason = WRONG_CARDS[name]
    with pytest.raises(ValueError, match=reason):
        write(tmp_path, **changes)
    assert not store.is_store(tmp_path)


BAD = {
    "format": ({"format": "tinybrain features"}, "another kind of thing"),
    "version": ({"version": 2}, "version 2"),
    "subject": ({"subject": True}, "subject True"),
    "unit": ({"unit": 5}, "unit"),
    "sensor twice": ({"sensors": ["Cz"] * 5}, "more than once"),
    "sensor of numbers": ({"sensors": [1, 2, 3, 4, 5]}, "names of sensors"),
    "escape": ({"sensors": ["Cz\x1b[31m", "a", "b", "c", "d"]}, "names of sensors"),
    "surrogate": ({"sensors": ["\ud800", "a", "b", "c", "d"]}, "names of sensors"),
    "long name": ({"unit": "x" * 10_000}, "unit"),
    "times of text": ({"times": list("abcdefg")}, "not numbers"),
    "times without end": ({"times": [-1e308, 1e308, 0, 1, 2, 3, 4]}, "not ms"),
    "times in ms": ({"times": [4.0 * k for k in range(7)]}, "not ms"),
    "huge time": ({"times": [10**400, 1, 2, 3, 4, 5, 6]}, "not numbers"),
    "file": ({"train": {"file": "../signals_train.npy"}}, "should be"),
    "shape": ({"train": {"shape": [4, 3, 5, 8]}}, "do not belong together"),
    "path": ({"train": {"images": ["../../etc/passwd"] * 4}}, "no name below a folder"),
    "absolute": ({"train": {"images": ["/etc/passwd"] * 4}}, "no name below a folder"),
    "windows": ({"train": {"images": ["..\\a.jpg"] * 4}}, "no name below a folder"),
    "sessions": ({"train": {"sessions": [[1, 1, 1.5]] * 4}}, "sessions of train"),
    "splits": ({"splits": {"train": 1}}, "should be"),
    "split of another name": ({"splits": {"all": {}}}, "splits called"),
    "matrix": ({"whitening": [{"session": 1, "matrix": [[1]], "inverse": [[1]]}]}, "5 x 5"),
    "ragged": ({"whitening": [{"session": 1, "matrix": [[1], 2], "inverse": 1}]}, "5 x 5"),
    "whitening": ({"whitening": {"1": 2}}, "list of sessions"),
}


@pytest.mark.parametrize("name", list(BAD))
def test_a_bad_card_is_refused_with_its_name_and_the_reason(tmp_path, name):
    write(tmp_path)
    changes, reason = BAD[name]
    edit(tmp_path, **changes)
    with pytest.raises(ValueError, match=reason) as caught:
        store.read_card(tmp_path)
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize("text", ["", "[]", "null", "{", "[" * 100_000, '{"a": NaN}', "\xff"])
def test_what_is_no_card(tmp_path, text):
    write(tmp_path)
    (tmp_path / "recording.json").write_bytes(text.encode("latin1"))
    with pytest.raises(ValueError, match="recording.json"):
        store.read_card(tmp_path)


def test_a_card_of_any_size_is_not_read(tmp_path):
    write(tmp_path)
    os.truncate(tmp_path / "recording.json", 1 << 40)  # a hole
    with pytest.raises(ValueError, match="recording.json: 1099511627776 bytes"):
        store.read_card(tmp_path)
    with pytest.raises(FileNotFoundError, match="recording.json"):
        store.read_card(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: os.truncate(path, path.stat().st_size - 4),
        lambda path: path.write_bytes(path.read_bytes() + b"more"),
        lambda path: np.save(path, signals().astype(np.float64)),
        lambda path: np.save(path, np.asfortranarray(signals())),
        lambda path: np.save(path, signals()[0]),
        lambda path: np.save(path, {"a": 1}, allow_pickle=True),
        lambda path: path.write_bytes(b"PK\x03\x04"),
        lambda path: path.write_bytes(b""),
    ],
)
def test_spoiled_signals_are_refused(tmp_path, spoil):
    write(tmp_path)
    spoil(tmp_path / "signals_train.npy")
    with pytest.raises(ValueError, match=r"signals_train\.npy: "):
        store.read_card(tmp_path)


def test_signals_exchanged_after_the_card_was_read(tmp_path):
    write(tmp_path)
    card = store.read_card(tmp_path)
    np.save(tmp_path / "signals_train.npy", signals()[:, :, :4])
    with pytest.raises(ValueError, match="do not belong together"):
        card.content("train")


@settings(max_examples=300, deadline=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture])  # fmt: skip
@given(data=st.data())
def test_damaged_cards_give_a_recording_or_a_value_error(tmp_path, data):
    path = tmp_path / "recording.json"
    if not path.exists():
        write(tmp_path)
        path.rename(tmp_path / "whole")
    blob = bytearray((tmp_path / "whole").read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        at, size = data.draw(st.integers(0, len(blob))), data.draw(st.sampled_from([0, 1, 1, 9]))
        words = st.sampled_from([b"{}", b"[]", b"null", b"1e999", b"-1", b'"a"', b"]", b",", b"9"])
        blob[at : at + size] = data.draw(st.binary(max_size=3) | words)
    path.write_bytes(blob)
    try:
        card = store.read_card(tmp_path)
    except ValueError as error:
        assert "recording.json" in str(error) or "signals_train.npy" in str(error)
    else:
        assert card.content("train").data.shape == SHAPE and np.isfinite(card.times).all()
