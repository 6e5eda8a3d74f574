"""Recipes: what they are made of is checked when they are made, not an epoch later."""

from dataclasses import replace

import pytest

from tinybrain.recipes import PAPER, RECIPES, TINYBRAIN


@pytest.mark.parametrize("name", RECIPES)
def test_both_recipes_are_what_they_are_called(name):
    assert RECIPES[name].name == name and replace(RECIPES[name]) == RECIPES[name]


@pytest.mark.parametrize(
    "change, message",
    [
        ({"epochs": 0}, "epochs is 0; wanted 1 or more"),
        ({"weight_decay": -1.0}, "weight_decay is -1.0; wanted 0 or more"),
        ({"context_noise": float("nan")}, "context_noise is nan"),
        ({"lr": 0.0}, "lr is 0.0; wanted a number above 0"),
        ({"lr": float("inf")}, "lr is inf"),
        ({"drop_context": 1.5}, "drop_context is 1.5; wanted 0 to 1"),
        ({"heldout": 0.6}, "heldout is 0.6; wanted 0 to 0.5"),
        ({"ema_width": 0.28}, "ema_width is 0.28; wanted 0 to below 0.28"),
        ({"sampler": "euler"}, "'euler'; wanted one of ancestral, ddim, dpm_solver"),
        ({"sampling_steps": 1001}, "sampling_steps is 1001"),
        ({"schedule": "sigmoid"}, "'sigmoid' is not in"),
        ({"prediction": "score"}, "'score'; wanted one of"),
        ({"prediction": "epsilon"}, "cannot start from zero terminal SNR"),
    ],
)
def test_what_cannot_be_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        replace(TINYBRAIN, **change)


@pytest.mark.parametrize("change", [{"heldout": 0.05}, {"patience": 5}])
def test_nothing_is_kept_aside_for_nothing(change):
    """The paper's recipe has no conditional mean, by which alone an epoch is chosen."""
    with pytest.raises(ValueError, match="of no use: .* without zero_terminal_snr there is none"):
        replace(PAPER, **change)
