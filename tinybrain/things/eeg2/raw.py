"""The raw recordings of THINGS-EEG2: one file for each session and partition.

    raw_data/sub-01/ses-01/raw_eeg_training.npy, raw_eeg_test.npy       (in any capitals)

Each is a dict: raw_eeg_data (64, samples) float64 in volts, 63 sensors and a row of codes, which is
zero but for one sample at each image's onset; ch_names, ch_types, sfreq (1000 Hz), highpass,
lowpass. They are mapped, not loaded: the training part of a session has some 3 GB.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ...messages import first_few
from .. import pickles
from ..images import visible

RAW_FILE = {
    "train": re.compile(r"raw_eeg_train(ing)?\.npy", re.IGNORECASE),
    "test": re.compile(r"raw_eeg_test\.npy", re.IGNORECASE),
}
SUBJECT = re.compile(r"sub-?0*(\d+)", re.IGNORECASE)
SESSION = re.compile(r"ses-?0*(\d+)", re.IGNORECASE)
HOLDER = "eeg_dataset"  # the folder between project and raw_data in the official layout
KEYS = ("raw_eeg_data", "ch_names", "sfreq")
WHERE = "the raw data are on Figshare plus (18470912), linked from OSF project 3jk45"


class Raw(NamedTuple):
    """A raw recording, mapped."""

    file: Path
    data: np.ndarray  # (rows, samples), volts
    sensors: tuple[str, ...]  # the name of each row
    stim: int  # the row of codes
    rate: float  # Hz

    def rows(self, names: Sequence[str]) -> list[int]:
        """The row of each named sensor, wherever the file has it."""
        if missing := [name for name in names if name not in self.sensors]:
            raise ValueError(
                f"{self.file}: no {', '.join(missing)} among its {len(self.sensors)} rows "
                f"{first_few(self.sensors)}; wanted every sensor by its name"
            )
        return [self.sensors.index(name) for name in names]


def subject_number(subject: int | str) -> int:
    """1 of ``1``, ``"01"`` and ``"sub-01"``."""
    match = re.fullmatch(r"(?:sub-?)?0*(\d+)", str(subject), re.IGNORECASE)
    if match is None or not int(match[1]):
        raise ValueError(f"subject {subject!r}; wanted a number such as 1, or 'sub-01'")
    return int(match[1])


def find_sessions(root: str | Path, subject: int | str) -> dict[int, dict[str, Path]]:
    """The raw files of a subject, {session: {"train": file, "test": file}}, in order of session.

    Parameters
    ----------
    root : str or Path
        The project, its folder of raw data, or a subject's folder.
    subject : int or str

    Raises
    ------
    FileNotFoundError
        No such folder, no raw files of this subject, or a session with one partition only.
    ValueError
        Two files of the same session and partition.
    """
    root, number = Path(root), subject_number(subject)
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: there is no such folder; wanted one of THINGS-EEG2")
    found: dict[int, dict[str, Path]] = {}
    for owner, folder in subject_folders(root):
        for inside in visible(folder) if owner == number else ():
            if match := SESSION.fullmatch(inside.name):
                _collect(inside, found.setdefault(int(match[1]), {}))
    found = {session: files for session, files in sorted(found.items()) if files}
    if not found:
        raise FileNotFoundError(
            f"{root}: no raw recordings of subject {number}; wanted "
            f"raw_data/sub-{number:02d}/ses-01/raw_eeg_training.npy and raw_eeg_test.npy, in it "
            f"or in eeg_dataset; {WHERE}"
        )
    for session, files in found.items():
        if len(files) < 2:
            there = next(iter(files.values()))
            raise FileNotFoundError(
                f"{there.parent}: session {session} has {there.name} only; wanted "
                f"raw_eeg_training.npy and raw_eeg_test.npy of each session; {WHERE}"
            )
    return found


def subject_folders(root: Path) -> list[tuple[int, Path]]:
    """(number, folder) of every subject at the places where THINGS folders have them."""
    parts = visible(root)
    inner = [path for part in parts if part.name.lower() == HOLDER for path in visible(part)]
    places = [root.absolute(), *(path for part in (root, *parts, *inner) for path in visible(part))]
    named = ((SUBJECT.fullmatch(place.name), place) for place in places)
    return [(int(match[1]), place) for match, place in named if match]


def _collect(folder: Path, files: dict[str, Path]) -> None:
    for path in visible(folder):
        for split, pattern in RAW_FILE.items():
            if not pattern.fullmatch(path.name):
                continue
            if split in files:
                raise ValueError(f"{files[split]} and {path} are the same part; leave one of them")
            files[split] = path


def read_raw(path: str | Path) -> Raw:
    """Map a raw recording and check what it says of itself.

    Raises
    ------
    FileNotFoundError, ValueError
        As `pickles.read`; or keys, shape, names or rate are not those of a raw recording.
    """
    path = Path(path)
    content = pickles.read(path)
    keys = sorted(content)[:10] if isinstance(content, dict) else "an array"
    if not isinstance(content, dict) or any(key not in content for key in KEYS):
        raise ValueError(f"{path}: wanted a dict with {', '.join(KEYS)}; came {keys}")
    data = np.asarray(content["raw_eeg_data"])
    if data.ndim != 2 or data.dtype.kind != "f" or not data.size:
        came = f"{data.dtype} of shape {data.shape}"
        raise ValueError(f"{path}: raw_eeg_data is {came}; wanted floats (64 rows, samples), in V")
    names = _words(path, content, "ch_names", len(data))
    types = _words(path, content, "ch_types", len(data)) if "ch_types" in content else names
    rate = content["sfreq"]
    if type(rate) is bool or not isinstance(rate, (int, float, np.number)) or not 0 < rate < np.inf:
        raise ValueError(f"{path}: sfreq is {str(rate)[:20]}; wanted samples per second, 1000")
    return Raw(path, data, names, _stim_row(path, names, types), float(rate))


def _words(path: Path, content: dict[str, Any], key: str, count: int) -> tuple[str, ...]:
    words = content[key]
    words = words.tolist() if isinstance(words, np.ndarray) else words
    if not isinstance(words, (list, tuple)) or not all(isinstance(word, str) for word in words):
        raise ValueError(f"{path}: {key} is no list of names")
    if len(words) != count:
        raise ValueError(f"{path}: {len(words)} {key} for {count} rows of raw_eeg_data")
    twice = [word for word, times in Counter(words).items() if times > 1]
    if twice and key == "ch_names":
        raise ValueError(f"{path}: ch_names has {first_few(twice)} more than once")
    return tuple(str(word) for word in words)


def _stim_row(path: Path, names: tuple[str, ...], types: tuple[str, ...]) -> int:
    rows = [row for row, kind in enumerate(types) if kind.lower() == "stim"]
    if len(rows) != 1:
        raise ValueError(
            f"{path}: {len(rows)} rows of type 'stim'; wanted one, with the code of each image"
        )
    return rows[0]
