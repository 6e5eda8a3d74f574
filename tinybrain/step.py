"""One step of training, Section 4.2: AdamW on the loss of Section 3.4, and what it changes.

What is random in a step is a function of (seed, step), drawn for the whole batch, of which every
rank takes its rows: neither interruptions nor the number of ranks change it. A step whose gradient
is not finite is left out and counted; nothing in a step waits for the device.

Beside the network runs an average of its weights, over a window that is a fixed share of the run so
far (Karras et al. 2024, power function profile).
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from . import parallel
from .ddpm import DDPM, gaussian
from .denoiser import Denoiser, seeded
from .parallel import Ranks
from .recipes import WIDEST, Recipe
from .speed import Speed, in_tf32, set_recompute
from .subjects import forget
from .unet import UNet2D

BINS = 10  # of timesteps, for the log
# of torch's allocator, of C++, of oneDNN (which says no more)
NO_MEMORY = ("can't allocate memory", "std::bad_alloc", "could not create a primitive")


@dataclass
class State:
    """What a step changes: everything a run needs to continue."""

    unet: UNet2D
    average: UNet2D  # of the weights; the network itself where the recipe keeps no average
    optimizer: torch.optim.Optimizer
    network: nn.Module  # the U-Net, or the wrapper that averages its gradients over ranks
    denoiser: Denoiser  # the network as it is called
    sums: Tensor  # (2, BINS) losses and examples of the epoch, exact in float64
    skipped: Tensor  # () steps left out so far
    worst: Tensor  # (3,) the last of them: step, its first broken row, its timestep
    step: int = 0
    log: list[dict[str, Any]] = field(default_factory=list)


def start(
    unet: UNet2D, recipe: Recipe, here: Ranks = Ranks(), tokens: int = 1, speed: Speed = Speed()
) -> State:
    """The state before the first step.

    Parameters
    ----------
    unet : on the device where the run will be
    recipe : its learning rate, weight decay, average and precision are used here
    here : of how many processes this is one; of several, gradients are averaged over them
    tokens : l of the contexts (n, l, d)
    speed : what changes time and memory, but not what is learned
    """
    set_recompute(unet, speed.recompute)
    device = next(unet.parameters()).device
    optimizer = torch.optim.AdamW(
        unet.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay, fused=True
    )
    average = copy.deepcopy(unet).requires_grad_(False) if recipe.ema_width else unet
    network: nn.Module = unet
    if here.size > 1:  # with one token, queries and keys have no gradient: softmax over one is 1
        network = DistributedDataParallel(unet, find_unused_parameters=tokens == 1)
    return State(
        unet, average, optimizer, network, Denoiser(network, recipe.bf16, speed),
        sums=torch.zeros(2, BINS, dtype=torch.float64, device=device),
        skipped=torch.zeros((), device=device), worst=torch.full((3,), -1.0, device=device),
    )  # fmt: skip


def train_step(
    state: State, recipe: Recipe, ddpm: DDPM, y0: Tensor, context: Tensor, rows: Tensor,
    here: Ranks = Ranks(), micro_batch: int | None = None, subjects: int = 0,
) -> None:
    """One step of AdamW on the loss of Section 3.4.

    Parameters
    ----------
    state : from `start`; its weights, moments, average and sums change
    recipe, ddpm : of the run
    y0 : Tensor (n, h, w), all targets
    context : Tensor (n, l, d), as the network sees it
    rows : Tensor (b,), whole numbers: the batch; each of `here` learns from its share
    micro_batch : rows that the network sees at a time, to spare memory; by default all
    subjects : how many weights of subjects the context ends in

    Examples
    --------
    >>> from tinybrain.recipes import PAPER
    >>> from tinybrain.unet import UNetConfig
    >>> unet = UNet2D(UNetConfig((8, 8), (False, True), groups=4, heads=2, context_dim=4))
    >>> state = start(unet, PAPER)
    >>> y0, context = torch.randn(16, 3, 10), torch.randn(16, 1, 4)
    >>> train_step(state, PAPER, PAPER.ddpm(), y0, context, rows=torch.arange(8))
    >>> state.step, int(state.sums[1].sum())  # the log counts the rows by their timesteps
    (1, 8)
    """
    y0, context = y0[rows], context[rows]
    draw = ddpm.draw(
        y0, generator=seeded(recipe.seed, 2, state.step), drop_context=recipe.drop_context,
        stratified=recipe.stratified,
    )
    if subjects and recipe.drop_subject:
        lot = seeded(recipe.seed, 6, state.step)
        context = forget(context, subjects, recipe.drop_subject, lot)
    if recipe.context_noise:
        noise = gaussian(context.shape, seeded(recipe.seed, 4, state.step), like=context)
        context = context + recipe.context_noise * noise
    mine: Sequence[int] = parallel.share(range(len(rows)), here)
    weight = here.size / len(rows) if mine else 0.0  # DDP takes the mean over ranks
    mine = mine or range(1)  # ranks wait for each other: one without rows looks at another's
    size = micro_batch or len(mine)
    state.optimizer.zero_grad()
    for piece in (mine[first : first + size] for first in range(0, len(mine), size)):
        at, last = slice(piece[0], piece[-1] + 1), piece[-1] == mine[-1]
        quiet: AbstractContextManager[None] = nullcontext()
        if isinstance(state.network, DistributedDataParallel) and not last:
            quiet = state.network.no_sync()  # gradients travel once
        precise = in_tf32(y0.device, state.denoiser.speed.tf32)
        with quiet, precise, dropout_seeded(state.unet, recipe.seed, 5, state.step, piece[0]):
            drawn = (part[at] for part in draw)
            losses = ddpm.losses(state.denoiser, y0[at], context[at], *drawn)        # (b,)
            torch.autograd.backward(losses.sum() * weight)
        if weight:
            note(state, ddpm.steps, losses.detach(), rows[at], draw.t[at])
    leave_out(state)
    state.optimizer.step()
    state.step += 1
    if recipe.ema_width:
        update_average(state.average, state.unet, state.step, recipe.ema_width)


@contextmanager
def dropout_seeded(unet: UNet2D, *key: int) -> Iterator[None]:
    """Dropout draws from torch's own generators, piece by piece: a function of a key here, too."""
    if not unet.config.dropout:
        yield
        return
    device = next(unet.parameters()).device
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seeded(*key).initial_seed())
        yield


