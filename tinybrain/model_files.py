"""A trained model as one file that says what it is: a checkpoint of the kind "model".

Configs travel as plain dictionaries, tensors as they are; `python -m tinybrain` shows what a file
says of itself, without the weights. Letters: h sensors, d width, s subjects.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from . import __version__, checkpoint
from .encoder import Encoder
from .encoding import EncodingModel, SubjectEncoding
from .recipes import Recipe
from .targets import SCALING
from .unet import UNet2D, UNetConfig

if TYPE_CHECKING:
    from .system import System


def save_model(path: str | Path, model: System) -> Path:
    """Write a model into one file, atomically; raises as `checkpoint.save`."""
    content = {
        "card": model.card,
        "written_by": {"tinybrain": __version__, "torch": str(torch.__version__)},
        "recipe": checkpoint.config_to_dict(model.recipe),
        "unet_config": checkpoint.config_to_dict(model.unet.config),
        "sensors": list(model.sensors),
        "times": [float(time) for time in model.times],
        "kind": model.kind, "unit": model.unit,
        "subjects": list(model.subjects),
        "encoder": asdict(model.encoder),
        "encoding": model.encoding.state() if model.encoding else None,
        **{name: getattr(model, name).clone() for name in SCALING},
        "unet": model.unet.state_dict(),
    }
    return checkpoint.save(path, "model", content)


def model_file(path: str | Path) -> Path:
    """The file of a model; of a run's folder that is its model.pt."""
    path = Path(path)
    return path / "model.pt" if path.is_dir() else path


def read_model(path: str | Path) -> dict[str, Any]:
    """The fields of the `ImageToBrain` that `save_model` wrote; raises as `checkpoint.load`.

    Parameters
    ----------
    path : file, or the folder of a run, which holds model.pt
    """
    content = checkpoint.load(model_file(path), "model")
    unet = UNet2D(checkpoint.config_from_dict(UNetConfig, content["unet_config"]))
    unet.load_state_dict(content["unet"])
    subjects = tuple(content.get("subjects", ()))  # the first files knew of one subject only
    encoding: type[SubjectEncoding | EncodingModel] = SubjectEncoding if subjects else EncodingModel
    recipe = {"drop_subject": 0.0, **content["recipe"]}
    return {
        "recipe": checkpoint.config_from_dict(Recipe, recipe),
        "unet": unet, "subjects": subjects,
        "encoding": content["encoding"] and encoding.from_state(content["encoding"]),
        "sensors": tuple(content["sensors"]), "times": np.array(content["times"]),
        "encoder": checkpoint.config_from_dict(Encoder, content["encoder"]),
        **{name: content[name] for name in (*SCALING, "kind", "unit", "card")},
    }
