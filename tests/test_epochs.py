"""Events, the choice of repetitions, epochs and baseline, against MNE and scikit-learn."""

from __future__ import annotations

import mne
import numpy as np
import pytest
from sklearn.utils import shuffle

from tinybrain.things.eeg2.epochs import (
    choose,
    cut,
    find_events,
    shuffled,
    subtract_baseline,
    within,
)


def stim(events: dict[int, float], samples: int = 50) -> np.ndarray:
    row = np.zeros(samples)
    row[list(events)] = list(events.values())
    return row


def test_events_are_those_of_mne():
    rng = np.random.default_rng(0)
    onsets = np.cumsum(rng.integers(2, 9, 100))
    codes = rng.choice([1, 2, 16540, 99999], 100)
    row = stim(dict(zip(onsets.tolist(), codes.tolist())), onsets[-1] + 5)
    raw = mne.io.RawArray(row[None], mne.create_info(["stim"], 1000, ["stim"]), verbose="error")
    wanted = mne.find_events(raw, stim_channel="stim", verbose="error")
    found = find_events(row)
    np.testing.assert_array_equal(found[0], wanted[:, 0])
    np.testing.assert_array_equal(found[1], wanted[:, 2])
    assert found[1].dtype == np.int64


def test_an_event_at_the_start_counts_and_a_code_that_is_held_counts_once():
    row = stim({0: 3, 10: 7, 11: 7, 12: 8, 49: 1})
    onsets, codes = find_events(row)
    assert onsets.tolist() == [0, 10, 12, 49]
    assert codes.tolist() == [3, 7, 8, 1]
    onsets, codes = find_events(np.zeros(5))
    assert len(onsets) == len(codes) == 0


@pytest.mark.parametrize("code", [-1, 2.5, np.nan, np.inf])
def test_codes_that_are_no_whole_numbers_are_refused(code):
    with pytest.raises(ValueError, match="sample 7; wanted whole numbers"):
        find_events(stim({3: 1, 7: code}))


@pytest.mark.parametrize("count", [1, 2, 3, 22, 80])
def test_order_is_that_of_sklearn(count):
    wanted = shuffle(np.arange(count), random_state=20200220)
    np.testing.assert_array_equal(shuffled(count, 20200220), wanted)


def test_known_orders_of_the_published_files():
    assert shuffled(4, 20200220).tolist() == [2, 1, 3, 0]
    order = shuffled(80, 20200220).tolist()
    assert order[:8] == [61, 73, 26, 56, 42, 37, 72, order[7]] and order[-2:] == [36, 40]


def test_choice_of_repetitions_is_that_of_sklearn():
    rng = np.random.default_rng(1)
    codes = rng.permutation(np.repeat([2, 3, 11, 400], [5, 3, 9, 4]))
    images, chosen = choose(codes, 3, seed=7)
    assert images.tolist() == [2, 3, 11, 400] and chosen.shape == (4, 3)
    for image, index in zip(images, chosen):
        wanted = shuffle(np.flatnonzero(codes == image), random_state=7, n_samples=3)
        np.testing.assert_array_equal(index, wanted)


def test_too_few_repetitions_are_named():
    few = r"2 of 3 images have fewer than 3 epochs: 4 \(1\), 6 \(2\); .* at most 1 of each by "
    with pytest.raises(ValueError, match=few):
        choose(np.array([6, 4, 5, 5, 5, 6]), 3, seed=0)


def test_epochs_and_baseline_are_those_of_mne():
    rng = np.random.default_rng(2)
    data = rng.standard_normal((5, 400)) + 100 * np.arange(5)[:, None]
    onsets = np.array([19, 20, 21, 150, 340, 341, 399])
    info = mne.create_info(list("abcde"), 100, "eeg")
    raw = mne.io.RawArray(data, info, verbose="error")
    events = np.stack([onsets, 0 * onsets, 1 + 0 * onsets], axis=1)
    epochs = mne.Epochs(raw, events, tmin=-0.2, tmax=0.6, baseline=(None, 0), preload=True,
                        picks=["a", "b", "c", "d", "e"], verbose="error")  # fmt: skip
    inside = within(onsets, -20, 60, 400)
    np.testing.assert_array_equal(np.flatnonzero(inside), epochs.selection)
    assert inside.tolist() == [False, True, True, True, False, False, False] or inside.sum() == 3
    rows = [3, 0, 4]
    mine = subtract_baseline(cut(data, rows, onsets[inside], -20, 60), 21)
    np.testing.assert_allclose(mine, epochs.get_data(copy=True)[:, rows], atol=1e-12)


def test_epochs_that_just_fit_are_kept():
    assert within(np.array([19, 20, 339, 340]), -20, 60, 400).tolist() == [False, True, True, False]
