"""CLIP's image tower: a vision transformer that turns an image into one vector, or one per patch.

Radford et al. 2021 (arXiv 2103.00020, Section 2.4), on the transformer of Dosovitskiy et al. 2021
(arXiv 2010.11929, equations 1 to 4):

    x = ln_pre([class; patches E] + positions)
    x = x + attention(ln_1(x)),   x = x + mlp(ln_2(x))           once per block
    z = ln_post(x) proj                                          z[0], the class token: the image

    attention = softmax(q k^T / sqrt(width / heads)) v,   mlp(x) = c_proj(QuickGELU(c_fc(x)))

Parameters have the names of OpenAI's files (visual.conv1.weight, ...), which so load strictly.
Shapes: b batch, s pixels on a side, l tokens (1 + patches), d width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class VisionConfig:
    """Sizes of an image tower; the defaults are ViT-L/14, the paper's."""

    image_size: int = 224
    patch_size: int = 14
    width: int = 1024
    layers: int = 24
    heads: int = 16
    embed_dim: int = 768

    def __post_init__(self) -> None:
        if any(not isinstance(size, int) or size < 1 for size in vars(self).values()):
            raise ValueError(f"{self}: sizes are whole numbers from 1 up")
        if self.image_size % self.patch_size or self.width % self.heads:
            raise ValueError(f"{self}: patch_size must divide image_size, and heads width")

    @property
    def tokens(self) -> int:
        """The class token and one per patch."""
        return 1 + (self.image_size // self.patch_size) ** 2


class Attention(nn.Module):
    """Multi-head self-attention, (b, l, d) -> (b, l, d), q, k and v by one stacked matrix."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.zeros(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        qkv = F.linear(x, self.in_proj_weight, self.in_proj_bias)  # (b, l, 3 d)
        q, k, v = rearrange(qkv, "b l (three h c) -> three b h l c", three=3, h=self.heads)
        x = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)  # (b, h, l, c)
        return self.out_proj(rearrange(x, "b h l c -> b l (h c)"))  # (b, l, d)


class MLP(nn.Module):
    """Two layers, four times as wide in between, (b, l, d) -> (b, l, d)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.c_fc = nn.Linear(width, 4 * width)
        self.c_proj = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.c_fc(x)
        return self.c_proj(x * torch.sigmoid(1.702 * x))  # not GELU: silently other features


class Block(nn.Module):
    """One pre-norm transformer block, (b, l, d) -> (b, l, d)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.attn = Attention(width, heads)
        self.ln_2 = nn.LayerNorm(width)
        self.mlp = MLP(width)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        x = x + self.attn(self.ln_1(x), mask)
        return x + self.mlp(self.ln_2(x))


class Transformer(nn.Module):
    """Blocks in a row; `mask` (l, l) is added to the attention logits (None: all see all)."""

    def __init__(self, width: int, layers: int, heads: int) -> None:
        super().__init__()
        self.resblocks = nn.ModuleList(Block(width, heads) for _ in range(layers))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        for block in self.resblocks:
            x = block(x, mask)
        return x


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
        self.transformer = Transformer(width, config.layers, config.heads)
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
        patches = rearrange(self.conv1(pixels), "b d h w -> b (h w) d")
        first = self.class_embedding.expand(len(pixels), 1, -1)  # (b, 1, d)
        x = torch.cat([first, patches], dim=1) + self.positional_embedding  # (b, l, d)
        x = self.transformer(self.ln_pre(x))
        # CLIP was trained on the class token alone; the patches pass the same norm and matrix.
        return self.ln_post(x if tokens else x[:, 0]) @ self.proj


class CLIP(nn.Module):
    """CLIP. Its towers share one space of embeddings; here stands the image tower, `visual`."""

    def __init__(self, vision: VisionConfig) -> None:
        super().__init__()
        self.visual = VisionTransformer(vision)

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
        """
        z = self.visual(pixels, tokens)
        return F.normalize(z, dim=-1) if normalize else z


# For the demo and the tests. A random tower keeps more of an image (what ridge reads back from it:
# lightness, colours, texture) with small patches and many heads; more layers only cost time.
DEMO_VISION = VisionConfig(64, patch_size=8, width=256, layers=2, heads=16, embed_dim=256)


def random_clip(config: VisionConfig, seed: int = 0) -> CLIP:
    """CLIP with random weights, the same for a seed on every machine, in eval mode, not trainable.

    Source: the initialisation in OpenAI's public code. It gives these standard deviations for the
    text blocks and leaves the image blocks to torch's defaults; here both take the former.
    """
    with torch.device("meta"):  # so that torch's global generator is not drawn from
        clip = CLIP(config)
    clip.to_empty(device="cpu").requires_grad_(False)
    for name, parameter in clip.named_parameters():
        if parameter.ndim == 1:  # biases; and the only vectors called weight scale the norms
            nn.init.constant_(parameter, float(name.endswith("weight")))
    _draw(clip.visual, torch.Generator().manual_seed(seed))
    return clip.eval()


def _draw(visual: VisionTransformer, generator: torch.Generator) -> None:
    def normal(parameter: Tensor, std: float) -> None:
        # torch's float32 normals differ in their last bits between processors, float64's do not.
        z = torch.randn(parameter.shape, dtype=torch.float64, device="cpu", generator=generator)
        parameter.copy_(std * z)

    width = visual.config.width**-0.5
    depth = (2 * visual.config.layers) ** -0.5  # two branches a block add to the residual stream
    normal(visual.conv1.weight, (3 * visual.conv1.weight[0].numel()) ** -0.5)
    normal(visual.class_embedding, width)
    normal(visual.positional_embedding, width)
    normal(visual.proj, width)
    for block in visual.transformer.resblocks:
        normal(block.attn.in_proj_weight, width)
        normal(block.attn.out_proj.weight, width * depth)
        normal(block.mlp.c_fc.weight, width * 2**-0.5)
        normal(block.mlp.c_proj.weight, width * depth)
