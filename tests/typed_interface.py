"""What a type checker knows of the public interface; read by mypy, strictly, and never run.

Each `assert_type` is a promise: it fails if a return type is lost to Any or changes.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from typing_extensions import assert_type

from tinybrain import BrainSignals, ImageToBrain, clip, interop, samplers
from tinybrain.clip import CLIP
from tinybrain.ddpm import DDPM, Schedule, cosine_schedule, linear_schedule
from tinybrain.metrics import mse
from tinybrain.recorded import OwnRecording, Recorded
from tinybrain.samplers import Step
from tinybrain.things import EEG2, MEG, make_demo
from tinybrain.unet import UNet2D, UNetConfig


def diffusion(y0: Tensor, context: Tensor) -> None:
    assert_type(linear_schedule(1000).zero_terminal_snr(), Schedule)
    process = DDPM(cosine_schedule(), prediction="v")
    network = UNet2D(UNetConfig(channels=(32, 64), attention=(False, True)))
    assert_type(process.loss(network, y0, context), Tensor)
    assert_type(process.sample(network, context, (63, 250)), Tensor)
    assert_type(samplers.sample(process, network, context, (63, 250), sampler="ddim"), Tensor)
    walk = samplers.dpm_solver(process, network, context, (63, 250), steps=20)
    assert_type(walk, Iterator[Step])
    assert_type(samplers.conditional_mean(process, network, context, (63, 250)), Tensor)
    assert_type(interop.unet_to_diffusers(network), dict[str, Tensor])


def encoder() -> None:
    vit = clip.load("ViT-L/14")
    assert_type(vit, CLIP)
    assert_type(clip.preprocess("photo.jpg"), Tensor)
    assert_type(vit.encode_image(clip.preprocess("photo.jpg")[None]), Tensor)
    assert_type(vit.encode_text(["a photo of a dog"]), Tensor)


def recordings(path: Path) -> list[Recorded]:
    """All three are what the rest of the package asks for."""
    make_demo(path, "eeg")
    own = OwnRecording(np.zeros((2, 1, 8)), ["a.jpg", "b.jpg"], ["Oz"], np.arange(8) / 100)
    return [EEG2(path, 1, "train"), MEG(path, "P1", "test", repeats="single"), own]


def model(path: Path) -> None:
    model = ImageToBrain.load(path)
    assert_type(model, ImageToBrain)
    signals = model.generate(["a.jpg", Path("b.jpg")], trials=20, sampler="ddim", guidance=2.0)
    assert_type(signals, BrainSignals)
    assert_type(model.mean("folder"), BrainSignals)
    assert_type(signals.pick(["O1", "Oz"], tmin=0.1, tmax=0.2).average(), BrainSignals)
    assert_type(signals.data, NDArray[Any])
    assert_type(signals.sensors, tuple[str, ...])
    assert_type(signals.images, tuple[str, ...])
    assert_type(model.save("model.pt"), Path)


def worth(recorded: NDArray[Any], generated: NDArray[Any]) -> None:
    assert_type(mse(recorded, generated), float)
