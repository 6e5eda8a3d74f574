"""Identification against enumeration and literal loops; chance where chance is due."""

import dataclasses
import itertools
import json
import math

import numpy as np
import pytest
import torch
from scipy.stats import pearsonr

from tinybrain.identification import (
    Ranking,
    encoding_features,
    identify,
    median,
    rank,
    reliable_features,
)

H, W = 5, 8
EVERYTHING = np.arange(H * W)


def make(n=30, noise=0.5, seed=0):
    """What images evoke, around a strong mean ERP, and a recording of it."""
    rng = np.random.default_rng(seed)
    erp = 3 * rng.standard_normal((H, W))
    truth = rng.standard_normal((n, H, W)) + erp
    return truth, truth + noise * rng.standard_normal((n, H, W)), erp


def loops(recorded, generated, features, erp):
    """Candidates better than and equal to the true one, by scipy, one pair at a time."""
    r = np.array([[pearsonr((x - erp).ravel()[features], (y - erp).ravel()[features])[0]
                   for y in generated] for x in recorded])
    own = r.diagonal()[:, None]
    return (r > own + 1e-12).sum(1), (np.abs(r - own) <= 1e-12).sum(1) - 1


@pytest.mark.parametrize("level", [0, 1])
def test_ranks_equal_correlations_one_by_one(level):
    generated, recorded, erp = make(n=37, noise=3)
    recorded = recorded[:30]
    generated[[4, 33]] = generated[12]
    features = np.array([3, 17, 0, 39, 21, 8, 30])
    ranking = rank(torch.from_numpy(recorded), generated, features, erp=level * erp)
    above, tied = loops(recorded, generated, features, level * erp)
    np.testing.assert_array_equal(ranking.above, above)
    np.testing.assert_array_equal(ranking.tied, tied)
    assert ranking.candidates == 37 and tied[[4, 12]].tolist() == [2, 2]
    assert 0 < above.mean() < 18


def enumerated(above, tied, candidates, k, among):
    """Every set of other candidates, every place among the equal ones."""
    others = [1] * above + [0] * tied + [-1] * (candidates - 1 - above - tied)
    found = []
    for chosen in itertools.combinations(others, among - 1):
        better, equal = chosen.count(1), chosen.count(0)
        found.append(np.mean([better + place < k for place in range(equal + 1)]))
    return np.mean(found)


