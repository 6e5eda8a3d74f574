"""A feature store that is stopped anywhere, and continued."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from tests.test_feature_store import Tower, image_set, make, photo, refuse
from tinybrain.feature_store import FeatureStore

ROOT = Path(__file__).parents[1]
HERE = {"cwd": ROOT, "env": {**os.environ, "PYTHONPATH": str(ROOT)}}  # this tree is run

CHILD = """
import sys, time, tinybrain.features as features
from tests.test_feature_store import TINY, SEED, random_clip, build
forward = features._forward
def slow(*args):
    time.sleep(0.15)
    return forward(*args)
features._forward = slow
build(sys.argv[1], sys.argv[2], random_clip(TINY), weights=SEED, batch_size=2)
"""


def start_child(tmp_path, marked):
    """A process that builds, once it has `marked` rows on disk."""
    command = [sys.executable, "-c", CHILD, tmp_path / "store", tmp_path / "set"]
    child = subprocess.Popen(command, **HERE)
    done, began = tmp_path / "store/unfinished/done", time.monotonic()
    while not done.exists() or sum(done.read_bytes()) < marked:
        assert child.poll() is None and time.monotonic() - began < 60
        time.sleep(0.01)
    return child


def test_kill_9_loses_at_most_a_batch_and_others_are_kept_out_meanwhile(tmp_path):
    image_set(tmp_path / "set")
    child = start_child(tmp_path, 2)
    try:
        with pytest.raises(BlockingIOError, match="another process is building .*store"):
            make(tmp_path / "store", tmp_path / "set", refuse)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    kept = sum((tmp_path / "store/unfinished/done").read_bytes())
    assert 2 <= kept < 7
    with pytest.raises(FileNotFoundError, match="not finished, build them again"):
        FeatureStore.open(tmp_path / "store")
    store = make(tmp_path / "store", tmp_path / "set", tower := Tower())
    assert tower.encoded == store.encoded == 7 - kept
    whole = make(tmp_path / "whole", tmp_path / "set")
    assert (whole.folder / "features.npy").read_bytes() == (
        store.folder / "features.npy"
    ).read_bytes()


class Killed(BaseException):
    """Stands for a kill: no part of the library catches it."""


def stop_at(monkeypatch, step):
    """Raise Killed at the step-th call that changes the disk; returns the count of calls."""
    count = [0]

    def stopping(original):
        def call(*args, **kwargs):
            count[0] += 1
            if count[0] == step:
                raise Killed
            return original(*args, **kwargs)

        return call

    for module, name in [
        (os, "fsync"), (os, "replace"), (shutil, "rmtree"), (Path, "rename"), (Path, "mkdir"),
        (np.lib.format, "open_memmap"), (np.memmap, "flush"),
    ]:  # fmt: skip
        monkeypatch.setattr(module, name, stopping(getattr(module, name)))
    return count


def changed_set(tmp_path):
    """A finished store, an unfinished one of other images, and then other images again."""
    images = image_set(tmp_path / "set")
    store, old, how = tmp_path / "store", Tower(), {"root": tmp_path / "set", "batch_size": 1}
    make(store, images[:3], **how)
    bad = images[5].read_bytes()
    images[5].write_bytes(b"broken")
    with pytest.raises(ValueError, match="not an image"):
        make(store, images, old, **how)
    assert old.encoded == 2  # rows 3 and 4 of 7
    images[5].write_bytes(bad)
    photo(images[1], 70)
    return [images[4], *images[:3], images[6]], how  # to encode: the changed one, and the last


def test_a_stop_at_any_step_loses_at_most_a_batch(tmp_path, monkeypatch):
    wanted, how = changed_set(tmp_path)
    expected = np.array(make(tmp_path / "whole", wanted, **how).features)
    step = calls = 0
    while calls == step:  # else it came to its end
        step += 1
        store, tower = tmp_path / f"try{step}", Tower()
        shutil.copytree(tmp_path / "store", store)
        with monkeypatch.context() as patch, suppress(Killed):
            count = stop_at(patch, step)
            make(store, wanted, tower, **how)
        calls = count[0]
        left = FeatureStore.open(store)
        assert len(left.features) == len(left.names) in (3, 5)
        if len(left.names) == 5:
            np.testing.assert_array_equal(left.features, expected)
        np.testing.assert_array_equal(make(store, wanted, tower, **how).features, expected)
        assert tower.encoded <= 3, f"stopped at step {step}"
        assert not (store / "kept").exists()
        assert not (store / "unfinished/features.npy").exists()
    assert step > 12
