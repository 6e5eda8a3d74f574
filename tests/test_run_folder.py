"""A run folder: the newest good state survives a kill, a full disk, wrong bits, a second run."""

import errno
import multiprocessing
import os
import random
import re
import resource
import socket
import subprocess
import sys
import tempfile
import time
import types
from collections import namedtuple
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from tinybrain import checkpoint, run_folder
from tinybrain.files import BEYOND
from tinybrain.run_folder import load_state, locked, remove_states, save_state

fork = multiprocessing.get_context("fork")


def content(step, size=200):
    weights = torch.from_numpy(np.arange(size) * step)  # torch's own threads do not live on a fork
    return {"step": step, "weights": weights, "log": [{"loss": step / 7}]}


def same(state, step, size=200):
    wanted = content(step, size)
    return torch.equal(state.pop("weights"), wanted.pop("weights")) and state == wanted


def save_some(folder, *steps, keep=2):
    for step in steps:
        path = save_state(folder, "run", content(step), step, keep)
    return path


def names(folder):
    return sorted(path.name for path in folder.iterdir())


# -------------------------------------------------------------------------------------------------
# States


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_the_newest_few_are_kept_and_the_newest_is_loaded(tmp_path, keep):
    folder = tmp_path / "made" / "here"
    assert load_state(folder, "run", "cpu") == (None, "")
    save_some(folder, 1, 7, 99_999_999, 100_000_000, 100_000_007, keep=keep)  # 9 digits, too
    kept = ["run-100000007.pt", "run-100000000.pt", "run-99999999.pt"][:keep]
    assert [path.name for path in run_folder.states(folder).values()] == kept
    state, note = load_state(folder, "run", "cpu")
    assert same(state, 100_000_007) and note == ""


def test_a_state_is_never_removed_by_writing_it(tmp_path):
    """An older step than those there, as after `remove_states` was forgotten."""
    save_some(tmp_path, 50, 60, 20)
    assert names(tmp_path) == [f"run-000000{step}.pt" for step in (20, 50, 60)]
    save_some(tmp_path, 60)
    assert names(tmp_path) == ["run-00000050.pt", "run-00000060.pt"]


def test_other_files_are_left_alone_and_unfinished_states_are_not(tmp_path):
    others = ["model.pt", "run.pt", "run-1.pt", "run-best.pt", "model.pt.part", "log.csv"]
    for name in (*others, "run-00000003.pt.part", "run-00000009.pt.part"):
        (tmp_path / name).write_bytes(b"half")
    assert load_state(tmp_path, "run") == (None, "")
    save_some(tmp_path, 1, 2, 3, 4)
    assert names(tmp_path) == sorted([*others, "run-00000003.pt", "run-00000004.pt"])


def test_all_states_are_removed_to_start_anew(tmp_path):
    save_some(tmp_path, 1, 2)
    for name in ("run-00000003.pt.part", "run-00000001.pt.damaged", "model.pt", "run.pt"):
        (tmp_path / name).write_bytes(b"")
    remove_states(tmp_path)
    assert names(tmp_path) == ["model.pt", "run.pt"]
    remove_states(tmp_path / "none")


# -------------------------------------------------------------------------------------------------
# Damage


