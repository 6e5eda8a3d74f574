"""Every example does what its first words say, in miniature, as a person would call it.

Here are those that no other test runs, and what all of them have in common.
"""

from __future__ import annotations

import ast
import contextlib
import io
import json
import re
import runpy
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.test_model_card import ROOT
from tinybrain import cohort, command_line, experiment, things
from tinybrain.pipeline import ImageToBrain
from tinybrain.things import demo

EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
FEW = {"train_concepts": 6, "train_images": 2, "test_concepts": 4, "test_repeats": 4,
       "image_size": 24}
SMALL = {"eeg": FEW | {"sensors": ("O1", "Oz", "O2", "Pz", "Cz"), "points": 20}, "meg": FEW}


@pytest.fixture
def call(tmp_path, monkeypatch, capsys):
    """An example's `main` in an empty folder, where demos are small; what it printed."""
    make = demo.make_demo

    def small(root, kind="eeg", **settings):
        return make(root, kind, **SMALL[kind] | settings)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # for the processes that some start
    monkeypatch.syspath_prepend(ROOT / "examples")  # where Python looks first, called as a script
    monkeypatch.setattr(things, "make_demo", small)
    monkeypatch.setattr(demo, "make_demo", small)

    def run(name, *words):
        monkeypatch.setattr(sys, "argv", [str(ROOT / "examples" / name), *map(str, words)])
        runpy.run_path(sys.argv[0], run_name="__main__")
        return capsys.readouterr().out

    return run


@pytest.fixture
def here(monkeypatch):
    """What an example starts a process for is done in this one, where all is imported already."""
    def run(command, **_):
        said = io.StringIO()
        with monkeypatch.context() as patched, contextlib.redirect_stdout(said):
            patched.setattr(sys, "argv", [str(word) for word in command[1:]])
            runpy.run_path(sys.argv[0], run_name="__main__")
        return subprocess.CompletedProcess(command, 0, said.getvalue())

    monkeypatch.setattr(subprocess, "run", run)


