"""Several subjects in one model: whose signals are meant, and what is made of people unknown."""

from __future__ import annotations

import dataclasses
import types
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.test_train import QUICK, weights
from tinybrain import train
from tinybrain.baselines import fit_ridge, mean_erp
from tinybrain.checkpoint import load, save
from tinybrain.denoiser import seeded
from tinybrain.encoder import Encoder
from tinybrain.encoding import SubjectEncoding, fit_encoding
from tinybrain.heldout import heldout_mse, heldout_references, hold_out
from tinybrain.pipeline import ImageToBrain
from tinybrain.recipes import PAPER, TINYBRAIN
from tinybrain.step import start, train_step
from tinybrain.subjects import (
    forget,
    mean_of_others,
    tell,
    tell_whose,
    together,
    untold,
    weights_of,
)
from tinybrain.unet import UNetConfig

NAMES = ("sub-01", "sub-02", "sub-05")
N, H, W, D = 24, 3, 6, 5
CONFIG = UNetConfig(channels=(32, 32), attention=(False, True), layers_per_block=1, heads=4,
                    context_dim=D + len(NAMES), zero_output=True)
FEATURES = torch.from_numpy(np.random.default_rng(3).normal(2, 3, (N, 1, D)).astype(np.float32))


def person(number, noise=0.3, repeats=4):
    """A recording of one subject: a linear response, an ERP and an amplitude of their own."""
    rng = np.random.default_rng(number)
    effect = np.einsum("nd,dhw->nhw", FEATURES[:, 0].numpy(), rng.normal(size=(D, H, W)))
    signals = effect + rng.normal(size=(H, W)) + noise * rng.normal(size=(N, H, W))
    return types.SimpleNamespace(
        signals=(10.0**number * signals).astype(np.float32), summary=f"person {number}",
        images=tuple(Path(f"{i // 3:05d}_thing/{i}.jpg") for i in range(N)), repeats=repeats,
        concepts=tuple(f"{i // 3:05d}_thing" for i in range(N)), sensors=("A", "B", "C"),
        times=np.arange(W) / 100, kind="eeg", unit="a.u.",
    )


PEOPLE = [person(number) for number in range(len(NAMES))]


def prepared(base=TINYBRAIN, **changes):
    recording = together(PEOPLE, NAMES)
    context = tell_whose(FEATURES.repeat(len(NAMES), 1, 1), recording, NAMES)
    quick = {**QUICK, "heldout": QUICK["heldout"] * base.has_conditional_mean}
    recipe = dataclasses.replace(base, **{**quick, "products": 0, **changes})
    model, y0 = ImageToBrain.prepare(
        recipe, CONFIG, recording, context, Encoder("features", source="test")
    )
    return model, y0, context, recording


@pytest.fixture(scope="module")
def several():
    return prepared()


# One recording made of several


def test_rows_of_each_subject_are_theirs():
    whole = together(PEOPLE, NAMES)
    assert whole.signals.shape == (72, H, W) and whole.signals.dtype == np.float32
    assert whole.summary == "sub-01: person 0; sub-02: person 1; sub-05: person 2"
    for number, name in enumerate(NAMES):
        part = whole.of(name)
        np.testing.assert_array_equal(part.signals, PEOPLE[number].signals)
        assert part.signals.base is not None  # no copy
        assert part.images == PEOPLE[number].images and part.concepts == PEOPLE[number].concepts
        assert part.summary == f"{name}: person {number}" and part.subjects == NAMES
        assert part.weights.tolist() == [np.eye(3)[number].tolist()] * N
        assert part.place.tolist() == list(range(N))
        assert part.of(name).rows(name) == slice(0, N)
    assert whole.place.tolist() == [*range(N)] * 3
    with pytest.raises(ValueError, match="no rows of 'sub-01' in this part"):
        whole.of("sub-02").rows("sub-01")


