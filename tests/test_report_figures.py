"""Numbers at the axes of a report's figures can be read, whatever their range."""

from itertools import pairwise

import numpy as np
import pytest

from tests.kept_figures import keep_figures
from tinybrain import log, loss_figure, report_figures


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


@pytest.mark.parametrize("first, last", [(1, 0.001), (1, 0.05), (1, 0.4), (1, 0.8), (1, 0.95),
                                         (1.03, 0.775), (0.95, 0.65), (1.2, 1.9)])
def test_a_loss_that_falls_by_little_or_much_has_numbers_to_read(first, last, drawn, tmp_path):
    losses = np.geomspace(first, last, 6)
    rows = [{"epoch": e, "loss": loss, "heldout_mse": None, **{f"bin{i}": loss for i in range(10)}}
            for e, loss in enumerate(losses)]
    loss_figure.plot_loss(rows, tmp_path / "loss.png", {})
    (figure,) = drawn
    figure.draw_without_rendering()
    boxes = shown(figure.axes[0].yaxis, *figure.axes[0].get_ylim())
    assert len(boxes) >= 3
    assert all(one.y1 < other.y0 for one, other in pairwise(boxes))


def test_the_loss_says_what_kept_means(drawn, tmp_path):
    errors = 0.30, 0.2200, 0.2201, 0.25
    rows = [{"epoch": e, "loss": 1, "heldout_mse": error, **{f"bin{i}": 1 for i in range(10)}}
            for e, error in enumerate(errors, 1)]
    for kept, said in ((3, "kept: the last within 0.1 % of the least"), (None, "least")):
        loss_figure.plot_loss(rows, tmp_path / "loss.png", {}, kept=kept)
        right = drawn[-1].axes[1]
        assert [text.get_text() for text in right.get_legend().get_texts()] == [said]
        (ring,) = (line for line in right.lines if line.get_label() == said)
        assert ring.get_xdata()[0] == (kept or 2)
    assert loss_figure.TOLERANCE == log.TOLERANCE and log.kept_epoch(rows) == 3


@pytest.mark.parametrize("by, order", [("noise ceiling", [2, 0, 1]), ("ridge", [1, 2, 0]),
                                       (None, [0, 1, 2])])
def test_no_model_is_sorted_by_its_own_luck(by, order, drawn, tmp_path):
    """As long as there is something else to sort by."""
    scores = {"conditional mean": [0.3, 0.2, 0.1], "ridge": [0.1, 0.3, 0.2],
              "noise ceiling": [0.2, 0.1, 0.3]}
    names = [name for name in scores if name != "noise ceiling" or by == name]
    names = names if by else ["conditional mean"]
    curves = {name: {"sensors": scores[name], "times": [0.0, 0.1]} for name in names}
    report_figures.plot_curves({"curves": curves | {"times": [0, 1]}}, tmp_path / "curves.png")
    lines = {line.get_label(): line for line in drawn[0].axes[0].lines}
    own = lines["conditional mean"].get_ydata()
    assert own.tolist() == [scores["conditional mean"][place] for place in order]


def test_lines_that_fall_together_can_be_told_apart(drawn, tmp_path):
    same = {"sensors": [0.2, 0.1], "times": [0.0, 0.1, 0.2]}
    names = "conditional mean", "ridge", "ridge with products", "noise ceiling"
    report_figures.plot_curves({"curves": {name: same for name in names} | {"times": [0, 1, 2]}},
                               tmp_path / "curves.png")
    axes = drawn[0].axes[1]
    lines = {line.get_label(): line for line in axes.lines}
    assert set(names) <= set(lines)
    own, base, ridge = (lines[name] for name in (names[0], names[2], names[1]))
    assert base.get_zorder() > own.get_zorder() and base.get_linestyle() == "--"
    assert base.get_color() == ridge.get_color() and ridge.get_linestyle() == "-"