def damage(path, rng):
    """Cut the file short or flip a bit of it, anywhere."""
    whole = bytearray(path.read_bytes())
    if rng.random() < 0.3:
        whole = whole[: rng.randrange(len(whole))]
    else:
        whole[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
    path.write_bytes(whole)


def test_a_damaged_newest_is_set_aside_and_said(tmp_path):
    rng = random.Random(0)
    good = save_some(tmp_path, 1200)
    for _ in range(300):
        bad = save_some(tmp_path, 1234)
        damage(bad, rng)
        wrong = bad.read_bytes()
        state, note = load_state(tmp_path, "run", "cpu")
        assert same(state, 1200)
        assert re.fullmatch(
            rf"{bad}: (damaged|not a file that .* wrote), .*; kept as run-00001234\.pt\.damaged\n"
            "continuing from run-00001200.pt", note
        )
        aside = tmp_path / "run-00001234.pt.damaged"
        assert names(tmp_path) == [good.name, aside.name] and aside.read_bytes() == wrong
        assert load_state(tmp_path, "run")[1] == "", "said once"
    save_some(tmp_path, 1234, 1300, 1400)
    assert names(tmp_path) == ["run-00001234.pt.damaged", "run-00001300.pt", "run-00001400.pt"]


def test_if_all_are_damaged_nothing_is_begun_anew_by_itself(tmp_path):
    paths = [save_some(tmp_path, step) for step in (3, 4)]
    for path in paths:
        path.write_bytes(path.read_bytes()[:-1])
    for _ in range(2):  # the second call must not find an empty folder
        with pytest.raises(ValueError, match=r"(?s)no state.*04\.pt.*03\.pt.*anew with --restart"):
            load_state(tmp_path, "run")
        assert names(tmp_path) == [path.name for path in paths]


def test_a_state_of_another_kind_is_refused_and_not_set_aside(tmp_path):
    save_some(tmp_path, 1)
    checkpoint.save(tmp_path / "run-00000002.pt", "model", {})
    with pytest.raises(ValueError, match="of kind 'model'; wanted 'run'"):
        load_state(tmp_path, "run")
    assert names(tmp_path) == ["run-00000001.pt", "run-00000002.pt"]


SIZE = 100_000


def save_for_ever(folder, written):
    """Continue the run; say each step that is on disk."""
    state, _ = load_state(folder, "run", "cpu")
    step = state["step"] if state else 0
    while True:
        step += 1
        save_state(folder, "run", content(step, SIZE), step)
        written.send(step)


def test_kill_9_at_twenty_moments_loses_nothing_that_was_written(tmp_path):
    rng, last, parts = random.Random(0), 0, 0
    for _ in range(20):
        hear, say = fork.Pipe(duplex=False)
        child = fork.Process(target=save_for_ever, args=(tmp_path, say), daemon=True)
        child.start()
        say.close()
        assert hear.poll(60)
        last = hear.recv()
        time.sleep(rng.uniform(0, 0.05))
        child.kill()
        child.join()
        try:
            while True:
                last = hear.recv()
        except EOFError:
            pass
        parts += any(name.endswith(".part") for name in names(tmp_path))
        state, note = load_state(tmp_path, "run", "cpu")
        assert state["step"] in (last, last + 1) and same(state, state["step"], SIZE)
        assert note == "" and len(run_folder.states(tmp_path)) in (min(last, 2), 3)
        assert len(names(tmp_path)) <= 4
    assert parts, "none of the kills met a file half written"
    save_some(tmp_path, 10**6, 10**6 + 1)
    assert names(tmp_path) == ["run-01000000.pt", "run-01000001.pt"]


# -------------------------------------------------------------------------------------------------
# Disks


@contextmanager
def files_up_to(size):
    """The operating system refuses to let a file grow beyond `size` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_write_that_fails_leaves_the_states_before_it(tmp_path):
    with files_up_to(300_000), pytest.raises(OSError, match="there is no earlier state"):
        save_state(tmp_path, "run", content(1, SIZE), 1)
    assert names(tmp_path) == []
    save_some(tmp_path, 1, 2)
    for size in (0, 1, 30_000, 799_000, 801_000):  # 8 * SIZE bytes are the weights'
        message = r"run-00000003\.pt could not be written \(File too large\); run-00000002\.pt stan"
        with files_up_to(size), pytest.raises(OSError, match=message) as caught:
            save_state(tmp_path, "run", content(3, SIZE), 3)
        assert caught.value.errno == errno.EFBIG
        assert names(tmp_path) == ["run-00000001.pt", "run-00000002.pt"]
    assert same(load_state(tmp_path, "run")[0], 2)


def test_a_full_disk_leaves_the_states_before_it(tmp_path, monkeypatch):
    save_some(tmp_path, 1, 2)

    def full(file):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left on device\); run-00000002\.pt stands") as got:
        save_some(tmp_path, 3)
    assert got.value.errno == errno.ENOSPC
    assert names(tmp_path) == ["run-00000001.pt", "run-00000002.pt"]


def test_room_is_looked_for_before_a_long_run(tmp_path, monkeypatch):
    run_folder.check_room(tmp_path / "not" / "yet", 1)
    with pytest.raises(OSError, match=r"yet: the run will write 1000000000.00 GB there, .* are fr"):
        run_folder.check_room(tmp_path / "not" / "yet", 10**18)
    assert not (tmp_path / "not").exists()
    usage = namedtuple("usage", "total used free")(9e9, 4e9, 5_000_000_000)
    monkeypatch.setattr(run_folder.shutil, "disk_usage", lambda place: usage)
    run_folder.check_room(tmp_path, 5_000_000_000)
    with pytest.raises(OSError, match=r"write 5.02 GB there, 5.00 GB are free; make room"):
        run_folder.check_room(tmp_path, 5_020_000_000)


# -------------------------------------------------------------------------------------------------
# The lock


def hold(folder, say):
    with locked(folder):
        say.send(os.getpid())
        time.sleep(60)


def test_a_second_run_is_refused_by_name_until_the_first_is_killed(tmp_path):
    folder = tmp_path / "made" / "here"
    hear, say = fork.Pipe(duplex=False)
    child = fork.Process(target=hold, args=(folder, say), daemon=True)
    child.start()
    pid, today = hear.recv(), time.strftime("%Y-%m-")
    who = rf"process {pid} on {re.escape(socket.gethostname())} since {today}\d\d \d\d:\d\d:\d\d "
    for _ in range(2):  # being refused must not open the door
        with pytest.raises(ValueError, match=rf"here is in use by {who}.*; wait for it or stop"):
            locked(folder).__enter__()
    child.kill()
    child.join()
    with locked(folder):
        assert (folder / "lock").read_text().startswith(f"process {os.getpid()} on ")
    assert (folder / "lock").read_text() == ""


def test_a_lock_holds_within_one_process_and_ends_with_an_error(tmp_path):
    with pytest.raises(RuntimeError, match="of the run"), locked(tmp_path):
        with pytest.raises(ValueError, match=f"in use by process {os.getpid()} on"):
            locked(tmp_path).__enter__()
        raise RuntimeError("of the run")
    for _ in range(2):
        with locked(tmp_path):
            assert (tmp_path / "lock").read_text().count("process") == 1


UNWRITABLE = """
import os, sys
from tinybrain import run_folder
if os.getuid() == 0:
    os.setuid(65534)  # root may write anywhere
for use in (lambda: run_folder.locked(sys.argv[1]).__enter__(),
            lambda: run_folder.save_state(sys.argv[1], "run", {}, 1)):
    try:
        use()
    except PermissionError as error:
        print(error)
"""


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    with tempfile.TemporaryDirectory(suffix="theirs") as folder:
        os.chmod(folder, 0o555)
        out = subprocess.run(
            [sys.executable, "-c", UNWRITABLE, folder], capture_output=True, text=True,
            cwd=Path(__file__).parents[1], check=True,
        ).stdout.splitlines()
    assert len(out) == 2
    assert re.search(r"theirs cannot be written or locked \(Permission denied\); name a f", out[0])
    assert re.search(r"run-00000001\.pt could not be written \(Permission denied\); there", out[1])
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OSError, match=r"file cannot be written or locked \(File exists\)"):
        locked(tmp_path / "file").__enter__()


def test_windows_locks_a_byte_that_nobody_reads(tmp_path, monkeypatch):
    """There a lock is of bytes from where a file stands: all must ask for the same one."""
    asked = []
    kernel = types.SimpleNamespace(LK_NBLCK=2, locking=lambda fd, mode, count: asked.append(
        (os.lseek(fd, 0, os.SEEK_CUR), mode, count)))
    monkeypatch.setitem(sys.modules, "msvcrt", kernel)
    monkeypatch.setattr(sys, "platform", "win32")
    with locked(tmp_path):  # empty, then with the holder's name in it
        holder = (tmp_path / run_folder.LOCK).read_text()
        with locked(tmp_path):
            pass
    assert str(os.getpid()) in holder and asked == [(BEYOND, 2, 1)] * 2


def test_a_disk_without_locks_is_not_taken_for_a_free_one(tmp_path, monkeypatch):
    def no_locks(file):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(run_folder, "try_lock", no_locks)
    with pytest.raises(OSError, match=r"\(No locks available\); name a folder of yours on a disk"):
        locked(tmp_path).__enter__()