def cells(table):
    """Rows of a Markdown table, without its head."""
    lines = [line for line in table.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


# What all have in common


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_help_is_the_examples_own_words(path, call, capsys):
    """And the folder where somebody asks for it stays empty."""
    with pytest.raises(SystemExit) as end:
        call(path.name, "--help")
    said, words = capsys.readouterr().out, ast.get_docstring(ast.parse(path.read_text("utf-8")))
    assert end.value.code == 0 and words in said and f"examples/{path.name}" in words
    assert not list(Path().iterdir())


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_all_end_in_the_same_way(path):
    """By `command_line.run`: one line for what a person can mend."""
    last = path.read_text("utf-8").split('if __name__ == "__main__":\n')[1]
    assert re.fullmatch(r"    command_line\.run\(main(, command_line\.AGAIN)?\)\n", last)


@pytest.mark.parametrize(("problem", "said"), [
    (ValueError("--trials is 0"), "x.py: --trials is 0"),
    (ImportError("no mne"), "x.py: no mne"), (OSError("disk full"), "x.py: disk full"),
    (MemoryError(), "x.py: MemoryError"), (KeyboardInterrupt(), "x.py: stopped"),
    (KeyboardInterrupt("stopped at step 3"), "x.py: stopped at step 3"),
])  # fmt: skip
def test_what_a_person_can_mend_ends_in_one_line(monkeypatch, problem, said):
    def main():
        raise problem

    monkeypatch.setattr(sys, "argv", ["examples/x.py"])
    with pytest.raises(SystemExit) as end:
        command_line.run(main)
    assert end.value.code == said


@pytest.mark.parametrize(("words", "said"), [
    (("train_eeg.py", "--trials", 0), "--trials is 0; wanted 1 or more"),
    (("train_eeg.py", "--epochs", 0), "--epochs is 0; wanted 1 or more"),
    (("train_eeg.py", "--lr", 0), "--lr is 0; wanted a number above 0"),
    (("train_meg.py", "--batch-size", -4), "--batch-size is -4; wanted 1 or more"),
    (("train_meg.py", "--steps", 2.5), "--steps is 2.5; wanted a whole number, 1 or more"),
    (("train_meg.py", "--micro-batch", 0), "--micro-batch is 0; wanted 1 or more"),
    (("train_meg.py", "--heldout", 5), "--heldout is 5; wanted a share from 0 to 0.5"),
    (("train_meg.py", "--heldout", "few"), "--heldout is few; wanted a share from 0 to 0.5"),
    (("evaluate.py", "--trials", 0), "--trials is 0; wanted 1 or more"),
    (("reproduce_paper.py", "--lr", "nan"), "--lr is nan; wanted a number above 0"),
    (("cross_subject.py", "--epochs", 0), "--epochs is 0; wanted 1 or more"),
    (("generate.py", "model.pt", "x", "--out", "y", "--trials", 0), "--trials is 0; wanted 1"),
    (("encode_images.py", "x", "--out", "y", "--batch-size", 0), "--batch-size is 0; wanted 1"),
    (("prepare_eeg.py", "x", "--out", "y", "--repeats", 2, 0), "--repeats is 0; wanted 1 or more"),
    (("ablate.py", "--epochs", 0), "--epochs is 0; wanted 1 or more"),
    (("benchmark.py", "--rounds", 0), "--rounds is 0; wanted 1 or more"),
])  # fmt: skip
def test_numbers_that_cannot_be_are_refused_before_anything_is_read(call, capsys, words, said):
    with pytest.raises(SystemExit) as end:
        call(*words)
    line = capsys.readouterr().err
    assert end.value.code == 2 and line.startswith(f"{words[0]}: {said}") and line.count("\n") == 1
    assert not list(Path().iterdir())


def test_a_warning_of_ours_is_a_line_and_others_are_as_ever(monkeypatch, capsys):
    usual = warnings.formatwarning

    def main():
        for file in (command_line.__file__, "examples/x.py", "/elsewhere/torch.py"):
            print(warnings.formatwarning("look out", UserWarning, file, 3, "code"), end="")

    monkeypatch.setattr(sys, "argv", ["examples/x.py"])
    command_line.run(main)
    assert capsys.readouterr().out == (
        2 * "x.py: warning: look out\n" + "/elsewhere/torch.py:3: UserWarning: look out\n  code\n")
    assert warnings.formatwarning is usual


def test_a_fault_of_the_program_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        command_line.run(lambda: 1 / 0)


# Training


@pytest.mark.parametrize(("name", "run", "shape"), [
    ("train_eeg.py", "demo", (5, 20)), ("train_meg.py", "demo-meg", (271, 200)),
])  # fmt: skip
def test_training_on_the_demo(call, monkeypatch, name, run, shape):
    for figures in ("draw", "draw_report"):  # take seconds, tested with `run`
        monkeypatch.setattr(experiment, figures, lambda *_: {})
    monkeypatch.setattr(experiment.figures, "plot_loss", lambda *_, **__: None)
    out = call(name, "--epochs", 1, "--steps", 1, "--trials", 2, "--heldout", 0.4,
               "--device", "cpu")
    folder = Path("runs", run)
    model = ImageToBrain.load(folder / "model.pt")
    assert model.shape == shape and model.card["epoch"] == 1
    report = json.loads((folder / "report.json").read_text())
    assert "truth (best possible)" in [row["name"] for row in report["rows"]]
    assert f"training {sum(p.numel() for p in model.unet.parameters()):,} parameters" in out
    assert "THINGS-" in out and "model runs" in out


@pytest.mark.parametrize(("kind", "words", "name", "data"), [
    ("eeg", (), "demo", "demo-data"), ("meg", (), "demo-meg", "demo-data-meg"),
    ("eeg", ("--subjects", 1, 2), "demo-1+2", "demo-data-of-2"),
    ("meg", ("--subjects", 1, 2, "--leave-out", 1), "demo-meg-2-without-1", "demo-data-meg-of-2"),
    ("eeg", ("--data", "x", "--subject", 3), "3", "x"),
    ("meg", ("--data", "x", "--subject", 3), "meg-3", "x"),
])  # fmt: skip
def test_names_of_runs_and_demos(monkeypatch, kind, words, name, data):
    read = []
    monkeypatch.setattr(cohort, "demo", lambda args, root, kind: (
        root.with_name(f"{root.name}-of-{max(args.subjects)}") if args.subjects else root, None))
    monkeypatch.setattr(cohort, "together", lambda parts, names: names)
    args = experiment.arguments("", "THINGS").parse_args([str(word) for word in words])
    asked = cohort.recordings(args, kind, str, lambda root, *_, repeats: read.append(root))
    assert asked.name == name and {root.name for root in read} == {data}


# What it is worth, and how fast


def test_one_ingredient_of_the_recipe(call):
    words = ("--only", "recipe", "no residual", "--seeds", 0, "--epochs", 1)
    out = call("ablate.py", *words)
    rows = cells(out)
    assert [row[0] for row in rows] == ["ridge", "ridge with products, no network", "recipe",
                                        "no residual", "best possible"]
    assert rows[0][3] == "0 %" and rows[-1][3] == "100 %"
    kept = Path("runs/ablation/attributes/recipe-0/result.json").read_text()
    assert float(rows[2][2]) == pytest.approx(np.mean(json.loads(kept)["errors"]), abs=1e-4)
    again = call("ablate.py", *words)
    assert cells(again) == rows and "epoch 1" not in again  # nothing is trained twice


def test_the_unet_beside_diffusers(call, here):
    jobs = ["training step"]
    rows = cells(call(
        "benchmark.py", "--channels", 32, 32, 32, 32, "--size", 16, 16, "--batch", 1, "--rounds", 1,
        "--steps", 1, "--device", "cpu", "--jobs", *jobs,
    ))  # fmt: skip
    assert [row[0] for row in rows] == jobs
    for _, ours, theirs, ratio, mine, other, _ in rows:
        ours, theirs = (float(cell.split()[0]) for cell in (ours, theirs))
        assert float(ratio) == pytest.approx(theirs / ours, abs=0.5) and min(ours, theirs) > 0
        assert mine.endswith("MiB") and other.endswith("MiB")


def test_clip_beside_transformers(call, here, tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for name in "ab":
        Image.fromarray(rng.integers(0, 256, (40, 50, 3), np.uint8)).save(f"photos/{name}.jpg")
    out = call("benchmark_clip.py", "--source", "photos", "--tower", "small", "--images", 4,
               "--batch", 2, "--rounds", 1, "--precisions", "float32", "--device", "cpu")
    rows = cells(out)
    assert [row[0] for row in rows] == ["tinybrain float32", "transformers float32"]
    assert float(rows[0][4]) == 0 and float(rows[1][4]) < 0.05  # largest difference


def test_whitening_and_resampling_beside_others(call):
    out = call("benchmark_things.py", "--conditions", 20, "--epochs", 4, "--rounds", 1)
    rows = cells(out)
    assert [row[0] for row in rows] == ["whitening", "resampling"]
    assert rows[0][1] == "20 x 2 x 63 x 250" and "scikit-learn" in rows[0][3]
    assert rows[1][1] == "4 x 64 x 1201" and "mne" in rows[1][3]


def test_scalp_maps_beside_mnes(call):
    rows = cells(call("benchmark_topography.py", "--rounds", 1, "--kinds", "eeg"))
    assert [row[0] for row in rows] == ["63 EEG"]
    assert float(rows[0][4]) > 0.99  # the same maps
