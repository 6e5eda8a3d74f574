"""Realism: every measure against an independent computation, then against known truths."""

import json

import numpy as np
import pytest
import torch
from scipy import linalg, signal, stats
from sklearn.decomposition import PCA

from tests.coloured_signals import (
    EFFECTS,
    ERP,
    MIX,
    PATTERNS,
    RATE,
    UNMIXED,
    H,
    K,
    N,
    W,
    record,
)
from tests.memory import peak_memory
from tinybrain import metrics, realism
from tinybrain.realism import chance
from tinybrain.realism.measures import (
    Autocorrelation,
    Covariance,
    Frechet,
    Spectrum,
    Variance,
)

RECORDED = record(2 * K, seed=0)
MEASURES = [Variance(), Spectrum(RATE), Covariance(), Autocorrelation(RATE), Frechet(PATTERNS)]


def profile(measure, y):
    """Of signals (n, k, h, w), as `compare` makes it."""
    return measure.profile(np.mean([measure.moments(trials) for trials in y], axis=0))


def distance(measure, y, reference):
    return measure.size(measure.against(profile(measure, reference))(profile(measure, y)))


# --- each measure against another implementation ------------------------------------------------


def test_variance_is_numpy_s():
    found = profile(Variance(), RECORDED)
    np.testing.assert_allclose(found, RECORDED.var(axis=(0, 1, 3)), rtol=1e-12)
    np.testing.assert_allclose(found, metrics.variance_per_sensor(RECORDED), rtol=1e-12)
    louder = RECORDED * np.array([1, 2, 1, 1, 10, 1])[:, None]
    difference = Variance().against(found)(profile(Variance(), louder))
    np.testing.assert_allclose(difference, [0, 20 * np.log10(2), 0, 0, 20, 0], atol=1e-10)
    assert Variance().size(difference) == pytest.approx(np.sqrt(np.mean(difference**2)), abs=1e-12)


@pytest.mark.parametrize("points", [50, 49])
def test_spectrum_is_scipy_s_welch(points):
    y, measure = RECORDED[..., :points] + 3, Spectrum(RATE)
    frequencies, power = signal.welch(y, RATE, window="hann", nperseg=points)
    np.testing.assert_allclose(measure.axis(points), frequencies[1:], rtol=1e-12)
    np.testing.assert_allclose(measure.of_trials(y), power[..., 1:], rtol=1e-10)
    np.testing.assert_allclose(profile(measure, y), power[..., 1:].mean((0, 1)), rtol=1e-10)
    low = Spectrum(RATE, band=(4, 30))
    kept = (frequencies >= 4) & (frequencies <= 30)
    np.testing.assert_array_equal(low.axis(points), frequencies[kept])
    np.testing.assert_allclose(profile(low, y), power[..., kept].mean((0, 1)), rtol=1e-10)


def test_covariance_is_numpy_s_and_its_difference_scipy_s_generalised_eigenvalues():
    flat = RECORDED.transpose(2, 0, 1, 3).reshape(H, -1)
    ours, other = (profile(Covariance(), y) for y in (RECORDED, record(3, 5, mix=np.eye(H))))
    np.testing.assert_allclose(ours, np.cov(flat, bias=True), rtol=0, atol=1e-12)
    ratios = 10 * np.log10(linalg.eigh(other, ours, eigvals_only=True))
    difference = Covariance().against(ours)(other)
    np.testing.assert_allclose(difference, ratios - ratios.mean(), rtol=0, atol=1e-10)
    nepers = difference / 10 * np.log(10)  # the affine-invariant metric, without its level
    whiten = np.linalg.inv(linalg.sqrtm(ours))
    log = linalg.logm(whiten @ other @ whiten)
    log -= np.eye(H) * np.trace(log) / H
    assert np.linalg.norm(nepers) == pytest.approx(np.linalg.norm(log), abs=1e-10)
    mixed = [MIX @ c @ MIX.T for c in (ours, 7 * other)]  # other units, other sensors: the same
    np.testing.assert_allclose(Covariance().against(mixed[0])(mixed[1]), difference, atol=1e-10)


