"""Ridge against the normal equations, n literal refits and scikit-learn; the mean ERP by numpy."""

import math

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge as SklearnRidge
from sklearn.linear_model import RidgeCV

from tinybrain import baselines
from tinybrain.baselines import ALPHAS, Ridge, fit_ridge, mean_erp

SIZES = [(40, 7), (12, 30), (16, 16)]  # images, features: more, fewer, as many


def make(n, d, h=3, w=5, noise=1.0, seed=0, dtype=torch.float64):
    """Features of unequal scales with an offset, and signals linear in them plus noise."""
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((n, d)) * np.logspace(-3, 1, d) + 5
    slopes = rng.standard_normal((d, h * w)) / np.logspace(-3, 1, d)[:, None] / math.sqrt(d)
    signals = (features - 5) @ slopes + noise * rng.standard_normal((n, h * w)) + 3
    return (torch.from_numpy(features).to(dtype),
            torch.from_numpy(signals.reshape(n, h, w)).to(dtype))


def standardised(features):
    """z, and the unit of alpha: the mean squared singular value that is not zero."""
    z = (features - features.mean(0)) / features.std(0, correction=0)
    s = np.linalg.svd(z.numpy(), compute_uv=False)
    return z.numpy(), np.mean(s[s > 1e-9 * s[0]] ** 2)


def refit(z, y, penalty):
    """Ridge by the normal equations with an unpenalised intercept, as a function of z."""
    mean, offset = z.mean(0), y.mean(0)
    gram = (z - mean).T @ (z - mean) + penalty * np.eye(z.shape[1])
    weights = np.linalg.solve(gram, (z - mean).T @ (y - offset))
    return lambda new: offset + (new - mean) @ weights


def test_mean_erp_is_the_mean_and_is_summed_in_float64():
    signals = torch.randn(5000, 2, 3, generator=torch.Generator().manual_seed(0)) + 1e4
    expected = signals.numpy().astype(np.float64).mean(0).astype(np.float32)
    assert mean_erp(signals).dtype == torch.float32
    np.testing.assert_array_equal(mean_erp(signals).numpy(), expected)


