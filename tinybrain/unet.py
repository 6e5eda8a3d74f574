"""The U-Net eps_theta(y_t, t, h_img): Sections 3.2 and 3.3.2, configured as in Section 4.2.

An encoder of residual blocks halves the signal at each level, a decoder doubles it back, and every
encoder output is handed to the decoder as a skip. At the levels marked in `attention`, each
residual block is followed by a transformer block: self-attention among the positions of the
signal, cross-attention to the image, feed-forward. Section 3.3.2 is `CrossAttention`:

    Q = H_brain W_Q,  K = h_img W_K,  V = h_img W_V,  Attention = softmax(Q K^T / sqrt(d_k)) V

The signal (sensors x time points) is an image of one channel, of any height and width from 1 up:
each upsampling goes to the size of the skip it is about to meet.

Letters: b batch, c channels, h sensors, w time points, p positions (h * w of a level), l context
tokens, d width. Parts: Ronneberger et al. 2015 (U-Net), Ho et al. 2020 (time, residual blocks),
Vaswani et al. 2017 (attention), Shazeer 2020 (GEGLU), Rombach et al. 2022 (arrangement).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import Tensor, nn

from .speed import Block
from .upsample import upsample

CONDITIONINGS = ("cross_attention", "addition", "concatenation")


def check(ok: bool, message: str) -> None:
    if not ok:
        raise ValueError(message)


@dataclass(frozen=True)
class UNetConfig:
    """Shape of a `UNet2D`. The defaults are the paper's network: 161,248,001 parameters."""

    channels: tuple[int, ...] = (128, 256, 512, 512)  # width of each level, outermost first
    attention: tuple[bool, ...] = (False, False, True, True)  # which levels have transformer blocks
    layers_per_block: int = 2  # residual blocks per level of the encoder; the decoder has one more
    heads: int = 8  # the number of attention heads, not their width
    context_dim: int = 768  # d of the context (b, l, d)
    conditioning: str = "cross_attention"  # or "addition", "concatenation": Tables 6-9
    in_channels: int = 1
    out_channels: int = 1
    groups: int = 32  # of every group norm
    dropout: float = 0.0  # inside the residual blocks
    concatenation_maps: int = 16  # input maps made from the embedding by "concatenation"
    zero_output: bool = False  # start from a network that answers 0 everywhere

    def __post_init__(self) -> None:
        check(
            len(self.channels) == len(self.attention) > 0,
            f"UNetConfig: channels {self.channels} and attention {self.attention} must name the "
            "same number of levels, at least one",
        )
        check(
            self.conditioning in CONDITIONINGS,
            f"UNetConfig: conditioning {self.conditioning!r} is not in {CONDITIONINGS}",
        )
        uneven = [c for c in self.channels if c % self.groups]
        check(not uneven, f"UNetConfig: channels {uneven} do not divide into {self.groups} groups")
        headless = [c for c in (*self.attended(), self.channels[-1]) if c % self.heads]
        check(not headless, f"UNetConfig: channels {headless}: no multiple of {self.heads} heads")

    def attended(self) -> list[int]:
        """Widths of the levels that have transformer blocks."""
        return [c for c, attends in zip(self.channels, self.attention) if attends]


# -------------------------------------------------------------------------------------------------
# Time


def sinusoidal_embedding(t: Tensor, dim: int) -> Tensor:
    """Timesteps `(b,)` as cosines and sines of `dim / 2` geometric frequencies, 1 to 1/10000."""
    half = dim // 2
    frequency = torch.exp(torch.arange(half, device=t.device) * (-math.log(10_000) / half))
    angle = t[:, None].float() * frequency                                     # (b, dim / 2)
    return torch.cat([angle.cos(), angle.sin()], dim=-1)                       # (b, dim)


class TimeEmbedding(nn.Module):
    """A timestep as a vector: sinusoids, then a two-layer perceptron."""

    def __init__(self, channels: int, width: int):
        super().__init__()
        self.channels = channels
        self.linear_1 = nn.Linear(channels, width)
        self.linear_2 = nn.Linear(width, width)

    def forward(self, t: Tensor) -> Tensor:
        wave = sinusoidal_embedding(t, self.channels).to(self.linear_1.weight.dtype)
        return self.linear_2(F.silu(self.linear_1(wave)))                      # (b, width)


# -------------------------------------------------------------------------------------------------
# Blocks


