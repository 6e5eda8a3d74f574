"""What can happen to a run, done to small ones, and what came of it.

    python -m tests.faults

Each run is a process that does what the examples do: it trains, and what goes wrong ends it with
one line. Then the same command runs again, nothing in its way, and should end with the weights,
averages, optimizer and log of a run to which nothing happened. Prints a table; exits with 1 if a
row is not as it should be.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import pickle
import re
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from tests.test_train import prepared, repeatable, weights
from tinybrain import checkpoint, run_folder, train
from tinybrain.ddpm import DDPM
from tinybrain.things import EEG2, make_demo

fork = multiprocessing.get_context("fork")  # torch is imported once
NOBODY = 65534
LATEST = 300  # seconds that a run may take
SAME = "continues; the same weights"
DEMO = {"train_concepts": 3, "train_images": 2, "train_repeats": 2, "test_concepts": 2,
        "test_repeats": 3, "sensors": ("O1", "Oz", "Cz"), "points": 7, "image_size": 16}

# -------------------------------------------------------------------------------------------------
# A run


class Ended(NamedTuple):
    """How a process ended, all that it said, and what it had learned, as a checksum."""

    code: int
    said: str
    learned: str


Provoke = Callable[[Tensor, Tensor], object]  # is given targets and held-out rows before a run


def nothing(y0: Tensor, aside: Tensor) -> None: ...


def command(folder: Path, provoke: Provoke, changes: dict) -> None:
    """What an example does: 12 steps, with states after 3, 4, 6, 8, 9 and 12."""
    with open(folder.with_suffix(".out"), "wb") as said:
        os.dup2(said.fileno(), 1)
        os.dup2(said.fileno(), 2)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's "&" has it ignored
    try:
        model, y0, context, aside = prepared(patience=0, **changes)
        provoke(y0, aside)
        log = train.fit(model, y0, context, folder, heldout=aside, save_every=3)
    except (ValueError, OSError, MemoryError, KeyboardInterrupt) as problem:
        sys.exit(f"train_eeg.py: {problem}")
    learned = hashlib.sha256(repr(repeatable(log)).encode() + weights(model).numpy().tobytes())
    state = checkpoint.load(folder / "run-00000012.pt", "run")
    moments = [value for p in state["optimizer"]["state"].values() for value in p.values()]
    for value in (*state["unet"].values(), *state["average"].values(), *moments):
        learned.update(value.numpy().tobytes())
    folder.with_suffix(".learned").write_text(learned.hexdigest())


def start(folder: Path, provoke: Provoke = nothing, **changes) -> multiprocessing.Process:
    folder.with_suffix(".learned").unlink(missing_ok=True)
    process = fork.Process(target=command, args=(folder, provoke, changes), daemon=True)
    process.start()
    return process


def end(process: multiprocessing.Process, folder: Path) -> Ended:
    process.join(LATEST)
    if process.exitcode is None:
        process.kill()
        process.join()
    learned = folder.with_suffix(".learned")
    return Ended(
        process.exitcode, folder.with_suffix(".out").read_text(),
        learned.read_text() if learned.exists() else "",
    )  # fmt: skip


def run(folder: Path, provoke: Provoke = nothing, **changes) -> Ended:
    return end(start(folder, provoke, **changes), folder)


def at_step(number: int, action: Callable[[], object]) -> Provoke:
    """Do something after this step, or before all, while the run knows of nothing."""
    one_step = train.train_step

    def step(state, *others):
        one_step(state, *others)
        if state.step == number:
            action()

    def provoke(y0: Tensor, aside: Tensor) -> None:
        train.train_step = step
        if number == 0:
            action()

    return provoke


# -------------------------------------------------------------------------------------------------
# Faults: each is done to a run in a new folder


def kill(*numbers: int) -> Callable[[Path], Ended]:
    """Signals that a run gets after step 5, in the middle of an epoch."""

    def send() -> None:
        for number in numbers:
            os.kill(os.getpid(), number)
            time.sleep(0.01)  # Python hears of two at once as of one

    return lambda folder: run(folder, at_step(5, send))


def killed_while_writing(folder: Path) -> Ended:
    def die(file: int) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    ended = run(folder, at_step(5, lambda: setattr(os, "fsync", die)))
    assert list(folder.glob("run-*.part")), "nothing was being written"
    return ended


def full_disk(step: int) -> Callable[[Path], Ended]:
    """After this step no file grows beyond 10 kB."""
    fill = partial(resource.setrlimit, resource.RLIMIT_FSIZE, (10_000, 10_000))
    return lambda folder: run(folder, at_step(step, fill))


def unwritable(step: int) -> Callable[[Path], Ended]:
    """After this step the folder cannot be written; root, who may write anywhere, is nobody."""

    def fault(folder: Path) -> Ended:
        folder.mkdir(mode=0o755)
        root = os.getuid() == 0
        forbid = partial(os.setuid, NOBODY) if root else partial(folder.chmod, 0o555)
        ended = run(folder, at_step(step, forbid))
        folder.chmod(0o755)
        return ended

    return fault


def file_in_its_place(folder: Path) -> Ended:
    folder.write_text("")
    ended = run(folder)
    folder.unlink()
    return ended


def damaged(change: Callable[[bytes], bytes], count: int = 1) -> Callable[[Path], Ended]:
    """Stopped after step 7; then the newest states are changed."""

    def fault(folder: Path) -> Ended:
        run(folder, at_step(7, lambda: os.kill(os.getpid(), signal.SIGTERM)))
        for path in list(run_folder.states(folder).values())[:count]:
            path.write_bytes(change(path.read_bytes()))
        return run(folder)

    return fault


def flip(content: bytes) -> bytes:
    place = len(content) // 2
    return content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :]


def other_settings(folder: Path) -> Ended:
    run(folder)
    return run(folder, lr=2e-3)


def second_run(folder: Path) -> Ended:
    go_on, until = folder.with_suffix(".go"), time.monotonic() + LATEST / 2

    def wait() -> None:
        while not go_on.exists() and time.monotonic() < until:
            time.sleep(0.01)

    first = start(folder, at_step(5, wait))
    while not run_folder.states(folder) and time.monotonic() < until:
        time.sleep(0.01)
    (second := folder.with_name("second")).symlink_to(folder)
    refused = run(second)
    go_on.touch()
    assert end(first, folder).code == 0
    return refused


def out_of_memory(folder: Path) -> Ended:
    """The network takes three rows of eight."""
    losses = DDPM.losses

    def limited(ddpm, denoiser, y0, *others):
        if len(y0) > 3:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate")
        return losses(ddpm, denoiser, y0, *others)

    return run(folder, at_step(0, lambda: setattr(DDPM, "losses", limited)))


def nan_in_a_file(folder: Path) -> Ended:
    def read() -> None:
        data = make_demo(folder.with_name("data"), **DEMO)
        (path,) = data.rglob("preprocessed_eeg_training.npy")
        content = np.load(path, allow_pickle=True)
        content["preprocessed_eeg_data"][4, 1, 2, 3] = np.nan
        path.write_bytes(pickle.dumps(content))
        EEG2(data, 1, "train")

    return run(folder, at_step(0, read))


def nan_in_a_target(held_out: bool, most: int = train.MAX_SKIPPED) -> Callable[[Path], Ended]:
    """In one image's target; the run bears with `most` steps that are left out."""

    def provoke(y0: Tensor, aside: Tensor) -> None:
        train.MAX_SKIPPED = most
        rows = [row for row in range(len(y0)) if (row in aside.tolist()) == held_out]
        y0[rows[3], 1, 2] = torch.nan

    return lambda folder: run(folder, provoke)