@pytest.mark.parametrize("size", SIZES)
def test_predictions_solve_the_normal_equations(size):
    features, signals = make(*size)
    new, _ = make(9, size[1], seed=1)
    ridge, _ = fit_ridge(features, signals)
    z, unit = standardised(features)
    z_new = ((new - features.mean(0)) / features.std(0, correction=0)).numpy()
    predicted = ridge.predict(new)
    assert predicted.dtype == torch.float32 and predicted.shape == (9, 3, 5)
    for sensor, time in np.ndindex(3, 5):
        penalty = min(ridge.alphas[sensor, time].item(), 1e12) * unit
        expected = refit(z, signals[:, sensor, time].numpy(), penalty)(z_new)
        np.testing.assert_allclose(predicted[:, sensor, time], expected, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("group", [1, 3, 5], ids="images out {}".format)
@pytest.mark.parametrize("size", SIZES)
def test_left_out_predictions_equal_refits_without_each_group(size, group):
    features, signals = make(*size)
    labels = np.random.default_rng(2).permutation(np.arange(len(signals)) // group)
    ridge, left_out = fit_ridge(features, signals, groups=None if group == 1 else labels.tolist())
    z, unit = standardised(features)
    assert left_out.dtype == torch.float32 and left_out.shape == signals.shape
    for i, sensor, time in np.ndindex(*signals.shape):
        rest = labels != labels[i]
        penalty = min(ridge.alphas[sensor, time].item(), 1e12) * unit
        expected = refit(z[rest], signals[rest, sensor, time].numpy(), penalty)(z[i])
        np.testing.assert_allclose(left_out[i, sensor, time], expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("group", [1, 3], ids="images out {}".format)
@pytest.mark.parametrize("size", SIZES)
def test_alpha_is_the_best_of_the_grid_by_literal_leave_one_out(size, group):
    features, signals = make(*size, noise=3.0)
    grid = ALPHAS[::2]
    labels = [f"concept {i // group}" for i in range(len(signals))]
    ridge, _ = fit_ridge(features, signals, grid, groups=labels)
    z, unit = standardised(features)
    y = signals.flatten(1).numpy()
    errors = np.zeros((len(grid), y.shape[1]))
    for (a, alpha), i in ((pair, i) for pair in enumerate(grid) for i in range(len(z))):
        rest = np.array(labels) != labels[i]
        errors[a] += (y[i] - refit(z[rest], y[rest], alpha * unit)(z[i])) ** 2
    best = np.array(grid)[errors.argmin(0)]
    assert len(set(best)) > 2, "a test in which every target wants the same alpha shows little"
    np.testing.assert_array_equal(ridge.alphas.flatten().numpy(), best)


@pytest.mark.parametrize("size", SIZES)
def test_equals_scikit_learn(size):
    features, signals = make(*size, noise=3.0)
    grid = np.array(ALPHAS[:-1])  # scikit-learn has no infinite penalty
    ridge, left_out = fit_ridge(features, signals, tuple(grid))
    z, unit = standardised(features)
    y = signals.flatten(1).numpy()
    theirs = RidgeCV(alphas=grid * unit, alpha_per_target=True, store_cv_results=True).fit(z, y)
    np.testing.assert_allclose(ridge.alphas.flatten() * unit, theirs.alpha_, rtol=1e-9)
    np.testing.assert_allclose(ridge.predict(features).flatten(1), theirs.predict(z), rtol=1e-4,
                               atol=1e-5)
    index = np.abs(grid[:, None] - ridge.alphas.flatten().numpy()).argmin(0)
    squared = np.take_along_axis(theirs.cv_results_, index[None, :, None], -1)[..., 0]
    np.testing.assert_allclose((signals - left_out).flatten(1) ** 2, squared, rtol=1e-4, atol=1e-4)


def test_without_standardising_it_is_scikit_learns_ridge_on_the_raw_features():
    features, signals = make(40, 7)
    ridge, _ = fit_ridge(features, signals, (0.1,), standardize=False)
    s = np.linalg.svd((features - features.mean(0)).numpy(), compute_uv=False)
    theirs = SklearnRidge(alpha=0.1 * np.mean(s**2)).fit(features, signals.flatten(1))
    np.testing.assert_allclose(ridge.predict(features).flatten(1), theirs.predict(features),
                               rtol=1e-5, atol=1e-5)


def test_scale_and_offset_of_the_features_do_not_matter():
    features, signals = make(40, 7)
    scales = torch.tensor([1e-9, 1e-3, 1, 7, 1e3, 1e6, 1e9], dtype=torch.float64)
    ridge, left_out = fit_ridge(features, signals)
    other, other_left_out = fit_ridge(features * scales - 3 * scales, signals)
    torch.testing.assert_close(other.alphas, ridge.alphas)
    torch.testing.assert_close(other_left_out, left_out)
    torch.testing.assert_close(other.predict(features * scales - 3 * scales),
                               ridge.predict(features))


def test_one_common_scale_does_not_matter_without_standardising():
    features, signals = make(40, 7)
    ridge, _ = fit_ridge(features, signals, standardize=False)
    other, _ = fit_ridge(features * 1e-6, signals, standardize=False)
    torch.testing.assert_close(other.alphas, ridge.alphas)
    torch.testing.assert_close(other.predict(features * 1e-6), ridge.predict(features))


def test_mean_erp_of_some_rows_is_that_of_these_rows():
    signals = torch.randn(9, 3, 5, generator=torch.Generator().manual_seed(0))
    assert torch.equal(mean_erp(signals, [1, 4, 5]), mean_erp(signals[[1, 4, 5]]))


def test_features_that_say_nothing_give_alpha_infinite_and_the_mean_erp():
    features, signals = make(40, 7)
    design = torch.cat([features, torch.ones(40, 1)], 1)
    useless = signals.flatten(1) - design @ torch.linalg.lstsq(design, signals.flatten(1)).solution
    signals = useless.view_as(signals) + 2
    ridge, left_out = fit_ridge(features, signals)
    assert torch.isinf(ridge.alphas).all()
    erp = mean_erp(signals).expand(40, 3, 5)
    torch.testing.assert_close(ridge.predict(features), erp, rtol=0, atol=0)
    torch.testing.assert_close(left_out.double(), (40 * erp - signals) / 39)


def test_on_random_features_ridge_stays_within_one_percent_of_the_mean_erp():
    rng = torch.Generator().manual_seed(0)
    features = torch.randn(600, 50, generator=rng)
    signals = torch.randn(600, 10, 30, generator=rng)
    ridge, left_out = fit_ridge(features[:300], signals[:300])
    new = (ridge.predict(features[300:]) - signals[300:]).square().mean()
    erp = (mean_erp(signals[:300]) - signals[300:]).square().mean()
    assert new < 1.01 * erp
    # Per target, the choice can only improve on the mean ERP's own left-out error.
    alone = (signals[:300] - mean_erp(signals[:300])) * 300 / 299
    chosen = (signals[:300] - left_out).square().mean(0)
    assert (chosen <= alone.square().mean(0) * (1 + 1e-5)).all()


def test_noiseless_linear_signals_are_found_again():
    features, signals = make(200, 7, noise=0.0, seed=2)
    ridge, _ = fit_ridge(features[:150], signals[:150])
    assert (ridge.alphas == min(ALPHAS)).all()
    error = (ridge.predict(features[150:]) - signals[150:]).square().mean()
    assert error < 1e-5 * signals.var()


def test_left_out_residuals_have_the_size_of_residuals_on_new_images():
    features, signals = make(400, 60, h=8, w=20, noise=3.0, seed=3)
    ridge, left_out = fit_ridge(features[:200], signals[:200])
    new = (signals[200:] - ridge.predict(features[200:])).square().mean().item()
    assert (signals[:200] - left_out).square().mean().item() == pytest.approx(new, rel=0.05)
    assert (signals[:200] - ridge.predict(features[:200])).square().mean() < 0.9 * new


def test_what_images_of_a_group_share_does_not_count_as_knowledge():
    """A feature that tells groups apart and nothing else: leaving out one image is fooled by it."""
    rng = np.random.default_rng(3)
    names = torch.from_numpy(rng.standard_normal((40, 60))).repeat_interleave(4, dim=0)
    own = torch.from_numpy(rng.standard_normal((40, 2, 3))).repeat_interleave(4, dim=0)
    signals = own + torch.from_numpy(0.5 * rng.standard_normal((160, 2, 3)))
    labels = [row // 4 for row in range(160)]
    fooled, _ = fit_ridge(names, signals)
    ridge, left_out = fit_ridge(names, signals, groups=labels)
    new = torch.from_numpy(rng.standard_normal((200, 60)))
    spread = [float((r.predict(new) - r.erp).square().mean()) for r in (fooled, ridge)]
    assert spread[0] > 0.1 and spread[1] < 0.2 * spread[0]
    assert float((left_out - signals).square().mean()) > 0.9 * float(signals.var())


@pytest.mark.parametrize("standardize", [True, False])
def test_constant_features_count_for_nothing(standardize):
    features, signals = make(40, 7)
    padded = torch.cat([torch.full((40, 1), 0.1), features, torch.full((40, 1), 1e7)], 1)
    padded[::2, -1] += 1e-6  # below what float32 could tell apart
    ridge, left_out = fit_ridge(features, signals, standardize=standardize)
    other, other_left_out = fit_ridge(padded, signals, standardize=standardize)
    torch.testing.assert_close(other_left_out, left_out)
    padded[:, [0, -1]] = torch.tensor([77.0, -1e9], dtype=torch.float64)
    torch.testing.assert_close(other.predict(padded), ridge.predict(features))


def test_if_all_features_are_constant_ridge_is_the_mean_erp():
    _, signals = make(10, 3)
    ridge, _ = fit_ridge(torch.ones(10, 4), signals)
    assert torch.isinf(ridge.alphas).all()
    torch.testing.assert_close(ridge.predict(torch.randn(2, 4)),
                               mean_erp(signals).expand(2, 3, 5))


def test_a_tie_goes_to_the_larger_penalty():
    features, signals = make(40, 7)
    signals[:, 1] = 0  # a dead sensor: every alpha is perfect
    ridge, left_out = fit_ridge(features, signals)
    assert torch.isinf(ridge.alphas[1]).all() and (left_out[:, 1] == 0).all()


@pytest.mark.parametrize("size", SIZES)
def test_float32_signals_agree_with_float64(size):
    features, signals = make(*size)
    ridge, left_out = fit_ridge(features, signals)
    single, single_left_out = fit_ridge(features, signals.float())
    torch.testing.assert_close(single.alphas, ridge.alphas)
    torch.testing.assert_close(single.predict(features), ridge.predict(features), rtol=1e-3,
                               atol=1e-3)
    torch.testing.assert_close(single_left_out, left_out, rtol=1e-3, atol=1e-3)


def test_blocks_of_targets_do_not_show(monkeypatch):
    features, signals = make(40, 7)
    ridge, left_out = fit_ridge(features, signals)
    monkeypatch.setattr(baselines, "BLOCK", 4)  # 15 targets: the last block is short
    blocked, blocked_left_out = fit_ridge(features, signals)
    torch.testing.assert_close(blocked_left_out, left_out)
    torch.testing.assert_close(blocked.state(), ridge.state())


def test_state_survives_a_weights_only_checkpoint(tmp_path):
    features, signals = make(40, 7)
    ridge, _ = fit_ridge(features, signals)
    torch.save(ridge.state(), tmp_path / "ridge.pt")
    loaded = Ridge.from_state(torch.load(tmp_path / "ridge.pt", weights_only=True))
    assert loaded.weights.dtype == torch.float32 and loaded.weights.shape == (7, 15)
    assert torch.equal(loaded.predict(features), ridge.predict(features))
    with pytest.raises(ValueError, match="not the state of a Ridge.*wanted"):
        Ridge.from_state({"weights": ridge.weights})


def with_nan(tensor):
    tensor = tensor.clone()
    tensor[4] = math.nan
    return tensor


X, Y = make(10, 3)


def test_penalties_that_are_too_weak_are_refused():
    """More features than images, and nothing that holds them: left-out errors are infinite."""
    x = torch.randn(5, 30, generator=torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match="no penalty is great enough"):
        fit_ridge(x, torch.randn(5, 2, 3, generator=torch.Generator().manual_seed(1)), (1e-30,))


@pytest.mark.parametrize("features, signals, alphas, message", [
    (X, Y[:9], ALPHAS, "10 rows of features but 9 of signals"),
    (X[:2], Y[:2], ALPHAS, "2 images are too few.*at least 3"),
    (with_nan(X), Y, ALPHAS, "features of image 4 hold NaN"),
    (X, with_nan(Y), ALPHAS, "signals of image 4 hold NaN"),
    (X[:, None], Y, ALPHAS, r"features of shape \(10, 1, 3\): wanted non-empty \(images, width\)"),
    (X, Y.flatten(1), ALPHAS, r"signals of shape \(10, 15\): wanted non-empty \(images, sensors"),
    (X[:, :0], Y, ALPHAS, "features of shape"),
    (X, Y, (1.0, 0.0), "alphas must be one or more positive numbers"),
    (X, Y, (1.0, math.nan), "alphas must be one or more positive numbers"),
    (X, Y, (), "alphas must be one or more positive numbers"),
])
def test_wrong_training_data_are_refused(features, signals, alphas, message):
    with pytest.raises(ValueError, match=message):
        fit_ridge(features, signals, alphas)


@pytest.mark.parametrize("groups, message", [
    ([0] * len(X), "in one group"), ([0, 1], "2 group labels for"),
])  # fmt: skip
def test_wrong_groups_are_refused(groups, message):
    with pytest.raises(ValueError, match=message):
        fit_ridge(X, Y, groups=groups)


def test_wrong_data_are_refused_elsewhere():
    ridge, _ = fit_ridge(X, Y)
    with pytest.raises(ValueError, match="width 2, but this ridge was fitted on width 3"):
        ridge.predict(X[:, :2])
    with pytest.raises(ValueError, match="features of image 4 hold NaN"):
        ridge.predict(with_nan(X))
    with pytest.raises(ValueError, match="signals of image 4 hold NaN"):
        mean_erp(with_nan(Y))
    with pytest.raises(ValueError, match="signals of shape"):
        mean_erp(Y[0])
