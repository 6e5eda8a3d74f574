"""Rows and their intervals: values are the metrics', intervals those of redrawing by hand."""

import math

import numpy as np
import pytest

from tests.test_metrics import make
from tinybrain import metrics, scores
from tinybrain.uncertainty import bootstrap, jackknife

RNG = np.random.default_rng(0)
N, H, W = 40, 3, 5
TARGET = RNG.standard_normal((N, H, W)) + np.linspace(-1, 1, W)
PRED = 0.5 * TARGET + RNG.standard_normal((N, H, W))


def values(pred, target):
    return (metrics.mse(pred, target), *(metrics.pcc(pred, target, k) for k in metrics.KINDS))


def found(pred, target):
    row = scores.row("a", scores.sums(pred, target), {})
    return tuple(row[column] for column in ("mse", *metrics.KINDS))


@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_values_are_those_of_the_metrics(offset):
    pred, target = make(offset=offset)
    assert found(pred, target) == pytest.approx(values(pred, target), rel=1e-12, abs=1e-9)


def test_constants_count_as_in_the_metrics():
    pred, target = make()
    erp = np.broadcast_to(target.mean(0), target.shape)
    silent, dead = pred.copy(), target.copy()
    silent[2], silent[:, 1], dead[4], dead[:, 3] = 0.1, 0.1, 0.1, 0.1
    for p, t in [(silent, target), (pred, dead), (silent, dead), (erp, target), (target, erp),
                 (0 * pred + 0.1, target), (pred, 0 * target + 0.1)]:
        assert found(p, t) == pytest.approx(values(p, t), abs=1e-10, nan_ok=True)


def test_without_a_block_is_the_metric_of_the_other_images():
    pred, target = make()                                            # 7 images: 7 blocks
    dead = target.copy()
    dead[1:, 2] = 0.1  # varies in one image only: constant once that is left out
    for t in (target, dead):
        own = scores.sums(pred, t)
        wanted = [metrics.pcc(np.delete(pred, i, 0), np.delete(t, i, 0), "image") for i in range(7)]
        np.testing.assert_allclose(own.without, wanted, atol=1e-10)
    thirty = scores.sums(PRED, TARGET)  # 40 images in 20 blocks
    assert thirty.without[3] == pytest.approx(metrics.pcc(
        np.delete(PRED, (6, 7), 0), np.delete(TARGET, (6, 7), 0), "image"), abs=1e-12)


def test_intervals_are_those_of_images_drawn_again():
    erp = TARGET.mean(0)
    references = {"mean ERP": scores.sums(np.broadcast_to(erp, TARGET.shape), TARGET).error,
                  "zero": np.square(TARGET).mean((1, 2))}
    row = scores.row("a", scores.sums(PRED, TARGET), references)
    rng = np.random.default_rng(1)
    draws = [rng.integers(N, size=N) for _ in range(2000)]
    square = {"mse": np.square(PRED - TARGET), "r2": np.square(erp - TARGET),
              "r2_zero": np.square(TARGET)}
    again = {name: [1 - square["mse"][d].mean() / error[d].mean() for d in draws]
             for name, error in square.items()}
    again["mse"] = [square["mse"][d].mean() for d in draws]
    each = np.array([np.corrcoef(p.ravel(), t.ravel())[0, 1] for p, t in zip(PRED, TARGET)])
    again["pattern"] = [each[d].mean() for d in draws]
    again["pooled"] = [np.corrcoef(PRED[d].ravel(), TARGET[d].ravel())[0, 1] for d in draws]
    assert set(row) == {"name", "intervals", "image", *again}
    for column, drawn in again.items():
        low, high = np.quantile(drawn, [0.025, 0.975])
        assert row["intervals"][column] == pytest.approx([low, high], abs=0.12 * (high - low))
        assert low < row[column] < high


def test_interval_across_images_covers_the_truth_as_often_as_it_says():
    inside = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        shared, a, b = (rng.standard_normal((80, 4, 5)) for _ in range(3))
        own = scores.sums(shared + a, shared + b)
        low, high = jackknife(own.image, own.without)[1:]
        inside += low < 0.5 - 0.5 * 0.75 / 160 < high  # less the bias of r, r (1 - r^2) / 2n
    assert inside / 200 == pytest.approx(0.95, abs=0.04)


def test_jackknife_of_a_mean_is_its_t_interval():
    x = RNG.standard_normal(12)
    without = [np.delete(x, i).mean() for i in range(12)]
    low, high = jackknife(x.mean(), without)[1:]
    reach = 2.200985 * x.std(ddof=1) / math.sqrt(12)  # t(11; 0.975)
    assert (low, high) == pytest.approx((x.mean() - reach, x.mean() + reach), abs=1e-6)
    assert math.isnan(jackknife(1.0, np.array([1.0])).low)
    assert math.isnan(jackknife(1.0, np.array([1.0, np.nan])).low)


def test_the_same_draws_kept_or_drawn_anew(monkeypatch):
    from tinybrain import uncertainty

    kept = bootstrap(TARGET[:, 0], draws=2500, seed=3)
    monkeypatch.setattr(uncertainty, "KEEP", 0)
    assert bootstrap(TARGET[:, 0], draws=2500, seed=3) == kept


def test_of_one_image_there_are_values_and_no_bounds():
    row = scores.row("a", scores.sums(PRED[:1], TARGET[:1]), {"zero": np.array([2.0])})
    assert row["mse"] == pytest.approx(metrics.mse(PRED[:1], TARGET[:1]))
    assert row["r2_zero"] == pytest.approx(1 - row["mse"] / 2)
    assert set(row["intervals"].values()) == {None} and math.isnan(row["image"])
    assert scores.row("b", None, {}) == {"name": "b"}


def test_curves_are_means_of_maps_where_constant_predictions_count_as_nothing():
    pred = PRED.copy()
    pred[:, 1] = 0.1
    pred[:, 0, 0] = 0.2
    found, wanted = scores.curves(pred, TARGET), metrics.pcc_map(PRED, TARGET)
    wanted[0, 0] = wanted[1] = 0
    np.testing.assert_allclose(found["times"], wanted.mean(0), atol=1e-12)
    np.testing.assert_allclose([found["sensors"][0], found["sensors"][2]], wanted.mean(1)[[0, 2]])
    assert math.isnan(found["sensors"][1]), "nothing is defined there"
    table = scores.row("a", scores.sums(pred, TARGET), {})["image"]
    assert np.nanmean(found["times"]) == pytest.approx(table)


def test_curves_of_a_map_are_means_of_what_is_defined():
    map_ = np.array([[1.0, np.nan, 0.5], [np.nan, np.nan, 0.1]])
    found = scores.curves_of_map(map_)
    np.testing.assert_allclose(found["sensors"], [0.75, 0.1])
    np.testing.assert_allclose(found["times"], [1, np.nan, 0.3])
