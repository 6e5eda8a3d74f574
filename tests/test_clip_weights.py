"""Weights of every form, found and loaded: outputs are those of transformers' models."""

from __future__ import annotations

import json

import pytest
import safetensors.torch
import torch
from torch import nn
from transformers import CLIPConfig, CLIPModel, CLIPVisionModelWithProjection

from tinybrain.clip import weights
from tinybrain.clip.weights import WEIGHTS, load, locate, read_state_dict

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
# Width, layers and heads of both towers, sides of image and patch, words, positions, embedding.
USUAL = ((128, 2, 2), (64, 3, 1), (28, 14), (100, 12), 24)  # heads are 64 wide
OTHER = ((96, 3, 4), (48, 2, 3), (48, 16), (90, 77), 40)
TRUE = ((1024, 24, 16), (768, 12, 12), (224, 14), (49_408, 77), 768)


def in_transformers(sizes, activation="quick_gelu", dtype=torch.float32) -> CLIPModel:
    """transformers' model, no bias zero and no norm one, so that nothing can be forgotten."""
    towers = [
        {"hidden_size": width, "intermediate_size": 4 * width, "num_hidden_layers": layers,
         "num_attention_heads": heads, "hidden_act": activation}
        for width, layers, heads in sizes[:2]
    ]  # fmt: skip
    (side, patch), (words, positions) = sizes[2:4]
    config = CLIPConfig(
        vision_config=towers[0] | {"image_size": side, "patch_size": patch},
        text_config=towers[1] | {"vocab_size": words, "max_position_embeddings": positions,
                                 "bos_token_id": words - 2, "eos_token_id": words - 1},
        projection_dim=sizes[4],
    )  # fmt: skip
    with torch.device("meta"):
        model = CLIPModel(config)
    model = model.to(dtype).to_empty(device="cpu").requires_grad_(False).eval()
    generator = torch.Generator().manual_seed(0)
    for name, parameter in model.named_parameters():
        spread = (3 / parameter[0].numel()) ** 0.5 if parameter.ndim > 1 else 0.3
        parameter.uniform_(-spread, spread, generator=generator)
        parameter += float("norm" in name and name.endswith("weight"))
    for tower in (model.vision_model, model.text_model):
        ids = tower.embeddings.position_ids
        ids.copy_(torch.arange(ids.shape[1])[None])
    return model


def in_openai_s_names(model) -> dict[str, torch.Tensor]:
    """The weights of transformers' model under OpenAI's names, module by module."""
    vision, towers = model.vision_model, [("visual.", model.vision_model)]
    state = {
        "visual.class_embedding": vision.embeddings.class_embedding,
        "visual.conv1.weight": vision.embeddings.patch_embedding.weight,
        "visual.positional_embedding": vision.embeddings.position_embedding.weight,
        "visual.proj": model.visual_projection.weight.T,
    }
    norms = {"visual.ln_pre": vision.pre_layrnorm, "visual.ln_post": vision.post_layernorm}
    if hasattr(model, "text_model"):
        text = model.text_model
        towers.append(("", text))
        norms["ln_final"] = text.final_layer_norm
        state |= {
            "token_embedding.weight": text.embeddings.token_embedding.weight,
            "positional_embedding": text.embeddings.position_embedding.weight,
            "text_projection": model.text_projection.weight.T,
            "logit_scale": model.logit_scale,
        }
    parts = dict(norms)
    for prefix, tower in towers:
        for i, layer in enumerate(tower.encoder.layers):
            block, attention = f"{prefix}transformer.resblocks.{i}", layer.self_attn
            parts |= {f"{block}.ln_1": layer.layer_norm1, f"{block}.ln_2": layer.layer_norm2,
                      f"{block}.mlp.c_fc": layer.mlp.fc1, f"{block}.mlp.c_proj": layer.mlp.fc2,
                      f"{block}.attn.out_proj": attention.out_proj}  # fmt: skip
            qkv = (attention.q_proj, attention.k_proj, attention.v_proj)
            state[f"{block}.attn.in_proj_weight"] = torch.cat([part.weight for part in qkv])
            state[f"{block}.attn.in_proj_bias"] = torch.cat([part.bias for part in qkv])
    for name, part in parts.items():
        state |= {f"{name}.weight": part.weight, f"{name}.bias": part.bias}
    return {name: tensor.detach().contiguous() for name, tensor in state.items()}


class Node(nn.Module):
    """A module with whatever attributes it is given, as TorchScript wants them."""


def save_torchscript(state, path) -> None:
    """As OpenAI's files: a tree of modules with the sizes as further tensors."""
    root = Node()
    for name, tensor in state.items():
        *modules, last = name.split(".")
        node = root
        for module in modules:
            if not hasattr(node, module):
                node.add_module(module, Node())
            node = getattr(node, module)
        node.register_parameter(last, nn.Parameter(tensor, requires_grad=False))
    for name in ("input_resolution", "context_length", "vocab_size"):
        root.register_buffer(name, torch.tensor(224))
    torch.jit.save(torch.jit.script(root), path)