@pytest.mark.parametrize("k", [1, 2, 5, 9])
def test_top_k_among_some_equals_enumeration(k):
    cases = [(a, t) for a in range(7) for t in range(7 - a)]
    above, tied = np.array(cases).T
    ranking = Ranking(above, tied, 7)
    for among in range(2, 8):
        expected = [enumerated(a, t, 7, k, among) for a, t in cases]
        np.testing.assert_allclose(ranking.top(k, among), expected, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(ranking.top(k), ranking.top(k, 7))
    expected = [np.mean([a + place < k for place in range(t + 1)]) for a, t in cases]
    np.testing.assert_allclose(ranking.top(k), expected, rtol=0, atol=1e-12)
    # Against one other candidate, the first of two is the winner of a pair.
    np.testing.assert_allclose(ranking.top(1, 2), ranking.pairwise(), rtol=0, atol=1e-12)


def test_top_1_among_many_equals_fractions_of_whole_numbers():
    ranking = Ranking(np.array([0, 1, 17, 160, 199]), np.zeros(5, int), 200)
    for among in (2, 10, 57, 200):
        expected = [math.comb(199 - a, among - 1) / math.comb(199, among - 1)
                    for a in ranking.above]
        np.testing.assert_allclose(ranking.top(1, among), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("n", [30, 67, 200])
def test_a_generator_that_never_looks_ties_with_all(n):
    """Rounding must not settle ties, nor must subtracting an almost equal ERP."""
    _, recorded, erp = make(n=n)
    same = np.broadcast_to(erp.astype(np.float32), recorded.shape)
    for ranking in (
        rank(recorded, same, EVERYTHING), rank(recorded, same, EVERYTHING, erp=erp),
        rank(recorded, same, EVERYTHING, erp=erp.astype(np.float32)),
        rank(recorded, 0 * recorded, EVERYTHING), rank(0 * recorded, recorded, EVERYTHING),
    ):
        assert not ranking.above.any() and (ranking.tied == n - 1).all()


def test_ties_are_chance_to_the_last_digits():
    _, recorded, erp = make(n=60)
    found, n = identify(recorded, np.broadcast_to(erp, recorded.shape), EVERYTHING), 60
    assert found.top1 == pytest.approx((1 / n,) * 3, abs=1e-12)
    assert found.top5 == pytest.approx((5 / n,) * 3, abs=1e-12)
    assert found.median_rank == ((n + 1) / 2,) * 3
    assert found.pairwise == pytest.approx((0.5,) * 3, abs=1e-12)
    for size, top in found.growth.items():
        assert top.value == pytest.approx(1 / size, abs=1e-12)


def test_a_shuffled_generator_is_at_chance_on_average():
    truth, recorded, _ = make()
    rng = np.random.default_rng(0)
    found = []
    for _ in range(300):
        ranking = rank(recorded, truth[rng.permutation(30)], EVERYTHING)
        found.append([ranking.top(1).mean(), ranking.top(5).mean(), ranking.ranks().mean(),
                      ranking.pairwise().mean(), ranking.top(1, 4).mean()])
    error = np.std(found, axis=0, ddof=1) / math.sqrt(300)
    expected = [1 / 30, 5 / 30, 15.5, 0.5, 1 / 4]
    assert (np.abs(np.mean(found, axis=0) - expected) < 4 * error).all()


def test_the_truth_is_perfect():
    truth, recorded, erp = make(n=60, noise=0.2)
    found = identify(recorded, truth, EVERYTHING)
    assert found.median_rank == (1, 1, 1)
    assert list(found.growth) == [2, 4, 8, 16, 32, 60]
    for share in (found.top1, found.top5, found.pairwise, *found.growth.values()):
        assert share == pytest.approx((1, 1, 1), abs=1e-12)
    for ranking in (rank(recorded, recorded, EVERYTHING), rank(recorded, 2 * truth, EVERYTHING),
                    rank(recorded, truth, EVERYTHING, erp=erp)):
        assert not ranking.above.any() and not ranking.tied.any()


def test_growth_falls_from_pairs_to_all_and_more_candidates_are_harder():
    truth, recorded, erp = make(n=540, noise=3)
    few, many = (identify(recorded[:40], x, EVERYTHING, erp=erp) for x in (truth[:40], truth))
    tops = [top.value for top in many.growth.values()]
    assert tops == sorted(tops, reverse=True) and tops[-1] == pytest.approx(many.top1.value)
    assert tops[0] == pytest.approx(many.pairwise.value)
    assert many.top1.value < few.top1.value < 0.9
    assert (many.candidates, many.images, many.features) == (540, 40, 40)


def test_intervals_are_the_bootstraps_and_plain():
    truth, recorded, _ = make(n=25, noise=3)
    found = identify(recorded, truth, EVERYTHING, sizes=(3,), seed=4)
    assert found == identify(recorded, truth, EVERYTHING, sizes=(3,), seed=4)
    assert found != identify(recorded, truth, EVERYTHING, sizes=(3,), seed=5)
    assert found.seed == 4 and list(found.growth) == [3]
    for interval in (found.top1, found.top5, found.pairwise, found.median_rank):
        assert interval.low <= interval.value <= interval.high and interval.low < interval.high
    assert json.loads(json.dumps(dataclasses.asdict(found)))["top1"] == list(found.top1)


@pytest.mark.parametrize("n", [11, 12])
def test_the_median_is_numpys_of_images_drawn_again(n):
    values = np.random.default_rng(n).integers(1, 60, n) / 2
    rng, draws = np.random.default_rng(7), []
    for _ in range(10):
        for times in rng.multinomial(n, np.full(n, 1 / n), 1000):
            draws.append(np.median(np.repeat(values, times)))
    found = median(values, seed=7)
    assert found.value == np.median(values)
    assert (found.low, found.high) == tuple(np.quantile(draws, [0.025, 0.975]))


# --- features ----------------------------------------------------------------------------------


def test_features_are_those_that_training_data_rank_best():
    rng = np.random.default_rng(0)
    recorded, predicted = rng.standard_normal((2, 50, H, W))
    predicted += recorded * np.linspace(0, 1, H * W).reshape(H, W)
    predicted[:, 4, 7] = 0.1  # undefined: never chosen, though it would be the best
    score = np.array([pearsonr(predicted[:, i, j], recorded[:, i, j])[0]
                      if (i, j) != (4, 7) else -2 for i, j in np.ndindex(H, W)])
    best = np.argsort(-score)
    np.testing.assert_array_equal(encoding_features(predicted, recorded, 6), best[:6])
    np.testing.assert_array_equal(encoding_features(predicted, recorded, 39), best[:39])
    with pytest.raises(ValueError, match="40 features: wanted 2 to 39"):
        encoding_features(predicted, recorded, 40)
    with pytest.raises(ValueError, match="1 features: wanted 2 to 39"):
        encoding_features(predicted, recorded, 1)


def test_features_chosen_on_training_data_identify_better_than_all():
    rng = np.random.default_rng(0)
    told = np.zeros((H, W))
    told[1:3, 2:6] = 1

    def record(n, r):
        truth = told * rng.standard_normal((n, H, W))
        return truth, truth[:, None] + rng.standard_normal((n, r, H, W))

    (guess, train), (truth, test) = record(100, 4), record(400, 1)
    reliable = reliable_features(train, 8)
    encoded = encoding_features(guess + rng.standard_normal(guess.shape), train.mean(1), 8)
    assert set(reliable) == set(encoded) == set(np.flatnonzero(told))
    generated = truth + rng.standard_normal(truth.shape)
    chosen = rank(test.mean(1), generated, reliable).pairwise().mean()
    assert chosen > rank(test.mean(1), generated, EVERYTHING).pairwise().mean() + 0.05


def test_mistakes_are_refused():
    truth, recorded, erp = make(n=6)
    with pytest.raises(ValueError, match=r"generated \(5, 5, 8\) for recorded \(6, 5, 8\)"):
        rank(recorded, truth[:5], EVERYTHING)
    with pytest.raises(ValueError, match=r"generated \(6, 5, 7\) for recorded \(6, 5, 8\)"):
        rank(recorded, truth[:, :, 1:], EVERYTHING)
    with pytest.raises(ValueError, match="2 candidates or more"):
        rank(recorded[:1], truth[:1], EVERYTHING)
    with pytest.raises(ValueError, match=r"erp \(8, 5\): wanted \(5, 8\)"):
        rank(recorded, truth, EVERYTHING, erp=erp.T)
    for features in ([1], [1, 1], [0, 40], [-1, 3], [0.0, 1.0], np.ones((H, W), bool)):
        with pytest.raises(ValueError, match="features: wanted 2 or more different indices below"):
            rank(recorded, truth, np.array(features))
    with pytest.raises(ValueError, match="generated hold NaN or infinity, first in row 0"):
        rank(recorded, np.nan * truth, EVERYTHING)
    ranking = rank(recorded, truth, EVERYTHING)
    for k, among in [(0, 3), (1, 1), (1, 7)]:
        with pytest.raises(ValueError, match="wanted 1 or more, among 2 to 6"):
            ranking.top(k, among)
