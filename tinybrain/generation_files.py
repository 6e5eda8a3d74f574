"""The files of a folder of generated signals, and what each state of them means.

    signals.npy, signals.json   when all is there: what `BrainSignals.load` reads
    signals.npy.part            until then: the array,
    signals.json.part           what is being made, of which files, with which settings,
    signals.done.part           a byte per block of rows: 1, it is on disk

Whenever the process is killed, the next can tell what it left:

    a block is flushed to disk before its byte is, so at most one per rank is drawn twice
    signals.json.part is written last: without it the others are a start that came to nothing
    at the end signals.npy is renamed, then signals.json: where signals.json.part stands beside no
    signals.npy.part, it describes signals.npy

Letters: n images, k trials, b rows of a block, h sensors, w time points.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .files import reserve, write_atomically
from .messages import differences
from .signal_files import ABOUT, ARRAY, read_about, write_about
from .signals import BrainSignals

ARRAY_PART, ABOUT_PART, DONE = ARRAY + ".part", ABOUT + ".part", "signals.done.part"
Signals = npt.NDArray[np.float32]
REMEDY = "name another folder, or begin anew with --restart"
FIF = "signals-epo.fif"
FIF_LIMIT = 1 << 30  # bytes of float32 signals; MNE holds them all, in float64


def begin(folder: Path, about: dict[str, Any], restart: bool) -> None:
    """Have the files of an unfinished run of `about`, or of a finished one."""
    if restart:  # descriptions first: no array is ever beside one that is not its own
        for name in (ABOUT, ABOUT_PART, DONE, ARRAY_PART, ARRAY, FIF):
            (folder / name).unlink(missing_ok=True)
    there = {name: (folder / name).exists() for name in (ARRAY, ARRAY_PART, ABOUT_PART)}
    if there == {ARRAY: True, ARRAY_PART: False, ABOUT_PART: True}:  # killed within `finish`
        os.replace(folder / ABOUT_PART, folder / ABOUT)
    found = read_about(folder / ABOUT_PART) or read_about(folder / ABOUT)
    if found is None:
        if there[ARRAY]:
            raise ValueError(f"{folder} holds a {ARRAY} that no {ABOUT} describes; {REMEDY}")
        _start(folder, about)
    elif changed := differences(found, about):
        raise ValueError(
            f"{folder} holds signals made from something else:\n  " + "\n  ".join(changed)
            + f"\n{REMEDY}"
        )


def _start(folder: Path, about: dict[str, Any]) -> None:
    """Make the files of a run; its description comes last, without it there is none."""
    shape, path = tuple(about["shape"]), folder / ARRAY_PART
    try:
        np.lib.format.open_memmap(path, "w+", np.float32, shape=shape)
        reserve(path)
        write_atomically(folder / DONE, lambda file: file.write(bytes(_blocks(about))))
        write_about(folder / ABOUT_PART, about)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise OSError(
            f"{folder}: no room for {4 * int(np.prod(shape)) / 1e9:.3g} GB of signals "
            f"({error.strerror}); make room, or name a folder on another disk"
        ) from error


def missing_blocks(folder: Path) -> list[int]:
    """Blocks that are not on disk yet; none if the run is finished."""
    about = read_about(folder / ABOUT_PART)
    if about is None:
        return []
    try:
        done = (folder / DONE).read_bytes()
        size = (folder / ARRAY_PART).stat().st_size
    except FileNotFoundError as error:
        raise ValueError(f"{error.filename} is gone; {REMEDY}") from None
    if len(done) != _blocks(about) or size <= 4 * int(np.prod(about["shape"])):
        raise ValueError(f"{folder}: {DONE} or {ARRAY_PART} is cut short; {REMEDY}")
    return [block for block, is_done in enumerate(done) if not is_done]


def _blocks(about: dict[str, Any]) -> int:
    n, k, *_ = about["shape"]
    blocks: int = -(-n * k // about["batch_size"])
    return blocks


def write_block(folder: Path, block: int, place: int, signals: Signals) -> None:
    """Put a block (b, h, w) at its place, in rows (h, w) from the end of the array.

    When this returns it is on disk, and known to be there. Written to the file and not through a
    memory map, where a full disk would kill the process.
    """
    for name, end, offset, content in (
        (ARRAY_PART, os.SEEK_END, -place * signals[0].nbytes, signals.tobytes()),
        (DONE, os.SEEK_SET, block, b"\1"),
    ):
        with open(folder / name, "r+b") as file:
            file.seek(offset, end)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())


def finish(folder: Path) -> None:
    """Give complete signals their names."""
    if (folder / ABOUT_PART).exists():
        os.replace(folder / ARRAY_PART, folder / ARRAY)
        os.replace(folder / ABOUT_PART, folder / ABOUT)
    (folder / DONE).unlink(missing_ok=True)


# -------------------------------------------------------------------------------------------------
# For MNE


def check_fif(shape: tuple[int, ...]) -> None:
    """Raise if signals (n, k, h, w) cannot become one FIF file: no MNE, or too large for it."""
    try:
        import mne  # noqa: F401  not only looked for: one without its parts would fail at the end
    except ImportError as error:
        raise ImportError(
            f"--fif needs MNE-Python: pip install 'tinybrain-ddpm[mne]' ({error})"
        ) from error
    size = 4 * int(np.prod(shape))
    if size > FIF_LIMIT:
        raise ValueError(
            f"--fif: {size / 2**30:.1f} GiB of signals; MNE holds a file of epochs in memory twice "
            f"over, so {FIF_LIMIT / 2**30:g} GiB is the limit. Without --fif all are in {ARRAY}: "
            "take some of BrainSignals.load(folder) and use their to_mne"
        )


def write_fif(folder: Path) -> Path:
    """signals-epo.fif from the finished signals: n k epochs, each event an image as in `to_mne`."""
    part = folder / f"part-{FIF}"  # MNE wants this ending
    BrainSignals.load(folder).to_mne().save(part, overwrite=True, verbose="error")
    os.replace(part, folder / FIF)
    return folder / FIF
