"""One set of names for CLIP's weights, whoever wrote them: OpenAI's, those of `model.py`.

    OpenAI, open_clip   visual.transformer.resblocks.0.attn.in_proj_weight, visual.proj, ...
    open_clip, custom   the same, but those of the text tower begin with "text."
    Hugging Face        vision_model.encoder.layers.0.self_attn.q_proj.weight, ...: q, k and v
                        apart, and both projections transposed

Source: the state dicts of openai/CLIP, open_clip and huggingface/transformers.
"""

from __future__ import annotations

import re

import torch
from torch import Tensor

from ..messages import first_few

# What is in the files and is no weight: sizes, counters and masks, which the model makes itself.
INERT = {"input_resolution", "context_length", "vocab_size", "position_ids", "attn_mask"}
HUGGING_FACE = (
    ("vision_model.embeddings.class_embedding", "visual.class_embedding"),
    ("vision_model.embeddings.patch_embedding.", "visual.conv1."),
    ("vision_model.embeddings.position_embedding.weight", "visual.positional_embedding"),
    ("vision_model.pre_layrnorm.", "visual.ln_pre."),  # spelled so
    ("vision_model.encoder.layers.", "visual.transformer.resblocks."),
    ("vision_model.post_layernorm.", "visual.ln_post."),
    ("visual_projection.weight", "visual.proj"),
    ("text_model.embeddings.token_embedding.", "token_embedding."),
    ("text_model.embeddings.position_embedding.weight", "positional_embedding"),
    ("text_model.encoder.layers.", "transformer.resblocks."),
    ("text_model.final_layer_norm.", "ln_final."),
    ("text_projection.weight", "text_projection"),
    (".layer_norm1.", ".ln_1."),
    (".layer_norm2.", ".ln_2."),
    (".self_attn.", ".attn."),
    (".mlp.fc1.", ".mlp.c_fc."),
    (".mlp.fc2.", ".mlp.c_proj."),
)


def openai_names(raw: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same weights under OpenAI's names; `raw` is not changed."""
    state = {}
    for name, tensor in raw.items():
        if name.rpartition(".")[2] in INERT:
            continue
        # What training in parallel, torch.compile and open_clip's custom class put in front.
        ours = re.sub(r"^((module|_orig_mod)\.)*(text\.)?", "", name)
        if ours.endswith(("visual_projection.weight", "text_projection.weight")):
            tensor = tensor.mT.contiguous() if tensor.ndim == 2 else tensor
        for theirs, part in HUGGING_FACE:
            ours = ours.replace(theirs, part)
        if ours in state:
            raise ValueError(f"two tensors that both mean {ours!r}, one of them {name!r}")
        state[ours] = tensor
    _stack(state)
    if any(name.startswith(("visual.layer1.", "visual.attnpool.")) for name in state):
        raise ValueError("a ResNet CLIP; the paper's ViT is wanted, such as ViT-L/14")
    if "visual.conv1.weight" not in state:
        raise ValueError(f"no CLIP with a vision transformer: it holds {first_few(raw, 10)}")
    return state


def _stack(state: dict[str, Tensor]) -> None:
    """Put q, k and v, where they stand apart, into one matrix and one vector."""
    for name in [name for name in state if ".attn.q_proj." in name]:
        parts = [name.replace(".q_proj.", f".{letter}_proj.") for letter in "qkv"]
        kinds = {(state[part].shape, state[part].dtype) for part in parts if part in state}
        stacked = name.replace(".q_proj.", ".in_proj_")
        # Where one is missing or unlike, all stay, to be listed as left over.
        if all(part in state for part in parts) and len(kinds) == 1 and stacked not in state:
            state[stacked] = torch.stack([state.pop(part) for part in parts]).flatten(0, 1)


def check(state: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    """Every name is there, none is left over, all shapes are right."""
    shared = [name for name in state if name in wanted]
    faults = {
        "missing": [name for name in wanted if name not in state],
        "left over": [name for name in state if name not in wanted],
        "of other shapes": [
            f"{name} {tuple(state[name].shape)} for {tuple(wanted[name].shape)}"
            for name in shared
            if state[name].shape != wanted[name].shape
        ],
        "no floating point": [name for name in shared if not state[name].is_floating_point()],
    }
    found = [f"{what}: {first_few(names, 10)}" for what, names in faults.items() if names]
    if found:
        raise ValueError(f"no weights of such a CLIP; under OpenAI's names, {'; '.join(found)}")