class Fault(NamedTuple):
    """A fault, and what should come of it; a message is a pattern."""

    name: str
    do: Callable[[Path], Ended]
    code: int
    message: str
    afterwards: str = SAME


STOPPED = r"train_eeg.py: stopped at step {}; run again to continue"
FULL = r"train_eeg.py: .*{} could not be written \({}\); {} stands. Make room or make the folder "
FULL += "writable, and run again to continue"
REPAIRED = r"holds a run with other settings:\n.*data.sum: nan there, [\d.]+ now\n.*--restart to.*"
NO_GOOD = r"no state of the run is good:\n.*7.pt.*\n.*6.pt.*\nput a good one there, or start anew "
NO_GOOD += "with --restart"
FAULTS = (
    Fault("Ctrl-C", kill(signal.SIGINT), 1, STOPPED.format("5 of 12")),
    Fault("Ctrl-C, twice", kill(signal.SIGINT, signal.SIGINT), 1,
          "train_eeg.py: stopped at once; run again to continue what is on disk"),
    Fault("SIGTERM", kill(signal.SIGTERM), 1, STOPPED.format("5 of 12")),
    Fault("kill -9", kill(signal.SIGKILL), -9, ""),
    Fault("kill -9 while a state is written", killed_while_writing, -9, ""),
    Fault("disk full, within an epoch", full_disk(5), 1,
          FULL.format("run-00000006.pt", "File too large", "run-00000004.pt")),
    Fault("disk full, at the end of an epoch", full_disk(4), 1,
          FULL.format("model.pt", "File too large", "run-00000003.pt")),
    Fault("folder not writable", unwritable(0), 1,
          r"train_eeg.py: .*cannot be written or locked \(Permission denied\); name a folder.*"),
    Fault("folder no longer writable", unwritable(5), 1,
          FULL.format("run-00000006.pt", "Permission denied", "run-00000004.pt")),
    Fault("a file in the folder's place", file_in_its_place, 1,
          r"train_eeg.py: .*cannot be written or locked \(File exists\); name a folder of yours.*"),
    Fault("newest state cut short", damaged(lambda content: content[:-999]), 0,
          r".*7.pt: not a file that .*; kept as .*damaged\ncontinuing from run-00000006.pt"),
    Fault("a bit flipped in the newest state", damaged(flip), 0,
          r".*7.pt: damaged, .*; kept as .*\.damaged\ncontinuing from run-00000006.pt"),
    Fault("a bit flipped in every state", damaged(flip, 2), 1, f"train_eeg.py: .*{NO_GOOD}",
          NO_GOOD),
    Fault("settings changed", other_settings, 1,
          r"train_eeg.py: .*: holds a run with other settings:\n.*recipe.lr: 0.001 there, 0.002 now"
          r"\nchoose another folder, --restart to start anew, or --force to go on with these"),
    Fault("a second run in the folder", second_run, 1,
          r"train_eeg.py: .* is in use by process \d+ on .*; wait for it or stop it, or name .*"),
    Fault("out of memory", out_of_memory, 1,
          r"train_eeg.py: out of memory with 8 rows at a time on cpu; 2 fit: --micro-batch 2"),
    Fault("NaN in a file", nan_in_a_file, 1,
          r"train_eeg.py: .*: NaN or infinite values in 1 of 6 rows, the first 4 \(.*\); want.*"),
    Fault("NaN in a target", nan_in_a_target(held_out=False), 0,
          "epoch 3: .*3 steps left out.*", REPAIRED),
    Fault("NaN in a target, too often", nan_in_a_target(held_out=False, most=1), 1,
          r"train_eeg.py: .*: 2 steps had gradients that are not finite and were left out; the last"
          r" .* was at step \d, of training row 3 at timestep \d+: look at .*", REPAIRED),
    Fault("NaN in a held-out target", nan_in_a_target(held_out=True), 1,
          r"train_eeg.py: the target of training row \d+, which is held out, is not finite: .*"),
)  # fmt: skip

