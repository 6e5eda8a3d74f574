"""Names, sizes and config files of CLIP's weights: what is changed, what is refused and how."""

from __future__ import annotations

import json

import pytest
import torch

from tinybrain.clip.names import openai_names
from tinybrain.clip.weights import load, read_state_dict

from .test_clip_weights import (
    OTHER,
    SAVE,
    USUAL,
    assert_bit_equal,
    in_openai_s_names,
    in_transformers,
)

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")


@pytest.fixture(scope="module")
def state():
    return in_openai_s_names(in_transformers(USUAL))


def refused(path, state, match, **arguments):
    torch.save(state, path)
    with pytest.raises(ValueError, match=rf"(?s){path.name}: .*{match}"):
        load(path, **arguments)


def test_the_names_of_others_are_changed_in_a_copy():
    model = in_transformers(OTHER)
    theirs = model.state_dict()
    before = {name: tensor.clone() for name, tensor in theirs.items()}
    assert_bit_equal(openai_names(theirs), in_openai_s_names(model))
    assert_bit_equal(theirs, before)
    compiled = {f"_orig_mod.module.{name}": tensor for name, tensor in theirs.items()}
    assert_bit_equal(openai_names(compiled), in_openai_s_names(model))


def test_wrong_weights_are_listed(tmp_path, state):
    path, block = tmp_path / "x.pt", "visual.transformer.resblocks.1."
    odd = {name: tensor for name, tensor in state.items() if name != f"{block}ln_1.bias"}
    refused(path, odd, f"missing: {block}ln_1.bias$")
    refused(path, state | {"ls_1.gamma": state["logit_scale"]}, "left over: ls_1.gamma$")
    wide = {f"{block}mlp.c_fc.weight": torch.zeros(500, 128)}
    refused(path, state | wide, r"other shapes: .*c_fc.weight \(500, 128\) for \(512, 128\)$")
    whole = {"visual.proj": torch.zeros(128, 24, dtype=torch.int64)}
    refused(path, state | whole, "no floating point: visual.proj$")
    few = {name: tensor for name, tensor in state.items() if not name.startswith(block + "mlp")}
    gap = {name.replace("resblocks.0", "resblocks.7"): tensor for name, tensor in few.items()}
    refused(path, gap, r"missing: (\S+, ){9}\S+ and 18 more; left over: .* and 14 more$")
    for name, axes in (("visual.proj", 2), ("positional_embedding", 2), ("text_projection", 2)):
        less = {key: tensor for key, tensor in state.items() if key != name}
        refused(path, less, f"'{name}' is missing; wanted a tensor with {axes} axes")
        refused(path, less | {name: torch.ones(2)}, rf"'{name}' is \(2,\)")
    refused(path, state | {"visual.positional_embedding": torch.zeros(7, 128)}, "7 positions")


def test_one_of_q_k_and_v_missing(tmp_path):
    theirs = in_transformers(OTHER).state_dict()
    name = "text_model.encoder.layers.0.self_attn.v_proj.bias"
    left = {key: tensor for key, tensor in theirs.items() if key != name}
    match = r"missing: \S+\.0.attn.in_proj_bias; left over: .*[qk]_proj.bias, .*[qk]_proj.bias$"
    refused(tmp_path / "x.pt", left, match, heads=(4, 3))
    del theirs[name.replace("v_proj", "q_proj")]
    refused(tmp_path / "x.pt", theirs, "left over: .*k_proj.bias, .*v_proj.bias", heads=(4, 3))


@pytest.mark.parametrize("form", ["torchscript", "plain", "safetensors"])
def test_a_resnet_clip_and_other_models(tmp_path, form):
    resnet = {"visual.layer1.0.conv1.weight": torch.ones(1), "visual.conv1.weight": torch.ones(2)}
    for other, match in (
        (resnet, "a ResNet CLIP; the paper's ViT"),
        ({"fc.bias": torch.ones(2), "fc.weight": torch.ones(2, 2)}, "no CLIP .*fc.bias, fc.w"),
        ({"text_model.final_layer_norm.weight": torch.ones(3)}, "no CLIP .*text_model.final"),
    ):
        SAVE[form](other, tmp_path / "x.pt")
        for read in (load, read_state_dict):
            with pytest.raises(ValueError, match=rf"x\.pt: {match}"):
                read(tmp_path / "x.pt")


def test_two_sets_of_names_at_once(tmp_path, state):
    twice = state | {"visual_projection.weight": torch.zeros(24, 128)}
    refused(tmp_path / "x.pt", twice, "two tensors that both mean 'visual.proj'")


def test_heads_that_cannot_be_known_or_be_right(tmp_path):
    path, other = tmp_path / "x.pt", in_openai_s_names(in_transformers(OTHER))
    refused(path, other, r"width 96 is no multiple of 64: give heads=\(image, text\)")
    refused(path, other, "heads must divide width", heads=(5, 3))
    with pytest.raises(TypeError, match=r"heads is 4; wanted \(image, text\)"):
        load(path, heads=4)
    refused(path, other, "activation is one of quick_gelu, gelu", heads=(4, 3), activation="relu")


def test_a_config_file_that_does_not_fit(tmp_path):
    in_transformers(OTHER).save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    config = json.loads(path.read_text())

    def refused(changes, match):
        path.write_text(json.dumps(config | {"vision_config": config["vision_config"] | changes}))
        with pytest.raises(ValueError, match=match):
            load(tmp_path)

    refused({"hidden_size": 192}, "of another model .*width 192 and 3 layers; .* width 96 and 3")
    refused({"num_hidden_layers": 4}, "of another model")
    refused({"layer_norm_eps": 1e-6}, "config.json: .*layer_norm_eps is 1e-06")
    refused({"hidden_act": ["gelu"]}, "activation is one of")
    refused({"num_attention_heads": "4"}, "whole numbers from 1 up")
    for text in ("{", "[]", '{"vision_config": 1}', "[" * 100_000, "\xff"):
        path.write_text(text, encoding="latin1")
        with pytest.raises(ValueError, match="config.json: not the config of a CLIP"):
            load(tmp_path)
    # Settings that equal transformers' defaults are left out of its files: 12 heads.
    del config["vision_config"]["num_attention_heads"]
    path.write_text(json.dumps(config))
    assert load(tmp_path).visual.config.heads == 12
