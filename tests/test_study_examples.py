"""The examples of the study, from recordings to pages, on a miniature; stopped and continued."""

from __future__ import annotations

import runpy
import shutil
import sys
from pathlib import Path

import pytest

from tinybrain.study import command, pieces, plan
from tinybrain.things import make_demo

EXAMPLES = Path(__file__).parents[1] / "examples"
SENSORS = ("O1", "Oz", "O2", "Pz", "Cz")


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """Two subjects who saw few images, and networks of a second."""
    few = {"train_concepts": 6, "train_images": 2, "test_concepts": 8, "test_repeats": 4,
           "sensors": SENSORS, "points": 20, "rate": 50.0}
    own = {"epochs": 1, "batch_size": 8, "heldout": 0.4, "steps": 3}
    monkeypatch.setattr(command, "DEMO_SUBJECTS", {"eeg": (1, 2), "meg": (1,)})
    monkeypatch.setattr(command, "DEMO_DATA", {"eeg": few})
    monkeypatch.setattr(command, "DEMO_RUN", {"eeg": own})
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(name, *words, monkeypatch):
    words = ("--only", "eeg", "--out", "out", "--channels", "8", "8", "--device", "cpu", *words)
    monkeypatch.setattr(sys, "argv", [name, *words])
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")


def test_one_study_by_all_examples(tiny, monkeypatch, capsys):
    made, learn = [], pieces.experiment.learn

    def counted(args, train, test, folder, *rest):
        made.append(folder.relative_to("out/eeg").as_posix())
        if len(made) == 2:  # a person stops the second model
            raise KeyboardInterrupt("stopped at step 0 of 1; run again to continue")
        return learn(args, train, test, folder, *rest)

    monkeypatch.setattr(pieces.experiment, "learn", counted)
    monkeypatch.setattr(pieces.experiment, "draw", lambda *_: {})  # each takes seconds
    run("evaluate.py", "--plan", monkeypatch=monkeypatch)
    assert "2 of 2 models to make, about" in capsys.readouterr().out and not made
    with pytest.raises(SystemExit, match="evaluate.py: stopped at step"):
        run("evaluate.py", monkeypatch=monkeypatch)
    assert not Path("out/evaluate.md").exists()
    run("evaluate.py", monkeypatch=monkeypatch)
    ours = [f"sub-0{subject}/cross_attention-1" for subject in (1, 2)]
    assert made == [*ours, ours[1]]
    assert "Table 1, EEG, PCC across images" in Path("out/evaluate.md").read_text("utf-8")
    run("cross_subject.py", monkeypatch=monkeypatch)  # of the same models
    assert len(made) == 3
    run("cross_subject.py", "--leave-one-out", monkeypatch=monkeypatch)
    assert made[3:] == [f"without-0{subject}/cross_attention-1" for subject in (1, 2)]
    assert "Left out, EEG, MSE" in Path("out/cross_subject.md").read_text("utf-8")
    del made[3:]
    assert Path("out/figures/cross-eeg-mse.png").stat().st_size > 10_000
    assert "Table 3, EEG, PCC of one sample" in Path("out/cross_subject.md").read_text("utf-8")
    run("reproduce_paper.py", monkeypatch=monkeypatch)
    assert len(made) == len(set(made)) + 1 == 9  # six more: three ways of two subjects
    text = Path("out/study.html").read_text("utf-8")
    assert all(f"Table {number}, EEG" in text for number in (1, 2, 3, 6, 7))
    assert text.count("data:image/png") == 7  # within, two of cross, ways, maps of all, of each
    assert text.count("cross_attention-all: ") == 2  # their verdicts
    capsys.readouterr()
    run("reproduce_paper.py", "--plan", monkeypatch=monkeypatch)
    assert "all 8 models are finished" in capsys.readouterr().out


