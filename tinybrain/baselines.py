"""The numbers any generator must beat: the mean evoked response and linear (ridge) encoding.

Zero is `torch.zeros`; the mean ERP is one line; ridge is Hoerl & Kennard (1970) in closed form.
With centred features X = U diag(s) V' and one centred target y (one sensor at one time point):

    weights(alpha)    = V diag(s / (s^2 + a)) U'y,    a = alpha * mean(s^2)
    fitted(alpha)     = U diag(f) U'y,                f = s^2 / (s^2 + a)
    leverage_i(alpha) = 1/n + sum_k U_ik^2 f_k        (1/n is the intercept's share)
    left-out error_i  = (y_i - fitted_i) / (1 - leverage_i)

The last line (Allen's PRESS, 1974) is exact: what a refit without image i would miss it by. Leaving
out a group g of images together, such as all of one concept, it becomes

    left-out errors_g = (I - H_gg)^-1 (y - fitted)_g,    H = 1/n + U diag(f) U'

So one decomposition serves every alpha, every target and everything left out. Measured in units of
mean(s^2), alpha does not change with the scale of the features; alpha = inf is the mean ERP.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from einops import rearrange
from numpy.typing import NDArray
from torch import Tensor

ALPHAS = (*(10.0 ** (step / 2) for step in range(-6, 9)), math.inf)  # 1e-3 ... 1e4, mean ERP
BLOCK = 512  # targets worked on at once: bounds memory at a few arrays of (n, 512)


def tensor_of(signals: NDArray[np.float32]) -> Tensor:
    """Recorded signals as a tensor, not copied; nothing here writes to one, so it may be read-only.

    Examples
    --------
    >>> mapped = np.broadcast_to(np.float32(1), (2, 3, 4))  # as a map of a file may be
    >>> tensor_of(mapped).shape
    torch.Size([2, 3, 4])
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writ")
        return torch.from_numpy(signals)


def mean_erp(signals: Tensor, rows: Sequence[int] | None = None) -> Tensor:
    """Average evoked response over all images, the best guess that never looks at the image.

    Parameters
    ----------
    signals : (n, h, w) tensor, any unit.
    rows : of the images that count, at least one; by default all.

    Returns
    -------
    (h, w) float32, the mean over images taken in float64.

    Raises
    ------
    ValueError : `signals` is not (n, h, w), is empty, or holds NaN or infinity.

    Examples
    --------
    >>> mean_erp(torch.tensor([[[1.0, 2.0]], [[3.0, 6.0]]]))  # two images, one sensor
    tensor([[2., 4.]])
    """
    signals = torch.as_tensor(signals).detach().cpu()
    _check_finite("signals", signals, "(images, sensors, time points)", ndim=3)
    total = torch.zeros(signals.shape[1:], dtype=torch.float64)
    rows = range(len(signals)) if rows is None else rows
    for row in rows:  # one by one: a float64 copy of a whole recording would be 2 GB
        total += signals[row]
    return (total / len(rows)).float()