class ResidualBlock(Block):
    """norm, SiLU, conv, + time, norm, SiLU, conv, + input."""

    def __init__(self, c_in: int, c_out: int, time_width: int, groups: int, dropout: float):
        super().__init__()
        self.norm_1 = nn.GroupNorm(groups, c_in)
        self.conv_1 = nn.Conv2d(c_in, c_out, 3, padding=1)
        self.time = nn.Linear(time_width, c_out)
        self.norm_2 = nn.GroupNorm(groups, c_out)
        self.dropout = nn.Dropout(dropout)
        self.conv_2 = nn.Conv2d(c_out, c_out, 3, padding=1)
        self.shortcut = nn.Identity() if c_in == c_out else nn.Conv2d(c_in, c_out, 1)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:                      # (b, c_in, h, w)
        y = self.conv_1(F.silu(self.norm_1(x))) + rearrange(self.time(time), "b c -> b c 1 1")
        y = self.conv_2(self.dropout(F.silu(self.norm_2(y))))
        return self.shortcut(x) + y                                            # (b, c_out, h, w)


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """softmax(Q K^T / sqrt(d_k)) V for every head: (b, heads, p, d_k) and (b, heads, l, d_k)."""
    return rearrange(F.scaled_dot_product_attention(q, k, v), "b n p d -> b p (n d)")


