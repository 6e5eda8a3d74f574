"""What is kept aside of training, and how well the conditional mean does on it.

The epoch is chosen by it: the training loss keeps falling while the network memorises.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from . import parallel
from .baselines import mean_erp
from .denoiser import seeded
from .parallel import Ranks
from .pipeline import ImageToBrain
from .samplers import conditional_mean


def hold_out(
    concepts: tuple[str, ...], share: float, seed: int, validation: str = "concept"
) -> Tensor | None:
    """Rows (m,) to hold out of training, to choose the epoch by; None if `share` is 0.

    By "concept" whole concepts are kept aside, at least one: the question that new concepts will
    ask. By "image" single images are, as NICE does (740 of 16,540); others of their concepts are
    then learned from, and the error is flattering.
    """
    if share == 0:
        return None
    unit = list(concepts) if validation == "concept" else list(range(len(concepts)))
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
    scale = model.scale[:, None].to(y0.device)
    for at in parallel.share(range(0, len(y0), batch_size), here):
        part, condition = y0[at : at + batch_size], context[at : at + batch_size]
        guess = conditional_mean(model.ddpm, model.denoiser(), condition, model.shape, draws=4)
        error += (scale * (guess - part)).square().sum(dtype=torch.float64)
    return float(parallel.total(error)) / y0.numel()


def heldout_references(model: ImageToBrain, signals: np.ndarray, y0: Tensor, rows: Tensor):
    """MSE on the held-out rows of what `heldout_mse` must beat, by name.

    Signals (n, h, w) and targets (n, h, w) are those of all rows. The mean ERP is that of the rows
    learned from; the encoding model's predictions are those without their concepts, which
    `prepare` has taken off.
    """
    aside = torch.zeros(len(signals), dtype=torch.bool)
    aside[rows] = True
    signals = torch.from_numpy(signals)
    references = {"mean ERP": (mean_erp(signals[~aside]) - signals[aside]).square().mean().item()}
    if model.encoding is not None:
        left = model.offset[:, None] + model.scale[:, None] * y0[aside]
        references[model.encoding.name] = left.square().mean().item()
    return references
