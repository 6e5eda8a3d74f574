"""The twin of THINGS-MEG: its files, read as any program would, against its truth."""

from __future__ import annotations

import csv
import json
import pickle
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from tests.test_demo import interrupted
from tinybrain.things import demo, make_demo
from tinybrain.things.demo import read_truth
from tinybrain.things.sensors import THINGS_MEG_271
from tinybrain.things.twin import drawing, meg_writing, simulation
from tinybrain.things.twin.settings import DEFAULTS

SMALL = {"train_concepts": 9, "test_concepts": 6, "image_size": 24}
TINY = {"train_concepts": 3, "train_images": 2, "test_concepts": 2, "test_repeats": 3, "points": 7,
        "sensors": ("MLO11-1609", "MRO12-1609", "MZC02-1609"), "image_size": 16}  # fmt: skip


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return make_demo(tmp_path_factory.mktemp("twin") / "small", "meg", **SMALL)


def files_of(root):
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def signals(root, split):
    return pickle.loads((root / "Preprocessed_data" / f"meg_sub-01_{split}.pkl").read_bytes())


def table(root):
    """Rows of sample_attributes; numbers where there are any."""
    with open(root / "sample_attributes_P1.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    return [{k: int(v) if v.isdigit() else v for k, v in row.items()} for row in rows]


def training(root):
    """Rows of the training file in its order: by THINGS' number of the image."""
    rows = [row for row in table(root) if row["trial_type"] == "exp"]
    return sorted(rows, key=lambda row: row["things_image_nr"])


def kept(root):
    tested = {row["things_category_nr"] for row in table(root) if row["trial_type"] == "test"}
    return np.array([row["things_category_nr"] not in tested for row in training(root)])


# Signals


def test_the_arrays_are_those_of_songs_files(small):
    train, test = signals(small, "train"), signals(small, "test")
    assert type(train) is type(test) is np.ndarray
    assert train.dtype == test.dtype == np.float32
    assert train.shape == (15 * 12, 271, 201)
    assert test.shape == (6, 12, 271, 201)
    path = small / "Preprocessed_data" / "meg_sub-01_train.pkl"
    assert path.read_bytes()[:2] == b"\x80\x04"


def test_the_truth_is_what_is_left_without_test_concepts_and_the_first_point(small):
    truth = read_truth(small)
    train, test = signals(small, "train"), signals(small, "test")
    assert truth.train.shape == (9 * 12, 271, 200)
    assert truth.test.shape == (6, 271, 200)
    assert truth.sensors == THINGS_MEG_271
    np.testing.assert_allclose(truth.times, np.arange(1, 201) / 200)
    left = train[kept(small), :, 1:] - truth.train
    assert np.mean(left**2) == pytest.approx(1.2, rel=0.01)
    single = test[..., 1:] - truth.test[:, None]
    assert np.mean(single**2) == pytest.approx(1.2, rel=0.01)
    np.testing.assert_allclose(np.mean(single**2, axis=(0, 1, 3)), truth.noise_variance, rtol=0.2)
    assert np.mean(single.mean(axis=1) ** 2) == pytest.approx(0.1, rel=0.02)
    for rows, known in ((left, truth.train), (single.mean(axis=1), truth.test)):
        noise, read = np.mean(rows**2), rows + known
        assert np.mean((read - np.roll(known, 1, axis=0)) ** 2) > noise + 0.02  # rows matter,
        shifted = [np.mean((read - np.roll(known, by, axis=-1)) ** 2) for by in (-1, 1)]
        assert min(shifted) > noise  # and so do points


def test_the_variance_components_are_those_asked_for(small):
    truth = read_truth(small)
    mean = truth.train.mean(axis=0, dtype=np.float64)
    assert np.mean(mean**2) == pytest.approx(0.02, rel=0.01)
    assert np.mean((truth.train - mean) ** 2) == pytest.approx(0.03, rel=0.01)
    assert truth.noise_variance.mean() == pytest.approx(1.2, rel=1e-9)


def test_images_of_test_concepts_are_in_the_training_file(small):
    others = signals(small, "train")[~kept(small), :, 1:]
    assert len(others) == 6 * 12
    mean = read_truth(small).train.mean(axis=0)
    assert np.mean((others - mean) ** 2) > 1.2 + 0.02  # noise, and responses of their own


def test_a_prediction_from_the_attributes_beats_the_mean_which_beats_zero(tmp_path):
    few = {"sensors": THINGS_MEG_271[::6], "points": 101, "rate": 100.0, "image_size": 8}
    root = make_demo(tmp_path / "demo", "meg", **few)
    truth, test = read_truth(root), signals(root, "test")[..., 1:].mean(axis=1)
    train = signals(root, "train")[kept(root), :, 1:]
    x, new = truth.train_attributes, truth.test_attributes
    mean = train.mean(axis=0)
    flat = (train - mean).reshape(len(train), -1)
    weights = np.linalg.solve(x.T @ x + 100 * np.eye(x.shape[1]), (x - x.mean(axis=0)).T @ flat)
    ridge = mean + ((new - x.mean(axis=0)) @ weights).reshape(test.shape)
    errors = [np.mean((test - guess) ** 2) for guess in (0, mean, ridge, truth.test)]
    assert all(one > 1.03 * next_ for one, next_ in pairwise(errors)), errors


# Images and the table of trials


def test_the_table_has_each_training_image_once_and_each_test_image_in_every_session(small):
    rows = table(small)
    assert list(rows[0]) == list(meg_writing.COLUMNS)
    kinds = Counter(row["trial_type"] for row in rows)
    assert kinds == {"exp": 180, "test": 72, "catch": 72}
    shown = Counter((row["session_nr"], row["things_image_nr"]) for row in rows
                    if row["trial_type"] == "test")  # fmt: skip
    assert set(shown.values()) == {1} and {session for session, _ in shown} == set(range(1, 13))
    assert len({row["things_image_nr"] for row in training(small)}) == 180
    times = [(row["session_nr"], row["run_nr"], float(row["onset"])) for row in rows]
    assert times == sorted(times) and len(set(times)) == len(times)
    assert {row["run_nr"] for row in rows} <= set(range(1, 11))
    order = [row["things_image_nr"] for row in rows if row["trial_type"] == "exp"]
    assert order != sorted(order)


def test_numbers_are_those_of_things(small):
    rows = training(small)
    names = [row["image_path"].split("/")[1] for row in rows]
    concepts = list(dict.fromkeys(names))
    assert concepts == sorted(set(names), key=lambda name: name.replace("_", " "))
    for i, row in enumerate(rows):
        concept, exemplar = i // 12 + 1, i % 12 + 1
        assert row["image_nr"] == i + 1
        assert row["things_category_nr"] == row["category_nr"] == concept
        assert row["things_exemplar_nr"] == row["exemplar_nr"] == exemplar
        letter = "b" if exemplar == 1 else "s"
        name = concepts[concept - 1]
        assert row["image_path"] == f"images_meg/{name}/{name}_{exemplar:02d}{letter}.jpg"
        assert row["test_image_nr"] == ""
    tests = {row["things_image_nr"]: row for row in table(small) if row["trial_type"] == "test"}
    numbers = sorted([row["things_image_nr"] for row in rows] + list(tests))
    assert numbers == list(range(1, 180 + 6 + 1))
    for number, row in tests.items():  # an image beyond the twelve of its concept
        last = max(r["things_image_nr"] for r in rows
                   if r["things_category_nr"] == row["things_category_nr"])  # fmt: skip
        assert number == last + 1 and row["things_exemplar_nr"] == 13
        name = concepts[row["things_category_nr"] - 1]
        assert row["image_path"] == f"images_test_meg/{name}_13s.jpg"
        assert row["image_nr"] == 180 + 6 + row["test_image_nr"]


def test_spaces_go_before_letters_and_digits_as_in_things():
    names = ("ice", "ice_cream", "icebox", "camera1", "camera_lens")
    order = ["camera_lens", "camera1", "ice", "ice_cream", "icebox"]
    assert list(meg_writing.in_order(dict.fromkeys(names))) == order


def test_test_images_have_numbers_in_two_alphabetical_halves(small):
    tests = {row["test_image_nr"]: row["things_image_nr"] for row in table(small)
             if row["trial_type"] == "test"}  # fmt: skip
    order = [tests[number] for number in range(1, 7)]
    assert order[:3] == sorted(order[:3]) and order[3:] == sorted(order[3:])
    assert order != sorted(order)


def test_images_show_the_attributes_of_their_rows(small):
    truth = read_truth(small)
    train = [row["image_path"] for row, keep in zip(training(small), kept(small)) if keep]
    tests = {row["test_image_nr"]: row["image_path"] for row in table(small)
             if row["trial_type"] == "test"}  # fmt: skip
    test = [tests[number] for number in range(1, 7)]
    for names, attributes in ((train, truth.train_attributes), (test, truth.test_attributes)):
        images = [np.asarray(Image.open(small / name), float) for name in names]
        again = [np.asarray(drawing.draw(scene, 24), float) for scene in attributes]
        apart = np.abs(np.stack(images) - np.stack(again)).mean(axis=(1, 2, 3))
        assert apart.max() < 8  # what JPEG loses
    on_disk = {str(path.relative_to(small)) for path in small.rglob("*.jpg")}
    named = {row["image_path"] for row in table(small) if row["trial_type"] != "catch"}
    assert on_disk == named


# Making it


def test_the_same_settings_make_the_same_bytes_another_seed_others(tmp_path):
    one, two, other = (
        files_of(make_demo(tmp_path / name, "meg", seed=seed, **TINY))
        for name, seed in (("one", 5), ("two", 5), ("other", 6))
    )
    assert one == two
    assert all(one[name] != other[name] for name in one.keys() & other.keys())


def test_the_truth_does_not_depend_on_the_size_of_blocks(tmp_path, monkeypatch):
    whole = read_truth(make_demo(tmp_path / "whole", "meg", **TINY))
    monkeypatch.setattr(simulation, "BLOCK", 50)
    parts = make_demo(tmp_path / "parts", "meg", **TINY)
    np.testing.assert_array_equal(whole.train, read_truth(parts).train)
    left = signals(parts, "train")[kept(parts), :, 1:] - whole.train
    assert 0.3 < np.mean(left**2) / 1.2 < 2


def test_a_demo_is_kept_and_another_kind_refused(tmp_path, monkeypatch):
    root = make_demo(tmp_path / "demo", "meg", **TINY)
    assert read_truth(root).settings == json.loads(json.dumps(read_truth(root).settings))
    before = files_of(root)
    monkeypatch.setattr(demo, "_write", lambda *_: pytest.fail("made again"))
    assert make_demo(root, "meg", **TINY) == root
    with pytest.raises(ValueError, match="other settings: kind meg, not eeg"):
        make_demo(root)
    assert files_of(root) == before


def test_nothing_is_there_until_all_is(tmp_path, monkeypatch):
    interrupted(monkeypatch, meg_writing, "write_signals", tmp_path / "demo", "meg", **TINY)
    assert list(tmp_path.iterdir()) == []


def test_the_default_is_small_and_has_the_shape_of_things_meg():
    default = DEFAULTS["meg"]
    rows = (default["train_concepts"] + default["test_concepts"]) * default["train_images"]
    assert default["sensors"] == THINGS_MEG_271
    assert (default["train_images"], default["test_repeats"], default["points"]) == (12, 12, 201)
    assert rows * 271 * 201 * 4 < 200e6  # bytes


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"train_repeats": 4}, "train_repeats is 4, wanted 1 as in THINGS-MEG"),
        ({"test_images": 2}, "test_images is 2, wanted 1 as in THINGS-MEG"),
        ({"container": "npy"}, "container is 'npy', wanted 'pickle' as in THINGS-MEG"),
        ({"points": 1}, "points is 1, wanted two at least"),
        ({"train_images": 99}, "more than 98 training images"),
        ({"sensors": ("Oz", "Cz")}, "sensors are Oz, Cz: no gradiometers of a CTF helmet"),
        ({"sensors": ("MLO11", "MLO99")}, "no place in a CTF helmet for MLO99"),
        ({"sensors": ("MLO11", "MLO11")}, "wanted names, each once"),
    ],
)
def test_settings_that_cannot_be_are_refused_before_anything_is_made(tmp_path, wrong, message):
    with pytest.raises(ValueError, match=message):
        make_demo(tmp_path / "demo", "meg", **TINY | wrong)
    assert not list(tmp_path.iterdir())


def test_gradiometers_make_no_eeg(tmp_path):
    with pytest.raises(ValueError, match="sensors are MLO11, MRO11: no electrodes of the 10-10"):
        make_demo(tmp_path / "demo", sensors=("MLO11", "MRO11"))
