"""What lies in a run folder and who may write there.

    run-00001234.pt          state of the run after step 1234; the last few are kept
    run-00001234.pt.part     a state that was being written when the process was killed; not read
    run-00001234.pt.damaged  a state that did not agree with its checksum, set aside
    lock                     who is running here; locked by that process as long as it lives

The lock is the operating system's and ends with the process, however that ends; the file alone
means nothing and need not be removed.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import torch

from . import checkpoint
from .files import try_lock

LOCK = "lock"
STATE = re.compile(r"run-(\d{8,})\.pt")

# -------------------------------------------------------------------------------------------------
# States


def states(folder: str | Path) -> dict[int, Path]:
    """The files of states by their step, newest first; whether they are good is not looked at.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     for step in (10, 20, 30):
    ...         path = save_state(folder, "run", {"step": step}, step)
    ...     [step, *older] = states(folder)
    >>> path.name, step, older
    ('run-00000030.pt', 30, [20])
    """
    found = ((STATE.fullmatch(path.name), path) for path in Path(folder).glob("run-*.pt"))
    by_step = {int(match[1]): path for match, path in found if match}
    return dict(sorted(by_step.items(), reverse=True))


def save_state(
    folder: str | Path, kind: str, content: dict[str, Any], step: int, keep: int = 2
) -> Path:
    """Write the state after `step`, then remove older ones, so that `keep` are left with it.

    `kind` and `content` are as in `checkpoint.save`.

    Raises
    ------
    OSError
        If it could not be written; the states before it stay, and the message names the last.
    """
    path = Path(folder) / f"run-{step:08d}.pt"
    with told_how_to_continue(folder, path):
        for part in path.parent.glob("run-*.pt.part"):  # of a writer that was killed
            part.unlink()
        checkpoint.save(path, kind, content)
    older = [file for other, file in states(folder).items() if other < step]
    for file in older[keep - 1 :]:
        file.unlink()
    return path


@contextmanager
def told_how_to_continue(folder: str | Path, path: Path | None = None) -> Iterator[None]:
    """A file that cannot be written costs no earlier state; the error says which one stands."""
    try:
        yield
    except OSError as error:
        last = next(iter(states(folder).values()), None)
        stands = f"{last.name} stands" if last else "there is no earlier state"
        what = f"{path or error.filename or folder} could not be written"
        raise OSError(
            error.errno,
            f"{what} ({error.strerror or error}); {stands}. Make room or make the folder "
            "writable, and run again to continue",
        ) from error


def load_state(
    folder: str | Path, kind: str, device: str | torch.device = "cpu"
) -> tuple[dict[str, Any] | None, str]:
    """The newest good state, or None if there is none at all; and what a person should know.

    Damaged states newer than the good one are renamed to *.damaged, and the note names them; it
    is empty if all is well. Where several ranks read, the first does so before the others.

    Raises
    ------
    ValueError
        If there are states and all are damaged, or as `checkpoint.load`; nothing is renamed.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     before = load_state(folder, "run")
    ...     _ = save_state(folder, "run", {"step": 7}, 7)
    ...     content, note = load_state(folder, "run")
    >>> before, content["step"], note
    ((None, ''), 7, '')
    """
    damaged: dict[Path, str] = {}
    for path in states(folder).values():
        try:
            content = checkpoint.load(path, kind, device)
        except checkpoint.Damaged as error:
            damaged[path] = str(error)
            continue
        return content, _set_aside(damaged, path)
    if damaged:
        raise ValueError(
            f"{folder}: no state of the run is good:\n  " + "\n  ".join(damaged.values())
            + "\nput a good one there, or start anew with --restart"
        )
    return None, ""


def _set_aside(damaged: dict[Path, str], good: Path) -> str:
    """Rename the damaged states; the note."""
    for path in damaged:
        os.replace(path, path.with_name(path.name + ".damaged"))
    notes = [f"{reason}; kept as {path.name}.damaged" for path, reason in damaged.items()]
    return "\n".join([*notes, f"continuing from {good.name}"]) if damaged else ""


def remove_states(folder: str | Path) -> None:
    """Remove all states, damaged and unfinished ones too, to start anew."""
    for suffix in ("", ".part", ".damaged"):
        for path in Path(folder).glob(f"run-*.pt{suffix}"):
            path.unlink()


# -------------------------------------------------------------------------------------------------
# Who may write


@contextmanager
def locked(folder: str | Path) -> Iterator[None]:
    """Be the only one who runs in this folder, which is made if missing.

    Of the ranks of one job, the first locks for all. The lock is `flock`, on Windows `msvcrt`.

    Raises
    ------
    ValueError
        If another run holds the folder; its host, process and time of start are named.
    OSError
        If the folder cannot be written, or is on a file system without locks.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder, locked(folder):
    ...     try:
    ...         locked(folder).__enter__()
    ...     except ValueError as error:
    ...         print(error)
    /... is in use by process ... on ... since ...; wait for it or stop it, or name another folder
    """
    with _open_lock(Path(folder)) as file:
        try:
            yield
        finally:
            file.truncate(0)


def _open_lock(folder: Path) -> BinaryIO:
    """The lock file, locked; it says by whom."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = open(folder / LOCK, "a+b")  # noqa: SIM115
        if free := try_lock(file):
            os.ftruncate(file.fileno(), 0)
            os.write(file.fileno(), _who().encode())  # at once: a full disk says so here
    except OSError as error:
        raise OSError(
            error.errno,
            f"{folder} cannot be written or locked ({error.strerror}); name a folder of yours on "
            "a disk with room that knows locks",
        ) from None
    if not free:
        file.seek(0)
        holder = file.read().decode(errors="replace") or "another process"
        file.close()
        raise ValueError(
            f"{folder} is in use by {holder}; wait for it or stop it, or name another folder"
        )
    return file


def _who() -> str:
    since = time.strftime("%Y-%m-%d %H:%M:%S %z")
    return f"process {os.getpid()} on {socket.gethostname()} since {since}"


def check_place(folder: str | Path) -> None:
    """Raise OSError unless `folder` can be written, or made; nothing is made here."""
    place = Path(folder).absolute()
    while not place.exists():
        place = place.parent
    if not place.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, "a file, where a folder was wanted", str(place))
    if not os.access(place, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, "cannot be written; name another folder", str(place))


def check_room(folder: str | Path, needed: int) -> None:
    """Raise OSError unless `needed` bytes are free where `folder` is or will be.

    Quotas are not seen here; they show when a state is written, and cost no earlier one.
    """
    folder = Path(folder).absolute()
    place = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(place).free
    if free < needed:
        raise OSError(
            f"{folder}: the run will write {needed / 1e9:.2f} GB there, {free / 1e9:.2f} GB are "
            "free; make room, or name a folder on another disk"
        )
