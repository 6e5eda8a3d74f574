"""THINGS-MEG from its raw recordings (OpenNeuro ds004212) to the paper's array, in bounded memory.

    run by run           271 gradiometers, dropouts repaired, band filter             `run.py`
                         trials around image onset, baseline z-score, 200 Hz          `signal.py`
    session by session   trials on disk, without catch trials                         `session.py`
    merging              row i is the i-th image, its repetitions in order of session

The steps are those of THINGS-data, MEG/step1_preprocessing.py, which made the distributed epochs.
Images' onsets are the measured ones, by the optical sensor: column `sample` of events.tsv, which
version 2 of the data set has. The result is this project's own store (`store.py`): float32 (19848,
1, 271, 200) and (200, 12, 271, 200), 4.8 GB a subject; while it is made 7.5 GB more are needed.
Letters: n images, r repetitions, h sensors, w time points.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import cast

import numpy as np

from ... import __version__
from .. import store
from ..preparing import PARTS, Report, alone, made_before, silent
from .reader import UNIT
from .run import Run, find_runs
from .selection import USUAL, Selection
from .session import DISTRIBUTED, Part, Settings, make_part
from .signal import TIMES
from .trials import Trials, name_images, read_trials, test_rows, training_rows

__all__ = ["DISTRIBUTED", "Settings", "prepare"]

BLOCK = 200  # trials merged at a time, 43 MB


def prepare(
    root: str | Path, out: str | Path, subject: int, *, settings: Settings = DISTRIBUTED,
    wanted: Selection = USUAL, images: str | Path | None = None, report: Report = silent,
) -> Path:  # fmt: skip
    """Make a subject's store from raw recordings, or continue making it after the last session.

    Parameters
    ----------
    root : str or Path
        The BIDS folder, or the subject's in it, as in ds004212: ``sub-BIGMEG1/ses-01/meg`` holds
        ``..._run-01_meg.ds`` and ``..._run-01_events.tsv``. Raw FIF exported from CTF,
        ``..._run-01_meg.fif``, does as well.
    out : str or Path
        Holds the stores; that of the first subject is ``out/sub-01``.
    settings : Settings
        Filter and dropouts; the defaults are those of the distributed epochs.
    wanted : Selection
        Which images in which order, and which time points.
    images : str or Path, optional
        What tells images' names by their numbers, if it is neither in `root` nor above it:
        image_paths.csv or image folders.
    report : function of a line of text, optional
        Is told what was made.

    Returns
    -------
    Path
        Of the store.

    Raises
    ------
    FileNotFoundError, ValueError
        Recordings, tables or names of images are missing or do not belong together, or there is a
        store made otherwise.
    BlockingIOError
        Another process is making it.
    ModuleNotFoundError
        mne is not installed.
    """
    folder, runs = find_runs(root, subject)
    trials = read_tables(folder, runs)
    if "" in trials.image[trials.kind != "catch"]:
        trials = name_images(trials, images or folder)
    rows = {
        "train": training_rows(trials, wanted.drop_test_concepts)[:, None],
        "test": test_rows(trials, wanted.test_order),
    }  # (n, r) of each split, and what is wrong with the tables, before hours of work
    at, place = wanted.window(folder, TIMES), Path(out) / f"sub-{subject:02d}"
    source = {
        "made by": f"tinybrain {__version__}, things.meg.raw",
        "recordings": [run.path.name for run in runs],
        "settings": asdict(settings),
        **asdict(wanted),
    }
    with alone(place):
        if made_before(place, source):
            report(f"{place}: complete")
            return place
        parts = {}
        for session in sorted({run.session for run in runs}):
            here = [run for run in runs if run.session == session]
            parts[session] = make_part(place / PARTS, subject, here, trials, settings, report)
        for split, which in rows.items():
            merge(place, split, which, trials, parts, at)
            report(f"{split}: {which.shape[0]} images of {which.shape[1]} repetitions")
        store.write_card(
            place, kind="meg", subject=subject, sensors=same_sensors(parts), times=TIMES[at],
            unit=UNIT, source=source,
            splits={split: _described(trials, which) for split, which in rows.items()},
        )  # fmt: skip
        shutil.rmtree(place / PARTS)
    return place


def read_tables(folder: Path, runs: Sequence[Run]) -> Trials:
    """The trials of all runs, each with the measured sample of its onset.

    Raises
    ------
    FileNotFoundError
        Tables without recordings, or recordings without tables.
    ValueError
        Tables of version 1 of the data set, which lack the measured onsets.
    """
    trials = read_trials(folder)
    told = set(zip(trials.session.tolist(), trials.run.tolist()))
    if differ := sorted(told ^ {run[:2] for run in runs}):
        session, run = differ[0]
        lacking = "recording (..._meg.ds)" if differ[0] in told else "table (..._events.tsv)"
        raise FileNotFoundError(
            f"{folder}: no {lacking} of session {session:02d}, run {run:02d}; {len(runs)} "
            f"recordings for {len(told)} tables, wanted one of each for every run"
        )
    if (unknown := np.flatnonzero(trials.sample <= 0)).size:
        session, run = trials.session[unknown[0]], trials.run[unknown[0]]
        raise ValueError(
            f"{folder}: session {session:02d}, run {run:02d}: no `sample` in events.tsv, only the "
            "nominal onsets of version 1 of ds004212, up to 0.5 s off; take the tables of version "
            "2.0.0 or later: same recordings, same rows"
        )
    return trials


def same_sensors(parts: Mapping[int, Part]) -> tuple[str, ...]:
    """The sensors that all sessions have, or ValueError."""
    first, *others = parts
    for session in others:
        if parts[session].sensors != parts[first].sensors:
            raise ValueError(
                f"{parts[session].file}: {len(parts[session].sensors)} gradiometers in session "
                f"{session:02d}, other than the {len(parts[first].sensors)} of session "
                f"{first:02d}; all sessions need the same"
            )
    return parts[first].sensors


def merge(
    place: Path,
    split: str,
    rows: np.ndarray,
    trials: Trials,
    parts: Mapping[int, Part],
    at: slice,
) -> None:
    """Write the signals of a split: of the trials `rows` (n, r), at the time points `at`."""
    within = np.zeros(len(trials.kind), int)  # of each trial, its row in its part
    for session in parts:
        kept = np.flatnonzero((trials.session == session) & (trials.kind != "catch"))
        within[kept] = np.arange(len(kept))
    shape = (*rows.shape, len(same_sensors(parts)), len(TIMES[at]))
    with store.new_signals(place, split, shape) as signals:
        file = Path(cast(str, signals.filename))
        for start in range(0, len(rows), BLOCK):
            # Mapped anew: what was touched of a map counts as memory until it is closed.
            out = np.load(file, mmap_mode="r+")[start : start + BLOCK]
            maps = {session: np.load(part.file, mmap_mode="r") for session, part in parts.items()}
            for to, trial in np.ndenumerate(rows[start : start + BLOCK]):
                out[to] = maps[int(trials.session[trial])][within[trial], :, at]


def _described(trials: Trials, rows: np.ndarray) -> store.Split:
    """Names and sessions of the trials `rows` (n, r)."""
    images = tuple(trials.image[rows[:, 0]].tolist())
    return store.Split(
        images, tuple(image.split("/")[0] for image in images), trials.session[rows]
    )
