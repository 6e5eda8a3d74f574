"""Weights from and to diffusers."""

import pytest
import torch
from diffusers import UNet2DConditionModel

from tests.test_unet import SMALL, reference
from tinybrain.interop import unet_from_diffusers, unet_to_diffusers
from tinybrain.unet import UNet2D, UNetConfig


def test_there_and_back_is_the_same_bits():
    state = reference(SMALL).state_dict()
    back = unet_to_diffusers(unet_from_diffusers(state, SMALL))
    assert back.keys() == state.keys()
    assert all(torch.equal(back[name], state[name]) for name in state)


def test_diffusers_loads_ours_strictly_and_answers_the_same():
    ours = UNet2D(SMALL).eval()
    theirs: UNet2DConditionModel = reference(SMALL)
    theirs.load_state_dict(unet_to_diffusers(ours), strict=True)
    y_t, t, context = torch.randn(2, 1, 9, 14), torch.tensor([3, 700]), torch.randn(2, 5, 48)
    with torch.no_grad():
        torch.testing.assert_close(
            ours(y_t, t, context), theirs(y_t, t, context).sample, rtol=1e-4, atol=1e-5
        )


def test_everything_missing_left_over_or_misshapen_is_listed():
    state = reference(SMALL).state_dict()
    del (
        state["conv_in.bias"],
        state["down_blocks.2.attentions.0.transformer_blocks.0.attn1.to_k.weight"],
    )
    state["class_embedding.weight"] = torch.zeros(3)
    state["conv_out.bias"] = torch.zeros(2)
    with pytest.raises(ValueError) as caught:
        unet_from_diffusers(state, SMALL)
    for words in (
        "missing: conv_in.bias",
        "missing: down_blocks.2.attentions.0.transformer_blocks.0.attn1.to_k.weight",
        "left over: class_embedding.weight",
        "conv_out.bias is (2,); wanted (1,)",
    ):
        assert words in str(caught.value)


def test_state_dict_of_the_caller_is_left_alone():
    state = reference(SMALL).state_dict()
    names = set(state)
    unet_from_diffusers(state, SMALL)
    assert set(state) == names


def test_conditionings_diffusers_does_not_have_are_refused():
    config = UNetConfig(channels=(32, 64), attention=(False, True), conditioning="addition")
    with pytest.raises(ValueError, match="no network with conditioning='addition'"):
        unet_to_diffusers(UNet2D(config))
