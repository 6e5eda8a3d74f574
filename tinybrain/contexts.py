"""The contexts of a recording's images: what makes them is chosen, then they are made or read.

    features          a file of them, or a folder that `examples/encode_images.py` wrote, which says
                      what made them: the model then sees images by the same encoder
    clip              CLIP's weights, by name or path: features are made once and kept
    random            a tower that has learned nothing, for trying the path without weights

Letters: n images, l tokens, d width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from . import features
from .clip import weights
from .clip.model import CLIP, DEMO_TEXT, DEMO_VISION, TextConfig, VisionConfig
from .encoder import TEMPLATE, Encoder, encode_captions, random_encoder, read_captions
from .feature_store import FeatureStore, build
from .recorded import Recorded
from .subjects import each_image_once

MEG_IMAGES = 22_248  # of training, before those of the test's concepts are left out
SPLITS = {"train": "training", "test": "test"}  # folders of kept features
DRAWN = {"ViT-L/14": VisionConfig(), "small": DEMO_VISION}  # random towers, as a store names them


@dataclass(frozen=True)
class ContextOptions:
    """What the network is to be told, as a person asks for it.

    Attributes
    ----------
    context : "image", "text" or "image+text"
    features : folder or file of features, in place of `clip`; also those of NICE, NeuroBridge, ATM,
        UBP and ZEISS (`feature_files`)
    clip : "ViT-L/14", a file or a folder of weights, "random" or "random-small"; "" beside
        `features`: what made them, if they say it
    tokens : all tokens of an image, not the class token alone
    template : of a caption made from a concept
    captions : table with the columns image and caption, in place of the template
    keep : folder for the features that are made
    """

    context: str = "image"
    features: Path | None = None
    clip: str = "ViT-L/14"
    tokens: bool = False
    template: str = TEMPLATE
    captions: Path | None = None
    keep: Path = Path("runs") / "features"


def make_contexts(
    options: ContextOptions, recordings: Mapping[str, Recorded], *,
    device: str | torch.device = "cpu", progress: bool = False,
) -> tuple[Encoder, dict[str, Tensor]]:
    """What makes the contexts, and the contexts of each recording's images.

    Parameters
    ----------
    options
    recordings : by split, "train" and "test"; anything with `images`, `concepts` and `kind`, also
        of several subjects: an image that all of them saw is encoded or read once

    Returns
    -------
    encoder : Encoder
    contexts : by split, Tensor (n, l, d) float32

    Raises
    ------
    ValueError
        Options that exclude each other, features that another encoder made, captions missing.
    FileNotFoundError
        No such weights, features, table or images.
    """
    encoder = choose_encoder(options)
    clip = cache(lambda: encoder.load_clip().to(device))  # only if something is left to encode
    made: dict[str, Tensor] = {}
    for split, recording in recordings.items():
        recording, places = each_image_once(recording)
        parts = []
        if encoder.sees:
            parts.append(image_tokens(options, encoder, clip, recording, split, device, progress))
        if encoder.reads:
            table = options.captions and read_captions(options.captions, recording.images)
            captions = table or encoder.captions(recording.concepts)
            parts.append(encode_captions(clip(), captions, unit_length=encoder.unit_length))
        once = torch.cat(parts, dim=1)
        made[split] = once if len(places) == len(once) else once[places]
    if options.features and (options.clip or encoder.name == "features"):
        encoder = replace(encoder, tokens=made["train"].shape[1] > 2)
    return encoder, made


def choose_encoder(options: ContextOptions) -> Encoder:
    """The encoder that the options name, or that made the features they name (`encoder_of`).

    Raises
    ------
    ValueError
        Options that exclude each other.

    Examples
    --------
    >>> choose_encoder(ContextOptions(clip="random-small", context="image+text")).describe()
    'the image (one token) and words (a photo of a {}; one token), by CLIP with random weights: ...'
    """
    given, name = options.features, options.clip
    if options.captions and options.context == "image":
        raise ValueError("captions are not read with the context 'image'; wanted text in it")
    if given and name.startswith("random"):
        raise ValueError(f"features were given, and not made by clip {name!r}; give one of them")
    if given and not name:
        if options.context != "image":
            raise ValueError(f"context {options.context!r} with features needs clip for the words")
        store = _store(given, "train")
        return encoder_of(store.about if store else {}) or Encoder("features", source=str(given))
    if name in ("random", "random-small"):
        small = name == "random-small"
        vision, text = (DEMO_VISION, DEMO_TEXT) if small else (VisionConfig(), TextConfig(514))
        encoder = random_encoder(vision, context=options.context, text=text)
    else:
        encoder = Encoder(
            "clip", options.context, weights=name, sha256=weights.checksum(name), unit_length=True
        )
    table = options.captions.name if options.captions else ""
    return replace(encoder, template=options.template, tokens=options.tokens, table=table)


def encoder_of(about: Mapping[str, Any]) -> Encoder | None:
    """What made the features of a store, as its features.json says; None if it does not say it.

    Weights of a file are told by their sha256: a known name's are that name, others the file's.

    Examples
    --------
    >>> tower = {**asdict(DEMO_VISION), "dtype": "torch.float32"}
    >>> about = {"weights": {"random": "small", "seed": 3}, "tower": tower, "tokens": False,
    ...          "unit_length": True}
    >>> encoder = encoder_of(about)
    >>> encoder.name, encoder.seed, encoder.unit_length
    ('random', 3, True)
    """
    made, tower = about.get("weights", {}), dict(about.get("tower", {}))
    tower.pop("dtype", None)
    how = {key: about.get(key, False) for key in ("tokens", "unit_length")}
    if (file := made.get("file")) and "sha256" in made:
        names = (name for name, known in weights.WEIGHTS.items() if known.sha256 == made["sha256"])
        where = next(names, file)
        return Encoder("clip", weights=where, sha256=made["sha256"], vision=tower, **how)
    drawn = DRAWN.get(made.get("random", ""))
    if drawn and asdict(drawn) == tower and "seed" in made:
        return Encoder("random", vision=tower, seed=made["seed"], **how)
    return None


def _store(features: str | Path, split: str) -> FeatureStore | None:
    """The store of all images, or that of a split; None where the features are other files."""
    for folder in (Path(features), Path(features, SPLITS[split])):
        if (folder / "features.json").exists():
            return FeatureStore.open(folder)
    return None


def image_tokens(
    options: ContextOptions, encoder: Encoder, clip: Callable[[], CLIP], recording: Recorded,
    split: str, device: str | torch.device, progress: bool,
) -> Tensor:
    """The image's part of the context: from files, or encoded and, unless in seconds, kept."""
    if options.features:
        found = _store(options.features, split)
        if found is None:
            return _read(features.find_features(options.features, split), recording, split)
        _check_maker(found, encoder, options)
        store = found
    elif encoder.name == "random":
        return features.encode(
            clip(), recording.images, tokens=encoder.tokens, device=device, progress=progress
        )
    else:
        store = build(
            Path(options.keep) / SPLITS[split], recording.images, clip,
            weights=weights.locate(encoder.weights), tokens=encoder.tokens, device=device,
            anew=True, progress=progress,
        )
    return torch.from_numpy(store.features[store.rows(recording.images)])


def _check_maker(store: FeatureStore, encoder: Encoder, options: ContextOptions) -> None:
    """ValueError unless the encoder of a model made the features, as far as both are told."""
    if not options.clip:
        if encoder.name != "features" and encoder_of(store.about) != encoder:
            raise ValueError(
                f"{store.folder} was made otherwise than the features of the training images "
                f"({encoder.describe()}); encode both the same way"
            )
        return
    made = (store.weights.get("sha256"), store.about["unit_length"])
    if encoder.name == "clip" and made != (encoder.sha256, encoder.unit_length):
        raise ValueError(f"{store.folder} was not made by clip {options.clip!r}, at unit length")


def _read(path: Path, recording: Recorded, split: str) -> Tensor:
    """Features from a file; those of all MEG training images serve where test concepts are out."""
    count = len(recording.images)
    fewer = recording.kind == "meg" and split == "train" and count < MEG_IMAGES
    if fewer and path.suffix == ".npy" and features.count_rows(path) == MEG_IMAGES:
        from .things.meg.files import rows_of_all

        return features.read_features(path, MEG_IMAGES)[rows_of_all(recording.images)]
    return features.read_features(path, count, recording.images)
