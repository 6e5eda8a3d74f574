"""The ten commonest mistakes, and what a person is then told.

    pytest tests/test_first_contact.py -s          prints the messages

Each says what came, what was wanted, and what to do.
"""

import os
import re
import signal
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path

import numpy as np
import pytest
import torch

import tinybrain
from tests.test_eeg2 import content, signals, write
from tests.test_pipeline import FEATURES, gaussian_model
from tests.test_train import prepared
from tinybrain import ImageToBrain, clip, download, generation, train
from tinybrain.clip import weights
from tinybrain.parallel import Ranks, pick_device
from tinybrain.stimuli import find_stimuli
from tinybrain.things import EEG2, MEG
from tinybrain.tiny import tiny_model

ROOT = Path(__file__).parents[1]


def told(kind, mistake, *given, **options):
    """What a person reads who makes this mistake: one message of the kind expected."""
    with pytest.raises(kind) as caught:
        mistake(*given, **options)
    message = str(caught.value)
    print(f"\n{message}")
    return message


def says(message, *parts):
    for part in parts:
        assert str(part) in message, f"{part!r} is not in {message!r}"


# 1. No weights


def test_no_weights_and_no_network(tmp_path, monkeypatch):
    """Port 9 answers nobody, as no server does to a machine without a network."""
    url, wanted = "http://127.0.0.1:9/ViT-L-14.pt", weights.WEIGHTS["ViT-L/14"].sha256
    source = weights.Source(url, wanted, "ViT-L-14.pt")
    monkeypatch.setitem(weights.WEIGHTS, "ViT-L/14", source)
    monkeypatch.setattr(download, "PAUSE", 0)
    message = told(ConnectionError, clip.load, cache_dir=tmp_path)
    says(message, url, "cannot be downloaded", "Fetched by hand", wanted, tmp_path / "ViT-L-14.pt")


def test_no_weights_where_they_are_looked_for(tmp_path):
    (tmp_path / "notes.txt").write_text("not weights")
    missing = tmp_path / "ViT-B-32.pt"
    says(told(FileNotFoundError, clip.load, missing), missing, "no such file", "ViT-L/14")
    message = told(FileNotFoundError, clip.load, tmp_path)
    says(message, tmp_path, "no weights", "wanted model.safetensors", "*.pt", "has notes.txt")
    missing = tmp_path / "model.pt"
    says(told(FileNotFoundError, ImageToBrain.load, missing), missing, "no such")


# 2. The wrong folder


def test_a_folder_that_is_not_there(tmp_path):
    """As an example's user sees it: one line, no traceback."""
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / "train_eeg.py", "--data", "nowhere"], cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    says(done.stderr, "train_eeg.py: nowhere: there is no such folder; wanted a THINGS-EEG2 folder")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("reader", "wanted"), [
    (EEG2, "preprocessed_eeg_training.npy"),
    (MEG, "preprocessed_P1-epo.fif"),
])
def test_a_folder_without_recordings(tmp_path, reader, wanted):
    message = told(FileNotFoundError, reader, tmp_path, 1, "train")
    says(message, tmp_path, "subject 1", wanted, "sub-01", "there: none")


def test_a_folder_without_images(tmp_path):
    says(told(ValueError, gaussian_model().generate, tmp_path), tmp_path, "no images", ".jpg")


# 3. The wrong shape


def test_features_of_another_encoder():
    message = told(ValueError, gaussian_model().generate, np.zeros((2, 768), np.float32))
    says(message, "(2, 1, 768)", "wants (n, 12) or (n, tokens, 12)")


def test_a_recording_of_another_shape(tmp_path):
    path = write(tmp_path, {**content(signals()), "preprocessed_eeg_data": np.zeros((3, 4))})
    message = told(ValueError, EEG2, tmp_path, 1, "train")
    says(message, path, "preprocessed_eeg_data", "(3, 4)", "wanted")


# 4. No GPU


