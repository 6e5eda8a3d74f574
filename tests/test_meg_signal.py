"""things.meg.signal: the steps of THINGS-MEG's preprocessing, against loops and against mne."""

from __future__ import annotations

import mne
import numpy as np
import pytest
from mne.baseline import rescale

from tinybrain.things.meg.signal import (
    RATE,
    TIMES,
    baseline_scores,
    count_onsets,
    cut_epochs,
    repair_dropout,
)


def test_dropout_becomes_the_median_of_the_run():
    signals = np.random.default_rng(0).standard_normal((3, 5000))
    wanted = signals.copy()
    for sensor in range(3):
        middle = sorted(signals[sensor])
        for sample in range(1200, 1440):  # 1.0 to 1.2 s
            wanted[sensor, sample] = (middle[2499] + middle[2500]) / 2
    repair_dropout(signals, 1.0, 0.2)
    np.testing.assert_array_equal(signals, wanted)
    for start, length in ((-0.1, 0.2), (4.1, 0.2), (1.0, 0.0), (5.0, 0.1)):
        with pytest.raises(ValueError, match="a dropout of .* the run lasts 4.16667 s"):
            repair_dropout(signals, start, length)


def test_a_trial_in_units_of_its_baseline_is_what_mne_gives():
    rng = np.random.default_rng(1)
    epoch = rng.standard_normal((4, 1681)) * 1e-13 + 3e-12 * rng.standard_normal((4, 1))
    times = np.arange(-120, 1561) / RATE
    wanted = rescale(epoch, times, (-0.1, 0), "zscore", copy=True, verbose="error")
    np.testing.assert_allclose(baseline_scores(epoch), wanted, rtol=1e-12, atol=1e-12)
    epoch[2, :121] = 3.3  # numpy gives this a mean that is not 3.3, and an sd of 9e-16
    assert np.isnan(baseline_scores(epoch)).all(axis=1).tolist() == [False, False, True, False]


def test_trials_are_cut_by_the_definition():
    rng = np.random.default_rng(2)
    signals, onsets = rng.standard_normal((2, 6000)), [120, 2017, 4439]
    trials = cut_epochs(signals, onsets, "AB")
    assert trials.shape == (3, 2, 281) and trials.dtype == np.float32
    for trial, onset in enumerate(onsets):
        for sensor in range(2):
            baseline = [signals[sensor, onset + k] for k in range(-120, 1)]
            mean = sum(baseline) / 121
            sd = (sum((x - mean) ** 2 for x in baseline) / 121) ** 0.5
            for point in range(281):
                x = signals[sensor, onset + 6 * (point - 20)]
                assert trials[trial, sensor, point] == pytest.approx((x - mean) / sd, rel=1e-6)
    assert TIMES[0] == -0.1 and TIMES[20] == 0 and TIMES[220] == 1 and TIMES[-1] == 1.3
    for onset in (119, 4440):
        with pytest.raises(ValueError, match=f"trial 1 at sample {onset} .* has 6000"):
            cut_epochs(signals, [onset], "AB")
    signals[1, 1850:2100] = 3.3
    with pytest.raises(ValueError, match="trial 2 at sample 2017: 1 of 2 sensors are flat .*: B;"):
        cut_epochs(signals, onsets, "AB")


def test_triggers_are_counted_as_by_mne():
    rng = np.random.default_rng(3)
    codes = np.repeat(rng.choice([0, 0, 64, 8], size=300), 7).astype(float)
    codes[:3] = 64
    raw = mne.io.RawArray(codes[None], mne.create_info(["STI"], RATE, "stim"), verbose="error")
    events = mne.find_events(raw, "STI", consecutive=True, initial_event=True, verbose="error")
    assert count_onsets(codes, 64) == (events[:, 2] == 64).sum() > 30
    assert count_onsets(np.zeros(9), 64) == count_onsets(np.zeros(0), 64) == 0
