"""The README keeps its word: its Python runs, its commands and their options exist."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.test_pipeline import gaussian_model
from tests.test_store import write
from tinybrain import clip
from tinybrain.clip.model import DEMO_TEXT, VisionConfig
from tinybrain.things import make_demo

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", re.sub(r"^ +```", "```", README, flags=re.M),
                    flags=re.M | re.S)
LINES = [line.strip() for kind, body in BLOCKS if kind in ("", "sh") for line in body.splitlines()]
COMMANDS = [line for line in LINES if " examples/" in line]
COMMANDS += re.findall(r"`(python examples/[^`]+)`", README)
TOWER = VisionConfig(image_size=224, patch_size=56, width=16, layers=1, heads=2,
                     embed_dim=DEMO_TEXT.embed_dim)
MEG_DEMO = {"train_concepts": 3, "train_images": 2, "test_concepts": 2, "test_repeats": 3,
            "image_size": 16}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """All that the README's code takes for granted, small: recordings, a model, two photos."""
    make_demo(tmp_path / "MEG", "meg", **MEG_DEMO)
    write(tmp_path / "FOLDER" / "Prepared" / "sub-01")
    (tmp_path / "runs" / "demo").mkdir(parents=True)
    model = gaussian_model()
    model.sensors = ("O1", "Oz", "Cz", "Pz", "Fz")[: len(model.sensors)]
    model.times = np.linspace(0, 0.3, len(model.times))
    model.save(tmp_path / "runs" / "demo" / "model.pt")
    rng = np.random.default_rng(0)
    for name in ("photo.jpg", "other.jpg"):
        Image.fromarray(rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(tmp_path / name)
    tower = clip.random_clip(TOWER, 0, DEMO_TEXT)
    tower.tokenizer = clip.Tokenizer()
    monkeypatch.setattr(clip, "load", lambda name: tower)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_code_of_the_readme_runs(folder):
    """Block by block in one namespace, as a reader would who tries it all."""
    blocks = [body for kind, body in BLOCKS if kind == "python"]
    assert blocks
    names = {}
    for number, body in enumerate(blocks, 1):
        body = body.replace('MEG("MEG_FOLDER"', 'MEG("MEG"')
        exec(compile(body, f"README, block {number}", "exec"), names)


def options_of(script):
    """Options that an example takes: its own, and those of what it imports to read them."""
    source = (ROOT / "examples" / script).read_text(encoding="utf-8")
    shared = {"experiment", "cohort", "command"} & set(re.findall(r"\w+", source))
    files = [ROOT / "tinybrain" / "study" / f"{name}.py" if name == "command"
             else ROOT / "tinybrain" / f"{name}.py" for name in shared]
    files += [ROOT / "tinybrain" / "experiment.py"] if "command" in shared else []
    texts = [source, *(file.read_text(encoding="utf-8") for file in files)]
    named = {option for text in texts for option in re.findall(r"\"(--[a-z][a-z-]*)\"", text)}
    return named | ({"--eeg", "--meg"} if any('f"--{kind}"' in text for text in texts) else set())


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_and_their_options_exist(command):
    words = shlex.split(command.split("&& ")[-1])
    (script,) = (word for word in words if word.startswith("examples/"))
    assert (ROOT / script).is_file()
    asked = {word for word in words[words.index(script):] if word.startswith("--")}
    assert asked <= options_of(Path(script).name)


def test_every_option_that_is_mentioned_exists():
    """Anywhere in the text, whatever the command it belongs to."""
    mentioned = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", README))
    known = {"--index-url", "--nproc-per-node"}.union(
        *(options_of(path.name) for path in (ROOT / "examples").glob("*.py"))
    )
    assert mentioned <= known


def test_every_file_that_is_linked_or_named_exists():
    linked = re.findall(r"\]\(((?!https?:)[^)#]+)\)", README)
    named = re.findall(r"`(?:python )?(examples/\w+\.py)", README)
    assert [name for name in linked + named if not (ROOT / name).exists()] == []
