"""The training loop: what it computes, what it keeps, how it continues."""

import copy
import dataclasses
import os
import signal
import types
import weakref

import numpy as np
import pytest
import torch

from tinybrain import log as logs
from tinybrain import run_folder, step, train
from tinybrain.denoiser import seeded
from tinybrain.encoder import Encoder
from tinybrain.heldout import hold_out
from tinybrain.pipeline import ImageToBrain
from tinybrain.recipes import PAPER, TINYBRAIN
from tinybrain.unet import UNetConfig

CONFIG = UNetConfig(channels=(32, 32), attention=(False, True), layers_per_block=1, heads=4,
                    context_dim=12, zero_output=True)
QUICK = {"epochs": 3, "batch_size": 8, "lr": 1e-3, "timesteps": 50, "sampling_steps": 5,
         "heldout": 0.2}


def recording(n=40, h=3, w=8, d=12, seed=0):
    rng = np.random.default_rng(seed)
    context = rng.normal(size=(n, 1, d)).astype(np.float32)
    effect = np.einsum("nd,dhw->nhw", context[:, 0], rng.normal(size=(d, h, w))) / d**0.5
    signals = effect + rng.normal(size=(n, h, w))
    fields = types.SimpleNamespace(
        signals=signals.astype(np.float32), concepts=tuple(f"{i // 4:05d}_thing" for i in range(n)),
        sensors=tuple("ABC")[:h], times=np.arange(w) / 100, kind="eeg", unit="a.u.",
    )
    return fields, torch.from_numpy(context)


def prepared(base=TINYBRAIN, **changes):
    """Model, targets, context, held-out rows, as an example would prepare them."""
    aside = QUICK["heldout"] * base.has_conditional_mean
    recipe = dataclasses.replace(base, **{**QUICK, "heldout": aside, **changes})
    data, context = recording()
    model, y0 = ImageToBrain.prepare(
        recipe, CONFIG, data, context, Encoder("features", source="test")
    )
    return model, y0, context, hold_out(data.concepts, recipe.heldout, recipe.seed)


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.unet.parameters()])


def repeatable(log):
    """The log without what the machine and its load have to say."""
    return [{key: row[key] for key in row if key not in logs.MACHINE} for row in log]


def test_held_out_rows_are_never_learned_from(tmp_path):
    """Garbage in the held-out rows changes nothing but the held-out error."""
    one, y0, context, aside = prepared(patience=0, epochs=2)
    other = prepared(patience=0, epochs=2)[0]
    broken, wrong = y0.clone(), context.clone()
    broken[aside], wrong[aside] = 100.0, -100.0
    first = train.fit(one, y0, context, tmp_path / "one", heldout=aside, progress=False)
    second = train.fit(other, broken, wrong, tmp_path / "other", heldout=aside, progress=False)
    assert [row["loss"] for row in first] == [row["loss"] for row in second]
    assert first[-1]["heldout_mse"] != second[-1]["heldout_mse"]


def test_one_step_is_adamw_on_the_loss_of_section_3_4():
    model, y0, context, _ = prepared(PAPER, heldout=0.0)
    twin = copy.deepcopy(model.unet)
    state = step.start(model.unet, model.recipe)
    step.train_step(state, model.recipe, model.ddpm, y0, context, torch.arange(8))
    loss = model.ddpm.loss(twin, y0[:8], context[:8], generator=seeded(0, 2, 0))
    optimizer = torch.optim.AdamW(twin.parameters(), lr=1e-3, weight_decay=1e-5)
    loss.backward()
    optimizer.step()
    for (name, ours), theirs in zip(model.unet.named_parameters(), twin.parameters()):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-7, msg=name)
    sums, counts = state.sums.tolist()
    assert sum(counts) == 8
    assert sum(sums) / 8 == pytest.approx(loss.item(), rel=1e-5)


def test_bins_of_the_log_are_the_losses_of_their_timesteps():
    model, y0, context, _ = prepared(heldout=0.0)
    state = step.start(model.unet, model.recipe)
    draw = model.ddpm.draw(y0[:8], generator=seeded(0, 2, 0), drop_context=0.1, stratified=True)
    with torch.no_grad():
        losses = model.ddpm.losses(model.unet, y0[:8], context[:8], *draw)
    step.train_step(state, model.recipe, model.ddpm, y0, context, torch.arange(8))
    for i in range(10):
        inside = (draw.t >= 5 * i) & (draw.t < 5 * (i + 1))
        assert state.sums[1, i] == inside.sum()
        assert float(state.sums[0, i]) == pytest.approx(
            float(losses[inside].sum()), rel=1e-5, abs=1e-7
        )


