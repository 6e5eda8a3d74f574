"""What changes time and memory must not change what is learned."""

from __future__ import annotations

import dataclasses
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tests.test_train import CONFIG, prepared, weights
from tinybrain import speed, step
from tinybrain.denoiser import Denoiser
from tinybrain.speed import Block, Speed, in_tf32, set_recompute
from tinybrain.unet import UNet2D

EXAMPLES = Path(__file__).parents[1] / "examples"


def inputs(rows=3, tokens=3, dtype=torch.float32):
    g = torch.Generator().manual_seed(1)
    y_t = torch.randn(rows, 1, 5, 9, generator=g, dtype=dtype)
    return y_t, torch.arange(rows) * 7, torch.randn(rows, tokens, 12, generator=g, dtype=dtype)


def network(dropout=0.0, dtype=torch.float32):
    torch.manual_seed(0)
    return UNet2D(dataclasses.replace(CONFIG, dropout=dropout, zero_output=False)).to(dtype)


def gradients(unet, *given):
    unet.zero_grad()
    torch.manual_seed(2)
    unet(*given).square().sum().backward()
    return [p.grad.clone() for p in unet.parameters()]


# -------------------------------------------------------------------------------------------------
# Recomputed


@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_recomputed_gradients_are_the_same_to_the_last_bit(dropout):
    unet, given = network(dropout, torch.float64), inputs(dtype=torch.float64)
    plain = gradients(unet, *given)
    set_recompute(unet, True)
    assert all(torch.equal(a, b) for a, b in zip(plain, gradients(unet, *given)))


def test_every_block_is_computed_twice_for_a_gradient_and_once_without():
    unet, calls = network(), []
    blocks = [module for module in unet.modules() if isinstance(module, Block)]
    for block in blocks:
        block.register_forward_pre_hook(lambda *_: calls.append(1))
    for recompute, times in ((False, 1), (True, 2), (False, 1)):
        set_recompute(unet, recompute)
        calls.clear()
        gradients(unet, *inputs())
        assert len(calls) == times * len(blocks) > 5
        calls.clear()
        with torch.no_grad():
            unet(*inputs())
        assert len(calls) == len(blocks)


def test_a_recomputed_run_takes_the_same_steps():
    found = []
    for choice in (Speed(), Speed(recompute=True)):
        model, y0, context, _ = prepared(heldout=0.0)
        state = step.start(model.unet, model.recipe, speed=choice)
        assert all(
            block.recompute == choice.recompute
            for block in model.unet.modules() if isinstance(block, Block)
        )
        for _ in range(3):
            step.train_step(state, model.recipe, model.ddpm, y0, context, torch.arange(8))
        found.append(weights(model))
    assert torch.equal(*found)


# -------------------------------------------------------------------------------------------------
# Compiled


class Tiny(nn.Module):
    """A network that compiles in seconds."""

    config = types.SimpleNamespace(dropout=0.0)

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.told = nn.Conv2d(1, 1, 3, padding=1), nn.Linear(12, 1)

    def encode_context(self, context):
        return context

    def forward(self, y_t, t, context):
        return self.conv(y_t).tanh() + self.told(context)[:, None] * (t / 50)[:, None, None, None]


def test_compiled_steps_are_the_same_but_for_rounding_the_last_smaller_batch_too():
    found = []
    for choice in (Speed(), Speed(compile=True)):
        model, y0, context, _ = prepared(heldout=0.0)
        model.unet = Tiny()
        before = weights(model)
        names = list(model.unet.state_dict())
        state = step.start(model.unet, model.recipe, speed=choice)
        for rows in (torch.arange(8), torch.arange(8, 16), torch.arange(16, 21)):
            step.train_step(state, model.recipe, model.ddpm, y0, context, rows)
        assert list(state.unet.state_dict()) == names
        assert not torch.allclose(weights(model), before, atol=1e-4)
        found.append(weights(model))
    torch.testing.assert_close(*found, rtol=1e-5, atol=1e-6)


def test_compiled_samples_are_the_same_but_for_rounding_by_one_program_for_all_calls(monkeypatch):
    model, _, context, _ = prepared(heldout=0.0)
    model.unet = Tiny()
    plain = model.generate(context[:6], 2, batch_size=8).data
    programs, made = torch.compile, []
    monkeypatch.setattr(torch, "compile", lambda *a, **k: made.append(1) or programs(*a, **k))
    model.speed = Speed(compile=True)
    for _ in range(2):
        found = model.generate(context[:6], 2, batch_size=8).data
        np.testing.assert_allclose(found, plain, rtol=1e-4, atol=1e-5)
    assert len(made) <= 2  # one may be a trial of the compiler
    before = model.denoiser()
    assert before.program is not model.unet
    assert model.to("cpu").denoiser() is not before


