"""Noise ceilings against literal loops, scipy, and their closed form on simulated recordings."""

import dataclasses
import itertools
import json
import math

import numpy as np
import pytest
import torch
from scipy.stats import zscore

from tests.test_metrics import NAN, A, B, scipy_pcc
from tinybrain import ceilings
from tinybrain.ceilings import (
    explainable,
    ncsnr,
    noise_ceiling,
    noise_per_image,
    sample_ceiling,
)
from tinybrain.metrics import KINDS, mse, pcc, pcc_map


def simulate(n=150, r=8, h=4, w=30, signal=0.5, noise=2.0, seed=0):
    """Signals of a known variance, and repetitions with noise of a known variance."""
    rng = np.random.default_rng(seed)
    truth = math.sqrt(signal) * rng.standard_normal((n, h, w))
    return truth, truth[:, None] + math.sqrt(noise) * rng.standard_normal((n, r, h, w))


@pytest.mark.parametrize("r", [2, 5, 6])
def test_noise_ceiling_equals_halves_formed_and_correlated_one_by_one(r, monkeypatch):
    _, repeats = simulate(n=6, r=r, h=3, w=7)
    monkeypatch.setattr(ceilings, "POINTS", 3)  # so that blocks are crossed
    repeats = repeats + np.linspace(0, 4, 7)  # a mean ERP
    ceiling = noise_ceiling(repeats, splits=5, seed=3)
    halves = ceilings._random_halves(r, 5, np.random.default_rng(3))
    first, second = (np.einsum("rs,nrhw->snhw", half, repeats) for half in halves)
    everything = repeats.mean(1)
    for kind in KINDS:
        lower = np.mean([scipy_pcc(a, b, kind) for a, b in zip(first, second, strict=True)])
        upper = np.mean([scipy_pcc(a, everything, kind) for a in first])
        assert ceiling.lower[kind] == pytest.approx(lower, abs=1e-10)
        assert ceiling.upper[kind] == pytest.approx(upper, abs=1e-10)
    rho = np.mean([pcc_map(a, b) for a, b in zip(first, second, strict=True)], 0)
    corrected = np.mean(np.sign(rho) * np.sqrt(2 * abs(rho) / (1 + abs(rho))))
    assert ceiling.corrected["image"] == pytest.approx(corrected, abs=1e-10)
    rho = ceiling.lower["pooled"]
    assert ceiling.corrected["pooled"] == pytest.approx(math.sqrt(2 * rho / (1 + rho)), abs=1e-10)
    noise_variance = repeats.var(1, ddof=1).mean()
    assert ceiling.noise_variance == pytest.approx(noise_variance, rel=1e-12)
    assert ceiling.mse == pytest.approx(noise_variance / r, rel=1e-12)


