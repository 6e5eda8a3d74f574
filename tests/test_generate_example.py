"""examples/generate.py as a person runs it, killed and on two ranks; and the files it leaves."""

from __future__ import annotations

import os
import runpy
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from tests.test_generation import contents, photos, saved
from tests.test_pipeline import gaussian_model
from tests.test_store_files import ROOT
from tests.test_train import prepared
from tinybrain import generation_files
from tinybrain.generation import Plan, generate
from tinybrain.signals import BrainSignals
from tinybrain.stimuli import find_stimuli

HERE = {
    "cwd": ROOT, "env": {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    "text": True, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE,
}  # fmt: skip
SLOW = """
import runpy, sys, time
from tinybrain import generation
draw = generation.draw_block
def slow(model, stimuli, plan, rows):
    time.sleep(600 if rows.start >= HANGS else 0.2)
    return draw(model, stimuli, plan, rows)
generation.draw_block = slow
sys.argv[0] = "examples/generate.py"
runpy.run_path("examples/generate.py", run_name="__main__")
"""


def run(*args, ranks=1):
    command = [sys.executable]
    if ranks > 1:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        command += ["-m", "torch.distributed.run", f"--nproc-per-node={ranks}",
                    f"--master-port={port}"]
    command += ["examples/generate.py", *map(str, args)]
    return subprocess.run(command, check=False, timeout=200, **HERE)


def start(*args, hangs=1000):
    """A slow run, which gets no further than the row `hangs`."""
    code = SLOW.replace("HANGS", str(hangs))
    return subprocess.Popen([sys.executable, "-c", code, *map(str, args)], **HERE)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """20 pictures, a model that sees them, and what one rank makes of both."""
    root = tmp_path_factory.mktemp("generate")
    model, pictures = saved(root / "model.pt", gaussian_model()), photos(root / "set", 20)
    asked = (model, pictures, "--trials", 2, "--batch-size", 3, "--device", "cpu", "--out")
    done = run(*asked, root / "out")
    assert done.returncode == 0, done.stderr
    assert "20 images x 2 of 3 sensors x 8 times, 40 drawn here in" in done.stdout
    return asked, contents(root / "out")


def test_two_ranks_write_the_same_files_as_one(inputs, tmp_path):
    asked, wanted = inputs
    done = run(*asked, tmp_path, ranks=2)
    assert done.returncode == 0, done.stderr
    assert "21 drawn here" in done.stdout  # 7 of 14 blocks
    assert contents(tmp_path) == wanted


def wait_for(folder, blocks):
    record, until = folder / "signals.done.part", time.monotonic() + 100
    while not record.exists() or record.read_bytes().count(1) < blocks:
        assert time.monotonic() < until, "no block was drawn"
        time.sleep(0.02)


def test_killed_by_force_it_continues_on_two_ranks(inputs, tmp_path):
    asked, wanted = inputs
    with start(*asked, tmp_path, hangs=15) as child:
        wait_for(tmp_path, 5)
        second = run(*asked, tmp_path)
        assert second.returncode == 1 and f"in use by process {child.pid}" in second.stderr
        child.send_signal(signal.SIGKILL)
    assert (tmp_path / "signals.done.part").read_bytes() == bytes([1] * 5 + [0] * 9)
    done = run(*asked, tmp_path, ranks=2)
    assert done.returncode == 0, done.stderr
    assert contents(tmp_path) == wanted and "12 drawn here" in done.stdout  # 4 of 9 blocks


def test_asked_to_stop_it_says_how_to_continue(inputs, tmp_path):
    asked, _ = inputs
    with start(*asked, tmp_path) as child:
        wait_for(tmp_path, 1)
        child.send_signal(signal.SIGINT)
        _, said = child.communicate(timeout=100)
    assert child.returncode == 1
    assert "of 40 signals are drawn; the same command continues" in said
    assert "Traceback" not in said


def test_two_ranks_are_refused_with_one_message(inputs, tmp_path):
    asked, _ = inputs
    (tmp_path / "file").write_text("")
    done = run(*asked, tmp_path / "file/out", ranks=2)
    assert done.returncode and done.stderr.count("generate.py: ") == 1
    assert "cannot be written" in done.stderr


def test_errors_are_one_line(inputs, tmp_path, monkeypatch):
    (model, pictures, *_), _ = inputs
    features = tmp_path / "features.npy"
    np.save(features, np.ones((2, 5), np.float32))
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    blind = saved(tmp_path / "blind.pt", prepared(heldout=0.0)[0])
    out = ("--out", tmp_path / "out")
    for args, told in (
        ((tmp_path / "no.pt", pictures, *out), "no.pt: no such checkpoint"),
        ((features, pictures, *out), "features.npy: not a"),
        ((model, tmp_path / "empty", *out), "empty: no images in it"),
        ((model, features, *out), "features.npy: features are (1, 1, 5); this model wants (n, 12)"),
        ((blind, pictures, *out), "holds no image encoder: pass features"),
        ((model, pictures, "--out", tmp_path / "file"), "file cannot be written"),
        ((model, pictures, *out, "--mean", "--trials", 2), "one signal per image, not 2"),
    ):
        monkeypatch.setattr(sys, "argv", ["generate.py", *map(str, args), "--device", "cpu"])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(ROOT / "examples/generate.py"), run_name="__main__")
        assert ended.value.code.startswith("generate.py: ") and told in ended.value.code
    assert not (tmp_path / "out").exists()


