"""How a run continues: what its state is on disk, and what it must still belong to.

A state belongs to a recipe, a network, data and contexts. With the same, it continues as if it had
not been interrupted, on any number of ranks.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from . import checkpoint, parallel, run_folder
from .messages import differences
from .parallel import Ranks
from .pipeline import ImageToBrain
from .step import State

ROWS = 256  # of targets or contexts, looked at together


def room(state: State) -> int:
    """Bytes that a run takes on disk: two states, a third being written, and the model."""
    weights = sum(p.numel() * p.element_size() for p in state.unet.parameters())
    kept = 4 if state.average is not state.unet else 3  # weights, their average, two moments
    return (3 * kept + 1) * weights


def run_identity(model: ImageToBrain, y0: Tensor, context: Tensor) -> dict[str, Any]:
    """What must not change between the beginning and the continuation of a run."""
    recipe = checkpoint.config_to_dict(model.recipe)
    for later in ("sampler", "sampling_steps"):  # of the evaluation
        del recipe[later]
    return {
        "recipe": recipe,
        "unet": checkpoint.config_to_dict(model.unet.config),
        "data": {
            "shape": list(y0.shape),
            "sensors": list(model.sensors),
            "sum": sum_of_sizes(y0),
        },
        "context": {
            "encoder": checkpoint.config_to_dict(model.encoder),
            "shape": list(context.shape),
            "sum": sum_of_sizes(context),
        },
    }


def sum_of_sizes(x: Tensor) -> float:
    """The sum of |x| over all values, in float64, without a copy of all."""
    total = torch.zeros((), dtype=torch.float64, device=x.device)
    for part in torch.split(x, ROWS):
        total += part.abs().sum(dtype=torch.float64)
    return float(total)


def save(folder: Path, state: State, identity: dict[str, Any], here: Ranks) -> None:
    """The state on disk; ranks hold the same, but for the sums of the epoch under way."""
    sums = parallel.total(state.sums.clone())
    if not here.first:
        return
    content = {
        "identity": identity,
        "step": state.step,
        "log": state.log,
        "sums": sums,
        "skipped": state.skipped,
        "unet": state.unet.state_dict(),
        "average": state.average.state_dict() if state.average is not state.unet else None,
        "optimizer": state.optimizer.state_dict(),
    }
    run_folder.save_state(folder, "run", content, state.step)


def resume(
    state: State, identity: dict[str, Any], saved: dict[str, Any], folder: Path, force: bool = False
) -> None:
    """Continue where `saved` stopped; refuse, unless forced, if what it belongs to has changed."""
    changed = [
        line for part, now in identity.items()
        for line in differences(saved["identity"].get(part, {}), now, part)
    ]  # fmt: skip
    if changed and not force:
        raise ValueError(
            f"{folder}: holds a run with other settings:\n  " + "\n  ".join(changed)
            + "\nchoose another folder, --restart to start anew, or --force to go on with these"
        )
    state.step, state.log = saved["step"], saved["log"]
    state.skipped.copy_(saved["skipped"])
    if parallel.ranks().first:  # whose share the sums of all ranks now are
        state.sums.copy_(saved["sums"])
    state.unet.load_state_dict(saved["unet"])
    if saved["average"] is not None:
        state.average.load_state_dict(saved["average"])
    state.optimizer.load_state_dict(saved["optimizer"])
