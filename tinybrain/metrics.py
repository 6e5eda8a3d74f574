"""How close generated signals come to recorded ones: errors and correlations (Section 4.3).

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

How close anything could come is in `ceilings.py`, which shares the functions below the line, as do
`identification.py` and `image_effect.py`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike

KINDS = ("pattern", "image", "pooled")


class Curves(NamedTuple):
    """A score of each sensor alone (h,) and of each time point alone (w,)."""

    sensors: np.ndarray
    times: np.ndarray


def mse(pred: ArrayLike, target: ArrayLike) -> float:
    """Mean squared error: of (pred - target)^2 over images, sensors and time.

    Parameters
    ----------
    pred, target : (n, h, w), of one unit

    Returns
    -------
    The error in unit^2.

    Raises
    ------
    ValueError : shapes differ, are not (n, h, w), or values are NaN or infinite.

    Examples
    --------
    >>> mse(np.zeros((200, 63, 250)), np.full((200, 63, 250), 0.5))
    0.25
    """
    pred, target = as_pair(pred, target)
    pairs = zip(pred, target, strict=True)
    return float(sum(np.square(p.astype(float) - t).sum() for p, t in pairs) / target.size)


def r2(pred: ArrayLike, target: ArrayLike, reference: ArrayLike) -> float:
    """1 - MSE(pred) / MSE(reference): 1 is perfect, 0 is no better than the reference.

    Parameters
    ----------
    pred, target : (n, h, w)
    reference : (h, w) or (n, h, w), what must be beaten, e.g. the mean ERP of the training images.

    Raises
    ------
    ValueError : shapes do not match, or the reference already equals the target.

    Examples
    --------
    Whoever is halfway from the reference to the target has a quarter of its error:

    >>> target = np.random.default_rng(0).normal(size=(20, 3, 10))
    >>> erp = np.zeros((3, 10))
    >>> r2(target / 2, target, erp)
    0.75
    """
    target = as_array("target", target, (3,))
    reference = as_array("reference", reference, (2, 3))
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

    Examples
    --------
    All images share a mean ERP, and each has a response of its own, a third as large. Who knows
    the mean ERP alone looks good, but not across images:

    >>> rng = np.random.default_rng(0)
    >>> erp = rng.normal(size=(1, 6, 20))
    >>> target = erp + rng.normal(size=(50, 6, 20)) / 3
    >>> guess = erp + rng.normal(size=(50, 6, 20)) / 100
    >>> {over: f"{pcc(guess, target, over):.2f}" for over in ("pattern", "image", "pooled")}
    {'pattern': '0.94', 'image': '0.01', 'pooled': '0.94'}
    """
    _check_kind(over)
    pred, target = as_pair(pred, target)
    if over == "image":
        return average(*_across_images(pred, target))
    return average(*_within_images(pred, target, pooled=over == "pooled"))


def pcc_patterns(pred: ArrayLike, target: ArrayLike) -> np.ndarray:
    """Correlation over sensors and time points of each image: (n, h, w) twice -> (n,) float64.

    nan where either is constant. Its mean is `pcc(..., "pattern")`. Raises as `pcc`.

    Examples
    --------
    >>> target = np.random.default_rng(0).normal(size=(3, 6, 20))
    >>> pcc_patterns(target * [[[1]], [[2]], [[-1]]], target).round(6)
    array([ 1.,  1., -1.])
    """
    return _within_images(*as_pair(pred, target), pooled=False)[0]


def pcc_map(pred: ArrayLike, target: ArrayLike) -> np.ndarray:
    """Correlation across images at each sensor and time point: (n, h, w) twice -> (h, w) float64.

    nan where either is constant across images. Its mean is `pcc(..., "image")`, and its means over
    axis 0 and 1 are the time course and the topography of Gifford et al. 2022. Raises as `pcc`.

    Examples
    --------
    >>> pred, target = np.random.default_rng(0).normal(size=(2, 50, 6, 20))
    >>> pred[:, 3, 7] = 5 * target[:, 3, 7]  # the image is known at one place
    >>> found = pcc_map(pred, target)
    >>> found.shape, [int(i) for i in np.unravel_index(found.argmax(), found.shape)]
    ((6, 20), [3, 7])
    """
    return _across_images(*as_pair(pred, target))[0]


def pcc_curves(pred: ArrayLike, target: ArrayLike, over: str) -> Curves:
    """`pcc` of each sensor alone and of each time point alone.

    For "image" these are the means of `pcc_map` over time points and over sensors, the topography
    and the time course of Gifford et al. 2022. For "pattern" an image's correlation is taken over
    the time points of one sensor, or over the sensors at one time point.

    Takes and raises what `pcc` does; a sensor or time point where nothing is defined is nan.

    Examples
    --------
    >>> pred, target = np.random.default_rng(0).normal(size=(2, 50, 6, 20))
    >>> pred[:, 3] = target[:, 3]  # one sensor is right
    >>> pcc_curves(pred, target, "pattern").sensors.round(1).clip(0)
    array([0., 0., 0., 1., 0., 0.])
    """
    _check_kind(over)
    pred, target = as_pair(pred, target)
    _, h, w = target.shape
    return Curves(np.array([_alone(pred[:, i], target[:, i], over) for i in range(h)]),
                  np.array([_alone(pred[:, :, j], target[:, :, j], over) for j in range(w)]))


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

    Examples
    --------
    >>> samples = np.random.default_rng(0).normal(size=(50, 10, 3, 40)) * [[1], [2], [3]]
    >>> variance_per_sensor(samples).round()
    array([1., 4., 9.])
    """
    signals = as_array("signals", signals, (3, 4))
    return np.array([signals[..., sensor, :].astype(float).var()
                     for sensor in range(signals.shape[-2])])


def _across_images(pred: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Correlations across images (h, w), and where the target varies (h, w)."""
    rows = []
    for sensor in range(target.shape[1]):  # one at a time: all in float64 would be 2 GB
        rows.append(correlate(pred[:, sensor].T, target[:, sensor].T))
    correlations, varies = zip(*rows, strict=True)                                 # h of (w,)
    return np.stack(correlations), np.stack(varies)