def test_the_average_weighs_step_s_by_s_to_the_gamma():
    linear = torch.nn.Linear(1, 1, bias=False).double()
    average = copy.deepcopy(linear)
    gamma = step.exponent(0.1)
    assert (gamma + 1) ** 0.5 / ((gamma + 2) * (gamma + 3) ** 0.5) == pytest.approx(0.1, rel=1e-9)
    values = np.random.default_rng(0).normal(size=400)
    for number, value in enumerate(values, start=1):
        torch.nn.init.constant_(linear.weight, value)
        step.update_average(average, linear, number, 0.1)
    share = (np.arange(400) + 1) ** (gamma + 1) - np.arange(400) ** (gamma + 1)  # of s^gamma
    assert average.weight.item() == pytest.approx(np.average(values, weights=share), abs=1e-9)


def test_it_learns_what_ridge_cannot(tmp_path):
    """A target that is the square of a feature: the conditional mean beats ridge and the mean."""
    model, y0, context, _ = prepared(heldout=0.0, epochs=50, lr=3e-3, drop_context=0.0, timesteps=4,
                                     sampling_steps=4)
    y0 = (context[:, 0, :1, None] ** 2).expand(-1, *y0.shape[1:]) - 1
    log = train.fit(model, y0, context, tmp_path, progress=False)
    guess = (model.mean(context.numpy()).data[:, 0] - model.base(context).numpy()
             - model.offset.numpy()[:, None]) / model.scale.numpy()[:, None]
    assert ((guess - y0.numpy()) ** 2).mean() < 0.4 * y0.square().mean().item()
    assert log[-1]["loss"] < 0.5 * log[0]["loss"]


class Stop(Exception):
    pass


