"""CLIP's weights: found, downloaded, recognised and loaded.

Nothing depends on the name of a file: its first bytes tell safetensors from torch (`untrusted/`
reads both), the names of its tensors tell who wrote it (`names.py` makes them OpenAI's), their
shapes tell the sizes. Two things stand in no weight, the number of heads and the activation. They
come from config.json (Hugging Face) or open_clip_config.json beside the file; where there is none,
heads are 64 wide and the activation is QuickGELU, as in all of OpenAI's.

Sources: the public code of openai/CLIP and open_clip, and the config files of the latter and of
huggingface/transformers, with their defaults.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..download import cache_folder, fetch, file_sha256
from ..messages import first_few
from ..untrusted.archive import read_safetensors, read_torch
from .model import CLIP, TextConfig, VisionConfig
from .names import check, openai_names


@dataclass(frozen=True)
class Source:
    """A public file: where it is, what it is, and its name on disk."""

    url: str
    sha256: str
    filename: str


_L14 = "b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836"
WEIGHTS = {
    "ViT-L/14": Source(
        f"https://openaipublic.azureedge.net/clip/models/{_L14}/ViT-L-14.pt", _L14, "ViT-L-14.pt"
    ),
}
NAMES = (  # of weights in a folder, the first that is there; then *.pt
    "model.safetensors",
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.bin",
    "pytorch_model.bin",
)
SHARDS = ("model.safetensors.index.json", "pytorch_model.bin.index.json")


def load(
    name_or_path: str | Path = "ViT-L/14",
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    cache_dir: str | Path | None = None,
    heads: tuple[int, int] | None = None,
    activation: str | None = None,
) -> CLIP:
    """Load CLIP with the weights of a name, a file or a folder.

    Parameters
    ----------
    name_or_path : str or Path
        "ViT-L/14" is downloaded once; files are from OpenAI, open_clip or Hugging Face.
    device : str or torch.device
        Where the model is to be.
    dtype : torch.dtype
        What it computes in, whatever the precision of the file.
    cache_dir : str or Path, optional
        Where downloads are kept, see `download.cache_folder`.
    heads : (int, int), optional
        Heads of the image and of the text tower, where they are not as described above.
    activation : str, optional
        "quick_gelu" or "gelu", likewise.

    Returns
    -------
    CLIP
        In eval mode, not trainable, and independent of the file. Without a text tower where the
        file has none.

    Raises
    ------
    FileNotFoundError
        No such file, or a folder without weights.
    ValueError
        A damaged file, one that asks for more than data, or other weights than those of a CLIP
        with a vision transformer; missing and left-over names are listed.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from tinybrain.clip import DEMO_VISION, random_clip
    >>> tower = random_clip(DEMO_VISION)
    >>> with TemporaryDirectory() as folder:
    ...     torch.save(tower.state_dict(), f"{folder}/tower.pt")
    ...     same = load(f"{folder}/tower.pt", heads=(16, 16))
    >>> torch.equal(same.visual.proj, tower.visual.proj)
    True
    """
    if not dtype.is_floating_point:
        raise ValueError(f"dtype is {dtype}; a CLIP computes in floating point")
    path = locate(name_or_path, cache_dir)
    raw = _read(path)
    settings = _settings(path, raw)
    with _naming(path):
        state = openai_names(raw)
        del raw  # so that what a tensor is made of is let go as soon as that is converted
        with torch.device("meta"):
            clip = CLIP(*_configs(state, settings, heads, activation))
        check(state, clip.state_dict())
    # Copies, even of what has the right type: what is mapped would change with the file.
    for name in list(state):
        state[name] = state[name].to(device, dtype, copy=True).contiguous()
    clip.load_state_dict(state, strict=True, assign=True)
    return clip.requires_grad_(False).eval()


def locate(name_or_path: str | Path = "ViT-L/14", cache_dir: str | Path | None = None) -> Path:
    """The file with the weights of a name, a file or a folder; a name's is downloaded once.

    Raises
    ------
    FileNotFoundError
        No such file or name, or a folder without weights; it says what is there.
    ValueError
        A folder with weights in several pieces, or with several that might be meant.
    """
    if str(name_or_path) in WEIGHTS:
        source = WEIGHTS[str(name_or_path)]
        return fetch(source.url, source.sha256, cache_folder(cache_dir) / source.filename)
    path = Path(name_or_path)
    if path.is_file():
        return path
    if not path.is_dir():
        known = ", ".join(WEIGHTS)
        raise FileNotFoundError(f"{path}: no such file or folder, nor one of the names: {known}")
    there = sorted(entry.name for entry in path.iterdir())
    found = [name for name in NAMES if name in there][:1]
    found = found or [name for name in there if name.endswith(".pt")]
    if len(found) == 1:
        return path / found[0]
    listed = first_few(there, 10)
    if found:
        raise ValueError(f"{path}: {', '.join(found)}: name the file that is meant")
    if any(name in there for name in SHARDS):
        raise ValueError(f"{path}: weights in several pieces; save them in one: {listed}")
    wanted = f"{', '.join(NAMES)} or one *.pt"
    raise FileNotFoundError(f"{path}: no weights in this folder: wanted {wanted}; has {listed}")


def checksum(name_or_path: str | Path, cache_dir: str | Path | None = None) -> str:
    """The SHA-256 of the file that `locate` finds; of a name it is known, and verified there."""
    path = locate(name_or_path, cache_dir)
    source = WEIGHTS.get(str(name_or_path))
    return source.sha256 if source else file_sha256(path)


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """The weights of a file or folder under OpenAI's names, in the precision of the file.

    Equal weights give equal tensors, whatever form they were in. Tensors are views of the file
    where that is possible, see `untrusted/archive.py`. Raises as `load` does.
    """
    path = locate(path)
    raw = _read(path)
    with _naming(path):
        return openai_names(raw)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _read(path: Path) -> dict[str, Tensor]:
    """The tensors of a file under its own names."""
    with open(path, "rb") as file:
        first = file.read(32)
    if first[8:9] == b"{":
        return read_safetensors(path)
    if first[:2] == b"PK" or first[:1] == b"\x80":  # the latter is refused with advice
        return read_torch(path)
    what = "a Git LFS pointer: `git lfs pull`" if first.startswith(b"version https") else "neither"
    raise ValueError(f"{path}: wanted a safetensors or a torch zip file, {what}: {first!r}")


# -------------------------------------------------------------------------------------------------
# Sizes, heads and activations


@dataclass(frozen=True)
class Tower:
    """What a config file says of a tower."""

    width: int
    layers: int
    heads: int
    activation: str


def _configs(
    state: dict[str, Tensor], settings: tuple[Tower | None, Tower | None],
    heads: tuple[int, int] | None, activation: str | None,
) -> tuple[VisionConfig, TextConfig | None]:
    """The sizes of both towers, read off the shapes, and what no shape tells."""
    if heads is not None and (not isinstance(heads, (tuple, list)) or len(heads) != 2):
        raise TypeError(f"heads is {heads!r}; wanted (image, text), two whole numbers")
    image_heads, text_heads = heads or (None, None)
    width, _, patch, _ = _shape(state, "visual.conv1.weight", 4)
    tokens, _ = _shape(state, "visual.positional_embedding", 2)
    grid = math.isqrt(max(tokens - 1, 0))
    if 1 + grid**2 != tokens:
        raise ValueError(f"{tokens} positions are not those of a class token and a square image")
    seen = _tower(state, "visual.", width, settings[0], image_heads, activation)
    vision = VisionConfig(
        image_size=grid * patch,
        patch_size=patch,
        embed_dim=_shape(state, "visual.proj", 2)[1],
        **asdict(seen),
    )
    if "token_embedding.weight" not in state:
        return vision, None
    vocabulary, width = _shape(state, "token_embedding.weight", 2)
    seen = _tower(state, "", width, settings[1], text_heads, activation)
    text = TextConfig(
        vocabulary=vocabulary,
        context=_shape(state, "positional_embedding", 2)[0],
        embed_dim=_shape(state, "text_projection", 2)[1],
        **asdict(seen),
    )
    return vision, text


def _shape(state: dict[str, Tensor], name: str, axes: int) -> torch.Size:
    if name not in state or state[name].ndim != axes:
        came = f"is {tuple(state[name].shape)}" if name in state else "is missing"
        raise ValueError(f"{name!r} {came}; wanted a tensor with {axes} axes")
    return state[name].shape


def _tower(
    state: dict[str, Tensor], prefix: str, width: int, file: Tower | None, heads: int | None,
    activation: str | None,
) -> Tower:
    """One tower; arguments have precedence over the config file, and that over custom."""
    blocks = re.compile(re.escape(prefix) + r"transformer\.resblocks\.(\d+)\.")
    layers = len({match[1] for name in state if (match := blocks.match(name))})
    if file is not None and (file.width, file.layers) != (width, layers):
        came = f"width {file.width} and {file.layers} layers"
        raise ValueError(
            f"the config file beside it is of another model ({came}; the weights have width "
            f"{width} and {layers}): move it away and give heads and activation"
        )
    if heads is None and file is None and width % 64:
        raise ValueError(f"width {width} is no multiple of 64: give heads=(image, text)")
    heads = heads or (file.heads if file else width // 64)
    return Tower(width, layers, heads, activation or (file.activation if file else "quick_gelu"))


def _settings(path: Path, raw: dict[str, Tensor]) -> tuple[Tower | None, Tower | None]:
    """What the config file beside the weights says of the image and the text tower."""
    theirs = any("vision_model." in name for name in raw)
    file = path.with_name("config.json" if theirs else "open_clip_config.json")
    if not file.is_file():
        return None, None
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
        return _of_hugging_face(config) if theirs else _of_open_clip(config["model_cfg"])
    except (AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        raise ValueError(f"{file}: not the config of a CLIP: {error!r}") from None


# Settings that equal the defaults of the library are left out of its files.


def _of_hugging_face(config: dict[str, Any]) -> tuple[Tower, Tower]:
    vision = config.get("vision_config", config)  # of the image tower alone: not nested
    text = config.get("text_config", {})
    towers = []
    for part, width, heads in ((vision, 768, 12), (text, 512, 8)):
        if part.get("layer_norm_eps", 1e-5) != 1e-5:
            raise ValueError(f"layer_norm_eps is {part['layer_norm_eps']}; CLIP's is 1e-5")
        width, heads = part.get("hidden_size", width), part.get("num_attention_heads", heads)
        activation = str(part.get("hidden_act", "quick_gelu"))
        towers.append(Tower(width, part.get("num_hidden_layers", 12), heads, activation))
    return towers[0], towers[1]


def _of_open_clip(config: dict[str, Any]) -> tuple[Tower, Tower]:
    vision, text = config["vision_cfg"], config["text_cfg"]
    activation = "quick_gelu" if config.get("quick_gelu", False) else "gelu"
    width = vision.get("width", 768)
    heads = width // (vision.get("head_width", 64) or 64)
    return (
        Tower(width, vision.get("layers", 12), heads, activation),
        Tower(text.get("width", 512), text.get("layers", 12), text.get("heads", 8), activation),
    )