class SelfAttention(nn.Module):
    """Every position of the signal asks every other."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:                                    # (b, p, d)
        q, k, v = rearrange(self.qkv(x), "b p (three n d) -> three b n p d", three=3, n=self.heads)
        return self.out(attend(q, k, v))


class CrossAttention(nn.Module):
    """Every position of the signal asks the image: Section 3.3.2.

    With a single context token the softmax over one key is 1 whatever the query: the answer is the
    same vector W_out (W_V h_img) at every position, and W_Q and W_K are idle. This is the paper's
    case (one CLIP embedding per image), so cross-attention there is an addition, made in eleven
    places with a projection of their own. `remember` takes the exact shortcut; W_Q, W_K and the
    norm of the queries then receive no gradient.
    """

    def __init__(self, width: int, context_dim: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.q = nn.Linear(width, width, bias=False)
        self.k = nn.Linear(context_dim, width, bias=False)
        self.v = nn.Linear(context_dim, width, bias=False)
        self.out = nn.Linear(width, width)

    def remember(self, context: Tensor) -> tuple[Tensor, ...]:
        """What this layer needs of a context (b, l, d): keys and values; with l = 1, the answer."""
        if context.shape[1] == 1:
            return (self.out(self.v(context)),)                                # (b, 1, d)
        return tuple(
            rearrange(f(context), "b l (n d) -> b n l d", n=self.heads) for f in (self.k, self.v)
        )

    def forward(self, x: Tensor, memory: tuple[Tensor, ...]) -> Tensor:        # (b, p, d)
        if len(memory) == 1:
            return memory[0]
        q = rearrange(self.q(self.norm(x)), "b p (n d) -> b n p d", n=self.heads)
        return self.out(attend(q, *memory))


class TransformerBlock(Block):
    """Self-attention, cross-attention, GEGLU feed-forward over the positions of one level."""

    def __init__(self, width: int, config: UNetConfig):
        super().__init__()
        self.norm_in = nn.GroupNorm(config.groups, width, eps=1e-6)
        self.proj_in = nn.Linear(width, width)
        self.norm_self = nn.LayerNorm(width)
        self.self_attention = SelfAttention(width, config.heads)
        crosses = config.conditioning == "cross_attention"
        self.cross_attention = (
            CrossAttention(width, config.context_dim, config.heads) if crosses else None
        )
        self.norm_ff = nn.LayerNorm(width)
        self.ff_in = nn.Linear(width, 8 * width)
        self.ff_out = nn.Linear(4 * width, width)
        self.proj_out = nn.Linear(width, width)

    def forward(self, x: Tensor, memory: tuple[Tensor, ...] | None) -> Tensor:  # (b, d, h, w)
        y = self.proj_in(rearrange(self.norm_in(x), "b d h w -> b (h w) d"))
        y = y + self.self_attention(self.norm_self(y))
        if self.cross_attention is not None:
            y = y + self.cross_attention(y, memory)
        value, gate = self.ff_in(self.norm_ff(y)).chunk(2, dim=-1)
        y = y + self.ff_out(value * F.gelu(gate))
        return x + rearrange(self.proj_out(y), "b (h w) d -> b d h w", h=x.shape[2])


class Level(nn.Module):
    """Residual blocks of one level, each with its transformer block if the level attends."""

    def __init__(self, widths: list[tuple[int, int]], transformers: int, config: UNetConfig):
        super().__init__()
        time_width = 4 * config.channels[0]
        self.residual = nn.ModuleList(
            ResidualBlock(c_in, c, time_width, config.groups, config.dropout) for c_in, c in widths
        )
        self.transformer = nn.ModuleList(
            TransformerBlock(widths[0][1], config) for _ in range(transformers)
        )
        self.resample = None  # the convolution that leaves the level, if it is left

    def blocks(self) -> Iterator[tuple[ResidualBlock, TransformerBlock | None]]:
        return zip_longest(self.residual, self.transformer)


class Memory(NamedTuple):
    """All that a `UNet2D` needs of a context; the same for every step of a reverse process."""

    layers: list[tuple[Tensor, ...] | None]  # of each transformer block, in the forward's order
    embedding: Tensor | None  # of "addition" (b, time width) and "concatenation" (b, maps)


# -------------------------------------------------------------------------------------------------
# The network


class UNet2D(nn.Module):
    """Denoiser: `unet(y_t (b, 1, h, w), t (b,), context (b, l, d)) -> (b, 1, h, w)`.

    Parameters
    ----------
    config : UNetConfig
        `conditioning` says how the image enters, everything else being equal (Tables 6-9):
        "cross_attention" as Section 3.3.2 (see `CrossAttention` for what one token means);
        "addition": the projected embedding is added to the time embedding and so reaches every
        residual block; "concatenation": it is projected to constant maps that are concatenated to
        the input channels. The last two use the pooled embedding, token 0, and have no
        cross-attention.

    Raises
    ------
    ValueError
        If `y_t`, `t` and `context` do not fit the config or one another.
    """

    def __init__(self, config: UNetConfig = UNetConfig()):
        super().__init__()
        self.config = config
        c, last, blocks = config.channels, len(config.channels) - 1, config.layers_per_block
        maps = config.concatenation_maps if config.conditioning == "concatenation" else 0
        self.embed = None
        if config.conditioning != "cross_attention":
            self.embed = nn.Linear(config.context_dim, maps or 4 * c[0])
        self.time = TimeEmbedding(c[0], 4 * c[0])
        self.conv_in = nn.Conv2d(config.in_channels + maps, c[0], 3, padding=1)

        self.down, skips = nn.ModuleList(), [c[0]]
        for i, width in enumerate(c):
            widths = [(skips[-1], width)] + [(width, width)] * (blocks - 1)
            level = Level(widths, blocks * config.attention[i], config)
            skips += [width] * blocks
            if i < last:
                level.resample = nn.Conv2d(width, width, 3, stride=2, padding=1)
                skips.append(width)
            self.down.append(level)

        self.middle = Level([(c[-1], c[-1])] * 2, 1, config)

        self.up, below = nn.ModuleList(), c[-1]
        for i, width in reversed(list(enumerate(c))):
            widths = [(skips.pop() + (width if j else below), width) for j in range(blocks + 1)]
            level = Level(widths, (blocks + 1) * config.attention[i], config)
            if i > 0:
                level.resample = nn.Conv2d(width, width, 3, padding=1)
            self.up.append(level)
            below = width

        self.norm_out = nn.GroupNorm(config.groups, c[0])
        self.conv_out = nn.Conv2d(c[0], config.out_channels, 3, padding=1)
        if config.zero_output:
            nn.init.zeros_(self.conv_out.weight)
            nn.init.zeros_(self.conv_out.bias)
        if min(c) >= 64:  # wide convolutions are faster so; for narrow ones group norm loses more
            self.to(memory_format=torch.channels_last)

    def encode_context(self, context: Tensor) -> Memory:
        """Keys and values of a context (b, l, d), computed once and passed instead of it."""
        check(
            context.ndim == 3 and context.shape[-1] == self.config.context_dim,
            f"UNet2D: the context is {tuple(context.shape)}; wanted (batch, tokens, "
            f"{self.config.context_dim})",
        )
        layers = [
            block.cross_attention and block.cross_attention.remember(context)
            for level in (*self.down, self.middle, *self.up)
            for block in level.transformer
        ]
        return Memory(layers, self.embed(context[:, 0]) if self.embed else None)

    def forward(self, y_t: Tensor, t: Tensor, context: Tensor | Memory) -> Tensor:
        memory = context if isinstance(context, Memory) else self.encode_context(context)
        channels = self.config.in_channels
        check(
            y_t.ndim == 4 and y_t.shape[1] == channels and t.shape == y_t.shape[:1],
            f"UNet2D: y_t is {tuple(y_t.shape)} and t {tuple(t.shape)}; wanted (batch, {channels}, "
            "sensors, time points) and (batch,)",
        )
        layers = iter(memory.layers)
        time = self.time(t)
        if self.config.conditioning == "addition":
            time = time + memory.embedding
        if self.config.conditioning == "concatenation":
            maps = repeat(memory.embedding, "b m -> b m h w", h=y_t.shape[2], w=y_t.shape[3])
            y_t = torch.cat([y_t, maps], dim=1)
        time = F.silu(time)

        x = self.conv_in(y_t)
        skips = [x]
        for level in self.down:
            for residual, transformer in level.blocks():
                x = residual(x, time)
                x = transformer(x, next(layers)) if transformer else x
                skips.append(x)
            if level.resample:
                x = level.resample(x)
                skips.append(x)

        x = self.middle.residual[0](x, time)
        x = self.middle.transformer[0](x, next(layers))
        x = self.middle.residual[1](x, time)

        for level in self.up:
            for residual, transformer in level.blocks():
                x = residual(torch.cat([x, skips.pop()], dim=1), time)
                x = transformer(x, next(layers)) if transformer else x
            if level.resample:
                x = upsample(x, level.resample, skips[-1].shape[2:])

        return self.conv_out(F.silu(self.norm_out(x)))
