"""Weights from and to the formats of other libraries: diffusers' `UNet2DConditionModel`.

The two networks compute the same function; only names and three layouts differ: here queries, keys
and values of a self-attention are one matrix, and the projections into and out of a transformer
block are matrices where diffusers (with its default `use_linear_projection=False`) has 1 x 1
convolutions.
"""

from __future__ import annotations

import re

import torch
from einops import rearrange
from torch import Tensor

from .unet import UNet2D, UNetConfig

# Our name -> diffusers' name of every module inside a residual or a transformer block.
RESIDUAL = {
    "norm_1": "norm1",
    "conv_1": "conv1",
    "time": "time_emb_proj",
    "norm_2": "norm2",
    "conv_2": "conv2",
    "shortcut": "conv_shortcut",
}
TRANSFORMER = {
    "norm_in": "norm",
    "proj_in": "proj_in",
    "norm_self": "transformer_blocks.0.norm1",
    "self_attention.qkv": "transformer_blocks.0.attn1.to_{q,k,v}",
    "self_attention.out": "transformer_blocks.0.attn1.to_out.0",
    "cross_attention.norm": "transformer_blocks.0.norm2",
    "cross_attention.q": "transformer_blocks.0.attn2.to_q",
    "cross_attention.k": "transformer_blocks.0.attn2.to_k",
    "cross_attention.v": "transformer_blocks.0.attn2.to_v",
    "cross_attention.out": "transformer_blocks.0.attn2.to_out.0",
    "norm_ff": "transformer_blocks.0.norm3",
    "ff_in": "transformer_blocks.0.ff.net.0.proj",
    "ff_out": "transformer_blocks.0.ff.net.2",
    "proj_out": "proj_out",
}
TOP = {
    "time.linear_1": "time_embedding.linear_1",
    "time.linear_2": "time_embedding.linear_2",
    "conv_in": "conv_in",
    "norm_out": "conv_norm_out",
    "conv_out": "conv_out",
}
PLACE = re.compile(r"((?:down|up)\.\d+|middle)\.(residual|transformer|resample)\.?(\d*)\.?(.*)")


def unet_from_diffusers(state_dict: dict[str, Tensor], config: UNetConfig) -> UNet2D:
    """A `UNet2D` with the weights of a diffusers `UNet2DConditionModel`.

    Parameters
    ----------
    state_dict : dict of Tensor
        `UNet2DConditionModel.state_dict()`, of a model with `CrossAttnDownBlock2D` / `DownBlock2D`
        levels.
    config : UNetConfig
        The same architecture in our terms (diffusers' `attention_head_dim` is our `heads`).

    Raises
    ------
    ValueError
        If weights are missing, left over or of another shape; all of them are listed.

    Examples
    --------
    >>> config = UNetConfig((32, 32), (False, True), layers_per_block=1, heads=4, context_dim=8)
    >>> state_dict = unet_to_diffusers(UNet2D(config))  # in place of diffusers' `state_dict()`
    >>> unet_from_diffusers(state_dict, config).config == config
    True
    """
    _needs_cross_attention(config)
    unet = UNet2D(config)
    wanted, left, found, faults = unet.state_dict(), dict(state_dict), {}, []
    for name, ours in wanted.items():
        theirs = diffusers_names(name)
        missing = [key for key in theirs if key not in left]
        if missing:
            faults += [f"missing: {key}" for key in missing]
            continue
        weight = torch.cat([left.pop(key) for key in theirs])
        if ".proj_" in name and weight.ndim == 4:
            weight = rearrange(weight, "o i 1 1 -> o i")
        if weight.shape != ours.shape:
            faults.append(f"{theirs[0]} is {tuple(weight.shape)}; wanted {tuple(ours.shape)}")
        found[name] = weight
    faults += [f"left over: {key}" for key in left]
    if faults:
        raise ValueError(
            f"unet_from_diffusers: these weights are not of {config}:\n  " + "\n  ".join(faults)
        )
    dtypes = {weight.dtype for weight in found.values()}
    unet.to(dtype=dtypes.pop() if len(dtypes) == 1 else torch.float32)
    unet.load_state_dict(found)
    return unet


def unet_to_diffusers(unet: UNet2D) -> dict[str, Tensor]:
    """The state dict that diffusers' `UNet2DConditionModel` of this architecture loads strictly.

    Returns
    -------
    dict of Tensor, copies of the weights under diffusers' names

    Raises
    ------
    ValueError
        The network is conditioned in a way that diffusers does not have.

    Examples
    --------
    >>> config = UNetConfig((32, 32), (False, True), layers_per_block=1, heads=4, context_dim=8)
    >>> state_dict = unet_to_diffusers(UNet2D(config))
    >>> state_dict["conv_in.weight"].shape
    torch.Size([32, 1, 3, 3])
    """
    _needs_cross_attention(unet.config)
    state: dict[str, Tensor] = {}
    for name, weight in unet.state_dict().items():
        if re.search(r"\.proj_(in|out)\.weight$", name):
            weight = rearrange(weight, "o i -> o i 1 1")
        theirs = diffusers_names(name)
        state |= dict(zip(theirs, (part.clone() for part in weight.chunk(len(theirs)))))
    return state


def diffusers_names(name: str) -> list[str]:
    """The diffusers names that one of our parameters comes from; three for `qkv`, else one.

    Examples
    --------
    >>> diffusers_names("down.0.residual.1.conv_1.weight")
    ['down_blocks.0.resnets.1.conv1.weight']
    """
    module, _, leaf = name.rpartition(".")
    if module in TOP:
        return [f"{TOP[module]}.{leaf}"]
    found = PLACE.fullmatch(module)
    if not found:
        raise ValueError(f"interop: a UNet2D has no parameter called {name!r}")
    place, kind, j, inner = found.groups()
    level, _, i = place.partition(".")
    block = f"{level}_blocks.{i}" if i else "mid_block"
    if kind == "resample":
        return [f"{block}.{level}samplers.0.conv.{leaf}"]
    theirs = f"resnets.{j}.{RESIDUAL[inner]}" if kind == "residual" else (
        f"attentions.{j}.{TRANSFORMER[inner]}"
    )
    stem, _, letters = f"{block}.{theirs}".partition("{")
    return [f"{stem}{letter}.{leaf}" for letter in letters.rstrip("}").split(",")]


def _needs_cross_attention(config: UNetConfig) -> None:
    if config.conditioning != "cross_attention":
        raise ValueError(
            f"interop: diffusers has no network with conditioning={config.conditioning!r}; "
            "only 'cross_attention' can be converted"
        )