def test_fewer_rows_than_before_are_not_compiled_anew():
    """A program is for one number of rows: the most so far, whatever came first."""
    denoiser, ran = Denoiser(Tiny()), []
    denoiser.program = lambda y_t, *_: ran.append(len(y_t)) or y_t
    for rows in (5, 8, 8, 5, 1, 8, 9, 8):
        denoiser(*inputs(rows, tokens=1))
    assert ran == [5, 8, 8, 8, 9]


def test_the_whole_network_is_one_program():
    """No part of it makes torch.compile give up, with a context as it is or encoded once."""
    unet, (y_t, t, context) = network(), inputs()
    program = torch.compile(unet, dynamic=False, backend="eager", fullgraph=True)
    with torch.no_grad():
        for told in (context, unet.encode_context(context)):
            assert torch.equal(program(y_t, t, told), unet(y_t, t, told))


def test_without_a_compiler_it_is_said_before_training(monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("No working C++ compiler found in CXX\nand so on")

    speed.check_compiler.cache_clear()
    monkeypatch.setattr(torch, "compile", lambda *_, **__: broken)
    with pytest.raises(ValueError, match=r"compile does not work on cpu: No working C\+\+ comp.*"):
        Denoiser(Tiny(), speed=Speed(compile=True))


def test_compile_and_recompute_are_not_taken_together():
    with pytest.raises(ValueError, match="do not go together"):
        Speed(compile=True, recompute=True)


# -------------------------------------------------------------------------------------------------
# TF32: torch's setting can be looked at without a GPU


@pytest.fixture
def settings():
    """torch's, old and new, read again at every call; put back at the end."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    newer = [p for p in (matmul, getattr(cudnn, "conv", None)) if hasattr(p, "fp32_precision")]

    def read():
        older = (matmul.allow_tf32, cudnn.allow_tf32, torch.get_float32_matmul_precision())
        return (*older, *(place.fp32_precision for place in newer))

    before = read()
    yield read
    matmul.allow_tf32, cudnn.allow_tf32 = before[:2]
    for place, value in zip(newer, before[3:]):
        place.fp32_precision = value


@pytest.mark.parametrize("set_before", [False, True])
@pytest.mark.parametrize("on", [False, True])
def test_tf32_is_set_on_a_gpu_and_put_back_also_after_an_error(settings, on, set_before):
    torch.backends.cuda.matmul.allow_tf32 = set_before
    before = settings()
    with pytest.raises(KeyError), in_tf32(torch.device("cuda"), on):
        assert settings()[:2] == (on, on)
        with in_tf32(torch.device("cuda", 1), not on):
            assert settings()[:2] == (not on, not on)
        assert settings()[:2] == (on, on)
        raise KeyError
    assert settings() == before
    with in_tf32(torch.device("cpu"), on):
        assert settings() == before


def test_a_program_that_uses_torch_s_newer_names_finds_them_as_they_were(settings):
    matmul = torch.backends.cuda.matmul
    if not hasattr(matmul, "fp32_precision"):
        return  # before torch 2.9 there are none
    matmul.fp32_precision = "tf32"  # from here on the older name may not be read
    with in_tf32(torch.device("cuda"), False):
        assert matmul.fp32_precision == "ieee" and not matmul.allow_tf32
    assert matmul.fp32_precision == "tf32"


# -------------------------------------------------------------------------------------------------


def test_the_table_of_levers(monkeypatch, capsys):
    monkeypatch.syspath_prepend(EXAMPLES)
    import benchmark_levers

    levers = ["channels-last", "fused AdamW", "foreach average", "transposed upsampling",
              "context once", "bf16", "recompute", "micro-batch"]
    monkeypatch.setattr("sys.argv", [
        "benchmark_levers.py", "--channels", "32", "32", "--size", "6", "8", "--tokens", "2",
        "--rounds", "1", "--steps", "1", "--device", "cpu", "--levers", *levers,
    ])  # fmt: skip
    benchmark_levers.main()
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines()[4:]]
    assert [row[0].strip("| ") for row in rows if row[0] != "|"] == [
        name for name in levers
        for _ in range(2 if name in ("channels-last", "fused AdamW", "bf16",
                                     "transposed upsampling") else 1)
    ]
    assert all(len(row) == 5 for row in rows)
