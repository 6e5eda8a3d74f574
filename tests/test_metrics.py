"""Metrics against scipy, scikit-learn and literal loops."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import pearsonr
from sklearn.metrics import mean_squared_error, r2_score

from tinybrain.metrics import (
    KINDS,
    mse,
    pcc,
    pcc_curves,
    pcc_map,
    pcc_patterns,
    r2,
    unit,
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


def test_pcc_patterns_are_the_correlations_of_each_image():
    pred, target = make(n=9)
    pred[2], target[4] = 0.1, 0.1
    each = pcc_patterns(pred, target)
    for image in {*range(9)} - {2, 4}:
        expected = pearsonr(pred[image].ravel(), target[image].ravel())[0]
        assert each[image] == pytest.approx(expected, abs=1e-10)
    assert np.isnan(each[[2, 4]]).all()


@pytest.mark.parametrize("offset", [0.0, 1e4])
@pytest.mark.parametrize("over", KINDS)
def test_curves_equal_scipy_on_each_sensor_and_each_time_point_alone(over, offset):
    pred, target = make(offset=offset)
    sensors, times = pcc_curves(pred.astype(np.float32), torch.tensor(target), over)
    target, pred = target - offset, pred.astype(np.float32).astype(float) - offset
    expected = [scipy_pcc(pred[:, [i]], target[:, [i]], over) for i in range(4)]
    np.testing.assert_allclose(sensors, expected, rtol=0, atol=1e-10)
    expected = [scipy_pcc(pred[:, :, [j]], target[:, :, [j]], over) for j in range(5)]
    np.testing.assert_allclose(times, expected, rtol=0, atol=1e-10)


def test_curves_are_means_of_the_map_and_place_the_effect_where_it_is():
    pred, target = make()
    sensors, times = pcc_curves(pred, target, "image")
    np.testing.assert_allclose(sensors, pcc_map(pred, target).mean(1), rtol=0, atol=1e-12)
    np.testing.assert_allclose(times, pcc_map(pred, target).mean(0), rtol=0, atol=1e-12)
    rng = np.random.default_rng(0)
    target, pred = rng.standard_normal((2, 60, 20, 30))
    pred[:, 3, 7:9] = target[:, 3, 7:9]
    for over in ("image", "pooled"):
        sensors, times = pcc_curves(pred, target, over)
        assert sensors.argmax() == 3 and set(np.argsort(times)[-2:]) == {7, 8}


@pytest.mark.parametrize("over", KINDS)
def test_curves_keep_the_rule_for_constants(over):
    pred, target = make()
    pred[:, 1], target[:, 2] = 0.1, 0.1
    sensors, times = pcc_curves(pred, target, over)
    assert np.isnan(sensors[[1, 2]]).all() and np.isfinite(sensors[[0, 3]]).all()
    assert np.isfinite(times).all()
    pred, target = make()
    full = pcc_curves(pred, target, "image").times[0]
    each = pcc_map(pred, target)[:, 0]
    pred[:, 1] = 0.1
    assert pcc_curves(pred, target, "image").times[0] == pytest.approx(full - each[1] / 4)


def test_products_of_unit_vectors_are_correlations():
    x, y = np.random.default_rng(0).standard_normal((2, 3, 40)) + 1e5
    x[1] = 0.1
    (u, varies), (v, _) = unit(x), unit(y)
    assert varies.tolist() == [True, False, True] and not u[1].any()
    expected = [pearsonr(x[i] - 1e5, y[i] - 1e5)[0] for i in (0, 2)]
    np.testing.assert_allclose((u * v).sum(-1)[[0, 2]], expected, rtol=0, atol=1e-10)


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
    mse, pcc_map, pcc_patterns, lambda p, t: r2(p, t, B.mean(0)),
    *(lambda p, t, over=over: pcc(p, t, over) for over in KINDS),
    lambda p, t: pcc_curves(p, t, "image"),
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
    with pytest.raises(ValueError, match=r"over='time': wanted one of \('pattern'"):
        pcc_curves(A, B, "time")
    with pytest.raises(ValueError, match=r"reference \(7,\) |reference of shape \(7,\)"):
        r2(A, B, B[:, 0, 0])
    with pytest.raises(ValueError, match=r"reference \(5, 4\) does not fit target \(7, 4, 5\)"):
        r2(A, B, B[0].T)
    with pytest.raises(ValueError, match="the reference equals the target"):
        r2(A, B, B)
    with pytest.raises(ValueError, match="signals of shape .*wanted 3 or 4 axes"):
        variance_per_sensor(A[0])
    with pytest.raises(ValueError, match="signals hold NaN"):
        variance_per_sensor(NAN)
