"""The paper's tables against themselves and its text; what its numbers imply, by brute force."""

import numpy as np
import pytest

from tinybrain import paper, report

KINDS, METRICS = ("eeg", "meg"), ("mse", "pcc")
CELLS = [(kind, metric) for kind in KINDS for metric in METRICS]


# --- the tables --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind, metric", CELLS)
def test_averages_of_tables_1_4_and_6_to_9_are_those_of_their_subjects(kind, metric):
    table = paper.conditioning(kind, metric)
    assert list(table.subjects) == list(table.average)
    for way, values in table.subjects.items():
        assert len(values) == {"eeg": 10, "meg": 4}[kind]
        assert np.mean(values) == pytest.approx(table.average[way], abs=0.00051)  # rounded
    column = METRICS.index(metric)
    own = [values[column] for values in (paper.PAPER_EEG, paper.PAPER_MEG)[kind == "meg"].values()]
    assert list(table.subjects["cross_attention"]) == own
    assert table.average["cross_attention"] == paper.within(kind)[column]


def test_what_the_text_says_of_the_tables():
    eeg, meg = paper.PAPER_EEG, paper.PAPER_MEG
    assert min(eeg, key=lambda s: eeg[s][0]) == 1 and max(eeg, key=lambda s: eeg[s][1]) == 8
    assert min(meg, key=lambda s: meg[s][0]) == 1 and max(meg, key=lambda s: meg[s][1]) == 2
    assert paper.within("eeg", 1)[0] == 0.178 and paper.within("meg", 2)[1] == 0.198
    assert [paper.cross_subject(kind, "mse").mean for kind in KINDS] == [0.231, 0.880]
    for kind in KINDS:
        (mse, pcc), ways = paper.within(kind), paper.conditioning(kind, "mse").average
        assert ways["cross_attention"] == min(ways.values()) == mse
        ways = paper.conditioning(kind, "pcc").average
        assert ways["cross_attention"] == max(ways.values()) == pcc


# Margins as printed that the printed cells do not give, by more than rounding or cutting off.
WRONG = {
    ("eeg", "mse"): {
        ("target_mean", 8), ("target_mean", 9), ("std", None),
        *(("target_std", subject) for subject in (2, 3, 4, 6, 7, 8, 9, 10)),
    },
    ("eeg", "pcc"): {
        ("target_mean", 1), ("target_mean", 6), ("target_mean", 7), ("target_std", 7),
        ("std", None),
    },
    ("meg", "mse"): {("target_std", 4)},
    ("meg", "pcc"): {("std", None)},
}  # fmt: skip


@pytest.mark.parametrize("kind, metric", CELLS)
def test_margins_follow_from_the_cells_but_for_the_known_exceptions(kind, metric):
    table = paper.cross_subject(kind, metric)
    subjects = {"eeg": 10, "meg": 4}[kind]
    assert table.cells.shape == (subjects, subjects)
    np.testing.assert_array_equal(np.isnan(table.cells), np.eye(subjects, dtype=bool))
    assert table.target_std.shape == table.source_mean.shape == (subjects,)
    assert set(table.discrepancies()) == WRONG[kind, metric]


def test_margins_are_recomputed_as_by_a_loop():
    table = paper.cross_subject("eeg", "pcc").recomputed()
    for i in range(10):
        row = [table.cells[i, j] for j in range(10) if j != i]
        column = [table.cells[j, i] for j in range(10) if j != i]
        assert table.source_mean[i] == pytest.approx(sum(row) / 9, abs=1e-12)
        assert table.target_mean[i] == pytest.approx(sum(column) / 9, abs=1e-12)
        for values, std in ((row, table.source_std[i]), (column, table.target_std[i])):
            around = [(v - sum(values) / 9) ** 2 for v in values]
            assert std == pytest.approx((sum(around) / 8) ** 0.5, abs=1e-12)
    assert paper.cross_subject("eeg", "pcc").recomputed().discrepancies() == {}


def test_corners_are_averages_of_the_lower_margin_or_of_all_cells():
    for kind, metric in CELLS:
        table = paper.cross_subject(kind, metric)
        assert table.mean == pytest.approx(table.target_mean.mean(), abs=0.00051)
        if table.table == "5(a)":
            assert table.std == pytest.approx(table.recomputed().std, abs=0.00051)
        else:
            assert table.std == pytest.approx(table.target_std.mean(), abs=0.00051)


def test_a_typing_error_in_a_cell_is_found():
    table = paper.cross_subject("meg", "mse")
    cells = table.cells.copy()
    cells[0, 1] = 0.923  # for 0.932
    wrong = paper.CrossSubject(**{**vars(table), "cells": cells}).discrepancies()
    assert {("source_mean", 1), ("target_mean", 2)} <= set(wrong)
    assert wrong["source_mean", 1] == (0.9, pytest.approx((0.923 + 1.134 + 0.635) / 3))
    with pytest.raises(ValueError, match="read-only"):
        table.cells[0, 1] = 0


