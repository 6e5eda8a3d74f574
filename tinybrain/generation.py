"""Signals for many images, into a folder: block by block, by all ranks, continued after a stop.

    signals.npy     (n, k, h, w) float32, one signal per image and trial
    signals.json    its axes, and all that the signals are a function of

The rows of the array, one for each (image, trial), are cut into blocks of `batch_size`, and a block
is computed by itself: image encoding, noise and network see nothing of the others. So memory does
not grow with images or trials, and neither a stop nor the number of ranks changes a bit of the
result, as long as device, libraries and number of threads stay the same.

Letters: n images, k trials, b rows of a block, h sensors, w time points, l tokens, d width.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from . import __version__, samplers
from .download import file_sha256
from .generation_files import begin, check_fif, finish, missing_blocks, write_block, write_fif
from .model_files import model_file
from .parallel import Ranks, any_of, barrier, process_group, share
from .pipeline import ImageToBrain, check_counts
from .progress import bar, interruptible
from .run_folder import locked
from .signal_files import axes
from .speed import Speed
from .step import is_out_of_memory
from .stimuli import Stimuli
from .subjects import place_of

# -------------------------------------------------------------------------------------------------
# What is asked for


@dataclass(frozen=True)
class Plan:
    """What to draw for each image; `sampler` and `steps` are the recipe's unless given.

    Examples
    --------
    >>> Plan(trials=20, sampler="ddim", steps=50)
    Plan(trials=20, mean=False, sampler='ddim', steps=50, guidance=1.0, seed=0, ...)
    """

    trials: int = 1
    mean: bool = False  # the conditional mean, in place of trials
    sampler: str | None = None
    steps: int | None = None
    guidance: float | None = 1.0
    seed: int | None = 0
    batch_size: int = 64
    subject: str | None = None  # of a model of several; None: nobody in particular

    def settled(self, model: ImageToBrain) -> Plan:
        """With the defaults of a model filled in, or ValueError if it cannot do this."""
        recipe = model.recipe
        subject = self.subject  # as the model calls it, so that "2" continues "sub-02"
        if subject is not None:
            subject = model.subjects[place_of(subject, model.subjects)]
        check_counts(self.trials, self.batch_size)
        if self.mean:
            if self.trials != 1:
                raise ValueError(f"the conditional mean is one signal per image, not {self.trials}")
            if not recipe.has_conditional_mean:
                raise ValueError(
                    f"recipe {recipe.name!r} has no zero terminal SNR, so no conditional mean; "
                    "draw trials and average them"
                )
            return replace(
                self, sampler=None, steps=None, guidance=None, seed=None, subject=subject
            )
        steps, usual = self.steps, recipe.sampling_steps
        if self.sampler is not None:
            samplers.find(self.sampler)
            usual = samplers.usual_steps(self.sampler, recipe.timesteps)
        steps = usual if steps is None else steps
        check_counts(steps=steps)
        if not 1 <= steps <= recipe.timesteps:
            raise ValueError(f"steps is {steps}; wanted 1 to {recipe.timesteps}, the schedule's")
        model.check_guidance(1.0 if self.guidance is None else self.guidance)
        sampler = self.sampler or recipe.sampler
        whole = operator.index  # JSON has none of numpy's numbers
        return replace(
            self, sampler=sampler, subject=subject, trials=whole(self.trials), steps=whole(steps),
            batch_size=whole(self.batch_size), seed=None if self.seed is None else whole(self.seed),
        )


def describe(
    model: ImageToBrain, path: Path, stimuli: Stimuli, plan: Plan, device: torch.device
) -> dict[str, Any]:
    """The content of signals.json: whatever the signals are a function of."""
    shape = (len(stimuli), plan.trials, *model.shape)
    return {
        **axes(shape, model.sensors, model.times, model.kind, model.unit),
        "content": "conditional mean" if plan.mean else "trials",
        **{name: getattr(plan, name) for name in ("trials", "sampler", "steps", "guidance", "seed",
                                                  "batch_size", "subject")},
        "device": device.type,
        "model": {
            "file": path.name, "sha256": file_sha256(path), "recipe": model.recipe.name,
            "epoch": model.card.get("epoch"), "encoder": model.encoder.describe(),
        },
        "versions": {"tinybrain": __version__, "torch": str(torch.__version__),
                     "numpy": np.__version__},
        "images": list(stimuli.names),
        "files": {name: file_sha256(file) for name, file in stimuli.files.items()},
    }  # fmt: skip


# -------------------------------------------------------------------------------------------------
# The run


def generate(
    model_path: str | Path, stimuli: Stimuli, plan: Plan, folder: str | Path, *,
    device: str | torch.device = "cpu", speed: Speed = Speed(), restart: bool = False,
    fif: bool = False, progress: bool = False,
) -> int:
    """Fill `folder`, continuing what an earlier call with the same arguments has left there.

    Under torchrun every rank calls this, with its own device and one folder that all can write.

    Parameters
    ----------
    model_path : file that `ImageToBrain.save` wrote, or the folder of a run
    stimuli : from `stimuli.find_stimuli`
    plan : what to draw
    speed : what changes the time, and of the signals no more than the last digits
    restart : forget what the folder holds
    fif : also write signals-epo.fif, with MNE
    progress : show a bar

    Returns
    -------
    int : signals that this process has drawn; 0 if all were there

    Raises
    ------
    FileNotFoundError, ValueError
        No such model, or no such subject in it; it cannot do this; the folder holds signals made
        from something else, with the difference named; an image is broken; a signal is not finite.
    OSError
        The folder cannot be written, the disk is full, or another process works here.
    MemoryError
        So many signals at once do not fit; the message says what to do.
    KeyboardInterrupt
        After Ctrl-C, once the block under way is on disk; the same call continues.

    Examples
    --------
    A model that has learned nothing, features of two images, five signals for each:

    >>> from tempfile import TemporaryDirectory
    >>> from tinybrain.stimuli import find_stimuli
    >>> from tinybrain.tiny import tiny_model
    >>> with TemporaryDirectory() as folder:
    ...     file = Path(folder, "two.npy")
    ...     np.save(file, np.ones((2, 8), np.float32))
    ...     model = tiny_model().save(Path(folder, "model.pt"))
    ...     generate(model, find_stimuli([file]), Plan(trials=5), folder)
    ...     np.load(Path(folder, "signals.npy")).shape
    10
    (2, 5, 3, 16)
    """
    folder, path, device = Path(folder), model_file(model_path), torch.device(device)
    model = ImageToBrain.load(path, device=device)
    model.speed = speed
    plan = plan.settled(model)
    stimuli.check(model, plan.subject)
    if fif:
        check_fif((len(stimuli), plan.trials, *model.shape))
    with process_group(device) as here, ExitStack() as held:
        problem: Exception | None = None
        if here.first:
            try:
                held.enter_context(locked(folder))
                begin(folder, describe(model, path, stimuli, plan, device), restart)
            except (ValueError, OSError) as error:
                problem = error
        if any_of(problem is not None, device):  # none may wait for one that has given up
            raise problem or SystemExit(1)
        drawn = _fill(folder, model, stimuli, plan, here, progress)
        if here.first:
            finish(folder)
            if fif:
                write_fif(folder)
        barrier()
    return drawn


def _fill(
    folder: Path, model: ImageToBrain, stimuli: Stimuli, plan: Plan, here: Ranks, progress: bool
) -> int:
    """Draw this rank's share of the blocks that are left; how many signals these were."""
    drawn, total = 0, len(stimuli) * plan.trials

    def rows(block: int) -> range:
        return range(total)[block * plan.batch_size :][: plan.batch_size]

    left = share(missing_blocks(folder), here)
    barrier()  # all have looked at what is left before the first changes it
    with interruptible() as stop, bar(len(left), 0, progress and here.first) as shown:
        for block in left:
            with told_what_fits(plan, model.device):
                signals = draw_block(model, stimuli, plan, rows(block))        # (b, h, w)
            write_block(folder, block, total - rows(block).start, signals.numpy())
            drawn += len(signals)
            shown.update(1)
            if stop.is_set():
                break
        stopped = any_of(drawn < sum(len(rows(block)) for block in left), model.device)
    if stopped:
        ready = total - sum(len(rows(block)) for block in missing_blocks(folder))
        raise KeyboardInterrupt(
            f"stopped: {ready} of {total} signals are drawn; the same command continues"
        )
    return drawn


