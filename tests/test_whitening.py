"""Whitening against scikit-learn's Ledoit-Wolf, scipy's matrix power and loops written out."""


import numpy as np
import pytest
from scipy.linalg import fractional_matrix_power
from sklearn.covariance import ledoit_wolf
from sklearn.preprocessing import StandardScaler

from tests.memory import peak_memory
from tinybrain.things import whitening
from tinybrain.things.whitening import dewhitener, noise_covariance, shrunk_covariance, whitener


def make(*shape, seed=0):
    """Signals (..., h, w) of correlated sensors whose scales span a factor of 100, not centred."""
    rng = np.random.default_rng(seed)
    h = shape[-2]
    mixing = (np.eye(h) + 0.2 * rng.standard_normal((h, h))) * np.logspace(-1, 1, h)[:, None]
    return mixing @ rng.standard_normal(shape) + rng.standard_normal((h, 1))


def sklearn_covariance(x):
    """Of observations (n, p): standardise, Ledoit-Wolf, scale back."""
    scaler = StandardScaler()
    return ledoit_wolf(scaler.fit_transform(x))[0] * np.outer(scaler.scale_, scaler.scale_)


def sklearn_noise(x, over):
    if over == "epochs":
        return np.mean([sklearn_covariance(trial.T) for row in x for trial in row], axis=0)
    return np.mean([sklearn_covariance(at.T) for row in x for at in row.T], axis=0)


@pytest.mark.parametrize("n, p", [(250, 63), (20, 5), (5, 20), (2, 7), (3, 1)])
def test_covariances_equal_sklearn(n, p):
    x = make(4, p, n).swapaxes(1, 2)
    ours = shrunk_covariance(x)
    assert ours.shape == (4, p, p)
    for mine, one in zip(ours, x):
        assert abs(mine - sklearn_covariance(one)).max() < 1e-10


def test_covariance_by_hand():
    """Ledoit and Wolf's sums, term by term."""
    x = make(1, 3, 200).swapaxes(1, 2)[0]
    n, p = x.shape
    z = (x - x.mean(0)) / x.std(0)
    s = sum(np.outer(row, row) for row in z) / n
    target = np.trace(s) / p * np.eye(p)
    spread = sum(((np.outer(row, row) - s) ** 2).sum() for row in z) / n**2 / p
    distance = ((s - target) ** 2).sum() / p
    rate = min(spread, distance) / distance
    assert 0.05 < rate < 0.95  # neither end would show a wrong rate
    expected = np.diag(x.std(0)) @ ((1 - rate) * s + rate * target) @ np.diag(x.std(0))
    assert np.allclose(shrunk_covariance(x[None])[0], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("value", [0.0, 1e6 / 3])
def test_constant_sensor_as_in_sklearn(value):
    """A mean of thirds is rounded: what is left beside it must not be taken for a signal."""
    x = make(1, 4, 10).swapaxes(1, 2)[0]
    x[:, 2] = value
    assert abs(shrunk_covariance(x[None])[0] - sklearn_covariance(x)).max() < 1e-10


def test_nothing_to_shrink():
    """Uncorrelated to the last bit: the target is reached, 0 / 0 must not come of it."""
    x = np.array([[1.0, 2], [1, -2], [-1, 2], [-1, -2]])
    with np.errstate(all="raise"):
        assert np.array_equal(shrunk_covariance(x[None])[0], np.diag([1.0, 4]))


@pytest.mark.parametrize("block", [1, 1000, 10**9])
@pytest.mark.parametrize("over", ["epochs", "time"])
@pytest.mark.parametrize("r", [2, 5])
def test_noise_equals_a_plain_loop_in_blocks_of_any_size(monkeypatch, over, r, block):
    x = make(7, r, 6, 20)
    monkeypatch.setattr(whitening, "BLOCK", block)
    assert abs(noise_covariance(x, over) - sklearn_noise(x, over)).max() < 1e-10


def test_memory_map_is_read_in_blocks(tmp_path):
    x = make(300, 2, 63, 100).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    ours, peak = peak_memory(lambda: noise_covariance(mapped))
    assert peak < 45e6, "a float64 copy of the whole alone is 30 MB, 60 with its standardised twin"
    assert abs(ours - sklearn_noise(x.astype(np.float64), "epochs")).max() < 1e-10


@pytest.mark.parametrize("scale", [1, 1e-5], ids=["one", "volts"])
def test_whitener_equals_scipy_and_dewhitener_takes_it_back(scale):
    c = noise_covariance(scale * make(10, 2, 12, 100))
    w, back = whitener(c), dewhitener(c)
    assert abs(w - fractional_matrix_power(c, -0.5)).max() < 1e-10 / scale
    assert abs(back - fractional_matrix_power(c, 0.5)).max() < 1e-10 * scale
    assert np.allclose(w @ c @ w, np.eye(12), atol=1e-10)
    assert np.allclose(back @ w, np.eye(12), atol=1e-10)
    assert np.allclose(w, w.T, rtol=0, atol=1e-12 / scale)


def test_whitened_noise_has_covariance_one():
    """So many time points that hardly anything is shrunk."""
    x = make(2, 2, 8, 20_000)
    y = whitener(noise_covariance(x)) @ (x - x.mean(axis=-1, keepdims=True))
    c = np.einsum("nrhw,nrgw->hg", y, y) / (2 * 2 * 20_000)
    assert abs(c - np.eye(8)).max() < 0.02


def test_singular_covariances_name_the_sensors():
    x = make(6, 500)
    names = ("Fp1", "Fp2", "Cz", "Pz", "O1", "O2")
    silent, copy, both, reference = x.copy(), x.copy(), x.copy(), x - x.mean(axis=0)
    silent[1] = copy[4] = both[1] = both[2] = 0
    copy[4], both[5] = copy[0], both[3]
    for signals, rank, said in [
        (silent, 5, "(silent: Fp2);"),
        (copy, 5, "(copies or sums of each other: Fp1, O1);"),
        (both, 3, "(silent: Fp2, Cz; copies or sums of each other: Pz, O2);"),
        (reference, 5, "(copies or sums of each other: Fp1, Fp2, Cz, Pz, O1, O2);"),
    ]:
        with pytest.raises(ValueError, match=f"6 sensors has rank {rank}") as caught:
            whitener(np.cov(signals), names)
        assert said in str(caught.value)
    with pytest.raises(ValueError, match="silent: sensor 0, sensor 1"):
        dewhitener(np.zeros((2, 2)))


@pytest.mark.parametrize("bad", [np.zeros((2, 3)), np.full((2, 2), np.nan), [[1, 2], [0, 1]], 3.0])
def test_whitener_refuses_what_is_no_covariance(bad):
    with pytest.raises(ValueError, match="wanted a finite, symmetric"):
        whitener(bad)


def test_noise_refuses_what_it_cannot_use(monkeypatch):
    x = make(9, 2, 3, 10)
    with pytest.raises(ValueError, match="over='trials'; wanted 'epochs'"):
        noise_covariance(x, "trials")
    with pytest.raises(ValueError, match="wanted .conditions, repetitions, sensors"):
        noise_covariance(x[0])
    with pytest.raises(ValueError, match="at least 2 observations"):
        noise_covariance(x[:, :1], "time")
    monkeypatch.setattr(whitening, "BLOCK", 2 * 3 * 10 * 4)  # four conditions at a time
    x[5, 1, 2, 3] = np.nan
    with pytest.raises(ValueError, match="conditions 4 to 7"):
        noise_covariance(x)
