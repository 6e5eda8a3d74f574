"""A model of the smallest size, to try the package on: no data, no weights, a moment to make.

It has learned nothing but its encoding model (ridge), from noise: three sensors over the back of
the head, sixteen points of 10 ms, features of width 8 in place of images.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from .encoder import Encoder
from .pipeline import ImageToBrain
from .recipes import TINYBRAIN
from .recorded import OwnRecording
from .unet import UNetConfig


def tiny_model(images: int = 12) -> ImageToBrain:
    """An untrained `ImageToBrain` that takes features (n, 8); the same at every call.

    Parameters
    ----------
    images : of the made-up recording that its scales and encoding model are taken from

    Examples
    --------
    >>> model = tiny_model()
    >>> model.sensors, model.shape
    (('O1', 'Oz', 'O2'), (3, 16))
    """
    generator = torch.Generator().manual_seed(0)
    context = torch.randn(images, 1, 8, generator=generator)
    signals = torch.randn(images, 3, 16, generator=generator).numpy()
    recording = OwnRecording(
        signals, [f"{i}.jpg" for i in range(images)], ["O1", "Oz", "O2"],
        times=[0.01 * i for i in range(16)],
    )
    config = UNetConfig((32, 32), (False, True), layers_per_block=1, heads=4, context_dim=8)
    recipe = replace(TINYBRAIN, products=0, sampling_steps=4)
    model, _ = ImageToBrain.prepare(
        recipe, config, recording, context, Encoder("features", source="made-up numbers")
    )
    return model
