"""The converter of real recordings, on a miniature of the same form that is made here."""

from __future__ import annotations

import numpy as np
import pytest

from tests import uci_visual_erp as uci
from tinybrain.things import EEG2

CHANNELS = ["FP1", "X", "PO7", "nd", "PO8", "CZ", "Y"]
CONDITIONS = ["S1 obj", "S2 match", "S2 nomatch"]
PEOPLE = ["co2a0000377", "co2a0000364"]  # in no order
SENSORS = ("FP1", "PO7", "PO8", "CZ")
TIMES = np.arange(64) / 256


def miniature(noise=0.2, trials=4):
    """Trials in a random order: an N1 at 164 ms, deepest at PO8, above an offset and noise."""
    rng = np.random.default_rng(0)
    subject, condition = (np.repeat(each, reps).tolist() * times for each, reps, times in (
        (PEOPLE, 3 * trials, 1), (CONDITIONS, trials, 2)))  # fmt: skip
    n1 = np.exp(-(((TIMES - 42 / 256) / 0.015) ** 2) / 2)
    depth = np.array([2, 0, -6, 0, -10, 0, 50.0])
    eeg = depth[:, None] * n1 + 30 + noise * rng.standard_normal((len(subject), 7, 64))
    order = rng.permutation(len(subject))
    order = order[np.argsort(np.array(subject)[order] != PEOPLE[0], kind="stable")]
    return {
        "eeg_uv": eeg.astype(np.float32)[order], "ch_names": np.array(CHANNELS),
        "subject": np.array(subject)[order], "condition": np.array(condition)[order],
        "trial": rng.permutation(100)[: len(order)], "sfreq": np.array(256.0), "t0": np.array(0.0),
    }  # fmt: skip


@pytest.fixture
def npz(tmp_path):
    np.savez(tmp_path / "mini.npz", **miniature())
    return tmp_path / "mini.npz"


def test_each_trial_is_where_its_condition_and_its_turn_put_it(npz, tmp_path):
    content = miniature()
    people = uci.write_things_folder(npz, tmp_path / "things")
    assert people == {"sub-01": PEOPLE[0], "sub-02": PEOPLE[1]}
    for subject, person in people.items():
        for split, first in (("train", 0), ("test", 1)):
            recording = EEG2(tmp_path / "things", subject, split, repeats="single")
            assert recording.signals.shape == (3, 2, 4, 64)
            assert recording.sensors == SENSORS
            np.testing.assert_allclose(recording.times, TIMES)
            for i, condition in enumerate(CONDITIONS):
                mine = [(content["trial"][k], k) for k in range(24) if content["subject"][k]
                        == person and content["condition"][k] == condition]  # fmt: skip
                for j, (_, k) in enumerate(sorted(mine)[first::2]):
                    wanted = content["eeg_uv"][k, [CHANNELS.index(name) for name in SENSORS]]
                    wanted = 1e-6 * (wanted - wanted[:, :13].mean(axis=1, keepdims=True))
                    np.testing.assert_allclose(recording.signals[i, j], wanted, atol=1e-11)
                assert condition.replace(" ", "_") in recording.images[i].name


def test_a_condition_has_a_picture_of_its_own():
    pictures = [uci.draw(condition).tobytes() for condition in CONDITIONS]
    assert len(set(pictures)) == 3


def test_the_n1_is_found_where_and_when_it_was_put(npz, tmp_path, capsys):
    figure = tmp_path / "maps.png"
    uci.main([str(npz), str(tmp_path / "things"), "--figure", str(figure)])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5
    assert all("PO8  164 ms" in line for line in lines[1:4])
    assert all(";" in line and "V; 164 ms" in line for line in lines[1:4])
    assert figure.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_reliability_is_that_of_spearman_and_brown():
    rng = np.random.default_rng(0)
    signal = 2 * rng.standard_normal((1, 1, 40, 100))
    trials = signal + 4 * rng.standard_normal((3, 10, 40, 100))
    halves, whole = uci.reliability(trials)
    assert halves == pytest.approx(4 / (4 + 16 / 15), abs=0.02)
    assert whole == pytest.approx(4 / (4 + 16 / 30), abs=0.02)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda c: c.pop("trial"), r"mini.npz: no trial in it; wanted eeg_uv"),
        (lambda c: c["condition"].__setitem__(slice(5), "S2 match"), r"trials are .*wanted as"),
    ],
)
def test_another_file_is_named(tmp_path, damage, message):
    content = miniature()
    damage(content)
    np.savez(tmp_path / "mini.npz", **content)
    with pytest.raises(ValueError, match=message):
        uci.write_things_folder(tmp_path / "mini.npz", tmp_path / "things")
    assert not (tmp_path / "things").exists()


def test_odd_and_even_trials_are_those_of_the_session(npz):
    content = miniature()
    found = uci.odd_even(npz)
    assert list(found) == PEOPLE
    for person in PEOPLE:
        rows = np.flatnonzero(content["subject"] == person)
        mine = sorted((content["trial"][k], k) for k in rows)
        odd, even = (np.mean([content["eeg_uv"][k] for _, k in mine[start::2]], axis=0)
                     for start in (0, 1))  # fmt: skip
        r = [np.corrcoef(odd[h], even[h])[0, 1] for h in map(CHANNELS.index, SENSORS)]
        assert found[person] == pytest.approx(np.mean(r), abs=1e-6)
