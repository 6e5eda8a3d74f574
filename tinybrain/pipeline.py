"""Figure 2 as one object: an image goes in, brain signals come out.

What its parts are and how they fit together is in `system.py`; here they are run: whole
recordings, their expected value, or the way there step by step.
Letters: n images, k trials, b batch, h sensors, w time points, l tokens, d width.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from einops import rearrange
from torch import Tensor

from . import parallel, samplers
from .denoiser import seeded
from .model_files import read_model, save_model
from .parallel import Ranks, pick_device
from .samplers import Sampler, Step
from .signal_axes import with_names
from .signals import BrainSignals
from .subjects import per_subject
from .system import Captions, Images, System


def check_counts(trials: int = 1, batch_size: int = 1, draws: int = 1, steps: int = 1) -> None:
    """ValueError for less than one of what is to be drawn, or for a fraction; it names which."""
    given = {"trials": trials, "batch_size": batch_size, "draws": draws, "steps": steps}
    for name, count in given.items():
        try:
            whole = operator.index(count)
        except TypeError:
            raise ValueError(f"{name} is {count!r}; wanted a whole number, 1 or more") from None
        if whole < 1:
            raise ValueError(f"{name} is {count}; wanted 1 or more")


class ImageToBrain(System):
    """CLIP, U-Net, diffusion process, encoding model, scaling: all that turns images to signals.

    Made by `ImageToBrain.load`, or untrained by `ImageToBrain.prepare`. `card` may hold whatever a
    reader of its file should know, such as a "licence" of the weights.

    Examples
    --------
    >>> from tinybrain.tiny import tiny_model  # in place of ImageToBrain.load("model.pt")
    >>> model, features = tiny_model(), torch.ones(2, 8)  # of two images
    >>> signals = model.generate(features, trials=3)
    >>> signals.data.shape, signals.sensors, signals.unit
    ((2, 3, 3, 16), ('O1', 'Oz', 'O2'), 'a.u.')
    """

    def generate(
        self, images: Images | None = None, trials: int = 1, *, captions: Captions = None,
        subject: str | int | None = None, sampler: str | Sampler | None = None,
        steps: int | None = None, guidance: float = 1.0, seed: int = 0, batch_size: int = 64,
        here: Ranks = Ranks(), progress: bool = False,
    ) -> BrainSignals:
        """Signals as single recordings would be, noise included: `trials` for each image.

        Parameters
        ----------
        images : path, folder, list of paths or PIL images; arrays of pixels, uint8 (H, W, 3), a
            list of them or (n, H, W, 3); or of features, floats (n, d) or (n, l, d)
        trials : k
        captions : one per image, for a model that reads; `encoder.captions` makes them of concepts
        subject : one of `subjects`, by name or number ("sub-02", "2", 2); by default nobody in
            particular, the average of them
        sampler, steps : as `samplers.sample`; by default the recipe's.
        guidance : classifier-free guidance; needs a model trained with `drop_context`.
        seed : the noise of each trial is a function of (seed, image, trial), whatever the batches;
            image is its place among those given.
        batch_size : trials denoised at once; bounds memory.
        here : which of the ranks that share the work this is; all call, and all get the whole.

        Returns
        -------
        BrainSignals with data (n, k, h, w), and the names of the images as its `images`: their
        paths from the folder that all are in. Arrays, features and pictures that were not opened
        from a file have none.

        Raises
        ------
        ValueError
            As `encode` and `samplers.sample`; also for guidance on a model that cannot have it,
            and for less than one trial, or one at a time.

        Examples
        --------
        >>> from tinybrain.tiny import tiny_model
        >>> one, two = (tiny_model().generate(torch.ones(1, 8), seed=seed).data for seed in (1, 2))
        >>> one.shape, bool((one == two).any())  # another seed is another recording
        ((1, 1, 3, 16), False)
        """
        check_counts(trials, batch_size)
        self.check_guidance(guidance)
        images, names = self._with_names(images)
        context = self.encode(images, captions, subject=subject, progress=progress)
        rows = [(image, trial) for image in range(len(context)) for trial in range(trials)]
        data = torch.zeros(len(rows), *self.shape)
        for start in parallel.share(range(0, len(rows), batch_size), here):
            batch = rows[start : start + batch_size]
            data[start : start + batch_size] = self.draw(
                context[[image for image, _ in batch]], batch, sampler=sampler, steps=steps,
                guidance=guidance, seed=seed, progress=progress,
            )
        if here.size > 1:
            data = parallel.total(data.to(self.device)).cpu()
        return self._signals(rearrange(data, "(n k) h w -> n k h w", k=trials), names)

    def draw(
        self, context: Tensor, rows: Sequence[tuple[int, int]], *,
        sampler: str | Sampler | None = None, steps: int | None = None, guidance: float = 1.0,
        seed: int = 0, progress: bool = False,
    ) -> Tensor:
        """One batch of `generate`: a signal (b, h, w) for each context (b, l, d).

        `rows` are the numbers (image, trial) of each: with the seed they are all its noise.
        """
        sampler, steps = self._way(sampler, steps)
        try:
            y0 = samplers.sample(
                self.ddpm, self.denoiser(), self.condition(context), self.shape, sampler=sampler,
                steps=steps, guidance=guidance, generator=[seeded(seed, *row) for row in rows],
                progress=progress,
            )
        except (TypeError, AttributeError) as error:
            if isinstance(sampler, str):
                raise
            raise TypeError(f"{error}; a sampler of your own yields samplers.Step") from error
        return self.signal(y0, self.base(context), self.weights(context))

    def mean(
        self, images: Images | None = None, *, captions: Captions = None,
        subject: str | int | None = None, draws: int = 8, batch_size: int = 64,
    ) -> BrainSignals:
        """The expected signal E[signal | image], by evaluating the network once, at pure noise.

        A network trained for a finite time lets a little of that noise through; the answers to
        `draws` different noises are averaged. One is enough where speed is everything.

        Parameters
        ----------
        images, captions, subject, batch_size : as `generate`

        Returns
        -------
        BrainSignals with data (n, 1, h, w), `images` as those of `generate`

        Raises
        ------
        ValueError
            If the recipe has no zero terminal SNR (`samplers.conditional_mean`); as `generate`.

        Examples
        --------
        >>> from tinybrain.tiny import tiny_model
        >>> tiny_model().mean(torch.ones(2, 8)).data.shape
        (2, 1, 3, 16)
        """
        check_counts(draws=draws, batch_size=batch_size)
        images, names = self._with_names(images)
        context = self.encode(images, captions, subject=subject)
        base, condition = self.base(context), self.condition(context)
        parts = []
        for start in range(0, len(context), batch_size):
            of = slice(start, start + batch_size)
            y0 = samplers.conditional_mean(
                self.ddpm, self.denoiser(), condition[of], self.shape, draws=draws
            )
            parts.append(self.signal(y0, base[of], self.weights(context[of])))
        return self._signals(rearrange(torch.cat(parts), "n h w -> n 1 h w"), names)

    def denoise_steps(
        self, images: Images | None = None, *, captions: Captions = None,
        subject: str | int | None = None, sampler: str | Sampler | None = None,
        steps: int | None = None, guidance: float = 1.0, seed: int = 0,
    ) -> Iterator[Step]:
        """Watch signals appear, one for each of a few images: what `generate` does, step by step.

        Everything is in signal units. What the network adds to, `base` and `offset`, counts in y_t
        by sqrt(alpha_bar_t), as all of the signal does in `DDPM.q_sample`: at the first step of
        zero terminal SNR there is nothing but noise.

        Parameters
        ----------
        images, captions, subject, sampler, steps, guidance, seed : as `generate`

        Yields
        ------
        Step(t, y_t, y0), from t = T-1 down to -1: y_t (n, h, w), and the clean signals (n, h, w)
        that the network sees in it. The last are those of `generate` with one trial, the same seed.

        Raises
        ------
        ValueError : as `generate`.

        Examples
        --------
        >>> from tinybrain.tiny import tiny_model
        >>> [step.t for step in tiny_model().denoise_steps(torch.ones(1, 8))]
        [999, 749, 499, 249, -1]
        """
        self.check_guidance(guidance)
        sampler, steps = self._way(sampler, steps)
        context = self.encode(images, captions, subject=subject)
        base, weights = self.base(context), self.weights(context)
        walk = samplers.find(sampler)(
            self.ddpm, self.denoiser(), self.condition(context), self.shape, guidance=guidance,
            steps=steps, generator=[seeded(seed, row, 0) for row in range(len(context))],
        )
        for t, y_t, y0 in walk:
            noise = per_subject(self.scale, weights) * y_t.cpu()
            still = self.signal(y_t, base, weights) - noise  # base and offset
            yield Step(t, noise + self.ddpm.alpha_bar(t) ** 0.5 * still,
                       self.signal(y0, base, weights))

    def _way(self, sampler: str | Sampler | None, steps: int | None) -> tuple[str | Sampler, int]:
        """The sampler and its steps: what is asked for, and the recipe's for what is not."""
        usual = self.recipe.sampling_steps
        if isinstance(sampler, str):
            usual = samplers.usual_steps(sampler, self.ddpm.steps)
        steps = usual if steps is None else steps
        check_counts(steps=steps)
        return sampler or self.recipe.sampler, steps

    def check_guidance(self, guidance: float) -> None:
        """ValueError for guidance that is no number, or not 1 on a model that cannot have it."""
        if not math.isfinite(guidance):
            raise ValueError(f"guidance is {guidance}; wanted a number, 1 for none")
        if guidance != 1 and self.recipe.drop_context == 0:
            raise ValueError(
                f"guidance {guidance} needs a model that has seen the null context; this one was "
                "trained with drop_context=0"
            )

    def _with_names(self, images: Images | None) -> tuple[Images | None, tuple[str, ...]]:
        """Images, a folder listed, and their names; none of images that the model does not see."""
        return with_names(images) if self.encoder.sees else (images, ())

    def _signals(self, data: Tensor, images: tuple[str, ...]) -> BrainSignals:
        return BrainSignals(data.numpy(), self.sensors, self.times, self.kind, self.unit, images)

    # ---------------------------------------------------------------------------------------------
    # Files

    def save(self, path: str | Path) -> Path:
        """Write everything into one self-describing file, atomically.

        `python -m tinybrain FILE` prints what it says of itself.

        Examples
        --------
        >>> import tempfile
        >>> from tinybrain.tiny import tiny_model
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     again = ImageToBrain.load(tiny_model().save(f"{folder}/model.pt"))
        >>> again.sensors
        ('O1', 'Oz', 'O2')
        """
        return save_model(path, self)

    @classmethod
    def load(cls, path: str | Path, *, device: str | torch.device = "cpu") -> ImageToBrain:
        """The model that `save` wrote, its networks on `device`; an example stands there.

        Parameters
        ----------
        path : the file; or the folder of a run, which holds model.pt

        Raises
        ------
        FileNotFoundError, ValueError
            As `checkpoint.load`; torch has no such device here.
        """
        device = pick_device(name=str(device))
        return cls(**read_model(path)).to(device)