def _within_images(pred: np.ndarray, target: np.ndarray, pooled: bool,
                   ) -> tuple[np.ndarray, np.ndarray]:
    """Correlations over sensors and time of each image (n,), or of all images at once ()."""
    rows = []
    for p, t in zip(pred, target, strict=True):
        x, x_mean = centre(p.reshape(-1))
        y, y_mean = centre(t.reshape(-1))
        rows.append(((x * y).sum(), (x * x).sum(), (y * y).sum(), x_mean, y_mean))
    xy, xx, yy, x_mean, y_mean = np.array(rows).T                                  # (n,) each
    if pooled:  # total (co)variance: that within images, and that between their means
        (x, _), (y, _), size = centre(x_mean), centre(y_mean), target[0].size
        xy, xx, yy = xy.sum() + size * x @ y, xx.sum() + size * x @ x, yy.sum() + size * y @ y
    return ratio(xy, xx, yy), yy > 0


def _alone(pred: np.ndarray, target: np.ndarray, over: str) -> float:
    """`pcc` of one sensor or one time point: pred and target (n, m)."""
    if over == "image":
        pred, target = pred.T, target.T
    elif over == "pooled":
        pred, target = pred.reshape(1, -1), target.reshape(1, -1)
    return average(*correlate(pred, target))


def _check_kind(over: str) -> None:
    if over not in KINDS:
        raise ValueError(f"over={over!r}: wanted one of {KINDS}")


# -------------------------------------------------------------------------------------------------
# Shared with the modules below


def correlate(pred: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Correlations over the last axis, nan where undefined, and where the target varies."""
    x, y = centre(pred)[0], centre(target)[0]
    xy, xx, yy = (x * y).sum(-1), (x * x).sum(-1), (y * y).sum(-1)
    return ratio(xy, xx, yy), yy > 0


def unit(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """x centred and of length 1 over the last axis, and where it is not constant and therefore 0.

    The product of two such vectors is their correlation.
    """
    x, _ = centre(x)
    length = np.sqrt(np.square(x).sum(-1, keepdims=True))
    return np.divide(x, length, out=x, where=length > 0), length[..., 0] > 0


def centre(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """x in float64 without its mean over the last axis, and that mean.

    The first value goes first, so that a constant gives exact zeros, a large offset no rounding.
    """
    first = x[..., :1].astype(float)
    x = x - first
    mean = x.mean(-1, keepdims=True)
    x -= mean
    return x, (first + mean)[..., 0]


def ratio(xy: np.ndarray, xx: np.ndarray, yy: np.ndarray) -> np.ndarray:
    """xy / sqrt(xx yy); nan where one of them is constant."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(xy / (np.sqrt(xx) * np.sqrt(yy)))


def average(correlations: np.ndarray, varies: np.ndarray) -> float:
    """Mean over the places where the target varies, by the rule in the module's docstring."""
    scored = correlations[varies]
    if np.isnan(scored).all():  # also when nothing is left
        return float("nan")
    return float(np.nan_to_num(scored, nan=0.0).mean())


def as_pair(pred: ArrayLike, target: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Both as arrays (n, h, w), of one shape, finite."""
    pred, target = as_array("pred", pred, (3,)), as_array("target", target, (3,))
    if pred.shape != target.shape:
        raise ValueError(f"pred {pred.shape} and target {target.shape} differ: wanted the same "
                         "(images, sensors, time points)")
    return pred, target


def as_array(name: str, values: ArrayLike, ndims: tuple[int, ...]) -> np.ndarray:
    """`values` as an array with one of these numbers of axes, finite; float32 is not copied."""
    values = as_numpy(values)
    if values.ndim not in ndims or not values.size:
        wanted = " or ".join(str(n) for n in ndims)
        raise ValueError(f"{name} of shape {values.shape}: wanted {wanted} axes, none empty")
    for index, row in enumerate(values):  # row by row: no mask as large as the recording
        if not np.isfinite(row).all():
            raise ValueError(f"{name} hold NaN or infinity, first in row {index}: repair or leave "
                             "out that row")
    return values


def as_numpy(values: ArrayLike) -> np.ndarray:
    """`values` as an array; those of a tensor come to the CPU, bfloat16 becomes float32."""
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu()
        values = values.numpy() if values.dtype != torch.bfloat16 else values.float().numpy()
    return np.asarray(values)
