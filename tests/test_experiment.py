"""One experiment: its settings, and the whole of it on a demo of a few images."""

from __future__ import annotations

import json
import os
import warnings
from contextlib import nullcontext

import pytest
import torch

from tinybrain import experiment, topography
from tinybrain.blocks import TransformerBlock
from tinybrain.parallel import Ranks
from tinybrain.pipeline import ImageToBrain
from tinybrain.things import EEG2, make_demo
from tinybrain.things.demo import read_truth
from tinybrain.unet import UNet2D

FEW = {"train_concepts": 6, "train_images": 2, "test_concepts": 3, "test_repeats": 4}


def parse(*words):
    return experiment.arguments("", "THINGS").parse_args([str(word) for word in words])


@pytest.mark.parametrize(("kind", "batch"), [("eeg", 16), ("meg", 4)])
def test_real_data_are_trained_on_as_the_paper_does(kind, batch):
    recipe, config = experiment.settings(parse("--data", "x", "--recipe", "paper"), kind, 768)
    assert (recipe.batch_size, recipe.epochs, recipe.lr) == (batch, 50, 1e-4)
    assert config.channels == (128, 256, 512, 512) and config.context_dim == 768
    small, narrow = experiment.settings(parse("--data", "x", "--small"), kind, 768)
    assert small.batch_size == {"eeg": 32, "meg": 4}[kind]
    assert narrow.channels[-1] < config.channels[0]


def test_torchrun_leaves_our_options_to_us():
    """It refuses what could be short for several of its own, even after the script's name."""
    from torch.distributed.run import get_args_parser

    ours = [name for action in experiment.arguments("", "THINGS")._actions
            for name in action.option_strings if name not in ("-h", "--help", "--run")]
    found = get_args_parser().parse_args(["--nproc-per-node=2", "train.py", *ours])
    assert found.training_script_args == ours and "--out" in ours


def test_what_the_user_says_comes_first():
    args = parse("--data", "x", "--batch-size", 3, "--validation", "image", "--heldout", 0.1,
                 "--channels", 32, 64, 96, "--steps", 7, "--seed", 5)
    recipe, config = experiment.settings(args, "meg", 10)
    assert (recipe.batch_size, recipe.validation, recipe.heldout) == (3, "image", 0.1)
    assert (recipe.sampling_steps, recipe.seed) == (7, 5)
    assert config.channels == (32, 64, 96) and config.attention == (False, True, True)


def test_subjects_are_named_as_people_do_and_in_one_way_at_a_time(capsys):
    assert parse("--subject", "sub-03").subject == parse("--subject", 3).subject == 3
    assert parse("--subjects", "P1", "BIGMEG2").subjects == [1, 2] and parse().subject == 1
    for words in (("--subject", 1, "--subjects", 1, 2), ("--subject", "me")):
        with pytest.raises(SystemExit):
            parse(*words)
    assert "not allowed with" in (said := capsys.readouterr().err) and "is me; wanted a n" in said


