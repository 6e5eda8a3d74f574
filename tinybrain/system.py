"""The system of Figure 2: its parts, and what each does to an image or to a signal.

    context = CLIP(image)                                                     Section 3.2
    base    = ridge on the context and its products, or 0                     beyond the paper
    y_0     ~ reverse process of the U-Net, given the standardised context    Section 3.5
    signal  = base + offset + scale * y_0                        offset and scale per sensor

`pipeline.ImageToBrain` makes signals with it. A model of several subjects is told beside the image
whose signals are wanted (`subjects.py`).
Letters: n images, s subjects, h sensors, w time points, l tokens, d width.
"""

from __future__ import annotations

from collections.abc import Sequence, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from .denoiser import Denoiser, first_weights
from .encoder import Encoder
from .encoding import EncodingModel, SubjectEncoding
from .features import as_context
from .messages import first_few
from .recipes import Recipe
from .speed import Speed
from .subjects import per_subject, tell_asked, untold, weights_of
from .targets import make_targets
from .unet import UNet2D, UNetConfig

if TYPE_CHECKING:  # neither CLIP nor readers of recordings are needed before they are used
    from numpy.typing import NDArray
    from typing_extensions import Self

    from .clip.model import CLIP
    from .recorded import Recorded

Images = str | Path | Sequence[Any] | np.ndarray | Tensor  # paths, PIL images, uint8 (H, W, 3)
Captions = str | Sequence[str] | None


@dataclass(repr=False)
class System:
    """CLIP, U-Net, diffusion process, encoding model, scaling: all that turns images to signals."""

    recipe: Recipe
    unet: UNet2D
    encoding: EncodingModel | SubjectEncoding | None  # what the network adds to
    offset: Tensor  # (h,) of the network's target, signal units; of several subjects (s, h)
    scale: Tensor  # likewise
    context_mean: Tensor  # (d,), of several subjects (d + s,)
    context_scale: Tensor  # (d,)
    sensors: tuple[str, ...]
    times: NDArray[np.float64]
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

    def __repr__(self) -> str:
        """One line, in place of the whole network."""
        (h, w), people = self.shape, f", {len(self.subjects)} subjects" if self.subjects else ""
        weights = sum(weight.numel() for weight in self.unet.parameters())
        return (
            f"<{type(self).__name__} {self.kind}: image to {h} sensors x {w} points "
            f"{self.times[0]:.3f} to {self.times[-1]:.3f} s, {self.unit}{people}; recipe "
            f"{self.recipe.name}, {weights:,} parameters on {self.device}>"
        )

    @classmethod
    def prepare(
        cls, recipe: Recipe, config: UNetConfig, recording: Recorded,
        context: Tensor | NDArray[Any], encoder: Encoder,
    ) -> tuple[Self, Tensor]:
        """An untrained model and what its network should learn; `tiny.py` is an example.

        Parameters
        ----------
        recipe, config
        recording : `things.EEG2`, `Subjects` or anything with their fields; `signals` (n, h, w)
        context : Tensor or array (n, d) or (n, l, d)
            Raw features of every row; of several subjects (n, l, d + s), as `tell_whose` makes it.
        encoder : what made it.

        Returns
        -------
        model : of this class
        y0 : Tensor (n, h, w), targets of the diffusion process (`targets.make_targets`)

        Raises
        ------
        ValueError
            The context does not fit recording and config; or it has words beside the image, and
            `config.conditioning` hears one token only.
        """
        encoder.check_heard(config.conditioning)
        context, rows = as_context(context).float(), len(recording.signals)
        if context.ndim != 3 or (len(context), context.shape[2]) != (rows, config.context_dim):
            raise ValueError(f"context is {tuple(context.shape)}; wanted ({rows}, tokens, "
                             f"{config.context_dim}): a row for each of the recording's, of the "
                             "width that config.context_dim says")
        encoding, scaling, y0 = make_targets(recipe, recording, context, encoder)
        model = cls(
            recipe, first_weights(config, recipe.seed), encoding, **scaling,
            sensors=tuple(recording.sensors), times=np.asarray(recording.times),
            kind=recording.kind, unit=recording.unit, encoder=encoder, card={},
            subjects=getattr(recording, "subjects", ()),
        )
        return model, y0

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
        kept = self._denoiser
        if kept is None or (kept.unet, kept.speed) != (self.unet, self.speed):
            kept = self._denoiser = Denoiser(self.unet, self.recipe.bf16, self.speed)
        self.unet.eval()
        return kept

    def to(self, device: str | torch.device) -> Self:
        """Move the network; signals always come back to the CPU."""
        self.unet.to(device)
        self._denoiser = None
        return self

    def encode(
        self, images: Images | None = None, captions: Captions = None, *,
        subject: str | int | None = None, progress: bool = False,
    ) -> Tensor:
        """Context (n, l, d) of what `Encoder.encode` takes, or of features, which are checked.

        Arrays of images are uint8: (H, W, 3), a list of them, or (n, H, W, 3); features are floats.
        Of several subjects it is (n, l, d + s), weights behind features; what has them is left so.

        Raises
        ------
        ValueError
            As `Encoder.encode` and `Encoder.load_clip`; the features have another width; there is
            no such subject, or the context tells of one already; there are no images.

        Examples
        --------
        >>> from tinybrain.tiny import tiny_model
        >>> tiny_model().encode(torch.ones(5, 8)).shape  # features stay as they are
        torch.Size([5, 1, 8])
        """
        if isinstance(images, Sized) and len(images) == 0:
            raise ValueError("no images: wanted one or more")
        weights_of(subject, self.subjects)  # who is unknown is named before images are encoded
        if isinstance(images, (np.ndarray, Tensor)) and _is_floating(images):
            context = as_context(images).float()
            _check_finite(context)
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
        if isinstance(self.encoding, SubjectEncoding):
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


def _check_finite(context: Tensor) -> None:
    """ValueError that names the rows of features (n, l, d) which hold NaN or infinity."""
    sums = context.reshape(len(context), -1).sum(dim=1)  # of any axes: those are told next
    if broken := (~torch.isfinite(sums)).nonzero()[:, 0].tolist():
        raise ValueError(f"features of {len(broken)} of {len(context)} images hold NaN or infinity "
                         f"(rows {first_few(broken)}, counted from 0): make them again")


def _is_floating(values: NDArray[Any] | Tensor) -> bool:
    return values.is_floating_point() if isinstance(values, Tensor) else values.dtype.kind == "f"
