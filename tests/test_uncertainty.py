"""The bootstrap and Student's interval against scipy's, closed forms, and draws that are known."""

import numpy as np
import pytest
from scipy import stats

from tinybrain.uncertainty import bootstrap, gap_closed, student


def test_interval_of_a_mean_is_scipy_s():
    values = np.random.default_rng(0).exponential(size=80)
    ours = bootstrap(values, draws=20_000)
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    assert ours.value == pytest.approx(values.mean(), abs=1e-12)
    width = theirs.high - theirs.low
    assert ours.low == pytest.approx(theirs.low, abs=0.03 * width)
    assert ours.high == pytest.approx(theirs.high, abs=0.03 * width)


def test_interval_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(0)
    inside = 0
    for trial in range(300):
        low, high = bootstrap(rng.normal(size=60), draws=500, level=0.8, seed=trial)[1:]
        inside += low < 0 < high
    assert inside / 300 == pytest.approx(0.8, abs=0.07)


def test_share_of_the_gap():
    rng = np.random.default_rng(0)
    hard = rng.exponential(size=200) * 10  # for all alike
    best, reference = hard + 1, hard + 3
    halfway = gap_closed(hard + 2 + 0.1 * rng.normal(size=200), reference, best)
    assert halfway.value == pytest.approx(0.5, abs=0.02)
    assert 0.45 < halfway.low < 0.5 < halfway.high < 0.55  # pairing has taken `hard` out
    assert gap_closed(best, reference, best) == (1, 1, 1)
    assert gap_closed(reference, reference, best) == (0, 0, 0)


def test_same_seed_same_interval():
    values = np.random.default_rng(0).normal(size=(30, 2))
    difference = lambda means: means[..., 0] - means[..., 1]  # noqa: E731
    assert bootstrap(values, difference) == bootstrap(values, difference)
    assert bootstrap(values, difference) != bootstrap(values, difference, seed=1)


@pytest.mark.parametrize("values", [[1.0], [[1.0, np.nan], [0, 1]], np.zeros((2, 2, 2))])
def test_what_has_no_interval_is_refused(values):
    with pytest.raises(ValueError, match="two images or more, all finite"):
        bootstrap(values)


@pytest.mark.parametrize("n", [2, 3, 10])
def test_students_interval_is_scipy_s(n):
    values = np.random.default_rng(n).exponential(size=n)
    for level in (0.95, 0.5):
        wanted = stats.t.interval(level, df=n - 1, loc=values.mean(), scale=stats.sem(values))
        assert student(values, level=level) == pytest.approx((values.mean(), *wanted))


def test_students_interval_of_few_subjects_covers_the_truth_as_often_as_it_says():
    """The bootstrap's, of two, half as often."""
    draws = np.random.default_rng(0).normal(size=(1000, 2))
    inside = [student(pair).low < 0 < student(pair).high for pair in draws]
    assert np.mean(inside) == pytest.approx(0.95, abs=0.02)
    drawn = [bootstrap(pair, draws=500).low < 0 < bootstrap(pair, draws=500).high
             for pair in draws[:200]]
    assert np.mean(drawn) < 0.6


def test_one_number_has_a_mean_and_no_interval():
    value, *bounds = student([0.3])
    assert value == 0.3 and np.isnan(bounds).all()


@pytest.mark.parametrize("values", [[], [1.0, np.nan], np.zeros((2, 2))])
def test_numbers_without_a_mean_over_subjects_are_refused(values):
    with pytest.raises(ValueError, match="one or more, all finite"):
        student(values)
