"""The statistical twin: what was asked of it is what its files hold, and its truth is true."""

from __future__ import annotations

import json
import pickle
import shutil

import numpy as np
import pytest
from PIL import Image

from tinybrain.things import EEG2, demo, make_demo
from tinybrain.things.demo import read_truth
from tinybrain.things.sensors import THINGS_EEG2_63
from tinybrain.things.twin import drawing, simulation, writing
from tinybrain.things.twin.settings import SENSORS

GRID = {"points": 63, "rate": 62.5}
SMALL = GRID | {"train_concepts": 60, "train_images": 2, "test_concepts": 15, "image_size": 32}
TINY = {"train_concepts": 3, "train_images": 2, "train_repeats": 2, "test_concepts": 2,
        "test_repeats": 3, "sensors": ("O1", "Oz", "Cz"), "points": 7, "rate": 62.5,
        "image_size": 16}
SPLITS = ("train", "test")


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return make_demo(tmp_path_factory.mktemp("twin") / "small", **SMALL)


def files_of(root):
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


# Variance components


def test_the_variance_components_are_those_asked_for(small):
    truth = read_truth(small)
    mean = truth.train.mean(axis=0, dtype=np.float64)
    assert np.mean(mean**2) == pytest.approx(0.059, rel=1e-4)
    assert np.mean((truth.train - mean) ** 2) == pytest.approx(0.018, rel=1e-4)
    assert truth.noise_variance.mean() == pytest.approx(0.87, rel=1e-9)
    single = EEG2(small, 1, "test", repeats="single").signals
    noise = single - truth.test[:, None]
    assert np.mean(noise**2) == pytest.approx(0.87, rel=0.02)
    np.testing.assert_allclose(np.mean(noise**2, axis=(0, 1, 3)), truth.noise_variance, rtol=0.06)


def test_averages_differ_from_the_truth_by_the_noise_over_the_repetitions(small):
    truth = read_truth(small)
    for split, known, repeats in (("train", truth.train, 4), ("test", truth.test, 80)):
        left = EEG2(small, 1, split).signals - known
        assert np.mean(left**2) == pytest.approx(0.87 / repeats, rel=0.04)
        wrong = EEG2(small, 1, split).signals - np.roll(known, 1, axis=0)  # rows matter
        assert np.mean(wrong**2) > 0.87 / repeats + 0.018


def test_other_components_may_be_asked_for(tmp_path):
    asked = {"erp_power": 2.0, "image_variance": 0.5, "noise_variance": 3.0}
    truth = read_truth(make_demo(tmp_path / "demo", **TINY, **asked))
    mean = truth.train.mean(axis=0, dtype=np.float64)
    found = np.mean(mean**2), np.mean((truth.train - mean) ** 2), truth.noise_variance.mean()
    np.testing.assert_allclose(found, (2, 0.5, 3), rtol=1e-4)


def test_trials_are_independent(small):
    noise = EEG2(small, 1, "test", repeats="single").signals - read_truth(small).test[:, None]
    one, two = noise[:, :-1].reshape(-1), noise[:, 1:].reshape(-1)
    assert abs(np.corrcoef(one, two)[0, 1]) < 0.01
    assert abs(np.corrcoef(noise[:-1].reshape(-1), noise[1:].reshape(-1))[0, 1]) < 0.01


def test_the_mean_recording_has_its_deflections_in_time_and_place(small):
    truth = read_truth(small)
    mean = dict(zip(truth.sensors, truth.train.mean(axis=0)))

    def at(name, seconds):
        return mean[name][np.abs(truth.times - seconds).argmin()]

    first = (truth.times > 0.05) & (truth.times < 0.25)
    for name in ("PO7", "PO8"):
        trough = truth.times[first][mean[name][first].argmin()]
        assert trough == pytest.approx(0.165, abs=0.016)  # N1, within one sample
        assert at(name, 0.165) < -0.3
        assert truth.times[first][mean[name][first].argmax()] in (0.096, 0.24)  # P1 or P2
    lowest = sorted(mean, key=lambda name: at(name, 0.165))[:8]
    assert {"PO7", "PO8"} <= set(lowest)
    assert at("O1", 0.1) > 0.3
    assert at("FCz", 0.165) > 0.2  # the other side of the N1
    assert abs(at("Fp1", 0.165)) < 0.2


# Files