@pytest.mark.parametrize("change, words", [
    ({"sensors": ("A", "X", "C")}, r"sensors\[1\] is X there, B here"),
    ({"times": np.arange(W) / 50}, r"time 5 is 0.1 s there, 0.05 s here"),
    ({"unit": "V"}, "unit 'V' there, 'a.u.' here"),
    ({"kind": "meg"}, "kind 'meg' there"),
    ({"repeats": 2}, "repeats 2 there, 4 here"),
    ({"signals": np.zeros((N, H, W + 1))}, r"signals \(24, 3, 7\) there, \(24, 3, 6\) here"),
    ({"images": (Path("x/y.jpg"), *PEOPLE[0].images[1:])}, r"images\[0\] is x/y.jpg there, 00000_"),
    ({"concepts": ("z",) * N}, r"concepts\[0\] is z there"),
])  # fmt: skip
def test_recordings_that_differ_are_refused_by_name(change, words):
    other = types.SimpleNamespace(**{**vars(PEOPLE[1]), **change})
    with pytest.raises(ValueError, match=rf"sub-02 cannot stand beside sub-01.*{words}"):
        together([PEOPLE[0], other], NAMES[:2])


def test_the_same_image_in_another_folder_is_the_same_image():
    other = types.SimpleNamespace(**vars(PEOPLE[1]))
    other.images = tuple(Path("/elsewhere") / image for image in other.images)
    assert together([PEOPLE[0], other], NAMES[:2]).place.tolist() == [*range(N)] * 2


@pytest.mark.parametrize("names", [("a", "b"), ("a", "b", "b"), ()])
def test_every_subject_has_a_name(names):
    with pytest.raises(ValueError, match="a name for each, no two alike"):
        together(PEOPLE, names)


@pytest.mark.parametrize("validation", ["concept", "image"])
def test_what_is_held_out_is_held_out_of_all(validation):
    whole = together(PEOPLE, NAMES)
    aside = hold_out(whole.concepts, 0.25, 0, validation, whole.place)
    rows = set(aside.tolist())
    assert rows == {(row + N) % (3 * N) for row in rows} and len(rows) == 3 * 6


# What the network adds to, and the scale of what it learns


@pytest.mark.parametrize("components", [0, 3])
def test_each_subject_has_the_encoding_model_fitted_to_them_alone(components):
    model, y0, context, recording = prepared(products=components)
    left_out = []
    for person_, name in zip(PEOPLE, NAMES):
        alone, left = fit_encoding(
            FEATURES[:, 0], torch.from_numpy(person_.signals), person_.concepts,
            components=components,
        )
        told = tell(FEATURES, weights_of(name, NAMES))
        assert torch.equal(model.base(told), alone.predict(FEATURES[:, 0]))
        assert torch.equal(model.encode(FEATURES[:, 0], subject=name), told)
        left_out.append(left)
    back = model.signal(y0, torch.cat(left_out), model.weights(context))
    torch.testing.assert_close(back, torch.from_numpy(recording.signals), rtol=1e-5, atol=2e-3)


def test_nobody_in_particular_is_the_average_of_all(several):
    model, *_ = several
    ridges = [fit_ridge(FEATURES[:, 0], torch.from_numpy(one.signals), groups=one.concepts)[0]
              for one in PEOPLE]
    wanted = torch.stack([ridge.predict(FEATURES[:, 0]) for ridge in ridges]).mean(0)
    context = model.encode(FEATURES)
    torch.testing.assert_close(model.base(context), wanted, rtol=1e-4, atol=1e-3)
    zero = torch.zeros(N, H, W)
    offset = model.signal(zero, zero, model.weights(context))[0, :, 0]
    scale = model.signal(zero + 1, zero, model.weights(context))[0, :, 0] - offset
    torch.testing.assert_close(offset, model.offset.mean(0))
    torch.testing.assert_close(scale, model.scale.mean(0))


def test_targets_of_each_subject_are_standardised_by_their_own_amplitude(several):
    model, y0, _, recording = several
    for name in NAMES:
        part = y0[recording.rows(name)]
        torch.testing.assert_close(part.std(dim=(0, 2)), torch.ones(H))
        assert part.mean(dim=(0, 2)).abs().max() < 1e-5
    ratio = model.scale[1:] / model.scale[:-1]
    assert model.scale.shape == (3, H) and (ratio > 4).all() and (ratio < 25).all()


def test_the_papers_recipe_models_bare_signals_of_each():
    model, y0, context, recording = prepared(PAPER)
    assert torch.equal(y0, torch.from_numpy(recording.signals)) and model.encoding is None
    assert torch.equal(model.signal(y0, model.base(context), model.weights(context)), y0)


