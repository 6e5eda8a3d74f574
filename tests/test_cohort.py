"""Several subjects on one command line: what is read, what each is judged on, the averages."""

from __future__ import annotations

import copy
import json
import types

import numpy as np
import pytest
from scipy import stats

from tests.test_subjects import PEOPLE
from tinybrain import cohort, contexts, experiment, topography
from tinybrain.pipeline import ImageToBrain
from tinybrain.subjects import Subjects, together
from tinybrain.things import EEG2, make_demo
from tinybrain.things.demo import read_truth

FEW = {"train_concepts": 5, "train_images": 2, "test_concepts": 3, "test_repeats": 4}
NAME = "sub-{:02d}".format


def parse(*words):
    return experiment.arguments("", "THINGS").parse_args([str(word) for word in words])


def reader(number, split, repeats):
    told = {"summary": f"{number} {split} {repeats}"}
    return types.SimpleNamespace(**{**vars(PEOPLE[number - 1]), **told})


@pytest.mark.parametrize("words, train, test, name", [
    (("--subject", 2), "2 train mean", "2 test single", "sub-02"),
    (("--subjects", 1, 3), "sub-01: 1 train mean; sub-03: 3 train mean",
     "sub-01: 1 test single; sub-03: 3 test single", "sub-01+sub-03"),
    (("--subjects", 1, 2, 3, "--leave-out", 2), "sub-01: 1 train mean; sub-03: 3 train mean",
     "2 test single", "sub-01+sub-03-without-sub-02"),
    (("--subjects", 1, 2, "--leave-out", 1), "sub-02: 2 train mean", "1 test single",
     "sub-02-without-sub-01"),
])  # fmt: skip
def test_the_command_line_says_who_is_learned_from_and_who_is_judged(words, train, test, name):
    args = parse(*words)
    found = cohort.read(args, NAME, reader)
    assert [recording.summary for recording in found] == [train, test]
    assert cohort.run_name(args, NAME) == name
    assert isinstance(found[0], Subjects) == (words[0] == "--subjects")
    assert isinstance(found[1], Subjects) == (words[0] == "--subjects" and len(words) == 3)


@pytest.mark.parametrize("words, message", [
    (("--subjects", 1, 2, 1), "each of them once"),
    (("--subjects", 1, 2, "--leave-out", 3), "--leave-out 3: wanted one of --subjects"),
    (("--leave-out", 1), "--leave-out 1: wanted one of --subjects"),
    (("--subjects", 1, "--leave-out", 1), "of two or more"),
])  # fmt: skip
def test_command_lines_that_cannot_be_are_refused(words, message):
    with pytest.raises(ValueError, match=message):
        cohort.read(parse(*words), NAME, reader)


def test_numbers_above_the_reports_are_means_of_what_all_have():
    reports = {
        "a": {"rows": [{"name": "zero", "mse": 1.0, "pattern": None}, {"name": "ridge", "mse": 2.0},
                       {"name": "ridge with products", "mse": 9.0}]},
        "b": {"rows": [{"name": "zero", "mse": 4.0, "pattern": 0.5},
                       {"name": "ridge", "mse": 3.0, "r2": 0.1}]},
    }  # fmt: skip
    def student(off):  # of two numbers, this far from their mean
        return pytest.approx(stats.t.interval(0.95, df=1, loc=2.5, scale=off))

    assert cohort.mean_rows(reports) == [
        {"name": "zero", "mse": 2.5, "intervals": {"mse": student(1.5)}},
        {"name": "ridge", "mse": 2.5, "intervals": {"mse": student(0.5)}},
    ]
    (one, _, _), alone = cohort.mean_rows({"a": reports["a"]}), {"mse": 1.0, "intervals": {}}
    assert one == {"name": "zero"} | alone  # no interval of one subject


