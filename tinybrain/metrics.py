"""How close generated signals come to recorded ones, and how close anything could come.

Every function takes arrays or tensors (n, h, w): images, sensors, time points; computes in
float64, a block at a time; and clips or scales nothing. The three correlations answer
different questions, so none is called just "PCC":

    pattern   one r per image, over sensors and time; the mean over images. High for anyone who
              knows the mean ERP.
    image     one r per sensor and time point, across images; the mean over those (Gifford et al.
              2022, "A large and rich EEG dataset for modeling human visual object recognition").
              Only this one is blind to the mean ERP: it asks what the image told.
    pooled    one r over everything.

A correlation with a constant is undefined. Where the target is constant nobody can be scored and
the place is not averaged; where only the prediction is constant it counts as 0, for silence must
not pay; if every place is undefined, as for the mean ERP across images, the result is nan.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from einops import rearrange
from numpy.typing import ArrayLike

KINDS = ("pattern", "image", "pooled")
POINTS = 128  # time points worked on at once in the noise ceiling: bounds its memory


def mse(pred: ArrayLike, target: ArrayLike) -> float:
    """Mean of (pred - target)^2 over images, sensors and time; both (n, h, w), in unit^2.

    Raises
    ------
    ValueError : shapes differ, are not (n, h, w), or values are NaN or infinite.
    """
    pred, target = _pair(pred, target)
    pairs = zip(pred, target, strict=True)
    return sum(np.square(p.astype(float) - t).sum() for p, t in pairs).item() / target.size


def r2(pred: ArrayLike, target: ArrayLike, reference: ArrayLike) -> float:
    """1 - MSE(pred) / MSE(reference): 1 is perfect, 0 is no better than the reference.

    Parameters
    ----------
    pred, target : (n, h, w)
    reference : (h, w) or (n, h, w), what must be beaten, e.g. the mean ERP of the training images.

    Raises
    ------
    ValueError : shapes do not match, or the reference already equals the target.
    """
    target = _array("target", target, (3,))
    reference = _array("reference", reference, (2, 3))
    if reference.shape not in (target.shape, target.shape[1:]):
        raise ValueError(f"reference {reference.shape} does not fit target {target.shape}: "
                         "wanted (sensors, time points), or the target's own shape")
    to_beat = mse(np.broadcast_to(reference, target.shape), target)
    if to_beat == 0:
        raise ValueError("the reference equals the target: R^2 against it is undefined")
    return 1 - mse(pred, target) / to_beat


def pcc(pred: ArrayLike, target: ArrayLike, over: str) -> float:
    """Pearson correlation of pred and target, both (n, h, w).

    Parameters
    ----------
    over : "pattern", "image" or "pooled"; the module's docstring says what each correlates over,
        and how places with a constant count.

    Returns
    -------
    The mean correlation; nan where it is undefined everywhere.

    Raises
    ------
    ValueError : unknown `over`, shapes differ, are not (n, h, w), or values are not finite.
    """
    if over not in KINDS:
        raise ValueError(f"over={over!r}: wanted one of {KINDS}")
    pred, target = _pair(pred, target)
    if over == "image":
        return _average(*_across_images(pred, target))
    return _average(*_within_images(pred, target, pooled=over == "pooled"))


def pcc_map(pred: ArrayLike, target: ArrayLike) -> np.ndarray:
    """Correlation across images at each sensor and time point: (n, h, w) twice -> (h, w) float64.

    nan where either is constant across images. Its mean is `pcc(..., "image")`, and its means over
    axis 0 and 1 are the time course and the topography of Gifford et al. 2022. Raises as `pcc`.
    """
    return _across_images(*_pair(pred, target))[0]


@dataclass(frozen=True)
class Ceiling:
    """What the best prediction possible would score against the average of all repetitions.

    The best is the perfect conditional mean, i.e. the signal without its trial-to-trial noise.

    Attributes
    ----------
    noise_variance : variance of a single repetition around its image's expectation, unit^2.
    mse : expected MSE of the perfect conditional mean: noise_variance / repetitions.
    lower : per kind of PCC, half of the repetitions against the other half: noisier than the
        perfect conditional mean on both sides, so a good model may exceed it.
    upper : per kind, half against all. Biased upwards: all contains the half, and so its noise.
    corrected : per kind, Spearman-Brown: with rho half against half, all repetitions have the
        reliability 2 rho / (1 + rho), and the perfect conditional mean reaches its square root.
    repetitions, splits : how many repetitions there were, and how many random halvings.
    """

    noise_variance: float
    mse: float
    lower: dict[str, float]
    upper: dict[str, float]
    corrected: dict[str, float]
    repetitions: int
    splits: int


def noise_ceiling(repeats: ArrayLike, *, splits: int = 100, seed: int = 0) -> Ceiling:
    """Split-half noise ceilings from single repetitions (n, r, h, w).

    Each split draws two disjoint halves of r // 2 repetitions, the same for all images (with odd r
    one repetition sits out, another each time). Averaging repetitions is linear, so all splits
    follow from the r x r matrices of products between repetitions, G: the covariance of halves
    with weights a and b is a'Gb. No half is ever formed.

    Parameters
    ----------
    repeats : (n, r, h, w), any unit; r >= 2.
    splits, seed : number of random splits, and the seed they are drawn from.

    Raises
    ------
    ValueError : not (n, r, h, w), fewer than 2 repetitions or 1 split, NaN or infinity.

    Notes
    -----
    Split halves as Gifford et al. 2022; the correction is Spearman (1910), Brown (1910), made at
    each place (image, or sensor and time point) from the mean over splits, then averaged. There a
    negative rho keeps its sign: places without signal then average to 0 and do not lift the
    ceiling.
    """
    repeats = _array("repeats", repeats, (4,))
    r = repeats.shape[1]
    if r < 2 or splits < 1:
        raise ValueError(f"{r} repetitions and {splits} splits: wanted at least 2 and 1")
    halves = _random_halves(r, splits, np.random.default_rng(seed))                # (2, r, s)
    within, total, noise_variance = _products_within_images(repeats)        # (n, r, r), (r, r)
    blocks = [repeats[:, :, sensor, start:start + POINTS] for sensor in range(repeats.shape[2])
              for start in range(0, repeats.shape[3], POINTS)]
    across = [_split_half(_products(rearrange(block, "n r w -> w r n")), halves)
              for block in blocks]
    places = {"pattern": _split_half(within, halves), "image": np.concatenate(across, -1),
              "pooled": _split_half(total, halves)}
    lower, upper, corrected = {}, {}, {}
    for kind, (half, whole, power) in places.items():
        spearman_brown = np.sign(half) * np.sqrt(2 * np.abs(half) / (1 + np.abs(half)))
        lower[kind] = _average(half, power > 0)
        upper[kind] = _average(whole, power > 0)
        corrected[kind] = _average(spearman_brown, power > 0)
    return Ceiling(noise_variance, noise_variance / r, lower, upper, corrected, r, splits)


def variance_per_sensor(signals: ArrayLike) -> np.ndarray:
    """Total variance of each sensor, over everything but sensors, around its grand mean.

    Images, trials where there are any, and time points count alike, so evoked response, image
    effects and noise are all in it: equal to that of real signals if samples have their size.

    Parameters
    ----------
    signals : (n, h, w) or (n, k, h, w)

    Returns
    -------
    (h,) float64, unit^2.

    Raises
    ------
    ValueError : another number of axes, NaN or infinity.
    """
    signals = _array("signals", signals, (3, 4))
    return np.array([signals[..., sensor, :].astype(float).var()
                     for sensor in range(signals.shape[-2])])


def _across_images(pred: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Correlations across images (h, w), and where the target varies (h, w)."""
    rows = []
    for sensor in range(target.shape[1]):  # one at a time: all in float64 would be 2 GB
        x, _ = _centre(pred[:, sensor].T)                                          # (w, n)
        y, _ = _centre(target[:, sensor].T)
        rows.append(((x * y).sum(-1), (x * x).sum(-1), (y * y).sum(-1)))
    xy, xx, yy = np.stack(rows, 1)                                                 # (h, w) each
    return _ratio(xy, xx, yy), yy > 0


