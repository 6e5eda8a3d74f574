"""THINGS-EEG2 from the raw recordings to the paper's array, in bounded memory.

    session by session   epochs of the chosen repetitions, on disk (`eeg2/session.py`)
    whitening            W_s = C_s^(-1/2), C_s the noise covariance of session s (`whitening.py`)
    merging              row i is image i, whose code is i + 1: W_s x of its repetitions, in order
                         of session, then all in one random order (`eeg2/merging.py`)

The result is this project's own store (`store.py`): float32 (16540, 4, 63, 250) and (200, 80, 63,
250), 5.2 GB a subject; while it is made 10 GB more are needed for epochs in float64. On request
the same in float64 is written as NICE's files. A run that was stopped continues after the last
finished partition of a session.

Source of the method: Gifford et al. (2022), and Song et al. (2024) for 63 sensors at 250 Hz.
Letters: n images, r repetitions, h sensors, w time points.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np

from .. import __version__
from . import store
from .eeg2.merging import Merge, blocks, find_rows, mapped, whiten_sessions
from .eeg2.raw import find_sessions, subject_number
from .eeg2.session import PAPER, Part, Settings, make_part, time_axis
from .images import ImageTable, image_table
from .pickle_stream import write_dict
from .preparing import PARTS, SPLITS, Report, alone, made_before, silent
from .resampling import shift

__all__ = ["PAPER", "Settings", "prepare"]

T = TypeVar("T")
NICE_FILE = {"train": "preprocessed_eeg_training.npy", "test": "preprocessed_eeg_test.npy"}


def prepare(
    raw: str | Path,
    out: str | Path,
    subject: int | str,
    *,
    settings: Settings = PAPER,
    sessions: Sequence[int] | None = None,
    images: str | Path | None = None,
    nice: str | Path | None = None,
    report: Report = silent,
) -> Path:
    """Make a subject's store from its raw recordings, or continue making it.

    ``examples/prepare_eeg.py`` is this as a command.

    Parameters
    ----------
    raw : str or Path
        The THINGS-EEG2 project, its folder of raw data, or the subject's.
    out : str or Path
        The store is ``out/sub-01``.
    subject : int or str
        ``1``, ``"01"`` or ``"sub-01"``.
    settings : Settings
        How; the defaults are the paper's.
    sessions : list of int, optional
        Leave the others out. Each image must be in equally many of them.
    images : str or Path, optional
        The image set, if it is neither in `raw` nor above it.
    nice : str or Path, optional
        Also write ``nice/sub-01/preprocessed_eeg_{training,test}.npy`` in float64, as NICE does.
    report : function of a line of text, optional
        Is told what was made of each session, and what was left out.

    Returns
    -------
    Path
        The store, ``out/sub-01``.

    Raises
    ------
    FileNotFoundError
        No raw recordings, or neither images nor a table of their names.
    ValueError
        A file is not what it should be, an image has too few repetitions, a session is missing,
        or there is a store made with other settings.
    BlockingIOError
        Another process is making it.
    """
    number = subject_number(subject)
    name = f"sub-{number:02d}"
    folder, nice_folder = Path(out) / name, None if nice is None else Path(nice) / name
    files = _picked(find_sessions(raw, number), sessions, raw)
    with alone(folder):
        if _is_done(folder, settings, list(files), nice_folder):
            report(f"{folder}: complete")
            return folder
        tables = {split: image_table(images or raw, split) for split in SPLITS}
        _make(folder, nice_folder, number, files, tables, settings, report)
    return folder


def _make(
    folder: Path,
    nice_folder: Path | None,
    number: int,
    files: Mapping[int, Mapping[str, Path]],
    tables: Mapping[str, ImageTable],
    settings: Settings,
    report: Report,
) -> None:
    """Session by session, then all together."""
    parts: dict[str, list[Part]] = {split: [] for split in SPLITS}
    for session, here in files.items():
        for split in SPLITS:
            place = folder / PARTS / f"ses-{session:02d}_{split}"
            part, made = make_part(here[split], split, settings, place)
            parts[split].append(part)
            report(_line(number, session, split, part, made))
    merges = {
        split: find_rows(parts[split], list(files), tables[split], split, settings)
        for split in SPLITS
    }
    whitening = whiten_sessions(parts, list(files), settings)
    for split, merge in merges.items():
        _write_split(folder, nice_folder, split, merge, whitening, settings)
    _write_card(folder, number, merges, tables, whitening, settings)
    shutil.rmtree(folder / PARTS)


def _picked(
    files: dict[int, T], sessions: Sequence[int] | None, raw: str | Path
) -> dict[int, T]:
    """What is there of the sessions that are wanted."""
    if sessions is None:
        return files
    if missing := sorted(set(sessions) - set(files)):
        raise FileNotFoundError(f"{raw}: no sessions {missing}; there are {sorted(files)}")
    return {session: files[session] for session in sorted(set(sessions))}


def _is_done(
    folder: Path, settings: Settings, sessions: list[int], nice_folder: Path | None
) -> bool:
    """Whether all is there; ValueError if what is there was made otherwise."""
    wanted = {"settings": _as_json(settings), "session_numbers": sessions}
    if not made_before(folder, wanted):
        return False
    return nice_folder is None or all((nice_folder / name).exists() for name in NICE_FILE.values())


def _as_json(settings: Settings) -> dict[str, Any]:
    return asdict(settings) | {"sensors": list(settings.sensors)}


def _line(subject: int, session: int, split: str, part: Part, made: bool) -> str:
    counts = part.about["counts"]
    return (
        f"sub-{subject:02d} session {session} {split}: {counts['epochs']} epochs of "
        f"{counts['images']} images {'made' if made else 'kept from before'}; left out: "
        f"{counts['targets']} targets, {counts['not_chosen']} further repetitions, "
        f"{counts['beyond_the_ends']} beyond the recording's ends"
    )


# Writing


def _write_split(
    folder: Path,
    nice_folder: Path | None,
    split: str,
    merge: Merge,
    whitening: list[store.Whitening],
    settings: Settings,
) -> None:
    matrices = [each.matrix for each in whitening] or None
    r, h, w = merge.parts[0].about["shape"][1:]
    shape = (len(merge.row), merge.row.shape[1] * r, h, w)
    if nice_folder is not None:
        # NICE's times have all points of the epochs, also those that were cut off.
        times = time_axis(settings, merge.parts[0].about["rate"]).times
        others = {"ch_names": list(settings.sensors), "times": times}
        rows = blocks(merge, matrices)
        write_dict(nice_folder / NICE_FILE[split], "preprocessed_eeg_data", shape, rows, others)
    with store.new_signals(folder, split, shape) as signals:
        file, at = Path(cast(str, signals.filename)), 0
        for block in blocks(merge, matrices):
            mapped(file, "r+")[at : at + len(block)] = block
            at += len(block)


def _write_card(
    folder: Path,
    subject: int,
    merges: dict[str, Merge],
    tables: Mapping[str, ImageTable],
    whitening: list[store.Whitening],
    settings: Settings,
) -> None:
    axis = time_axis(settings, merges["train"].parts[0].about["rate"])
    splits = {}
    for split, merge in merges.items():
        sessions = np.array(merge.sessions)[merge.holder]                         # n k
        sessions = np.repeat(sessions, settings.repeats(split), axis=1)[:, merge.order]
        names = tuple(f"{path.parent.name}/{path.name}" for path in tables[split].paths)
        splits[split] = store.Split(names, tables[split].concepts, sessions)
    store.write_card(
        folder,
        kind="eeg",
        subject=subject,
        sensors=settings.sensors,
        times=axis.times[axis.kept],
        unit="whitened" if whitening else "V",
        source=_source(merges, settings),
        splits=splits,
        whitening=whitening,
    )


def _source(merges: dict[str, Merge], settings: Settings) -> dict[str, Any]:
    """How the signals were made, for the card."""
    first = merges["train"].parts[0].about
    axis = time_axis(settings, first["rate"])
    count = axis.last - axis.first + 1
    late = np.zeros(1) if settings.aligned else np.broadcast_to(
        shift(count, first["rate"], settings.rate), len(axis.times))[axis.kept]  # fmt: skip
    entries = []
    for index, session in enumerate(merges["train"].sessions):
        entry: dict[str, Any] = {"session": session}
        for split, merge in merges.items():
            about = merge.parts[index].about
            made_of = {key: about["origin"][key] for key in ("file", "bytes", "mtime_ns")}
            entry[split] = made_of | about["counts"]
        entries.append(entry)
    return {
        "made_by": f"tinybrain {__version__}, things.preprocess",
        "numpy": np.__version__,
        "settings": _as_json(settings),
        "session_numbers": merges["train"].sessions,
        "sessions": entries,
        "raw_rate_hz": first["rate"],
        "signal_seconds_after_its_nominal_time": [float(late.min()), float(late.max())],
        "order_of_repetitions": {split: merge.order.tolist() for split, merge in merges.items()},
    }
