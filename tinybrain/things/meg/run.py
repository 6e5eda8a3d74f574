"""Runs of THINGS-MEG: found, opened through mne, their sensors picked, repaired, filtered.

A CTF folder (`.ds`) holds 310 channels of 1200 Hz: 272 gradiometers MLC11-1609 to MZP01-1609, which
mne types as magnetometers, references, head position, triggers on UPPT001. A raw FIF exported from
it holds the same. The signals are repaired first, then filtered, each sensor by itself, with mne's
own FIR filter and its defaults: zero phase, Hamming window, 33 s long for 0.1 Hz.
"""

from __future__ import annotations

import itertools
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ...messages import first_few
from ..images import visible
from .signal import RATE, count_onsets, repair_dropout

if TYPE_CHECKING:
    from mne.io import BaseRaw

RUN = re.compile(r"sub-.+_ses-(\d+)_(?:.+_)?run-(\d+)_meg\.(ds|fif)", re.IGNORECASE)
SENSOR = re.compile(r"M[LRZ][CFOPT]\d\d(-\d+)?")
BROKEN = "MRO11"  # a malfunctioning gradiometer, by the experimenters' notes
TRIGGER, CODE = "UPPT001", 64

Band = tuple[float | None, float | None] | None


class Dropout(NamedTuple):
    """Where a recording fell silent: seconds from the start of a run."""

    subject: int
    session: int
    run: int
    start: float
    length: float


DROPOUTS = (Dropout(1, 11, 5, 13.4, 0.2), Dropout(2, 10, 3, 59.8, 0.2))


class Run(NamedTuple):
    """One recording of a subject."""

    session: int
    run: int
    path: Path


def find_runs(root: str | Path, subject: int) -> tuple[Path, list[Run]]:
    """The subject's BIDS folder and its recordings in order; hidden files are ignored.

    Raises FileNotFoundError without any, ValueError if a run is there twice.
    """
    root = Path(root)
    wanted = re.compile(rf"sub-(BIGMEG|P)?0*{subject}", re.IGNORECASE)
    folders = [path for path in (root.absolute(), *visible(root)) if wanted.fullmatch(path.name)]
    inside = [meg for folder in folders for meg in sorted(folder.glob("ses-*/meg"))]
    named = [(RUN.fullmatch(path.name), path) for meg in inside for path in visible(meg)]
    runs = sorted(Run(int(name[1]), int(name[2]), path) for name, path in named if name)
    if not runs:
        raise FileNotFoundError(
            f"{root}: no recordings of subject {subject}; wanted the BIDS folder with "
            f"sub-BIGMEG{subject}/ses-01/meg/..._run-01_meg.ds in it (or raw FIF, ..._meg.fif), or "
            "the subject's folder"
        )
    for one, two in itertools.pairwise(runs):
        if one[:2] == two[:2]:
            raise ValueError(f"{one.path} and {two.path} are the same run; leave one of them")
    return runs[0].path.parents[2], runs


def is_raw(root: str | Path, subject: int) -> bool:
    """Whether there are raw recordings of this subject."""
    try:
        return bool(find_runs(root, subject))
    except FileNotFoundError:
        return False


def open_run(path: Path) -> BaseRaw:
    """A recording as an mne Raw, its signals not yet read: a CTF folder `.ds`, or a raw FIF."""
    try:
        import mne
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            f"{path}: raw MEG is read with mne, which is not installed: "
            "pip install 'tinybrain-ddpm[mne]'"
        ) from None
    ctf = path.suffix.lower() == ".ds"
    read = mne.io.read_raw_ctf if ctf else mne.io.read_raw_fif
    try:
        return read(path, preload=False, verbose="warning")
    except Exception as error:  # mne raises many kinds for a damaged recording
        raise ValueError(f"{path}: mne cannot read it: {error}; download it again") from error


def gradiometers(names: Sequence[str]) -> list[str]:
    """Those of the channels that are kept: 271 of THINGS-MEG's 310, in the recording's order."""
    return [n for n in names if SENSOR.fullmatch(n) and n.partition("-")[0] != BROKEN]


def check_triggers(raw: BaseRaw, path: Path, rows: int) -> None:
    """Every row of events.tsv has its trigger, 64 on UPPT001; their times are not compared.

    Raises ValueError if the numbers differ; without such a channel it warns.
    """
    names = [name for name in raw.ch_names if name.partition("-")[0] == TRIGGER]
    if not names:
        warnings.warn(
            f"{path}: no channel {TRIGGER}: whether its {rows} events belong to it is not checked",
            stacklevel=2,
        )
        return
    count = count_onsets(raw.get_data(picks=names[:1])[0], CODE)
    if count != rows:
        raise ValueError(
            f"{path}: {count} triggers of {CODE} on {TRIGGER}, but {rows} rows in its events.tsv; "
            "wanted one each: a truncated recording, or the table of another run"
        )


def read_signals(
    raw: BaseRaw, path: Path, sensors: Sequence[str], band: Band, dropouts: Sequence[Dropout] = ()
) -> np.ndarray:
    """A run's signals (h, samples), float64, in tesla: repaired, then filtered in place.

    Raises
    ------
    ValueError
        Another sampling rate, other sensors, a dropout outside the run or an impossible band.
    """
    import mne

    if abs(raw.info["sfreq"] - RATE) > 1e-6:
        raise ValueError(
            f"{path}: sampled at {raw.info['sfreq']:g} Hz; wanted the recording's own {RATE} Hz"
        )
    if (came := gradiometers(raw.ch_names)) != list(sensors):
        other = sorted(set(came) ^ set(sensors)) or ["the same in another order"]
        raise ValueError(
            f"{path}: {len(came)} gradiometers, the session's first run has {len(sensors)}; "
            f"they differ in {first_few(other)}: all runs need the same"
        )
    signals: np.ndarray = raw.get_data(picks=list(sensors))
    try:
        for dropout in dropouts:
            repair_dropout(signals, dropout.start, dropout.length)
        if band is not None:
            signals = mne.filter.filter_data(signals, RATE, *band, copy=False, verbose="error")
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return signals