def _within_images(pred: np.ndarray, target: np.ndarray, pooled: bool,
                   ) -> tuple[np.ndarray, np.ndarray]:
    """Correlations over sensors and time of each image (n,), or of all images at once ()."""
    rows = []
    for p, t in zip(pred, target, strict=True):
        x, x_mean = _centre(p.reshape(-1))
        y, y_mean = _centre(t.reshape(-1))
        rows.append(((x * y).sum(), (x * x).sum(), (y * y).sum(), x_mean, y_mean))
    xy, xx, yy, x_mean, y_mean = np.array(rows).T                                  # (n,) each
    if pooled:  # total (co)variance: that within images, and that between their means
        (x, _), (y, _), size = _centre(x_mean), _centre(y_mean), target[0].size
        xy, xx, yy = xy.sum() + size * x @ y, xx.sum() + size * x @ x, yy.sum() + size * y @ y
    return _ratio(xy, xx, yy), yy > 0


def _products_within_images(repeats: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Products of repetitions over sensors and time, of each image (n, r, r) and of all at once
    (r, r), and the unbiased noise variance of one repetition."""
    within, means, variances = [], [], []
    for image in repeats:
        flat = rearrange(image, "r h w -> r (h w)").astype(float)
        variances.append(flat.var(axis=0, ddof=1).mean())
        centred, mean = _centre(flat)
        within.append(_matmul(centred, centred.T))
        means.append(mean)
    within = np.stack(within)
    total = within.sum(0) + repeats[0, 0].size * _products(np.stack(means, 1))
    return within, total, float(np.mean(variances))


def _products(x: np.ndarray) -> np.ndarray:
    """Centred products (..., r, r) of repetitions x (..., r, m)."""
    x = np.ascontiguousarray(_centre(x)[0])
    return _matmul(x, x.swapaxes(-2, -1))


def _matmul(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a @ b by torch: numpy calls BLAS once per matrix of a stack, and its threads then wait."""
    return (torch.from_numpy(a) @ torch.from_numpy(b)).numpy()


def _random_halves(r: int, splits: int, rng: np.random.Generator) -> np.ndarray:
    """Weights (2, r, splits) that average two disjoint random halves of r repetitions."""
    order = rng.permuted(np.tile(np.arange(r)[:, None], splits), axis=0)           # (r, s)
    size = r // 2
    return np.stack([order < size, (order >= size) & (order < 2 * size)]) / size


def _split_half(products: np.ndarray, halves: np.ndarray) -> np.ndarray:
    """For products (..., r, r), three times (...): the mean over splits of r(half, other half),
    that of r(half, all), and the power of the average of all, 0 where it is constant."""
    first, second = halves                                                         # (r, s)
    half, other = _matmul(products, first), _matmul(products, second)              # (..., r, s)
    half_half = np.einsum("...rs,rs->...s", half, first)
    half_other = np.einsum("...rs,rs->...s", half, second)
    other_other = np.einsum("...rs,rs->...s", other, second)
    all_all = products.mean((-2, -1))                                              # (...)
    lower = _ratio(half_other, half_half, other_other)
    upper = _ratio(half.mean(-2), half_half, all_all[..., None])
    return np.stack([lower.mean(-1), upper.mean(-1), all_all])


def _centre(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """x in float64 without its mean over the last axis, and that mean.

    The first value goes first, so that a constant gives exact zeros, a large offset no rounding.
    """
    first = x[..., :1].astype(float)
    x = x - first
    mean = x.mean(-1, keepdims=True)
    x -= mean
    return x, (first + mean)[..., 0]


def _ratio(xy: np.ndarray, xx: np.ndarray, yy: np.ndarray) -> np.ndarray:
    """xy / sqrt(xx yy); nan where one of them is constant."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(xy / (np.sqrt(xx) * np.sqrt(yy)))


def _average(correlations: np.ndarray, varies: np.ndarray) -> float:
    """Mean over the places where the target varies, by the rule in the module's docstring."""
    scored = correlations[varies]
    if np.isnan(scored).all():  # also when nothing is left
        return float("nan")
    return float(np.nan_to_num(scored, nan=0.0).mean())


def _pair(pred: ArrayLike, target: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    pred, target = _array("pred", pred, (3,)), _array("target", target, (3,))
    if pred.shape != target.shape:
        raise ValueError(f"pred {pred.shape} and target {target.shape} differ: wanted the same "
                         "(images, sensors, time points)")
    return pred, target


def _array(name: str, values: ArrayLike, ndims: tuple[int, ...]) -> np.ndarray:
    """`values` as an array with one of these numbers of axes, finite; float32 is not copied."""
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu()
        values = values.numpy() if values.dtype != torch.bfloat16 else values.float().numpy()
    values = np.asarray(values)
    if values.ndim not in ndims or not values.size:
        wanted = " or ".join(str(n) for n in ndims)
        raise ValueError(f"{name} of shape {values.shape}: wanted {wanted} axes, none empty")
    for index, row in enumerate(values):  # row by row: no mask as large as the recording
        if not np.isfinite(row).all():
            raise ValueError(f"{name} hold NaN or infinity, first in row {index}: repair or leave "
                             "out that row")
    return values
