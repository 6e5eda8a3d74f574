"""The classifier two-sample test: scikit-learn's numbers, chance, known answers, known faults."""

import itertools

import numpy as np
import pytest
from scipy import stats
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from tests.coloured_signals import PATTERNS, RATE, UNMIXED, H, K, N, W, record
from tinybrain.realism import chance
from tinybrain.realism.classifier import logistic, trial_features, two_sample
from tinybrain.realism.measures import Spectrum


def scikit(x, y, penalty):
    """Logistic regression of another make."""
    model = LogisticRegression(C=1 / penalty, solver="newton-cholesky", tol=1e-13, max_iter=1000)
    return model.fit(x, y)


@pytest.mark.parametrize("penalty", [0.1, 10.0])
def test_logistic_regression_is_scikit_learn_s(penalty):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((80, 5)) * [1, 2, 3, 0.1, 1]
    y = rng.random(80) < 1 / (1 + np.exp(-x[:, 0] - 0.5))
    w, c = logistic(x, y, penalty)
    theirs = scikit(x, y, penalty)
    np.testing.assert_allclose(w, theirs.coef_[0], rtol=0, atol=1e-10)
    assert c == pytest.approx(theirs.intercept_[0], abs=1e-10)


def test_classes_that_do_not_overlap_still_have_a_minimum():
    x = np.linspace(-30, 30, 60)[:, None]
    w, c = logistic(x, x[:, 0] > 7, 1e-3)
    p = 1 / (1 + np.exp(-(x @ w + c)))
    gradient = x.T @ (p - (x[:, 0] > 7)) + 1e-3 * w
    assert np.abs(gradient).max() < 1e-8 and abs((p - (x[:, 0] > 7)).sum()) < 1e-8


def test_where_newton_s_full_steps_run_away_shorter_ones_arrive():
    rng = np.random.default_rng(127)
    x = 3 * rng.standard_cauchy((40, 2))
    y = rng.random(40) < 1 / (1 + np.exp(-x[:, 0]))
    w, c = logistic(x, y, 1e-3)
    error = 1 / (1 + np.exp(-(x @ w + c))) - y
    assert np.abs(x.T @ error + 1e-3 * w).max() < 1e-8 and abs(error.sum()) < 1e-8


