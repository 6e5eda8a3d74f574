"""Numbers at the axes of a report's figures can be read, whatever their range."""

from itertools import pairwise

import numpy as np
import pytest

from tests.kept_figures import keep_figures
from tinybrain import loss_figure, report_figures


@pytest.fixture
def drawn(monkeypatch):
    return keep_figures(monkeypatch, report_figures, loss_figure)


def shown(axis, low, high):
    """The places of an axis's numbers within its range, from the left or from below."""
    labels = [label for tick, label in zip(axis.get_ticklocs(), axis.get_ticklabels())
              if low <= tick <= high]
    return [label.get_window_extent() for label in labels]


@pytest.mark.parametrize("best, worst", [(0.0103, 0.0851), (0.0103, 0.2357), (0.0108, 12.0),
                                         (0.0103, 90.0), (0.2, 0.4)])
def test_scores_of_any_range_have_numbers_that_do_not_touch(best, worst, drawn, tmp_path):
    rows = [{"name": name, "mse": mse, "image": 0.1}
            for name, mse in (("ridge", best), ("one sample", worst), ("noise ceiling", best))]
    report_figures.plot_scores({"rows": rows, "unit": "a.u."}, tmp_path / "scores.png")
    (figure,) = drawn
    figure.draw_without_rendering()
    left = figure.axes[0]
    boxes = shown(left.xaxis, *left.get_xlim())
    assert len(boxes) >= 2
    assert all(one.x1 < other.x0 for one, other in pairwise(boxes))


@pytest.mark.parametrize("last", [0.001, 0.05, 0.4, 0.8, 0.95])
def test_a_loss_that_falls_by_little_or_much_has_numbers_to_read(last, drawn, tmp_path):
    losses = np.geomspace(1, last, 6)
    rows = [{"epoch": e, "loss": loss, "heldout_mse": None, **{f"bin{i}": loss for i in range(10)}}
            for e, loss in enumerate(losses)]
    loss_figure.plot_loss(rows, tmp_path / "loss.png", {})
    (figure,) = drawn
    figure.draw_without_rendering()
    boxes = shown(figure.axes[0].yaxis, *figure.axes[0].get_ylim())
    assert len(boxes) >= 3
    assert all(one.y1 < other.y0 for one, other in pairwise(boxes))