@pytest.mark.parametrize("base", [PAPER, TINYBRAIN])
def test_the_network_hears_the_subject_as_loud_as_the_image(base):
    model, _, context, _ = prepared(base)
    features, whose = untold(model.condition(context), len(NAMES))
    power = features.square().sum(dim=2).mean()
    torch.testing.assert_close(whose.square().sum(dim=1), power.expand(len(context)), rtol=0.02,
                               atol=0.0)
    assert ((whose > 0).sum(dim=1) == 1).all()


def test_baselines_of_somebody_left_out_are_the_means_of_the_others():
    erps = {name: mean_erp(torch.from_numpy(one.signals)).numpy()
            for name, one in zip(NAMES, PEOPLE)}
    found = mean_of_others(erps, "sub-02")
    np.testing.assert_allclose(found, (erps["sub-01"] + erps["sub-05"]) / 2, rtol=1e-5)
    others = together([PEOPLE[0], PEOPLE[2]], ("sub-01", "sub-05"))
    np.testing.assert_allclose(found, mean_erp(torch.from_numpy(others.signals)), rtol=1e-5)
    with pytest.raises(ValueError, match="no subject 'sub-09'; known are: sub-01, sub-02, sub-05"):
        mean_of_others(erps, "sub-09")
    with pytest.raises(ValueError, match="wanted one or more arrays of one shape"):
        mean_of_others({"a": erps["sub-01"]}, "a")


def test_encoding_survives_a_checkpoint(tmp_path):
    model, _, context, _ = prepared(products=3)
    save(tmp_path / "e.pt", "model", model.encoding.state())
    again = SubjectEncoding.from_state(load(tmp_path / "e.pt", "model"))
    features, whose = untold(context, len(NAMES))
    assert torch.equal(again.predict(features[:, 0], whose), model.base(context))
    assert again.name == model.encoding.name


# Training


def test_some_rows_are_not_told_whose_they_are():
    told = tell(torch.randn(4000, 2, D), 7 * torch.eye(3)[torch.arange(4000) % 3])
    seen = forget(told, 3, 0.2, seeded(1))
    gone = (seen != told).flatten(1).any(dim=1)
    assert gone.float().mean() == pytest.approx(0.2, abs=0.03)
    assert torch.equal(seen[..., :D], told[..., :D])
    torch.testing.assert_close(seen[gone][..., D:], torch.full((int(gone.sum()), 2, 3), 7 / 3))
    assert torch.equal(seen, forget(told, 3, 0.2, seeded(1)))
    assert torch.equal(told, forget(told, 3, 0.0, seeded(1)))


def test_a_step_forgets_subjects_as_a_function_of_seed_and_step():
    found = []
    for share in (0.5, 0.5, 0.0):
        model, y0, context, _ = prepared(drop_subject=share, drop_context=0.0)
        told, seen = model.condition(context), []
        losses = model.ddpm.losses
        model.ddpm.losses = lambda net, y0, c, *draw, seen=seen, losses=losses: (
            seen.append(c) or losses(net, y0, c, *draw)
        )
        state = start(model.unet, model.recipe)
        for _ in range(2):
            train_step(state, model.recipe, model.ddpm, y0, told, torch.arange(72), subjects=3)
        found.append(seen)
    for i in range(2):
        assert torch.equal(found[0][i], found[1][i]) and torch.equal(found[2][i], told)
        wanted = forget(told, 3, 0.5, seeded(0, 6, i))
        assert torch.equal(found[0][i], wanted) and not torch.equal(wanted, told)


def test_a_run_tells_its_steps_of_the_subjects(tmp_path):
    """With all subjects forgotten, what the weights say cannot matter to the network."""
    found = []
    for turn in (0, 1):
        model, y0, context, _ = prepared(drop_subject=1.0, epochs=2, heldout=0.0)
        features, whose = untold(context, 3)
        told = tell(features, whose.roll(turn, dims=1))
        train.fit(model, y0, told, tmp_path / str(turn), progress=False)
        found.append(weights(model))
    assert torch.equal(*found)


