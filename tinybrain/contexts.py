"""The contexts of a recording's images: what makes them is chosen, then they are made or read.

    features          a file of them, or a folder that `examples/encode_images.py` wrote
    clip              CLIP's weights, by name or path: features are made once and kept
    random            a tower that has learned nothing, for trying the path without weights

Letters: n images, l tokens, d width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

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


@dataclass(frozen=True)
class ContextOptions:
    """What the network is to be told, as a person asks for it.

    Attributes
    ----------
    context : "image", "text" or "image+text"
    features : folder or file of features, in place of `clip`; also those of NICE, NeuroBridge, ATM,
        UBP and ZEISS (`feature_files`)
    clip : "ViT-L/14", a file or a folder of weights, "random" or "random-small"
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
    if options.features:
        encoder = replace(encoder, tokens=made["train"].shape[1] > 2)
    return encoder, made


def choose_encoder(options: ContextOptions) -> Encoder:
    """The encoder that the options name.

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
        return Encoder("features", source=str(given))
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


def image_tokens(
    options: ContextOptions, encoder: Encoder, clip: Callable[[], CLIP], recording: Recorded,
    split: str, device: str | torch.device, progress: bool,
) -> Tensor:
    """The image's part of the context: from files, or encoded and, unless in seconds, kept."""
    if options.features:
        kept = Path(options.features)
        if not (kept / "features.json").exists():  # no store of all images: one of each split
            kept /= SPLITS[split]
        if not (kept / "features.json").exists():
            return _read(features.find_features(options.features, split), recording, split)
        store = FeatureStore.open(kept)
        made = (store.weights.get("sha256"), store.about["unit_length"])
        if encoder.name == "clip" and made != (encoder.sha256, encoder.unit_length):
            raise ValueError(f"{kept} was not made by clip {options.clip!r}, at unit length")
    elif encoder.name == "random":
        return features.encode(
            clip(), recording.images, tokens=encoder.tokens, device=device, progress=progress
        )
    else:
        store = build(
            Path(options.keep) / SPLITS[split], recording.images, clip,
            weights=weights.locate(encoder.weights), tokens=encoder.tokens, device=device,
            progress=progress,
        )
    return torch.from_numpy(store.features[store.rows(recording.images)])


def _read(path: Path, recording: Recorded, split: str) -> Tensor:
    """Features from a file; those of all MEG training images serve where test concepts are out."""
    count = len(recording.images)
    fewer = recording.kind == "meg" and split == "train" and count < MEG_IMAGES
    if fewer and path.suffix == ".npy" and features.count_rows(path) == MEG_IMAGES:
        from .things.meg.files import rows_of_all

        return features.read_features(path, MEG_IMAGES)[rows_of_all(recording.images)]
    return features.read_features(path, count, recording.images)
