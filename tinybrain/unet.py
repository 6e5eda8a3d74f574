"""The U-Net eps_theta(y_t, t, h_img): Sections 3.2 and 3.3.2, configured as in Section 4.2.

An encoder of residual blocks halves the signal at each level, a decoder doubles it back, and every
encoder output is handed to the decoder as a skip. At the levels marked in `attention`, each
residual block is followed by a transformer block: self-attention among the positions of the
signal, cross-attention to the image, feed-forward (all in `blocks`).

The signal (sensors x time points) is an image of one channel, of any height and width from 1 up:
each upsampling goes to the size of the skip it is about to meet.

Letters: b batch, h sensors, w time points, l context tokens, d width. Ronneberger et al. 2015
(U-Net), arranged as by Rombach et al. 2022.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from einops import repeat
from torch import Tensor, nn

from .blocks import (
    CrossAttention,
    KeysAndValues,
    ResidualBlock,
    TimeEmbedding,
    TransformerBlock,
    attend,
    module_list,
)
from .upsample import upsample

__all__ = ["CONDITIONINGS", "CrossAttention", "Memory", "UNet2D", "UNetConfig", "attend"]

CONDITIONINGS = ("cross_attention", "addition", "concatenation")


def check(ok: bool, message: str) -> None:
    if not ok:
        raise ValueError(message)


@dataclass(frozen=True)
class UNetConfig:
    """Shape of a `UNet2D`. The defaults are the paper's network: 161,248,001 parameters.

    `ValueError` if channels and attention name different levels, if a width does not divide into
    its groups or heads, if the first is odd, if there is less than one of anything, or if the
    conditioning is not in `CONDITIONINGS`.

    Examples
    --------
    >>> UNetConfig().channels, UNetConfig().attention
    ((128, 256, 512, 512), (False, False, True, True))
    >>> UNetConfig(channels=(32, 64), attention=(False, True)).attended()
    [64]
    """

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
        few = [name for name, value in vars(self).items() if type(value) is int and value < 1]
        check(not few, f"UNetConfig: {', '.join(few)} below 1")
        known = self.conditioning in CONDITIONINGS
        check(known, f"UNetConfig: conditioning {self.conditioning!r} is not in {CONDITIONINGS}")
        uneven = [c for c in self.channels if c < 1 or c % self.groups]
        check(not uneven, f"UNetConfig: channels {uneven} do not divide into {self.groups} groups")
        headless = [c for c in (*self.attended(), self.channels[-1]) if c % self.heads]
        check(not headless, f"UNetConfig: channels {headless}: no multiple of {self.heads} heads")
        even = self.channels[0] % 2 == 0  # as many sines as cosines tell the time
        check(even, f"UNetConfig: channels begin with {self.channels[0]}; wanted an even width")

    def attended(self) -> list[int]:
        """Widths of the levels that have transformer blocks."""
        return [c for c, attends in zip(self.channels, self.attention) if attends]


class Level(nn.Module):
    """Residual blocks of one level, each with its transformer block if the level attends."""

    resample: nn.Conv2d | None  # the convolution that leaves the level, if it is left

    def __init__(
        self, widths: list[tuple[int, int]], transformers: int, config: UNetConfig
    ) -> None:
        super().__init__()
        time_width, groups = 4 * config.channels[0], config.groups
        self.residual = module_list(
            ResidualBlock(c_in, c, time_width, groups, config.dropout) for c_in, c in widths
        )
        crosses = config.conditioning == "cross_attention"
        context_dim = config.context_dim if crosses else None
        self.transformer = module_list(
            TransformerBlock(widths[0][1], config.heads, groups, context_dim)
            for _ in range(transformers)
        )
        self.resample = None

    def blocks(self) -> Iterator[tuple[ResidualBlock, TransformerBlock | None]]:
        return zip_longest(self.residual, self.transformer)


class Memory(NamedTuple):
    """All that a `UNet2D` needs of a context; the same for every step of a reverse process."""

    layers: list[KeysAndValues | None]  # of each transformer block, in the forward's order
    embedding: Tensor | None  # of "addition" (b, time width) and "concatenation" (b, maps)


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

    Examples
    --------
    >>> config = UNetConfig(channels=(32, 64), attention=(False, True), heads=4)
    >>> unet = UNet2D(config)
    >>> y_t, t, context = torch.randn(2, 1, 63, 50), torch.tensor([3, 999]), torch.randn(2, 1, 768)
    >>> unet(y_t, t, context).shape
    torch.Size([2, 1, 63, 50])
    """

    def __init__(self, config: UNetConfig = UNetConfig()) -> None:
        super().__init__()
        self.config = config
        c, last, blocks = config.channels, len(config.channels) - 1, config.layers_per_block
        maps = config.concatenation_maps if config.conditioning == "concatenation" else 0
        self.embed = None
        if config.conditioning != "cross_attention":
            self.embed = nn.Linear(config.context_dim, maps or 4 * c[0])
        self.time = TimeEmbedding(c[0], 4 * c[0])
        self.conv_in = nn.Conv2d(config.in_channels + maps, c[0], 3, padding=1)

        down, skips = [], [c[0]]
        for i, width in enumerate(c):
            widths = [(skips[-1], width)] + [(width, width)] * (blocks - 1)
            level = Level(widths, blocks * config.attention[i], config)
            skips += [width] * blocks
            if i < last:
                level.resample = nn.Conv2d(width, width, 3, stride=2, padding=1)
                skips.append(width)
            down.append(level)
        self.down = module_list(down)

        self.middle = Level([(c[-1], c[-1])] * 2, 1, config)

        up, below = [], c[-1]
        for i, width in reversed(list(enumerate(c))):
            widths = [(skips.pop() + (width if j else below), width) for j in range(blocks + 1)]
            level = Level(widths, (blocks + 1) * config.attention[i], config)
            if i > 0:
                level.resample = nn.Conv2d(width, width, 3, padding=1)
            up.append(level)
            below = width
        self.up = module_list(up)

        self.norm_out = nn.GroupNorm(config.groups, c[0])
        self.conv_out = nn.Conv2d(c[0], config.out_channels, 3, padding=1)
        if config.zero_output:
            for weight in self.conv_out.parameters():
                nn.init.zeros_(weight)
        if min(c) >= 64:  # wide convolutions are faster so; for narrow ones group norm loses more
            self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # untyped

    def encode_context(self, context: Tensor) -> Memory:
        """Keys and values of a context (b, l, d), computed once and passed instead of it.

        `ValueError` if the context has other axes, or another d than `context_dim`.

        Examples
        --------
        >>> unet = UNet2D(UNetConfig(channels=(32, 64), attention=(False, True), heads=4))
        >>> y_t, t, context = torch.randn(2, 1, 9, 14), torch.zeros(2), torch.randn(2, 1, 768)
        >>> torch.equal(unet(y_t, t, unet.encode_context(context)), unet(y_t, t, context))
        True
        """
        check(
            context.ndim == 3 and context.shape[-1] == self.config.context_dim,
            f"UNet2D: the context is {tuple(context.shape)}; wanted (batch, tokens, "
            f"{self.config.context_dim})",
        )
        layers = [
            block.cross_attention.remember(context) if block.cross_attention else None
            for level in (*self.down, self.middle, *self.up)
            for block in level.transformer
        ]
        return Memory(layers, self.embed(context[:, 0]) if self.embed else None)

    def check_inputs(self, y_t: Tensor, t: Tensor, contexts: int) -> None:
        """ValueError unless y_t is (b, channels, h, w), t is (b,), and there are b contexts."""
        channels, b = self.config.in_channels, len(y_t)
        check(
            y_t.ndim == 4 and y_t.shape[1] == channels and t.shape == (b,) and contexts == b,
            f"UNet2D: y_t is {tuple(y_t.shape)} and t {tuple(t.shape)}, with {contexts} contexts; "
            f"wanted (batch, {channels}, sensors, time points), (batch,) and as many",
        )

    def forward(self, y_t: Tensor, t: Tensor, context: Tensor | Memory) -> Tensor:
        memory = context if isinstance(context, Memory) else self.encode_context(context)
        self.check_inputs(y_t, t, len(y_t) if isinstance(context, Memory) else len(context))
        layers = iter(memory.layers)
        time = self.time(t)
        if self.config.conditioning == "addition":
            time = time + memory.embedding
        if memory.embedding is not None and self.config.conditioning == "concatenation":
            maps = repeat(memory.embedding, "b m -> b m h w", h=y_t.shape[2], w=y_t.shape[3])
            y_t = torch.cat([y_t, maps], dim=1)
        time = F.silu(time)

        x = self.conv_in(y_t)  # D_enc of Section 3.2: all states on the way down, which are `skips`
        skips = [x]
        for level in self.down:
            for residual, transformer in level.blocks():
                x = residual(x, time)
                x = transformer(x, next(layers)) if transformer else x
                skips.append(x)
            if level.resample:
                x = level.resample(x)
                skips.append(x)

        x = self.middle.residual[0](x, time)  # D_dec: it knows y_t by D_enc's states alone
        x = self.middle.transformer[0](x, next(layers))
        x = self.middle.residual[1](x, time)

        for level in self.up:
            for residual, transformer in level.blocks():
                x = residual(torch.cat([x, skips.pop()], dim=1), time)
                x = transformer(x, next(layers)) if transformer else x
            if level.resample:
                x = upsample(x, level.resample, skips[-1].shape[2:])

        return cast(Tensor, self.conv_out(F.silu(self.norm_out(x))))
