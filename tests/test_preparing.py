"""Making a store: alone at it, and what was made before."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.test_prepare_meg import write_song
from tests.test_store import write
from tests.test_store_files import HERE
from tinybrain.things import store
from tinybrain.things.meg.convert import convert
from tinybrain.things.preparing import alone, made_before

HOLDING = """
import sys
from pathlib import Path
from tinybrain.things.preparing import alone
with alone(Path(sys.argv[1])):
    print("locked", flush=True)
    sys.stdin.read()
"""


def test_two_processes_cannot_prepare_one_subject_at_once(tmp_path):
    write_song(tmp_path / "song")
    out = tmp_path / "out"
    command = [sys.executable, "-c", HOLDING, out / "sub-01"]
    with subprocess.Popen(command, stdin=-1, stdout=-1, **HERE) as other:
        assert other.stdout.readline().strip() == b"locked"
        with pytest.raises(BlockingIOError, match="sub-01: another process prepares it; wait"):
            convert(tmp_path / "song", out, 1)
        assert not (out / "sub-01").exists()
        with alone(out / "sub-02"):  # another subject is no obstacle
            pass
        other.kill()
    assert store.is_store(convert(tmp_path / "song", out, 1))


def test_the_lock_is_let_go_after_an_error(tmp_path):
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt), alone(tmp_path / "sub-01"):
            raise KeyboardInterrupt
    assert [path.name for path in tmp_path.iterdir()] == [".sub-01.lock"]


def test_what_was_made_otherwise_is_listed_and_what_else_is_said_does_not_matter(tmp_path):
    assert made_before(tmp_path, {"crop": "paper"}) is None
    made = {"crop": "paper", "settings": {"band": [0.1, 40.0], "seed": 1}, "numpy": "2.0"}
    write(tmp_path, source=made)
    same = {"crop": "paper", "settings": {"band": (0.1, 40.0)}}  # as JSON gives it back
    assert made_before(tmp_path, same).source == made
    wanted = {"crop": "all", "settings": {"band": None, "seed": 2}, "tmin": 0}
    with pytest.raises(ValueError, match="a recording made otherwise is there") as caught:
        made_before(tmp_path, wanted)
    listed = "(crop 'paper', now 'all'; band [0.1, 40.0], now None; seed 1, now 2; tmin None"
    assert listed in str(caught.value)
    write(tmp_path, source="by hand")
    with pytest.raises(ValueError, match="crop None, now 'paper'"):
        made_before(tmp_path, {"crop": "paper"})
