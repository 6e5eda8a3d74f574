"""The report: its numbers, its words, its files."""

import dataclasses
import json
import types

import numpy as np
import pytest
import torch

from tests.test_train import CONFIG, prepared, recording
from tinybrain import report
from tinybrain.encoder import Encoder
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
    assert names == ["zero", "mean ERP", "ridge", "one sample", "mean of 3 samples",
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
    within = test.signals.var(axis=1, ddof=1).mean() / 20
    assert row(evaluation, "noise ceiling")["mse"] == pytest.approx(within, rel=1e-4)


def test_an_untrained_residual_model_is_its_ridge(evaluation):
    """Its network answers zero: the conditional mean is ridge plus the residual's mean."""
    ridge, mean = row(evaluation, "ridge"), row(evaluation, "conditional mean")
    assert mean["mse"] == pytest.approx(ridge["mse"], rel=0.05)


def test_files(evaluation, tmp_path):
    path = report.write(evaluation[1].report, tmp_path, {"A caption": "figure.png"})
    text, data = path.read_text(), json.loads((tmp_path / "report.json").read_text())
    assert "| conditional mean" in text
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
    assert "no conditional mean" in text
    assert "Mean of 2 samples: MSE" in text


@pytest.mark.parametrize("shape, subject, there", [
    ((63, 250), 8, True), ((63, 250), 11, False), ((63, 250), None, False), ((32, 250), 8, False),
])  # fmt: skip
def test_the_paper_s_value_stands_beside_the_paper_s_data_only(shape, subject, there, monkeypatch):
    model, *_ = prepared(heldout=0.0)
    data, context = recording()
    data.summary, data.repeats = "train", 1
    test = types.SimpleNamespace(signals=data.signals[:4, None], repeats=1, summary="test")
    monkeypatch.setattr(type(model), "shape", property(lambda self: shape))
    monkeypatch.setattr(model, "generate", lambda *a, **k: types.SimpleNamespace(
        data=np.ones((4, 2, 3, 8))))
    monkeypatch.setattr(model, "mean", lambda *a: types.SimpleNamespace(data=np.ones((4, 1, 3, 8))))
    result = report.evaluate(model, data, context, test, context[:4], trials=2, subject=subject)
    last = result.report["rows"][-1]
    assert last["name"].startswith("the paper") == there
    assert not there or (last["mse"], last["pattern"]) == (0.200, 0.231)
    text = report.table(result.report["rows"])
    assert len({len(line) for line in text.splitlines()}) == 1  # aligned


def test_a_single_sample_has_one_row_and_no_way_to_the_ceiling(evaluation):
    *_, test, _ = evaluation
    data, context = recording()
    data.summary, data.repeats = "train of the test", 4
    paper, *_ = prepared(PAPER, heldout=0.0)
    one = report.evaluate(paper, data, context, test, context[:6], trials=1).report
    assert [r["name"] for r in one["rows"]].count("one sample") == 1
    assert not any("mean of" in r["name"] for r in one["rows"])
    assert report.verdict(one).startswith("One sample: MSE")
    assert "of the way" not in report.verdict(one)
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
