"""The closed-form encoding model that the network adds to: ridge, and ridge with products.

Ridge draws a straight line from every feature to every point of the signal. What an image evokes
also depends on features together, a red thing in bright light. So the leading principal components
p_1 ... p_k of the features are multiplied with each other, and ridge is given both:

    z = (feature - mean) / scale / sqrt(d)            of total variance 1
    p = z V                                           V (d, k): the leading components
    expanded = [z, p_i^2, sqrt(2) p_i p_j  (i < j)]

The products' inner product is (p . p')^2, so this is kernel ridge with a polynomial kernel of
degree two (Saunders et al. 1998) that stays explicit: its size does not grow with the images. The
products are kept where they predict left-out concepts better than the line alone.
Letters: n images, d width, k components, h sensors, w time points.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .baselines import Ridge, fit_ridge, tensor_of

if TYPE_CHECKING:
    from .subjects import Subjects


@dataclass(frozen=True)
class Products:
    """From features (n, d) to features and products (n, d + k (k + 1) / 2), float64.

    Attributes
    ----------
    mean, scale : (d,) float64; the scale of a constant feature is infinite.
    basis : (d, k) float64, orthonormal.
    """

    mean: Tensor
    scale: Tensor
    basis: Tensor

    def __call__(self, features: Tensor) -> Tensor:
        features = torch.as_tensor(features).cpu().double()
        if features.ndim != 2 or features.shape[1] != len(self.mean):
            raise ValueError(f"features are {tuple(features.shape)}, but these products were made "
                             f"for (images, {len(self.mean)}): use the same image encoder")
        z = (features - self.mean) / self.scale                                      # (n, d)
        p = z @ self.basis                                                           # (n, k)
        i, j = torch.triu_indices(p.shape[1], p.shape[1])
        weight = torch.where(i == j, 1.0, 2**0.5).to(p)
        return torch.cat([z, weight * p[:, i] * p[:, j]], dim=1)

    @classmethod
    def of(cls, features: Tensor, components: int) -> Products:
        """Of the leading `components` of training features (n, d), or of all if there are fewer."""
        features = torch.as_tensor(features).cpu().double()
        mean, scale = features.mean(0), features.std(0, correction=0)
        constant = scale <= torch.finfo(torch.float32).eps * features.abs().amax(0)
        scale = (scale * len(scale) ** 0.5).masked_fill(constant, torch.inf)
        z = (features - mean) / scale
        basis = torch.linalg.eigh(z.T @ z).eigenvectors.flip(1)[:, :components]
        return cls(mean, scale, basis)


@dataclass(frozen=True)
class EncodingModel:
    """From features (n, d) to signals (n, h, w): ridge, on products too if there are any."""

    ridge: Ridge
    products: Products | None = None

    @property
    def name(self) -> str:
        """As a table calls it."""
        return "ridge with products" if self.products else "ridge"

    def predict(self, features: Tensor) -> Tensor:
        """Predicted signals (n, h, w) float32, on the CPU.

        Raises
        ------
        ValueError : the width of `features` is not the one fitted, or it holds NaN or infinity.
        """
        return self.ridge.predict(self.products(features) if self.products else features)

    def state(self) -> dict[str, Any]:
        """Everything, as plain dictionaries of tensors for a checkpoint."""
        products = self.products and {f.name: getattr(self.products, f.name)
                                      for f in fields(Products)}
        return {"ridge": self.ridge.state(), "products": products}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> EncodingModel:
        """The model whose `state()` this was."""
        products = state["products"] and Products(**state["products"])
        return cls(Ridge.from_state(state["ridge"]), products)


def fit_encoding(
    features: Tensor, signals: Tensor, groups: Sequence[Hashable] | None = None, *,
    components: int = 0,
) -> tuple[EncodingModel, Tensor]:
    """Fit the encoding model; its left-out predictions are those of `baselines.fit_ridge`.

    Parameters
    ----------
    features : (n, d)
    signals : (n, h, w)
    groups : one label per image, such as its concept; see `fit_ridge`
    components : k, whose products are tried beside the features; 0 for ridge alone

    Returns
    -------
    model : EncodingModel, with products if they lower the mean squared left-out error
    left_out : (n, h, w) float32, its predictions for each image without that image's group

    Raises
    ------
    ValueError : as `fit_ridge`.

    Examples
    --------
    >>> draw = torch.Generator().manual_seed(0)
    >>> x = torch.randn(200, 2, generator=draw)
    >>> signals = (x[:, 0] * x[:, 1])[:, None, None]  # no straight line goes through products
    >>> model, left_out = fit_encoding(x, signals, components=2)
    >>> model.name, bool((left_out - signals).abs().max() < 0.01)
    ('ridge with products', True)
    """
    ridge, left_out = fit_ridge(features, signals, groups=groups)
    if components:
        products = Products.of(features, components)
        richer, predicted = fit_ridge(
            products(features), signals, groups=groups, standardize=False
        )
        if _error(predicted, signals) < _error(left_out, signals):
            return EncodingModel(richer, products), predicted
    return EncodingModel(ridge), left_out


def _error(predicted: Tensor, signals: Tensor) -> float:
    """Summed squared error, row by row: a float64 copy of a whole recording would be large."""
    rows = zip(predicted, signals)
    return sum(float((a - b).square().sum(dtype=torch.float64)) for a, b in rows)


# -------------------------------------------------------------------------------------------------
# Of several subjects (`subjects.py`)


@dataclass(frozen=True)
class SubjectEncoding:
    """An encoding model for each subject; anybody else is the average of them."""

    models: tuple[EncodingModel, ...]

    @property
    def name(self) -> str:
        """As a table calls it; products are kept for each subject whose error they lower."""
        return max((model.name for model in self.models), key=len)

    def predict(self, features: Tensor, weights: Tensor) -> Tensor:
        """Signals (n, h, w) of features (n, d): sum_i w_i prediction_i, for weights (n, s)."""
        shape = self.models[0].ridge.erp.shape
        total = torch.zeros(len(features), *shape)
        for model, weight in zip(self.models, weights.cpu().T):
            rows = weight.nonzero()[:, 0]
            if len(rows):
                total[rows] += weight[rows, None, None] * model.predict(features[rows])
        return total

    def state(self) -> dict[str, Any]:
        """Everything, as plain dictionaries of tensors for a checkpoint."""
        return {"subjects": [model.state() for model in self.models]}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> SubjectEncoding:
        """The encoding whose `state()` this was."""
        return cls(tuple(EncodingModel.from_state(one) for one in state["subjects"]))


def fit_subjects(
    features: Tensor, recording: Subjects, *, components: int = 0
) -> tuple[SubjectEncoding, Tensor]:
    """`fit_encoding` for each subject of a recording, and left-out predictions (n, h, w).

    Features (n, d). What is left out is all of a concept, and with it all that others saw of it:
    a subject's prediction knows nothing of the others.
    """
    signals = tensor_of(recording.signals)                                     # (n, h, w)
    left_out, models = torch.empty(signals.shape), []
    for name in recording.subjects:
        at = recording.rows(name)
        model, left_out[at] = fit_encoding(
            features[at], signals[at], recording.concepts[at], components=components
        )
        models.append(model)
    return SubjectEncoding(tuple(models)), left_out
