"""Upsampling by 2 and the 3 x 3 convolution after it, as one transposed convolution.

Nearest-neighbour upsampling repeats every value: up[q] = x[q // 2]. A convolution w of three taps
(zero outside) then reads, in one dimension,

    y[p] = w[0] up[p-1] + w[1] up[p] + w[2] up[p+1]

The value x[i], at q = 2i and 2i + 1, so reaches four outputs, p = 2i-1 ... 2i+2, with the weights

    w[2],  w[1] + w[2],  w[0] + w[1],  w[0]

which is a transposed convolution of four taps and stride 2. In two dimensions it makes 4 products
where the two steps make 9. Where the size wanted is odd, up ends in the middle of x's last value
and the last output must not read beyond it; that row or column is computed in two steps.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from einops import einsum
from torch import Tensor, nn

TAPS = torch.tensor([[0.0, 0, 1], [0, 1, 1], [1, 1, 0], [1, 0, 0]])


def in_two_steps(x: Tensor, conv: nn.Conv2d, size: tuple[int, int]) -> Tensor:
    """conv(x repeated to `size`): x (b, c, h, w), a size of 2h or 2h - 1 by 2w or 2w - 1."""
    return cast(Tensor, conv(F.interpolate(x, size=size, mode="nearest")))


def upsample(x: Tensor, conv: nn.Conv2d, size: tuple[int, int]) -> Tensor:
    """The same as `in_two_steps`, by a transposed convolution.

    Examples
    --------
    >>> x, conv = torch.randn(1, 4, 32, 125), nn.Conv2d(4, 4, 3, padding=1)
    >>> y = upsample(x, conv, (63, 250))
    >>> torch.allclose(y, in_two_steps(x, conv, (63, 250)), atol=1e-5)
    True
    """
    h, w = size
    taps = TAPS.to(conv.weight)
    kernel = einsum(taps, taps, conv.weight, "p u, q v, o i u v -> i o p q")
    y = F.conv_transpose2d(x, kernel, conv.bias, stride=2, padding=1)[..., :h, :w]
    if h % 2:
        y[..., -1:, :] = in_two_steps(x[..., -2:, :], conv, (min(h, 3), w))[..., -1:, :]
    if w % 2:
        y[..., -1:] = in_two_steps(x[..., -2:], conv, (h, min(w, 3)))[..., -1:]
    return y
