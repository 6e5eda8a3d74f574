"""Figure 2 as one object: an image goes in, brain signals come out.

    context = CLIP(image)                                                     Section 3.2
    base    = ridge on the context and its products, or 0                     beyond the paper
    y_0     ~ reverse process of the U-Net, given the standardised context    Section 3.5
    signal  = base + offset + scale * y_0                        offset and scale per sensor

A model of several subjects is told beside the image whose signals are wanted (`subjects.py`).
Letters: n images, k trials, s subjects, h sensors, w time points, l tokens, d width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from . import checkpoint, parallel, samplers
from .clip.model import CLIP
from .denoiser import Denoiser, first_weights, seeded
from .encoder import Encoder
from .encoding import EncodingModel
from .parallel import Ranks
from .recipes import Recipe
from .signals import BrainSignals
from .speed import Speed
from .subjects import SubjectEncoding, per_subject, tell_asked, untold, weights_of
from .targets import SCALING, make_targets
from .unet import UNet2D, UNetConfig

Images = str | Path | Sequence | np.ndarray | Tensor
Captions = str | Sequence[str] | None


@dataclass
class ImageToBrain:
    """CLIP, U-Net, diffusion process, encoding model, scaling: all that turns images to signals.

    Made by `ImageToBrain.prepare` (untrained) or `ImageToBrain.load`.
    """

    recipe: Recipe
    unet: UNet2D
    encoding: EncodingModel | SubjectEncoding | None  # what the network adds to
    offset: Tensor  # (h,) of the network's target, signal units; of several subjects (s, h)
    scale: Tensor  # likewise
    context_mean: Tensor  # (d,), of several subjects (d + s,)
    context_scale: Tensor  # (d,)
    sensors: tuple[str, ...]
    times: np.ndarray
    kind: str
    unit: str
    encoder: Encoder  # what made the context
    card: dict[str, Any]  # data, metrics, versions: whatever a reader of the file should know
    subjects: tuple[str, ...] = ()  # their names, where there are several

    def __post_init__(self) -> None:
        self.ddpm = self.recipe.ddpm()
        self.speed = Speed()  # of generating; may be set
        self._clip: CLIP | None = None
        self._denoiser: Denoiser | None = None

    @classmethod
    def prepare(
        cls, recipe: Recipe, config: UNetConfig, recording, context: Tensor, encoder: Encoder
    ) -> tuple[ImageToBrain, Tensor]:
        """An untrained model and what its network should learn.

        Parameters
        ----------
        recipe, config
        recording : `things.EEG2`, `Subjects` or anything with their fields; `signals` (n, h, w)
        context : Tensor (n, l, d)
            Raw features of every row; of several subjects (n, l, d + s), as `tell_whose` makes it.
        encoder : what made it.

        Returns
        -------
        model : ImageToBrain
        y0 : Tensor (n, h, w), targets of the diffusion process (`targets.make_targets`)

        Raises
        ------
        ValueError
            The context has words beside the image, and `config.conditioning` hears one token only.
        """
        encoder.check_heard(config.conditioning)
        encoding, scaling, y0 = make_targets(recipe, recording, context, encoder)
        model = cls(
            recipe, first_weights(config, recipe.seed), encoding, **scaling,
            sensors=tuple(recording.sensors), times=np.asarray(recording.times),
            kind=recording.kind, unit=recording.unit, encoder=encoder, card={},
            subjects=getattr(recording, "subjects", ()),
        )
        return model, y0

    # ---------------------------------------------------------------------------------------------
    # Generating

    @property
    def clip(self) -> CLIP:
        """The image encoder, read or drawn when it is first needed; may be set."""
        if self._clip is None:
            self._clip = self.encoder.load_clip()
        return self._clip

    @clip.setter
    def clip(self, clip: CLIP) -> None:
        self._clip = clip

    @property
    def device(self) -> torch.device:
        return next(self.unet.parameters()).device

    @property
    def shape(self) -> tuple[int, int]:
        """(sensors, time points)."""
        return len(self.sensors), len(self.times)

    def denoiser(self) -> Denoiser:
        """The U-Net, ready to generate; kept, for a program that is compiled is not made twice."""
        old = self._denoiser
        if old is None or (old.unet, old.speed) != (self.unet, self.speed):
            self._denoiser = Denoiser(self.unet, self.recipe.bf16, self.speed)
        self.unet.eval()
        return self._denoiser

    def to(self, device: str | torch.device) -> ImageToBrain:
        """Move the network; signals always come back to the CPU."""
        self.unet.to(device)
        self._denoiser = None
        return self

    def encode(
        self, images: Images | None = None, captions: Captions = None, *,
        subject: str | None = None, progress: bool = False,
    ) -> Tensor:
        """Context (n, l, d) of what `Encoder.encode` takes, or of features, which are checked.

        Of several subjects it is (n, l, d + s), weights behind features; what has them is left so.

        Raises
        ------
        ValueError
            As `Encoder.encode` and `Encoder.load_clip`; the features have another width; there is
            no such subject, or the context tells of one already.
        """
        weights_of(subject, self.subjects)  # who is unknown is named before images are encoded
        if isinstance(images, (np.ndarray, Tensor)) and _is_floating(images):
            context = torch.as_tensor(images, dtype=torch.float32)
            context = rearrange(context, "n d -> n 1 d") if context.ndim == 2 else context
        else:
            context = self.encoder.encode(
                self.clip, images, captions, device=self.device, progress=progress
            )
        return tell_asked(context, len(self.context_mean), subject, self.subjects)

    def weights(self, context: Tensor) -> Tensor | None:
        """Weights (n, s) in a context; None where the model is of one subject."""
        return untold(context, len(self.subjects))[1] if self.subjects else None

    def base(self, context: Tensor) -> Tensor:
        """What the network adds to: the encoding model's prediction, or zero. (n, h, w)."""
        if self.encoding is None:
            return torch.zeros(len(context), *self.shape)
        features, weights = untold(context, len(self.subjects))
        pooled = self.encoder.pooled(features)
        if self.subjects:
            return self.encoding.predict(pooled, weights)
        return self.encoding.predict(pooled)

    def condition(self, context: Tensor) -> Tensor:
        """The context as the network sees it (n, l, d), on its device."""
        return ((context - self.context_mean) / self.context_scale).to(self.device)

    def signal(self, y0: Tensor, base: Tensor, weights: Tensor | None = None) -> Tensor:
        """From the network's y0 to signals, both (n, h, w); the inverse of `prepare`'s scaling.

        The weights (n, s) are those of the context, where the model is of several subjects.
        """
        offset, scale = (per_subject(part, weights) for part in (self.offset, self.scale))
        return base + offset + scale * y0.float().cpu()

    def generate(
        self, images: Images | None = None, trials: int = 1, *, captions: Captions = None,
        subject: str | None = None, sampler: str | None = None, steps: int | None = None,
        guidance: float = 1.0, seed: int = 0, batch_size: int = 64, here: Ranks = Ranks(),
        progress: bool = False,
    ) -> BrainSignals:
        """Signals as single recordings would be, noise included: `trials` for each image.

        Parameters
        ----------
        images : path, folder, list of paths or PIL images, pixels, or features (n, d), (n, l, d)
        trials : k
        captions : one per image, for a model that reads; `encoder.captions` makes them of concepts
        subject : one of `subjects`; by default nobody in particular, the average of them
        sampler, steps : as `samplers.sample`; by default the recipe's.
        guidance : classifier-free guidance; needs a model trained with `drop_context`.
        seed : the noise of each trial is a function of (seed, image, trial), whatever the batches.
        batch_size : trials denoised at once; bounds memory.
        here : which of the ranks that share the work this is; all call, and all get the whole.

        Returns
        -------
        BrainSignals with data (n, k, h, w)

        Raises
        ------
        ValueError
            As `encode` and `samplers.sample`; also for guidance on a model that cannot have it.
        """
        if guidance != 1 and self.recipe.drop_context == 0:
            raise ValueError(
                f"guidance {guidance} needs a model that has seen the null context; this one was "
                "trained with drop_context=0"
            )
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
        return self._signals(rearrange(data, "(n k) h w -> n k h w", k=trials))

    def draw(
        self, context: Tensor, rows: Sequence[tuple[int, int]], *, sampler: str | None = None,
        steps: int | None = None, guidance: float = 1.0, seed: int = 0, progress: bool = False,
    ) -> Tensor:
        """One batch of `generate`: a signal (b, h, w) for each context (b, l, d).

        `rows` are the numbers (image, trial) of each: with the seed they are all its noise.
        """
        y0 = samplers.sample(
            self.ddpm, self.denoiser(), self.condition(context), self.shape,
            sampler=sampler or self.recipe.sampler,
            steps=steps or (self.recipe.sampling_steps if sampler is None else None),
            guidance=guidance, generator=[seeded(seed, *row) for row in rows], progress=progress,
        )
        return self.signal(y0, self.base(context), self.weights(context))

    def mean(
        self, images: Images | None = None, *, captions: Captions = None,
        subject: str | None = None, draws: int = 8, batch_size: int = 64,
    ) -> BrainSignals:
        """The expected signal E[signal | image], by evaluating the network once, at pure noise.

        A network trained for a finite time lets a little of that noise through; the answers to
        `draws` different noises are averaged. One is enough where speed is everything.

        Raises
        ------
        ValueError
            If the recipe has no zero terminal SNR (`samplers.conditional_mean`).
        """
        context = self.encode(images, captions, subject=subject)
        base, condition = self.base(context), self.condition(context)
        parts = []
        for start in range(0, len(context), batch_size):
            of = slice(start, start + batch_size)
            y0 = samplers.conditional_mean(
                self.ddpm, self.denoiser(), condition[of], self.shape, draws=draws
            )
            parts.append(self.signal(y0, base[of], self.weights(context[of])))
        return self._signals(rearrange(torch.cat(parts), "n h w -> n 1 h w"))

    def denoise_steps(
        self, image: Images | None = None, *, captions: Captions = None,
        subject: str | None = None, sampler: str | None = None, steps: int | None = None,
        seed: int = 0,
    ) -> Iterator[tuple[int, Tensor]]:
        """Watch one signal appear: (t, y_t (h, w) in signal units), from noise to t = -1.

        What the network adds to, `base` and `offset`, counts by sqrt(alpha_bar_t), as all of the
        signal does in `DDPM.q_sample`: at the first step there is nothing but noise.
        """
        context = self.encode(image, captions, subject=subject)[:1]
        base, condition = self.base(context), self.condition(context)
        weights = self.weights(context)
        walk = getattr(samplers, sampler or self.recipe.sampler)(
            self.ddpm, self.denoiser(), condition, self.shape,
            steps=steps or self.recipe.sampling_steps, generator=[seeded(seed, 0, 0)],
        )
        for step in walk:
            noise = per_subject(self.scale, weights) * step.y_t.cpu()
            whole = self.signal(step.y_t, base, weights)
            yield step.t, (noise + self.ddpm.alpha_bar(step.t) ** 0.5 * (whole - noise))[0]

    def _signals(self, data: Tensor) -> BrainSignals:
        return BrainSignals(data.numpy(), self.sensors, self.times, self.kind, self.unit)

    # ---------------------------------------------------------------------------------------------
    # Files

    def save(self, path: str | Path) -> Path:
        """Write everything into one self-describing file, atomically."""
        content = {
            "card": self.card,
            "recipe": checkpoint.config_to_dict(self.recipe),
            "unet_config": checkpoint.config_to_dict(self.unet.config),
            "sensors": list(self.sensors),
            "times": [float(time) for time in self.times],
            "kind": self.kind, "unit": self.unit,
            "subjects": list(self.subjects),
            "encoder": asdict(self.encoder),
            "encoding": self.encoding.state() if self.encoding else None,
            **{name: getattr(self, name).clone() for name in SCALING},
            "unet": self.unet.state_dict(),
        }
        return checkpoint.save(path, "model", content)

    @classmethod
    def load(cls, path: str | Path, *, device: str | torch.device = "cpu") -> ImageToBrain:
        """The model that `save` wrote, its networks on `device`.

        Raises
        ------
        FileNotFoundError, ValueError
            As `checkpoint.load`.
        """
        content = checkpoint.load(path, "model")
        unet = UNet2D(checkpoint.config_from_dict(UNetConfig, content["unet_config"]))
        unet.load_state_dict(content["unet"])
        subjects = tuple(content.get("subjects", ()))  # the first files knew of one subject only
        encoding = SubjectEncoding if subjects else EncodingModel
        model = cls(
            recipe=checkpoint.config_from_dict(Recipe, {"drop_subject": 0.0, **content["recipe"]}),
            unet=unet, subjects=subjects,
            encoding=content["encoding"] and encoding.from_state(content["encoding"]),
            sensors=tuple(content["sensors"]), times=np.array(content["times"]),
            encoder=checkpoint.config_from_dict(Encoder, content["encoder"]),
            **{name: content[name] for name in (*SCALING, "kind", "unit", "card")},
        )
        return model.to(device)


def _is_floating(values: np.ndarray | Tensor) -> bool:
    return values.is_floating_point() if isinstance(values, Tensor) else values.dtype.kind == "f"
