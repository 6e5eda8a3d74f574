"""The image's part in a score: pairs against the metrics, permutations against all there are."""

import dataclasses
import itertools
import json
import math

import numpy as np
import pytest
import torch

from tests.test_metrics import A, B, make
from tinybrain.image_effect import SCORES, image_effect, image_gap, pair_scores, permutation_test
from tinybrain.metrics import mse, pcc, r2


def score(pred, target, over):
    return mse(pred, target) if over == "mse" else pcc(pred, target, over)


@pytest.mark.parametrize("offset", [0.0, 1e4])
@pytest.mark.parametrize("over", SCORES)
def test_means_of_pairs_are_the_metrics_of_every_pairing(over, offset):
    pred, target = make(offset=offset)
    pred += offset / 2  # it has half of the target's
    pairs = pair_scores(torch.from_numpy(pred), target, over)
    rng = np.random.default_rng(0)
    for order in (np.arange(7), *(rng.permutation(7) for _ in range(5))):
        expected = score(pred[order], target, over)
        assert pairs[order, np.arange(7)].mean() == pytest.approx(expected, abs=1e-10)
    if over == "mse":
        expected = [[np.mean((p - t) ** 2) for t in target] for p in pred]
        np.testing.assert_allclose(pairs, expected, rtol=0, atol=1e-10)
    if over == "pattern":
        expected = [[np.corrcoef(p.ravel(), t.ravel())[0, 1] for t in target] for p in pred]
        np.testing.assert_allclose(pairs, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("over", SCORES)
def test_constants_count_in_pairs_as_in_the_metrics(over):
    pred, target = make()
    erp = np.broadcast_to(np.float32(0.1) * target.mean(0).astype(np.float32), target.shape)
    silent, dead = pred.copy(), target.copy()
    silent[2], silent[:, 1], dead[4], dead[:, 3] = 0.1, 0.1, 0.1, 0.1
    for p, t in [(silent, target), (pred, dead), (silent, dead), (erp, target), (target, erp),
                 (0 * pred, target), (pred, 0 * target)]:
        diagonal = pair_scores(p, t, over).diagonal()
        expected = score(p, t, over)
        if math.isnan(expected):
            assert np.isnan(diagonal).all()
        else:
            assert np.nanmean(diagonal) == pytest.approx(expected, abs=1e-10)
        found = image_effect(p, t, over, permutations=9)
        assert found.value == pytest.approx(expected, abs=1e-10, nan_ok=True)
        assert math.isnan(found.shuffled.value) == math.isnan(expected)


@pytest.mark.parametrize("over", SCORES)
def test_p_meets_that_of_all_permutations_within_its_standard_error(over):
    rng = np.random.default_rng(3)
    target = rng.standard_normal((6, 3, 4))
    pred = 0.3 * target + rng.standard_normal((6, 3, 4))
    pairs, sign = pair_scores(pred, target, over), -1 if over == "mse" else 1
    every = [pairs[list(order), range(6)].mean() for order in itertools.permutations(range(6))]
    exact = np.mean([sign * (x - every[0]) >= -1e-12 for x in every])
    found = image_effect(pred, target, over, permutations=4000)
    assert 0 < exact < 0.5
    assert abs(found.p_value - exact) < 4 * math.sqrt(exact * (1 - exact) / 4000) + 1 / 4000
    assert found.value == pytest.approx(score(pred, target, over), abs=1e-10)
    error = np.std(every) / math.sqrt(4000)
    assert abs(found.shuffled.value - np.mean(every)) < 4 * error
    assert found.shuffled.low < found.shuffled.value < found.shuffled.high


@pytest.mark.parametrize("over", SCORES)
def test_the_truth_has_the_smallest_p_there_is_and_the_mean_erp_the_largest(over):
    rng = np.random.default_rng(0)
    truth = rng.standard_normal((40, 4, 5)) + 3 * rng.standard_normal((4, 5))
    target = truth + 0.5 * rng.standard_normal(truth.shape)
    found = image_effect(truth, target, over, permutations=99)
    assert found.p_value == 1 / 100 and found.permutations == 99
    erp = np.broadcast_to(target.mean(0).astype(np.float32), target.shape)
    assert image_effect(erp, target, over, permutations=99).p_value == 1
    assert image_effect(0 * truth, target, over, permutations=99).p_value == 1
    # With one recording for all images only rounding tells pairings apart.
    assert image_effect(truth, erp, over, permutations=99).p_value == 1


@pytest.mark.parametrize("over", SCORES)
def test_a_generator_of_other_images_signals_has_uniform_p(over):
    rng = np.random.default_rng(0)
    erp = 3 * rng.standard_normal((3, 4))
    found = np.array([
        image_effect(*(rng.standard_normal((2, 12, 3, 4)) + erp), over, permutations=99).p_value
        for _ in range(200)])
    assert abs(found.mean() - 0.505) < 4 * 0.29 / math.sqrt(200)
    assert (found <= 0.1).mean() < 0.1 + 4 * math.sqrt(0.1 * 0.9 / 200)


def test_any_score_can_be_tested():
    pred, target = make(n=12)
    erp = target.mean(0)
    found = permutation_test(lambda order: r2(pred[order], target, erp), 12, seed=2)
    # R^2 falls as MSE rises, so both order all pairings alike.
    same = image_effect(pred, target, "mse", permutations=999, seed=2)
    assert found.p_value == same.p_value and found.value == r2(pred, target, erp)
    slow = permutation_test(lambda order: mse(pred[order], target), 12, lower_is_better=True,
                            seed=2)
    assert slow.p_value == same.p_value
    assert slow.shuffled == pytest.approx(same.shuffled, abs=1e-10)


@pytest.mark.parametrize("over", SCORES)
def test_the_gap_is_own_pairs_less_others_and_as_uncertain_as_leaving_images_out_says(over):
    rng = np.random.default_rng(0)
    target = rng.standard_normal((80, 3, 4)) + np.arange(4)
    pred = 0.5 * target + rng.standard_normal(target.shape)
    pairs = pair_scores(pred, target, over)

    def gap(pairs):
        others = ~np.eye(len(pairs), dtype=bool)
        return pairs.diagonal().mean() - pairs[others].mean()

    found = image_gap(pairs)
    assert found.value == pytest.approx(gap(pairs), abs=1e-12)
    left = [gap(np.delete(np.delete(pairs, i, 0), i, 1)) for i in range(80)]
    jackknife = math.sqrt(79 * np.var(left))
    assert (found.high - found.low) / (2 * 1.96) == pytest.approx(jackknife, rel=0.1)
    assert (found.low > 0) if over != "mse" else (found.high < 0)


def test_the_gap_leaves_out_what_cannot_be_scored():
    pred, target = make()
    full = image_gap(pair_scores(np.delete(pred, 4, 0), np.delete(target, 4, 0), "pattern"))
    target[4] = 0.1
    assert image_gap(pair_scores(pred, target, "pattern")) == pytest.approx(full, abs=1e-12)
    assert all(map(math.isnan, image_gap(pair_scores(0 * pred, target, "image"))))


def test_the_seed_is_stored_and_the_result_plain():
    pred, target = make()
    one, other = (image_effect(pred, target, "image", permutations=50, seed=s) for s in (1, 2))
    assert one == image_effect(pred, target, "image", permutations=50, seed=1) and one != other
    assert one.seed == 1 and other.seed == 2
    assert json.loads(json.dumps(dataclasses.asdict(one)))["p_value"] == one.p_value


def test_mistakes_are_refused():
    with pytest.raises(ValueError, match=r"over='r2': wanted one of \('mse', 'pattern'"):
        image_effect(A, B, "r2")
    with pytest.raises(ValueError, match=r"pred \(6, 4, 5\) and target \(7, 4, 5\) differ"):
        pair_scores(A[:6], B, "mse")
    with pytest.raises(ValueError, match="1 images and 9999 permutations: wanted at least 2"):
        image_effect(A[:1], B[:1], "mse")
    with pytest.raises(ValueError, match="7 images and 0 permutations"):
        image_effect(A, B, "mse", permutations=0)
    with pytest.raises(ValueError, match="1 image: wanted 2 or more"):
        image_gap(np.ones((1, 1)))