def save_open_clip_custom(state, path) -> None:
    """The text tower apart, trained on several machines, in a checkpoint."""
    text = ("transformer.", "token_embedding.", "positional_embedding", "ln_final.", "text_proj")
    there = {("text." if name.startswith(text) else "") + name: t for name, t in state.items()}
    there["text.attn_mask"] = torch.zeros(12, 12)
    there = {f"module.{name}": tensor for name, tensor in there.items()}
    torch.save({"epoch": 32, "name": "run", "state_dict": there}, path)


SAVE = {
    "torchscript": save_torchscript,
    "plain": torch.save,
    "custom": save_open_clip_custom,
    "safetensors": safetensors.torch.save_file,
}


@pytest.fixture(scope="module")
def state():
    return in_openai_s_names(in_transformers(USUAL))


def assert_parity(clip, model, sizes, images=2) -> None:
    """Pooled, token and text outputs, the largest difference against the largest number."""
    (side, _), (words, positions) = sizes[2:4]
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randn(images, 3, side, side, generator=generator)
    with torch.no_grad():
        vision = model.vision_model(pixels)
        states = model.vision_model.post_layernorm(vision.last_hidden_state)
        pairs = [
            (clip.encode_image(pixels), model.visual_projection(vision.pooler_output)),
            (clip.encode_image(pixels, tokens=True), model.visual_projection(states)),
        ]
        if hasattr(model, "text_model"):
            ids = torch.randint(0, words - 2, (3, positions), generator=generator)
            ids[:, 0], ids[0, 4], ids[1, 2], ids[2, -1] = words - 2, *[words - 1] * 3
            ids[0, 5:], ids[1, 3:] = 0, 0
            text = model.text_projection(model.text_model(ids).pooler_output)
            pairs.append((clip.encode_text(ids), text))
    for ours, wanted in pairs:
        assert ours.shape == wanted.shape and ours.dtype == wanted.dtype
        assert (ours - wanted).abs().max() <= 1e-5 * wanted.abs().max()


def assert_bit_equal(ours, wanted) -> None:
    assert set(ours) == set(wanted)
    for name, tensor in wanted.items():
        assert ours[name].dtype == tensor.dtype, name
        bits = {2: torch.int16, 4: torch.int32, 8: torch.int64}[tensor.itemsize]
        first, second = (t.contiguous().view(bits) for t in (ours[name], tensor))
        assert torch.equal(first, second), name


# -------------------------------------------------------------------------------------------------
# Every form gives the same weights and transformers' outputs


@pytest.mark.parametrize(("sizes", "activation"), [(USUAL, "quick_gelu"), (OTHER, "gelu")])
def test_hugging_face_s_folder(tmp_path, sizes, activation):
    model = in_transformers(sizes, activation)
    model.save_pretrained(tmp_path)
    assert_bit_equal(read_state_dict(tmp_path), in_openai_s_names(model))
    clip = load(tmp_path)
    assert (clip.visual.config.heads, clip.text.heads) == (sizes[0][2], sizes[1][2])
    assert clip.visual.config.activation == clip.text.activation == activation
    assert_parity(clip, model, sizes)
    assert not clip.training and not any(p.requires_grad for p in clip.parameters())
    assert {p.dtype for p in clip.parameters()} == {torch.float32}


def test_hugging_face_s_image_tower_alone(tmp_path):
    model = in_transformers(OTHER, "gelu")
    alone = CLIPVisionModelWithProjection(model.config.vision_config)
    alone.visual_projection = nn.Linear(96, 40, bias=False)
    alone.load_state_dict({k: v for k, v in model.state_dict().items() if k.startswith("vis")})
    alone.eval().save_pretrained(tmp_path)
    clip = load(tmp_path)
    assert clip.text is None and clip.visual.config.heads == 4
    assert_parity(clip, alone, OTHER)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("form", SAVE)
def test_openai_s_and_open_clip_s_files(tmp_path, form, dtype):
    # The name says nothing: the bytes do.
    path, model = tmp_path / "weights.bin", in_transformers(USUAL, dtype=dtype)
    state = in_openai_s_names(model)
    SAVE[form](state, path)
    assert_bit_equal(read_state_dict(path), state)
    assert_parity(load(path), model.float(), USUAL)


def test_heads_and_activation_as_arguments_or_from_open_clip_s_file(tmp_path):
    path, model = tmp_path / "open_clip_pytorch_model.bin", in_transformers(OTHER, "gelu")
    torch.save(in_openai_s_names(model), path)
    assert_parity(load(path, heads=(4, 3), activation="gelu"), model, OTHER)
    towers = {"vision_cfg": {"width": 96, "layers": 3, "head_width": 24},
              "text_cfg": {"width": 48, "layers": 2, "heads": 3}}  # fmt: skip
    config = tmp_path / "open_clip_config.json"
    config.write_text(json.dumps({"model_cfg": towers}))
    assert_parity(load(tmp_path), model, OTHER)
    config.write_text(json.dumps({"model_cfg": {"quick_gelu": True, **towers}}))
    clip = load(tmp_path)
    assert clip.visual.config.activation == clip.text.activation == "quick_gelu"
    # Arguments have precedence over the file.
    assert load(tmp_path, activation="gelu", heads=(2, 1)).visual.config.heads == 2


