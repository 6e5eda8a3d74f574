"""What the network is to learn of a recording, and the scales it sees it in.

    y_0 = (signal - base - offset) / scale                       offset and scale per sensor
    c   = (context - context_mean) / context_scale               per feature

Base is the encoding model's prediction of an image fitted without that image's concept, or 0.

Of several subjects each has their own offset and scale, because amplitudes differ between people,
by skull, cap and normalisation: with a common scale the loss, which squares, would be mostly about
those of the largest, and the timestep at which a signal drowns in noise would differ from one to
the next. So the network learns forms, and amplitudes are exact. Somebody unknown has the mean
offset and scale.

Weights of subjects are scaled to count for as much of the context as its features do: their
squared norm is the features' mean squared norm. A bare 1 beside 768 features is hardly heard.
Letters: n rows, s subjects, h sensors, w time points, l tokens, d width.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .baselines import tensor_of
from .encoder import Encoder
from .encoding import EncodingModel, SubjectEncoding, fit_encoding, fit_subjects
from .recipes import Recipe
from .subjects import Subjects, untold

if TYPE_CHECKING:
    from .recorded import Recorded

SCALING = ("offset", "scale", "context_mean", "context_scale")


def make_targets(
    recipe: Recipe, recording: Recorded, context: Tensor, encoder: Encoder
) -> tuple[EncodingModel | SubjectEncoding | None, dict[str, Tensor], Tensor]:
    """The encoding model, the scaling, and the targets y0 (n, h, w) of a recording.

    Parameters
    ----------
    recipe
    recording : `things.EEG2`, `Subjects` or anything with their fields; `signals` (n, h, w)
    context : (n, l, d), of several subjects with their weights (`subjects.tell`)
    encoder : what made it

    Returns
    -------
    encoding : None without `recipe.residual`
    scaling : by name, those of `SCALING`: (h,), of several subjects (s, h); and (d,)
    y0 : (n, h, w)
    """
    people = recording.subjects if isinstance(recording, Subjects) else ()
    features, _ = untold(context, len(people))
    signals = tensor_of(recording.signals)                                     # (n, h, w)
    encoding: EncodingModel | SubjectEncoding | None = None
    if recipe.residual:
        pooled, components = encoder.pooled(features), recipe.products
        encoding, base = (
            fit_subjects(pooled, recording, components=components)
            if isinstance(recording, Subjects)
            else fit_encoding(pooled, signals, recording.concepts, components=components)
        )
        y0 = torch.sub(signals, base, out=base)  # in place: either may be 10 GB
    else:
        y0 = signals.clone()
    parts = [y0]  # views
    if isinstance(recording, Subjects):
        parts = [y0[recording.rows(name)] for name in people]
    pairs = [_scale(part, recipe.standardise) for part in parts]
    offset, scale = (torch.stack(values) if people else values[0] for values in zip(*pairs))
    mean, spread = _scale_context(features, recipe.standardise, len(people))
    return encoding, dict(zip(SCALING, (offset, scale, mean, spread))), y0


def _scale(y0: Tensor, standardise: bool) -> tuple[Tensor, Tensor]:
    """Offset and scale (h,) of one subject's rows (n, h, w), taken off them in place."""
    if not standardise:
        return torch.zeros(y0.shape[1]), torch.ones(y0.shape[1])
    offset, scale = y0.mean(dim=(0, 2)), _spread(y0, 1).clamp(min=1e-12)
    y0.sub_(offset[:, None]).div_(scale[:, None])
    return offset, scale


def _spread(x: Tensor, axis: int) -> Tensor:
    """Standard deviation along one of three axes, over the two others; 0 of a single value."""
    others = [other for other in range(3) if other != axis]
    return x.std(dim=others, correction=int(x.numel() > x.shape[axis]))


def _scale_context(features: Tensor, standardise: bool, count: int) -> tuple[Tensor, Tensor]:
    """Mean and scale (d + s,) of features (n, l, d) and of the weights of `count` subjects."""
    mean, spread = torch.zeros(features.shape[2]), torch.ones(features.shape[2])
    if standardise:
        mean, spread = features.mean(dim=(0, 1)), _spread(features, 2)
        most = float(spread.max())  # a constant feature stays small
        spread = spread.clamp(min=1e-6 * most) if most else torch.ones_like(spread)
    if not count:
        return mean, spread
    centre, variance = features.mean(dim=(0, 1)), features.var(dim=(0, 1))
    power = (((centre - mean).square() + variance) / spread.square()).sum()  # mean squared norm
    loud = torch.full((count,), float(power) ** -0.5)
    return torch.cat([mean, torch.zeros(count)]), torch.cat([spread, loud])