# -------------------------------------------------------------------------------------------------
# The table


def look(fault: Fault, place: Path, learned: str) -> tuple[str, bool]:
    """Provoke a fault: its row of the table, and whether all is as it should be."""
    folder = place / "run"
    place.mkdir(mode=0o755)
    ended, again = fault.do(folder), run(folder)
    said = (ended.said, SAME if again.learned == learned else again.said)
    found = [re.search(*pair) for pair in zip((fault.message, fault.afterwards), said)]
    good = all(found) and ended.code == fault.code
    texts = [match.group() if match else text[-300:] for match, text in zip(found, said)]
    cells = [fault.name, str(ended.code), *(short(text, place) for text in texts)]
    return "| " + " | ".join(cells) + (" |" if good else " | **not so** |"), good


def short(text: str, place: Path) -> str:
    """In one line, without the path to the folder and who was where."""
    text = re.sub(r"process \d+ on \S+ since [^;]+", "process ... on ... since ...", text)
    return text.replace(f"{place}/", "").replace("\n", " ⏎ ") or "(none)"


def main() -> None:
    torch.set_num_threads(1)
    torch.optim.AdamW([torch.zeros(1, requires_grad=True)])  # imports much, once
    began, wrong = time.monotonic(), 0
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        place.chmod(0o755)
        learned = run(place / "whole").learned
        assert learned, (place / "whole.out").read_text()
        print("Each run: twelve steps, with states after 3, 4, 6, 8, 9 and 12.\n")
        print("| fault | exit | message | the same command afterwards |\n| - | - | - | - |")
        for number, fault in enumerate(FAULTS):
            row, good = look(fault, place / str(number), learned)
            print(row, flush=True)
            wrong += not good
    print(f"\n{len(FAULTS)} faults, {wrong} not as they should be, "
          f"{time.monotonic() - began:.0f} s")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
