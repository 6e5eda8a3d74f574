"""The transformer that both of CLIP's towers are (Radford et al. 2021, Section 2.4).

    x = x + attention(ln_1(x)),   x = x + mlp(ln_2(x))           once per block

    attention = softmax(q k^T / sqrt(width / heads)) v,   mlp(x) = c_proj(QuickGELU(c_fc(x)))

Shapes: b batch, l tokens, d width, h heads of width c.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

# Which of the two it is stands in no weight; with the wrong one features are silently others.
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "quick_gelu": lambda x: x * torch.sigmoid(1.702 * x),
    "gelu": F.gelu,
}


class Attention(nn.Module):
    """Multi-head self-attention, (b, l, d) -> (b, l, d); q, k and v are one stacked matrix.

    With `asking`, only that many tokens, the first, ask; all are asked, and l of the answer is it.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.zeros(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor, causal: bool = False, asking: int | None = None) -> Tensor:
        weight, bias, d = self.in_proj_weight, self.in_proj_bias, x.shape[-1]
        q = F.linear(x[:, :asking], weight[:d], bias[:d])  # (b, asking, d)
        kv = F.linear(x, weight[d:], bias[d:])  # (b, l, 2 d)
        q = rearrange(q, "b l (h c) -> b h l c", h=self.heads)
        k, v = rearrange(kv, "b l (two h c) -> two b h l c", two=2, h=self.heads)
        x = F.scaled_dot_product_attention(q, k, v, is_causal=causal)  # (b, h, asking, c)
        return cast(Tensor, self.out_proj(rearrange(x, "b h l c -> b l (h c)")))


class MLP(nn.Module):
    """Two layers, four times as wide in between, (b, l, d) -> (b, l, d)."""

    def __init__(self, width: int, activation: str) -> None:
        super().__init__()
        self.activation = ACTIVATIONS[activation]
        self.c_fc = nn.Linear(width, 4 * width)
        self.c_proj = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.c_proj(self.activation(self.c_fc(x))))


class Block(nn.Module):
    """One pre-norm transformer block, (b, l, d) -> (b, l, d), or of the tokens `asking`."""

    def __init__(self, width: int, heads: int, activation: str) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.attn = Attention(width, heads)
        self.ln_2 = nn.LayerNorm(width)
        self.mlp = MLP(width, activation)

    def forward(self, x: Tensor, causal: bool = False, asking: int | None = None) -> Tensor:
        x = x[:, :asking] + self.attn(self.ln_1(x), causal, asking)
        return cast(Tensor, x + self.mlp(self.ln_2(x)))


class Transformer(nn.Module):
    """The blocks of a tower; `causal`: no token sees a later one.

    Where only the first tokens of the answer are wanted, the last block need not make the others.
    """

    def __init__(self, width: int, layers: int, heads: int, activation: str) -> None:
        super().__init__()
        blocks = (Block(width, heads, activation) for _ in range(layers))
        self.resblocks = cast("Sequence[Block]", nn.ModuleList(blocks))

    def forward(self, x: Tensor, causal: bool = False, wanted: int | None = None) -> Tensor:
        *blocks, last = self.resblocks
        for block in blocks:
            x = block(x, causal)
        return cast(Tensor, last(x, causal, asking=wanted))
