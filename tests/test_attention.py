"""Attention maps against the attention they describe."""

import pytest
import torch

from tinybrain.attention import cross_attention_maps
from tinybrain.unet import CrossAttention, UNet2D, UNetConfig

CONFIG = UNetConfig(channels=(32, 64), attention=(False, True), context_dim=48)


def inputs(tokens):
    generator = torch.Generator().manual_seed(0)
    y_t = torch.randn(2, 1, 9, 14, generator=generator)
    return y_t, torch.tensor([3, 700]), torch.randn(2, tokens, 48, generator=generator)


def test_values_weighed_by_the_maps_are_what_the_layers_answer():
    torch.manual_seed(0)
    unet = UNet2D(CONFIG)
    answers = []
    layers = [m for m in unet.modules() if isinstance(m, CrossAttention)]
    hooks = [m.register_forward_hook(lambda m, given, out: answers.append((m, given[1], out)))
             for m in layers]
    maps = cross_attention_maps(unet, *inputs(5))
    for hook in hooks:
        hook.remove()
    assert len(maps) == len(layers) == 6
    for weights, (layer, (_, values), wanted) in zip(maps, answers):
        assert weights.shape == (2, 8, 5 * 7, 5)
        mixed = (weights @ values).transpose(1, 2).flatten(2)  # (b, p, d)
        torch.testing.assert_close(layer.out(mixed), wanted)


def test_one_token_has_all_the_attention():
    for weights in cross_attention_maps(UNet2D(CONFIG), *inputs(1)):
        assert weights.shape[-1] == 1 and bool((weights == 1).all())


def test_networks_without_cross_attention_are_refused_and_no_hook_stays():
    config = UNetConfig(channels=(32, 64), attention=(False, True), context_dim=48,
                        conditioning="addition")
    with pytest.raises(ValueError, match="'addition' has no cross-attention"):
        cross_attention_maps(UNet2D(config), *inputs(2))
    unet = UNet2D(CONFIG)
    with pytest.raises(ValueError):
        cross_attention_maps(unet, inputs(2)[0], *inputs(2)[1:2], torch.zeros(2, 2, 47))
    assert not any(module._forward_pre_hooks for module in unet.modules())
