"""The diffusion process: how noise is added, what the network learns, how noise is removed.

    3.3.1  q(y_t | y_{t-1}) = N(sqrt(1 - beta_t) y_{t-1}, beta_t I)              `forward_step`
    3.3.1  q(y_t | y_0) = N(sqrt(alpha_bar_t) y_0, (1 - alpha_bar_t) I)          `q_sample`
    3.4    L = E || eps - eps_theta(y_t, t, context) ||^2                        `loss`
    3.5    y_{t-1} = (y_t - (1 - alpha_t) / sqrt(1 - alpha_bar_t) eps_theta) / sqrt(alpha_t)
                     + sigma_t z                                                 `reverse_step`

y0 is a clean signal, eps noise, y_t their mixture; beta, alpha and alpha_bar are those of
`schedules`. Timesteps are 0 ... T-1, the paper's 1 ... T less 1; t = -1 is the clean signal, its
y_0. sqrt(alpha_bar_t) and sqrt(1 - alpha_bar_t), whose squares sum to one, are called cos and sin:
y_t and v are y0 and eps turned by one angle (Salimans & Ho 2022).

A denoiser is any callable (y_t (b, 1, h, w), t (b,), context (b, l, d)) -> (b, 1, h, w).
Letters: b batch, h sensors, w time points, l context tokens, d width.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from einops import rearrange, reduce
from torch import Generator, Tensor
from torch.hub import tqdm  # type: ignore[attr-defined]  # a plainer bar where tqdm is missing

from .schedules import Schedule, cosine_schedule, linear_schedule

__all__ = ["DDPM", "Denoiser", "Draw", "Generators", "Schedule", "cosine_schedule", "encode_once",
           "gaussian", "linear_schedule", "predict", "pure_noise"]

Denoiser = Callable[[Tensor, Tensor, Tensor], Tensor]
Generators = Generator | Sequence[Generator] | None  # one for the batch, or one for each row
PREDICTIONS = ("epsilon", "v", "x0")


class Draw(NamedTuple):
    """All that is random in one evaluation of the loss."""

    t: Tensor                                                                  # (b,)
    noise: Tensor                                                              # (b, h, w)
    keep: Tensor                                       # (b,) bool, False where context is dropped


class DDPM:
    """Denoising diffusion of signals (b, h, w): Sections 3.3.1, 3.4 and 3.5; Ho et al. 2020.

    It has no parameters and clips nothing: whitened M/EEG reaches far beyond [-1, 1].

    Parameters
    ----------
    schedule : Schedule
    prediction : "epsilon", "v" or "x0"
        What the network answers: eps (the paper), v = cos eps - sin y0 (Salimans & Ho 2022) or y0.

    Raises
    ------
    ValueError
        Another prediction; or "epsilon" on a schedule with zero terminal SNR.

    Examples
    --------
    >>> DDPM(linear_schedule())                                            # the paper's
    <DDPM epsilon, 1000 steps>
    >>> DDPM(linear_schedule().zero_terminal_snr(), prediction="v")        # the end is all noise
    <DDPM v, 1000 steps, zero terminal SNR>
    """

    def __init__(self, schedule: Schedule, prediction: str = "epsilon"):
        if prediction not in PREDICTIONS:
            raise ValueError(f"DDPM: prediction is {prediction!r}; wanted one of {PREDICTIONS}")
        if prediction == "epsilon" and schedule.alpha_bars[-1] == 0:
            raise ValueError(
                "DDPM: epsilon-prediction cannot start from zero terminal SNR: there alpha_bar is "
                "0, and y0 = (y_t - sqrt(1 - alpha_bar) eps) / sqrt(alpha_bar) divides by it; use "
                "prediction 'v' or 'x0', or the schedule without zero_terminal_snr()"
            )
        self.schedule = schedule
        self.prediction = prediction
        self.steps = len(schedule.betas)                                       # T
        self._betas: list[float] = schedule.betas.tolist()
        self._alpha_bars: list[float] = schedule.alpha_bars.tolist()
        self._table = torch.stack([schedule.alpha_bars, 1 - schedule.alpha_bars]).sqrt()  # (2, T)
        self._tables: dict[tuple[torch.device, torch.dtype], Tensor] = {}

    def __repr__(self) -> str:
        return f"<DDPM {self.prediction}, {self.schedule}>"

    def alpha_bar(self, t: int) -> float:
        """alpha_bar_t as a number, 1 at t = -1."""
        return 1.0 if t < 0 else self._alpha_bars[t]

    def _turn(self, t: Tensor | int, y: Tensor) -> tuple[Tensor, Tensor]:
        """cos and sin at t (b,), or at one t for all rows, ready to multiply y (b, ...)."""
        key = (y.device, torch.promote_types(y.dtype, torch.float32))
        if key not in self._tables:  # rounded on the CPU, since not every device has float64
            self._tables[key] = self._table.to(key[1]).to(key[0])
        cos, sin = self._tables[key][:, t].reshape(2, -1, *[1] * (y.ndim - 1))
        return cos, sin                                                        # (b or 1, 1, 1)

    # Noise is added (Section 3.3.1).

    def forward_step(self, y: Tensor, t: int, noise: Tensor) -> Tensor:
        """q(y_t | y_{t-1}), Section 3.3.1: one step, from y = y_{t-1} to y_t (b, h, w).

        Examples
        --------
        >>> ddpm = DDPM(Schedule(torch.tensor([0.19, 0.36])))
        >>> y = ddpm.forward_step(torch.ones(1, 1, 1), 1, torch.zeros(1, 1, 1))
        >>> round(y.item(), 4)                                             # sqrt(1 - 0.36)
        0.8
        """
        beta = self._betas[t]
        return math.sqrt(1 - beta) * y + math.sqrt(beta) * noise

    def q_sample(self, y0: Tensor, t: Tensor | int, noise: Tensor) -> Tensor:
        """q(y_t | y_0), Section 3.3.1: all steps up to t at once, to y_t (b, h, w).

        `t` is (b,), or one for all rows.

        Examples
        --------
        >>> ddpm = DDPM(linear_schedule())
        >>> y0, eps = torch.ones(3, 63, 250), torch.zeros(3, 63, 250)
        >>> ddpm.q_sample(y0, torch.tensor([0, 499, 999]), eps)[:, 0, 0]   # what is left of y0
        tensor([0.9999, 0.2803, 0.0064])
        """
        cos, sin = self._turn(t, y0)
        return cos * y0 + sin * noise

    # What the network should answer, and what its answer means.

    def target(self, y0: Tensor, noise: Tensor, t: Tensor | int) -> Tensor:
        """The right answer to y_t, (b, h, w); `t` is (b,), or one for all rows."""
        cos, sin = self._turn(t, y0)
        if self.prediction == "epsilon":
            return noise
        return y0 if self.prediction == "x0" else cos * noise - sin * y0

    def to_y0(self, prediction: Tensor, y_t: Tensor, t: Tensor | int) -> Tensor:
        """The clean signal that an answer to y_t implies, (b, h, w).

        Examples
        --------
        >>> ddpm = DDPM(linear_schedule(), prediction="v")
        >>> y0, eps = torch.full((1, 1, 1), 3.0), torch.ones(1, 1, 1)
        >>> y_t, v = ddpm.q_sample(y0, 500, eps), ddpm.target(y0, eps, 500)
        >>> round(ddpm.to_y0(v, y_t, 500).item(), 4)
        3.0
        """
        cos, sin = self._turn(t, y_t)
        if self.prediction == "epsilon":
            return (y_t - sin * prediction) / cos
        return prediction if self.prediction == "x0" else cos * y_t - sin * prediction

    # The network is trained (Section 3.4).

    def draw(
        self, y0: Tensor, *, generator: Generator | None = None, drop_context: float = 0.0,
        stratified: bool = False,
    ) -> Draw:
        """Timesteps, noise and kept contexts for signals y0 (b, h, w).

        Timesteps are uniform and independent, as in the paper. `stratified` spreads those of a
        batch evenly, in random order: each stays uniform, the loss varies less (Kingma et al.
        2021). Each context is dropped with probability `drop_context`. `ValueError` if that is
        none, or if y0 has other axes.
        """
        if y0.ndim != 3:
            raise ValueError(f"DDPM: signals are {tuple(y0.shape)}; wanted (batch, sensors, time)")
        if not 0 <= drop_context <= 1:
            raise ValueError(f"DDPM: drop_context is {drop_context}; wanted 0 to 1")
        b, device = len(y0), generator.device if generator else y0.device
        if stratified:
            shift = torch.rand(1, generator=generator, device=device)
            place = (torch.randperm(b, generator=generator, device=device) + shift) / b
            t = (place * self.steps).long().clamp(max=self.steps - 1)  # rounding may reach T
        else:
            t = torch.randint(self.steps, (b,), generator=generator, device=device)
        noise = gaussian(y0.shape, generator, like=y0)
        keep = torch.rand(b, generator=generator, device=device) >= drop_context
        return Draw(_move(t, y0.device), noise, _move(keep, y0.device))

    def losses(
        self, denoiser: Denoiser, y0: Tensor, context: Tensor, t: Tensor, noise: Tensor,
        keep: Tensor | None = None,
    ) -> Tensor:
        """The squared error of each example, mean over sensors and times: (b,), at least float32.

        A dropped context becomes zeros, the null context of `samplers`' guidance; `t`, `noise` and
        `keep` are those of `draw`. `ValueError` unless every signal has a context.
        """
        if context.ndim != 3 or len(context) != len(y0):
            came = f"{len(y0)} signals, a context {tuple(context.shape)}"
            raise ValueError(f"DDPM: {came}; wanted ({len(y0)}, tokens, width)")
        if keep is not None:
            context = context.where(rearrange(keep, "b -> b 1 1"), 0)          # (b, l, d)
        answer = predict(denoiser, self.q_sample(y0, t, noise), t, context)
        return reduce((answer - self.target(y0, noise, t)) ** 2, "b h w -> b", "mean")

    def loss(
        self, denoiser: Denoiser, y0: Tensor, context: Tensor, *,
        generator: Generator | None = None, drop_context: float = 0.0,
    ) -> Tensor:
        """The objective of Section 3.4, a scalar: the squared norm divided by its elements.

        Parameters
        ----------
        denoiser : (y_t (b, 1, h, w), t (b,), context (b, l, d)) -> (b, 1, h, w)
        y0 : Tensor (b, h, w)
        context : Tensor (b, l, d)
        generator, drop_context : as `draw`, where timesteps and noise come from

        Examples
        --------
        >>> silent = lambda y_t, t, context: torch.zeros_like(y_t)
        >>> y0, context = torch.ones(16, 63, 250), torch.ones(16, 1, 768)
        >>> seeded = torch.Generator().manual_seed(0)
        >>> loss = DDPM(linear_schedule()).loss(silent, y0, context, generator=seeded)
        >>> round(loss.item(), 2)                             # it misses all of the noise
        1.0
        """
        draw = self.draw(y0, generator=generator, drop_context=drop_context)
        return self.losses(denoiser, y0, context, *draw).mean()

    # Noise is removed (Section 3.5). t is one number for the whole batch.

    def posterior_mean(self, y0: Tensor, y_t: Tensor, t: int, s: int | None = None) -> Tensor:
        """The mean of q(y_s | y_t, y0), (b, h, w) (Ho et al. 2020, equation 7).

        s < t is the timestep that comes next on the way down, by default t - 1.
        """
        bar_t, bar_s = self.alpha_bar(t), self.alpha_bar(t - 1 if s is None else s)
        alpha = bar_t / bar_s  # alpha_t, if s = t - 1
        clean = math.sqrt(bar_s) * (1 - alpha) / (1 - bar_t)
        noisy = math.sqrt(alpha) * (1 - bar_s) / (1 - bar_t)
        return clean * y0 + noisy * y_t

    def posterior_variance(self, t: int, s: int | None = None) -> float:
        """Its variance: sigma_t^2 = beta_t (1 - alpha_bar_{t-1}) / (1 - alpha_bar_t)."""
        bar_t, bar_s = self.alpha_bar(t), self.alpha_bar(t - 1 if s is None else s)
        return (1 - bar_t / bar_s) * (1 - bar_s) / (1 - bar_t)

    def reverse_step(self, prediction: Tensor, y_t: Tensor, t: int, noise: Tensor) -> Tensor:
        """Section 3.5: y_{t-1} (b, h, w) from y_t, the network's answer and noise z.

        The posterior mean at y0 = (y_t - sin eps) / cos; alpha_t alpha_bar_{t-1} is cos^2:

            ((1 - alpha_t) (y_t - sin eps) + (alpha_t - cos^2) y_t) / (sqrt(alpha_t) sin^2)
            = (y_t - (1 - alpha_t) / sin eps) / sqrt(alpha_t)        in the paper

        By way of y0 it serves v, x0 and alpha_t = 0 too. The paper calls sigma_t a variance, uses
        it as a deviation and leaves its size open; here sigma_t^2 is the posterior's.

        Examples
        --------
        >>> ddpm, z = DDPM(linear_schedule()), torch.zeros(1, 1, 1)
        >>> y0, eps = torch.full((1, 1, 1), 3.0), torch.ones(1, 1, 1)
        >>> y = ddpm.reverse_step(eps, ddpm.q_sample(y0, 0, eps), 0, z)    # told the true noise
        >>> round(y.item(), 4)
        3.0
        """
        mean = self.posterior_mean(self.to_y0(prediction, y_t, t), y_t, t)
        return mean + math.sqrt(self.posterior_variance(t)) * noise

    @torch.no_grad()
    def sample(
        self, denoiser: Denoiser, context: Tensor, shape: tuple[int, int], *,
        generator: Generators = None, progress: bool = False,
    ) -> Tensor:
        """One signal per context (b, l, d), by Section 3.5 from T-1 to 0: (b, h, w).

        `shape` is (h, w). With one generator per row, a row does not depend on its batch.
        `ValueError` if their number or the shape's is another.

        Examples
        --------
        >>> ddpm = DDPM(cosine_schedule(50), prediction="x0")
        >>> sure = lambda y_t, t, context: torch.full_like(y_t, 3)
        >>> ddpm.sample(sure, torch.zeros(1, 1, 768), (2, 3))
        tensor([[[3., 3., 3.],
                 [3., 3., 3.]]])
        """
        y = pure_noise(context, shape, generator)                              # y_T
        context = encode_once(denoiser, context)
        with tqdm(total=self.steps, disable=not progress) as bar:
            for t in reversed(range(self.steps)):
                answer = predict(denoiser, y, t, context)
                z = gaussian(y.shape, generator, like=y) if t > 0 else torch.zeros_like(y)
                y = self.reverse_step(answer, y, t, z)
                bar.update(1)
        return y


# -------------------------------------------------------------------------------------------------
# Around the network


def predict(denoiser: Denoiser, y_t: Tensor, t: Tensor | int, context: Tensor) -> Tensor:
    """The answer to y_t (b, h, w), in y_t's precision: only the network may work in bf16."""
    if isinstance(t, int):
        t = torch.full((len(y_t),), t, device=y_t.device)
    answer = denoiser(rearrange(y_t, "b h w -> b 1 h w"), t, context)
    return rearrange(answer, "b 1 h w -> b h w").to(y_t.dtype)


