"""Tables 1, 4 and 6 to 9 from reports whose numbers are known."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from scipy import stats

from tests.kept_figures import keep_figures
from tests.study_reports import finish, report, study
from tinybrain import paper
from tinybrain.study import drawing, others, ways, whole, within
from tinybrain.study.pieces import PAPERS, WAYS, Piece
from tinybrain.uncertainty import Interval


def column(table, name):
    return [row[table.columns.index(name)] for row in table.rows]


def recorded(monkeypatch, *shape):
    """From now on all pieces are of recordings of this shape (n, h, w)."""
    found = SimpleNamespace(recorded=np.broadcast_to(np.float32(0), shape))
    monkeypatch.setattr(within.generated, "read", lambda folder: found)


def test_table_1_has_each_subject_the_baselines_and_the_papers_value(tmp_path):
    of = study(tmp_path, subjects=(2, 5, 11), data="x")
    reports = {2: report(0.5), 5: report(0.7), 11: report(0.6)}
    table = within.table(of, reports, "mse", "")
    assert table.name == "Table 1, EEG, MSE" and "a.u. squared" in table.caption
    assert column(table, "subject") == ["sub-02", "sub-05", "sub-11", "mean", "standard deviation"]
    assert column(table, "one sample")[:3] == [
        Interval(v, v - 0.01, v + 0.02) for v in (0.5, 0.7, 0.6)
    ]
    mean, deviation = column(table, "one sample")[3:]
    student = stats.t.interval(0.95, df=2, loc=0.6, scale=0.1 / 3**0.5)
    assert mean == pytest.approx((0.6, *student))
    assert "Student's t over subjects" in table.notes[0]
    assert deviation == pytest.approx(0.1)
    assert column(table, "conditional mean")[:3] == pytest.approx([0.4, 0.6, 0.5])
    assert column(table, "mean of samples")[0] == pytest.approx(0.45)
    assert column(table, "noise ceiling")[:3] == [0.1] * 3
    assert column(table, "paper") == [0.212, 0.269, None, None, None]  # it has no eleventh
    assert "0.217" in table.notes[-1]


def test_across_images_there_is_no_value_of_the_paper(tmp_path):
    table = within.table(study(tmp_path, data="x"), {1: report(), 2: report()}, "image", "")
    assert "paper" not in table.columns and column(table, "mean of samples")[:2] == [None, None]
    assert column(table, "ridge")[:2] == [0.05, 0.05]
    assert column(table, "ridge")[3] == pytest.approx(0)


def test_a_noise_ceiling_below_zero_is_left_and_explained(tmp_path):
    some = report()
    some["rows"] = [row | {"image": -0.02} if row["name"] == "noise ceiling" else row
                    for row in some["rows"]]
    of, reports = study(tmp_path, data="x"), {1: report(), 2: some}
    for measure, said in (("image", True), ("pattern", False)):
        made = within.table(of, reports, measure, "")
        assert any("halves of few repetitions" in note for note in made.notes) == said
    assert column(within.table(of, reports, "image", ""), "noise ceiling")[:2] == [0.5, -0.02]


def test_the_papers_mean_over_its_subjects_is_what_it_prints():
    values = [within.paper_value("meg", subject, "mse") for subject in (1, 2, 3, 4)]
    assert np.mean(values) == pytest.approx(paper.AVERAGE["meg"][0], abs=1e-3)


def test_of_one_subject_there_is_no_interval_over_subjects(tmp_path):
    made = within.table(study(tmp_path, subjects=(1,)), {1: report(0.5)}, "mse", "")
    assert column(made, "one sample")[1:] == [0.5, None]


FORMS = [("eeg", (200, 63, 250), True), ("eeg", (12, 63, 250), False),
         ("eeg", (200, 32, 250), False), ("eeg", (200, 63, 50), False),
         ("eeg", (200, 271, 200), False), ("meg", (200, 271, 200), True),
         ("meg", (199, 271, 200), False), ("meg", (200, 271, 201), False)]  # fmt: skip


@pytest.mark.parametrize(("kind", "shape", "stand"), FORMS)
def test_the_papers_numbers_stand_beside_recordings_of_its_form_only(
    tmp_path, monkeypatch, kind, shape, stand
):
    """And nowhere beside others: in no table, figure, caption or note but the one that says so."""
    kept, of = keep_figures(monkeypatch, drawing), study(tmp_path, kind, data="x")
    recorded(monkeypatch, *shape)
    for piece in of.pieces(*WAYS):
        finish(of, piece, report())
    why = within.why_left_out(of)
    assert (why == "") == stand
    n, h, w = shape
    assert stand or f"sub-01 has {n} and {h} x {w}." in why
    for module in (within, ways):
        *tables, figure = module.section(of, tmp_path / "figures").body
        named = {text.get_text() for text in kept[-1].legends[0].get_texts()}
        assert ("paper" in named) == stand
        shown = [word for made in tables for word in (*made.columns, *made.notes)]
        assert any("paper" in word for word in shown if word != why) == stand
        assert all(why in made.notes for made in tables) or stand
        assert module is within or ("diamonds" in figure.caption) == stand


def test_one_subject_of_another_form_is_enough_to_leave_the_paper_out(tmp_path, monkeypatch):
    def read(folder):
        shape = (200, 63, 250) if "sub-01" in folder.parts else (150, 63, 250)
        return SimpleNamespace(recorded=np.broadcast_to(np.float32(0), shape))

    monkeypatch.setattr(within.generated, "read", read)
    why = within.why_left_out(study(tmp_path, data="x"))
    assert why.endswith("sub-02 has 150 and 63 x 250.")


def test_the_page_of_everything_says_once_that_the_paper_is_left_out(tmp_path, monkeypatch):
    of, demo = study(tmp_path, data="x"), study(tmp_path)
    recorded(monkeypatch, 12, 32, 50)
    monkeypatch.setattr(whole.report, "verdict", lambda report: "")
    for piece in of.pieces(*WAYS):
        finish(of, piece, report())
    assert whole.summary([of, of]).body[:1] == (within.why_left_out(of),)
    assert whole.summary([of, of]).body[1].startswith("EEG: ")
    assert whole.summary([demo]).body[0] == within.DEMO_NOTE


def with_products(made):
    """As of a model that adds to ridge with products."""
    return made | {"rows": [*made["rows"], {"name": "ridge with products", "mse": 0.35}]}


def test_ridge_with_products_has_a_column_where_a_model_adds_to_it(tmp_path):
    of = study(tmp_path, data="x")
    some = {1: with_products(report()), 2: report()}
    made = within.table(of, some, "mse", "")
    assert made.columns[5:8] == ("ridge", "ridge with products", "noise ceiling")
    assert column(made, "ridge with products") == [0.35, None, None, None]
    assert any("adds to ridge with products" in note for note in made.notes)
    assert "ridge with products" in within.panel(made, "MSE").marks
    left_out = others.table(of, some, some, "mse")
    assert column(left_out, "others' ridge with products")[:2] == [0.35, None]
    assert column(left_out, "noise ceiling")[:2] == [0.1, 0.1]
    without = {1: report(), 2: report()}
    for plain in (within.table(of, without, "mse", ""), others.table(of, without, without, "mse")):
        assert not any("products" in words for words in (*plain.columns, *plain.notes))


def test_a_demo_has_none_of_the_papers_numbers(tmp_path, monkeypatch):
    recorded(monkeypatch, 200, 63, 250)
    for demo in (True, False):
        of = study(tmp_path, **({} if demo else {"data": "x"}))
        both, why = {way: {1: report(), 2: report()} for way in WAYS}, within.why_left_out(of)
        for made in (within.table(of, both[PAPERS], "mse", why),
                     ways.table(of, both, "mse", "one sample", why)):
            written = " ".join((*made.columns, *made.notes[:-1]))
            assert ("paper" in written) != demo
            assert (made.notes[-1] == within.DEMO_NOTE) == demo


def test_an_axis_has_its_unit(tmp_path, monkeypatch):
    kept = keep_figures(monkeypatch, drawing)
    recorded(monkeypatch, 200, 63, 250)
    for of in (study(tmp_path, data="x"), study(tmp_path)):
        for piece in of.pieces(*WAYS):
            finish(of, piece, report())
        for module in (within, ways):
            module.section(of, tmp_path / "figures")
            figure = kept[-1]
            assert [axes.get_ylabel() for axes in figure.axes][:2] == ["MSE (a.u.²)", "PCC"]
            named = {text.get_text() for text in figure.legends[0].get_texts()}
            assert ("paper" in named) != of.demo


def test_ways_are_compared_subject_by_subject(tmp_path):
    of = study(tmp_path, subjects=(1, 2), data="x")
    base = {"addition-1": 0.1, "concatenation-1": 0.2, "cross_attention-1": 0.0,
            "cross_attention-all": -0.1}
    reports = {way: {1: report(0.5 + d), 2: report(0.7 + 2 * d)} for way, d in base.items()}
    table = ways.table(of, reports, "mse", "conditional mean", "")
    assert table.name == "Table 6, EEG, MSE of conditional mean"
    assert column(table, "addition")[:2] == pytest.approx([0.5, 0.8])
    assert column(table, "paper: concatenation")[:2] == [0.193, 0.233]
    *_, apart = column(table, "addition")
    assert apart.value == pytest.approx(0.15)  # of 0.1 and 0.2
    assert (apart.low, apart.high) == pytest.approx(stats.t.interval(0.95, 1, 0.15, 0.05))
    assert "differences Student's t over subjects" in table.notes[0]
    assert column(table, "cross-attention, 1 token")[-1] is None
    assert column(table, "cross-attention, all tokens")[-1].value == pytest.approx(-0.15)
    assert column(table, "paper: addition")[2].value == pytest.approx((0.188 + 0.221) / 2)
    assert "paper: cross-attention" in table.columns and len(table.columns) == 8


def test_without_a_conditional_mean_the_mean_of_samples_stands_there():
    plain = report(0.5)
    plain["rows"] = [row for row in plain["rows"] if row["name"] != "conditional mean"]
    plain["rows"].append({"name": "conditional mean"})
    assert ways.values(plain, "mse", "conditional mean") == pytest.approx(0.45)


@pytest.mark.parametrize("kind", ["eeg", "meg"])
def test_the_figures_show_all_that_the_tables_have(tmp_path, monkeypatch, kind):
    of = study(tmp_path, kind, data="x")
    recorded(monkeypatch, *paper.FORM[kind])
    for piece in of.pieces(*WAYS):
        finish(of, piece, report(0.4 + 0.1 * piece.subject))
    for module, many in ((within, 3), (ways, 4)):
        section = module.section(of, tmp_path / "figures")
        assert len(section.tables) == many
        with Image.open(section.body[-1].path) as image:
            assert image.size[0] > 800 and np.ptp(np.asarray(image.convert("L"))) > 200
        assert "Student's t over subjects" in section.body[-1].caption
    assert of.folder(Piece(kind, 1)).name == "cross_attention-1"