def test_autocorrelation_is_a_loop_s():
    y, lags, measure = RECORDED[:3], np.arange(11), Autocorrelation(RATE, 0.1)
    expected = [[np.mean(y[:, :, h, :W - lag] * y[:, :, h, lag:]) for lag in lags]
                for h in range(H)]
    expected = np.array(expected) / np.mean(y**2, axis=(0, 1, 3))[:, None]
    np.testing.assert_allclose(profile(measure, y), expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(measure.axis(W), lags / RATE)
    assert len(Autocorrelation(RATE).axis(20)) == 11  # half of a short signal


def test_frechet_is_scipy_s_matrix_root_and_the_closed_form_in_one_dimension():
    y, other = RECORDED, record(4, seed=8, mix=np.eye(H), effect=1.0) + 0.1
    a, b = (np.einsum("nkhw,mhw->nkm", x, PATTERNS).reshape(-1, 4) for x in (y, other))
    (m, c), (m_b, c_b) = ((x.mean(0), np.cov(x.T, bias=True)) for x in (a, b))
    total = (m - m_b) @ (m - m_b) + np.trace(c + c_b - 2 * linalg.sqrtm(c @ c_b).real)
    assert distance(Frechet(PATTERNS), other, y) == pytest.approx(total / np.trace(c), abs=1e-10)
    one = Frechet(PATTERNS[:1])
    line, line_b = a[:, 0], b[:, 0]
    expected = (line.mean() - line_b.mean()) ** 2 + (line.std() - line_b.std()) ** 2
    assert distance(one, other, y) == pytest.approx(expected / line.var(), abs=1e-10)
    assert distance(one, y, y) == pytest.approx(0, abs=1e-10)


def test_patterns_are_scikit_learn_s_principal_components():
    noise = np.random.default_rng(0).standard_normal(EFFECTS.shape)
    predicted = (EFFECTS + 0.1 * noise).astype(np.float32)
    ours = realism.encoding_patterns(torch.from_numpy(predicted), width=3).reshape(3, -1)
    theirs = PCA(3, svd_solver="full").fit(predicted.reshape(N, -1).astype(float)).components_
    np.testing.assert_allclose(np.abs(np.sum(ours * theirs, axis=1)), 1, atol=1e-10)
    np.testing.assert_allclose(ours @ ours.T, np.eye(3), atol=1e-10)
    found = realism.encoding_patterns(EFFECTS + ERP, width=99).reshape(-1, H * W)
    assert len(found) == 4  # no more than there are
    one = PATTERNS[0].ravel()
    np.testing.assert_allclose(found.T @ (found @ one), one, atol=1e-9)
    few, others = (realism.encoding_patterns(EFFECTS, rows=3, seed=seed) for seed in (0, 1))
    assert len(few) == 2 and not np.allclose(few, others)
    with pytest.raises(ValueError, match="the same for all images"):
        realism.encoding_patterns(np.broadcast_to(np.float32(0.1) * ERP.astype("f4"), (9, H, W)))
    with pytest.raises(ValueError, match="wanted .images, sensors, time"):
        realism.encoding_patterns(ERP)


# --- chance: halves, swaps, intervals -----------------------------------------------------------


def test_halves_are_disjoint_drawn_per_image_and_of_one_size():
    recorded = np.arange(N * 9).reshape(N, 9, 1, 1) + np.zeros((1, 1, 2, 3))
    parts = chance.split(-1.0 - recorded[:, :4], recorded)
    assert parts.shape == (N, 4, 2, 3)
    a, b, g = (np.rint(np.stack(list(parts.images(which)))[..., 0, 0] + parts.level[0]).astype(int)
               for which in ("reference", "other", "generated"))
    for image in range(N):
        assert not set(a[image]) & set(b[image])
        assert {*a[image], *b[image]} <= set(range(image * 9, image * 9 + 9))
        assert (g[image] == -1 - np.arange(image * 9, image * 9 + 4)).all()
    assert len({tuple(row - row.min()) for row in a}) > 20  # not the same rows of every image
    assert parts.level[0] == pytest.approx(a.mean())
    again, other = (chance.split(recorded, recorded, seed=s).rows["other"] for s in (0, 1))
    np.testing.assert_array_equal(again, chance.split(recorded, recorded).rows["other"])
    assert (again != other).any()
    assert chance.split(recorded, recorded, trials=2).shape[1] == 2


@pytest.mark.parametrize("measure", MEASURES, ids=lambda m: m.name)
def test_comparison_interval_and_p_are_those_of_a_literal_computation(measure):
    """Leaving images out and exchanging signals for real, instead of by sums of moments."""
    n, swaps = 6, 9
    parts = chance.split(record(2, seed=3, colour=0.7)[:n], RECORDED[:n], trials=2)
    found = chance.compare_split(parts, measure, swaps=swaps, seed=5)
    g, a, b = (np.stack(list(parts.images(which))) for which in ("generated", "reference", "other"))
    assert found.distance.value == pytest.approx(distance(measure, g, a), abs=1e-10)
    assert found.chance.value == pytest.approx(distance(measure, b, a), abs=1e-10)
    assert measure.size(found.difference) == found.distance.value
    assert measure.size(found.chance_difference) == found.chance.value
    for which, y in ((found.generated, g), (found.recorded, a), (found.again, b)):
        np.testing.assert_allclose(which, profile(measure, y), rtol=0, atol=1e-10)

    left = [distance(measure, *(np.delete(y, i, axis=0) for y in (g, a))) for i in range(n)]
    reach = stats.t.ppf(0.975, n - 1) * np.sqrt((n - 1) * np.var(left))
    low, high = np.array([-reach, reach]) + distance(measure, g, a)
    assert found.distance[1:] == pytest.approx((max(low, 0), high), abs=1e-9)

    rng, great = np.random.default_rng((5, 1)), 0
    for _ in range(swaps):
        stay = (rng.choice([-1.0, 1.0], n) > 0)[:, None, None, None]
        mine, theirs = np.where(stay, g, b), np.where(stay, b, g)
        excess = distance(measure, mine, a) - distance(measure, theirs, a)
        great += excess >= found.distance.value - found.chance.value - 1e-9
    assert found.p == (1 + great) / (1 + swaps)


def test_jackknife_of_a_mean_is_student_s_interval():
    x = np.random.default_rng(0).exponential(size=12)
    _, low, high = chance.distance_interval(x.mean(), (x.sum() - x) / 11)
    assert (low, high) == pytest.approx(stats.t.interval(0.95, 11, x.mean(), stats.sem(x)))
    assert chance.distance_interval(0.1, np.array([0.0, 0.3])).low == 0


def test_p_is_uniform_when_nothing_differs():
    """Of 60 samplers that draw from the truth, one in ten is called wrong at p <= 0.1, and half
    of the distances are beyond chance."""
    p, beyond = {m.name: [] for m in MEASURES}, {m.name: 0 for m in MEASURES}
    for seed in range(60):
        parts = chance.split(record(2, 2 * seed + 10)[:20], record(4, 2 * seed + 11)[:20])
        for measure in MEASURES:
            found = chance.compare_split(parts, measure, swaps=19, seed=seed)
            p[measure.name].append(found.p)
            beyond[measure.name] += found.distance.value > found.chance.value
    for name, values in p.items():
        assert stats.binomtest(sum(v <= 0.1 for v in values), 60, 0.1).pvalue > 0.01, name
        assert stats.binomtest(beyond[name], 60, 0.5).pvalue > 0.01, name


def test_interval_covers_a_true_distance():
    """A gain of 3 dB is found, inside its interval as often as that says."""
    gain, inside = 10 ** (3 / 20), 0
    for seed in range(60):
        parts = chance.split(gain * record(2, 2 * seed), record(4, 2 * seed + 1))
        _, low, high = chance.compare_split(parts, Variance(), swaps=1).distance
        inside += low <= 3 <= high
    assert stats.binomtest(inside, 60, 0.95).pvalue > 0.01


# --- known truths -------------------------------------------------------------------------------

WRONG = {  # what is wrong with a generator, and the measures that must say so
    "nothing": ({}, set()),
    "scale": ({"scale": 1.1}, {"variance"}),
    "colour": ({"colour": 0.7}, {"spectrum", "autocorrelation"}),
    "mixing": ({"mix": UNMIXED}, {"covariance"}),
    "image": ({"effect": 0.0}, {"frechet"}),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_each_fault_is_caught_by_the_measure_meant_for_it(wrong):
    change, caught = WRONG[wrong]
    samples = record(K, seed=99, **change)
    found = {m.name: realism.compare(samples, RECORDED, m, swaps=99) for m in MEASURES}
    for name in caught:
        assert found[name].p == 0.01, name
        assert found[name].distance.low > found[name].chance.high, name
    # The patterns of images hold some of every variance, and images some of every measure's.
    others = found.keys() - caught - ({"frechet"} if caught else set())
    if wrong != "image":
        assert {name for name in others if found[name].p <= 0.05} == set()
    if wrong == "scale":
        assert found["variance"].distance.value == pytest.approx(20 * np.log10(1.1), abs=0.2)


def test_a_mean_without_its_noise_is_no_sample():
    mean = np.broadcast_to((ERP + 4 * EFFECTS)[:, None], (N, K, H, W))
    found = {m.name: realism.compare(mean, RECORDED, m, swaps=19) for m in MEASURES[:4]}
    assert all(each.p == 0.05 for each in found.values())
    assert found["variance"].difference.max() < -3  # every sensor too quiet


def test_a_silent_sensor_counts_and_a_dead_one_does_not():
    silent, dead = record(K, seed=9).astype("f4"), RECORDED.astype("f4")
    dead[:, :, 2] = 0.1
    alive = [0, 1, 3, 4, 5]
    for measure in MEASURES[:4]:
        found = realism.compare(silent, dead, measure, swaps=1)
        fewer = realism.compare(silent[:, :, alive], dead[:, :, alive], measure, swaps=1)
        assert found.distance == pytest.approx(fewer.distance, rel=1e-6), measure.name
        assert found.chance == pytest.approx(fewer.chance, rel=1e-6), measure.name
    silent[:, :, 4] = 0.1
    for measure in (Variance(), Spectrum(RATE), Covariance()):
        found = realism.compare(silent, RECORDED, measure, swaps=1).distance
        assert 50 < found.value < 157, measure.name
    assert realism.compare(silent, RECORDED, Autocorrelation(RATE), swaps=1).distance.value > 0.1
    for measure in MEASURES:
        nothing = realism.compare(silent, np.zeros_like(dead), measure, swaps=1)
        assert np.isnan(nothing.distance.value) and np.isnan(nothing.p), measure.name


def test_an_average_reference_takes_a_dimension_away_and_no_more():
    def referenced(y):
        return (y - y.mean(axis=2, keepdims=True)).astype(np.float32)

    found = realism.compare(referenced(record(K, 9)), referenced(RECORDED), Covariance(), swaps=19)
    assert found.difference.shape == (H - 1,) and found.distance.value < 0.6 and found.p > 0.05


# --- what goes in, what comes out ---------------------------------------------------------------


def test_single_targets_average_disjoint_repetitions():
    r, average = 10, 3
    repeats = np.zeros((7, r, r, 1), np.float32)
    repeats[:, range(r), range(r)] = 1  # repetition j is 1 at sensor j
    targets = realism.single_targets(repeats, average)
    assert targets.shape == (7, 3, r, 1) and targets.dtype == np.float32
    assert set(np.unique(targets)) == {0, np.float32(1 / 3)}
    assert (np.count_nonzero(targets, axis=2) == average).all()
    assert (np.count_nonzero(targets, axis=1) <= 1).all()  # none twice
    assert len({image.tobytes() for image in targets}) == 7
    noise = np.random.default_rng(0).standard_normal((20, 80, 4, 5))
    assert realism.single_targets(noise, 4).var() == pytest.approx(1 / 4, rel=0.05)
    assert not np.array_equal(targets, realism.single_targets(repeats, average, seed=1))
    for wrong in (0, 11):
        with pytest.raises(ValueError, match="wanted 1 to 10"):
            realism.single_targets(repeats, wrong)


def test_evaluate_gives_every_number_and_keeps_the_seed():
    samples = torch.from_numpy(record(2, seed=7))
    found = realism.evaluate(samples, RECORDED, RATE, patterns=PATTERNS, swaps=9, seed=3)
    numbers = json.loads(json.dumps(found.numbers()))
    assert list(numbers) == [*(m.name for m in MEASURES), "classifier"]
    for measure in MEASURES:
        alone = realism.compare(samples, RECORDED, measure, swaps=9, seed=3)
        assert numbers[measure.name]["generated"] == list(alone.distance)
        assert numbers[measure.name]["p"] == alone.p
        assert (alone.images, alone.trials) == (N, 2)
    assert numbers["classifier"]["chance"][0] == found.classifier_chance.accuracy.value
    assert len(found.features) == len(found.classifier.weights)
    assert found.features.count("patterns") == len(PATTERNS)
    same = realism.evaluate(samples, RECORDED, RATE, patterns=PATTERNS, swaps=9, seed=3)
    assert same.numbers() == found.numbers()
    without = realism.evaluate(samples, RECORDED, RATE, band=(5, 30), swaps=1)
    assert "frechet" not in without.numbers() and "patterns" not in without.features
    assert without.comparisons["spectrum"].axis.max() == 30


@pytest.mark.parametrize("generated, recorded, message", [
    (RECORDED[:, 0], RECORDED, "wanted .images, trials, sensors, time"),
    (RECORDED[:5], RECORDED, "the same images, sensors and time points"),
    (RECORDED[:, :, :, :9], RECORDED, "the same images, sensors and time points"),
    (RECORDED, RECORDED[:, :1], "wanted at least 2 and 2"),
    (RECORDED[:1], RECORDED[:1], "wanted at least 2 and 2"),
    (np.where(np.arange(N) == 3, np.nan, 0)[:, None, None, None] + RECORDED, RECORDED,
     "generated signals of image 3 hold NaN"),
])  # fmt: skip
def test_what_cannot_be_compared_is_refused(generated, recorded, message):
    with pytest.raises(ValueError, match=message):
        realism.compare(generated, recorded, Variance())


@pytest.mark.parametrize("measure, trials, message", [
    (Variance(), 6, "10 recorded trials an image give 1 to 5"),
    (Spectrum(RATE, band=(60, 90)), 1, "no frequency within 60 to 90 Hz: 50 points at 100.0 Hz"),
    (Spectrum(RATE, band=(0, 1)), 1, "50 points at 100.0 Hz have 2 to 50 Hz"),
    (Frechet(PATTERNS[:, :3]), 1, "patterns .4, 3, 50. do not fit signals"),
])  # fmt: skip
def test_what_cannot_be_measured_is_refused(measure, trials, message):
    with pytest.raises(ValueError, match=message):
        realism.compare(RECORDED, RECORDED, measure, trials=trials)


@pytest.mark.parametrize("measure", MEASURES[:4], ids=lambda m: m.name)
def test_memory_does_not_grow_with_the_recording(measure):
    recorded = np.zeros((40, 40, 16, 64), np.float32)  # 6.6 MB, and twice that in float64
    recorded += np.random.default_rng(0).standard_normal((40, 40, 1, 64), np.float32)
    _, peak = peak_memory(lambda: realism.compare(recorded[:, :20], recorded, measure, swaps=1))
    assert peak < 3e6