def test_fif_holds_the_same_signals(tmp_path, monkeypatch):
    import mne

    np.save(tmp_path / "f.npy", np.random.default_rng(2).normal(size=(7, 12)))
    path = saved(tmp_path / "model.pt", prepared(heldout=0.0)[0])
    stimuli, plan = find_stimuli([tmp_path / "f.npy"]), Plan(trials=3)
    generate(path, stimuli, plan, tmp_path / "out", fif=True)
    epochs = mne.read_epochs(tmp_path / "out/signals-epo.fif", verbose="error")
    data = BrainSignals.load(tmp_path / "out").data.reshape(21, 3, 8)
    np.testing.assert_allclose(epochs.get_data(copy=False), data, rtol=1e-6)
    assert epochs.events[:, 2].tolist() == np.repeat(range(7), 3).tolist()
    monkeypatch.setattr(generation_files, "FIF_LIMIT", 4 * 21 * 3 * 8 - 1)
    with pytest.raises(ValueError, match="GiB is the limit. Without --fif all are in signals.npy"):
        generate(path, stimuli, plan, tmp_path / "more", fif=True)
    assert not (tmp_path / "more").exists()


@pytest.mark.parametrize("broken", [False, True])
def test_fif_without_mne_is_refused_before_anything_is_drawn(broken, tmp_path, monkeypatch):
    """Where it is not installed, and where it is without something that it imports."""
    if broken:
        (tmp_path / "lib/mne").mkdir(parents=True)
        (tmp_path / "lib/mne/__init__.py").write_text("import lacking_part")
        for name in [name for name in sys.modules if name.split(".")[0] == "mne"]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.syspath_prepend(tmp_path / "lib")
    else:
        monkeypatch.setitem(sys.modules, "mne", None)  # as Python marks what cannot be imported
    np.save(tmp_path / "f.npy", np.ones((2, 12)))
    path = saved(tmp_path / "model.pt", prepared(heldout=0.0)[0])
    args = (path, tmp_path / "f.npy", "--out", tmp_path / "out", "--fif", "--device", "cpu")
    monkeypatch.setattr(sys, "argv", ["generate.py", *map(str, args)])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(ROOT / "examples/generate.py"), run_name="__main__")
    told = "generate.py: --fif needs MNE-Python: pip install 'tinybrain-ddpm[mne]'"
    assert ended.value.code.startswith(told) and ("lacking_part" in ended.value.code) == broken
    assert not (tmp_path / "out").exists()


# -------------------------------------------------------------------------------------------------
# BrainSignals.save and load


@pytest.fixture
def signals():
    data = np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype(np.float32)
    return BrainSignals(data, ("Oz", "O1", "Cz", "Fp1"), np.arange(5) / 30 - 0.1, "meg", "pT")


def test_saved_signals_load_as_they_were(signals, tmp_path):
    loaded = BrainSignals.load(signals.save(tmp_path / "new/folder"))
    np.testing.assert_array_equal(loaded.data, signals.data)
    np.testing.assert_array_equal(loaded.times, signals.times)
    for name in ("sensors", "kind", "unit"):
        assert getattr(loaded, name) == getattr(signals, name)
    with pytest.raises(ValueError, match="read-only"):
        loaded.data[0] = 0


def test_files_that_do_not_hold_together_are_refused(signals, tmp_path):
    about = signals.save(tmp_path) / "signals.json"
    text = about.read_text()
    for old, new, told in (
        ('"tinybrain signals"', '"others"', "another kind of thing"),
        ('"version": 1', '"version": 2', "version 2, this tinybrain reads up to 1"),
        ('"version": 1', '"version": true', "version True"),
        ('"O1",', "", r"shape \[2, 3, 4, 5\], but 3 sensors and 5 times"),
        ('"O1"', "1", "sensors is .* wanted names"),
        ('"meg"', '"ecg"', "kind is 'ecg'; wanted 'eeg' or 'meg'"),
        ('"unit"', '"units"', "unit is 'None'; wanted a string"),
        ("-0.1,", "NaN,", "times is .* wanted seconds"),
        ('"shape": [\n  2,\n  3', '"shape": [\n  3,\n  2', r"says float32 of \(3, 2, 4, 5\)"),
        ("{", "", "is damaged, or no JSON"),
    ):
        assert old in text
        about.write_text(text.replace(old, new, 1))
        with pytest.raises(ValueError, match=f"(?s){told}"):
            BrainSignals.load(tmp_path)
    about.write_text(text)
    array = tmp_path / "signals.npy"
    whole = array.read_bytes()
    for broken in (whole[:-4], b"", whole[:20]):
        array.write_bytes(broken)
        with pytest.raises(ValueError, match=r"signals.npy is missing, damaged or no plain array"):
            BrainSignals.load(tmp_path)
    array.unlink()
    with pytest.raises(ValueError, match="is missing"):
        BrainSignals.load(tmp_path)
    about.unlink()
    with pytest.raises(FileNotFoundError, match="wanted a folder that `BrainSignals.save`"):
        BrainSignals.load(tmp_path)
