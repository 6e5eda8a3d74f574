"""The report: its numbers, its words, its files."""

import dataclasses
import json
import types

import numpy as np
import pytest
import torch
from PIL import Image

from tests.test_train import CONFIG, prepared, recording
from tinybrain import report, report_figures
from tinybrain.encoder import Encoder
from tinybrain.paper import FORM
from tinybrain.pipeline import ImageToBrain
from tinybrain.recipes import PAPER
from tinybrain.unet import CrossAttention


@pytest.fixture(scope="module")
def evaluation():
    model, *_ = prepared(heldout=0.0)
    data, context = recording()
    data.summary, data.repeats = "train of the test", 4
    truth = data.signals[:6] * 0.5
    noise = np.random.default_rng(1).normal(size=(6, 20, 3, 8)).astype(np.float32)
    test = types.SimpleNamespace(
        signals=truth[:, None] + noise,
        repeats=20,
        summary="test of the test",
        images=(),
        concepts=(),
    )
    return model, report.evaluate(
        model, data, context, test, context[:6], trials=3, truth=truth
    ), test, truth


def row(evaluation, name):
    return next(r for r in evaluation[1].report["rows"] if r["name"] == name)


def test_every_row_is_there_and_its_numbers_are_what_they_say(evaluation):
    _, result, test, truth = evaluation
    target, train = test.signals.mean(1), recording()[0].signals
    names = [r["name"] for r in result.report["rows"]]
    assert names == ["zero", "mean ERP", "ridge", "one sample", "one sample, perfect sampler",
                     "mean of 3 samples", "mean of 3 samples, perfect sampler",
                     "conditional mean", "truth (best possible)", "noise ceiling"]
    for name, guess in {
        "zero": 0 * target, "mean ERP": train.mean(0), "one sample": result.samples[:, 0],
        "mean of 3 samples": result.samples.mean(1), "truth (best possible)": truth,
        "conditional mean": result.mean,
    }.items():
        assert row(evaluation, name)["mse"] == pytest.approx(
            ((guess - target) ** 2).mean(), rel=1e-5
        )
    assert row(evaluation, "mean ERP")["r2"] == pytest.approx(0, abs=1e-9)
    noise = test.signals.var(axis=1, ddof=1).mean()
    for name, share in {"noise ceiling": 1 / 20, "one sample, perfect sampler": 1 / 4 + 1 / 20,
                        "mean of 3 samples, perfect sampler": 1 / 12 + 1 / 20}.items():
        assert row(evaluation, name)["mse"] == pytest.approx(noise * share, rel=1e-4)
    zero, ridge, mean = (row(evaluation, name) for name in ("zero", "ridge", "conditional mean"))
    assert mean["r2_zero"] == pytest.approx(1 - mean["mse"] / zero["mse"])
    assert mean["r2_ridge"] == pytest.approx(1 - mean["mse"] / ridge["mse"])


def test_an_evaluation_is_shown_as_its_table(evaluation):
    assert repr(evaluation[1]) == report.table(evaluation[1].report["rows"])


def test_an_untrained_residual_model_is_its_ridge(evaluation):
    """Its network answers zero: the conditional mean is ridge plus the residual's mean."""
    ridge, mean = row(evaluation, "ridge"), row(evaluation, "conditional mean")
    assert mean["mse"] == pytest.approx(ridge["mse"], rel=0.05)


def test_the_verdict_says_what_the_network_adds_to(evaluation):
    model, result, *_ = evaluation
    assert result.report["verdict"]["adds_to"]["name"] == model.encoding.name
    assert f"{model.encoding.name}, which it adds to (" in report.verdict(result.report)


def test_the_page_says_why_an_epoch_is_kept_and_how_the_truth_differs(evaluation):
    made = evaluation[1].report | {"epoch": 7}
    assert "epoch 7, the last, is kept" in report.to_markdown(made, {})
    watched = made | {"recipe": made["recipe"] | {"heldout": 0.05}}
    assert ("epoch 7 is kept, the last whose held-out MSE is within 0.1 % of the least"
            in report.to_markdown(watched, {}))
    unwatched = made | {"recipe": watched["recipe"] | {"zero_terminal_snr": False}}
    assert "epoch 7, the last, is kept" in report.to_markdown(unwatched, {})
    said = "The truth is known, for these recordings are simulated"
    assert said in report.to_markdown(made, {})
    real = made | {"rows": [r for r in made["rows"] if not r["name"].startswith("truth")]}
    assert said not in report.to_markdown(real, {})