def encode_once(denoiser: Denoiser, context: Tensor) -> Tensor:
    """The context, or what the denoiser makes of it if it can do so once for all steps."""
    encode = getattr(denoiser, "encode_context", None)
    return encode(context) if encode else context


def pure_noise(context: Tensor, shape: tuple[int, int], generator: Generators) -> Tensor:
    """y_T ~ N(0, I), where Section 3.5 starts, for each row of the context: (b, h, w).

    `ValueError` unless `shape` is (h, w).

    Examples
    --------
    >>> y = pure_noise(torch.zeros(4, 1, 768), (63, 250), torch.Generator().manual_seed(0))
    >>> y.shape, round(y.std().item(), 2)
    (torch.Size([4, 63, 250]), 1.0)
    """
    if len(shape) != 2:
        raise ValueError(f"shape is {tuple(shape)}; wanted (sensors, times), without the batch")
    return gaussian((len(context), *shape), generator, like=context)


def gaussian(shape: Sequence[int], generator: Generators, *, like: Tensor) -> Tensor:
    """Noise from N(0, 1) on `like`'s device, in its precision, at least float32.

    It is drawn where the generator lives: a CPU generator gives the same noise on every device.
    A sequence of generators draws one row each.
    """
    if isinstance(generator, Sequence):
        if len(generator) != shape[0]:
            raise ValueError(f"{len(generator)} generators, {shape[0]} rows; wanted one each")
        return torch.stack([gaussian(shape[1:], one, like=like) for one in generator])
    device = generator.device if generator else like.device
    dtype = torch.promote_types(like.dtype, torch.float32)
    noise = torch.randn(tuple(shape), generator=generator, device=device, dtype=dtype)
    return _move(noise, like.device)


def _move(x: Tensor, device: torch.device) -> Tensor:
    # Waiting for the copy would stall the host at every training step.
    return x.to(device, non_blocking=device.type == "cuda")
