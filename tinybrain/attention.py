"""Where the signal looks: the weights of cross-attention, softmax(Q K^T / sqrt(d_k)).

A forward never forms them (`unet.attend` goes straight to the weighted values), so they are
computed here beside it, from what each layer is given.

Letters: b batch, p positions (of a level of the U-Net: sensors by times, row by row), l tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from .style import PAPER, SEQUENTIAL, WIDTH, add_axes, save_figure
from .unet import CrossAttention, UNet2D

if TYPE_CHECKING:
    from PIL.Image import Image


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


def plot_attention(
    weights: Tensor | np.ndarray, picture: Image, *, sensors: Sequence[str], times: np.ndarray,
    path: str | Path,
) -> Path:
    """Draw an image, the mean weight of its patches, and the weights of every place in the signal.

    Weights are drawn times l, so that 1 is what each token gets where all are alike; the two maps
    share a scale that starts at 0.

    Parameters
    ----------
    weights : (p, l) of one image, such as the mean over heads of `cross_attention_maps`. The
        first of the l tokens is the class token, the others a square of patches, row by row.
    picture : the image
    sensors, times : the sensor at the centre of each row of positions; seconds, of each column.
        A level that halves the signal k times has every 2**k-th of the signal's.
    path : file to write; its suffix chooses the format

    Returns
    -------
    The path.

    Raises
    ------
    ValueError : weights that do not fit the sensors and times, or patches that are no square.

    Examples
    --------
    Positions around 2 sensors and 3 times, told by the class token and 2 x 2 patches:

    >>> import tempfile
    >>> from PIL import Image
    >>> from tinybrain.attention import plot_attention
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     plot_attention(torch.full((6, 5), 0.2), Image.new("RGB", (64, 64)), times=[0, 0.1, 0.2],
    ...                    sensors=["Fz", "Oz"], path=f"{folder}/attention.png").name
    'attention.png'
    """
    from matplotlib.figure import Figure

    (p, tokens), (h, w) = np.shape(weights), (len(sensors), len(times))
    side = round((tokens - 1) ** 0.5)
    if p != h * w or side**2 != tokens - 1 or not side:
        raise ValueError(
            f"weights have shape {(p, tokens)}: wanted {h * w} positions, {h} sensors x {w} times, "
            "and a class token and a square of patches"
        )
    relative = tokens * np.asarray(weights)                                    # (p, l)
    patches = relative.mean(axis=0)[1:].reshape(side, side)
    figure = Figure(figsize=(WIDTH, 2.75))
    places = ((0.1, 1.85), (2.1, 1.85), (4.95, 2.35), (7.4, 0.1))  # inches from the left, and wide
    seen, mean, whole, bar = (add_axes(figure, left, 0.55, wide, 1.85) for left, wide in places)
    seen.imshow(picture, aspect="auto")
    for axes, shown in ((mean, patches), (whole, relative)):
        image = axes.imshow(shown, SEQUENTIAL, aspect="auto", interpolation="nearest")
        image.set_clim(0, relative.max())
    whole.hlines(w * np.arange(1, h) - 0.5, -0.5, tokens - 0.5, color=PAPER, lw=1)
    for axes, title in ((seen, "the image"), (mean, "patches, mean weight")):
        axes.set(title=title, xticks=[], yticks=[])
    whole.set(title="weights of every place", xlabel="token (0: class; then patches)")
    some = np.arange(0, h, -(-h // 8))  # more names would overlap
    whole.set_yticks(w * some + (w - 1) / 2, [sensors[row] for row in some.tolist()])
    first, last = (f"{1000 * t:.0f}" for t in (times[0], times[-1]))
    whole.set_ylabel(f"near sensor\n(each {first} to {last} ms)")
    figure.colorbar(image, cax=bar).set_label("weight, times l")
    return save_figure(figure, path)
