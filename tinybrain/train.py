"""Training, Section 4.2: AdamW on the loss of Section 3.4, one visible step.

What is random is a function of (seed, epoch) or (seed, step): the order of the images, and each
step's timesteps, noise and dropped contexts. An interrupted run therefore continues as if it had
not been.

Beside the network runs an average of its weights, over a window that is a fixed share of the run
so far (Karras et al. 2024, power function profile). After every epoch the average gives the
conditional mean of held-out concepts; the best epoch is kept, and the run stops when it is long
past. The training loss cannot tell: it keeps falling while the network memorises.
"""

from __future__ import annotations

import copy
import csv
import io
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from . import checkpoint
from .baselines import mean_erp
from .denoiser import Denoiser, seeded
from .files import write_text
from .pipeline import ImageToBrain
from .progress import bar, interruptible
from .recipes import Recipe
from .samplers import conditional_mean
from .unet import UNet2D

BINS = 10  # of timesteps, for the log
TOLERANCE = 1e-3  # of the held-out error: what it takes to be worse
COLUMNS = ("epoch", "step", "loss", "heldout_mse", "seconds", *(f"bin{i}" for i in range(BINS)))


def pick_device() -> torch.device:
    """A GPU if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


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


# -------------------------------------------------------------------------------------------------
# One step


@dataclass
class State:
    """What a step changes: everything a run needs to continue."""

    unet: UNet2D
    average: UNet2D  # of the weights; the network itself where the recipe keeps no average
    optimizer: torch.optim.Optimizer
    step: int = 0
    log: list[dict[str, Any]] = field(default_factory=list)
    sums: Tensor | None = None  # (2, BINS) losses and examples of the epoch under way


def start(unet: UNet2D, recipe: Recipe) -> State:
    """The state before the first step."""
    device = next(unet.parameters()).device
    optimizer = torch.optim.AdamW(
        unet.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay, fused=True
    )
    average = copy.deepcopy(unet).requires_grad_(False) if recipe.ema_width else unet
    return State(unet, average, optimizer, sums=torch.zeros(2, BINS, device=device))


def train_step(state: State, recipe: Recipe, ddpm, y0: Tensor, context: Tensor) -> None:
    """One step of AdamW on y0 (b, h, w) and context (b, l, d). Nothing waits for the device."""
    draw = ddpm.draw(
        y0, generator=seeded(recipe.seed, 2, state.step), drop_context=recipe.drop_context,
        stratified=recipe.stratified,
    )
    losses = ddpm.losses(Denoiser(state.unet, recipe.bf16), y0, context, *draw)  # (b,)
    state.optimizer.zero_grad()
    losses.mean().backward()
    state.optimizer.step()
    state.step += 1
    if recipe.ema_width:
        update_average(state.average, state.unet, state.step, recipe.ema_width)
    bins = draw.t * BINS // ddpm.steps
    state.sums[0].index_add_(0, bins, losses.detach().float())
    state.sums[1].index_add_(0, bins, torch.ones_like(losses))


@torch.no_grad()
def update_average(average: UNet2D, unet: UNet2D, step: int, width: float) -> None:
    """average <- beta average + (1 - beta) weights, with beta = (1 - 1/step)^(gamma + 1).

    The weights of step s then count in proportion to s^gamma: a window whose standard deviation is
    `width` of the run so far, however long that is (Karras et al. 2024, equations 121 to 126).
    """
    beta = (1 - 1 / step) ** (exponent(width) + 1)
    torch._foreach_lerp_(list(average.parameters()), list(unet.parameters()), 1 - beta)


def exponent(width: float) -> float:
    """gamma of a window of this relative width: (gamma+1) / ((gamma+2)^2 (gamma+3)) = width^2."""
    if not 0 < width < 0.28:
        raise ValueError(f"ema_width is {width}; wanted above 0 and below 0.28")
    roots = np.roots([1, 7, 16 - width**-2, 12 - width**-2])
    return float(roots[np.isreal(roots)].real.max())


# -------------------------------------------------------------------------------------------------
# The run


def fit(
    model: ImageToBrain, y0: Tensor, context: Tensor, folder: str | Path, *,
    heldout: Tensor | None = None, progress: bool = True,
) -> list[dict[str, Any]]:
    """Train `model.unet`, continuing the run in `folder` if there is one.

    At the end, and whenever the held-out concepts say so, `folder/model.pt` is the model to use;
    `folder/run.pt` is the state of the run, `folder/log.csv` its log. `model` comes back with the
    weights of `model.pt`.

    Parameters
    ----------
    model : ImageToBrain, from `prepare`
    y0 : Tensor (n, h, w), the targets `prepare` gave
    context : Tensor (n, l, d), raw features of the same rows
    heldout : Tensor (m,) of rows to watch and not to learn from; by default none
    progress : show a bar

    Returns
    -------
    log : one dictionary per epoch, with `COLUMNS`

    Raises
    ------
    ValueError
        If the run in `folder` was made with another recipe, network or data.
    KeyboardInterrupt
        After Ctrl-C, once the state is on disk; the same call continues.
    """
    folder, recipe, device = Path(folder), model.recipe, model.device
    state = start(model.unet, recipe)
    y0, context = y0.to(device), model.condition(context)
    identity = run_identity(model, y0, context)
    if (folder / "run.pt").exists():
        resume(state, identity, checkpoint.load(folder / "run.pt", "run", device), folder)
    watched = None if heldout is None else (y0[heldout], context[heldout])
    learned = torch.ones(len(y0), dtype=torch.bool)
    learned[[] if heldout is None else heldout] = False
    rows = learned.nonzero()[:, 0]
    per_epoch = -(-len(rows) // recipe.batch_size)
    total = recipe.epochs * per_epoch

    with interruptible() as stop, bar(total, state.step, progress) as shown:
        while state.step < total and not finished(state.log, recipe):
            epoch, began = state.step // per_epoch, time.monotonic()
            order = torch.randperm(len(rows), generator=seeded(recipe.seed, 1, epoch))
            model.unet.train()
            for batch in rows[order].to(device).split(recipe.batch_size)[state.step % per_epoch :]:
                train_step(state, recipe, model.ddpm, y0[batch], context[batch])
                shown.update(1)
                if stop.is_set():
                    break
            if state.step % per_epoch == 0:
                finish_epoch(model, state, watched, time.monotonic() - began, folder)
                shown.set_description(describe(state.log[-1]))
            save_run(folder, state, identity)
            if stop.is_set():
                raise KeyboardInterrupt(f"stopped at step {state.step}; run again to continue")

    best = ImageToBrain.load(folder / "model.pt")
    model.unet.load_state_dict(best.unet.state_dict())
    model.card = best.card
    return state.log


def finish_epoch(
    model: ImageToBrain, state: State, watched: tuple[Tensor, Tensor] | None, seconds: float,
    folder: Path,
) -> None:
    """Log the epoch; its averaged weights become `model.pt` unless an earlier epoch was better."""
    sums, counts = state.sums.tolist()
    state.sums.zero_()
    row = {
        "epoch": len(state.log) + 1,
        "step": state.step,
        "loss": sum(sums) / sum(counts),
        "heldout_mse": None,
        "seconds": round(seconds, 2),
        **{f"bin{i}": s / c if c else None for i, (s, c) in enumerate(zip(sums, counts))},
    }
    trained, model.unet = model.unet, state.average
    if watched is not None and model.recipe.has_conditional_mean:
        row["heldout_mse"] = heldout_mse(model, *watched)
    state.log.append(row)
    if kept_epoch(state.log) == row["epoch"]:
        model.card["epoch"] = row["epoch"]
        model.save(folder / "model.pt")
    model.unet = trained
    write_text(folder / "log.csv", log_to_csv(state.log))


def heldout_mse(model: ImageToBrain, y0: Tensor, context: Tensor, batch_size: int = 64) -> float:
    """MSE of the conditional mean, in signal units, on targets (m, h, w) not learned from."""
    total = torch.zeros(())
    for part, condition in zip(y0.split(batch_size), context.split(batch_size)):
        guess = conditional_mean(model.ddpm, model.denoiser(), condition, model.shape, draws=4)
        total += (model.scale[:, None] * (guess - part).cpu()).square().sum()
    return float(total) / y0.numel()


def heldout_references(model: ImageToBrain, signals: np.ndarray, y0: Tensor, rows: Tensor):
    """MSE on the held-out rows of what `heldout_mse` must beat, by name.

    Signals (n, h, w) and targets (n, h, w) are those of all rows. The mean ERP is that of the rows
    learned from; ridge is the prediction without their concepts that `prepare` has taken off.
    """
    aside = torch.zeros(len(signals), dtype=torch.bool)
    aside[rows] = True
    signals = torch.from_numpy(signals)
    references = {"mean ERP": (mean_erp(signals[~aside]) - signals[aside]).square().mean().item()}
    if model.ridge is not None:
        left = model.offset[:, None] + model.scale[:, None] * y0[aside]
        references["ridge"] = left.square().mean().item()
    return references


def kept_epoch(log: list[dict[str, Any]]) -> int:
    """The last epoch whose held-out error is the least or as good; simply the last without one.

    As good: within TOLERANCE. The error is that of the mean alone; while it stands still, samples
    still gain from longer training.
    """
    scored = [row for row in log if row["heldout_mse"] is not None]
    if not scored:
        return log[-1]["epoch"]
    bound = min(row["heldout_mse"] for row in scored) * (1 + TOLERANCE)
    return max(row["epoch"] for row in scored if row["heldout_mse"] <= bound)


def finished(log: list[dict[str, Any]], recipe: Recipe) -> bool:
    """Whether the held-out error has not improved for `patience` epochs."""
    return bool(recipe.patience and log) and log[-1]["epoch"] - kept_epoch(log) >= recipe.patience


# -------------------------------------------------------------------------------------------------
# What is kept and shown


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
            "sum": float(y0.double().abs().sum()),
        },
        "context": {
            "encoder": checkpoint.config_to_dict(model.encoder),
            "shape": list(context.shape),
            "sum": float(context.double().abs().sum()),
        },
    }


def save_run(folder: Path, state: State, identity: dict[str, Any]) -> None:
    content = {
        "identity": identity,
        "step": state.step,
        "log": state.log,
        "sums": state.sums,
        "unet": state.unet.state_dict(),
        "average": state.average.state_dict() if state.average is not state.unet else None,
        "optimizer": state.optimizer.state_dict(),
    }
    checkpoint.save(folder / "run.pt", "run", content)


def resume(state: State, identity: dict[str, Any], saved: dict[str, Any], folder: Path) -> None:
    """Continue where `saved` stopped; refuse if what it belongs to has changed."""
    changed = [
        f"{part}.{name}: {before.get(name)} there, {now.get(name)} now"
        for part, now in identity.items()
        for before in [saved["identity"].get(part, {})]
        for name in dict.fromkeys((*before, *now))
        if not same(before.get(name), now.get(name))
    ]
    if changed:
        raise ValueError(
            f"{folder}: holds a run with other settings:\n  " + "\n  ".join(changed)
            + "\nchoose another folder, or remove this one to start anew"
        )
    state.step, state.log, state.sums = saved["step"], saved["log"], saved["sums"]
    state.unet.load_state_dict(saved["unet"])
    if saved["average"] is not None:
        state.average.load_state_dict(saved["average"])
    state.optimizer.load_state_dict(saved["optimizer"])


def same(a: Any, b: Any) -> bool:
    """Equal, floats up to what another thread count may change in a sum."""
    return abs(a - b) <= 1e-6 * abs(a) if isinstance(a, float) and isinstance(b, float) else a == b


def log_to_csv(log: list[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(log)
    return text.getvalue()


def describe(row: dict[str, Any]) -> str:
    held = "" if row["heldout_mse"] is None else f", held-out MSE {row['heldout_mse']:.4f}"
    return f"epoch {row['epoch']}: loss {row['loss']:.4f}{held}"