def note(state: State, steps: int, losses: Tensor, rows: Tensor, t: Tensor) -> None:
    """Add losses (b,) to their bins of timesteps, and remember the first that is not finite.

    `take` where an index would do: the host reads an index that is a tensor.
    """
    fine = torch.isfinite(losses)
    bins = t * BINS // steps
    state.sums[0].index_add_(0, bins, losses.where(fine, 0).double())
    state.sums[1].index_add_(0, bins, fine.double())
    first = (~fine).float().argmax()
    here = torch.stack([torch.full_like(t[0], state.step), rows.take(first), t.take(first)])
    state.worst = here.to(state.worst).where(~fine.all(), state.worst)


def leave_out(state: State) -> None:
    """Have the optimizer skip this step if a gradient is not finite, without asking the device."""
    gradients = [p.grad for p in state.unet.parameters() if p.grad is not None]
    size = torch.stack(torch._foreach_norm(gradients)).float().norm()
    bad = (~torch.isfinite(size)).float()
    # fused AdamW looks at it, as it does for torch's GradScaler, which sets it in this way
    state.optimizer.found_inf = bad  # type: ignore[attr-defined]
    state.skipped += bad


def is_out_of_memory(error: RuntimeError | MemoryError) -> bool:
    """Whether torch ran out of memory: on a GPU, or on the CPU, where only the words say so."""
    known = isinstance(error, (torch.cuda.OutOfMemoryError, MemoryError))
    return known or any(words in str(error) for words in NO_MEMORY)


def rows_that_fit(
    state: State, recipe: Recipe, ddpm: DDPM, y0: Tensor, context: Tensor, tried: int
) -> int:
    """The most rows, of `tried` halved again and again, that a step can take; 0 if not even one."""
    while tried > 1:
        tried //= 2
        state.optimizer.zero_grad()
        if y0.is_cuda:
            torch.cuda.empty_cache()
        try:
            _as_a_step(state, recipe, ddpm, y0[:tried], context[:tried])
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            continue
        return tried
    return 0


def _as_a_step(state: State, recipe: Recipe, ddpm: DDPM, y0: Tensor, context: Tensor) -> None:
    """Take the memory of a step on signals (b, h, w), and let go of it."""
    moments = 0 if state.optimizer.state else 2  # of every weight, which the first step makes
    _room = [torch.empty_like(p) for p in state.unet.parameters() for _ in range(moments)]
    draw = ddpm.draw(y0, generator=seeded(recipe.seed, 3))
    losses = ddpm.losses(Denoiser(state.unet, recipe.bf16), y0, context, *draw)
    torch.autograd.backward(losses.sum())


@torch.no_grad()
def update_average(average: UNet2D, unet: UNet2D, step: int, width: float) -> None:
    """average <- beta average + (1 - beta) weights, with beta = (1 - 1/step)^(gamma + 1).

    The weights of step s then count in proportion to s^gamma: a window whose standard deviation is
    `width` of the run so far, however long that is (Karras et al. 2024, equations 121 to 126).
    """
    beta = (1 - 1 / step) ** (exponent(width) + 1)
    torch._foreach_lerp_(list(average.parameters()), list(unet.parameters()), 1 - beta)


@cache
def exponent(width: float) -> float:
    """gamma of a window of this relative width: (gamma+1) / ((gamma+2)^2 (gamma+3)) = width^2.

    Raises
    ------
    ValueError
        Not above 0 and below `recipes.WIDEST`.

    Examples
    --------
    >>> round(exponent(0.1), 2)  # the paper of Karras et al. has 6.94
    6.94
    """
    if not 0 < width < WIDEST:
        raise ValueError(f"ema_width is {width}; wanted above 0 and below {WIDEST}")
    roots = np.roots([1, 7, 16 - width**-2, 12 - width**-2])
    return float(roots[np.isreal(roots)].real.max())