@pytest.mark.parametrize("base", [TINYBRAIN, PAPER])
@pytest.mark.parametrize("stop_at", [1, 4, 7])
@pytest.mark.parametrize("key", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_and_continued_is_as_uninterrupted(tmp_path, monkeypatch, base, stop_at, key):
    """Within an epoch and at its end; weights, average, log and what is kept are equal."""
    handler = signal.getsignal(signal.SIGINT)
    whole, y0, context, heldout = prepared(base)
    log = train.fit(whole, y0, context, tmp_path / "whole", heldout=heldout, progress=False)

    one_step, calls = train.train_step, []

    def interrupt(*args):
        one_step(*args)
        calls.append(1)
        if len(calls) == stop_at:
            os.kill(os.getpid(), key)

    parts, *data = prepared(base)[0], y0, context
    monkeypatch.setattr(train, "train_step", interrupt)
    with pytest.raises(KeyboardInterrupt, match=f"stopped at step {stop_at}"):
        train.fit(parts, *data, tmp_path / "parts", heldout=heldout, progress=False)
    monkeypatch.setattr(train, "train_step", one_step)
    fresh = prepared(base)[0]
    with torch.no_grad():
        for p in fresh.unet.parameters():
            p.zero_()  # so that the weights can come from the file only
    again = train.fit(fresh, *data, tmp_path / "parts", heldout=heldout, progress=False)
    assert torch.equal(weights(fresh), weights(whole))
    assert repeatable(again) == repeatable(log)
    assert signal.getsignal(signal.SIGINT) is handler


def test_the_best_epoch_on_held_out_concepts_is_kept(tmp_path, monkeypatch, capsys):
    model, y0, context, heldout = prepared(epochs=6, patience=2)
    scores = iter([0.5, 0.3, 0.4, 0.6, 0.1, 0.1])
    seen = []

    def score(model, *_, here):
        seen.append(weights(model))
        return next(scores)

    monkeypatch.setattr(train, "heldout_mse", score)
    log = train.fit(model, y0, context, tmp_path, heldout=heldout)
    assert [row["heldout_mse"] for row in log] == [0.5, 0.3, 0.4, 0.6]  # then patience ends
    said = "stopped after epoch 4 of 6: none is better than epoch 2, which is kept"
    assert capsys.readouterr().out.splitlines()[-1] == said
    assert torch.equal(weights(model), seen[1])
    assert torch.equal(weights(ImageToBrain.load(tmp_path / "model.pt")), seen[1])


def test_a_continued_run_knows_which_epoch_was_kept_before(tmp_path, monkeypatch):
    scores, told = iter([0.3, 0.5, 0.6]), []

    def stop_after_two(log):
        if len(log) == 2:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(train, "heldout_mse", lambda *_, here: next(scores))
    model, y0, context, heldout = prepared(epochs=3)
    with pytest.raises(KeyboardInterrupt):
        train.fit(model, y0, context, tmp_path, heldout=heldout, progress=False,
                  watch=stop_after_two)
    again = prepared(epochs=3)[0]
    train.fit(again, y0, context, tmp_path, heldout=heldout, progress=False,
              watch=lambda log: told.append((len(log), again.card["epoch"])))
    assert told == [(3, 1)] and again.card["epoch"] == 1


def test_an_epoch_as_good_as_the_best_is_kept_for_its_samples():
    def kept(*errors):
        return logs.kept_epoch([{"epoch": i, "heldout_mse": e} for i, e in enumerate(errors, 1)])

    assert kept(0.5, 0.4, 0.45) == 2
    assert kept(0.5, 0.4, 0.4003, 0.401) == 3
    assert kept(0.4, 0.4003, 0.39, 0.4) == 3
    assert kept(None, None) == 2


def test_log_file(tmp_path):
    model, y0, context, heldout = prepared(epochs=2)
    log = train.fit(model, y0, context, tmp_path, heldout=heldout, progress=False)
    lines = (tmp_path / "log.csv").read_text().splitlines()
    assert lines[0].split(",") == list(logs.COLUMNS)
    assert len(lines) == 3
    assert float(lines[2].split(",")[2]) == log[1]["loss"]


def test_a_run_with_other_settings_is_refused(tmp_path):
    model, y0, context, heldout = prepared(epochs=1)
    train.fit(model, y0, context, tmp_path, heldout=heldout, progress=False)
    train.fit(prepared(epochs=1, sampling_steps=9)[0], y0, context, tmp_path, heldout=heldout,
              progress=False)  # sampling is free to change
    other, *_ = prepared(epochs=1, lr=2e-3)
    with pytest.raises(ValueError, match=r"recipe.lr: 0.001 there, 0.002 now"):
        train.fit(other, y0, context, tmp_path, heldout=heldout, progress=False)
    forced = train.fit(other, y0, context, tmp_path / "other", heldout=heldout, progress=False)
    two = prepared(epochs=2)[0]
    with pytest.raises(ValueError, match=r"--restart to start anew, or --force to go on"):
        train.fit(two, y0, context, tmp_path / "other", heldout=heldout, progress=False)
    log = train.fit(two, y0, context, tmp_path / "other", heldout=heldout, force=True,
                    progress=False)  # fmt: skip
    assert log[:1] == forced and len(log) == 2
    with pytest.raises(ValueError, match=r"data.sum"):
        train.fit(prepared(epochs=1)[0], y0 + 1, context, tmp_path, heldout=heldout, progress=False)
    again = prepared(epochs=1)[0]
    with pytest.raises(ValueError, match=r"context.sum"):
        train.fit(again, y0, context * 2, tmp_path, heldout=heldout, progress=False)
    again.encoder = Encoder("features", source="elsewhere")
    only = r"settings:\n  context.encoder.source: test there, elsewhere now\nchoose"
    with pytest.raises(ValueError, match=only):
        train.fit(again, y0, context, tmp_path, heldout=heldout, progress=False)


def test_a_damaged_state_is_passed_over_and_said(tmp_path, capsys):
    whole, y0, context, heldout = prepared()
    train.fit(whole, y0, context, tmp_path / "whole", heldout=heldout, progress=False)
    parts = prepared()[0]
    train.fit(parts, y0, context, tmp_path, heldout=heldout, progress=False)
    newest = max(tmp_path.glob("run-*.pt"))
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 4
    newest.write_bytes(content)
    again = prepared()[0]
    train.fit(again, y0, context, tmp_path, heldout=heldout, progress=False)
    assert "damaged" in (said := capsys.readouterr().out) and "continuing from run-" in said
    assert torch.equal(weights(again), weights(whole))


def test_a_second_run_in_the_folder_is_refused_and_takes_nothing_away(tmp_path):
    model, y0, context, heldout = prepared(epochs=1)
    train.fit(model, y0, context, tmp_path, heldout=heldout, progress=False)
    with run_folder.locked(tmp_path), pytest.raises(ValueError, match=r"in use by process \d+ on"):
        train.fit(model, y0, context, tmp_path, heldout=heldout, restart=True, progress=False)
    assert list(tmp_path.glob("run-*.pt"))


def test_restart_trains_anew(tmp_path):
    model, y0, context, heldout = prepared(epochs=1)
    train.fit(model, y0, context, tmp_path, heldout=heldout, progress=False)
    other = prepared(epochs=2, lr=2e-3)[0]
    log = train.fit(other, y0, context, tmp_path, heldout=heldout, restart=True, progress=False)
    assert len(log) == 2


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("can't allocate memory: you tried")])
def test_what_did_not_fit_is_let_go_before_fewer_rows_are_tried(tmp_path, monkeypatch, error):
    """An error holds the frames that it came through, and they hold their tensors."""
    held = []

    def step(*_):
        large = torch.zeros(8)
        held.append(weakref.ref(large))
        raise error

    def rows_that_fit(*_):
        assert held[0]() is None
        return 3

    monkeypatch.setattr(train, "train_step", step)
    monkeypatch.setattr(train, "rows_that_fit", rows_that_fit)
    model, y0, context, _ = prepared(heldout=0.0)
    with pytest.raises(MemoryError, match="8 rows at a time on cpu; 3 fit: --micro-batch 3"):
        train.fit(model, y0, context, tmp_path, progress=False)


def test_first_weights_are_a_function_of_the_seed():
    before = torch.get_rng_state()
    one, same, other = prepared(), prepared(), prepared(seed=1)
    assert torch.equal(weights(one[0]), weights(same[0]))
    assert not torch.equal(weights(one[0]), weights(other[0]))
    assert torch.equal(torch.get_rng_state(), before)
