"""Several people in one demo: the same images, their own responses, noise and order of trials."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from tinybrain.things import EEG2, MEG, make_demo
from tinybrain.things.demo import draw_targets, read_truth
from tinybrain.things.twin.people import person

SMALL = {"train_concepts": 60, "train_images": 2, "test_concepts": 15, "test_repeats": 20,
         "points": 63, "rate": 62.5, "image_size": 16, "seed": 4}  # fmt: skip
TINY = {"train_concepts": 3, "train_images": 2, "train_repeats": 2, "test_concepts": 2,
        "test_repeats": 3, "sensors": ("O1", "Oz", "Cz"), "points": 7, "rate": 62.5,
        "image_size": 16}  # fmt: skip
MEG_TINY = {"train_concepts": 3, "test_concepts": 2, "image_size": 8}


def files_of(root):
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    folder = tmp_path_factory.mktemp("people")
    return make_demo(folder / "demo", subjects=3, **SMALL)


def test_a_subject_does_not_depend_on_how_many_others_there_are(tmp_path):
    one, two, three = (
        files_of(make_demo(tmp_path / str(count), subjects=count, **TINY)) for count in (1, 2, 3)
    )
    assert one.items() < two.items() < three.items()  # bit for bit, the truth as well
    signals = [f"preprocessed_eeg_{split}.npy" for split in ("test", "training")]
    for more, less, number in ((two, one, 2), (three, two, 3)):
        folder = f"Preprocessed_data_62.5Hz/sub-{number:02d}"
        new = {f"{folder}/{name}" for name in signals} | {f"truth_sub-{number:02d}.npz"}
        assert more.keys() - less.keys() == new
    assert "subjects" not in read_truth(tmp_path / "3").settings  # nor in demos made before


def test_each_subjects_truth_is_that_of_their_recordings(people):
    for subject in (1, 2, 3):
        truth, test = read_truth(people, subject), EEG2(people, subject, "test", repeats="single")
        noise = np.mean((test.signals - truth.test[:, None]) ** 2, axis=(0, 1, 3))
        np.testing.assert_allclose(noise, truth.noise_variance, rtol=0.12)
        known = {other: read_truth(people, other) for other in (1, 2, 3)}
        errors = {other: np.mean((EEG2(people, subject, "train").signals - known[other].train) ** 2)
                  for other in known}  # fmt: skip
        assert min(errors, key=errors.get) == subject
        assert errors[subject] == pytest.approx(truth.noise_variance.mean() / 4, rel=0.05)
        assert EEG2(people, subject, "test").images == EEG2(people, 1, "test").images
        np.testing.assert_array_equal(truth.train_attributes, known[1].train_attributes)


def test_amplitude_and_noise_are_the_persons(people):
    for subject in (1, 2, 3):
        truth, who = read_truth(people, f"sub-{subject:02d}"), person(4, subject)
        mean = truth.train.mean(axis=0, dtype=np.float64)
        assert np.mean(mean**2) == pytest.approx(0.059 * who.size**2, rel=1e-4)
        assert np.mean((truth.train - mean) ** 2) == pytest.approx(0.018 * who.size**2, rel=1e-4)
        assert truth.noise_variance.mean() == pytest.approx(0.87 * who.noise, rel=1e-9)
    assert len({person(4, subject).size for subject in range(1, 9)}) == 8
    assert person(4, 1).size == person(4, 1).noise == 1


def test_new_targets_have_the_truth_and_the_noise_of_training_targets(people):
    truth, train = read_truth(people, 2), EEG2(people, 2, "train").signals
    drawn = draw_targets(people, 2, "train", trials=3, seed=1)
    assert drawn.shape == (120, 3, 32, 63) and drawn.dtype == np.float32
    noise, known = drawn - truth.train[:, None], train - truth.train
    for axes in ((0, 1, 3), (0, 1, 2)):  # by sensor, by time
        known_power = np.mean(known[:, None] ** 2, axis=axes)
        np.testing.assert_allclose(np.mean(noise**2, axis=axes), known_power, rtol=0.25)
    lagged = [np.mean(x[..., 1:] * x[..., :-1]) / np.mean(x**2) for x in (noise, known)]
    assert lagged[0] == pytest.approx(lagged[1], abs=0.02)
    assert abs(np.mean(noise[:, 0] * noise[:, 1])) < 0.06 * np.mean(noise**2)
    assert abs(np.mean(noise[:, 0] * known)) < 0.06 * np.mean(noise**2)
    np.testing.assert_array_equal(drawn, draw_targets(people, 2, "train", trials=3, seed=1))
    assert not np.array_equal(drawn, draw_targets(people, 2, "train", trials=3, seed=2))
    for split, trials in (("validation", 1), ("test", 0)):
        with pytest.raises(ValueError, match=f"split '{split}', {trials} trials; wanted"):
            draw_targets(people, 2, split, trials=trials)


def test_a_subject_that_is_not_there_is_named_and_other_numbers_refused(people):
    with pytest.raises(FileNotFoundError, match=r"truth_sub-07.npz: .* subjects 1 to 3, not 7;"):
        read_truth(people, 7)
    with pytest.raises(ValueError, match="other settings: seed 4, not 0; subjects 3, not 2"):
        make_demo(people, subjects=2, **SMALL | {"seed": 0})
    for subjects, message in ((0, "subjects is 0, wanted an integer from 1"), (100, "100 subj")):
        with pytest.raises(ValueError, match=message):
            make_demo(people.parent / "none", subjects=subjects, **TINY)


# Gradiometers


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    return make_demo(tmp_path_factory.mktemp("meg") / "demo", "meg", subjects=2, **MEG_TINY)


def trials(root, subject):
    with open(root / f"sample_attributes_P{subject}.csv", newline="") as file:
        return [(row["trial_type"], row["image_path"]) for row in csv.DictReader(file)]


def test_the_first_in_the_helmet_does_not_depend_on_the_second(two, tmp_path):
    one = files_of(make_demo(tmp_path / "one", "meg", **MEG_TINY))
    both = files_of(two)
    assert one.items() < both.items()
    assert both.keys() - one.keys() == {
        "truth_sub-02.npz", "sample_attributes_P2.csv",
        "Preprocessed_data/meg_sub-02_train.pkl", "Preprocessed_data/meg_sub-02_test.pkl",
    }  # fmt: skip


def test_each_has_an_order_of_trials_of_their_own(two):
    first, second = trials(two, 1), trials(two, 2)
    assert first != second
    assert sorted(first) == sorted(second)


def test_both_are_read_as_their_truth_has_them(two):
    for subject in (1, 2):
        truth, other = read_truth(two, subject), read_truth(two, 3 - subject)
        for split in ("train", "test"):
            read = MEG(two, subject, split, repeats="single")
            assert read.images == MEG(two, 3 - subject, split).images
            left = np.mean((read.signals - getattr(truth, split)[:, None]) ** 2)
            assert left == pytest.approx(truth.noise_variance.mean(), rel=0.08)
            assert np.mean((read.signals - getattr(other, split)[:, None]) ** 2) > left + 0.005


def test_new_targets_of_gradiometers_are_single_trials(two):
    truth, drawn = read_truth(two, 2), draw_targets(two, "P2", trials=20)
    assert drawn.shape == (2, 20, 271, 200)
    noise = np.mean((drawn - truth.test[:, None]) ** 2)
    assert noise == pytest.approx(truth.noise_variance.mean(), rel=0.05)
