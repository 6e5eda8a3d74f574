"""Metrics against scipy, scikit-learn and literal loops; ceilings against their closed form."""

import dataclasses
import json
import math

import numpy as np
import pytest
import torch
from scipy.stats import pearsonr
from sklearn.metrics import mean_squared_error, r2_score

from tinybrain import metrics
from tinybrain.metrics import (
    KINDS,
    mse,
    noise_ceiling,
    pcc,
    pcc_map,
    r2,
    variance_per_sensor,
)


def make(n=7, h=4, w=5, offset=0.0, seed=0):
    """A target and a prediction that is half right, with a mean ERP both share."""
    rng = np.random.default_rng(seed)
    erp = 2 * rng.standard_normal((h, w))
    target = rng.standard_normal((n, h, w)) + erp + offset
    pred = 0.5 * target + 0.7 * rng.standard_normal((n, h, w)) + erp
    return pred, target


def scipy_pcc(pred, target, over):
    _, h, w = target.shape
    if over == "pattern":
        return np.mean([pearsonr(p.ravel(), t.ravel())[0]
                        for p, t in zip(pred, target, strict=True)])
    if over == "pooled":
        return pearsonr(pred.ravel(), target.ravel())[0]
    return np.mean([pearsonr(pred[:, i, j], target[:, i, j])[0] for i, j in np.ndindex(h, w)])


# --- errors and correlations -------------------------------------------------------------------


def test_mse_and_r2_equal_scikit_learn():
    pred, target = make()
    assert mse(pred, target) == pytest.approx(mean_squared_error(target.ravel(), pred.ravel()),
                                              rel=1e-12)
    erp = target.mean(0)
    expected = r2_score(target.reshape(7, -1), pred.reshape(7, -1),
                        multioutput="variance_weighted")
    assert r2(pred, target, erp) == pytest.approx(expected, rel=1e-12)
    assert r2(pred, target, np.broadcast_to(erp, target.shape)) == r2(pred, target, erp)
    assert r2(np.broadcast_to(erp, target.shape), target, erp) == 0
    assert r2(target, target, erp) == 1


def test_mse_of_float32_is_computed_in_float64():
    pred, target = (x.astype(np.float32) for x in make())
    exact = np.mean((pred.astype(np.float64) - target.astype(np.float64)) ** 2)
    assert mse(pred, target) == pytest.approx(exact, rel=1e-12)


@pytest.mark.parametrize("offset", [0.0, 1e6])
@pytest.mark.parametrize("over", KINDS)
def test_pcc_equals_scipy(over, offset):
    pred, target = make(offset=offset)
    # A large offset costs scipy digits too, and it makes `pooled` and `pattern` no easier for us.
    assert pcc(pred, target, over) == pytest.approx(scipy_pcc(pred, target - offset, over),
                                                    abs=1e-10 if not offset else 1e-8)


@pytest.mark.parametrize("over", KINDS)
def test_pcc_ignores_scale_however_small(over):
    pred, target = make()
    assert pcc(pred * 1e-100, target * 1e-100, over) == pytest.approx(pcc(pred, target, over))
    assert pcc(-3 * target, target, over) == pytest.approx(-1)


def test_pcc_map_is_the_correlation_at_each_sensor_and_time_point():
    pred, target = make()
    expected = [[np.corrcoef(pred[:, i, j], target[:, i, j])[0, 1] for j in range(5)]
                for i in range(4)]
    np.testing.assert_allclose(pcc_map(pred, target), expected, rtol=0, atol=1e-10)
    assert pcc_map(pred, target).mean() == pytest.approx(pcc(pred, target, "image"), abs=1e-12)