@pytest.mark.parametrize("call, message", [
    (lambda: paper.within("ecog"), "wanted 'eeg' or 'meg'"),
    (lambda: paper.within("meg", 5), "MEG of subjects 1 to 4"),
    (lambda: paper.cross_subject("meg", "r2"), "wanted 'mse' or 'pcc'"),
    (lambda: paper.conditioning("fmri", "mse"), "wanted 'eeg' or 'meg'"),
    (lambda: paper.bounds(0.2, 1.0), "0 <= PCC < 1"),
    (lambda: paper.bounds(0.2, -0.1), "0 <= PCC < 1"),
    (lambda: paper.bounds(float("nan"), 0.1), "MSE >= 0"),
])  # fmt: skip
def test_what_is_not_there_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("kind, form", [("eeg", (200, 63, 250)), ("meg", (200, 271, 200))])
def test_only_recordings_of_the_papers_form_are_comparable(kind, form):
    """200 images of 63 x 250 (EEG) or 271 x 200 (MEG), and one number off is another form."""
    assert paper.comparable(kind, form) and paper.comparable(kind, np.zeros(form).shape)
    for axis in range(3):
        for off in (-1, 1):
            other = [n + off * (i == axis) for i, n in enumerate(form)]
            assert not paper.comparable(kind, tuple(other))
    assert not paper.comparable(kind, form[1:])
    assert not paper.comparable({"eeg": "meg", "meg": "eeg"}[kind], form)
    with pytest.raises(ValueError, match="wanted 'eeg' or 'meg'"):
        paper.comparable("ecog", form)


def test_the_report_takes_its_values_from_here():
    assert report.PAPER["eeg"] == (1, paper.PAPER_EEG)
    assert report.PAPER["meg"] == (4, paper.PAPER_MEG)


# --- the paper's own algebra -------------------------------------------------------------------


def correlated(r, size, rng):
    """Targets and predictions of mean 0, correlation exactly r; the latter `size` times as large
    (standard deviations)."""
    t, noise = rng.standard_normal((2, 500))
    t = (t - t.mean()) / t.std()
    noise -= noise.mean()
    noise -= t * (noise @ t) / (t @ t)
    g = r * t + np.sqrt(1 - r**2) * noise / noise.std()
    return 1.7 * t, 1.7 * size * g


@pytest.mark.parametrize("r", [0.061, 0.188, 0.231, 0.9])
def test_bounds_hold_for_signals_of_any_size_and_are_reached(r):
    rng, ratios, sizes = np.random.default_rng(0), [], np.linspace(0, 3, 301)
    for size in sizes:
        t, g = correlated(r, size, rng)
        mse, zero = np.mean((g - t) ** 2), np.mean(t**2)
        found = paper.bounds(mse, r)
        ratios.append(mse / zero)
        assert zero <= found.target_variance * (1 + 1e-12)
        if 0 < size**2 < found.size * 0.999:
            assert mse < zero
        if size**2 > found.size * 1.001:
            assert mse > zero
    gain = 1 - np.array(ratios)
    assert gain.max() <= paper.bounds(1.0, r).gain + 1e-12
    t, g = correlated(r, r, rng)  # the best size
    mse = np.mean((g - t) ** 2)
    assert 1 - mse / np.mean(t**2) == pytest.approx(paper.bounds(1.0, r).gain, abs=1e-12)
    assert paper.bounds(mse, r).target_variance == pytest.approx(np.mean(t**2), rel=1e-12)


def test_the_bound_of_tables_1_and_4():
    """At the paper's correlations its MSE is at most 3.6 % (EEG) or 1.7 % (MEG) below that of
    zero, and above it unless generated signals have 14.5 % or 6.9 % of the targets' variance."""
    eeg, meg = paper.mean_bounds("eeg"), paper.mean_bounds("meg")
    assert [round(100 * b.gain, 1) for b in (eeg, meg)] == [3.6, 1.7]
    assert [round(100 * b.size, 1) for b in (eeg, meg)] == [14.5, 6.9]
    assert [round(b.target_variance, 3) for b in (eeg, meg)] == [0.225, 0.776]
    by_hand = [(m / (1 - r * r), r * r, 4 * r * r) for m, r in paper.PAPER_MEG.values()]
    assert np.mean(by_hand, axis=0) == pytest.approx([meg.target_variance, meg.gain, meg.size])


def test_a_mean_of_correlations_hides_their_spread():
    """Ten places with r of their own: the gain is the mean of r^2, more than the mean r squared,
    by the variance of r. That is the bound's caveat."""
    rng, rs, mses, zeros = np.random.default_rng(0), np.linspace(0.05, 0.35, 10), [], []
    for r in rs:
        t, g = correlated(r, r, rng)
        mses.append(np.mean((g - t) ** 2))
        zeros.append(np.mean(t**2))
    gain = 1 - sum(mses) / sum(zeros)
    assert gain == pytest.approx(np.mean(rs**2))
    assert gain == pytest.approx(paper.bounds(1.0, rs.mean()).gain + rs.var())
