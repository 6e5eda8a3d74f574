"""The bootstrap against scipy's, a closed form, and draws that are known."""

import numpy as np
import pytest
from scipy import stats

from tinybrain.uncertainty import bootstrap, gap_closed


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
