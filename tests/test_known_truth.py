"""Known truth: a generator that samples from the demo's own distribution passes every test, and
each way of being wrong is caught by the number that is meant for it."""

from __future__ import annotations

import types

import numpy as np
import pytest

from tinybrain import report
from tinybrain.baselines import mean_erp
from tinybrain.things import EEG2, make_demo
from tinybrain.things.demo import read_truth
from tinybrain.things.twin.evoked import noise_model

SENSORS = ("O1", "Oz", "O2", "PO7", "PO8", "Pz", "Cz", "Fz")
K = 3  # samples of an image


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """Recordings, the truth, and how loud its noise is."""
    root = make_demo(
        tmp_path_factory.mktemp("known") / "demo", train_concepts=60, train_images=2,
        test_concepts=60, test_repeats=24, sensors=SENSORS, points=40, image_size=16,
        image_variance=0.05,
    )  # fmt: skip
    train, test = EEG2(root, 1, "train"), EEG2(root, 1, "test", repeats="single")
    truth = read_truth(root)
    return types.SimpleNamespace(train=train, test=test, truth=truth,
                                 loud=truth.settings["noise_variance"])


def noise(demo, shape, seed=1):
    """The demo's noise, averaged as in a training target; (*shape, h, w)."""
    model = noise_model(SENSORS, demo.truth.times, demo.loud)
    count = int(np.prod(shape)) * demo.train.repeats
    drawn = model.draw(count, np.random.default_rng(seed))
    return drawn.reshape(*shape, demo.train.repeats, *drawn.shape[1:]).mean(axis=-3)


def draw(demo, seed=3):
    """K samples of each test image from the distribution that the recording is from."""
    return demo.truth.test[:, None] + noise(demo, (len(demo.truth.test), K), seed)


def judged(demo, samples, mean=None):
    """The report; the truth of training images stands for what was predicted of them."""
    found = report.judge(samples, mean, demo.train, demo.test, left_out=demo.truth.train,
                         truth=demo.truth.test, seed=0)
    return found, found["verdict"], report.verdict(found)


def beyond(facts):
    return {name for name, each in facts["realism"]["measures"].items() if each["beyond"]}


@pytest.fixture(scope="module")
def perfect(demo):
    return judged(demo, draw(demo), demo.truth.test)


def row(found, name):
    return next(row for row in found["rows"] if row["name"] == name)


def test_realism_of_a_perfect_sampler_is_at_chance(perfect):
    _, facts, words = perfect
    assert facts["realism"]["answer"] == "not told apart" and not beyond(facts)
    for name, each in facts["realism"]["measures"].items():
        assert each["p"] > 0.02, name
        low, high = each["generated"][1:]
        assert low < each["chance"][2] and each["chance"][1] < high, name
    assert "not told apart from means of 4 repetitions by any of 6 measures" in words


def test_a_perfect_sampler_reaches_the_ceiling_of_one_sample_and_of_k(perfect):
    found, facts, words = perfect
    assert facts["one_sample"]["answer"] == "reached"
    for name in ("one sample", f"mean of {K} samples"):
        own, best = row(found, name), row(found, f"{name}, perfect sampler")
        for column in ("mse", "pattern", "image", "pooled"):
            low, high = own["intervals"][column]
            least, most = best["intervals"][column]
            assert low < most and least < high, (name, column)
    assert "One sample reaches what a perfect sampler's would" in words


def test_the_truth_is_the_ceiling_and_above_everything(perfect):
    found, facts, words = perfect
    assert facts["above_mean_erp"]["answer"] == "yes"
    assert facts["above_ridge"] is None and "ridge was not fitted" in words
    low, high = facts["share_of_ceiling"][1:]
    assert low < 1 < high and high - low < 0.2
    assert row(found, "conditional mean")["mse"] == row(found, "truth (best possible)")["mse"]
    assert words.startswith("Conditional mean: MSE") and "better than the mean ERP" in words
    effect = facts["image_effect"]
    assert effect["conditional mean"]["p"] == effect[f"mean of {K} samples"]["p"] == 1e-4
    assert "The conditional mean depends on the image" in words
    by = found["identification"]["by"]
    assert by["conditional mean"]["top1"][0] > 0.5
    assert by["mean ERP"]["top1"][0] == pytest.approx(1 / 60)
    assert by["mean ERP"]["pairwise"][0] == pytest.approx(0.5)


@pytest.mark.parametrize("times", [0.8, 1.25])
def test_wrong_variance_is_caught_by_variance(demo, times):
    _, facts, words = judged(demo, times * draw(demo))
    assert "variance" in beyond(facts) and "spectrum" not in beyond(facts)
    assert "variance of sensors (off by" in words
    assert facts["one_sample"]["answer"] == ("below" if times < 1 else "above")
    assert ("too little of the noise" if times < 1 else "does not reach") in words


def test_a_wrong_spectrum_is_caught_by_the_spectrum(demo):
    """Noise as loud and as spread over sensors, but white in time."""
    model = noise_model(SENSORS, demo.truth.times, demo.loud)
    covariance = sum(sources @ sources.T for sources, _ in model.parts) / demo.train.repeats
    root = np.linalg.cholesky(covariance)
    white = np.random.default_rng(5).standard_normal((60, K, *demo.truth.test.shape[1:]))
    _, facts, words = judged(demo, demo.truth.test[:, None] + root @ white)
    assert {"spectrum", "autocorrelation"} <= beyond(facts) and "variance" not in beyond(facts)
    assert facts["one_sample"]["answer"] == "reached"  # squared error does not see it
    assert "told apart from means of 4 repetitions by" in words and "spectrum (off by" in words


def test_no_dependence_on_the_image_is_caught_by_shuffling(demo):
    """Samples as real as any, of other images."""
    order = np.random.default_rng(2).permutation(60)
    found, facts, words = judged(demo, draw(demo)[order])
    assert "variance" not in beyond(facts) and "spectrum" not in beyond(facts)
    effect = facts["image_effect"][f"mean of {K} samples"]
    assert effect["p"] > 0.05 and effect["gap"][1] < 0 < effect["gap"][2]
    assert f"The mean of {K} samples is not shown to depend on the image" in words
    assert facts["above_mean_erp"]["answer"] == "no" and "worse than the mean ERP" in words
    assert found["identification"]["by"][f"mean of {K} samples"]["top1"][0] < 0.1


def test_the_mean_erp_s_noise_has_no_image_at_all(demo):
    erp = mean_erp(demo.train.signals).numpy()
    mean = np.broadcast_to(erp, demo.truth.test.shape)
    _, facts, words = judged(demo, erp + noise(demo, (60, K)), mean)
    assert facts["above_mean_erp"]["answer"] == "undecided"
    assert facts["image_effect"]["conditional mean"]["p"] == 1
    assert "Nothing of the conditional mean varies with the image" in words
    assert facts["one_sample"]["answer"] == "above"
