"""Resampling against MNE, against Fourier sums written out, and by the phase of a sine."""

import mne
import numpy as np
import pytest

from tinybrain.things import resampling
from tinybrain.things.resampling import resample, shift

# samples, rates: THINGS-EEG2 for NICE and for Gifford, THINGS-MEG, faster, slower by an odd ratio
CASES = [(1201, 1000, 250), (1001, 1000, 100), (1681, 1200, 200), (300, 250, 1000), (77, 256, 250)]


def noise(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def mne_resample(x, rate_in, rate_out):
    """What a user of MNE gets: epochs (n, h, w) with defaults throughout."""
    info = mne.create_info(x.shape[1], rate_in, "eeg")
    epochs = mne.EpochsArray(x, info, verbose="error")
    return epochs.resample(rate_out, verbose="error").get_data(copy=False)


def lateness(y, rate, frequency=10.0):
    """By how much samples k in the middle third lie later than k / rate, from a sine's phase."""
    k = np.arange(len(y) // 3, 2 * len(y) // 3)
    angle = 2 * np.pi * frequency * k / rate
    sine, cosine = np.linalg.lstsq(np.c_[np.sin(angle), np.cos(angle)], y[k], rcond=None)[0]
    return np.arctan2(cosine, sine) / (2 * np.pi * frequency)


@pytest.mark.parametrize("scale", [1, 1e-5], ids=["one", "volts"])
@pytest.mark.parametrize("n, rate_in, rate_out", CASES)
def test_equals_mne(n, rate_in, rate_out, scale):
    x = scale * (noise(3, 4, n) + 20)  # an offset shows what is done at the edges
    ours, theirs = resample(x, rate_in, rate_out), mne_resample(x, rate_in, rate_out)
    assert ours.dtype == np.float64 and ours.shape == theirs.shape
    assert abs(ours - theirs).max() < 1e-10 * scale


@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("n, rate_in, rate_out", CASES[:3])
def test_equals_fourier_sums_at_the_times_it_claims(n, rate_in, rate_out, aligned):
    """A padded signal's Fourier series up to the new half rate, both ends of it counted."""
    x = noise(n)
    plan = resampling._plan(n, rate_in, rate_out, aligned)
    padded = np.concatenate([np.full(plan.left, x[0]), x])
    padded = np.concatenate([padded, np.full(plan.padded - len(padded), x[-1])])
    late = 0 if aligned else shift(n, rate_in, rate_out)
    times = np.arange(plan.kept) / rate_out + late  # seconds after the first sample of x
    at = plan.left + times * rate_in
    wave = np.arange(-(plan.cut // 2), plan.cut // 2 + 1)
    coefficients = np.exp(-2j * np.pi / plan.padded * np.outer(wave, np.arange(plan.padded)))
    series = np.exp(2j * np.pi / plan.padded * np.outer(at, wave)) @ (coefficients @ padded)
    y = resample(x, rate_in, rate_out, aligned=aligned)
    assert abs(y - series.real / plan.padded).max() < 1e-10


@pytest.mark.parametrize("n, rate_in, rate_out", CASES)
def test_aligned_places_a_sine_where_it_was(n, rate_in, rate_out):
    y = resample(np.sin(2 * np.pi * 10 * np.arange(n) / rate_in), rate_in, rate_out, aligned=True)
    assert len(y) == round(n * rate_out / rate_in)
    assert abs(lateness(y, rate_out)) < 5e-5


def test_by_default_samples_are_1_ms_late_as_in_mne():
    assert np.allclose(shift(1201, 1000, 250), 0.001, rtol=0, atol=1e-15)
    sine = np.sin(2 * np.pi * 10 * np.arange(1201) / 1000)
    assert abs(lateness(resample(sine, 1000, 250), 250) - 0.001) < 5e-5
    pulse = np.exp(-(((np.arange(1201) - 500) / 10) ** 2))
    for late, aligned in ((1, False), (0, True)):
        y = resample(pulse, 1000, 250, aligned=aligned)
        assert abs(y - pulse[late::4][:300]).max() < 1e-6


def test_shift_of_gifford_s_rate_grows_along_the_epoch():
    late = shift(1001, 1000, 100)
    assert late.shape == (100,) and np.round(1000 * late[[0, -1]], 1).tolist() == [-3.5, -4.5]
    sine = np.sin(2 * np.pi * 10 * np.arange(1001) / 1000)
    assert abs(lateness(resample(sine, 1000, 100), 100) - late[33:66].mean()) < 5e-5


def test_equal_rates_change_nothing():
    x = noise(2, 50)
    for aligned in (False, True):
        y = resample(x, 250, 250.0000001, aligned=aligned)
        assert np.array_equal(x, y) and not np.shares_memory(x, y)
    assert not shift(50, 250, 250).any()


def test_fewer_samples_than_one_of_the_new():
    for aligned in (False, True):
        assert np.allclose(resample([2.0, 2, 2], 1000, 100, aligned=aligned), [2.0], atol=1e-15)


@pytest.mark.parametrize("block", [1, 5000])
def test_any_block_shape_and_type(monkeypatch, tmp_path, block):
    x = noise(2, 3, 5, 120).astype(np.float32)
    whole = resample(x.astype(np.float64), 1000, 250)
    np.save(tmp_path / "x.npy", x)
    monkeypatch.setattr(resampling, "BLOCK", block)
    y = resample(np.load(tmp_path / "x.npy", mmap_mode="r"), 1000, 250)
    assert y.shape == (2, 3, 5, 30) and np.array_equal(y, whole)
    assert np.array_equal(resample(x[1, 2, 3], 1000, 250), whole[1, 2, 3])


@pytest.mark.parametrize("rates", [(0, 250), (1000, -1), (np.nan, 250), (1000, np.inf)])
def test_refuses_what_is_no_rate(rates):
    with pytest.raises(ValueError, match="wanted both above 0"):
        resample(noise(10), *rates)
    with pytest.raises(ValueError, match="wanted both above 0"):
        shift(10, *rates)


def test_refuses_what_it_cannot_resample():
    for x in (3.0, np.empty((2, 0)), np.empty((0, 2))):
        with pytest.raises(ValueError, match="wanted samples along the last axis"):
            resample(x, 1000, 250)
    with pytest.raises(ValueError, match="wanted at least 1"):
        shift(0, 1000, 250)
    with pytest.raises(ValueError, match="NaN or infinite"):
        resample([[1, 2], [3, np.nan]], 1000, 250)
    with pytest.raises(ValueError, match=r"ratio 0.0983\d*; .* aligned=False"):
        resample(noise(100), 1017.2526, 100, aligned=True)
    assert resample(noise(100), 1017.2526, 100).shape == (10,)
