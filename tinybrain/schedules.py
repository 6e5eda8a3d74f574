"""How much noise: the variances beta_t of the T noising steps (Section 3.3.1).

    alpha_t = 1 - beta_t,   alpha_bar_t = alpha_0 alpha_1 ... alpha_t

alpha_bar_t is what is left of the signal's variance after step t. Timesteps are 0 ... T-1, the
paper's t minus 1. The paper's schedule is `linear_schedule()`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Schedule:
    """The variances beta_t of the noising steps; a schedule of your own is `Schedule(betas)`.

    Parameters
    ----------
    betas : Tensor or sequence of float, (T,)
        Kept as float64 on the CPU.

    Raises
    ------
    ValueError
        Unless 0 < beta < 1 (the last may be 1) and a trace of the signal is left at every step
        before the last.

    Examples
    --------
    >>> Schedule(torch.tensor([0.1, 0.2, 0.5])).alpha_bars
    tensor([0.9000, 0.7200, 0.3600], dtype=torch.float64)
    """

    betas: Tensor

    def __post_init__(self) -> None:
        betas = torch.as_tensor(self.betas).detach().to("cpu", torch.float64, copy=True)
        if betas.ndim != 1 or len(betas) == 0:
            raise ValueError(f"Schedule: betas are {tuple(betas.shape)}; wanted (T,), T >= 1")
        if not (1 - betas < 1).all() or not (betas[:-1] < 1).all() or not betas[-1] <= 1:
            raise ValueError(
                f"Schedule: betas run from {betas.min():g} to {betas.max():g}; wanted all above 0 "
                "and below 1, where the last alone may be 1 (zero terminal SNR)"
            )
        object.__setattr__(self, "betas", betas)
        seen = int((self.alpha_bars > torch.finfo(torch.float32).tiny).sum())
        if seen < len(betas) - 1:
            raise ValueError(
                f"Schedule: the signal is gone (alpha_bar = 0 in float32) after {seen} of "
                f"{len(betas)} steps; use smaller betas or fewer steps"
            )

    def __str__(self) -> str:
        end = ", zero terminal SNR" if self.betas[-1] == 1 else ""
        return f"{len(self.betas)} steps{end}"

    def __repr__(self) -> str:
        return f"<Schedule {self}, beta {self.betas[0]:.3g} to {self.betas[-1]:.3g}>"

    @property
    def alphas(self) -> Tensor:
        """1 - beta_t, (T,) float64: the share of variance that step t keeps."""
        return 1 - self.betas

    @property
    def alpha_bars(self) -> Tensor:
        """The products of all alphas up to t, (T,) float64."""
        return self.alphas.cumprod(dim=0)

    def zero_terminal_snr(self) -> Schedule:
        """The schedule whose last y_t is nothing but noise (Lin et al. 2023, Algorithm 1).

        sqrt(alpha_bar) is shifted and scaled: the last becomes exactly 0, the first stays.
        `ValueError` if there is one step alone.

        Examples
        --------
        >>> schedule = linear_schedule()
        >>> print(f"{schedule.alpha_bars[-1]:.5f} of the signal's variance is left at the end")
        0.00004 of the signal's variance is left at the end
        >>> schedule.zero_terminal_snr()
        <Schedule 1000 steps, zero terminal SNR, beta 0.0001 to 1>
        """
        if len(self.betas) == 1:
            raise ValueError("zero_terminal_snr: the schedule has one step; wanted at least two")
        root = self.alpha_bars.sqrt()
        bars = ((root - root[-1]) / (root[0] - root[-1]) * root[0]) ** 2
        return Schedule(torch.cat([self.betas[:1], 1 - bars[1:] / bars[:-1]]))


def linear_schedule(
    steps: int = 1000, beta_start: float = 1e-4, beta_end: float = 2e-2
) -> Schedule:
    """Betas on a straight line (Ho et al. 2020). The defaults, the paper's, are for 1000 steps.

    Raises `ValueError` if `steps` is no whole number from 1 up, or as `Schedule`.

    Examples
    --------
    >>> linear_schedule(4, 0.1, 0.4).betas
    tensor([0.1000, 0.2000, 0.3000, 0.4000], dtype=torch.float64)
    """
    _check_steps(steps)
    return Schedule(torch.linspace(beta_start, beta_end, steps, dtype=torch.float64))


def cosine_schedule(steps: int = 1000) -> Schedule:
    """alpha_bar as the cos^2 of an evenly growing angle (Nichol & Dhariwal 2021, equation 17).

    Raises `ValueError` if `steps` is no whole number from 1 up.

    Examples
    --------
    >>> cosine_schedule().alpha_bars[[249, 499, 749]]    # gentler at both ends than the linear
    tensor([0.8470, 0.4938, 0.1443], dtype=torch.float64)
    """
    _check_steps(steps)
    time = torch.arange(steps + 1, dtype=torch.float64) / steps
    bars = torch.cos((time + 0.008) / 1.008 * math.pi / 2) ** 2
    return Schedule((1 - bars[1:] / bars[:-1]).clamp(max=0.999))


def _check_steps(steps: int) -> None:
    if not isinstance(steps, int) or steps < 1:
        raise ValueError(f"schedule: steps is {steps!r}; wanted a whole number from 1 up")
