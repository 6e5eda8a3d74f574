"""Across subjects: matrices by brute force, margins by numpy and by the paper's own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from tests.kept_figures import keep_figures
from tests.study_reports import made, study
from tinybrain import paper
from tinybrain.margins import margins
from tinybrain.study import cross, drawing, tables, within
from tinybrain.study.page import Figure
from tinybrain.uncertainty import jackknife, student


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
    table = cross.matrix_table(study(tmp_path, data="x"), cells, "mse", "one sample", tuple(three),
                               "")
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
    assert ours["all other subjects' mean ERP"].values[0] == pytest.approx(expected, rel=1e-5)
    each = [np.mean((first.recorded - other.erp) ** 2) for other in (second, last)]
    assert ours["others' mean ERPs"].values[0] == pytest.approx(np.mean(each), rel=1e-5)
    own = np.mean((first.recorded - first.erp) ** 2)
    assert ours["own mean ERP"].values[0] == pytest.approx(own, rel=1e-5)
    cells = cross.matrix(three, "one", "mse")
    assert ours["own model, one sample"].values[1] == cells[1, 1]
    theirs = ours["others' models, one sample"].values[1]
    assert theirs == pytest.approx((cells[0, 1] + cells[2, 1]) / 2)


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


@pytest.mark.parametrize("marked", [True, False])
def test_the_papers_matrix_stands_beside_recordings_of_its_form_only(
    tmp_path, three, monkeypatch, marked
):
    kept, of = keep_figures(monkeypatch, drawing), study(tmp_path, subjects=(1, 2, 7), data="x")
    made = {"one sample": cross.matrix(three, "one", "mse")}
    figure = cross.heat_maps(of, made, "mse", "a.u.²", tmp_path, marked=marked)
    titles = [axes.get_title("left") for axes in kept[-1].axes[:-1]]
    assert titles == ["one sample", "the paper, Table 2\n(unit not stated)"][: 1 + marked]
    assert kept[-1].axes[-1].get_ylabel() == "MSE (a.u.²)"
    assert ("does not state its unit" in figure.caption) == marked
    pattern = cross.heat_maps(of, made, "pattern", "", tmp_path, marked=marked)
    assert "unit" not in pattern.caption
    assert not any("unit" in axes.get_title("left") for axes in kept[-1].axes)


def test_no_number_of_the_paper_is_beside_recordings_of_another_form(tmp_path, monkeypatch):
    """Here 4 images, 2 sensors and 3 points, of folders that the user named; then of the demo."""
    kept = keep_figures(monkeypatch, drawing)
    monkeypatch.setattr(cross.generated, "read", lambda folder: made(int(folder.parts[-2][-1])))
    for of in (study(tmp_path, data="x"), study(tmp_path)):
        why = within.why_left_out(of)
        parts = cross.section(of, tmp_path).body
        assert not any("paper" in axes.get_title("left") for one in kept for axes in one.axes)
        figures = [part for part in parts if isinstance(part, Figure)]
        assert len(figures) == 2 and not any("paper" in one.caption for one in figures)
        for table in (part for part in parts if isinstance(part, tables.Table)):
            assert not any("paper" in word for word in table.notes if word != why)
            assert why in table.notes or "beside mean ERPs" in table.name
    monkeypatch.setattr(paper, "FORM", {"eeg": (4, 2, 3)})
    parts = cross.section(study(tmp_path, data="x"), tmp_path).body
    assert "The paper's corner: 0.231" in parts[0].notes[0]
    assert kept[-1].axes[2].get_title("left") == "the paper, Table 3"


# -------------------------------------------------------------------------------------------------
# Intervals of means over subjects, and over pairs of them


def test_means_of_own_models_have_students_interval(three):
    ours = cross.baselines(three, "mse")
    own = np.diag(cross.matrix(three, "one", "mse"))
    wanted = stats.t.interval(0.95, df=2, loc=own.mean(), scale=stats.sem(own))
    assert ours["own model, one sample"].mean == pytest.approx((own.mean(), *wanted))
    table = cross.baseline_table(study(Path("x"), subjects=(1, 2, 7)), three, "mse")
    name, *means = table.rows[3]
    assert name == "mean" and means == [column.mean for column in ours.values()]
    at = table.columns.index("own model, one sample")
    assert table.rows[4][at] == pytest.approx(own.std(ddof=1))
    assert "jackknife" in table.notes[0] and "Student's t" in table.notes[0]


def test_without_a_subject_the_others_mean_erp_is_that_of_those_left(three):
    found = cross.baselines(three, "mse")["all other subjects' mean ERP"]
    assert found.mean.value == pytest.approx(found.values.mean())
    without = []
    for left in three:
        a, b = (three[i] for i in three if i != left)  # each predicted by the other
        without.append(np.mean([np.mean((a.recorded - b.erp) ** 2),
                                np.mean((b.recorded - a.erp) ** 2)]))
    assert found.mean == pytest.approx(jackknife(found.values.mean(), without), rel=1e-5)


def test_two_subjects_have_no_interval_of_pairs(three):
    ours = cross.baselines({i: three[i] for i in (1, 2)}, "mse")
    for name, column in ours.items():
        assert np.isfinite([column.mean.low, column.mean.high]).all() == name.startswith("own")
        assert column.mean.value == pytest.approx(column.values.mean())


def test_intervals_of_pairs_hold_the_truth_though_pairs_share_subjects():
    """Of 300 studies whose sources and targets are all drawn anew, 95 % or more; intervals of the
    targets' means alone, as if those did not share all sources, hold it much less often."""
    rng, inside, naive = np.random.default_rng(0), 0, 0
    for _ in range(300):
        source, target, noise = rng.normal(size=6), rng.normal(size=6), rng.normal(size=(6, 6))
        cells = source[:, None] + 0.3 * target + 0.3 * noise
        _, low, high = cross.mean_of_pairs(cells)
        inside += low < 0 < high
        _, low, high = student(margins(cross.without_diagonal(cells)).target_mean)
        naive += low < 0 < high
    assert 0.93 < inside / 300 < 0.99 and naive / 300 < 0.75