@pytest.mark.parametrize(
    "words, message",
    [
        (["--channels", 7, 9], "channels .7, 9. do not divide into 32 groups"),
        (["--recipe", "paper", "--heldout", 0.1], "heldout 0.1 and patience 0 are of no use"),
        (["--out", "file"], "a file, where a folder was wanted: '.*file'"),
        (["--out", "file/below"], "a file, where a folder was wanted: '.*file'"),
        (["--out", "theirs/run"], "cannot be written; name another folder: '.*theirs'"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_read(tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    (tmp_path / "theirs").mkdir()
    monkeypatch.setattr(os, "access", lambda path, how: "theirs" not in str(path))

    def reader(*_, **__):
        raise AssertionError("a recording was read")

    args = parse("--data", tmp_path, *words)
    with pytest.raises((ValueError, OSError), match=message):
        experiment.main(args, "eeg", "sub-{:02d}".format, reader)


def test_the_names_of_run_folders_tell_recipe_and_context():
    assert str(experiment.folder_of(parse(), "demo")) == "runs/demo"
    args = parse("--recipe", "paper", "--context", "text")
    assert str(experiment.folder_of(args, "sub-01")) == "runs/sub-01-paper-text"


def test_the_clip_of_a_demo_is_small_and_of_data_the_papers():
    assert experiment.context_options(parse(), "eeg").clip == "random-small"
    assert experiment.context_options(parse("--data", "x"), "eeg").clip == "ViT-L/14"
    assert experiment.context_options(parse("--data", "x", "--small"), "eeg").clip == "random-small"
    assert experiment.context_options(parse("--features", "x"), "eeg").clip == ""


@pytest.mark.parametrize("rank", [0, 1])
def test_only_the_first_rank_draws(tmp_path, monkeypatch, rank):
    """Two that write one file take it from each other."""
    data, drawn = make_demo(tmp_path / "data", **FEW, points=20), []
    train, test = EEG2(data, 1, "train"), EEG2(data, 1, "test", repeats="single")
    args = parse("--channels", 8, 8, "--heldout", 0.4, "--device", "cpu")
    monkeypatch.setattr(experiment, "in_turn", lambda here: nullcontext())
    monkeypatch.setattr(experiment, "fit", lambda model, *_, **__: model.card.update(epoch=1) or [])
    monkeypatch.setattr(experiment.figures, "plot_loss", lambda *_, **__: drawn.append(1))
    monkeypatch.setattr(experiment, "MANY", 100)
    here = Ranks(rank, 2)
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        experiment.learn(args, train, test, tmp_path, torch.device("cpu"), here)
    assert drawn == [1] * (rank == 0)
    told = [str(warning.message) for warning in heard if "each compared with each" in
            str(warning.message)]
    assert len(told) == (rank == 0), "and only the first warns"


def seen(config, h, w):
    """The most positions at which a network attends, by running it."""
    unet, most = UNet2D(config), []
    for part in unet.modules():
        if isinstance(part, TransformerBlock):
            part.register_forward_pre_hook(lambda _, given: most.append(given[0][0, 0].numel()))
    unet(torch.randn(1, 1, h, w), torch.zeros(1, dtype=torch.long), torch.randn(1, 1, 8))
    return max(most)


def test_attention_at_too_many_positions_is_told_with_what_to_do(monkeypatch):
    def network(levels):
        return experiment.settings(parse("--channels", *[8] * levels, "--small"), "meg", 8)[1]

    monkeypatch.setattr(experiment, "MANY", 100)
    said = experiment.attention_cost(network(3), 27, 21)
    assert f"14 x 11 = {seen(network(3), 27, 21)} positions" in said
    assert f"--channels 4 widths or more: the outermost attention is then at {7 * 6}" in said
    assert seen(network(4), 27, 21) == 7 * 6 and not experiment.attention_cost(network(4), 27, 21)


@pytest.mark.parametrize(("kind", "size"), [("eeg", (63, 250)), ("meg", (271, 200))])
def test_the_papers_networks_and_the_demos_are_not_warned_of(kind, size):
    for words in (("--data", "x"), ("--data", "x", "--small")):
        config = experiment.settings(parse(*words), kind, 768)[1]
        assert experiment.attention_cost(config, *size) == ""


def test_a_whole_experiment_leaves_model_report_and_figures(tmp_path, capsys, monkeypatch):
    data = make_demo(tmp_path / "data", **FEW, sensors=("O1", "Oz", "O2", "Pz", "Cz"), points=20)
    train = EEG2(data, 1, "train")
    test = EEG2(data, 1, "test", repeats="single")
    places = tmp_path / "places.csv"
    words = ("--channels", 8, 8, "--epochs", 1, "--trials", 2, "--steps", 3, "--heldout", 0.4,
             "--device", "cpu", "--layout", places)  # fmt: skip
    with pytest.raises(FileNotFoundError, match="no layout .*places.csv"):
        experiment.run(parse(*words), train, test, tmp_path / "run")
    assert not (tmp_path / "run").exists()  # before anything is trained
    rows = zip(("O1", "Oz", "O2", "Pz", "Cz"), (-0.2, 0, 0.2, 0, 0), (-0.8, -0.9, -0.8, -0.4, 0))
    places.write_text("name,x,y\n" + "".join(f"{name},{x},{y}\n" for name, x, y in rows))
    args, plot, drawn = parse(*words), topography.plot_topographies, []
    monkeypatch.setattr(
        topography, "plot_topographies",
        lambda maps, **how: (drawn.append(how | {"rows": [*maps]}), plot(maps, **how)),
    )
    experiment.run(args, train, test, tmp_path / "run", read_truth(data).test)
    assert drawn[0]["xy"].tolist() == [[-0.2, -0.8], [0, -0.9], [0.2, -0.8], [0, -0.4], [0, 0]]
    assert drawn[0]["rows"] == ["Training", "Test", "Generated", "Training - Test"]
    there = {path.name for path in (tmp_path / "run").iterdir() if path.name != "lock"}
    assert there == {"model.pt", "run-00000001.pt", "report.md", "report.json", "log.csv",
                     "loss.png", "evoked.png", "topographies.png", "denoising.png",
                     "denoising.gif", "generated.npz", "scores.png", "curves.png",
                     "identification.png"}  # fmt: skip
    page = (tmp_path / "run/report.md").read_text()
    assert "40.0% of the training concepts held out, seed 0" in page
    rows = json.loads((tmp_path / "run/report.json").read_text())["rows"]
    assert [row["name"] for row in rows][-2:] == ["truth (best possible)", "noise ceiling"]
    assert ImageToBrain.load(tmp_path / "run/model.pt").mean(train.images[:1]).data.shape == (
        1, 1, 5, 20
    )  # fmt: skip
    assert "training" in capsys.readouterr().out
