"""What help() says of public names: it is there, and its examples run and give what they say."""

import ast
import doctest
import importlib
import inspect
import os
from pathlib import Path

import pytest

import tinybrain

PACKAGE = Path(tinybrain.__file__).parent
MODULES = sorted(
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
    for path in PACKAGE.rglob("*.py") if path.stem not in ("__init__", "__main__")
)
WITH_EXAMPLES = [
    name for name in MODULES
    if ">>> " in (PACKAGE.parent / (name.replace(".", "/") + ".py")).read_text(encoding="utf-8")
]
FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
# What people call, from design to daily use: each has an example of its own.
CALLED = (
    "ddpm.linear_schedule", "ddpm.cosine_schedule", "ddpm.Schedule", "ddpm.DDPM",
    "ddpm.DDPM.q_sample", "ddpm.DDPM.loss", "ddpm.DDPM.sample",
    "samplers.ancestral", "samplers.ddim", "samplers.dpm_solver", "samplers.sample",
    "samplers.conditional_mean",
    "unet.UNetConfig", "unet.UNet2D",
    "clip.load", "clip.preprocess", "clip.CLIP.encode_image", "clip.CLIP.encode_text",
    "things.EEG2", "things.MEG", "things.make_demo", "recorded.OwnRecording",
    "pipeline.ImageToBrain", "pipeline.ImageToBrain.generate", "pipeline.ImageToBrain.mean",
    "pipeline.ImageToBrain.denoise_steps", "pipeline.ImageToBrain.save",
    "signals.BrainSignals", "signals.BrainSignals.pick", "signals.BrainSignals.average",
    "signals.BrainSignals.plot", "signals.BrainSignals.plot_topography",
    "signals.BrainSignals.save", "signals.BrainSignals.to_mne",
    "interop.unet_from_diffusers", "interop.unet_to_diffusers",
    "train.fit", "metrics.mse", "metrics.pcc", "topography.plot_topographies",
)


def found(dotted):
    """The object of a name below tinybrain."""
    *module, name = dotted.split(".")
    if module and module[-1][0].isupper():
        return getattr(found(".".join(module)), name)
    return getattr(importlib.import_module(".".join(["tinybrain", *module])), name)


@pytest.mark.parametrize("module", WITH_EXAMPLES)
def test_examples_in_docstrings_run(module, tmp_path, monkeypatch):
    """In an empty folder, which is empty afterwards."""
    monkeypatch.chdir(tmp_path)
    result = doctest.testmod(importlib.import_module(module), optionflags=FLAGS)
    assert result.attempted > 0 and result.failed == 0
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", CALLED)
def test_what_people_call_shows_how(name):
    text = inspect.getdoc(found(name))
    assert text and ">>> " in text


def public(path):
    """Public functions, classes and methods of a file: (name, node)."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node.name[0] != "_":
            yield node.name, node
            if isinstance(node, ast.ClassDef):
                yield from (
                    (f"{node.name}.{inner.name}", inner) for inner in node.body
                    if isinstance(inner, ast.FunctionDef) and inner.name[0] != "_"
                    and not inner.decorator_list
                )


@pytest.mark.parametrize("module", MODULES)
def test_modules_say_what_they_are(module):
    assert (importlib.import_module(module).__doc__ or "").strip()


def test_names_of_the_top_level_have_help():
    for name in tinybrain.__all__:
        assert inspect.getdoc(getattr(tinybrain, name)), name


@pytest.mark.parametrize("name", [name for name in CALLED])
def test_parameters_that_are_documented_exist(name):
    """A parameter that was renamed is not described under its old name."""
    thing = found(name)
    text = inspect.getdoc(thing) or ""
    if "Parameters\n----------\n" not in text:
        return
    section = text.split("Parameters\n----------\n")[1].split("\n\n")[0]
    described = {
        part.strip() for line in section.splitlines() if line and line[0] != " "
        for part in line.split(" :")[0].split(",")
    }
    taken = set(inspect.signature(thing).parameters)
    fields = set(getattr(thing, "__dataclass_fields__", {}))
    assert described <= taken | fields, described - taken - fields
