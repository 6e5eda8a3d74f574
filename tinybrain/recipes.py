"""The two recipes: the paper to the letter, and what its successors have learned since.

`paper` is Sections 3.4, 3.5 and 4.2. `tinybrain` differs where something measurable is gained:

- v-prediction on a schedule with zero terminal SNR (Salimans & Ho 2022; Lin et al. 2023): at the
  last timestep the network is asked for the signal given nothing but the image, so the diffusion
  model contains the regressor E[y0 | image], one evaluation away;
- residual diffusion (Mardani et al. 2023): the U-Net models what a closed-form encoding model
  leaves over, ridge on the features and the products of their leading components (`encoding.py`).
  On training images that is the residual of a fit without their concept: the size new images show;
- signals standardised per sensor, context per feature, so that neither optimiser nor noise
  schedule depends on units;
- an average of the weights (Karras et al. 2024), timesteps spread evenly over each batch (Kingma
  et al. 2021), the condition sometimes dropped (Ho & Salimans 2022), the condition's mean watched
  on concepts held out: the training loss keeps falling long after a network has begun to memorise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from . import samplers
from .ddpm import DDPM, cosine_schedule, linear_schedule

VALIDATIONS = ("concept", "image")
WIDEST = 0.28  # of windows over the weights (`step.exponent`); the plain mean of all has 0.289
SCHEDULES = {"linear": linear_schedule, "cosine": cosine_schedule}


@dataclass(frozen=True)
class Recipe:
    """Everything about training and sampling that is not the network's shape.

    `PAPER` and `TINYBRAIN` are the two that runs choose from by name; others are made of them.

    Raises
    ------
    ValueError
        A setting out of its bounds; the error names it.

    Examples
    --------
    >>> from dataclasses import replace
    >>> recipe = replace(TINYBRAIN, epochs=10, seed=1)
    >>> recipe.sampler, recipe.has_conditional_mean, PAPER.has_conditional_mean
    ('dpm_solver', True, False)
    """

    name: str
    # the diffusion process
    prediction: str = "epsilon"  # or "v", "x0"
    schedule: str = "linear"  # or "cosine"
    timesteps: int = 1000  # T
    zero_terminal_snr: bool = False
    # what the network models
    residual: bool = False  # signal minus the encoding model's prediction, else the signal itself
    products: int = 0  # components of the context whose products that model may use; 0: ridge
    standardise: bool = False  # signals per sensor, context per feature
    # optimisation
    epochs: int = 50
    batch_size: int = 16
    lr: float = 1e-4
    weight_decay: float = 1e-5
    stratified: bool = False  # timesteps spread evenly over each batch
    drop_context: float = 0.0  # share of examples that see the null context
    drop_subject: float = 0.0  # of several: share of examples not told whose they are
    context_noise: float = 0.0  # standard deviation of noise on the context, while learning
    ema_width: float = 0.0  # width of the weight average as a share of the run so far; 0: none
    bf16: bool = False  # where the device has it
    # choosing among the epochs
    heldout: float = 0.0  # share of the training concepts, or images, kept aside
    validation: str = "concept"  # what is kept aside: whole concepts, or "image" as NICE does
    patience: int = 0  # epochs without improvement on them before stopping; 0: never stop
    # sampling
    sampler: str = "ancestral"
    sampling_steps: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        if self.schedule not in SCHEDULES:
            raise ValueError(f"Recipe: schedule {self.schedule!r} is not in {sorted(SCHEDULES)}")
        if self.validation not in VALIDATIONS:
            raise ValueError(f"Recipe: validation {self.validation!r} is not in {VALIDATIONS}")
        for name, low in (("epochs", 1), ("batch_size", 1), ("timesteps", 1), ("patience", 0),
                          ("products", 0), ("weight_decay", 0), ("context_noise", 0)):
            if not getattr(self, name) >= low:
                raise ValueError(f"Recipe: {name} is {getattr(self, name)}; wanted {low} or more")
        for name, most in (("drop_context", 1), ("drop_subject", 1), ("heldout", 0.5)):
            if not 0 <= getattr(self, name) <= most:
                raise ValueError(f"Recipe: {name} is {getattr(self, name)}; wanted 0 to {most}")
        if not 0 < self.lr < math.inf:
            raise ValueError(f"Recipe: lr is {self.lr}; wanted a number above 0")
        if not 0 <= self.ema_width < WIDEST:
            raise ValueError(f"Recipe: ema_width is {self.ema_width}; wanted 0 to below {WIDEST}")
        samplers.find(self.sampler)
        self.ddpm()
        if not 1 <= self.sampling_steps <= self.timesteps:
            raise ValueError(
                f"Recipe: sampling_steps is {self.sampling_steps}; wanted 1 to timesteps, "
                f"{self.timesteps}"
            )
        if (self.heldout or self.patience) and not self.has_conditional_mean:
            raise ValueError(
                f"Recipe: heldout {self.heldout:g} and patience {self.patience} are of no use: the "
                "epoch is chosen by the conditional mean of what is kept aside, and without "
                "zero_terminal_snr there is none; wanted 0 for both"
            )

    def ddpm(self) -> DDPM:
        """The diffusion process of this recipe.

        Examples
        --------
        >>> TINYBRAIN.ddpm().alpha_bar(999), round(PAPER.ddpm().alpha_bar(999), 6)
        (0.0, 4e-05)
        """
        schedule = SCHEDULES[self.schedule](self.timesteps)
        if self.zero_terminal_snr:
            schedule = schedule.zero_terminal_snr()
        return DDPM(schedule, self.prediction)

    @property
    def has_conditional_mean(self) -> bool:
        """Whether one evaluation of the network gives E[y0 | image]."""
        return self.zero_terminal_snr


PAPER = Recipe(name="paper")
TINYBRAIN = Recipe(
    name="tinybrain",
    prediction="v",
    zero_terminal_snr=True,
    residual=True,
    products=30,
    standardise=True,
    stratified=True,
    drop_context=0.1,
    drop_subject=0.1,
    ema_width=0.1,
    bf16=True,
    heldout=0.05,
    patience=5,
    sampler="dpm_solver",
    sampling_steps=20,
)
RECIPES = {"paper": PAPER, "tinybrain": TINYBRAIN}
