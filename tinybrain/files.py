"""Files appear whole or not at all: written beside their place, flushed to disk, then renamed.

And a lock, for what two processes must not write at once.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

BEYOND = 1 << 30  # the byte that is locked on Windows, where locks are of bytes


def write_atomically(path: str | Path, write: Callable[[BinaryIO], object]) -> Path:
    """Let `write(file)` fill a file that takes the name `path` only when it is complete.

    The unfinished file is `path` + ".part", in the same folder, which is made if missing. If
    `write` raises, it is removed and an older file at `path` stays as it was.

    Raises
    ------
    OSError
        If the folder cannot be written or the disk is full.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = write_atomically(f"{folder}/new/data.bin", lambda file: file.write(b"whole"))
    ...     path.read_bytes(), [entry.name for entry in path.parent.iterdir()]
    (b'whole', ['data.bin'])
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    try:
        with open(part, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        if error.errno and not error.filename:
            error.filename = str(path)  # a full disk does not say where
        raise
    finally:
        part.unlink(missing_ok=True)
    return path


def write_text(path: str | Path, text: str) -> Path:
    """`write_atomically` for text in UTF-8."""
    return write_atomically(path, lambda file: file.write(text.encode()))


def reserve(path: str | Path) -> None:
    """Take the space of a sparse file now: a full disk is an error here, not after a night.

    In a memory map it would be the end of the process.

    Raises
    ------
    OSError
        The disk has no room for the file's length.
    """
    if not hasattr(os, "posix_fallocate"):
        return
    with open(path, "r+b") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, os.fstat(file.fileno()).st_size)
        except OSError as error:  # file systems that cannot reserve say so; the file is still good
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise


def try_lock(file: BinaryIO) -> bool:
    """Lock an open file if no other process has it locked; closing the file lets it go."""
    try:
        if sys.platform == "win32":
            import msvcrt

            os.lseek(file.fileno(), BEYOND, os.SEEK_SET)  # others may read what is in the file
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # held by another, as fcntl and msvcrt say it
        return False
    return True
