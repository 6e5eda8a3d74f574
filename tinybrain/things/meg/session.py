"""One session of raw THINGS-MEG as a part on disk: its trials, in the order of time.

    ses-01.npy    float32 (trials, h, 281), without the catch trials
    ses-01.json   what it was made of, and how; written last

One run is in memory at a time. It is 0.5 GB of int32 on disk and 0.9 GB as 271 sensors in float64;
while mne converts the one into the other up to 3.4 GB are taken. A part that was made of other
files, of other onsets or with other settings is made again. Letters: h sensors.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ...files import write_atomically, write_text
from ..preparing import Report
from .run import (
    DROPOUTS,
    Band,
    Dropout,
    Run,
    check_triggers,
    gradiometers,
    open_run,
    read_signals,
)
from .signal import TIMES, cut_epochs
from .trials import Trials

SENSORS = 271
Json = dict[str, Any]  # an object as JSON gives it back


@dataclass(frozen=True)
class Settings:
    """What decides how a trial looks.

    Attributes
    ----------
    band : (low, high) in Hz, either of them None for no such edge, or None for no filter at all.
        The distributed epochs have 0.1-40 Hz; the paper says 0.1-100 Hz.
    dropouts : where signals are replaced by their median.
    """

    band: Band = (0.1, 40.0)
    dropouts: tuple[Dropout, ...] = DROPOUTS


DISTRIBUTED = Settings()


@dataclass(frozen=True)
class Part:
    """A session that is on disk."""

    file: Path  # (trials, h, 281)
    sensors: tuple[str, ...]


def make_part(
    folder: Path,
    subject: int,
    runs: Sequence[Run],
    trials: Trials,
    settings: Settings,
    report: Report,
) -> Part:
    """Make the part of a session in `folder`, unless it is there.

    Parameters
    ----------
    runs : those of the session.
    trials : all of the subject; their samples must be known.
    report : is told of each run in a line.
    """
    session = runs[0].session
    file, card = folder / f"ses-{session:02d}.npy", folder / f"ses-{session:02d}.json"
    made = _how(subject, runs, trials, settings)
    there = _read(card)
    if file.is_file() and there.get("made") == made:
        report(f"session {session:02d}: kept from before")
        return Part(file, tuple(there["sensors"]))
    sensors = gradiometers(open_run(runs[0].path).ch_names)
    if len(sensors) != SENSORS:
        warnings.warn(
            f"{runs[0].path}: {len(sensors)} gradiometers; THINGS-MEG has {SENSORS}", stacklevel=3
        )
    card.unlink(missing_ok=True)
    write_atomically(file, lambda out: _write(out, runs, sensors, made, settings, report))
    write_text(card, json.dumps({"made": made, "sensors": sensors}))
    return Part(file, tuple(sensors))


def _write(
    out: BinaryIO,
    runs: Sequence[Run],
    sensors: Sequence[str],
    made: Json,
    settings: Settings,
    report: Report,
) -> None:
    """An .npy file, run after run."""
    shape = (sum(len(told["onsets"]) for told in made["runs"]), len(sensors), len(TIMES))
    header = {"descr": "<f4", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(out, header)
    for run, told in zip(runs, made["runs"]):
        here = (made["subject"], run.session, run.run)
        dropouts = [dropout for dropout in settings.dropouts if dropout[:3] == here]
        onsets, events = told["onsets"], told["events"]
        trials = read_run(run.path, sensors, onsets, events, settings.band, dropouts)
        out.write(trials.astype("<f4", copy=False).tobytes())
        report(f"session {run.session:02d}, run {run.run:02d}: {len(trials)} trials")


def read_run(
    path: Path,
    sensors: Sequence[str],
    onsets: Sequence[int],
    events: int,
    band: Band,
    dropouts: Sequence[Dropout],
) -> np.ndarray:
    """The trials (n, h, 281) of a run; its signals are let go on return.

    Parameters
    ----------
    onsets : samples of the trials that are wanted.
    events : the number of all its trials, as many as there must be triggers.
    """
    raw = open_run(path)
    check_triggers(raw, path, events)
    signals = read_signals(raw, path, sensors, band, dropouts)
    try:
        return cut_epochs(signals, onsets, sensors)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _how(subject: int, runs: Sequence[Run], trials: Trials, settings: Settings) -> Json:
    """All that a part depends on, as JSON gives it back."""
    each = []
    for run in runs:
        shown = (trials.session == run.session) & (trials.run == run.run)
        onsets = trials.sample[shown & (trials.kind != "catch")].tolist()
        events = int(shown.sum())
        each.append({"file": run.path.name, "bytes": _size(run.path), "events": events,
                     "onsets": onsets})  # fmt: skip
    how = {"subject": subject, "settings": asdict(settings), "runs": each}
    found: Json = json.loads(json.dumps(how))
    return found


def _size(path: Path) -> int:
    files = [path] if path.is_file() else [file for file in path.iterdir() if file.is_file()]
    return sum(file.stat().st_size for file in files)


def _read(card: Path) -> Json:
    """What is in a card; nothing if it is not there, or damaged."""
    try:
        content = json.loads(card.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