def test_without_a_gpu_the_cpu_is_taken(monkeypatch):
    """Nobody has to say so; `--device cuda` is for those who have one."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick_device(Ranks()) == torch.device("cpu")


@pytest.mark.parametrize("name", ["cuda:99", "gpu"])
def test_a_device_that_is_not_there(name):
    message = told(ValueError, pick_device, Ranks(), name)
    says(message, f"device {name!r} cannot be used by torch", torch.__version__, "wanted cpu",
         "without --device it takes what there is")


# 5. An old torch, or an old Python


def test_old_versions_are_refused_when_it_is_installed():
    """pip names the requirement and what it found; a newer one is what to install."""
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg")
    wanted = setup["options"]["install_requires"].split()
    (least,) = (re.fullmatch(r"torch>=(\d+)\.(\d+)", each) for each in wanted if "torch" in each)
    here = re.match(r"(\d+)\.(\d+)", torch.__version__)
    least = tuple(map(int, least.groups()))
    assert tuple(map(int, here.groups())) >= least == tinybrain.LEAST_TORCH
    assert setup["options"]["python_requires"] == ">=3.10"


def test_an_old_torch_that_got_past_pip(tmp_path, monkeypatch):
    """Told before it is imported, which would take seconds and fail somewhere deep."""
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("raise AssertionError('imported')")
    (tmp_path / "torch" / "version.py").write_text("__version__ = '2.3.1+cu118'\n")
    done = subprocess.run(
        [sys.executable, "-c", "import tinybrain"], capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
    )
    print(f"\n{done.stderr.splitlines()[-1]}")
    says(done.stderr, "torch 2.3.1+cu118 is installed", "needs 2.4 or newer", "--upgrade")


# 6. Out of memory


@pytest.mark.parametrize(("room", "advice"), [
    (3, "2 fit: --micro-batch 2"),
    (0, "not even one fits: take a smaller network, or a device with more memory"),
])
def test_out_of_memory(tmp_path, monkeypatch, room, advice):
    model, y0, context, _ = prepared(heldout=0.0)
    losses = model.ddpm.losses

    def limited(ddpm, denoiser, y0, *others):
        if len(y0) > room:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate")
        return losses(denoiser, y0, *others)

    monkeypatch.setattr(type(model.ddpm), "losses", limited)
    message = told(MemoryError, train.fit, model, y0, context, tmp_path, progress=False)
    says(message, "out of memory with 8 rows at a time on cpu", advice)


def test_out_of_memory_while_generating(tmp_path, monkeypatch):
    def draw(*given, **options):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate")

    np.save(tmp_path / "told.npy", np.ones((3, 8), np.float32))
    model, told_of = tiny_model().save(tmp_path / "model.pt"), tmp_path / "told.npy"
    monkeypatch.setattr(ImageToBrain, "draw", draw)
    for size, advice in ((8, "try --batch-size 4"), (1, "a device with more memory")):
        plan = generation.Plan(batch_size=size)
        message = told(MemoryError, generation.generate, model, find_stimuli([told_of]), plan,
                       tmp_path / f"by {size}")
        says(message, f"out of memory with {size} signals at a time on cpu", advice)


# 7. MNE is missing


def test_mne_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "mne", None)  # as Python marks what cannot be imported
    message = told(ImportError, gaussian_model().generate(FEATURES[:1], steps=1).to_mne)
    says(message, "to_mne needs MNE", "pip install 'tinybrain-ddpm[mne]'")


# 8. Half a download


def test_half_a_download_under_the_final_name(tmp_path):
    path = tmp_path / "ViT-L-14.pt"
    path.write_bytes(b"PK\x03\x04 and not much more")
    message = told(ValueError, clip.load, cache_dir=tmp_path)
    says(message, path, download.file_sha256(path), "wanted", "remove it and try again")
    assert path.exists()  # it may be somebody's own
    says(told(ValueError, clip.load, path), path, "damaged or truncated")


def test_half_a_model(tmp_path):
    whole = gaussian_model().save(tmp_path / "whole.pt").read_bytes()
    half = tmp_path / "half.pt"
    half.write_bytes(whole[: len(whole) // 2])
    message = told(ValueError, ImageToBrain.load, half)
    says(message, half, "not a file that tinybrain wrote, or cut short")


# 9. The wrong subject


def test_a_subject_that_is_not_there(tmp_path):
    path = write(tmp_path, content(signals()))
    message = told(FileNotFoundError, EEG2, tmp_path, 7, "train")
    says(message, tmp_path, "of subject 7", "subjects there: 1;", f"files there: {path}")
    says(told(ValueError, EEG2, tmp_path, "seven", "train"), "'seven'", "wanted a number", "sub-01")
    message = told(ValueError, gaussian_model().generate, FEATURES, subject="sub-07")
    says(message, "no subject 'sub-07'", "known are")


# 10. An interrupted run


def test_an_interrupted_run(tmp_path, monkeypatch):
    """Ctrl-C in the second step says how to go on; other settings are shown and refused."""
    one_step, calls = train.train_step, []

    def interrupted(*given):
        one_step(*given)
        calls.append(1)
        if len(calls) == 2:
            os.kill(os.getpid(), signal.SIGINT)

    model, y0, context, _ = prepared(heldout=0.0)
    with monkeypatch.context() as patched:
        patched.setattr(train, "train_step", interrupted)
        message = told(KeyboardInterrupt, train.fit, model, y0, context, tmp_path, progress=False)
    says(message, "stopped at step 2 of 15", "run again to continue")

    other, *data, _ = prepared(heldout=0.0, lr=0.5)
    message = told(ValueError, train.fit, other, *data, tmp_path, progress=False)
    says(message, tmp_path, "lr: 0.001 there, 0.5 now", "another folder", "--restart", "--force")
