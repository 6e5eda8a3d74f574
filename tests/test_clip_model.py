"""CLIP's image tower against transformers' with the same weights, and its random weights."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import pytest
import torch
from torch import nn
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from tinybrain.clip import CLIP, DEMO_VISION, VisionConfig, random_clip
from tinybrain.clip.model import DEMO_TEXT
from tinybrain.clip.transformer import Transformer

TINY = VisionConfig(image_size=28, patch_size=14, width=32, layers=2, heads=4, embed_dim=24)
OPENAI_NAMES = {  # of a tower with one block
    "visual.class_embedding",
    "visual.positional_embedding",
    "visual.proj",
    "visual.conv1.weight",
    "visual.ln_pre.weight",
    "visual.ln_pre.bias",
    "visual.transformer.resblocks.0.attn.in_proj_weight",
    "visual.transformer.resblocks.0.attn.in_proj_bias",
    "visual.transformer.resblocks.0.attn.out_proj.weight",
    "visual.transformer.resblocks.0.attn.out_proj.bias",
    "visual.transformer.resblocks.0.ln_1.weight",
    "visual.transformer.resblocks.0.ln_1.bias",
    "visual.transformer.resblocks.0.mlp.c_fc.weight",
    "visual.transformer.resblocks.0.mlp.c_fc.bias",
    "visual.transformer.resblocks.0.mlp.c_proj.weight",
    "visual.transformer.resblocks.0.mlp.c_proj.bias",
    "visual.transformer.resblocks.0.ln_2.weight",
    "visual.transformer.resblocks.0.ln_2.bias",
    "visual.ln_post.weight",
    "visual.ln_post.bias",
}


def seeded(*shape, seed=0, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def scrambled(config: VisionConfig, dtype=torch.float32) -> CLIP:
    """A tower in which no bias is zero and no norm is one, so that none can be forgotten."""
    with torch.device("meta"):
        clip = CLIP(config)
    clip.to(dtype).to_empty(device="cpu").requires_grad_(False)
    generator = torch.Generator().manual_seed(0)
    for name, parameter in clip.named_parameters():
        std = parameter[0].numel() ** -0.5 if parameter.ndim > 1 else 0.2
        parameter.normal_(0, std, generator=generator)
        parameter += float("ln_" in name and name.endswith("weight"))
    return clip


def in_transformers(clip: CLIP) -> CLIPVisionModelWithProjection:
    """transformers' tower holding the weights of ours."""
    ours, c = clip.visual.state_dict(), clip.visual.config
    sizes = {"image_size": c.image_size, "patch_size": c.patch_size, "hidden_size": c.width}
    config = CLIPVisionConfig(
        **sizes, intermediate_size=4 * c.width, num_hidden_layers=c.layers,
        num_attention_heads=c.heads, projection_dim=c.embed_dim, hidden_act="quick_gelu",
    )  # fmt: skip
    theirs = {
        "vision_model.embeddings.class_embedding": ours["class_embedding"],
        "vision_model.embeddings.patch_embedding.weight": ours["conv1.weight"],
        "vision_model.embeddings.position_embedding.weight": ours["positional_embedding"],
        "visual_projection.weight": ours["proj"].T,
    }
    parts = {"ln_1": "layer_norm1", "ln_2": "layer_norm2", "attn.out_proj": "self_attn.out_proj",
             "mlp.c_fc": "mlp.fc1", "mlp.c_proj": "mlp.fc2"}  # fmt: skip
    for end in ("weight", "bias"):
        theirs[f"vision_model.pre_layrnorm.{end}"] = ours[f"ln_pre.{end}"]
        theirs[f"vision_model.post_layernorm.{end}"] = ours[f"ln_post.{end}"]
        for i in range(c.layers):
            block, layer = f"transformer.resblocks.{i}", f"vision_model.encoder.layers.{i}"
            for our, their in parts.items():
                theirs[f"{layer}.{their}.{end}"] = ours[f"{block}.{our}.{end}"]
            for letter, part in zip("qkv", ours[f"{block}.attn.in_proj_{end}"].chunk(3)):
                theirs[f"{layer}.self_attn.{letter}_proj.{end}"] = part
    with torch.device("meta"):
        model = CLIPVisionModelWithProjection(config)
    model.load_state_dict(theirs, strict=True, assign=True)
    model.vision_model.embeddings.position_ids = torch.arange(c.tokens)[None]
    return model.eval()


