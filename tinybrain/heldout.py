"""What is kept aside of training, and how well the conditional mean does on it.

The epoch is chosen by it: the training loss keeps falling while the network memorises.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from . import parallel
from .baselines import mean_erp, tensor_of
from .denoiser import seeded
from .parallel import Ranks
from .pipeline import ImageToBrain
from .samplers import conditional_mean
from .subjects import per_subject


def hold_out(
    concepts: Sequence[str], share: float, seed: int, validation: str = "concept",
    places: Tensor | None = None,
) -> Tensor | None:
    """Rows (m,) to hold out of training, to choose the epoch by; None if `share` is 0.

    By "concept" whole concepts are kept aside, at least one: the question that new concepts will
    ask. By "image" single images are, as NICE does (740 of 16,540); others of their concepts are
    then learned from, and the error is flattering. `places` (n,) say which image each row shows,
    where several subjects saw the same: what is kept aside is kept aside of all.

    Raises
    ------
    ValueError
        Nothing would be left to learn from.

    Examples
    --------
    >>> concepts = ("cat", "cat", "cup", "cup", "car", "car")
    >>> rows = hold_out(concepts, share=0.2, seed=0)
    >>> len(rows), len({concepts[row] for row in rows})  # one of three concepts, whole
    (2, 1)
    """
    if share == 0:
        return None
    images = list(range(len(concepts))) if places is None else places.tolist()
    unit = list(concepts) if validation == "concept" else images
    names = sorted(set(unit))
    count = max(1, round(share * len(names)))
    if count >= len(names):
        raise ValueError(
            f"heldout={share} leaves none of {len(names)} {validation}s to learn from"
        )
    order = torch.randperm(len(names), generator=seeded(seed, 0))
    aside = {names[i] for i in order[:count]}
    return torch.tensor([row for row, name in enumerate(unit) if name in aside])


def check_finite(rows: Tensor, y0: Tensor, context: Tensor) -> None:
    """Refuse held-out rows (m,) by which no epoch could be chosen; a step looks at the others."""
    for name, values in (("target", y0), ("context", context)):
        broken = (~torch.isfinite(values)).flatten(1).any(dim=1).cpu()
        if broken.any():
            raise ValueError(
                f"the {name} of training row {rows[broken][0]}, which is held out, is not finite: "
                "look at that recording and its features"
            )


def heldout_mse(
    model: ImageToBrain, y0: Tensor, context: Tensor, batch_size: int = 64, here: Ranks = Ranks()
) -> float:
    """MSE of the conditional mean, in signal units, on targets (m, h, w) not learned from."""
    error = torch.zeros((), dtype=torch.float64, device=y0.device)
    for at in parallel.share(range(0, len(y0), batch_size), here):
        part, condition = y0[at : at + batch_size], context[at : at + batch_size]
        told = condition[:, :1].cpu() * model.context_scale if model.subjects else condition
        scale = per_subject(model.scale, model.weights(told)).to(y0.device)  # none is centred
        guess = conditional_mean(model.ddpm, model.denoiser(), condition, model.shape, draws=4)
        error += (scale * (guess - part)).square().sum(dtype=torch.float64)
    return float(parallel.total(error)) / y0.numel()


def heldout_references(
    model: ImageToBrain, signals: npt.NDArray[np.float32], y0: Tensor, rows: Tensor,
    subject: npt.NDArray[np.integer[Any]] | None = None,
) -> dict[str, float]:
    """MSE on the held-out rows of what `heldout_mse` must beat, by name.

    Signals (n, h, w) and targets (n, h, w) are those of all rows, of these subjects (n,), by
    default of one. The mean ERP is that of the subject's rows learned from; the encoding model's
    predictions are those without their concepts, which `prepare` has taken off.
    """
    aside = torch.zeros(len(signals), dtype=torch.bool)
    aside[rows] = True
    whose = torch.zeros(len(signals), dtype=torch.long)
    whose = whose if subject is None else torch.from_numpy(subject)
    recorded = tensor_of(signals)
    squares = []
    for own in (whose == place for place in sorted(set(whose.tolist()))):
        erp = mean_erp(recorded, (own & ~aside).nonzero()[:, 0].tolist())
        squares.append((erp - recorded[own & aside]).square())
    references = {"mean ERP": torch.cat(squares).mean().item()}
    if model.encoding is not None:
        weights = torch.eye(max(len(model.subjects), 1))[whose[aside]]
        left = model.signal(y0[aside], torch.zeros(()), weights)
        references[model.encoding.name] = left.square().mean().item()
    return references