def test_scores_are_those_of_classifiers_that_have_not_seen_the_image():
    rng, n, k, d = np.random.default_rng(0), 11, 3, 4
    first, second = rng.standard_normal((2, n, k, d)) + np.array([0.5, 0])[:, None, None, None]
    found = two_sample(first, second, penalty=2.0, folds=4, seed=6)
    drawn = np.random.default_rng(6)
    fold, right = drawn.permutation(n) % 4, []

    def told(image, seen):
        """By scikit-learn: scores of an image's signals, and the share told right of them."""
        x = np.concatenate([first[seen].reshape(-1, d), second[seen].reshape(-1, d)])
        scaler = StandardScaler().fit(x)
        model = scikit(scaler.transform(x), np.repeat([1, 0], len(x) // 2), 2.0)
        scores = [model.decision_function(scaler.transform(y[image])) for y in (first, second)]
        return scores, np.mean(np.concatenate([scores[0] > 0, scores[1] < 0]))

    for image in range(n):
        scores, share = told(image, fold != fold[image])
        np.testing.assert_allclose(found.scores[:, image], scores, rtol=0, atol=1e-9)
        right.append(share)
    np.testing.assert_allclose(found.each, right, rtol=0, atol=1e-12)
    assert found.accuracy.value == pytest.approx(np.mean(right), abs=1e-12)
    asked = drawn.permutation(n) < 5  # five images, by what was learned from the other six
    excess = np.array([told(image, ~asked)[1] - 0.5 for image in np.flatnonzero(asked)])
    flips = np.array(list(itertools.product([-1, 1], repeat=5))) @ excess
    assert found.p == pytest.approx(np.mean(flips >= excess.sum() - 1e-9), abs=0.02)


def test_accuracy_of_two_gaussians_is_the_best_possible():
    first, second = np.random.default_rng(0).standard_normal((2, 300, 10, 3))
    found = two_sample(first + [1.2, 0, 0], second, flips=99)
    best = stats.norm.cdf(0.6)
    assert found.accuracy.low < best < found.accuracy.high
    assert found.accuracy.value == pytest.approx(best, abs=0.02) and found.p == 0.01
    assert np.abs(found.weights).argmax() == 0


def test_chance_when_both_are_drawn_alike():
    """Of p as small as 0.1 there are no more than a tenth: signs of five folds gave 15 %."""
    p, accuracy = [], []
    for seed in range(300):
        first, second = np.random.default_rng(seed).standard_normal((2, 50, 4, 20))
        found = two_sample(first, second, flips=199, seed=seed)
        p.append(found.p)
        accuracy.append(found.accuracy.value)
    for level in (0.05, 0.1):
        least = sum(x <= level for x in p)
        assert stats.binomtest(least, 300, level, alternative="greater").pvalue > 0.05
    assert np.mean(accuracy) == pytest.approx(0.5, abs=3 * np.std(accuracy) / np.sqrt(300))


def test_what_is_peculiar_to_an_image_cannot_be_learnt_by_heart():
    """The two kinds differ in every image, in each another way: known images would give 100 %."""
    own = 5 * np.random.default_rng(0).standard_normal((40, 1, 30))
    first, second = np.random.default_rng(1).standard_normal((2, 40, 4, 30)) + [[own], [-own]]
    found = two_sample(first[0], second[0])
    assert found.accuracy.value < 0.65 and found.p > 0.01


def test_features_that_tell_nothing():
    same = np.full((6, 2, 3), 0.1)
    same[..., 1] = 3  # its standard deviation is exactly 0, that of 0.1 is rounding
    found = two_sample(same, same)
    assert found.accuracy == (0.5, 0.5, 0.5) and found.p == 1 and not found.weights.any()
    with pytest.raises(ValueError, match="at least 2 images"):
        two_sample(same[:1], same[:1])
    with pytest.raises(ValueError, match=r"features .6, 2, 3. and .6, 1, 3."):
        two_sample(same, same[:, :1])


def test_features_are_what_they_say_of_each_single_signal():
    parts = chance.split(record(K, 1), record(2 * K, 0))
    features, names = trial_features(parts, Spectrum(RATE), PATTERNS)
    assert set(features) == set(chance.SETS)
    groups = {name: [i for i, other in enumerate(names) if other == name] for name in names}
    assert [len(rows) for rows in groups.values()] == [H, H, W // 2, 4]
    pooled = np.concatenate([np.concatenate(list(parts.images(which))) for which in chance.SETS])
    axes = np.linalg.eigh(np.cov(pooled.transpose(1, 0, 2).reshape(H, -1)))[1][:, ::-1]
    y = list(parts.images("other"))[7][2]                                      # (h, w)
    found = {name: features["other"][7, 2, rows] for name, rows in groups.items()}
    expected = {
        "sensor variance": np.log(y.var(axis=1)),
        "component variance": np.log((axes.T @ y).var(axis=1)),
        "spectrum": np.log(Spectrum(RATE).of_trials(y).mean(axis=0)),
        "patterns": [np.sum(pattern * y) for pattern in PATTERNS],
    }
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=0, atol=1e-9)
    silent = np.zeros((N, K, H, W))
    features, names = trial_features(chance.split(silent, record(2 * K, 0)), Spectrum(RATE))
    assert "patterns" not in names and np.isfinite(features["generated"]).all()


@pytest.mark.parametrize("wrong", [
    {}, {"scale": 1.1}, {"colour": 0.7}, {"mix": UNMIXED}, {"effect": 0.0},
], ids=str)  # fmt: skip
def test_every_fault_is_caught_and_a_perfect_sampler_is_not(wrong):
    parts = chance.split(record(K, 99, **wrong), record(2 * K, 0))
    features, _ = trial_features(parts, Spectrum(RATE), PATTERNS)
    told, chances = (two_sample(features[which], features["reference"], flips=99)
                     for which in ("generated", "other"))
    assert chances.p > 0.05 and chances.accuracy.low < 0.5
    if wrong:
        assert told.p == 0.01 and told.accuracy.low > 0.6
    else:
        assert told.p > 0.05 and told.accuracy.low < 0.5 < told.accuracy.high
