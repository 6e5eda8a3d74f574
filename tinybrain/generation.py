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

import os
from collections.abc import Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from . import __version__
from .download import file_sha256
from .encoder import read_captions
from .features import count_rows
from .generation_files import begin, check_fif, finish, missing_blocks, opened, write_fif
from .parallel import Ranks, any_of, barrier, process_group, share
from .pipeline import ImageToBrain
from .progress import bar, interruptible
from .run_folder import locked
from .signals import axes
from .speed import Speed
from .subjects import place_of
from .things.images import list_images

STEPS = {"ancestral": None, "ddim": 50, "dpm_solver": 20}  # of one not the recipe's; None: all


# -------------------------------------------------------------------------------------------------
# What is asked for


@dataclass(frozen=True)
class Plan:
    """What to draw for each image; `sampler` and `steps` are the recipe's unless given."""

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
        if self.subject is not None:
            place_of(self.subject, model.subjects)
        for name in ("trials", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; wanted 1 or more")
        if self.mean:
            if self.trials != 1:
                raise ValueError(f"the conditional mean is one signal per image, not {self.trials}")
            if not recipe.has_conditional_mean:
                raise ValueError(
                    f"recipe {recipe.name!r} has no zero terminal SNR, so no conditional mean; "
                    "draw trials and average them"
                )
            return replace(self, sampler=None, steps=None, guidance=None, seed=None)
        steps = self.steps
        if self.sampler not in (None, *STEPS):
            raise ValueError(f"sampler is {self.sampler!r}; wanted one of {', '.join(STEPS)}")
        if steps is None:
            usual = min(recipe.timesteps, STEPS.get(self.sampler) or recipe.timesteps)
            steps = usual if self.sampler else recipe.sampling_steps
        if not 1 <= steps <= recipe.timesteps:
            raise ValueError(f"steps is {steps}; wanted 1 to {recipe.timesteps}, the schedule's")
        if self.guidance != 1 and recipe.drop_context == 0:
            raise ValueError(
                f"guidance {self.guidance} needs a model that has seen the null context; this one "
                "was trained with drop_context=0"
            )
        return replace(self, sampler=self.sampler or recipe.sampler, steps=steps)


@dataclass(frozen=True)
class Stimuli:
    """Images in files, or features of them in one file, and captions where a model reads them."""

    names: tuple[str, ...]  # one per image
    files: dict[str, Path]  # all that is read, by name
    images: tuple[Path, ...] = ()
    captions: tuple[str, ...] = ()
    features: np.ndarray | None = None  # (n, d) or (n, l, d), a memory map

    def __len__(self) -> int:
        return len(self.names)

    def context(self, model: ImageToBrain, of: slice, subject: str | None = None) -> Tensor:
        """The context (n, l, d) of some of them, for one of the model's subjects."""
        if self.features is not None:
            return model.encode(np.array(self.features[of]), subject=subject)
        images = list(self.images[of]) if model.encoder.sees else None
        return model.encode(images, list(self.captions[of]) or None, subject=subject)

    def check(self, model: ImageToBrain, subject: str | None = None) -> None:
        """Raise ValueError if this is not what the model takes."""
        if self.features is not None:
            if self.captions:
                raise ValueError("features are the whole context: give no captions with them")
            try:
                self.context(model, slice(1), subject)
            except ValueError as error:
                raise ValueError(f"{next(iter(self.files))}: {error}") from None
            return
        encoder = model.encoder
        if encoder.name == "features":
            encoder.load_clip()  # says that there is none, and what to do
        if encoder.reads != bool(self.captions):
            raise ValueError(
                f"this model's context is {encoder.context!r}: it "
                + ("needs a table of captions" if encoder.reads else "reads no captions")
            )


def find_stimuli(sources: Sequence[str | Path], captions: str | Path | None = None) -> Stimuli:
    """The images of a folder or of a list of files, or the features in one .npy file.

    Raises
    ------
    FileNotFoundError, ValueError
        Nothing there; no images; no features (n, d) or (n, l, d); images without a caption.
    """
    sources = [Path(source) for source in sources]
    if any(source.suffix == ".npy" for source in sources):
        if len(sources) > 1:
            raise ValueError(f"{len(sources)} sources with a .npy: images, or one .npy alone")
        found = _features(sources[0])
    else:
        images = list_images(sources)
        root = os.path.commonpath([os.path.abspath(image.parent) for image in images])
        names = tuple(Path(os.path.relpath(image, root)).as_posix() for image in images)
        found = Stimuli(names, dict(zip(names, images)), images)
    if captions is None:
        return found
    table = Path(captions)
    told = tuple(read_captions(table, found.images))
    return replace(found, captions=told, files=found.files | {table.name: table})


def _features(path: Path) -> Stimuli:
    rows = count_rows(path)  # raises if it is no plain array
    features = np.load(path, mmap_mode="r", allow_pickle=False)
    if features.ndim not in (2, 3) or 0 in features.shape or features.dtype.kind != "f":
        raise ValueError(
            f"{path} holds {features.dtype} of shape {features.shape}; features are floats of "
            "shape (images, width) or (images, tokens, width)"
        )
    names = tuple(f"{path.name} row {row}" for row in range(rows))
    return Stimuli(names, {path.name: path}, features=features)


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
    model_path : file that `ImageToBrain.save` wrote
    stimuli : from `find_stimuli`
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
    KeyboardInterrupt
        After Ctrl-C, once the block under way is on disk; the same call continues.
    """
    folder, path, device = Path(folder), Path(model_path), torch.device(device)
    model = ImageToBrain.load(path, device=device)
    model.speed = speed
    plan = plan.settled(model)
    stimuli.check(model, plan.subject)
    if fif:
        check_fif((len(stimuli), plan.trials, *model.shape))
    with process_group(device) as here, ExitStack() as held:
        problem = None
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
        with opened(folder) if left else nullcontext() as put:
            for block in left:
                signals = draw_block(model, stimuli, plan, rows(block))        # (b, h, w)
                put(block, rows(block).start, signals.numpy())
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
        signals = model.draw(
            context[[image - first for image, _ in places]], places, sampler=plan.sampler,
            steps=plan.steps, guidance=plan.guidance, seed=plan.seed,
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
