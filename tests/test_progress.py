"""What a person sees of a run: the bar, the lines and the log; and the keys that end it."""

from __future__ import annotations

import csv
import io
import os
import re
import signal
import subprocess
import sys
import time
import types

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from tests.test_train import prepared
from tinybrain import log as logs
from tinybrain import progress, train
from tinybrain.speed import Speed


class Clock:
    """Seconds pass only when told."""

    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    monkeypatch.setattr(time, "monotonic", clock := Clock())
    return clock


class Terminal(io.StringIO):
    def isatty(self):
        return True

    def lines(self):
        """All that the last line has shown."""
        return [text.rstrip() for text in self.getvalue().split("\r") if text.strip()]


@pytest.fixture
def terminal(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(progress, "sys", types.SimpleNamespace(stderr=terminal))
    monkeypatch.setenv("COLUMNS", "70")
    return terminal


def test_the_bar_tells_share_pace_and_words(terminal, clock):
    with progress.bar(40, 10, True) as shown:
        clock.now += 60
        shown.update(10, lambda: "loss 0.5000, 7 images/s")
    (line,) = terminal.lines()
    assert line == " 50 % [##########----------] 20/40, 0:02:00 left, loss 0.5000, 7 imag"
    assert len(line) == 69, "a line as long as the terminal would begin a new one"
    assert terminal.getvalue().endswith("\r" + 69 * " " + "\r"), "nothing stays behind"


def test_time_left_is_that_of_the_steps_this_process_has_seen(clock):
    shown = progress.Bar(100, 40, True)
    assert shown.left() == "?"
    clock.now += 10
    shown.update(20)
    assert shown.left() == "0:00:20"
    clock.now += 86_400
    assert shown.left() == "2 days, 0:00:20"


def test_words_are_asked_for_once_a_second_at_most(terminal, clock):
    asked = []
    with progress.bar(1000, 0, True) as shown:
        for _ in range(1000):
            clock.now += 0.0625
            shown.update(1, lambda: asked.append(1) or "loss")
    assert len(asked) == 62  # of 62.5 seconds
    assert len(terminal.lines()) == 62


def test_lines_stay_above_the_bar(terminal, clock, capsys):
    with progress.bar(10, 0, True) as shown:
        clock.now += 5
        shown.update(1, lambda: "loss")
        shown.say("epoch 1: loss 0.5")
    assert terminal.getvalue().split("\r")[-5:-2] == [terminal.lines()[0].ljust(69), 69 * " ", ""]
    assert capsys.readouterr().out == "epoch 1: loss 0.5\n"


def test_without_a_terminal_there_are_lines_and_no_bar(clock, capsys):
    with progress.bar(10, 0, True) as shown:
        clock.now += 5
        shown.update(1, lambda: pytest.fail("nobody can see it"))
        shown.say("epoch 1: loss 0.5")
    assert capsys.readouterr() == ("epoch 1: loss 0.5\n", "")


def test_without_progress_there_is_nothing(terminal, clock, capsys):
    with progress.bar(10, 0, False) as shown:
        clock.now += 5
        shown.update(1, lambda: pytest.fail("nobody wants to see it"))
        shown.say("epoch 1: loss 0.5")
    assert terminal.getvalue() == "" and capsys.readouterr().out == ""


@pytest.fixture
def listening():
    """Ctrl-C as in a terminal: a job in the background is begun with deaf ears."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_the_first_key_is_answered_and_a_second_ends_at_once(capfd, listening):
    before = signal.getsignal(signal.SIGINT)
    at_once = pytest.raises(KeyboardInterrupt, match="at once; run again to continue")
    with at_once, progress.interruptible() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.is_set() and "press Ctrl-C again to stop at once" in capfd.readouterr().err
        os.kill(os.getpid(), signal.SIGINT)
        pytest.fail("still running")
    assert signal.getsignal(signal.SIGINT) is before


# -------------------------------------------------------------------------------------------------
# The log


TAKES = """
import mmap, re, torch
from pathlib import Path
from tinybrain.log import memory_mb

cpu = torch.device("cpu")
before = memory_mb(cpu)
block = mmap.mmap(-1, 200_000_000)  # straight from the system: malloc may have some to spare
for start in range(0, len(block), 1_000_000):
    block.write(b"1" * 1_000_000)
after = memory_mb(cpu)
resident = int(re.search(r"VmRSS:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
block.close()
print(before, after, memory_mb(cpu), resident * 1.024e-3)
"""


def test_memory_on_a_cpu_is_what_the_system_says_is_resident():
    """In a process of its own, where nothing else takes or gives any."""
    printed = subprocess.check_output([sys.executable, "-c", TAKES], text=True)
    before, after, closed, resident = map(float, printed.split())
    assert after == pytest.approx(resident, rel=0.02)
    assert after - before == pytest.approx(200, rel=0.05)
    assert closed - before < 20, "it is what is taken now"



def test_memory_elsewhere(monkeypatch):
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 1e6 * device.index)
    assert logs.memory_mb(torch.device("cuda", 3)) == 3
    monkeypatch.setattr(sys, "platform", "darwin")
    assert logs.memory_mb(torch.device("cpu")) > 0
    monkeypatch.setitem(sys.modules, "resource", None)
    assert logs.memory_mb(torch.device("cpu")) is None
    monkeypatch.setattr(logs, "memory_mb", lambda device: None)
    row = logs.machine_columns(logs.Pace(images=9), torch.device("cpu"))
    assert logs.speed(row).endswith("images/s") and row["memory_mb"] is None


def test_a_row_in_words():
    row = {"epoch": 3, "loss": 0.51234, "heldout_mse": None, "skipped": 0,
           "images_per_second": 1234.56, "memory_mb": 4321.4}
    assert logs.describe(row) == "epoch 3: loss 0.5123, 1,235 images/s, 4,321 MB"
    row |= {"heldout_mse": 0.25, "skipped": 2, "images_per_second": 0.314}
    assert logs.describe(row) == (
        "epoch 3: loss 0.5123, held-out MSE 0.25000, 2 steps left out, 0.31 images/s, 4,321 MB"
    )


class Asked(TorchDispatchMode):
    """Counts what makes the host wait for the device: a value of a tensor as a number."""

    count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        self.count += name in ("_local_scalar_dense", "nonzero", "equal", "is_nonzero")
        return function(*args, **kwargs or {})


def pretend(monkeypatch, clock, seconds):
    """Steps that do nothing but take their time."""

    def step(state, *others):
        clock.now += seconds
        state.step += 1

    monkeypatch.setattr(train, "train_step", step)


@pytest.mark.parametrize(("seconds", "looks"), [(0.01, 0), (0.5, 2), (2.0, 4)])
def test_between_steps_nothing_is_asked_of_the_device_but_for_the_bar(
    tmp_path, monkeypatch, terminal, clock, seconds, looks
):
    """Four steps. At their end the count of skipped ones is asked for, once."""
    pretend(monkeypatch, clock, seconds)
    listed, to_list = [], torch.Tensor.tolist  # which on a CPU passes by all dispatch
    monkeypatch.setattr(torch.Tensor, "tolist", lambda x: listed.append(x) or to_list(x))
    model, y0, context, heldout = prepared(epochs=1)
    run = train.begin(
        model, y0, context, tmp_path, heldout, train.Ranks(), None, 500, Speed()
    )  # fmt: skip
    shown = progress.Bar(run.total, 0, True)
    listed.clear()
    with progress.interruptible() as stop, Asked() as asked:
        train.train_epoch(run, stop, shown)
    assert run.state.step == 4
    assert asked.count == 1 and len(listed) == len(terminal.lines()) == looks


def test_pace_and_memory_of_every_epoch_are_in_the_log_and_said(
    tmp_path, monkeypatch, clock, capsys
):
    """32 rows an epoch, four steps of half a second; on going on, the rows of this process."""
    pretend(monkeypatch, clock, 0.5)
    monkeypatch.setattr(logs, "memory_mb", lambda device: 77.0)
    model, y0, context, heldout = prepared(patience=0)
    one_step = train.train_step

    def stop_at_5(state, *others):
        one_step(state, *others)
        if state.step == 5:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(train, "train_step", stop_at_5)
    with pytest.raises(KeyboardInterrupt, match="stopped at step 5"):
        train.fit(model, y0, context, tmp_path, heldout=heldout)
    monkeypatch.setattr(train, "train_step", one_step)
    model = prepared(patience=0)[0]
    log = train.fit(model, y0, context, tmp_path, heldout=heldout)
    with open(tmp_path / "log.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    for found in (log, rows):
        assert [float(row["seconds"]) for row in found] == [2, 1.5, 2]
        assert {float(row["images_per_second"]) for row in found} == {16}
        assert {float(row["memory_mb"]) for row in found} == {77}
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 4 and said[1] == "5 of 12 steps are done"
    ends = ("0:00:04 left", "0:00:02 left", "0:00:00 left")
    for line, end in zip((said[0], *said[2:]), ends):
        assert re.fullmatch(rf"epoch \d: loss .*, held-out MSE .*, 16 images/s, 77 MB, {end}", line)
