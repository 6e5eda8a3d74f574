"""examples/topographies.py as a person runs it: the files it writes, from what, and its errors."""

from __future__ import annotations

import dataclasses
import runpy
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from tests.test_pipeline import TOWER
from tests.test_store_files import ROOT
from tests.test_train import CONFIG
from tinybrain import generated
from tinybrain.encoder import random_encoder
from tinybrain.pipeline import ImageToBrain
from tinybrain.recipes import TINYBRAIN
from tinybrain.things import EEG2, make_demo, store
from tinybrain.things.sensors import THINGS_MEG_271

SENSORS = ("Fz", "C3", "Cz", "C4", "PO7", "Oz", "PO8")
TIMES = np.arange(5) / 10  # 0 to 0.4 s
TINY = {"train_concepts": 3, "train_images": 2, "train_repeats": 2, "test_concepts": 2,
        "test_repeats": 3, "sensors": SENSORS, "points": 8, "rate": 62.5, "image_size": 32}


def topographies(monkeypatch, capsys, *args):
    """What it prints, a line each."""
    monkeypatch.setattr(sys, "argv", ["topographies.py", *map(str, args)])
    runpy.run_path(str(ROOT / "examples" / "topographies.py"), run_name="__main__")
    return capsys.readouterr().out.splitlines()


def run_folder(folder, seed=0, sensors=SENSORS, kind="eeg", leave_out=()):
    """A run's generated.npz, written by hand."""
    rng, shape = np.random.default_rng(seed), (2, len(sensors), len(TIMES))
    content = {
        name: rng.normal(size=shape).astype(np.float32)
        for name in ("one", "mean", "conditional", "recorded")
    }
    content |= {
        "erp": content["one"][0], "sensors": np.array(sensors), "times": TIMES,
        "images": np.array(["a", "b"]), "kind": np.array(kind), "unit": np.array("whitened"),
    }  # fmt: skip
    folder.mkdir(parents=True)
    np.savez(folder / generated.FILE, **{k: v for k, v in content.items() if k not in leave_out})
    return folder


def test_figures_of_two_subjects_and_the_sheet_of_both(tmp_path, monkeypatch, capsys):
    runs = [run_folder(tmp_path / f"eeg/sub-0{i}/cross_attention", seed=i) for i in (1, 2)]
    out = tmp_path / "figures"
    said = topographies(monkeypatch, capsys, *runs, "--out", out)
    subjects = [f"topographies-eeg-sub-0{i}.{kind}" for i in (1, 2) for kind in ("png", "gif")]
    wanted = [*subjects, "topographies-eeg-all.png"]
    assert said == [str(out / name) for name in wanted]
    assert sorted(path.name for path in out.iterdir()) == sorted(wanted)
    for name in wanted:
        with Image.open(out / name) as picture:
            assert picture.format == name[-3:].upper() and min(picture.size) > 200


def test_eeg_and_meg_in_one_command_have_figures_of_their_own(tmp_path, monkeypatch, capsys):
    meg = run_folder(tmp_path / "meg-P1", sensors=THINGS_MEG_271[::9], kind="meg")
    said = topographies(monkeypatch, capsys, run_folder(tmp_path / "sub-01"), meg, "--no-gif",
                        "--format", "pdf", "--which", "conditional", "--out", tmp_path)
    names = ["topographies-eeg-sub-01.pdf", "topographies-meg-sub-01.pdf"]
    assert said == [str(tmp_path / name) for name in names]
    assert all((tmp_path / name).read_bytes().startswith(b"%PDF") for name in names)


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    return make_demo(tmp_path_factory.mktemp("demo") / "data", **TINY)


