"""Training, Section 4.2: epochs of steps (`step.py`), what is kept of them, how a run continues.

What is random is a function of (seed, epoch) or (seed, step): the order of the images, and each
step's timesteps, noise and dropped contexts. An interrupted run therefore continues as if it had
not been, on as many devices as there then are (`parallel.py`).

After every epoch the average of the weights gives the conditional mean of held-out concepts. The
last epoch is kept whose error is the least or within a thousandth of it (`log.kept_epoch`), and the
run stops when that is long past. The training loss cannot tell: it keeps falling while the network
memorises.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from . import log as logs
from . import parallel, run_folder
from .continuing import resume, room, run_identity, save
from .denoiser import seeded
from .features import as_context
from .files import write_text
from .heldout import check_finite, heldout_mse
from .parallel import Ranks
from .pipeline import ImageToBrain
from .progress import Bar, bar, interruptible
from .recipes import Recipe
from .speed import Speed
from .step import State, is_out_of_memory, rows_that_fit, start, train_step

LOOK = 10  # steps after which ranks ask each other whether somebody was told to stop
Log = list[dict[str, Any]]  # a row an epoch, as `log.py` says
MAX_SKIPPED = 20  # steps with gradients that are not finite; after so many the run stops


# -------------------------------------------------------------------------------------------------
# The run


def fit(
    model: ImageToBrain, y0: Tensor, context: Tensor | NDArray[Any], folder: str | Path, *,
    heldout: Tensor | None = None, micro_batch: int | None = None, save_every: int = 500,
    speed: Speed = Speed(),
    restart: bool = False, force: bool = False, progress: bool = True,
    watch: Callable[[Log], object] = lambda log: None,
) -> Log:
    """Train `model.unet`, continuing the run in `folder` if there is one.

    At the end, and whenever the held-out concepts say so, `folder/model.pt` is the model to use:
    that of the last epoch whose error on them is the least or within a thousandth of it.
    `folder/run-*.pt` are the last states of the run, `folder/log.csv` its log. `model` comes back
    with the weights of `model.pt`. Under torchrun all ranks call this, and the first one writes.

    Parameters
    ----------
    model : ImageToBrain, from `prepare`
    y0 : Tensor (n, h, w), the targets `prepare` gave
    context : Tensor or array (n, d) or (n, l, d), raw features of the same rows
    heldout : Tensor (m,) of rows to watch and not to learn from; by default none
    micro_batch : rows that the network sees at a time, to spare memory; by default all of a batch
    save_every : steps between states on disk, besides the one after every epoch
    speed : what changes time and memory, but not what is learned
    restart : forget the run in `folder`
    force : continue a run that was begun with other settings
    progress : show a bar, and a line after every epoch
    watch : is given the log after every epoch

    Returns
    -------
    log : one dictionary per epoch, with the columns of `log.py`

    Raises
    ------
    ValueError
        If the arguments do not fit together; if the run in `folder` was made with another recipe,
        network or data, or another process is at it; or if more than MAX_SKIPPED steps had
        gradients that are not finite.
    OSError
        If a state cannot be written; the one before it stands.
    MemoryError
        If a batch does not fit; the message names a `micro_batch` that does.
    KeyboardInterrupt
        After Ctrl-C or SIGTERM, once the state is on disk; the same call continues.

    Examples
    --------
    Two epochs of twelve rows of noise, three sensors by sixteen points, eight features told:

    >>> from dataclasses import replace
    >>> from tempfile import TemporaryDirectory
    >>> from tinybrain.tiny import tiny_model
    >>> model, y0, told = tiny_model(), torch.randn(12, 3, 16), torch.randn(12, 1, 8)
    >>> model.recipe = replace(model.recipe, epochs=2)
    >>> with TemporaryDirectory() as folder:
    ...     log = fit(model, y0, told, folder, progress=False)
    ...     Path(folder, "model.pt").exists()
    True
    >>> [(row["epoch"], row["step"]) for row in log], model.card["epoch"]
    ([(1, 1), (2, 2)], 2)
    """
    folder = Path(folder)
    with parallel.process_group(model.device) as here:
        with run_folder.locked(folder) if here.first else nullcontext():
            run = begin(model, y0, context, folder, heldout, here, micro_batch, save_every, speed)
            pick_up(run, restart, force)
            with interruptible() as stop, bar(
                run.total, run.state.step, progress and here.first
            ) as shown:
                if run.state.step:
                    shown.say(f"{run.state.step} of {run.total} steps are done")
                while run.state.step < run.total and not finished(run.state.log, model.recipe):
                    train_epoch(run, stop, shown)
                    if run.state.step % run.per_epoch == 0:
                        finish_epoch(run, shown, watch)
                    save(folder, run.state, run.identity, here)
                    if asked_to_stop(stop, 0, run):
                        where = f"stopped at step {run.state.step} of {run.total}"
                        raise KeyboardInterrupt(f"{where}; run again to continue")
                if run.state.step < run.total:
                    log, kept = run.state.log, model.card["epoch"]
                    shown.say(f"stopped after epoch {log[-1]['epoch']} of {model.recipe.epochs}: "
                              f"none is better than epoch {kept}, which is kept")
        parallel.barrier()  # the first has written model.pt
    best = ImageToBrain.load(folder / "model.pt")
    model.unet.load_state_dict(best.unet.state_dict())
    model.card = best.card
    return run.state.log


@dataclass
class Run:
    """What a run is made of; only its state and its pace change."""

    model: ImageToBrain
    y0: Tensor  # (n, h, w), on the device
    context: Tensor  # (n, l, d), as the network sees it
    rows: Tensor  # (m,) to learn from
    watched: tuple[Tensor, Tensor] | None  # targets and contexts of the held-out rows
    folder: Path
    here: Ranks
    micro_batch: int | None
    save_every: int
    state: State
    identity: dict[str, Any]
    pace: logs.Pace = field(default_factory=logs.Pace)  # of the epoch, as this process sees it

    @property
    def per_epoch(self) -> int:
        """Steps of an epoch."""
        return -(-len(self.rows) // self.model.recipe.batch_size)

    @property
    def total(self) -> int:
        """Steps of the run."""
        return self.model.recipe.epochs * self.per_epoch


def begin(
    model: ImageToBrain, y0: Tensor, context: Tensor | NDArray[Any], folder: Path,
    heldout: Tensor | None, here: Ranks, micro_batch: int | None, save_every: int, speed: Speed,
) -> Run:
    """The run before its first step."""
    context = as_context(context)
    check_run(model, y0, context, heldout, micro_batch, save_every)
    learned = torch.ones(len(y0), dtype=torch.bool)
    learned[[] if heldout is None else heldout] = False
    state = start(model.unet, model.recipe, here, context.shape[1], speed)
    try:
        own = next(model.unet.parameters()).dtype
        y0 = y0.to(model.device, own if y0.dtype == torch.float64 else y0.dtype)
        context = model.condition(context.to(own))
        identity = run_identity(model, y0, context)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        size = f"{y0.nbytes / 1e9:.1f} GB of targets and {context.nbytes / 1e9:.1f} GB of contexts"
        raise MemoryError(f"{size} do not fit on {model.device}, where a run keeps them") from error
    watched = None if heldout is None else (y0[heldout], context[heldout])
    if heldout is not None and watched is not None:
        check_finite(heldout, *watched)
    return Run(
        model, y0, context, learned.nonzero()[:, 0], watched, folder, here, micro_batch,
        save_every, state, identity,
    )  # fmt: skip


def check_run(
    model: ImageToBrain, y0: Tensor, context: Tensor, heldout: Tensor | None,
    micro_batch: int | None, save_every: int,
) -> None:
    """ValueError unless the parts of a run fit together."""
    n, width = len(y0), len(model.context_mean)
    if tuple(y0.shape) != (n, *model.shape) or not n:
        h, w = model.shape
        raise ValueError(f"y0 is {tuple(y0.shape)}; wanted (images, {h}, {w}), at least one")
    if context.ndim != 3 or (len(context), context.shape[2]) != (n, width):
        raise ValueError(f"context is {tuple(context.shape)}; wanted ({n}, tokens, {width})")
    if heldout is not None and not 0 < len(set(heldout.tolist())) < n:
        raise ValueError(f"{len(heldout)} of {n} rows held out; wanted some, but not all")
    for name, count in (("micro_batch", micro_batch), ("save_every", save_every)):
        if count is not None and count < 1:
            raise ValueError(f"{name} is {count}; wanted 1 or more")


def pick_up(run: Run, restart: bool, force: bool) -> None:
    """Continue what lies in the folder, one rank after the other."""
    first = run.here.first
    with parallel.in_turn(run.here):
        if restart and first:
            run_folder.remove_states(run.folder)
        saved, said = run_folder.load_state(run.folder, "run", run.model.device)
    if said and first:
        print(said)
    if saved is not None:
        resume(run.state, run.identity, saved, run.folder, force)
        if run.state.log:
            run.model.card["epoch"] = logs.kept_epoch(run.state.log)
    elif first:
        run_folder.check_room(run.folder, room(run.state))


def train_epoch(run: Run, stop: Event, shown: Bar) -> None:
    """The steps that are left of the epoch under way, until somebody says stop."""
    state, recipe = run.state, run.model.recipe
    epoch, run.pace = state.step // run.per_epoch, logs.Pace()
    order = torch.randperm(len(run.rows), generator=seeded(recipe.seed, 1, epoch))
    run.model.unet.train()
    batches = torch.split(run.rows[order].to(run.y0.device), recipe.batch_size)
    for batch in batches[state.step % run.per_epoch :]:
        take_step(run, batch)
        run.pace.images += len(batch)
        shown.update(1, lambda: logs.now(state.sums, run.pace))
        if state.step % run.save_every == 0 and state.step % run.per_epoch:
            check_skipped(state, run.folder)
            save(run.folder, state, run.identity, run.here)
        if asked_to_stop(stop, state.step, run):
            break
    check_skipped(state, run.folder)


def take_step(run: Run, batch: Tensor) -> None:
    """`train_step`, and what to do about a batch that does not fit."""
    data = (run.model.recipe, run.model.ddpm, run.y0, run.context)
    try:
        subjects = len(run.model.subjects)
        train_step(run.state, *data, batch, run.here, run.micro_batch, subjects)
        return
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        cause = error.with_traceback(None)  # whose frames hold what did not fit
    tried = run.micro_batch or -(-len(batch) // run.here.size)
    fit = rows_that_fit(run.state, *data, tried)
    advice = f"{fit} fit: --micro-batch {fit}" if fit else (
        "not even one fits: take a smaller network, or a device with more memory"
    )
    where = f"{tried} rows at a time on {run.y0.device}"
    raise MemoryError(f"out of memory with {where}; {advice}") from cause


def asked_to_stop(stop: Event, step: int, run: Run) -> bool:
    """Whether this rank or, every LOOK steps, any other was told to stop."""
    if run.here.size == 1:
        return stop.is_set()
    return step % LOOK == 0 and parallel.any_of(stop.is_set(), run.y0.device)


def check_skipped(state: State, folder: Path) -> None:
    """Stop a run that no longer learns, and say where it broke."""
    if (count := int(state.skipped)) <= MAX_SKIPPED:
        return
    step, row, t = (int(value) for value in state.worst)
    where = (
        f"the last loss that is not finite was at step {step}, of training row {row} at timestep "
        f"{t}: look at that recording and its features" if step >= 0
        else "all losses were finite on this rank: the gradients overflow, lower the learning rate"
    )
    raise ValueError(
        f"{folder}: {count} steps had gradients that are not finite and were left out; {where}"
    )


def finish_epoch(run: Run, shown: Bar, watch: Callable[[Log], object]) -> None:
    """Log the epoch; its averaged weights become `model.pt` if it is the one to keep."""
    model, state = run.model, run.state
    row = {
        "epoch": len(state.log) + 1,
        "step": state.step,
        **logs.losses(parallel.total(state.sums)),
        "heldout_mse": None,
        "skipped": int(state.skipped),
        **logs.machine_columns(run.pace, run.y0.device),
    }
    state.sums.zero_()
    trained, model.unet = model.unet, state.average
    if run.watched is not None and model.recipe.has_conditional_mean:
        row["heldout_mse"] = heldout_mse(model, *run.watched, here=run.here)
    state.log.append(row)
    kept = logs.kept_epoch(state.log) == row["epoch"]
    if kept:
        model.card["epoch"] = row["epoch"]
    if run.here.first:
        with run_folder.told_how_to_continue(run.folder):
            if kept:
                model.save(run.folder / "model.pt")
            write_text(run.folder / "log.csv", logs.to_csv(state.log))
            shown.say(f"{logs.describe(row)}, {shown.left()} left")
            watch(state.log)
    model.unet = trained


def finished(log: Log, recipe: Recipe) -> bool:
    """Whether the held-out error has not improved for `patience` epochs."""
    if not recipe.patience or not log:
        return False
    last: int = log[-1]["epoch"]
    return last - logs.kept_epoch(log) >= recipe.patience
