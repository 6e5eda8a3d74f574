"""What training is given: parts that fit together, or an error before anything is learned."""

import pytest
import torch

from tests.test_train import prepared
from tinybrain import train
from tinybrain.continuing import ROWS, sum_of_sizes

EVERYTHING = torch.arange(10_000)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"y0": lambda y0: y0[:0]}, r"y0 is \(0, .*; wanted \(images, \d+, \d+\), at least one"),
        ({"y0": lambda y0: y0[:, :-1]}, "y0 is "),
        ({"context": lambda context: context[:-1]}, r"context is .*; wanted \(\d+, tokens, \d+\)"),
        ({"context": lambda context: context[None]}, "context is "),
        ({"context": lambda context: context[..., :-1]}, "context is "),
        ({"heldout": lambda aside: aside[:0]}, "0 of .* rows held out; wanted some, but not all"),
        ({"heldout": lambda aside: EVERYTHING}, "rows held out; wanted some, but not all"),
        ({"micro_batch": lambda none: 0}, "micro_batch is 0; wanted 1 or more"),
        ({"save_every": lambda none: 0}, "save_every is 0; wanted 1 or more"),
    ],
)
def test_what_does_not_fit_is_refused_before_the_first_step(tmp_path, change, message):
    model, y0, context, aside = prepared()
    given = {"y0": y0, "context": context, "heldout": aside}
    for name, other in change.items():
        given[name] = other(given.get(name))
        if given[name] is EVERYTHING:
            given[name] = EVERYTHING[: len(y0)]
    with pytest.raises(ValueError, match=message):
        train.fit(model, folder=tmp_path, progress=False, **given)
    assert not (tmp_path / "model.pt").exists()


def test_double_precision_is_learned_as_single(tmp_path):
    logs = []
    for precision in (torch.float32, torch.float64):
        model, y0, context, aside = prepared(epochs=1)
        folder = tmp_path / str(precision)
        logs.append(train.fit(model, y0.to(precision), context.to(precision), folder,
                              heldout=aside, progress=False))
    assert logs[0][-1]["loss"] == logs[1][-1]["loss"]


def test_sums_of_sizes_are_those_of_all_rows():
    x = torch.randn(2 * ROWS + 3, 2, 3, generator=torch.Generator().manual_seed(0))
    assert sum_of_sizes(x) == pytest.approx(x.double().abs().sum().item(), rel=1e-12)
