"""CLIP: two transformers that turn images and sentences into vectors of one space.

Radford et al. 2021 (arXiv 2103.00020, Section 2.4), on the transformer of Dosovitskiy et al. 2021
(arXiv 2010.11929, equations 1 to 4):

    x = blocks(ln_pre([class; patches E] + positions))           see `transformer`
    z = ln_post(x) proj                                          z[0], the class token: the image

The text tower has the same blocks, but no token sees a later one, and its answer is taken at the
token that ends the sentence, the first to have seen it all:

    x = blocks(token_embedding[ids] + positions)
    z = ln_final(x) text_projection

Parameters have the names of OpenAI's files (visual.conv1.weight, ...), which so load strictly.
Shapes: b batch, s pixels on a side, l tokens (1 + patches, or those of a text), d width.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from .tokenizer import Tokenizer
from .transformer import ACTIVATIONS, Transformer


@dataclass(frozen=True)
class VisionConfig:
    """Sizes of an image tower; the defaults are ViT-L/14, the paper's.

    `ValueError` if a size is no whole number from 1 up, if heads do not divide width or patches
    the image, or for another activation.

    Examples
    --------
    >>> VisionConfig().tokens
    257
    """

    image_size: int = 224
    patch_size: int = 14
    width: int = 1024
    layers: int = 24
    heads: int = 16
    embed_dim: int = 768
    activation: str = "quick_gelu"  # or "gelu", in some of open_clip's models

    def __post_init__(self) -> None:
        _check_sizes(self)
        if self.image_size % self.patch_size:
            raise ValueError(f"{self}: patch_size must divide image_size")

    @property
    def tokens(self) -> int:
        """The class token and one per patch."""
        return 1 + (self.image_size // self.patch_size) ** 2


@dataclass(frozen=True)
class TextConfig:
    """Sizes of a text tower; the defaults are those that belong to ViT-L/14.

    Raises as `VisionConfig`.

    Examples
    --------
    >>> TextConfig(width=512, heads=8).context
    77
    """

    vocabulary: int = 49_408
    context: int = 77  # tokens, with start and end
    width: int = 768
    layers: int = 12
    heads: int = 12
    embed_dim: int = 768
    activation: str = "quick_gelu"

    def __post_init__(self) -> None:
        _check_sizes(self)


def _check_sizes(config: VisionConfig | TextConfig) -> None:
    sizes = [size for name, size in vars(config).items() if name != "activation"]
    if any(not isinstance(size, int) or size < 1 for size in sizes):
        raise ValueError(f"{config}: sizes are whole numbers from 1 up")
    if config.width % config.heads:
        raise ValueError(f"{config}: heads must divide width")
    if config.activation not in ACTIVATIONS:
        raise ValueError(f"{config}: activation is one of {', '.join(ACTIVATIONS)}")


class VisionTransformer(nn.Module):
    """The image tower; its weights come from a file or from `random_clip`."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        width, patch = config.width, config.patch_size
        self.config = config
        self.conv1 = nn.Conv2d(3, width, patch, stride=patch, bias=False)
        self.class_embedding = nn.Parameter(torch.zeros(width))
        self.positional_embedding = nn.Parameter(torch.zeros(config.tokens, width))
        self.ln_pre = nn.LayerNorm(width)
        self.transformer = Transformer(width, config.layers, config.heads, config.activation)
        self.ln_post = nn.LayerNorm(width)
        self.proj = nn.Parameter(torch.zeros(width, config.embed_dim))

    def forward(self, pixels: Tensor, tokens: bool = False) -> Tensor:
        """Pixels (b, 3, s, s) to the class token (b, embed_dim), or to all (b, l, embed_dim)."""
        size = self.config.image_size
        if pixels.ndim != 4 or pixels.shape[1:] != (3, size, size):
            raise ValueError(
                f"pixels are {tuple(pixels.shape)}, this tower takes (b, 3, {size}, {size}): "
                f"use preprocess(image, size={size})"
            )
        p = self.config.patch_size  # conv1's stride is its size: it is one matrix for all patches
        patches = rearrange(pixels, "b c (h p) (w q) -> b (h w) (c p q)", p=p, q=p)
        patches = F.linear(patches, self.conv1.weight.flatten(1))  # (b, l - 1, d)
        first = self.class_embedding.expand(len(pixels), 1, -1)  # (b, 1, d)
        x = torch.cat([first, patches], dim=1) + self.positional_embedding  # (b, l, d)
        x = self.transformer(self.ln_pre(x), wanted=None if tokens else 1)
        # CLIP was trained on the class token alone; the patches pass the same norm and matrix.
        z: Tensor = self.ln_post(x) @ self.proj
        return z if tokens else z[:, 0]


