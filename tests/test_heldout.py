"""What is kept aside of training, and what a model is worth on it."""

import dataclasses

import pytest
import torch

from tests.test_train import prepared, recording
from tinybrain import train
from tinybrain.baselines import fit_ridge
from tinybrain.denoiser import seeded
from tinybrain.heldout import heldout_mse, heldout_references, hold_out
from tinybrain.recipes import PAPER


def test_concepts_are_held_out_whole():
    concepts = tuple(f"{i // 10:05d}_x" for i in range(200))
    aside = hold_out(concepts, 0.25, seed=3)
    learned = set(range(200)) - set(aside.tolist())
    assert not {concepts[i] for i in learned} & {concepts[i] for i in aside}
    assert len({concepts[i] for i in aside}) == 5
    assert not torch.equal(aside, hold_out(concepts, 0.25, seed=4))
    assert hold_out(concepts, 0.0, seed=0) is None
    with pytest.raises(ValueError, match="leaves none of 1 concepts"):
        hold_out(("a",) * 5, 0.5, seed=0)


def test_images_are_held_out_one_by_one_where_asked():
    concepts = tuple(f"{i // 10:05d}_x" for i in range(200))
    aside = hold_out(concepts, 0.05, seed=3, validation="image")
    assert len(set(aside.tolist())) == 10 and len({concepts[i] for i in aside}) > 1
    again = hold_out(concepts, 0.05, seed=3, validation="image")
    assert torch.equal(aside, again)
    with pytest.raises(ValueError, match="validation 'person' is not in"):
        dataclasses.replace(PAPER, validation="person")


def test_the_held_out_error_is_that_of_the_mean_in_signal_units():
    model, y0, context, aside = prepared()
    torch.nn.init.normal_(model.unet.conv_out.weight, generator=seeded(9))
    found = heldout_mse(model, y0[aside], model.condition(context[aside]), batch_size=3)
    data = torch.from_numpy(recording()[0].signals)
    left_out = data - model.offset[:, None] - model.scale[:, None] * y0  # ridge without the image
    guess = torch.from_numpy(model.mean(context[aside], draws=4).data[:, 0])
    guess = guess - model.base(context[aside]) + left_out[aside]
    assert found == pytest.approx((guess - data[aside]).square().mean().item(), rel=1e-4)


def test_held_out_rows_that_are_not_finite_are_named(tmp_path):
    """No epoch would be better than another."""
    model, y0, context, aside = prepared()
    for name, values in (("target", y0), ("context", context)):
        whole = values.clone()
        values[aside[3]] = torch.nan
        with pytest.raises(ValueError, match=f"the {name} of training row {aside[3]}, which is h"):
            train.fit(model, y0, context, tmp_path, heldout=aside, progress=False)
        values.copy_(whole)


def test_references_are_the_mean_erp_and_leave_one_out_ridge():
    model, y0, context, aside = prepared()
    signals = recording()[0].signals
    found = heldout_references(model, signals, y0, aside)
    data = torch.from_numpy(signals)
    rest = torch.tensor([i for i in range(len(data)) if i not in aside.tolist()])
    wanted = (data[rest].mean(0) - data[aside]).square().mean().item()
    assert found["mean ERP"] == pytest.approx(wanted, rel=1e-5)
    _, left_out = fit_ridge(context[:, 0], data, groups=recording()[0].concepts)
    wanted = (left_out - data)[aside].square().mean().item()
    assert found["ridge"] == pytest.approx(wanted, rel=1e-4)
