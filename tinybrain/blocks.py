"""What the U-Net is built of: Section 3.3.2, and the parts that the paper takes over from others.

Section 3.3.2 is `CrossAttention`, from the signal to the image:

    Q = H_brain W_Q,  K = h_img W_K,  V = h_img W_V,  Attention = softmax(Q K^T / sqrt(d_k)) V

Letters: b batch, c channels, h sensors, w time points, p positions (h * w of a level), l context
tokens, d width, n heads of width d_k. Parts: Ho et al. 2020 (time, residual blocks), Vaswani et
al. 2017 (attention), Shazeer 2020 (GEGLU), Rombach et al. 2022 (transformer blocks).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TypeVar, cast

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from .speed import Block

KeysAndValues = tuple[Tensor, ...]  # or, of a single token, the answer alone
M = TypeVar("M", bound=nn.Module)


def module_list(modules: Iterable[M]) -> Sequence[M]:
    """`nn.ModuleList`, told to type checkers as what it holds."""
    return cast("Sequence[M]", nn.ModuleList(modules))


# -------------------------------------------------------------------------------------------------
# Time


def sinusoidal_embedding(t: Tensor, dim: int) -> Tensor:
    """Timesteps `(b,)` as cosines and sines of `dim / 2` geometric frequencies, 1 to 1/10000.

    Examples
    --------
    >>> sinusoidal_embedding(torch.tensor([0, 1]), 4)
    tensor([[1.0000, 1.0000, 0.0000, 0.0000],
            [0.5403, 0.9999, 0.8415, 0.0100]])
    """
    half = dim // 2
    frequency = torch.exp(torch.arange(half, device=t.device) * (-math.log(10_000) / half))
    angle = t[:, None].float() * frequency                                     # (b, dim / 2)
    return torch.cat([angle.cos(), angle.sin()], dim=-1)                       # (b, dim)


class TimeEmbedding(nn.Module):
    """A timestep as a vector: sinusoids, then a two-layer perceptron."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.channels = channels
        self.linear_1 = nn.Linear(channels, width)
        self.linear_2 = nn.Linear(width, width)

    def forward(self, t: Tensor) -> Tensor:
        wave = sinusoidal_embedding(t, self.channels).to(self.linear_1.weight.dtype)
        return cast(Tensor, self.linear_2(F.silu(self.linear_1(wave))))        # (b, width)


# -------------------------------------------------------------------------------------------------
# The residual block


class ResidualBlock(Block):
    """norm, SiLU, conv, + time, norm, SiLU, conv, + input."""

    def __init__(
        self, c_in: int, c_out: int, time_width: int, groups: int, dropout: float
    ) -> None:
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
        return cast(Tensor, self.shortcut(x) + y)                              # (b, c_out, h, w)


# -------------------------------------------------------------------------------------------------
# Attention


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """softmax(Q K^T / sqrt(d_k)) V for every head, the heads side by side: Section 3.3.2.

    Parameters
    ----------
    q : Tensor (b, n, p, d_k)
    k, v : Tensor (b, n, l, d_k)

    Returns
    -------
    Tensor (b, p, n d_k)

    Examples
    --------
    >>> q, k = torch.zeros(1, 1, 2, 4), torch.zeros(1, 1, 3, 4)    # all keys fit equally well:
    >>> attend(q, k, torch.tensor([[[[0.0], [1.0], [5.0]]]]))      # the mean of the values
    tensor([[[2.],
             [2.]]])
    """
    y: Tensor = F.scaled_dot_product_attention(q, k, v)
    return rearrange(y, "b n p d -> b p (n d)")


class SelfAttention(nn.Module):
    """Every position of the signal asks every other."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:                                    # (b, p, d)
        q, k, v = rearrange(self.qkv(x), "b p (three n d) -> three b n p d", three=3, n=self.heads)
        return cast(Tensor, self.out(attend(q, k, v)))


class CrossAttention(nn.Module):
    """Every position of the signal asks the image: Section 3.3.2.

    With a single context token the softmax over one key is 1 whatever the query: the answer is the
    same vector W_out (W_V h_img) at every position, and W_Q and W_K are idle. This is the paper's
    case (one CLIP embedding per image), so cross-attention there is an addition, made in eleven
    places with a projection of their own. `remember` takes the exact shortcut; W_Q, W_K and the
    norm of the queries then receive no gradient.

    Parameters
    ----------
    width : int
        d of the signal's level.
    context_dim : int
        Width of the context.
    heads : int

    Examples
    --------
    >>> layer = CrossAttention(width=64, context_dim=768, heads=8)
    >>> x = torch.randn(2, 100, 64)                                        # (b, p, d)
    >>> layer(x, layer.remember(torch.randn(2, 257, 768))).shape           # all of CLIP's tokens
    torch.Size([2, 100, 64])
    >>> layer(x, layer.remember(torch.randn(2, 1, 768))).shape             # one: all p are told
    torch.Size([2, 1, 64])
    """

    def __init__(self, width: int, context_dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.q = nn.Linear(width, width, bias=False)
        self.k = nn.Linear(context_dim, width, bias=False)
        self.v = nn.Linear(context_dim, width, bias=False)
        self.out = nn.Linear(width, width)

    def remember(self, context: Tensor) -> KeysAndValues:
        """What this layer needs of a context (b, l, d): keys and values; with l = 1, the answer.

        Of one token, the paper's case, K = h_img W_K is never computed: softmax over one key is 1,
        so the answer is W_out (W_V h_img), whatever Q and K are.
        """
        if context.shape[1] == 1:
            return (self.out(self.v(context)),)                                # (b, 1, d)
        return tuple(
            rearrange(f(context), "b l (n d) -> b n l d", n=self.heads) for f in (self.k, self.v)
        )

    def forward(self, x: Tensor, memory: KeysAndValues) -> Tensor:             # (b, p, d)
        if len(memory) == 1:
            return memory[0]
        q = rearrange(self.q(self.norm(x)), "b p (n d) -> b n p d", n=self.heads)
        return cast(Tensor, self.out(attend(q, *memory)))


class TransformerBlock(Block):
    """Self-attention, cross-attention, GEGLU feed-forward over the positions of one level.

    Without a `context_dim` there is no cross-attention.
    """

    def __init__(self, width: int, heads: int, groups: int, context_dim: int | None) -> None:
        super().__init__()
        self.norm_in = nn.GroupNorm(groups, width, eps=1e-6)
        self.proj_in = nn.Linear(width, width)
        self.norm_self = nn.LayerNorm(width)
        self.self_attention = SelfAttention(width, heads)
        self.cross_attention = (
            None if context_dim is None else CrossAttention(width, context_dim, heads)
        )
        self.norm_ff = nn.LayerNorm(width)
        self.ff_in = nn.Linear(width, 8 * width)
        self.ff_out = nn.Linear(4 * width, width)
        self.proj_out = nn.Linear(width, width)

    def forward(self, x: Tensor, memory: KeysAndValues | None) -> Tensor:      # (b, d, h, w)
        y = self.proj_in(rearrange(self.norm_in(x), "b d h w -> b (h w) d"))
        y = y + self.self_attention(self.norm_self(y))
        if self.cross_attention is not None:
            y = y + self.cross_attention(y, memory)
        value, gate = self.ff_in(self.norm_ff(y)).chunk(2, dim=-1)
        y = y + self.ff_out(value * F.gelu(gate))
        y = rearrange(self.proj_out(y), "b (h w) d -> b d h w", h=x.shape[2])
        return x + cast(Tensor, y)