class CLIP(nn.Module):
    """CLIP: the image tower `visual` and, where a `text` config is given, the text tower.

    It is made by `load`, with weights, or by `random_clip`. The text tower's parameters are this
    module's own, as in OpenAI's files.

    Parameters
    ----------
    vision : VisionConfig
    text : TextConfig, optional

    Attributes
    ----------
    visual : VisionTransformer
    tokenizer : Tokenizer or None
        What `encode_text` reads texts with; CLIP's own, fetched when it is first needed.

    Raises
    ------
    ValueError
        The towers embed in different numbers.
    """

    def __init__(self, vision: VisionConfig, text: TextConfig | None = None) -> None:
        super().__init__()
        self.visual = VisionTransformer(vision)
        self.text = text
        self.tokenizer: Tokenizer | None = None
        if text is None:
            return
        if text.embed_dim != vision.embed_dim:
            raise ValueError(f"the towers embed in {vision.embed_dim} and {text.embed_dim} numbers")
        self.token_embedding = nn.Embedding(text.vocabulary, text.width)
        self.positional_embedding = nn.Parameter(torch.zeros(text.context, text.width))
        self.transformer = Transformer(text.width, text.layers, text.heads, text.activation)
        self.ln_final = nn.LayerNorm(text.width)
        self.text_projection = nn.Parameter(torch.zeros(text.width, text.embed_dim))
        self.logit_scale = nn.Parameter(torch.zeros(()))  # of the contrastive loss; unused here

    def encode_image(
        self, pixels: Tensor, tokens: bool = False, *, normalize: bool = False
    ) -> Tensor:
        """Embed images.

        Parameters
        ----------
        pixels : Tensor, (b, 3, s, s)
            From `preprocess`; `ValueError` where s is not the tower's `image_size`.
        tokens : bool
            Give all 1 + patches tokens, not the class token alone.
        normalize : bool
            Scale each vector to unit length, as those in NICE's files are.

        Returns
        -------
        Tensor, (b, embed_dim), or (b, 1 + patches, embed_dim) with `tokens`

        Examples
        --------
        >>> clip, pixels = random_clip(DEMO_VISION), torch.zeros(2, 3, 64, 64)
        >>> clip.encode_image(pixels).shape, clip.encode_image(pixels, tokens=True).shape
        (torch.Size([2, 256]), torch.Size([2, 65, 256]))
        """
        z: Tensor = self.visual(pixels, tokens)
        return F.normalize(z, dim=-1) if normalize else z

    def encode_text(
        self, texts: str | Sequence[str] | Tensor, *, normalize: bool = False,
        truncate: bool = False,
    ) -> Tensor:
        """Embed texts.

        Parameters
        ----------
        texts : str, sequence of str, or Tensor (b, l) of token ids
            Ids are those of `Tokenizer.encode`: start, text, end (the highest id), then anything.
        normalize : bool
            Scale each vector to unit length.
        truncate : bool
            Cut a text that is longer than the tower's `context` instead of refusing it.

        Returns
        -------
        Tensor, (b, embed_dim)

        Raises
        ------
        ValueError
            This CLIP has no text tower; a text is too long; or the ids are not this tower's.

        Examples
        --------
        >>> clip = random_clip(DEMO_VISION, text=DEMO_TEXT)
        >>> clip.tokenizer = Tokenizer()                # every byte a token; CLIP's is downloaded
        >>> clip.encode_text(["a photo of a dog", "a photo of a cat"]).shape
        torch.Size([2, 256])
        """
        if self.text is None:
            raise ValueError("this CLIP was made without a text tower: it encodes images only")
        if isinstance(texts, Tensor):
            ids = texts
        else:
            self.tokenizer = self.tokenizer or Tokenizer.load()
            ids = self.tokenizer.encode(texts, context=self.text.context, truncate=truncate)
            ids = ids.to(self.text_projection.device)
        whole = ids.ndim == 2 and not ids.is_floating_point() and ids.numel() > 0
        known = whole and int(ids.min()) >= 0 and int(ids.max()) < self.text.vocabulary
        if not known or ids.shape[1] > self.text.context:
            raise ValueError(
                f"ids are {ids.dtype} {tuple(ids.shape)}; this tower takes whole numbers from 0 to "
                f"below {self.text.vocabulary}, (b, up to {self.text.context})"
            )
        end = ids.argmax(dim=1)                                                # (b,)
        ids = ids[:, : int(end.max()) + 1]  # what follows the end is not seen by it
        x = self.token_embedding(ids) + self.positional_embedding[: ids.shape[1]]  # (b, l, d)
        x = self.transformer(x, causal=True)
        last = x[torch.arange(len(x), device=x.device), end]                   # (b, d)
        z: Tensor = self.ln_final(last) @ self.text_projection
        return F.normalize(z, dim=-1) if normalize else z


