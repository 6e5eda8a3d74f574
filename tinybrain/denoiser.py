"""The U-Net as a run needs it: drawn from a seed, called fast where asked, fed seeded noise."""

from __future__ import annotations

import hashlib
import operator
from collections.abc import Callable
from typing import cast

import torch
from torch import Generator, Tensor, nn

from .speed import Speed, check_compiler, in_tf32
from .unet import Memory, UNet2D, UNetConfig


def seeded(*key: int) -> Generator:
    """A CPU generator that is a function of these whole numbers, e.g. (seed, image, trial).

    Of numpy's they count as Python's do. TypeError if one is no whole number.

    Examples
    --------
    >>> a, b = (torch.randn(2, generator=seeded(0, 5, 1)) for _ in range(2))
    >>> torch.equal(a, b)
    True
    """
    whole = tuple(operator.index(part) for part in key)
    digest = hashlib.blake2b(repr(whole).encode(), digest_size=8).digest()
    return Generator().manual_seed(int.from_bytes(digest, "little") >> 1)


def first_weights(config: UNetConfig, seed: int) -> UNet2D:
    """An untrained U-Net, a function of its seed; torch's own generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return UNet2D(config)


class Denoiser:
    """A U-Net as the samplers and the loss want it: callable, in bf16 where asked and possible.

    Compiled, it is a program for one number of rows: the most it has been called with. Fewer, as at
    the end of an epoch, go through the network as it is: a program of their own takes minutes.
    """

    def __init__(self, unet: nn.Module, bf16: bool = False, speed: Speed = Speed()):
        self.unet, self.speed = unet, speed
        self.device = next(unet.parameters()).device
        able = self.device.type == "cuda"
        if able:  # torch says yes of older ones, too, which only emulate it
            able = torch.cuda.get_device_capability(self.device) >= (8, 0)
        self.precision = torch.autocast(self.device.type, torch.bfloat16, enabled=bf16 and able)
        self.program: Callable[..., Tensor] = unet
        self.rows = 0
        if speed.compile:
            check_compiler(self.device)
            self.program = torch.compile(unet, dynamic=False)

    def encode_context(self, context: Tensor) -> Memory:
        with self.precision, in_tf32(self.device, self.speed.tf32):
            return cast(UNet2D, self.unet).encode_context(context)  # or one that is called like it

    def __call__(self, y_t: Tensor, t: Tensor, context: Tensor | Memory) -> Tensor:
        self.rows = max(self.rows, len(y_t))
        network: Callable[..., Tensor] = self.program if len(y_t) == self.rows else self.unet
        with self.precision, in_tf32(self.device, self.speed.tf32):
            return network(y_t, t, context)