def test_the_folder_is_that_of_things_eeg2(small):
    table = np.load(small / "Image_set" / "image_metadata.npy", allow_pickle=True).item()
    assert list(table) == [
        f"{split}_img_{key}"
        for split in SPLITS for key in ("concepts", "concepts_THINGS", "files")
    ]  # fmt: skip
    for split, folder, count in (("train", "training_images", 120), ("test", "test_images", 15)):
        rows = list(zip(table[f"{split}_img_concepts"], table[f"{split}_img_files"]))
        found = sorted((small / "Image_set" / folder).rglob("*.jpg"))
        assert len(rows) == len(found) == count
        assert [(path.parent.name, path.name) for path in found] == rows  # in the order of names
        assert [name[6:] for name, _ in rows] == sorted(name[6:] for name, _ in rows)
        assert {image.size for image in map(Image.open, found)} == {(32, 32)}
    concepts = [{name[6:] for name in table[f"{split}_img_concepts"]} for split in SPLITS]
    assert len(concepts[0]) == 60
    assert len(concepts[1]) == 15
    assert not concepts[0] & concepts[1]
    numbered = table["train_img_concepts_THINGS"] + table["test_img_concepts_THINGS"]
    assert sorted({name[:5] for name in numbered}) == [f"{i:05d}" for i in range(1, 76)]
    assert {name[6:] for name in numbered} == concepts[0] | concepts[1]


def test_images_show_the_attributes_of_their_rows(small):
    truth = read_truth(small)
    for split, attributes in (("train", truth.train_attributes), ("test", truth.test_attributes)):
        images = [np.asarray(Image.open(path), float) for path in EEG2(small, 1, split).images]
        again = [np.asarray(drawing.draw(scene, 32), float) for scene in attributes]
        apart = np.abs(np.stack(images) - np.stack(again)).mean(axis=(1, 2, 3))
        assert apart.max() < 6  # what JPEG loses


def test_signals_are_in_both_containers_with_times_from_before_onset(tmp_path):
    content = {}
    for container, start in (("pickle", b"\x80\x04"), ("npy", b"\x93NUMPY")):
        root = make_demo(tmp_path / container, container=container, **TINY)
        path = root / "Preprocessed_data_62.5Hz" / "sub-01" / "preprocessed_eeg_training.npy"
        assert path.read_bytes().startswith(start)
        raw = np.load(path, allow_pickle=True)
        content[container] = raw if container == "pickle" else raw.item()
        signals = EEG2(root, 1, "train", repeats="single").signals
        np.testing.assert_array_equal(signals, content[container]["preprocessed_eeg_data"])
    bare, saved = content.values()
    assert list(bare) == list(saved) == ["preprocessed_eeg_data", "ch_names", "times"]
    assert bare["preprocessed_eeg_data"].shape == (6, 2, 3, 7)
    assert bare["preprocessed_eeg_data"].dtype == np.float64
    assert bare["ch_names"] == ["O1", "Oz", "Cz"]
    np.testing.assert_allclose(bare["times"], np.arange(-12, 7) / 62.5)
    np.testing.assert_array_equal(bare["preprocessed_eeg_data"], saved["preprocessed_eeg_data"])


def test_the_rate_names_the_folder_and_makes_the_times(tmp_path):
    root = make_demo(tmp_path / "demo", **TINY | {"rate": 250, "sensors": THINGS_EEG2_63})
    test = EEG2(root, 1, "test")
    assert (root / "Preprocessed_data_250Hz").is_dir()
    assert test.sensors == THINGS_EEG2_63
    np.testing.assert_allclose(test.times, np.arange(7) / 250)
    path = root / "Preprocessed_data_250Hz" / "sub-01" / "preprocessed_eeg_test.npy"
    assert len(pickle.loads(path.read_bytes())["times"]) == 50 + 7


def test_the_truth_says_what_it_is(small):
    truth = read_truth(small)
    assert truth.train.dtype == truth.test.dtype == np.float32
    assert truth.train.shape == (120, 32, 63)
    assert truth.test.shape == (15, 32, 63)
    assert truth.train_attributes.shape == (120, len(truth.attributes))
    assert truth.attributes == drawing.ATTRIBUTES
    assert truth.sensors == SENSORS == EEG2(small, 1, "train").sensors
    np.testing.assert_allclose(truth.times, EEG2(small, 1, "train").times)
    assert truth.settings == json.loads(json.dumps(truth.settings))
    assert truth.settings["seed"] == 0
    assert truth.settings["train_concepts"] == 60


# Making it


def test_the_same_settings_make_the_same_bytes_another_seed_others(tmp_path):
    one, two, other = (
        files_of(make_demo(tmp_path / name, seed=seed, **TINY))
        for name, seed in (("one", 5), ("two", 5), ("other", 6))
    )
    assert one == two
    assert one.keys() & other.keys()
    assert all(one[name] != other[name] for name in one.keys() & other.keys())


def test_the_truth_does_not_depend_on_the_size_of_blocks(tmp_path, monkeypatch):
    whole = read_truth(make_demo(tmp_path / "whole", **TINY))
    monkeypatch.setattr(simulation, "BLOCK", 50)
    parts = read_truth(make_demo(tmp_path / "parts", **TINY))
    np.testing.assert_array_equal(whole.train, parts.train)
    left = EEG2(tmp_path / "parts", 1, "train").signals - parts.train
    assert 0.2 < np.mean(left**2) / (0.87 / 2) < 2