@contextmanager
def told_what_fits(plan: Plan, device: torch.device) -> Iterator[None]:
    """A MemoryError that says what to do, where a block does not fit."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        fewer = f"try --batch-size {plan.batch_size // 2}, which begins anew (--restart)"
        advice = fewer if plan.batch_size > 1 else "take a device with more memory"
        raise MemoryError(
            f"out of memory with {plan.batch_size} signals at a time on {device}; {advice}"
        ) from None


def draw_block(model: ImageToBrain, stimuli: Stimuli, plan: Plan, rows: range) -> Tensor:
    """The signals (b, h, w) of some rows of the array (n k, h, w)."""
    places = [divmod(row, plan.trials) for row in rows]  # (image, trial)
    first, last = places[0][0], places[-1][0]
    context = stimuli.context(model, slice(first, last + 1), plan.subject)     # (n, l, d)
    for image in not_finite(context):
        raise ValueError(f"{stimuli.names[first + image]}: its features hold NaN or infinity")
    if plan.mean:
        signals = torch.from_numpy(model.mean(context, batch_size=len(rows)).data[:, 0])
    else:
        guidance, seed = cast(float, plan.guidance), cast(int, plan.seed)  # of trials there are
        signals = model.draw(
            context[[image - first for image, _ in places]], places, sampler=plan.sampler,
            steps=plan.steps, guidance=guidance, seed=seed,
        )
    for row in not_finite(signals):
        image, trial = places[row]
        raise ValueError(
            f"{stimuli.names[image]}, trial {trial}: NaN or infinity in the signal; is the model "
            "trained, the guidance moderate?"
        )
    return signals


def not_finite(values: Tensor) -> list[int]:
    """Which of the first axis hold NaN or infinity."""
    return (~torch.isfinite(values)).flatten(1).any(dim=1).nonzero()[:, 0].tolist()