def test_the_three_kinds_differ_where_they_should():
    rng = np.random.default_rng(0)
    erp, image = 5 * rng.standard_normal((1, 4, 50)), rng.standard_normal((200, 1, 1))
    target = erp + rng.standard_normal((200, 4, 50))
    guess = erp + rng.standard_normal((200, 4, 50))  # knows the ERP, not the image
    assert pcc(guess, target, "pattern") > 0.9 and pcc(guess, target, "pooled") > 0.9
    assert abs(pcc(guess, target, "image")) < 0.02
    level = image + 0.1 * rng.standard_normal((200, 4, 50))  # each image's level, not its shape
    target = image + 0.1 * rng.standard_normal((200, 4, 50))
    assert pcc(level, target, "pooled") > 0.95 and pcc(level, target, "image") > 0.95
    assert abs(pcc(level, target, "pattern")) < 0.02


def test_constant_predictions_are_undefined_not_lucky():
    _, target = make()
    erp = np.broadcast_to(np.float32(0.1) * target.mean(0).astype(np.float32), target.shape)
    assert math.isnan(pcc(erp, target, "image")) and np.isnan(pcc_map(erp, target)).all()
    assert pcc(erp, target, "pattern") > 0.5
    flat = np.full_like(target, 0.1)
    assert all(math.isnan(pcc(flat, target, over)) for over in KINDS)
    assert all(math.isnan(pcc(target, flat, over)) for over in KINDS)


def test_silence_counts_as_zero_and_a_dead_sensor_not_at_all():
    pred, target = make()
    full = pcc_map(pred, target)
    silent, dead = pred.copy(), target.copy()
    silent[:, 1] = 0.1
    assert pcc(silent, target, "image") == pytest.approx(full[[0, 2, 3]].sum() / full.size)
    dead[:, 1] = 0.1
    assert pcc(pred, dead, "image") == pytest.approx(full[[0, 2, 3]].mean())
    assert np.isnan(pcc_map(pred, dead)[1]).all()
    silent = pred.copy()
    silent[2] = 0.1
    each = [pearsonr(p.ravel(), t.ravel())[0] for p, t in zip(pred, target, strict=True)]
    assert pcc(silent, target, "pattern") == pytest.approx((sum(each) - each[2]) / 7)


def test_tensors_arrays_and_views_give_the_same():
    pred, target = (x.astype(np.float32) for x in make())
    tensors = torch.tensor(pred, requires_grad=True), torch.from_numpy(target)
    for over in KINDS:
        assert pcc(*tensors, over) == pcc(pred, target, over)
        assert pcc(pred[::-1, :, ::2], target[::-1, :, ::2], over) == pytest.approx(
            scipy_pcc(pred[:, :, ::2].astype(float), target[:, :, ::2].astype(float), over))
    assert mse(*tensors) == mse(pred, target)
    assert mse(tensors[1].bfloat16(), tensors[1].bfloat16()) == 0


# --- ceilings ----------------------------------------------------------------------------------


def simulate(n=150, r=8, h=4, w=30, signal=0.5, noise=2.0, seed=0):
    """Signals of a known variance, and repetitions with noise of a known variance."""
    rng = np.random.default_rng(seed)
    truth = math.sqrt(signal) * rng.standard_normal((n, h, w))
    return truth, truth[:, None] + math.sqrt(noise) * rng.standard_normal((n, r, h, w))


