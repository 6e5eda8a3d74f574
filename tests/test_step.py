"""One step: rows in pieces, gradients that are not finite, and two ranks against one."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from tests.test_train import CONFIG, prepared, weights
from tinybrain import step, train
from tinybrain.denoiser import first_weights, seeded
from tinybrain.recipes import PAPER, TINYBRAIN

ROOT = Path(__file__).parents[1]


def steps(model, y0, context, count=4, **more):
    state = step.start(model.unet, model.recipe, tokens=context.shape[1])
    for i in range(count):
        rows = torch.arange(8) + 8 * (i % 4)
        step.train_step(state, model.recipe, model.ddpm, y0, context, rows, **more)
    return state


@pytest.mark.parametrize("micro_batch", [1, 3, 8, 100])
def test_rows_in_pieces_give_the_same_step(micro_batch):
    whole, y0, context, _ = prepared(heldout=0.0)
    parts = prepared(heldout=0.0)[0]
    for model in (whole, parts):
        model.unet.double()
    one = steps(whole, y0.double(), context.double())
    other = steps(parts, y0.double(), context.double(), micro_batch=micro_batch)
    torch.testing.assert_close(weights(parts), weights(whole), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(one.sums, other.sums, rtol=1e-5, atol=1e-6)


def test_numbers_of_numpys_are_the_same_seeds():
    """Whose repr is another since numpy 2."""
    wanted = torch.randn(3, generator=seeded(7, 2))
    assert torch.equal(torch.randn(3, generator=seeded(np.int64(7), np.int32(2))), wanted)
    with pytest.raises(TypeError):
        seeded(7, 2.0)


def test_rows_that_fit_leave_room_for_the_moments_of_the_first_step(monkeypatch):
    """After it the optimizer has them."""
    model, y0, context, _ = prepared(heldout=0.0)
    state = step.start(model.unet, model.recipe)
    asked = model.recipe, model.ddpm, y0, context, 8

    def none_left(like):
        raise MemoryError

    assert step.rows_that_fit(state, *asked) == 4
    monkeypatch.setattr(torch, "empty_like", none_left)
    assert step.rows_that_fit(state, *asked) == 0
    monkeypatch.undo()
    step.train_step(state, model.recipe, model.ddpm, y0, context, torch.arange(8))
    monkeypatch.setattr(torch, "empty_like", none_left)
    assert step.rows_that_fit(state, *asked) == 4


@pytest.mark.parametrize("changes", [{"dropout": 0.5}, {"context_noise": 0.5}, {}])
def test_what_is_random_in_a_step_is_a_function_of_seed_and_step(changes):
    """Whatever torch's own generator was used for; and dropout and noise do change the step."""
    found = []
    for more in (changes, changes, {}):
        model, y0, context, _ = prepared(
            heldout=0.0, context_noise=more.get("context_noise", 0.0)
        )
        model.unet = first_weights(replace(CONFIG, dropout=more.get("dropout", 0.0)), seed=0)
        torch.manual_seed(len(found))
        before = torch.get_rng_state()
        steps(model, y0, context)
        assert torch.equal(torch.get_rng_state(), before)
        found.append(weights(model))
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2]) == (not changes)


def test_noise_on_the_context_has_the_spread_asked_for():
    model, y0, context, _ = prepared(heldout=0.0, context_noise=0.3, drop_context=0.0)
    seen = []
    model.ddpm.losses = lambda denoiser, y0, context, *draw: seen.append(context) or (
        denoiser(y0[:, None], draw[0], context).square().mean(dim=(1, 2, 3))
    )
    steps(model, y0, context, count=20)
    rows = torch.cat([context[torch.arange(8) + 8 * (i % 4)] for i in range(20)])
    noise = torch.cat(seen) - rows
    assert noise.std() == pytest.approx(0.3, rel=0.1) and noise.mean().abs() < 0.03


def test_a_step_without_a_finite_gradient_is_left_out_and_counted():
    model, y0, context, _ = prepared(PAPER, heldout=0.0)
    y0 = y0.clone()
    y0[11, 1, 2] = torch.nan
    state = step.start(model.unet, model.recipe)
    step.train_step(state, model.recipe, model.ddpm, y0, context, torch.arange(8))
    before, moments = weights(model), copy.deepcopy(state.optimizer.state_dict()["state"])
    step.train_step(state, model.recipe, model.ddpm, y0, context, torch.arange(8, 16))
    assert torch.equal(weights(model), before) and int(state.skipped) == 1
    after = state.optimizer.state_dict()["state"]
    assert all(torch.equal(after[i][key], moments[i][key]) for i in moments for key in moments[i])
    assert state.worst[:2].tolist() == [1, 11]  # step and row
    assert torch.isfinite(state.sums).all() and state.sums[1].sum() == 15
    step.train_step(state, model.recipe, model.ddpm, y0, context, torch.arange(16, 24))
    assert not torch.equal(weights(model), before) and int(state.skipped) == 1