def assert_parity(clip: CLIP, pixels: torch.Tensor, tolerance: float) -> None:
    model = in_transformers(clip)
    with torch.no_grad():
        theirs = model(pixels)
        states = model.vision_model.post_layernorm(theirs.last_hidden_state)
        pairs = [
            (clip.encode_image(pixels), theirs.image_embeds),
            (clip.encode_image(pixels, tokens=True), model.visual_projection(states)),
        ]
    for ours, wanted in pairs:
        assert ours.shape == wanted.shape
        assert (ours - wanted).abs().max() <= tolerance * wanted.abs().max()


@pytest.mark.parametrize(
    "config",
    [TINY, VisionConfig(42, 14, 128, 5, 8, 96), VisionConfig(16, 16, 48, 1, 1, 8), DEMO_VISION],
)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-13)])
def test_equal_to_transformers(config, dtype, tolerance):
    pixels = seeded(3, 3, config.image_size, config.image_size, seed=1, dtype=dtype)
    assert_parity(scrambled(config, dtype), pixels, tolerance)


def test_equal_to_transformers_at_true_size():
    assert_parity(scrambled(VisionConfig()), seeded(1, 3, 224, 224), 1e-5)


def test_sizes_and_names_are_those_of_vit_l_14():
    with torch.device("meta"):
        clip = CLIP(VisionConfig())
    assert sum(p.numel() for p in clip.visual.parameters()) == 303_966_208
    assert clip.visual.config.tokens == 257
    with torch.device("meta"):
        assert set(CLIP(VisionConfig(layers=1)).state_dict()) == OPENAI_NAMES


def test_pooled_is_the_class_token_and_normalising_keeps_directions():
    clip, pixels = scrambled(TINY), seeded(2, 3, 28, 28)
    z, tokens = clip.encode_image(pixels), clip.encode_image(pixels, tokens=True)
    assert z.shape == (2, 24) and tokens.shape == (2, 5, 24)
    torch.testing.assert_close(tokens[:, 0], z)
    unit = clip.encode_image(pixels, tokens=True, normalize=True)
    torch.testing.assert_close(unit.norm(dim=-1), torch.ones(2, 5))
    torch.testing.assert_close(unit * tokens.norm(dim=-1, keepdim=True), tokens)


def test_masked_tokens_are_not_seen():
    # The text tower of CLIP masks what comes later: nothing may leak backwards.
    torch.manual_seed(0)
    transformer = Transformer(16, layers=3, heads=2, activation="quick_gelu")
    for block in transformer.resblocks:
        nn.init.normal_(block.attn.in_proj_weight)
    x = seeded(2, 6, 16)
    changed = torch.cat([x[:, :4], seeded(2, 2, 16, seed=1)], dim=1)
    ours, others = transformer(x, causal=True), transformer(changed, causal=True)
    torch.testing.assert_close(ours[:, :4], others[:, :4])
    assert (transformer(x)[:, :4] - transformer(changed)[:, :4]).abs().max() > 1e-3


def test_pixels_of_another_size_are_refused():
    with pytest.raises(ValueError, match=r"\(2, 3, 32, 28\).*\(b, 3, 28, 28\).*size=28"):
        random_clip(TINY).encode_image(torch.zeros(2, 3, 32, 28))
    with pytest.raises(ValueError, match=r"\(3, 28, 28\)"):
        random_clip(TINY).encode_image(torch.zeros(3, 28, 28))


@pytest.mark.parametrize(
    ("sizes", "match"),
    [
        ({"image_size": 30}, "patch_size must divide image_size"),
        ({"heads": 5}, "heads must divide width"),
        ({"layers": 0}, "whole numbers from 1 up"),
        ({"width": 32.0}, "whole numbers from 1 up"),
    ],
)
def test_impossible_sizes_are_refused(sizes, match):
    with pytest.raises(ValueError, match=match):
        VisionConfig(**{**asdict(TINY), **sizes})


def test_config_survives_json():
    assert VisionConfig(**json.loads(json.dumps(asdict(DEMO_VISION)))) == DEMO_VISION


def test_random_weights_depend_on_the_seed_alone():
    state = torch.random.get_rng_state()
    first = random_clip(TINY, seed=3).state_dict()
    torch.testing.assert_close(torch.random.get_rng_state(), state, rtol=0, atol=0)
    torch.manual_seed(1)
    again, other = random_clip(TINY, seed=3).state_dict(), random_clip(TINY, seed=4).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["visual.conv1.weight"], other["visual.conv1.weight"])
    # Golden: a seed written down today must mean the same tower tomorrow.
    last = first["visual.transformer.resblocks.1.mlp.c_proj.weight"]
    drawn = torch.stack([*first["visual.conv1.weight"].flatten()[:3], *last.flatten()[-3:]])
    golden = [-0.005184495, 0.003492313, 0.015930504, -0.035329871, 0.091101564, -0.108969763]
    torch.testing.assert_close(drawn, torch.tensor(golden), rtol=0, atol=1e-7)