@pytest.mark.parametrize("r", [2, 5, 6])
def test_noise_ceiling_equals_halves_formed_and_correlated_one_by_one(r, monkeypatch):
    _, repeats = simulate(n=6, r=r, h=3, w=7)
    monkeypatch.setattr(metrics, "POINTS", 3)  # so that blocks are crossed
    repeats = repeats + np.linspace(0, 4, 7)  # a mean ERP
    ceiling = noise_ceiling(repeats, splits=5, seed=3)
    halves = metrics._random_halves(r, 5, np.random.default_rng(3))
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
    first, second = metrics._random_halves(r, 50, np.random.default_rng(0))
    assert first.shape == second.shape == (r, 50)
    assert np.allclose(first.sum(0), 1) and np.allclose(second.sum(0), 1)
    assert ((first > 0).sum(0) == r // 2).all() and ((second > 0).sum(0) == r // 2).all()
    assert not ((first > 0) & (second > 0)).any()
    assert len({column.tobytes() for column in first.T > 0}) > min(r, 40) / 2
    assert ((first > 0) | (second > 0)).any(1).all()


@pytest.mark.parametrize("kind", KINDS)
def test_ceilings_meet_their_closed_form_within_their_standard_error(kind):
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
    for name, value in expected.items():
        found = [getattr(run, name) for run in runs]
        found = np.array([f[kind] if isinstance(f, dict) else f for f in found])
        error = found.std(ddof=1) / math.sqrt(len(found))
        # A correlation over m images is itself biased by a fraction of 1/m.
        assert abs(found.mean() - value) < 4 * error + value / (2 * 150), name


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


# --- variance, refusals ------------------------------------------------------------------------


def test_variance_per_sensor_is_numpys_over_everything_else():
    rng = np.random.default_rng(0)
    signals = rng.standard_normal((6, 3, 4, 9)) * np.arange(1, 5)[:, None] + 100
    signals = signals.astype(np.float32)
    expected = signals.astype(np.float64).var((0, 1, 3))
    np.testing.assert_allclose(variance_per_sensor(signals), expected, rtol=1e-12)
    expected = signals[:, 0].astype(np.float64).var((0, 2))
    np.testing.assert_allclose(variance_per_sensor(torch.from_numpy(signals[:, 0])), expected,
                               rtol=1e-12)


A, B = make()
NAN = np.where(np.arange(7)[:, None, None] == 3, np.nan, A)


@pytest.mark.parametrize("function", [
    mse, pcc_map, lambda p, t: r2(p, t, B.mean(0)),
    *(lambda p, t, over=over: pcc(p, t, over) for over in KINDS),
])
def test_wrong_pairs_are_refused(function):
    with pytest.raises(ValueError, match=r"pred \(6, 4, 5\) and target \(7, 4, 5\) differ"):
        function(A[:6], B)
    with pytest.raises(ValueError, match=r"pred of shape \(7, 20\): wanted 3 axes"):
        function(A.reshape(7, -1), B)
    with pytest.raises(ValueError, match="of shape .*wanted 3 axes, none empty"):
        function(A[:, :, :0], B[:, :, :0])
    with pytest.raises(ValueError, match="pred hold NaN or infinity, first in row 3"):
        function(NAN, B)
    with pytest.raises(ValueError, match="target hold NaN or infinity, first in row 3"):
        function(A, NAN)


def test_other_mistakes_are_refused():
    with pytest.raises(ValueError, match=r"over='time': wanted one of \('pattern'"):
        pcc(A, B, "time")
    with pytest.raises(ValueError, match=r"reference \(7,\) |reference of shape \(7,\)"):
        r2(A, B, B[:, 0, 0])
    with pytest.raises(ValueError, match=r"reference \(5, 4\) does not fit target \(7, 4, 5\)"):
        r2(A, B, B[0].T)
    with pytest.raises(ValueError, match="the reference equals the target"):
        r2(A, B, B)
    with pytest.raises(ValueError, match="repeats of shape .*wanted 4 axes"):
        noise_ceiling(A)
    with pytest.raises(ValueError, match="1 repetitions and 100 splits: wanted at least 2 and 1"):
        noise_ceiling(A[:, None])
    with pytest.raises(ValueError, match="2 repetitions and 0 splits"):
        noise_ceiling(np.stack([A, B], 1), splits=0)
    with pytest.raises(ValueError, match="repeats hold NaN or infinity, first in row 3"):
        noise_ceiling(np.stack([A, NAN], 1))
    with pytest.raises(ValueError, match="signals of shape .*wanted 3 or 4 axes"):
        variance_per_sensor(A[0])
    with pytest.raises(ValueError, match="signals hold NaN"):
        variance_per_sensor(NAN)