def test_held_out_errors_are_in_the_units_of_each_subject(several):
    """A network that answers zero: its error is that of each subject's encoding model, offset."""
    model, y0, context, recording = several
    aside = hold_out(recording.concepts, 0.25, 0)
    found = heldout_mse(model, y0[aside], model.condition(context[aside]), batch_size=7)
    scale = model.scale[torch.from_numpy(recording.subject)][aside][..., None]
    wanted = (scale * y0[aside]).square().mean().item()
    assert found == pytest.approx(wanted, rel=1e-4)

    references = heldout_references(model, recording.signals, y0, aside, recording.subject)
    errors, left = [], []
    for one in PEOPLE:
        signals, own = torch.from_numpy(one.signals), aside[aside < N]
        rest = [row for row in range(N) if row not in own.tolist()]
        errors.append((signals[rest].mean(0) - signals[own]).square().mean())
        _, left_out = fit_ridge(FEATURES[:, 0], signals, groups=one.concepts)
        left.append((left_out - signals)[own].square().mean())
    assert references["mean ERP"] == pytest.approx(np.mean(errors), rel=1e-4)
    assert references["ridge"] == pytest.approx(np.mean(left), rel=1e-3)


# Generating


def test_signals_are_those_of_the_subject_asked_for(several, tmp_path):
    model, *_ = several  # whose network answers zero: what is left is base, offset and scale
    for name in (*NAMES, None):
        context = model.encode(FEATURES, subject=name)
        zero = torch.zeros(N, H, W)
        wanted = model.signal(zero, model.base(context), model.weights(context))
        found = model.mean(FEATURES, subject=name).data[:, 0]
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)
        np.testing.assert_array_equal(model.mean(context).data[:, 0], found)
    one = {name: model.generate(FEATURES[:4], 2, subject=name, steps=3).data for name in NAMES}
    spread = [np.diff(one[name], axis=1).std() for name in NAMES]
    wanted = model.scale.square().mean(dim=1).sqrt().numpy()  # noise is the same for all
    np.testing.assert_allclose(np.divide(spread, spread[0]), wanted / wanted[0], rtol=0.3)
    *_, last = model.denoise_steps(FEATURES[:1], subject="sub-05", steps=3, sampler="ddim")
    wanted = model.generate(FEATURES[:1], subject="sub-05", steps=3, sampler="ddim").data[0, 0]
    np.testing.assert_allclose(last.y0[0], wanted, rtol=1e-4, atol=1e-2)

    torch.nn.init.normal_(model.unet.conv_out.weight, std=0.1)
    again = ImageToBrain.load(model.save(tmp_path / "model.pt"))
    assert again.subjects == NAMES
    for name in (*NAMES, None):
        same, there = (m.generate(FEATURES[:2], subject=name, steps=3).data for m in (model, again))
        np.testing.assert_array_equal(same, there)


def test_subjects_that_there_are_not_are_named(several):
    model, *_ = several
    with pytest.raises(ValueError, match="no subject 'sub-07'; known are: sub-01, sub-02, sub-05"):
        model.generate(FEATURES, subject="sub-07")
    told = model.encode(FEATURES)
    with pytest.raises(ValueError, match=r"features are \(24, 1, 8\); this model wants \(n, 5\)"):
        model.mean(told, subject="sub-01")
    alone, _ = ImageToBrain.prepare(
        dataclasses.replace(TINYBRAIN, products=0), dataclasses.replace(CONFIG, context_dim=D),
        PEOPLE[0], FEATURES, Encoder("features", source="test"),
    )
    assert alone.subjects == () and alone.offset.shape == (H,)
    with pytest.raises(ValueError, match="no subject 'sub-01'; known are: none by name"):
        alone.generate(FEATURES, subject="sub-01")
    with pytest.raises(ValueError, match="a recording of .* for a model of"):
        tell_whose(FEATURES, together(PEOPLE[:1], ("x",)), NAMES)


def test_files_from_before_there_were_subjects_are_of_one(tmp_path):
    alone, _ = ImageToBrain.prepare(
        dataclasses.replace(TINYBRAIN, products=0, drop_subject=0.0),
        dataclasses.replace(CONFIG, context_dim=D), PEOPLE[0], FEATURES,
        Encoder("features", source="test"),
    )
    content = load(alone.save(tmp_path / "new.pt"), "model")
    del content["subjects"], content["recipe"]["drop_subject"]
    save(tmp_path / "old.pt", "model", content)
    again = ImageToBrain.load(tmp_path / "old.pt")
    assert again.subjects == () and again.recipe == alone.recipe
    np.testing.assert_array_equal(again.mean(FEATURES).data, alone.mean(FEATURES).data)
