"""Ways down from noise to signal: ancestral, DDIM, DPM-Solver++, and one step to the mean.

Each looks at y_t through the network, which tells the clean signal y0 it sees there, and moves on
to an earlier timestep s. With cos and sin as in `ddpm`, eps = (y_t - cos_t y0) / sin_t:

    ancestral   y_s ~ q(y_s | y_t, y0)                       Section 3.5, Ho et al. 2020
    ddim        y_s = cos_s y0 + sqrt(sin_s^2 - sigma^2) eps + sigma z, Song et al. 2021
    dpm_solver  y_s = (sin_s / sin_t) y_t + (cos_s - sin_s cos_t / sin_t) D, with D on the line
                through this y0 and the one before, Lu et al. 2022 (DPM-Solver++)

They are generators of `Step`s, so a caller can draw the denoising, or stop it. None clips. What a
denoiser's `encode_context(context)` returns, if it has one, is made once and used at every step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import NamedTuple, Protocol

import torch
from torch import Generator, Tensor
from torch.hub import tqdm  # type: ignore[attr-defined]

from .ddpm import DDPM, Denoiser, Generators, encode_once, gaussian, predict, pure_noise


class Step(NamedTuple):
    """One look of the network, or at last, with t = -1, the finished signal in both fields.

    `y_t` is the signal at timestep t, `y0` the clean signal that the network sees in it.
    """

    t: int
    y_t: Tensor                                                                # (b, h, w)
    y0: Tensor                                                                 # (b, h, w)


class Sampler(Protocol):
    """A way down: one of those below, or your own, made of `jumps` and an `observer`."""

    def __call__(
        self, ddpm: DDPM, denoiser: Denoiser, context: Tensor, shape: tuple[int, int], /, *,
        steps: int, guidance: float = 1.0, generator: Generators = None,
    ) -> Iterator[Step]: ...


def ancestral(
    ddpm: DDPM, denoiser: Denoiser, context: Tensor, shape: tuple[int, int], *,
    steps: int | None = None, guidance: float = 1.0, generator: Generators = None,
) -> Iterator[Step]:
    """The reverse process of Section 3.5, by default through all T timesteps.

    With fewer `steps` it jumps, each time by the posterior between the two timesteps. Arguments
    and errors as for `sample`.

    Examples
    --------
    >>> from tinybrain.ddpm import DDPM, cosine_schedule
    >>> ddpm = DDPM(cosine_schedule(4), prediction="x0")
    >>> sure = lambda y_t, t, context: torch.full_like(y_t, 3)
    >>> for step in ancestral(ddpm, sure, torch.zeros(1, 1, 768), (63, 250)):
    ...     print(f"{step.t}: standard deviation {step.y_t.std().round(decimals=1):.1f}")
    3: standard deviation 1.0
    2: standard deviation 0.9
    1: standard deviation 0.7
    0: standard deviation 0.4
    -1: standard deviation 0.0
    """
    y = pure_noise(context, shape, generator)                                  # (b, h, w)
    look = observer(ddpm, denoiser, context, guidance)
    for t, s in jumps(ddpm, ddpm.steps if steps is None else steps):
        y0 = look(y, t)
        yield Step(t, y, y0)
        y = ddpm.posterior_mean(y0, y, t, s)
        if s >= 0:
            sigma = math.sqrt(ddpm.posterior_variance(t, s))
            y = y + sigma * gaussian(y.shape, generator, like=y)
    yield Step(-1, y, y)


def ddim(
    ddpm: DDPM, denoiser: Denoiser, context: Tensor, shape: tuple[int, int], *,
    steps: int, eta: float = 0.0, guidance: float = 1.0, generator: Generators = None,
) -> Iterator[Step]:
    """Denoising diffusion implicit models (Song et al. 2021, equation 12).

    `eta` scales the noise of each step: 0 adds none, so the signal is a function of y_T; 1 adds
    the posterior's, which is `ancestral`. Other arguments and errors as for `sample`.

    Examples
    --------
    >>> from tinybrain.ddpm import DDPM, linear_schedule
    >>> ddpm = DDPM(linear_schedule())
    >>> silent = lambda y_t, t, context: torch.zeros_like(y_t)
    >>> [step.t for step in ddim(ddpm, silent, torch.zeros(1, 1, 768), (63, 250), steps=4)]
    [999, 749, 499, 249, -1]
    """
    if not 0 <= eta <= 1:
        raise ValueError(f"ddim: eta is {eta}; wanted 0 (deterministic) to 1 (ancestral)")
    y = pure_noise(context, shape, generator)                                  # (b, h, w)
    look = observer(ddpm, denoiser, context, guidance)
    for t, s in jumps(ddpm, steps):
        y0 = look(y, t)
        yield Step(t, y, y0)
        (cos_t, sin_t), (cos_s, sin_s) = _turn(ddpm, t), _turn(ddpm, s)
        variance = eta**2 * ddpm.posterior_variance(t, s)
        eps = (y - cos_t * y0) / sin_t
        y = cos_s * y0 + math.sqrt(max(sin_s**2 - variance, 0.0)) * eps
        if variance > 0:
            y = y + math.sqrt(variance) * gaussian(y.shape, generator, like=y)
    yield Step(-1, y, y)


def dpm_solver(
    ddpm: DDPM, denoiser: Denoiser, context: Tensor, shape: tuple[int, int], *,
    steps: int, order: int = 2, guidance: float = 1.0, generator: Generators = None,
) -> Iterator[Step]:
    """DPM-Solver++(2M) (Lu et al. 2022, algorithm 2): DDIM that remembers its last look.

    The deterministic path is solved in lambda = log(cos / sin). Order 2 extends the line through
    the last two y0 to the middle of the jump; order 1 holds y0 still, which is DDIM with eta 0.
    The first jump has nothing to extend, and lambda ends at infinity, so both ends are order 1.
    Other arguments and errors as for `sample`.

    Examples
    --------
    >>> from tinybrain.ddpm import DDPM, linear_schedule
    >>> ddpm = DDPM(linear_schedule().zero_terminal_snr(), prediction="x0")
    >>> sure = lambda y_t, t, context: torch.full_like(y_t, 3)
    >>> *looks, last = dpm_solver(ddpm, sure, torch.zeros(1, 1, 768), (63, 250), steps=20)
    >>> len(looks), last.t, last.y0.mean().item()
    (20, -1, 3.0)
    """
    if order not in (1, 2):
        raise ValueError(f"dpm_solver: order is {order!r}; wanted 1 or 2")
    y = pure_noise(context, shape, generator)                                  # (b, h, w)
    look = observer(ddpm, denoiser, context, guidance)
    before = None  # the last jump in lambda, and y0 at its start
    for t, s in jumps(ddpm, steps):
        y0 = look(y, t)
        yield Step(t, y, y0)
        jump, data = _log_snr(ddpm, s) - _log_snr(ddpm, t), y0
        if order == 2 and before is not None and s >= 0:
            # At zero terminal SNR the first jump is infinite: the ratio is 0, the line is flat.
            data = y0 + jump / (2 * before[0]) * (y0 - before[1])
        (cos_t, sin_t), (cos_s, sin_s) = _turn(ddpm, t), _turn(ddpm, s)
        y = sin_s / sin_t * y + (cos_s - sin_s * cos_t / sin_t) * data
        before = jump, y0
    yield Step(-1, y, y)


def sample(
    ddpm: DDPM, denoiser: Denoiser, context: Tensor, shape: tuple[int, int], *,
    sampler: str | Sampler = "ancestral", steps: int | None = None, guidance: float = 1.0,
    generator: Generators = None, progress: bool = False,
) -> Tensor:
    """One signal for each context (b, l, d), by a sampler run to its end: (b, h, w).

    Parameters
    ----------
    ddpm : DDPM
    denoiser : (y_t (b, 1, h, w), t (b,), context (b, l, d)) -> (b, 1, h, w)
    context : Tensor (b, l, d)
    shape : (h, w)
    sampler : "ancestral", "ddim", "dpm_solver", or a `Sampler` of your own
    steps : int, 1 to T
        Looks at y_t, evenly spaced from T-1 down (Lin et al. 2023). By default T, 50 and 20, or T
        if that is less, or if the sampler is your own.
    guidance : float
        Classifier-free guidance (Ho & Salimans 2022): null + guidance (answer - null), null being
        the answer to a context of zeros. At 1 it is not asked.
    generator : torch.Generator, or one for each row
        With one for each row, a row does not depend on its batch.
    progress : bool
        Show a bar.

    Raises
    ------
    ValueError
        Another sampler, or steps that the schedule does not have; a shape of other axes; or
        another number of generators than rows.

    Examples
    --------
    >>> from tinybrain.ddpm import DDPM, linear_schedule
    >>> ddpm = DDPM(linear_schedule())
    >>> silent = lambda y_t, t, context: torch.zeros_like(y_t)             # in place of a UNet2D
    >>> sample(ddpm, silent, torch.zeros(4, 1, 768), (63, 250), sampler="dpm_solver").shape
    torch.Size([4, 63, 250])
    """
    steps = usual_steps(sampler, ddpm.steps) if steps is None else steps
    walk = find(sampler)(
        ddpm, denoiser, context, shape, steps=steps, guidance=guidance, generator=generator
    )
    with tqdm(total=steps, disable=not progress) as bar:
        for step in walk:
            bar.update(step.t >= 0)
    return step.y0


SAMPLERS: dict[str, Sampler] = {"ancestral": ancestral, "ddim": ddim, "dpm_solver": dpm_solver}
FEWER = {"ddim": 50, "dpm_solver": 20}  # steps that do; others take all


def find(sampler: str | Sampler) -> Sampler:
    """The sampler of a name; one of your own is left as it is. ValueError for another name."""
    if not isinstance(sampler, str):
        return sampler
    if sampler not in SAMPLERS:
        known = ", ".join(SAMPLERS)
        raise ValueError(f"sample: sampler is {sampler!r}; wanted one of {known}, or your own")
    return SAMPLERS[sampler]


def usual_steps(sampler: str | Sampler, timesteps: int) -> int:
    """How many looks a sampler takes unless it is told: of T, 50 or 20 where these do.

    Examples
    --------
    >>> usual_steps("dpm_solver", 1000), usual_steps("ancestral", 1000)
    (20, 1000)
    """
    fewer = FEWER.get(sampler, timesteps) if isinstance(sampler, str) else timesteps
    return min(timesteps, fewer)


def conditional_mean(
    ddpm: DDPM, denoiser: Denoiser, context: Tensor, shape: tuple[int, int], *, draws: int = 1
) -> Tensor:
    """E[y0 | context] by one look of the network, (b, h, w).

    At zero terminal SNR the last y_t is noise that says nothing of y0, so the answer of least
    squared error there is the mean of y0 given the context (for v, minus the mean). All rows show
    the network the same noise, from a fixed seed, so a row does not depend on its batch. If the
    network has not quite learned to ignore that noise, averaging over `draws` of it helps.

    Raises
    ------
    ValueError
        If the schedule keeps some of the signal to the end, or `draws` is less than 1.

    Examples
    --------
    >>> from tinybrain.ddpm import DDPM, linear_schedule
    >>> ddpm = DDPM(linear_schedule().zero_terminal_snr(), prediction="v")
    >>> knows = lambda y_t, t, context: torch.full_like(y_t, -0.5)
    >>> conditional_mean(ddpm, knows, torch.zeros(1, 1, 768), (63, 250)).mean().item()
    0.5
    """
    last = ddpm.steps - 1
    if ddpm.alpha_bar(last) > 0:
        raise ValueError(
            f"conditional_mean: at the last timestep alpha_bar is {ddpm.alpha_bar(last):.2g}, not "
            "0, so y_t still holds some signal and no answer there is the mean; train with "
            "prediction 'v' or 'x0' on schedule.zero_terminal_snr(), or average many samples"
        )
    if draws < 1:
        raise ValueError(f"conditional_mean: draws is {draws}; wanted at least 1")
    look = observer(ddpm, denoiser, context, guidance=1.0)
    generator = Generator().manual_seed(0)
    total = torch.zeros(())
    for _ in range(draws):
        noise = pure_noise(context[:1], shape, generator)                      # (1, h, w)
        total = total + look(noise.expand(len(context), -1, -1), last)
    return total / draws


# -------------------------------------------------------------------------------------------------
# What they share


def jumps(ddpm: DDPM, steps: int) -> list[tuple[int, int]]:
    """Pairs (t, s) from T-1 down to (t, -1), evenly spaced: 'trailing' in Lin et al. 2023.

    `ValueError` unless `steps` is 1 to T.

    Examples
    --------
    >>> from tinybrain.ddpm import DDPM, linear_schedule
    >>> jumps(DDPM(linear_schedule(1000)), 4)
    [(999, 749), (749, 499), (499, 249), (249, -1)]
    """
    if not 1 <= steps <= ddpm.steps:
        raise ValueError(f"sampler: steps is {steps}; wanted 1 to {ddpm.steps}, the schedule's")
    return list(pairwise(round(ddpm.steps * i / steps) - 1 for i in range(steps, -1, -1)))


def _turn(ddpm: DDPM, t: int) -> tuple[float, float]:
    """cos and sin at t: sqrt(alpha_bar) and sqrt(1 - alpha_bar)."""
    return math.sqrt(ddpm.alpha_bar(t)), math.sqrt(1 - ddpm.alpha_bar(t))


def _log_snr(ddpm: DDPM, t: int) -> float:
    """lambda = log(cos / sin): -inf for nothing but noise, inf for the clean signal."""
    bar = ddpm.alpha_bar(t)
    if bar in (0.0, 1.0):
        return math.inf if bar else -math.inf
    return math.log(bar / (1 - bar)) / 2


def observer(
    ddpm: DDPM, denoiser: Denoiser, context: Tensor, guidance: float
) -> Callable[[Tensor, int], Tensor]:
    """look(y_t, t) -> y0: the clean signal the network sees in y_t, both (b, h, w).

    `guidance` is that of `sample`. The context (b, l, d) is encoded once, for all looks. Only the
    network runs under `no_grad`: a generator that held it would impose it on its caller.
    """
    guided = guidance != 1
    with torch.no_grad():
        if guided:
            context = torch.cat([torch.zeros_like(context), context])          # (2 b, l, d)
        context = encode_once(denoiser, context)

    @torch.no_grad()
    def look(y_t: Tensor, t: int) -> Tensor:
        answer = predict(denoiser, torch.cat([y_t, y_t]) if guided else y_t, t, context)
        if guided:
            null, answer = answer.chunk(2)
            answer = null + guidance * (answer - null)
        return ddpm.to_y0(answer, y_t, t)

    return look