def test_a_demo_with_these_settings_is_kept(tmp_path, monkeypatch):
    root = make_demo(tmp_path / "demo", **TINY)
    before = files_of(root)
    monkeypatch.setattr(demo, "_write", lambda *_: pytest.fail("made again"))
    assert make_demo(str(root), "eeg", **TINY) == root
    assert make_demo(root, **TINY | {"sensors": ["O1", "Oz", "Cz"], "rate": 62.5}) == root
    assert files_of(root) == before


def test_other_settings_and_other_folders_are_refused(tmp_path):
    root = make_demo(tmp_path / "demo", **TINY)
    before = files_of(root)
    with pytest.raises(ValueError, match="demo holds .* seed 0, not 1; container pickle, not npy"):
        make_demo(root, seed=1, container="npy", **TINY)
    (root / "truth.npz").unlink()
    with pytest.raises(ValueError, match="demo is there and is no demo"):
        make_demo(root, **TINY)
    with pytest.raises(ValueError, match="image_metadata.npy is there"):
        make_demo(root / "Image_set" / "image_metadata.npy", **TINY)
    before.pop("truth.npz")
    assert files_of(root) == before


def interrupted(monkeypatch, module, name: str, root, *args, **sizes) -> None:
    """Stop `make_demo` when a function of a module is to write the test, after the training."""
    write = getattr(module, name)

    def stop_at_test(path, *rest):
        assert not root.exists()
        if "test" in path.name:
            raise KeyboardInterrupt
        write(path, *rest)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(module, name, stop_at_test)
        make_demo(root, *args, **sizes)


def test_nothing_is_there_until_all_is(tmp_path, monkeypatch):
    root = tmp_path / "deep" / "demo"
    interrupted(monkeypatch, writing, "write_recording", root, **TINY)
    assert list(root.parent.iterdir()) == []
    root.mkdir()  # an empty folder is no obstacle
    assert read_truth(make_demo(root, **TINY)).test.shape == (2, 3, 7)
    assert list(root.parent.iterdir()) == [root]


def test_when_another_process_is_quicker_its_demo_is_kept(tmp_path, monkeypatch):
    done, root = make_demo(tmp_path / "done", **TINY), tmp_path / "demo"
    write = demo._write

    def be_late(part, settings):
        write(part, settings)
        shutil.copytree(done, root)

    monkeypatch.setattr(demo, "_write", be_late)
    assert make_demo(root, **TINY) == root
    assert sorted(tmp_path.iterdir()) == [root, done]
    shutil.rmtree(root)
    with pytest.raises(ValueError, match="seed 0, not 1"):
        make_demo(root, seed=1, **TINY)


def test_a_truth_that_is_missing_or_damaged_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"truth.npz: .* is no demo"):
        read_truth(tmp_path)
    root = make_demo(tmp_path / "demo", **TINY)
    whole = (root / "truth.npz").read_bytes()
    for damage in (whole[:1000], b"", b"no zip at all"):
        (root / "truth.npz").write_bytes(damage)
        with pytest.raises(ValueError, match=r"truth.npz is damaged"):
            read_truth(root)
        with pytest.raises(ValueError, match=r"truth.npz is damaged"):
            make_demo(root, **TINY)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"kind": "meg"}, "sensors are O1, Oz, Cz: no gradiometers"),
        ({"kind": "fmri"}, "kind is 'fmri'"),
        ({"container": "h5"}, "container 'h5', wanted one of .*pickle.*npy"),
        ({"seed": -1}, "seed is -1, wanted an integer from 0 up"),
        ({"points": 0}, "points is 0, wanted an integer from 1 up"),
        ({"train_concepts": 2.5}, "train_concepts is 2.5, wanted an integer"),
        ({"test_repeats": True}, "test_repeats is True, wanted an integer"),
        ({"train_images": 100}, "more than 99 images"),
        ({"train_concepts": 1, "train_images": 1}, "one training image"),
        ({"rate": 0}, "rate is 0.0, wanted a number above 0"),
        ({"noise_variance": float("nan")}, "noise_variance is nan"),
        ({"sensors": ["Oz", "EOG"]}, "no 10-10 position for EOG"),
        ({"sensors": ["Oz", "Oz"]}, "wanted names, each once"),
        ({"sensors": []}, "wanted names, each once"),
    ],
)
def test_settings_that_cannot_be_are_refused_before_anything_is_made(tmp_path, wrong, message):
    with pytest.raises(ValueError, match=message):
        make_demo(tmp_path / "demo", **TINY | wrong)
    assert not list(tmp_path.iterdir())
