"""A recording of one's own arrays: checked, and as good as one of THINGS."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tinybrain import ImageToBrain, report, train
from tinybrain.encoder import Encoder
from tinybrain.recipes import TINYBRAIN
from tinybrain.recorded import OwnRecording
from tinybrain.unet import UNetConfig

CONFIG = UNetConfig(channels=(4, 8), attention=(False, True), heads=2, groups=2,
                    layers_per_block=1)
TIMES = np.arange(8) / 100


def arrays(n=6, r=None, h=3, seed=0):
    shape = (n, h, 8) if r is None else (n, r, h, 8)
    signals = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    return signals, [f"{number}.jpg" for number in range(n)], ["O1", "Oz", "O2"][:h], TIMES


@pytest.mark.parametrize("r", [None, 4])
def test_it_holds_what_came(r):
    signals, images, sensors, times = arrays(r=r)
    own = OwnRecording(signals, images, sensors, times, kind="meg", unit="fT")
    assert np.shares_memory(own.signals, signals) and own.signals.shape == signals.shape
    assert own.repeats == (r or 1) and own.concepts == tuple("012345")
    assert (own.kind, own.unit, own.sensors) == ("meg", "fT", ("O1", "Oz", "O2"))
    assert np.array_equal(own.times, times) and "6 images" in own.summary


def test_float64_is_converted_and_averages_are_told():
    signals, *rest = arrays()
    own = OwnRecording(signals.astype(np.float64), *rest, repeats=40)
    assert own.signals.dtype == np.float32 and np.array_equal(own.signals, signals)
    assert own.repeats == 40 and "40 repetitions" in own.summary


def test_rows_in_reverse_are_as_good():
    """torch has no strides below zero."""
    signals, *rest = arrays()
    own = OwnRecording(signals[::-1], *rest)
    assert np.array_equal(torch.from_numpy(own.signals), signals[::-1])


def test_it_is_shown_on_one_line_without_its_values():
    own = OwnRecording(*arrays())
    assert repr(own) == f"<OwnRecording {own.summary.split(': ', 1)[1]}>"
    assert repr(own).startswith("<OwnRecording 6 images, 1 repetition, 3 sensors O1 to O2, 8")


@pytest.mark.parametrize(
    "change, message",
    [
        ({"signals": np.zeros((6, 8))}, r"\(6, 8\); wanted \(images, sensors, times\)"),
        ({"images": ["a.jpg"]}, "1 images for 6 rows"),
        ({"concepts": ["dog"]}, "1 concepts for 6 rows"),
        ({"sensors": ["O1", "Oz"]}, "2 ch_names for 3 sensors"),
        ({"sensors": ["O1", "O1", "Oz"]}, "O1 more than once"),
        ({"times": TIMES[:5]}, "wanted one for each of the 8 points"),
        ({"times": np.arange(9) / 100}, r"\(9,\); wanted one for each of the 8 points"),
        ({"repeats": 0}, "repeats is 0"),
        ({"signals": np.zeros((0, 3, 8)), "images": []}, "none of them 0"),
        ({"times": 1000 * TIMES}, "wanted seconds"),
        ({"kind": "fmri"}, "wanted one of eeg, meg"),
        ({"signals": np.full((6, 3, 8), np.nan)}, "NaN or infinite values in 6 of 6 rows"),
    ],
)
def test_what_does_not_fit_is_said(change, message):
    given = dict(zip(("signals", "images", "sensors", "times"), arrays()))
    with pytest.raises(ValueError, match=message):
        OwnRecording(**given | change)


@pytest.mark.parametrize("form", [
    lambda x: x, lambda x: x[:, 0], lambda x: x.numpy(), lambda x: x[:, 0].numpy(),
    lambda x: x.double(), lambda x: x.numpy().astype(">f4"),
], ids=["n l d", "n d", "array", "array n d", "float64", "big-endian"])
def test_features_of_every_form_make_the_same_model(form, tmp_path):
    own, config = OwnRecording(*arrays(n=12)), replace(CONFIG, context_dim=6)
    features = torch.randn(12, 1, 6, generator=torch.Generator().manual_seed(0))
    recipe = replace(TINYBRAIN, epochs=1, batch_size=4)
    losses = []
    for number, told in enumerate((features, form(features))):
        model, y0 = ImageToBrain.prepare(recipe, config, own, told, Encoder("features"))
        log = train.fit(model, y0, told, tmp_path / str(number), progress=False)
        losses.append(log[0]["loss"])
    assert losses[0] == losses[1]


@pytest.mark.parametrize("told", [(11, 1, 6), (12, 1, 5), (12, 6, 1, 1), (12, 5)])
def test_features_that_do_not_fit_are_said(told):
    own, config = OwnRecording(*arrays(n=12)), replace(CONFIG, context_dim=6)
    with pytest.raises(ValueError, match=r"^context is .*; wanted \(12, tokens, 6\): a row for"):
        ImageToBrain.prepare(TINYBRAIN, config, own, torch.zeros(told), Encoder("features"))


@pytest.mark.filterwarnings("error")
def test_a_model_is_prepared_and_judged_on_it():
    """All that training and the report ask for is there, of arrays that may be read-only, too."""
    learned = OwnRecording(*arrays(n=12))
    learned.signals.flags.writeable = False
    test = OwnRecording(*arrays(n=5, r=4, seed=1))
    features = torch.randn(17, 1, 6, generator=torch.Generator().manual_seed(0))
    config = replace(CONFIG, context_dim=6)
    model, y0 = ImageToBrain.prepare(
        TINYBRAIN, config, learned, features[:12], Encoder("features", source="own")
    )
    assert y0.shape == (12, 3, 8)
    found = report.evaluate(model, learned, features[:12], test, features[12:], trials=2).report
    rows = {row["name"] for row in report.plain(found)["rows"]}
    assert {"mean ERP", "conditional mean"} <= rows