class Asked(TorchDispatchMode):
    """Names what makes the host wait for the device: a value of a tensor as a number."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        assert name not in ("_local_scalar_dense", "nonzero", "is_nonzero", "equal"), name
        indices = args[1] if name in ("index", "index_put", "index_put_") else ()
        assert all(i is None or i.dtype != torch.bool for i in indices), "a mask is counted"
        return function(*args, **kwargs or {})


@pytest.mark.parametrize("micro_batch", [None, 3])
@pytest.mark.parametrize("base", [PAPER, TINYBRAIN])
def test_a_step_asks_nothing_of_the_device(base, micro_batch):
    model, y0, context, _ = prepared(base, heldout=0.0)
    with Asked():
        steps(model, y0, context, micro_batch=micro_batch)


def test_a_run_that_no_longer_learns_stops_and_names_the_row(tmp_path):
    model, y0, context, _ = prepared(heldout=0.0, epochs=40, batch_size=40)
    y0 = y0.clone()
    y0[23] = torch.inf
    with pytest.raises(ValueError, match=r"21 steps .*left out.*step 20, of training row 23"):
        train.fit(model, y0, context, tmp_path, progress=False)
    log = (tmp_path / "log.csv").read_text().splitlines()
    assert log[0].split(",")[4] == "skipped" and log[-1].split(",")[4] == "20"


@pytest.mark.parametrize(("room", "advice"), [(3, "2 fit: --micro-batch 2"), (0, "not even one")])
def test_a_batch_that_does_not_fit_is_told_one_that_does(tmp_path, monkeypatch, room, advice):
    model, y0, context, _ = prepared(heldout=0.0)
    losses = model.ddpm.losses

    def limited(denoiser, y0, *others):
        if len(y0) > room:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate")
        return losses(denoiser, y0, *others)

    monkeypatch.setattr(type(model.ddpm), "losses", lambda ddpm, *given: limited(*given))
    with pytest.raises(MemoryError, match=f"8 rows at a time on cpu; {advice}"):
        train.fit(model, y0, context, tmp_path, progress=False)
    if room:
        log = train.fit(model, y0, context, tmp_path, micro_batch=2, progress=False)
        assert len(log) == 3


TWO = """
import hashlib, json, sys
import torch
from tests.test_train import CONFIG, prepared, weights
from tinybrain import parallel, train

torch.set_num_threads(1)
folder = sys.argv[1]
with parallel.process_group(torch.device("cpu")) as here:
    model, y0, context, aside = prepared(epochs=26, patience=0, batch_size=31)
    torch.nn.init.normal_(model.unet.conv_out.weight, generator=torch.Generator().manual_seed(9))
    drawn = model.generate(context[:20].numpy(), trials=2, batch_size=6, here=here).data
    model.unet.double()
    log = train.fit(model, y0.double(), context.double(), folder, heldout=aside, progress=False)
    if here.first:
        rows = [{key: row[key] for key in ("loss", "heldout_mse")} for row in log]
        digest = hashlib.sha256(drawn.tobytes()).hexdigest()
        print(json.dumps({"log": rows, "drawn": digest, "spread": float(drawn.std())}))
        torch.save(weights(model), folder + "/weights.pt")
"""


def run_ranks(folder, size, timeout=300):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    script = folder.parent / "two.py"
    script.write_text(TWO)
    launch = ["-m", "torch.distributed.run", "--nproc-per-node", str(size), "--master-port", "0"]
    launch = [*launch, "--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0"]
    command = [sys.executable, *(launch if size > 1 else []), str(script), str(folder)]
    environment["PYTHONPATH"] = str(ROOT)
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.strip().splitlines()[-1])


def test_two_ranks_learn_what_one_learns(tmp_path):
    """52 steps in float64: the same losses, held-out errors and weights, up to rounding.

    Every second batch is a single row, of which one rank has nothing.

    Signals drawn for 20 images are the same to the last bit.
    """
    one = run_ranks(tmp_path / "one", 1)
    two = run_ranks(tmp_path / "two", 2)
    assert one["drawn"] == two["drawn"] and one["spread"] > 0.1
    assert len(one["log"]) == len(two["log"]) == 26
    for row, other in zip(one["log"], two["log"]):
        assert row["loss"] == pytest.approx(other["loss"], rel=1e-8)
        assert row["heldout_mse"] == pytest.approx(other["heldout_mse"], rel=1e-8)
    weighed = [torch.load(tmp_path / name / "weights.pt") for name in ("one", "two")]
    torch.testing.assert_close(*weighed, rtol=1e-5, atol=1e-7)  # a loaded model is in float32
