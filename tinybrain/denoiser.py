"""The U-Net as a run needs it: drawn from a seed, called in bf16 where asked, fed seeded noise."""

from __future__ import annotations

import hashlib

import torch
from torch import Generator, Tensor

from .unet import Memory, UNet2D, UNetConfig


def seeded(*key: int) -> Generator:
    """A CPU generator that is a function of these whole numbers, e.g. (seed, image, trial)."""
    digest = hashlib.blake2b(repr(key).encode(), digest_size=8).digest()
    return Generator().manual_seed(int.from_bytes(digest, "little") >> 1)


def first_weights(config: UNetConfig, seed: int) -> UNet2D:
    """An untrained U-Net, a function of its seed; torch's own generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return UNet2D(config)


class Denoiser:
    """A U-Net as the samplers and the loss want it: callable, in bf16 where asked and possible."""

    def __init__(self, unet: UNet2D, bf16: bool = False):
        self.unet = unet
        device = next(unet.parameters()).device
        able = device.type == "cuda" and torch.cuda.is_bf16_supported()
        self.precision = torch.autocast(device.type, torch.bfloat16, enabled=bf16 and able)

    def encode_context(self, context: Tensor) -> Memory:
        with self.precision:
            return self.unet.encode_context(context)

    def __call__(self, y_t: Tensor, t: Tensor, context: Tensor | Memory) -> Tensor:
        with self.precision:
            return self.unet(y_t, t, context)