# For the demo and the tests. A random tower keeps more of an image (what ridge reads back from it:
# lightness, colours, texture) with small patches and many heads; more layers only cost time.
DEMO_VISION = VisionConfig(64, patch_size=8, width=256, layers=2, heads=16, embed_dim=256)
DEMO_TEXT = TextConfig(vocabulary=514, context=77, width=256, layers=2, heads=16, embed_dim=256)


def random_clip(vision: VisionConfig, seed: int = 0, text: TextConfig | None = None) -> CLIP:
    """CLIP with random weights, the same for a seed on every machine, in eval mode, not trainable.

    Source: the initialisation in OpenAI's public code. It gives these standard deviations for the
    text blocks and leaves the image blocks to torch's defaults; here both take the former. Only
    positions are four times as large, about as large as what patches say: trained towers know
    where things are, and one that cannot learn has to be told louder.

    Examples
    --------
    >>> a, b = random_clip(DEMO_VISION, seed=3), random_clip(DEMO_VISION, seed=3)
    >>> torch.equal(a.visual.proj, b.visual.proj), a.training
    (True, False)
    """
    with torch.device("meta"):  # so that torch's global generator is not drawn from
        clip = CLIP(vision, text)
    clip.to_empty(device="cpu").requires_grad_(False)
    for name, parameter in clip.named_parameters():
        if parameter.ndim == 1:  # biases; and the only vectors called weight scale the norms
            nn.init.constant_(parameter, float(name.endswith("weight")))
    generator = torch.Generator().manual_seed(seed)

    def normal(parameter: Tensor, std: float) -> None:
        # torch's float32 normals differ in their last bits between processors, float64's do not.
        z = torch.randn(parameter.shape, dtype=torch.float64, device="cpu", generator=generator)
        parameter.copy_(std * z)

    visual, width = clip.visual, vision.width**-0.5
    normal(visual.conv1.weight, (3 * visual.conv1.weight[0].numel()) ** -0.5)
    normal(visual.class_embedding, width)
    normal(visual.positional_embedding, 4 * width)
    normal(visual.proj, width)
    _draw_blocks(visual.transformer, normal, vision)
    if text is not None:
        normal(clip.token_embedding.weight, 0.02)
        normal(clip.positional_embedding, 0.01)
        normal(clip.text_projection, text.width**-0.5)
        clip.logit_scale.fill_(math.log(1 / 0.07))
        _draw_blocks(clip.transformer, normal, text)
    return clip.eval()


def _draw_blocks(
    tower: Transformer, normal: Callable[[Tensor, float], None], config: VisionConfig | TextConfig
) -> None:
    width = config.width**-0.5
    depth = (2 * config.layers) ** -0.5  # two branches a block add to the residual stream
    for block in tower.resblocks:
        normal(block.attn.in_proj_weight, width)
        normal(block.attn.out_proj.weight, width * depth)
        normal(block.mlp.c_fc.weight, width * 2**-0.5)
        normal(block.mlp.c_proj.weight, width * depth)