def test_only_subjects_whose_files_are_there_are_planned(tiny, monkeypatch, capsys):
    data = make_demo("data", subjects=3, **command.DEMO_DATA["eeg"])
    next(data.glob("**/sub-03/*test*")).unlink()
    monkeypatch.setattr(plan, "time_steps", lambda *_: plan.Estimate(60.0, "thin air"))

    def ask(*words):
        words = ("--eeg", str(data), "--small", "--plan", *words)
        monkeypatch.setattr(sys, "argv", ["evaluate.py", *words])
        runpy.run_path(str(EXAMPLES / "evaluate.py"), run_name="__main__")

    ask()
    said = capsys.readouterr().out
    assert "data: subjects 1, 2; no training and test recordings of 3, 4, 5, 6, 7, 8, 9, 10" in said
    assert "2 of 2 models" in said and "eeg sub-02" in said and "eeg sub-03" not in said
    ask("--eeg-subjects", "2")
    assert "left out" not in (said := capsys.readouterr().out) and "1 of 1 models" in said
    for wrong, part in ((9, "training"), (3, "test")):
        with pytest.raises(SystemExit, match=rf"no preprocessed_eeg_{part}.npy of subject {wrong}"):
            ask("--eeg-subjects", "1", str(wrong))
        assert not capsys.readouterr().out
    shutil.rmtree(data / "Preprocessed_data_250Hz", ignore_errors=True)
    for folder in data.glob("**/sub-0?"):
        shutil.rmtree(folder)
    with pytest.raises(SystemExit, match="no preprocessed_eeg_training.npy of subject 1"):
        ask()


def test_recordings_of_another_form_stand_alone(tiny, monkeypatch, capsys):
    """A folder that is not the demo's, of 5 sensors, 20 points and 8 test images: no number of the
    paper. Then other settings are refused before anything is trained."""
    data = make_demo("data", subjects=2, **command.DEMO_DATA["eeg"])
    monkeypatch.setattr(pieces.experiment, "draw", lambda *_: {})

    def ask(name, *words):
        few = ("--channels", "8", "8", "--batch-size", "8", "--steps", "3", "--trials", "2")
        words = (name, "--eeg", str(data), "--small", "--out", "out", "--device", "cpu", *few,
                 *words)
        monkeypatch.setattr(sys, "argv", list(words))
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")

    for name, many in (("evaluate", 3), ("cross_subject", 6)):
        ask(f"{name}.py", "--epochs", "2")
        page = Path(f"out/{name}.md").read_text("utf-8")
        why = ("The paper's numbers are left out: they are of 200 test images and 63 sensors x 250 "
               "time points, sub-01 has 8 and 5 x 20.")
        assert page.count(why) == many - 2 * (name == "cross_subject")
        assert "paper" not in page.replace(why, "").replace("the paper has no such number", "")
        assert "Student's t" in page and "bootstrap over subjects" not in page
    monkeypatch.setattr(pieces.experiment, "learn", None)  # nothing is trained
    capsys.readouterr()
    ours = " *out/eeg/sub-01/cross_attention-1, out/eeg/sub-02/cross_attention-1"
    with pytest.raises(SystemExit, match=f"{ours}: hold models with other settings:"):
        ask("compare_conditioning.py", "--epochs", "1")
    assert capsys.readouterr().out.count("other settings") == 2
    assert not Path("out/eeg/sub-01/addition-1").exists()


@pytest.mark.parametrize(("asked", "wanted"), [(None, 2), (3, 3)])
def test_trials_are_those_asked_for(tiny, asked, wanted):
    args = command.arguments("").parse_args(["--only", "eeg"])
    args.trials = asked
    assert command.studies(args)[0].args.trials == wanted


def test_what_cannot_be_asked_for_is_said(tiny, monkeypatch):
    with pytest.raises(SystemExit, match="the demo has 1 to 2"):
        run("evaluate.py", "--eeg-subjects", "3", monkeypatch=monkeypatch)
    with pytest.raises(SystemExit, match="--only chooses a part of the demo"):
        run("evaluate.py", "--eeg", "somewhere", monkeypatch=monkeypatch)