def test_random_weights_have_clip_s_spreads():
    width, layers = 128, 3
    clip = random_clip(VisionConfig(28, 14, width, layers, 4, 96))
    residual = (2 * layers * width) ** -0.5
    wanted = {
        "conv1.weight": (3 * 3 * 14 * 14) ** -0.5,
        "positional_embedding": 4 * width**-0.5,
        "visual.proj": width**-0.5,
        "in_proj_weight": width**-0.5,
        "out_proj.weight": residual,
        "c_fc.weight": (2 * width) ** -0.5,
        "c_proj.weight": residual,
    }
    for name, parameter in clip.named_parameters():
        assert not parameter.requires_grad and parameter.dtype == torch.float32
        std = [value for end, value in wanted.items() if name.endswith(end)]
        if std:
            assert parameter.mean().abs() < 0.2 * std[0]
            assert parameter.std() == pytest.approx(std[0], rel=0.1)
        elif name != "visual.class_embedding":
            assert (parameter == (1 if name.endswith("weight") else 0)).all()
    assert clip.visual.class_embedding.std() == pytest.approx(width**-0.5, rel=0.3)
    assert not clip.training


def test_colours_can_be_read_back_from_the_demo_tower():
    # Without this the demo's images would say nothing that ridge or the U-Net could use.
    colours = seeded(300, 3, seed=5)
    pixels = colours[:, :, None, None] + 0.5 * seeded(300, 3, 64, 64, seed=6)
    z = random_clip(DEMO_VISION).encode_image(pixels)
    z, colours = z - z[:200].mean(dim=0), colours - colours[:200].mean(dim=0)
    gram = z[:200] @ z[:200].T + 0.1 * torch.eye(200)
    guess = z[200:] @ z[:200].T @ torch.linalg.solve(gram, colours[:200])
    unexplained = (guess - colours[200:]).square().sum() / colours[200:].square().sum()
    assert unexplained < 0.1


# -------------------------------------------------------------------------------------------------
# Text


def test_text_is_read_to_its_end_and_no_further():
    clip = random_clip(TINY, text=replace(DEMO_TEXT, width=32, heads=4, embed_dim=24))
    ids = torch.randint(0, 500, (3, 77), generator=torch.Generator().manual_seed(0))
    ids[:, 0], ids[0, 5], ids[1, 76], ids[2, 30] = 512, 513, 513, 513
    z = clip.encode_text(ids)
    assert z.shape == (3, 24) and z.isfinite().all()
    torch.testing.assert_close(clip.encode_text(ids[:1, :6]), z[:1])
    changed = ids.clone()
    changed[0, 6:], changed[2, 4] = 0, 7
    again = clip.encode_text(changed)
    torch.testing.assert_close(again[:2], z[:2])
    assert (again[2] - z[2]).abs().max() > 1e-4
    unit = clip.encode_text(ids, normalize=True)
    torch.testing.assert_close(unit.norm(dim=1), torch.ones(3))


def test_text_that_does_not_fit_is_refused():
    clip = random_clip(TINY, text=replace(DEMO_TEXT, width=32, heads=4, embed_dim=24))
    ids = torch.tensor([[512, 1, 513]])
    for bad in (ids[0], ids.float(), ids + 1, ids - 2, ids.repeat(1, 30), ids[:, :0]):
        with pytest.raises(ValueError, match=r"this tower takes whole numbers from 0 to below 514"):
            clip.encode_text(bad)
    with pytest.raises(ValueError, match="without a text tower"):
        random_clip(TINY).encode_text(ids)


def test_random_text_tower_does_not_change_the_image_tower():
    both = random_clip(TINY, seed=5, text=replace(DEMO_TEXT, embed_dim=24)).state_dict()
    alone = random_clip(TINY, seed=5).state_dict()
    assert all(torch.equal(both[name], alone[name]) for name in alone)
    assert torch.equal(both["text_projection"], random_clip(
        TINY, seed=5, text=replace(DEMO_TEXT, embed_dim=24)).state_dict()["text_projection"])


def test_towers_of_two_spaces_are_refused():
    with pytest.raises(ValueError, match="embed in 24 and 256"):
        CLIP(TINY, DEMO_TEXT)