def test_true_size(tmp_path):
    """ViT-L/14 in half precision, as OpenAI's file: every form, then an image and three texts."""
    model = in_transformers(TRUE, dtype=torch.float16)
    state = in_openai_s_names(model)
    model.save_pretrained(tmp_path / "hf")
    for form in ("torchscript", "plain"):
        SAVE[form](state, tmp_path / form)
        assert_bit_equal(read_state_dict(tmp_path / form), state)
        if form == "plain":
            (tmp_path / form).unlink()  # pytest keeps what tests write
    assert_bit_equal(read_state_dict(tmp_path / "hf"), state)
    (tmp_path / "hf" / "model.safetensors").unlink()
    del state
    clip = load(tmp_path / "torchscript")
    (tmp_path / "torchscript").unlink()
    assert sum(p.numel() for p in clip.parameters()) == 427_616_513
    assert_parity(clip, model.float(), TRUE, images=1)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_computes_in_the_type_that_is_asked_for(tmp_path, dtype):
    state = in_openai_s_names(in_transformers(USUAL))
    torch.save(state, tmp_path / "x.pt")
    ours = load(tmp_path / "x.pt", dtype=dtype).state_dict()
    assert_bit_equal(ours, {name: tensor.to(dtype) for name, tensor in state.items()})
    with pytest.raises(ValueError, match="int32; a CLIP computes in floating point"):
        load(tmp_path / "x.pt", dtype=torch.int32)


@pytest.mark.parametrize("form", ["plain", "safetensors"])
def test_the_model_does_not_depend_on_the_file(tmp_path, form):
    path, state = tmp_path / "x", in_openai_s_names(in_transformers(USUAL))
    SAVE[form](state, path)
    clip = load(path)
    with open(path, "r+b") as file:
        file.write(bytes(path.stat().st_size))
    assert_bit_equal(clip.state_dict(), state)
    with torch.no_grad():
        next(clip.parameters()).zero_()


# -------------------------------------------------------------------------------------------------
# Finding the file


def test_a_folder_gives_the_first_of_the_known_names(tmp_path):
    for name in ("a.txt", "b.pt", *reversed(weights.NAMES)):
        (tmp_path / name).touch()
    for name in (*weights.NAMES, "b.pt"):
        assert locate(tmp_path) == tmp_path / name
        (tmp_path / name).unlink()
    with pytest.raises(FileNotFoundError, match=r"no weights .* model\.safetensors, .* a\.txt"):
        locate(tmp_path)
    (tmp_path / "b.pt").touch()
    (tmp_path / "c.pt").touch()
    with pytest.raises(ValueError, match=r"b\.pt, c\.pt: name the file"):
        locate(tmp_path)


def test_weights_in_pieces_and_unknown_names(tmp_path):
    (tmp_path / "model.safetensors.index.json").touch()
    with pytest.raises(ValueError, match="several pieces; save them in one: model.safetensors.in"):
        locate(tmp_path)
    with pytest.raises(FileNotFoundError, match="ViT-B/99: no such .* names: ViT-L/14"):
        load("ViT-B/99")


def test_a_known_name_is_fetched_once_and_loaded(tmp_path, monkeypatch, state):
    def fetch(url, sha256, path):
        asked.append((url, sha256, path))
        save_torchscript(state, path)
        return path

    asked = []
    monkeypatch.setattr(weights, "fetch", fetch)
    clip = load(cache_dir=tmp_path)
    source = WEIGHTS["ViT-L/14"]
    assert asked == [(source.url, source.sha256, tmp_path / "ViT-L-14.pt")]
    assert source.sha256 == "b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836"
    assert source.url.endswith(f"/{source.sha256}/ViT-L-14.pt")
    assert_bit_equal(clip.state_dict(), state)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"version https://git-lfs.github.com/spec/v1", "a Git LFS pointer: `git lfs pull`"),
        (b"<!DOCTYPE html><html>", "wanted a safetensors or a torch zip file.*<!DOCTYPE"),
        (b"", "wanted a safetensors or a torch zip file"),
        (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", "before torch 1.6"),
        (b"PK\x03\x04" + bytes(30), "damaged or truncated zip"),
    ],
)
def test_other_files(tmp_path, content, match):
    (tmp_path / "x.pt").write_bytes(content)
    with pytest.raises(ValueError, match=rf"x\.pt: .*{match}"):
        load(tmp_path / "x.pt")
