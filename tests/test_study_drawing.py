"""Bars and heat maps of a study: what is drawn is what was given, where a page can show it."""

import numpy as np
import pytest
from matplotlib.colors import to_rgba

from tests.kept_figures import keep_figures
from tinybrain.study import drawing
from tinybrain.study.drawing import Matrix, Panel, plot_bars, plot_matrices
from tinybrain.style import GENERATED, GENERATED_PALE, REAL, WIDTH
from tinybrain.uncertainty import Interval


@pytest.fixture
def drawn(monkeypatch):
    return keep_figures(monkeypatch, drawing)


def test_bars_and_marks_are_as_high_as_their_numbers(drawn, tmp_path):
    bars = {"one sample": [0.3, 0.2], "conditional mean": [Interval(0.1, 0.05, 0.2), None]}
    marks = {"noise ceiling": [0.04, 0.03], "paper": [None, 0.25]}
    panels = [Panel("MSE", ("sub-01", "sub-02"), bars, marks), Panel("PCC", ("a",), {"x": [1]})]
    plot_bars(panels, tmp_path / "bars.png")
    (figure,) = drawn
    above, _ = figure.axes
    heights = [[patch.get_height() for patch in group] for group in above.containers]
    np.testing.assert_array_equal(heights, [[0.3, 0.2], [0.1, np.nan]])
    colours = [group[0].get_facecolor() for group in above.containers]
    assert colours == [to_rgba(GENERATED_PALE), to_rgba(GENERATED)]
    lines = {line.get_label(): line for line in above.lines}
    np.testing.assert_array_equal(lines["95 % interval"].get_ydata(), [0.05, 0.2])
    np.testing.assert_array_equal(lines["noise ceiling"].get_ydata(), [0.04, 0.03])
    np.testing.assert_array_equal(lines["paper"].get_ydata(), [np.nan, 0.25])
    assert lines["noise ceiling"].get_color() == REAL
    bars = max(patch.get_zorder() for group in above.containers for patch in group)
    assert lines["noise ceiling"].get_zorder() > bars  # a low ceiling is not hidden by them
    named = {text.get_text() for text in figure.legends[0].get_texts()}
    assert named == {"one sample", "conditional mean", "noise ceiling", "paper", "95 % interval",
                     "x"}


def matrices(subjects, count):
    values = np.random.default_rng(0).uniform(0.2, 0.4, (count, subjects, subjects))
    values[:, range(subjects), range(subjects)] = np.nan
    names = tuple(range(1, subjects + 1))
    return [Matrix(f"map {i}", each, names) for i, each in enumerate(values)]


@pytest.mark.parametrize("subjects, count", [(2, 1), (4, 3), (10, 3)])
def test_numbers_of_a_heat_map_stand_in_their_cells(subjects, count, drawn, tmp_path):
    given = matrices(subjects, count)
    plot_matrices(given, "MSE", tmp_path / "maps.png")
    (figure,) = drawn
    assert figure.get_size_inches()[0] == WIDTH  # what is wider is made smaller in a page
    figure.draw_without_rendering()
    for axes, matrix in zip(figure.axes, given):
        read = {text.get_position(): text for text in axes.texts}
        cells = {(j, i): f"{value:.3f}" for (i, j), value in np.ndenumerate(matrix.values)
                 if np.isfinite(value)}
        assert {place: text.get_text() for place, text in read.items()} == cells
        (left, _), (right, _) = axes.transData.transform([(0, 0), (1, 0)])
        # and touch no others
        assert max(text.get_window_extent().width for text in axes.texts) < 0.95 * (right - left)
        title = axes.title.get_window_extent(), axes._left_title.get_window_extent()
        assert max(box.y1 for box in title) <= figure.bbox.y1


def test_heat_maps_of_one_measure_have_one_colour_scale(drawn, tmp_path):
    """The same number has the same colour in all of them, and near numbers have near ones."""
    near = [Matrix("a", np.array([[np.nan, 0.242], [0.1, np.nan]]), (1, 2)),
            Matrix("b", np.array([[np.nan, 0.242], [0.264, np.nan]]), (1, 2))]
    plot_matrices(near, "PCC", tmp_path / "maps.png")
    first, second, bar = drawn[-1].axes
    a, b = (axes.images[0] for axes in (first, second))
    assert a.get_clim() == b.get_clim() == bar.get_ylim() == (0.1, 0.264)
    assert bar.get_ylabel() == "PCC"
    assert a.to_rgba(0.242) == b.to_rgba(0.242)
    assert np.abs(np.subtract(b.to_rgba(0.242), b.to_rgba(0.264))).max() < 0.2
