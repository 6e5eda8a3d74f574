"""Across subjects: matrices by brute force, margins by numpy and by the paper's own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.kept_figures import keep_figures
from tests.study_reports import made, study
from tinybrain import paper
from tinybrain.margins import margins
from tinybrain.study import cross, drawing, tables


@pytest.fixture
def three():
    """Three subjects; the last one's images stand in another order."""
    last = made(3)
    order = [2, 0, 3, 1]
    shuffled = {name: getattr(last, name)[order]
                for name in ("one", "mean", "conditional", "recorded")}
    images = tuple(last.images[i] for i in order)
    return {1: made(1), 2: made(2), 7: replace(last, **shuffled, images=images)}


def test_every_pair_is_compared_image_by_image(three):
    cells = cross.matrix(three, "one", "mse")
    patterns = cross.matrix(three, "best", "pattern")
    for i, source in enumerate(three.values()):
        for j, target in enumerate(three.values()):
            errors, correlations = [], []
            for row, name in enumerate(target.images):
                at = source.images.index(name)
                errors.append(np.mean((source.one[at] - target.recorded[row]) ** 2))
                correlations.append(np.corrcoef(source.conditional[at].ravel(),
                                                target.recorded[row].ravel())[0, 1])
            np.testing.assert_allclose(cells[i, j], np.mean(errors), rtol=1e-5)
            np.testing.assert_allclose(patterns[i, j], np.mean(correlations), rtol=1e-6)


@pytest.mark.parametrize("kind", ["eeg", "meg"])
@pytest.mark.parametrize("metric", ["mse", "pcc"])
def test_margins_are_numpys_of_the_cells(kind, metric):
    printed = paper.cross_subject(kind, metric)
    ours = margins(printed.cells)
    np.testing.assert_allclose(ours.source_mean, np.nanmean(printed.cells, axis=1))
    np.testing.assert_allclose(ours.source_std, np.nanstd(printed.cells, axis=1, ddof=1))
    np.testing.assert_allclose(ours.target_mean, np.nanmean(printed.cells, axis=0))
    np.testing.assert_allclose(ours.target_std, np.nanstd(printed.cells, axis=0, ddof=1))
    assert abs(ours.mean - printed.mean) < 0.002  # some margins are misprints
    np.testing.assert_allclose(ours.std, np.nanstd(printed.cells, ddof=1))
    if metric == "pcc":  # its corner; Table 2's lower margin is misprinted, 5(a) has `std` above
        assert abs(ours.target_std.mean() - printed.std) < 0.002


def test_two_subjects_have_means_and_no_deviations_of_one_cell():
    ours = margins(np.array([[np.nan, 0.4], [0.2, np.nan]]))
    assert ours.source_mean.tolist() == [0.4, 0.2] and ours.target_mean.tolist() == [0.2, 0.4]
    assert np.isnan([*ours.source_std, *ours.target_std]).all()
    assert (ours.mean, ours.std) == pytest.approx((0.3, 0.2 / 2**0.5))


def test_the_table_has_dashes_on_its_diagonal_and_margins_as_the_paper(tmp_path, three):
    cells = cross.matrix(three, "one", "mse")
    table = cross.matrix_table(study(tmp_path, data="x"), cells, "mse", "one sample", tuple(three))
    assert table.name == "Table 2, EEG, MSE of one sample"
    assert table.columns[1:] == ("sub-01", "sub-02", "sub-07", "mean", "standard deviation")
    shown = [[tables.words(cell, 3) for cell in row] for row in table.rows]
    assert [shown[i][i + 1] for i in range(3)] == ["–"] * 3
    assert table.rows[0][4] == pytest.approx((cells[0, 1] + cells[0, 2]) / 2)
    assert table.rows[3][1] == pytest.approx((cells[1, 0] + cells[2, 0]) / 2)
    assert table.rows[4][1] == pytest.approx(abs(cells[1, 0] - cells[2, 0]) / np.sqrt(2))
    assert table.rows[4][-1] == pytest.approx(np.mean(table.rows[4][1:4]))


def test_baselines_need_no_image(three):
    ours = cross.baselines(three, "mse")
    first, second, last = three.values()
    expected = np.mean((first.recorded - (second.erp + last.erp) / 2) ** 2)
    assert ours["all other subjects' mean ERP"][0] == pytest.approx(expected, rel=1e-5)
    each = [np.mean((first.recorded - other.erp) ** 2) for other in (second, last)]
    assert ours["others' mean ERPs"][0] == pytest.approx(np.mean(each), rel=1e-5)
    own = np.mean((first.recorded - first.erp) ** 2)
    assert ours["own mean ERP"][0] == pytest.approx(own, rel=1e-5)
    cells = cross.matrix(three, "one", "mse")
    assert ours["own model, one sample"][1] == cells[1, 1]
    assert ours["others' models, one sample"][1] == pytest.approx((cells[0, 1] + cells[2, 1]) / 2)


def test_subjects_with_other_sensors_times_or_images_are_refused(three):
    for other, words in (
        (made(2, sensors=("Oz", "Pz")), "subjects 1 and 2 have 2 and 2 sensors"),
        (made(2, w=4), "3 and 4 times"),
        (replace(made(2), unit="V"), "units a.u. and V"),
    ):
        with pytest.raises(ValueError, match=words):
            cross.matrix(three | {2: other}, "one", "mse")
    with pytest.raises(ValueError, match="need the same test images"):
        cross.matrix({1: made(1), 2: made(2, images=("a", "b", "c", "q"))}, "one", "mse")
    with pytest.raises(ValueError, match="1 came; wanted two"):
        cross.section(study(Path("nowhere"), subjects=(1,)), Path("nowhere"))


def test_the_papers_matrix_stands_beside_real_recordings_only(tmp_path, three, monkeypatch):
    kept = keep_figures(monkeypatch, drawing)
    made = {"one sample": cross.matrix(three, "one", "mse")}
    for of in (study(tmp_path, subjects=(1, 2, 7)),
               study(tmp_path, subjects=(1, 2, 7), data="x")):
        figure = cross.heat_maps(of, made, "mse", "a.u.²", tmp_path)
        maps = [axes for axes in kept[-1].axes if axes.get_title("left")]
        assert len(maps) == 2 - of.demo
        assert all("colour scale of its own" in axes.get_title("left") for axes in maps)
        bars = [axes.get_ylabel() for axes in kept[-1].axes if axes not in maps]
        assert bars == ["MSE (a.u.²)", "MSE"][: len(maps)]  # the paper's has no unit
        assert ("does not state its unit" in figure.caption) != of.demo
        notes = cross.matrix_table(of, made["one sample"], "mse", "one sample", (1, 2, 7)).notes
        assert ("The paper's corner: 0.231" in notes[0]) != of.demo
        pattern = cross.heat_maps(of, made, "pattern", "", tmp_path)
        assert "unit" not in pattern.caption
