"""What the network is told about an image, (n, l, d): CLIP's view of it, words about it, or both.

    image         the class token, or all 1 + patches                             l = 1, or 257
    text          the embedding of a caption, by default "a photo of a {concept}"  l = 1
    image+text    the former, then the latter                                      l = 2, or 258

The tokens of both stand side by side, because CLIP's towers share one space. With more than one,
cross-attention is no longer an addition (`unet.CrossAttention`): each position of the signal weighs
image against word.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence, Sized
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from . import features
from .messages import first_few

if TYPE_CHECKING:  # CLIP's modules are read when there is something to encode
    from .clip.model import CLIP, TextConfig, VisionConfig

CONTEXTS = ("image", "text", "image+text")
TEMPLATE = "a photo of a {}"
NAMES = ("clip", "random", "features")
CONCEPT = re.compile(r"(?:\d+_)?(.+?)\d*")  # THINGS: 00012_air_conditioner, 01234_bat1


@dataclass(frozen=True)
class Encoder:
    """What made the context of a model, in terms that a checkpoint can hold.

    Raises
    ------
    ValueError
        If `name` or `context` is none of those listed, or the template has no place for a name.

    Examples
    --------
    >>> encoder = Encoder("clip", context="image+text", weights="ViT-L/14")
    >>> encoder.captions(["00012_air_conditioner"])
    ['a photo of a air conditioner']
    """

    name: str  # "clip": trained weights; "random": drawn from `seed`; "features": a file
    context: str = "image"  # or "text", "image+text"
    tokens: bool = False  # all tokens of an image, not the class token alone
    unit_length: bool = False  # embeddings scaled to unit length
    template: str = TEMPLATE  # of a caption made from a concept
    table: str = ""  # of captions, where they are not made from concepts
    weights: str = ""  # of "clip": known name or path
    sha256: str = ""  # of the file of weights
    source: str = ""  # of "features": the file
    vision: dict[str, Any] | None = None  # sizes: of "random", and of "clip" where they are known
    text: dict[str, Any] | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for field, known in (("name", NAMES), ("context", CONTEXTS)):
            if getattr(self, field) not in known:
                raise ValueError(f"Encoder: {field} {getattr(self, field)!r} is not in {known}")
        if "{}" not in self.template:
            raise ValueError(f"Encoder: template {self.template!r} has no {{}} for the concept")

    @property
    def sees(self) -> bool:
        """Whether the image is part of the context."""
        return "image" in self.context

    @property
    def reads(self) -> bool:
        """Whether words are part of the context."""
        return "text" in self.context

    def check_heard(self, conditioning: str) -> None:
        """Refuse words that a network would not hear, with a ValueError."""
        if self.context == "image+text" and conditioning != "cross_attention":
            raise ValueError(
                f"conditioning {conditioning!r} hears one token, the image; with context "
                "'image+text' it would not hear the words: use 'cross_attention'"
            )

    def load_clip(self) -> CLIP:
        """The CLIP that made the context.

        Raises
        ------
        FileNotFoundError
            Its file of weights is not where it was.
        ValueError
            The context came from a file of features; or the weights are others than they were.
        """
        from .clip.model import TextConfig, VisionConfig, random_clip
        from .clip.tokenizer import Tokenizer

        if self.name == "features":
            raise ValueError(
                f"this model was trained on features from a file ({self.source}) and holds no "
                "image encoder: pass features (n, d) or (n, l, d) made the same way, or set its "
                "`clip` to the CLIP that made them"
            )
        if self.name == "clip":
            return self._load_trained()
        text = TextConfig(**self.text) if self.text else None
        clip = random_clip(VisionConfig(**self.vision or {}), self.seed, text)
        clip.tokenizer = Tokenizer()
        return clip

    def _load_trained(self) -> CLIP:
        """CLIP with the weights of a file, which must be those that made the context."""
        from .clip import weights

        try:
            found = weights.checksum(self.weights)
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f"{error}. This model sees images by these weights (sha256 "
                f"{self.sha256 or 'not known'}): put the file there, or set the model's `clip` to "
                "`clip.load(FILE)`"
            ) from None
        if self.sha256 and found != self.sha256:
            raise ValueError(
                f"{self.weights} is not the file of weights this model was trained with (its "
                f"sha256 is not {self.sha256}); the embeddings would mean something else"
            )
        clip = weights.load(self.weights)
        if self.vision and asdict(clip.visual.config) != self.vision:
            raise ValueError(
                f"{self.weights}: read as {asdict(clip.visual.config)}, but its features were made "
                f"as {self.vision}; set the model's `clip` to `clip.load(FILE, heads=..., "
                "activation=...)` as it was then"
            )
        return clip

    def encode(
        self, clip: CLIP, images: Any = None, captions: str | Sequence[str] | None = None, *,
        device: str | torch.device | None = None, progress: bool = False,
    ) -> Tensor:
        """The context (n, l, d) of images, captions or both, as this encoder's `context` says.

        Parameters
        ----------
        clip : from `load_clip`
        images : path, folder, list of paths or PIL images, or one image; arrays of pixels are uint8
            (H, W, 3), a list of them, or (n, H, W, 3)
        captions : one per image
        device : where to compute; `clip` is moved there

        Raises
        ------
        ValueError
            Images or captions are missing, not asked for, or not equally many.

        Examples
        --------
        >>> import numpy as np
        >>> from tinybrain.clip import DEMO_VISION
        >>> encoder = random_encoder(DEMO_VISION)
        >>> encoder.encode(encoder.load_clip(), np.zeros((64, 64, 3), np.uint8)).shape
        torch.Size([1, 1, 256])
        """
        from .things.images import list_images

        for given, wanted, what in (
            (images, self.sees, "images"), (captions, self.reads, "captions, one per image")
        ):
            if wanted and given is None:
                raise ValueError(f"this model's context is {self.context!r}: it needs {what}")
            if wanted and isinstance(given, Sized) and len(given) == 0:
                raise ValueError(f"no {what}: the list is empty")
        if captions is not None and not self.reads:
            raise ValueError(f"this model's context is {self.context!r}: it reads no captions")
        parts = []
        if self.sees:
            if isinstance(images, (str, Path)):
                images = list_images(images)
            elif not isinstance(images, Sequence):
                images = list(images) if getattr(images, "ndim", 0) == 4 else [images]
            parts.append(features.encode(
                clip, images, tokens=self.tokens, unit_length=self.unit_length, device=device,
                progress=progress,
            ))  # fmt: skip
        if self.reads:
            words = [captions] if isinstance(captions, str) else list(captions or ())
            clip = clip.to(device) if device else clip
            parts.append(encode_captions(clip, words, unit_length=self.unit_length))
        if len({len(part) for part in parts}) > 1:
            raise ValueError(f"{len(parts[0])} images but {len(parts[1])} captions; one for each")
        return torch.cat(parts, dim=1)

    def describe(self) -> str:
        """One sentence for a report."""
        made = {
            "clip": f"CLIP, weights {self.weights} (sha256 {self.sha256[:12] or 'not known'})",
            "random": "CLIP with random weights: it tells colours and shapes, or words, apart, but "
            "has learned nothing; with the trained weights results will differ",
            "features": f"features from {self.source}",
        }[self.name]
        image = "all tokens of the image" if self.tokens else "the image (one token)"
        words = f"words ({f'captions of {self.table}' if self.table else self.template}; one token)"
        told = {"image": image, "text": words, "image+text": f"{image} and {words}"}[self.context]
        return f"{told}, by {made}"

    def captions(self, concepts: Sequence[str]) -> list[str]:
        """A caption for each concept: "00012_air_conditioner" is a photo of a air conditioner."""
        return [self.template.format(spoken(concept)) for concept in concepts]

    def pooled(self, context: Tensor) -> Tensor:
        """What a linear model is given of a context (n, l, d): (n, d), or (n, 2 d) for both.

        Of an image that is the class token, the only one CLIP was trained on; of words their one.
        """
        if self.context == "image+text":
            return torch.cat([context[:, 0], context[:, -1]], dim=1)
        return features.pooled(context)


def random_encoder(
    vision: VisionConfig, seed: int = 0, tokens: bool = False, context: str = "image",
    text: TextConfig | None = None,
) -> Encoder:
    """CLIP with random weights, and a tokenizer of single bytes: it sees, but has not learned."""
    words = asdict(text) if text and "text" in context else None
    return Encoder("random", context, tokens, vision=asdict(vision), text=words, seed=seed)


def spoken(concept: str) -> str:
    """The name of a concept's folder as a person would say it: no numbers, no underscores.

    Examples
    --------
    >>> spoken("00012_air_conditioner"), spoken("01234_bat1")
    ('air conditioner', 'bat')
    """
    match = CONCEPT.fullmatch(concept)
    return (match[1] if match else concept).replace("_", " ")


def encode_captions(
    clip: CLIP, captions: Sequence[str], *, unit_length: bool = False, batch_size: int = 256
) -> Tensor:
    """Embed captions, each different one once: (n, 1, d) float32, on the CPU.

    Captions longer than the tower's context are cut at its end.
    """
    different = list(dict.fromkeys(captions))
    parts = []
    with torch.no_grad():
        for start in range(0, len(different), batch_size):
            batch = different[start : start + batch_size]
            z = clip.encode_text(batch, normalize=unit_length, truncate=True)  # (b, d)
            parts.append(z.float().cpu())
    place = {caption: row for row, caption in enumerate(different)}
    return torch.cat(parts)[[place[caption] for caption in captions]][:, None]


def read_captions(path: str | Path, images: Sequence[Path]) -> list[str]:
    """The caption of each image from a table with the columns `image` and `caption`.

    Parameters
    ----------
    path : CSV file; a file called .tsv is divided by tabs
        `image` is a file name, or with its folder ("00001_aardvark/aardvark_01b.jpg") where names
        repeat. Captions of further images are allowed.
    images : paths

    Returns
    -------
    list of str, one per image

    Raises
    ------
    FileNotFoundError, ValueError
        No such file; other columns; an image without a caption or with two.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     table = Path(folder, "captions.csv")
    ...     _ = table.write_text("image,caption\\ncat.jpg,a cat on a mat\\n")
    ...     read_captions(table, [Path("animals/cat.jpg")])
    ['a cat on a mat']
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not a file; a table of captions was wanted")
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file, delimiter="\t" if path.suffix == ".tsv" else ","))
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} is not a table in UTF-8: {error}") from error
    if not rows or not {"image", "caption"} <= set(rows[0]):
        found = list(rows[0]) if rows else "nothing"
        raise ValueError(f"{path}: columns are {found}; wanted image and caption, then the rows")
    table: dict[str, str] = {}
    for row in rows:
        name, caption = Path(row["image"] or "").as_posix(), (row["caption"] or "").strip()
        if not caption or table.setdefault(name, caption) != caption:
            raise ValueError(f"{path}: image {name!r} has {'two' if caption else 'no'} captions")
    keys = [(f"{image.parent.name}/{image.name}", image.name) for image in images]
    told = [table.get(long) or table.get(short) or "" for long, short in keys]
    lacking = [long for (long, _), caption in zip(keys, told) if not caption]
    if lacking:
        raise ValueError(f"{path} has no caption for {first_few(lacking)}")
    return told
