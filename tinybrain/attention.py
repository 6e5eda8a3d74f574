"""Where the signal looks: the weights of cross-attention, softmax(Q K^T / sqrt(d_k)).

A forward never forms them (`unet.attend` goes straight to the weighted values), so they are
computed here beside it, from what each layer is given.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .unet import CrossAttention, UNet2D


@torch.no_grad()
def cross_attention_maps(unet: UNet2D, y_t: Tensor, t: Tensor, context: Tensor) -> list[Tensor]:
    """The attention maps of one evaluation of the network.

    Parameters
    ----------
    unet : UNet2D with conditioning "cross_attention"
    y_t, t, context : as `UNet2D.forward`, (b, 1, h, w), (b,), (b, l, d)

    Returns
    -------
    list of Tensor (b, heads, p, l), in the order of the forward
        p are the positions of the layer's level, row by row; sums over l are 1. With one token
        all are 1.

    Raises
    ------
    ValueError
        If the network has no cross-attention.

    Examples
    --------
    Signals of 4 sensors and 12 times, told by 5 tokens of an image:

    >>> import torch
    >>> from tinybrain.attention import cross_attention_maps
    >>> from tinybrain.unet import UNet2D, UNetConfig
    >>> unet = UNet2D(UNetConfig((32, 64), (False, True), context_dim=8))
    >>> maps = cross_attention_maps(unet, torch.randn(1, 1, 4, 12), torch.tensor([999]),
    ...                             torch.randn(1, 5, 8))
    >>> len(maps), maps[0].shape, round(maps[0].sum(dim=-1).mean().item(), 4)
    (6, torch.Size([1, 8, 12, 5]), 1.0)
    """
    layers = [module for module in unet.modules() if isinstance(module, CrossAttention)]
    if not layers:
        raise ValueError(f"conditioning {unet.config.conditioning!r} has no cross-attention")
    maps: list[Tensor] = []

    def look(layer: CrossAttention, given: tuple[Tensor, tuple[Tensor, ...]]) -> None:
        x, memory = given                                                      # (b, p, d)
        if len(memory) == 1:
            maps.append(x.new_ones(len(x), layer.heads, x.shape[1], 1))
            return
        q = layer.q(layer.norm(x)).unflatten(-1, (layer.heads, -1)).transpose(1, 2)
        logits = q @ memory[0].transpose(-1, -2) / q.shape[-1] ** 0.5          # (b, heads, p, l)
        maps.append(logits.softmax(dim=-1))

    hooks = [layer.register_forward_pre_hook(look) for layer in layers]
    try:
        unet(y_t, t, context)
    finally:
        for hook in hooks:
            hook.remove()
    return maps