def test_files(evaluation, tmp_path):
    path = report.write(evaluation[1].report, tmp_path, {"A caption": "figure.png"})
    text, data = path.read_text(), json.loads((tmp_path / "report.json").read_text())
    assert "| conditional mean" in text
    assert text.splitlines()[2] == report.verdict(evaluation[1].report)
    low, high = row(evaluation, "one sample")["intervals"]["mse"]
    assert f"{row(evaluation, 'one sample')['mse']:.4f} [{low:.4f}, {high:.4f}]" in text
    for part in ("Which image was it?", "Could samples be recordings?", "Did the image matter?",
                 "Spearman-Brown", "seed 0"):
        assert part in text
    assert "![A caption](figure.png)" in text
    assert "average 4 repetitions, test targets 20" in text
    zero = data["rows"][0]
    assert zero["mse"] == row(evaluation, "zero")["mse"]
    assert zero["pattern"] is None  # a constant has no correlation


def test_a_model_carries_its_report(evaluation, tmp_path):
    model, result, *_ = evaluation
    model.card["report"] = report.plain(result.report)
    rows = type(model).load(model.save(tmp_path / "model.pt")).card["report"]["rows"]
    assert rows[1]["mse"] == row(evaluation, "mean ERP")["mse"]


def test_without_zero_terminal_snr_there_is_no_conditional_mean():
    model, *_ = prepared(PAPER, heldout=0.0)
    data, context = recording()
    data.summary, data.repeats = "train", 1
    test = types.SimpleNamespace(signals=data.signals[:4, None], repeats=1, summary="test")
    result = report.evaluate(model, data, context, test, context[:4], trials=2)
    rows = {r["name"]: r for r in result.report["rows"]}
    assert "mse" not in rows["conditional mean"]
    assert "noise ceiling" not in rows
    np.testing.assert_array_equal(result.mean, result.samples.mean(1))
    text = report.to_markdown(result.report, {})
    assert "There is no conditional mean" in text
    assert "Mean of 2 samples: MSE" in text
    assert "There is no noise ceiling" in text and "Not tested: a training target averages" in text


@pytest.mark.parametrize("images, shape, subject, there", [
    (3, (63, 250), 8, True), (3, (63, 250), 11, False), (3, (63, 250), None, False),
    (3, (32, 250), 8, False), (200, (63, 250), 8, False),
])  # fmt: skip
def test_the_paper_s_value_stands_beside_the_paper_s_data_only(
    images, shape, subject, there, monkeypatch
):
    """As if the paper's test had so many images: here are three."""
    monkeypatch.setitem(FORM, "eeg", (images, 63, 250))
    rng = np.random.default_rng(0)
    train = types.SimpleNamespace(
        signals=rng.normal(size=(3, *shape)), repeats=1, sensors=("A",) * shape[0], kind="eeg",
        times=np.arange(shape[1]) / 250, unit="a.u.", summary="train",
    )
    test = types.SimpleNamespace(signals=rng.normal(size=(3, 1, *shape)), repeats=1, summary="")
    made = report.judge(rng.normal(size=(3, 2, *shape)), None, train, test, subject=subject)
    last = made["rows"][-1]
    assert last["name"].startswith("the paper") == there
    assert not there or (last["mse"], last["pattern"]) == (0.200, 0.231)
    text = report.table(made["rows"])
    assert len({len(line) for line in text.splitlines()}) == 1  # aligned


def test_a_single_sample_has_one_row_and_no_way_to_the_ceiling(evaluation):
    *_, test, _ = evaluation
    data, context = recording()
    data.summary, data.repeats = "train of the test", 4
    paper, *_ = prepared(PAPER, heldout=0.0)
    one = report.evaluate(paper, data, context, test, context[:6], trials=1).report
    assert [r["name"] for r in one["rows"]].count("one sample") == 1
    assert not any("mean of" in r["name"] for r in one["rows"])
    assert set(one["image_effect"]) == {"one sample"}
    assert report.verdict(one).startswith("One sample: MSE")
    assert not any("mean of" in name for name in one["identification"]["by"])
    assert "1 trial an image" in report.to_markdown(one, {})