@dataclass(frozen=True)
class Ridge:
    """A fitted linear encoding model, from features (n, d) to signals (n, h, w).

    Attributes
    ----------
    feature_mean, feature_scale : (d,) float64; z = (feature - mean) / scale, and the scale of a
        constant feature is infinite, so that it never counts.
    weights : (d, h*w) float32, signal units per unit of z.
    erp : (h, w) float32, the mean ERP of the training images: the prediction at z = 0.
    alphas : (h, w) float64, the penalty of each target in units of the mean squared singular
        value of z; infinite where the mean ERP could not be improved on.

    Examples
    --------
    >>> ridge, _ = fit_ridge(torch.eye(5), torch.arange(5.0).view(5, 1, 1), alphas=(1e-6,))
    >>> ridge.predict(torch.eye(5)[3:]).round()
    tensor([[[3.]],
            [[4.]]])
    """

    feature_mean: Tensor
    feature_scale: Tensor
    weights: Tensor
    erp: Tensor
    alphas: Tensor

    def predict(self, features: Tensor) -> Tensor:
        """Predicted signals (n, h, w) float32 of features (n, d), on the CPU.

        Raises
        ------
        ValueError : the width of `features` is not the one fitted, or it holds NaN or infinity.
        """
        features = torch.as_tensor(features).cpu()
        _check_finite("features", features, "(images, width)", ndim=2)
        if features.shape[1] != len(self.feature_mean):
            raise ValueError(f"features have width {features.shape[1]}, but this ridge was fitted "
                             f"on width {len(self.feature_mean)}: use the same image encoder")
        z = (features.double() - self.feature_mean) / self.feature_scale             # (n, d)
        signals = torch.addmm(self.erp.flatten(), z.float(), self.weights)           # (n, h*w)
        return signals.view(-1, *self.erp.shape)                                     # (n, h, w)

    def state(self) -> dict[str, Tensor]:
        """Everything, as a plain dictionary of tensors for a checkpoint."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def from_state(cls, state: dict[str, Tensor]) -> Ridge:
        """The ridge whose `state()` this was; ValueError if a tensor is missing or left over."""
        wanted = {field.name for field in fields(cls)}
        if set(state) != wanted:
            raise ValueError(f"not the state of a Ridge: got {sorted(state)}, "
                             f"wanted {sorted(wanted)}")
        return cls(**state)


def fit_ridge(features: Tensor, signals: Tensor, alphas: tuple[float, ...] = ALPHAS, *,
              groups: Sequence[Hashable] | None = None,
              standardize: bool = True) -> tuple[Ridge, Tensor]:
    """Fit linear encoding, choosing alpha for each target by exact leave-one-group-out error.

    Parameters
    ----------
    features : (n, d) tensor, e.g. CLIP embeddings; n may be smaller or larger than d.
    signals : (n, h, w) tensor. Float64 signals are searched in float64, all others in float32;
        the decomposition and the leverages are float64 in any case.
    alphas : penalties to choose from, positive, in units of the mean squared singular value of
        the (standardised) features. `math.inf` offers the mean ERP, as the default grid does;
        ties go to the larger penalty.
    groups : one label per image, such as its concept; images of one label are left out together,
        because what is alike in them (a caption, most of all) new images will not have. By default
        each image is a group: leave-one-out.
    standardize : divide each feature by its standard deviation. Centring always happens: the
        intercept is not penalised.

    Returns
    -------
    ridge : Ridge
    left_out : (n, h, w) float32. Row i is the prediction for image i of the ridge fitted, with
        the alphas chosen and the feature scale of all images, without image i's group. `signals -
        left_out` has the size that residuals on new images will have; `signals -
        ridge.predict(features)` is smaller, because the fit has seen those images.

    Raises
    ------
    ValueError : shapes do not match, fewer than 3 images or 2 groups, NaN or infinity, alphas not
        positive.

    Examples
    --------
    >>> draw = torch.Generator().manual_seed(0)
    >>> features = torch.randn(50, 4, generator=draw)
    >>> signals = (features @ torch.ones(4, 6)).view(50, 2, 3)
    >>> signals += torch.randn(50, 2, 3, generator=draw)
    >>> ridge, left_out = fit_ridge(features, signals)
    >>> seen, new = (float((a - signals).square().mean())
    ...              for a in (ridge.predict(features), left_out))
    >>> seen < 1 < new  # images that were fitted look better than new ones will
    True
    """
    features, signals = _check_training(features, signals)
    members = _rows_of_groups(range(len(signals)) if groups is None else groups, len(signals))
    penalties = _check_alphas(alphas)                                                # (a,)
    mean, scale = _standardisation(features, standardize)                            # (d,), (d,)
    precision = torch.float64 if signals.dtype == torch.float64 else torch.float32
    solver = _Solver.of((features - mean) / scale, penalties, members, precision)

    targets = rearrange(signals, "n h w -> n (h w)")
    left_out = torch.empty(targets.shape)
    weights = torch.empty(features.shape[1], targets.shape[1])
    erp, chosen = (torch.empty(targets.shape[1], dtype=torch.float64) for _ in range(2))
    for start in range(0, targets.shape[1], BLOCK):
        block = slice(start, start + BLOCK)
        y = targets[:, block].double()                                               # (n, t)
        erp[block] = y.mean(0)
        best, weights[:, block], error = solver.solve((y - erp[block]).to(precision))
        left_out[:, block] = y - error
        chosen[block] = penalties[best]
    shape = signals.shape[1:]
    ridge = Ridge(mean, scale, weights, erp.view(shape).float(), chosen.view(shape))
    return ridge, left_out.view(-1, *shape)


@dataclass(frozen=True)
class _Solver:
    """All that ridge needs of the features, ready for any number of targets.

    u : (n, k) left singular vectors.
    to_weights : (d, k) V / s.
    shrink : (a, k) f = s^2 / (s^2 + a), strongest penalty first.
    groups : for each size of a group the rows (g, m) of the groups of that size.
    inflate : likewise, (a, g, m, m) the inverses of I - H_gg: they make left-out errors of
        training errors.
    """

    u: Tensor
    to_weights: Tensor
    shrink: Tensor
    groups: list[Tensor]
    inflate: list[Tensor]

    @classmethod
    def of(
        cls, z: Tensor, alphas: Tensor, groups: list[Tensor], precision: torch.dtype
    ) -> _Solver:
        """Decompose the standardised features z (n, d) in float64; keep it in `precision`."""
        u, s, v = _decompose(z)
        power = s.square()                                                           # (k,)
        penalties = alphas * power.mean()                                            # (a,)
        shrink = power / (power + penalties[:, None])                                # (a, k)
        inflate = []
        for rows in groups:
            own, one = u[rows], torch.eye(rows.shape[1], dtype=u.dtype)              # (g, m, k)
            hats = ((own * f) @ own.mT + 1 / len(u) for f in shrink)                 # (g, m, m)
            inverses = [torch.linalg.inv_ex(one - hat).inverse for hat in hats]
            inflate.append(torch.stack(inverses).to(precision))
        u, to_weights, shrink = (part.to(precision) for part in (u, v / s, shrink))
        return cls(u, to_weights, shrink, groups, inflate)

    def solve(self, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Index of the best alpha (t,), weights (d, t), left-out errors (n, t) of centred y."""
        loading = self.u.T @ y                                                       # (k, t)
        best = self._best_alpha(y, loading)                                          # (t,)
        kept = self.shrink[best].T * loading                                         # (k, t)
        error = torch.addmm(y, self.u, kept, alpha=-1)                               # (n, t)
        for index in sorted(set(best.tolist())):
            error[:, best == index] = self._left_out(error[:, best == index], index)
        return best, self.to_weights @ kept, error

    def _best_alpha(self, y: Tensor, loading: Tensor) -> Tensor:
        """Index of the alpha with the least mean squared left-out error, for each target (t,)."""
        best = torch.zeros(y.shape[1], dtype=torch.long)
        least = torch.full_like(y[0], math.inf)
        error = torch.empty_like(y)
        for index, shrink in enumerate(self.shrink):  # a tie keeps the stronger penalty
            torch.addmm(y, self.u, shrink[:, None] * loading, alpha=-1, out=error)   # (n, t)
            mse = self._left_out(error, index).square_().mean(0)                     # (t,)
            better = mse < least
            best[better], least[better] = index, mse[better]
        if not least.isfinite().all():
            raise ValueError("no penalty is great enough: left-out errors are not finite; give "
                             "greater alphas")
        return best

    def _left_out(self, error: Tensor, index: int) -> Tensor:
        """Training errors (n, t) of the alpha `index` made left-out errors, in place."""
        for rows, inflate in zip(self.groups, self.inflate):
            error[rows] = inflate[index] @ error[rows]                               # (g, m, t)
        return error


def _rows_of_groups(labels: Sequence[Hashable], images: int) -> list[Tensor]:
    """For each size of a group the rows (g, m) of the groups of that size."""
    if len(labels) != images:
        raise ValueError(f"{len(labels)} group labels for {images} images: wanted one each")
    members: dict[Hashable, list[int]] = {}
    for row, label in enumerate(labels):
        members.setdefault(label, []).append(row)
    if len(members) < 2:
        raise ValueError(f"all {images} images are in one group: nothing to learn from without it")
    sizes = sorted({len(rows) for rows in members.values()})
    return [torch.tensor([r for r in members.values() if len(r) == size]) for size in sizes]


def _standardisation(features: Tensor, standardize: bool) -> tuple[Tensor, Tensor]:
    """Mean and scale of each feature; a feature constant up to float32 rounding gets inf."""
    mean, std = features.mean(0), features.std(0, correction=0)
    scale = std if standardize else torch.ones_like(std)
    constant = std <= torch.finfo(torch.float32).eps * features.abs().amax(0)
    return mean, scale.masked_fill(constant, math.inf)


def _decompose(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Thin SVD of centred x (n, d), without the directions that are nothing but rounding."""
    u, s, vt = torch.linalg.svd(x, full_matrices=False)
    keep = s > torch.finfo(x.dtype).eps * max(x.shape) * s.amax()
    keep[len(x) - 1:] = False  # centring leaves n - 1 dimensions at most
    return u[:, keep], s[keep], vt[keep].T


def _check_training(features: Tensor, signals: Tensor) -> tuple[Tensor, Tensor]:
    features, signals = (
        torch.as_tensor(values).detach().cpu() for values in (features, signals))
    _check_finite("features", features, "(images, width)", ndim=2)
    _check_finite("signals", signals, "(images, sensors, time points)", ndim=3)
    if len(features) != len(signals):
        raise ValueError(f"{len(features)} rows of features but {len(signals)} of signals: "
                         "wanted one row per image in both, in the same order")
    if len(signals) < 3:
        raise ValueError(f"{len(signals)} images are too few: leaving one out needs at least 3")
    return features.double(), signals


def _check_alphas(alphas: tuple[float, ...]) -> Tensor:
    """The penalties (a,) float64, strongest first."""
    values = torch.tensor(sorted(alphas, reverse=True), dtype=torch.float64)
    if not len(values) or not (values > 0).all():
        raise ValueError(f"alphas must be one or more positive numbers (inf allowed): {alphas}")
    return values


def _check_finite(name: str, values: Tensor, axes: str, ndim: int) -> None:
    if values.ndim != ndim or not values.numel():
        raise ValueError(f"{name} of shape {tuple(values.shape)}: wanted non-empty {axes}")
    for index, row in enumerate(values):  # row by row: no mask as large as the recording
        if not torch.isfinite(row).all():
            raise ValueError(f"{name} of image {index} hold NaN or infinity: "
                             "repair or leave out that image")
