"""The ceilings' rows: values are those of `ceilings.py`, intervals hold what the truth reaches."""

import math

import numpy as np
import pytest

from tinybrain import ceilings, metrics
from tinybrain.ceiling_rows import ceiling_rows, components, lower, perfect, upper


def recorded(n=60, r=8, h=3, w=10, seed=0):
    rng = np.random.default_rng(seed)
    truth = rng.standard_normal((n, h, w)) * 0.7
    loud = np.exp(0.5 * rng.standard_normal((n, 1, 1, 1)))
    return truth, truth[:, None] + loud * rng.standard_normal((n, r, h, w))


def rows_of(repeats, averaged, references=None):
    return ceiling_rows(repeats, components(repeats), averaged, references or {})


@pytest.mark.parametrize("offset", [0.0, 1e3])
def test_rows_are_the_ceilings(offset):
    repeats = recorded()[1] + offset
    error = np.full(60, 2.0)
    rows, noise, samples = rows_of(repeats, {"one": 4, "three": 12},
                                   {"mean ERP": error, "zero": 2 * error})
    assert [row["name"] for row in rows] == ["one", "three", "noise ceiling"]
    for row, averaged in zip(rows, (4, 12), strict=False):
        wanted = ceilings.sample_ceiling(repeats, averaged)
        assert row["mse"] == samples[row["name"]]["mse"] == pytest.approx(wanted.mse)
        for kind in metrics.KINDS:
            assert row[kind] == pytest.approx(wanted.pcc[kind], abs=1e-9)
        assert samples[row["name"]]["pcc"]["image"] == row["image"]
        assert row["r2"] == pytest.approx(1 - wanted.mse / 2)
        assert row["r2_zero"] == pytest.approx(1 - wanted.mse / 4)
    whole = ceilings.noise_ceiling(repeats)
    assert rows[2]["mse"] == pytest.approx(whole.mse)
    assert {kind: rows[2][kind] for kind in metrics.KINDS} == whole.corrected == noise["corrected"]
    for row in rows:
        for column, (low, high) in row["intervals"].items():
            assert low < row[column] < high, column
    for half in ("lower", "upper"):
        for kind, (low, high) in noise["intervals"][half].items():
            assert low < noise[half][kind] < high


def test_without_a_block_is_the_ceiling_of_the_other_images():
    repeats = recorded(n=40)[1]  # 20 blocks of 2
    found = components(repeats)
    others = np.delete(repeats, (6, 7), axis=0)
    for kind in ("image", "pooled"):
        signal, noise, _ = getattr(found, kind)[..., 1 + 3]
        wanted = ceilings.sample_ceiling(others, 4).pcc[kind]
        assert perfect(4, 8)(signal, noise).mean() == pytest.approx(wanted, abs=1e-12)


def test_formulas_are_what_random_halvings_find():
    found = [components(recorded(n=300, seed=seed)[1]) for seed in range(4)]
    whole = [ceilings.noise_ceiling(recorded(n=300, seed=seed)[1], splits=20) for seed in range(4)]
    reaches = {"lower": lower(8), "corrected": perfect(math.inf, 8), "upper": upper(8)}
    for (half, reach), kind in ((a, b) for a in reaches.items() for b in ("image", "pooled")):
        mine = np.mean([each.interval(kind, reach).value for each in found])
        theirs = np.mean([getattr(each, half)[kind] for each in whole])
        assert mine == pytest.approx(theirs, abs=0.004), (half, kind)


def test_intervals_hold_what_the_truth_reaches():
    inside = []
    for seed in range(30):
        truth, repeats = recorded(h=2, w=5, seed=seed)
        row = rows_of(repeats, {})[0][0]
        target = repeats.mean(1)
        own = {"mse": metrics.mse(truth, target)}
        own |= {kind: metrics.pcc(truth, target, kind) for kind in metrics.KINDS}
        inside.append([row["intervals"][c][0] < v < row["intervals"][c][1] for c, v in own.items()])
    assert np.mean(inside, axis=0).min() >= 0.8, np.mean(inside, axis=0)


def test_map_has_the_ceiling_for_its_mean_and_nothing_where_nothing_varies():
    _, repeats = recorded()
    wanted = ceilings.sample_ceiling(repeats, math.inf).pcc["image"]
    assert components(repeats).map().mean() == pytest.approx(wanted, abs=1e-12)
    dead = repeats.astype(np.float32)
    dead[:, :, 1] = 0.1
    map_ = components(dead).map()
    assert np.isnan(map_[1]).all() and not np.isnan(map_[[0, 2]]).any()
    alive = components(dead[:, :, [0, 2]]).interval("image", perfect(4, 8))
    assert components(dead).interval("image", perfect(4, 8)) == pytest.approx(alive)


def test_one_repetition_is_refused():
    with pytest.raises(ValueError, match="1 repetitions: wanted at least 2"):
        components(recorded(r=1)[1])