def test_attention_to_the_words_is_a_share_where_it_is_a_question():
    data, context = recording()
    both = torch.cat([context, context.flip(0)], dim=1)                        # (n, 2, d)
    model, _ = ImageToBrain.prepare(
        prepared()[0].recipe, CONFIG, data, both, Encoder("features", "image+text", source="test")
    )
    for layer in model.unet.modules():
        if isinstance(layer, CrossAttention):
            torch.nn.init.zeros_(layer.k.weight)  # every query then weighs both alike
    share = report.attention_to_words(model, both)
    assert share == pytest.approx({"mean": 0.5, "least": 0.5, "most": 0.5})
    model.encoder = dataclasses.replace(model.encoder, context="image")
    assert report.attention_to_words(model, both) is None


def test_the_figures_are_drawn_from_the_report_as_read(evaluation, tmp_path):
    read = json.loads(json.dumps(report.plain(evaluation[1].report)))
    drawn = report_figures.draw_report(read, tmp_path)
    assert set(drawn.values()) == {path.name for path in tmp_path.iterdir()} == {
        "scores.png", "curves.png", "identification.png", "realism.png"}
    explained = [caption for caption in drawn if "fall below zero" in caption]
    assert [drawn[caption] for caption in explained] == ["curves.png"]
    assert not any("fall below" in c for c in report_figures.draw_report(
        read | {"ceiling": None}, tmp_path))
    for name in drawn.values():
        with Image.open(tmp_path / name) as picture:
            assert len(picture.convert("RGB").getcolors(10**6)) > 50, name


def test_what_a_figure_shows_is_in_the_report(evaluation, tmp_path, monkeypatch):
    kept = []
    monkeypatch.setattr(report_figures, "save_figure", lambda figure, path: kept.append(figure))
    made = evaluation[1].report
    for plot in (report_figures.plot_scores, report_figures.plot_curves,
                 report_figures.plot_identification, report_figures.plot_realism):
        plot(made, tmp_path / "none.png")
    scores, curves, growth, realism = kept
    left, right = scores.axes
    names = [label.get_text() for label in left.get_yticklabels()]
    assert names == [r["name"] for r in made["rows"]]
    dots = [line for line in left.lines if line.get_marker() == "o"]
    assert [line.get_xdata()[0] for line in dots] == [r["mse"] for r in made["rows"]]
    bars = [tuple(line.get_xdata()) for line in left.lines if len(line.get_xdata()) == 2]
    assert tuple(row(evaluation, "ridge")["intervals"]["mse"]) in bars
    assert [text.get_text() for text in right.texts] == ["undefined"] * 2  # zero and mean ERP
    lines = {line.get_label(): line.get_ydata() for line in curves.axes[1].lines}
    np.testing.assert_array_equal(lines["ridge"], made["curves"]["ridge"]["times"])
    lines = {line.get_label(): line for line in growth.axes[0].lines}
    by = made["identification"]["by"]["conditional mean"]["growth"]
    assert lines["conditional mean"].get_xdata().tolist() == [int(size) for size in by]
    assert lines["conditional mean"].get_ydata().tolist() == [top[0] for top in by.values()]
    ratio = {line.get_label(): line.get_ydata() for line in realism.axes[2].lines}
    assert sorted(made["realism"]["curves"]["variance"]["generated"]) in [
        list(values) for values in ratio.values()]


def test_a_report_with_nothing_to_draw_has_the_scores_alone(evaluation, tmp_path):
    made = evaluation[1].report | {"identification": {"reason": "a"}, "realism": {"reason": "b"}}
    made["curves"] = {"times": made["curves"]["times"]}
    assert set(report_figures.draw_report(made, tmp_path).values()) == {"scores.png"}


def test_zero_has_no_sign_in_a_table():
    bounds = {"image": (-0.1, -1e-5)}
    rows = [{"name": "ridge", "mse": -1e-9, "image": -0.0004, "intervals": bounds}]
    assert report.table(rows, ("mse", "image"), intervals=True).splitlines()[-1] == (
        "| ridge | 0.0000 | 0.000 [-0.100, 0.000] |"
    )