def test_a_run_with_a_model_alone_draws_signals_and_keeps_them(
    demo, tmp_path, monkeypatch, capsys
):
    train, recipe = EEG2(demo, 1, "train"), dataclasses.replace(
        TINYBRAIN, sampling_steps=2, residual=False
    )
    context = torch.randn(len(train.images), 1, 12, generator=torch.Generator().manual_seed(0))
    model, _ = ImageToBrain.prepare(recipe, CONFIG, train, context, random_encoder(TOWER))
    model.save(tmp_path / "sub-01" / "model.pt")
    asked = (tmp_path / "sub-01", "--data", demo, "--no-gif", "--trials", 2, "--out", tmp_path)
    said = topographies(monkeypatch, capsys, *asked)
    assert "drawing 2 signals for each of 2 images" in said[0]
    found = generated.read(tmp_path / "sub-01")
    test = EEG2(demo, 1, "test")
    np.testing.assert_allclose(found.recorded, test.signals, atol=1e-6)
    np.testing.assert_allclose(found.erp, train.signals.mean(axis=0), atol=1e-6)
    assert found.conditional.shape == found.mean.shape == test.signals.shape
    assert len(topographies(monkeypatch, capsys, *asked)) == 1  # nothing is drawn a second time


def test_a_training_mean_that_is_missing_is_read_from_the_data(
    demo, tmp_path, monkeypatch, capsys
):
    run = run_folder(tmp_path / "mine", leave_out=("erp",))
    with pytest.raises(SystemExit, match=r"lacks the mean training recording: give --data FOLDER "
                       "and --subjects"):
        topographies(monkeypatch, capsys, run, "--out", tmp_path)
    with pytest.raises(SystemExit, match=r"shape \(7, 8\); wanted \(7, 5\)"):  # another recording
        topographies(monkeypatch, capsys, run, "--data", demo, "--subjects", 1, "--out", tmp_path)


def test_microvolts_where_the_matrices_are_kept(demo, tmp_path, monkeypatch, capsys):
    run, data = run_folder(tmp_path / "run" / "sub-01"), tmp_path / "data"
    kept, names = data / "sub-01", ("a/0.jpg", "a/1.jpg")
    with store.new_signals(kept, "test", (2, 1, len(SENSORS), len(TIMES))) as signals:
        signals[:] = 0
    matrix = 1e5 * np.eye(len(SENSORS))
    store.write_card(
        kept, kind="eeg", subject=1, sensors=SENSORS, times=TIMES, unit="whitened", source="test",
        splits={"test": store.Split(names, ("a", "a"), np.ones((2, 1), int))},
        whitening=[store.Whitening(1, matrix, np.linalg.inv(matrix))],
    )  # fmt: skip
    out = ("--unwhiten", "--no-gif", "--format", "svg", "--out", tmp_path)
    (path,) = topographies(monkeypatch, capsys, run, "--data", data, *out)
    assert path.endswith("topographies-eeg-sub-01.svg")
    assert "<svg" in (tmp_path / "topographies-eeg-sub-01.svg").read_text()
    with pytest.raises(SystemExit, match=r"preprocessed_eeg_test.npy: no whitening matrices"):
        topographies(monkeypatch, capsys, run, "--data", demo, *out)
    with pytest.raises(SystemExit, match="--unwhiten wants the recording's matrices: give --data"):
        topographies(monkeypatch, capsys, run, *out)


def test_what_cannot_be_is_said_in_a_line(tmp_path, monkeypatch, capsys):
    with pytest.raises(SystemExit, match=r"topographies.py: no .*nowhere/generated.npz"):
        topographies(monkeypatch, capsys, tmp_path / "nowhere")
    run = run_folder(tmp_path / "a" / "sub-01")
    again = run_folder(tmp_path / "b" / "sub-01")
    with pytest.raises(SystemExit, match=r"b/sub-01: eeg sub-01 is drawn already"):
        topographies(monkeypatch, capsys, run, again, "--no-gif", "--out", tmp_path)
    with pytest.raises(SystemExit):
        topographies(monkeypatch, capsys, run, "--subjects", 1, 2)
    assert "2 --subjects for 1 runs" in capsys.readouterr().err