@pytest.mark.parametrize("r", [2, 7, 80])
def test_halves_are_disjoint_equal_and_random(r):
    first, second = ceilings._random_halves(r, 50, np.random.default_rng(0))
    assert first.shape == second.shape == (r, 50)
    assert np.allclose(first.sum(0), 1) and np.allclose(second.sum(0), 1)
    assert ((first > 0).sum(0) == r // 2).all() and ((second > 0).sum(0) == r // 2).all()
    assert not ((first > 0) & (second > 0)).any()
    assert len({column.tobytes() for column in first.T > 0}) > min(r, 40) / 2
    assert ((first > 0) | (second > 0)).any(1).all()


def test_ceilings_meet_their_closed_form_within_their_standard_error():
    signal, noise, r = 0.5, 2.0, 8
    expected = {
        "lower": signal / (signal + 2 * noise / r),
        "upper": math.sqrt((signal + noise / r) / (signal + 2 * noise / r)),
        "corrected": math.sqrt(signal / (signal + noise / r)),
        "noise_variance": noise,
        "mse": noise / r,
    }
    runs = [noise_ceiling(simulate(signal=signal, noise=noise, r=r, seed=seed)[1], splits=20)
            for seed in range(12)]
    for kind, (name, value) in itertools.product(KINDS, expected.items()):
        found = [getattr(run, name) for run in runs]
        found = np.array([f[kind] if isinstance(f, dict) else f for f in found])
        error = found.std(ddof=1) / math.sqrt(len(found))
        # A correlation over m images is itself biased by a fraction of 1/m.
        assert abs(found.mean() - value) < 4 * error + value / (2 * 150), (name, kind)


@pytest.mark.parametrize("kind", KINDS)
def test_the_perfect_conditional_mean_reaches_the_corrected_ceiling(kind):
    truth, repeats = simulate(n=200, r=20, h=6, w=40)
    truth[:, 3:] *= 0  # half of the sensors hold no image information at all
    repeats[:, :, 3:] = simulate(n=200, r=20, h=3, w=40, signal=0.0, seed=1)[1]
    erp = np.linspace(-1, 1, 40)
    ceiling = noise_ceiling(repeats + erp)
    reached = pcc(truth + erp, (repeats + erp).mean(1), kind)
    assert ceiling.corrected[kind] == pytest.approx(reached, abs=0.012)
    assert ceiling.lower[kind] < reached < ceiling.upper[kind]
    assert mse(truth + erp, (repeats + erp).mean(1)) == pytest.approx(ceiling.mse, rel=0.01)


def test_pure_noise_has_a_ceiling_of_zero_across_images():
    ceiling = noise_ceiling(simulate(signal=0.0, h=10, w=40)[1])
    assert abs(ceiling.lower["image"]) < 0.01 and abs(ceiling.corrected["image"]) < 0.02
    assert ceiling.upper["image"] > 0.6, "half and all share their noise"


def test_a_dead_sensor_does_not_change_the_ceiling_across_images():
    repeats = simulate()[1].astype(np.float32)
    dead = np.concatenate([repeats, np.full_like(repeats[:, :, :1], 0.1)], 2)
    lower = noise_ceiling(repeats).lower["image"]
    assert noise_ceiling(dead).lower["image"] == pytest.approx(lower)


def test_noise_ceiling_is_reproducible_and_plain():
    repeats = torch.from_numpy(simulate(n=20)[1])
    one, other = noise_ceiling(repeats), noise_ceiling(repeats, seed=1)
    assert one == noise_ceiling(repeats) and one != other
    assert one.repetitions == 8 and one.splits == 100
    assert json.loads(json.dumps(dataclasses.asdict(one)))["lower"] == one.lower


# --- one sample --------------------------------------------------------------------------------


def test_noise_per_image_is_the_unbiased_variance_over_repetitions():
    repeats = simulate(n=5)[1].astype(np.float32) + 100
    expected = [np.mean([np.var(image[:, i, j].astype(float), ddof=1)
                         for i, j in np.ndindex(4, 30)]) for image in repeats]
    np.testing.assert_allclose(noise_per_image(repeats), expected, rtol=1e-12)
    assert noise_ceiling(repeats).noise_variance == pytest.approx(np.mean(expected), rel=1e-12)


def reached(repetitions, averaged):
    """Correlation of a sample with the mean of repetitions (r, m), from their covariances."""
    r = len(repetitions)
    covariance = np.cov(repetitions, ddof=0)
    signal = covariance[~np.eye(r, dtype=bool)].mean()
    noise = covariance.diagonal().mean() - signal
    size = abs(signal)
    return np.sign(signal) * size / math.sqrt((size + noise / averaged) * (size + noise / r))


@pytest.mark.parametrize("averaged", [1, 4, 40, math.inf])
def test_sample_ceiling_equals_covariances_between_repetitions(averaged):
    repeats = simulate(n=6, r=5, h=3, w=7)[1] + np.linspace(0, 4, 7)
    ceiling = sample_ceiling(torch.from_numpy(repeats), averaged)
    flat = repeats.reshape(6, 5, -1)
    expected = {
        "pattern": np.mean([reached(image, averaged) for image in flat]),
        "image": np.mean([reached(repeats[:, :, i, j].T, averaged) for i, j in np.ndindex(3, 7)]),
        "pooled": reached(flat.transpose(1, 0, 2).reshape(5, -1), averaged),
    }
    assert ceiling.pcc == pytest.approx(expected, abs=1e-10)
    noise = repeats.var(1, ddof=1).mean()
    assert ceiling.mse == pytest.approx(noise / averaged + noise / 5, rel=1e-12)
    assert (ceiling.averaged, ceiling.repetitions) == (averaged, 5)
    assert json.loads(json.dumps(dataclasses.asdict(ceiling)))["pcc"] == ceiling.pcc


def test_sample_ceilings_meet_their_closed_form_within_their_standard_error():
    signal, noise, r = 0.5, 2.0, 8
    recordings = [simulate(signal=signal, noise=noise, r=r, seed=seed)[1] for seed in range(12)]
    for averaged in (1, 4, math.inf):
        runs = [sample_ceiling(repeats, averaged) for repeats in recordings]
        correlation = signal / math.sqrt((signal + noise / averaged) * (signal + noise / r))
        expected = {"mse": noise / averaged + noise / r, **dict.fromkeys(KINDS, correlation)}
        for name, value in expected.items():
            found = np.array([run.mse if name == "mse" else run.pcc[name] for run in runs])
            error = found.std(ddof=1) / math.sqrt(len(found))
            assert abs(found.mean() - value) < 4 * error + value / (2 * 150), (name, averaged)


def test_a_perfect_sampler_reaches_the_ceiling_of_a_sample_and_no_other():
    """Its sample is the truth and noise of its own; half of the sensors tell nothing of the image,
    noise differs between sensors, and there is a mean ERP."""
    rng, averaged, samples = np.random.default_rng(0), 1, 5
    scale = np.linspace(0.5, 2, 6)[:, None]
    miss = []
    for _ in range(6):
        truth = rng.standard_normal((200, 6, 40)) * (np.arange(6) < 3)[:, None] + np.linspace(
            -1, 1, 40)
        repeats = truth[:, None] + scale * rng.standard_normal((200, 12, 6, 40))
        target = repeats.mean(1)
        drawn = truth + scale * rng.standard_normal((samples, 200, 6, 40)) / math.sqrt(averaged)
        for guess, times in [(drawn[0], averaged), (drawn.mean(0), averaged * samples)]:
            ceiling = sample_ceiling(repeats, times)
            miss.append([mse(guess, target) / ceiling.mse - 1,
                         *(pcc(guess, target, kind) - ceiling.pcc[kind] for kind in KINDS)])
    for one in (np.array(miss[::2]), np.array(miss[1::2])):
        error = one.std(0, ddof=1) / math.sqrt(len(one))
        assert (np.abs(one.mean(0)) < 4 * error + 1 / 400).all()
    ceiling = noise_ceiling(repeats)
    single = sample_ceiling(repeats, averaged)
    assert single.mse > 3 * ceiling.mse
    assert all(single.pcc[kind] < 0.9 * ceiling.corrected[kind] for kind in KINDS)
    perfect = sample_ceiling(repeats, math.inf)
    assert perfect.mse == pytest.approx(ceiling.mse, rel=1e-12)
    assert perfect.pcc == pytest.approx(ceiling.corrected, abs=0.01)


def test_pure_noise_and_dead_sensors_have_no_part_in_the_ceiling_of_a_sample():
    assert abs(sample_ceiling(simulate(signal=0.0, h=10, w=40)[1]).pcc["image"]) < 0.02
    repeats = simulate()[1].astype(np.float32)
    dead = np.concatenate([repeats, np.full_like(repeats[:, :, :1], 0.1)], 2)
    assert sample_ceiling(dead).pcc["image"] == pytest.approx(sample_ceiling(repeats).pcc["image"])


# --- ncsnr -------------------------------------------------------------------------------------


def test_ncsnr_equals_z_scored_loops():
    repeats = simulate(n=20, r=6, h=3, w=5, signal=2.0)[1] + 50
    found = ncsnr(repeats.astype(np.float32))
    repeats = repeats.astype(np.float32).astype(float)
    for i, j in np.ndindex(3, 5):
        normal = np.stack([zscore(repeats[:, k, i, j]) for k in range(6)])
        variance = np.mean([np.var(normal[:, image], ddof=1) for image in range(20)])
        s = math.sqrt(max(0, 1 - variance) / variance)
        assert found[i, j] == pytest.approx(s, abs=1e-10)
        assert explainable(found, 6)[i, j] == pytest.approx(100 * s**2 / (s**2 + 1 / 6), abs=1e-10)


def test_ncsnr_meets_its_closed_form_within_its_standard_error():
    signal, noise, r = 0.5, 2.0, 12
    found = [explainable(ncsnr(simulate(r=r, n=200, seed=seed)[1]), r).mean() for seed in range(8)]
    expected = 100 * signal / (signal + noise / r)
    error = np.std(found, ddof=1) / math.sqrt(8)
    # A share of variance is a correlation's square, and biased twice as much.
    assert abs(np.mean(found) - expected) < 4 * error + expected / 200
    corrected = noise_ceiling(simulate(r=r, n=200)[1]).corrected["image"]
    assert math.sqrt(found[0]) / 10 == pytest.approx(corrected, abs=0.01)


def test_ncsnr_at_its_ends():
    repeats = simulate(n=10, r=3, h=3)[1]
    repeats[:, :, 0] = repeats[:, :1, 0]
    repeats[:, :, 1] = 0.1
    snr = ncsnr(repeats)
    assert np.isnan(snr[1]).all() and np.isnan(explainable(snr, 3)[1]).all()
    assert (explainable(snr, 3)[0] > 100 - 1e-9).all()
    assert explainable(np.array([[0.0, np.inf]]), 3).tolist() == [[0, 100]]


# --- refusals ----------------------------------------------------------------------------------


def test_mistakes_are_refused():
    for function in (noise_ceiling, sample_ceiling, noise_per_image, ncsnr):
        with pytest.raises(ValueError, match="repeats of shape .*wanted 4 axes"):
            function(A)
        with pytest.raises(ValueError, match="1 repetitions: wanted at least 2"):
            function(A[:, None])
        with pytest.raises(ValueError, match="repeats hold NaN or infinity, first in row 3"):
            function(np.stack([A, NAN], 1))
    with pytest.raises(ValueError, match="0 splits: wanted at least 1"):
        noise_ceiling(np.stack([A, B], 1), splits=0)
    for averaged in (0, math.nan):
        with pytest.raises(ValueError, match="averages .* repetitions: wanted 1 or more"):
            sample_ceiling(np.stack([A, B], 1), averaged)