def test_the_page_above_the_reports_says_what_its_intervals_are(tmp_path, monkeypatch):
    monkeypatch.setattr(cohort.report, "verdict", lambda report: "")
    rows = [{"name": "zero", "mse": value, "pattern": 0.1} for value in (0.056, 0.063)]
    reports = {f"sub-0{i}": {"rows": [row]} for i, row in enumerate(rows, 1)}
    page = cohort.overview(reports, tmp_path).read_text("utf-8")
    assert "95 % intervals, Student's t over subjects" in page and "bootstrap" not in page
    assert "0.0595 [0.0150, 0.1040]" in page


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """A demo, and a second subject who answers to the same images in another way."""
    data = make_demo(tmp_path_factory.mktemp("data") / "demo", **FEW, points=12,
                     sensors=("O1", "Oz", "O2", "Pz"))  # fmt: skip
    found, truth = {}, read_truth(data).test
    for split, repeats in (("train", "mean"), ("test", "single")):
        one = EEG2(data, 1, split, repeats=repeats)
        other = copy.copy(one)
        other.signals = np.flip(2 * one.signals, axis=-2).copy()
        found[split] = (one, other)
    return found, (truth, np.flip(2 * truth, axis=1))


WORDS = ("--channels", 8, 8, "--epochs", 1, "--trials", 2, "--steps", 3, "--heldout", 0.4,
         "--device", "cpu")  # fmt: skip


def test_one_model_of_two_is_judged_on_each(two, tmp_path, monkeypatch):
    recordings, truth = two
    names, encoded, encode = ("sub-01", "sub-02"), [], contexts.features.encode
    monkeypatch.setattr(contexts.features, "encode", lambda clip, images, **how: (
        encoded.append(len(images)) or encode(clip, images, **how)))  # fmt: skip
    for module, slow in ((experiment.figures, "animate_denoising"),
                         (topography, "plot_topographies")):
        monkeypatch.setattr(module, slow, lambda *given, **how: None)
    train, test = (together(recordings[split], names) for split in ("train", "test"))
    experiment.run(parse(*WORDS), train, test, tmp_path, np.concatenate(truth))
    assert encoded == [10, 3]  # each image once
    model = ImageToBrain.load(tmp_path / "model.pt")
    assert model.subjects == names and list(model.card["report"]) == list(names)
    reports = {name: json.loads((tmp_path / name / "report.json").read_text()) for name in names}
    for name, known in zip(names, truth):
        rows = {row["name"]: row for row in reports[name]["rows"]}
        target = test.of(name).signals.mean(1)
        erp = train.of(name).signals.mean(0)
        assert rows["mean ERP"]["mse"] == pytest.approx(((erp - target) ** 2).mean(), rel=1e-4)
        best = rows["truth (best possible)"]["mse"]
        assert best == pytest.approx(((known - target) ** 2).mean(), rel=1e-4)
        guess = model.mean(test.of(name).images, subject=name).data[:, 0]
        found = rows["conditional mean"]["mse"]
        assert found == pytest.approx(((guess - target) ** 2).mean(), rel=1e-3)
        assert "(../loss.png)" in (tmp_path / name / "report.md").read_text()
    above = json.loads((tmp_path / "report.json").read_text())
    mean = np.mean([reports[name]["rows"][1]["mse"] for name in names])
    assert above["rows"][1]["mse"] == pytest.approx(mean)
    page = (tmp_path / "report.md").read_text()
    assert "- [sub-02](sub-02/report.md): " in page and "| mean ERP" in page
    assert not (tmp_path / "sub-01" / "model.pt").exists()


def test_somebody_left_out_is_judged_by_what_others_say(two, tmp_path, monkeypatch):
    recordings, truth = two
    monkeypatch.setattr(experiment, "draw", lambda *given: {})
    train, names = recordings["train"], ("sub-02", "sub-03")
    others = together([train[1], train[1]], names)
    test = recordings["test"][0]
    experiment.run(parse(*WORDS), others, test, tmp_path, truth[0])
    rows = {row["name"]: row for row in json.loads((tmp_path / "report.json").read_text())["rows"]}
    target, erp = test.signals.mean(1), train[1].signals.mean(0)
    assert rows["mean ERP"]["mse"] == pytest.approx(((erp - target) ** 2).mean(), rel=1e-4)
    model = ImageToBrain.load(tmp_path / "model.pt")
    guess = model.mean(test.images).data[:, 0]  # of nobody in particular
    wanted = ((guess - target) ** 2).mean()
    assert rows["conditional mean"]["mse"] == pytest.approx(wanted, rel=1e-3)
