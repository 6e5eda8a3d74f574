"""Find a subject's THINGS-MEG file and recognise who wrote it.

    Song et al. 2025   meg_sub-01_{train,test}.pkl     pickled array          w = 201  presentation
    ATM                sub-01/preprocessed_meg_*.pkl   dict with meg_data     w = 201  image
    UBP                sub-01/{train,test}.pt          dict with eeg, img     w = 201  named
    NeuroBridge        sub-01/{train,test}.npy         dict with data, array  w = 200  image
    AlignVis           {train,test}_sub1.pkl           dict with meg_images   w = 201  named
    THINGS-data        preprocessed_P1-epo.fif, P1_cosmofile.mat: see epochs.py
    tinybrain          sub-01/recording.json (store)

The last column says how test images are ordered: by the experiment's numbers, by THINGS' image
numbers, or as the file says. 201 points are 0 to 1 s. Of 200 points the first may be at 0.005 s
(Song's crop) or at 0 s (NeuroBridge's); a file without times does not tell.
Letters: n images, r repetitions, h sensors, w time points.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ...messages import first_few
from .. import pickles, store
from ..choosing import Chosen, choose
from ..images import ABOVE, visible
from ..recording import Lazy, sensor_names, time_axis
from ..sensors import THINGS_MEG_271
from . import trials as meg_trials
from .epochs import FIF_TIMES, SENSORS, Epochs, open_cosmofile, open_fif
from .images import HOLDER, image_name, things_order
from .order import CONCEPTS, standard_trials, trials_from_names
from .tested import TEST_CONCEPTS
from .trials import EXEMPLARS, Trials, read_trials

SUBJECT = re.compile(r"(?:sub-?)?(?:BIGMEG|P)?0*(\d{1,4})", re.IGNORECASE)
FOLDER = re.compile(r"sub-?(?:BIGMEG|P)?0*(\d{1,4})", re.IGNORECASE)
WHOLE = r"preprocessed_P0*(\d+)-epo\.fif|P0*(\d+)_cosmofile\.mat"
NUMBERED = {  # files that have the subject in their name
    "train": re.compile(
        rf"{WHOLE}|meg_sub-?0*(\d+)_train\.(?:pkl|pickle)|train_sub-?0*(\d+)\.(?:pkl|pickle)",
        re.IGNORECASE,
    ),
    "test": re.compile(
        rf"{WHOLE}|meg_sub-?0*(\d+)_test\.(?:pkl|pickle)|test_sub-?0*(\d+)\.(?:pkl|pickle)",
        re.IGNORECASE,
    ),
}
INSIDE = {  # files of a subject's folder
    "train": re.compile(
        r"preprocessed_meg_train(ing)?\.pkl|train\.(pt|npy)|recording\.json", re.IGNORECASE
    ),
    "test": re.compile(
        r"preprocessed_meg_(zs_)?test\.pkl|test\.(pt|npy)|recording\.json", re.IGNORECASE
    ),
}
DEEP = 4  # folders from the root of ds004212 to anything that is looked for
KEYS = {"meg_data": "ATM", "preprocessed_meg_data": "ATM", "eeg": "UBP", "data": "NeuroBridge"}
NAMED = ("img", "meg_images")


# Finding


def subject_number(subject: int | str) -> int:
    if not (number := SUBJECT.fullmatch(str(subject))):
        raise ValueError(f"subject {subject!r}; wanted a number such as 1, 'sub-01' or 'P1'")
    return int(number[1])


def find_file(root: str | Path, subject: int | str, split: str) -> Path:
    """The subject's file with this split, or an error that lists what is there."""
    return look_for(root, subject, split).file


def look_for(
    root: str | Path, subject: int | str, split: str, without: Path | None = None
) -> Chosen:
    """`find_file` and, for the summary, what was passed over; nothing in the folder `without`.

    If epochs are there as FIF and as a cosmofile, which was made of them, the FIF is taken.
    """
    root, number = Path(root), subject_number(subject)
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: there is no such folder; wanted a THINGS-MEG folder")
    left_out = None if without is None else without.absolute()
    files = [each for each in _candidates(root, split) if each[1].parent != left_out]
    found = [file for owner, file in files if owner == number]
    if {file.suffix.lower() for file in found} == {".fif", ".mat"}:
        found = [file for file in found if file.suffix.lower() == ".fif"]
    if found:
        return choose(found, f"recordings of subject {subject} with {split} in {root}")
    there = first_few([file for _, file in files])
    whose = ", ".join(map(str, sorted({owner for owner, _ in files})))
    raise FileNotFoundError(
        f"{root}: no {split} recording of subject {subject}; wanted preprocessed_P1-epo.fif, "
        "P1_cosmofile.mat, meg_sub-01_train.pkl, or a folder sub-01 with a preprocessed file; "
        f"{f'subjects there: {whose}; ' * bool(files)}recordings there: {there}"
    )


def _candidates(root: Path, split: str) -> Iterator[tuple[int, Path]]:
    """(subject, file) of every recording in a folder and the folders in it."""
    for file in _walk(root.absolute(), DEEP):
        owner = FOLDER.fullmatch(file.parent.name)
        if match := NUMBERED[split].fullmatch(file.name):
            yield int(next(filter(None, match.groups()))), file
        elif owner and INSIDE[split].fullmatch(file.name) and _holds(file, split):
            yield int(owner[1]), file


def _holds(file: Path, split: str) -> bool:
    if file.name.lower() != "recording.json":
        return True
    card = store.read_card(file.parent)
    return card.kind == "meg" and split in card.splits


def _walk(folder: Path, depth: int) -> Iterator[Path]:
    """Files, those of images and of raw recordings aside."""
    for part in visible(folder):
        if not part.is_dir():
            yield part
        elif depth and not HOLDER.fullmatch(part.name) and part.suffix.lower() != ".ds":
            yield from _walk(part, depth - 1)


def find_table(root: str | Path, subject: int | str) -> Trials | None:
    """The trial table of a subject, if one with names of images lies in `root` or above it."""
    root, number = Path(root).absolute(), subject_number(subject)
    wanted = re.compile(rf"sample_attributes_P0*{number}\.csv", re.IGNORECASE)
    places = [_walk(root, DEEP)] + [
        (file for part in (base, base / "sourcedata") for file in visible(part))
        for base in list(root.parents)[:ABOVE]
    ]
    for file in (file for place in places for file in place):
        if wanted.fullmatch(file.name) and file.is_file():
            return read_trials(file)
    for base in (root, *list(root.parents)[:ABOVE]):
        folder = base if base.name == f"sub-BIGMEG{number}" else base / f"sub-BIGMEG{number}"
        if next(folder.glob("ses-*/meg/*_events.tsv"), None):
            trials = read_trials(folder)
            return trials if (trials.image != "").any() else None
    return None


# Recognising


def open_recording(
    file: Path, split: str, table: Trials | None, tmin: float | None = None
) -> Epochs:
    """What is in a file, in its own order; its signals are not read yet.

    Parameters
    ----------
    table : what was shown; the standard order of THINGS-MEG without it.
    tmin : seconds, where the file has no times.
    """
    if file.suffix.lower() == ".fif":
        return open_fif(file)
    if file.suffix.lower() == ".mat":
        return open_cosmofile(file)
    content, key = _dict(file)
    data = _array(file, content[key])
    times, cut = _times(file, content.get("times"), data.shape[-1], tmin)
    named = next((content[key] for key in NAMED if key in content), None)
    producer = KEYS.get(key, "NeuroBridge" if data.ndim == 5 else "Song")
    names = content.get("ch_names")
    if named is not None or producer in ("Song", "NeuroBridge"):  # who write no names, or none
        names = THINGS_MEG_271
        cut += ", sensors in their usual order"
    sensors = sensor_names(file, names, SENSORS, (THINGS_MEG_271,))
    trials = _shown(file, data, split, named, "presentation" if producer == "Song" else "image",
                    table or standard_trials())  # fmt: skip
    producer = "AlignVis" if "meg_images" in content else producer
    if (file.parent / "zscore_params.npz").is_file():
        cut += ", divided by one sd (zscore_params.npz)"
    what = f"{producer}, {pickles.container(file)}, {data.dtype}{cut}"
    signals = data.reshape(-1, *data.shape[-2:])  # (trials, h, w)
    return Epochs(file, lambda rows, at: pick(signals, rows, at), sensors, times, trials, what)


def _dict(file: Path) -> tuple[dict[str, Any], str]:
    """What a pickle, .npy or .pt holds, and the key of its signals, "" for a bare array."""
    content = pickles.read(file)
    if not isinstance(content, dict):
        return {"": content}, ""
    key = next((key for key in KEYS if key in content), None)
    if key is None:
        came = first_few([repr(key) for key in content], 10)
        raise ValueError(f"{file}: its keys are {came}; wanted one of {', '.join(KEYS)}")
    return content, key


def _array(file: Path, data: object) -> np.ndarray:
    """The signals with 3 to 5 axes, still in the file."""
    if not isinstance(data, np.ndarray) or data.dtype.kind not in "fiu" or 0 in data.shape:
        raise ValueError(f"{file}: its signals are no array of numbers")
    if not 3 <= data.ndim <= 5 or data.shape[-2] != SENSORS:
        eeg = "; 17 or 63 are sensors of THINGS-EEG2, see EEG2" if data.ndim > 2 else ""
        raise ValueError(f"{file}: an array of shape {data.shape}; wanted (..., {SENSORS} "
                         f"sensors, time points){eeg}")  # fmt: skip
    if not data.flags.c_contiguous:
        raise ValueError(f"{file}: its array is not in C order; save it again in C order")
    return data


def _times(file: Path, given: Any, w: int, tmin: float | None) -> tuple[np.ndarray, str]:
    """The time of each point, from the file if it says so and nobody overrules it."""
    if tmin is not None:
        return tmin + np.arange(w) / 200, ""
    if given is not None and not (w == 200 and len(given) == 201):
        return time_axis(file, given, w)
    if w in (201, len(FIF_TIMES)):
        return (np.arange(201) / 200 if w == 201 else FIF_TIMES.copy()), ""
    came = f"{w} points and {'no' if given is None else len(given)} times"
    raise ValueError(
        f"{file}: {came}; the first point may be at 0.005 s (Song's crop of 201 points) or at 0 s "
        "(NeuroBridge's): pass tmin=0.005 or tmin=0.0"
    )


def _shown(
    file: Path, data: np.ndarray, split: str, named: object, order: str, table: Trials
) -> Trials:
    """What each trial of the file showed, by the names in it or by the order of its producer."""
    lead = data.shape[:-2]
    if named is not None:
        return _by_names(file, named, lead, split, table)
    if split == "train":
        orders = [meg_trials.training_rows(table, drop)[:, None] for drop in (False, True)]
    else:
        orders = [meg_trials.test_rows(table, order)]
    n, r = (lead[0], 1) if len(lead) == 1 else (int(np.prod(lead[:-1])), lead[-1])
    for rows in orders:
        if rows.shape == (n, r):
            return table[rows.ravel()]
    wanted = " or ".join(f"{len(rows)} images x {rows.shape[1]}" for rows in orders)
    more = (
        " (1,854 concepts were shown, and 1,654 are left without those of the test)"
        if split == "train"
        else ""
    )
    raise ValueError(
        f"{file}: {n} images x {r} repetitions; by {table.source} there are {wanted}{more}"
    )


def _by_names(
    file: Path, named: object, lead: tuple[int, ...], split: str, table: Trials
) -> Trials:
    """Trials from the names of images in a file: one a row, or one a trial."""
    named = np.ravel(named).tolist() if isinstance(named, np.ndarray) else named
    if not isinstance(named, (list, tuple)) or not all(isinstance(each, str) for each in named):
        raise ValueError(f"{file}: its images are no list of names")
    trials = int(np.prod(lead))
    if len(named) not in (trials, int(np.prod(lead[:-1])) if len(lead) > 1 else trials):
        raise ValueError(f"{file}: {len(named)} names of images for signals {lead}")
    names = [image_name(each, str(file)) for each in named for _ in range(trials // len(named))]
    known = {name: row for row, name in enumerate(table.image.tolist()) if name}
    kind = {"train": "exp", "test": "test"}[split]
    if known:
        if missing := sorted(set(names) - set(known)):
            raise ValueError(f"{file}: {len(missing)} images are not in {table.source}: "
                             f"{first_few(missing)}")  # fmt: skip
        shown = table[np.array([known[name] for name in names])]
    else:
        shown = _numbered(file, names, kind)
    zero = np.zeros(len(names), np.int64)  # when a repetition was recorded the file does not say
    return replace(shown, session=zero, run=zero, sample=zero, source=f"the names in {file}")


def _numbered(file: Path, names: Sequence[str], kind: str) -> Trials:
    """Numbers of named images, from their order among all, all training, or all test concepts."""
    unique = sorted(set(names), key=things_order)
    concepts = list(dict.fromkeys(name.split("/")[0] for name in unique))
    kept = sorted(set(range(1, CONCEPTS + 1)) - set(TEST_CONCEPTS))
    sets = (range(1, CONCEPTS + 1), kept, sorted(TEST_CONCEPTS))
    numbers = next((each for each in sets if len(each) == len(concepts)), None)
    if numbers is None:
        raise ValueError(
            f"{file}: images of {len(concepts)} concepts; wanted {CONCEPTS}, {len(kept)} or "
            f"{len(TEST_CONCEPTS)} of them, or a sample_attributes table that has their numbers"
        )
    return trials_from_names(names, dict(zip(concepts, numbers)), kind)


def rows_of_all(images: Sequence[Path]) -> np.ndarray:
    """Rows (n,) of training images among all 22,248, whose order Song's files have.

    That is by THINGS' concept, then exemplar. `images` are those of all 1,854 concepts, or of the
    1,654 that are left without those of the test; ValueError otherwise.
    """
    names = [image_name(path.name) for path in images]
    shown = _numbered(Path("the recording"), names, "exp")
    rows: np.ndarray = EXEMPLARS * (shown.concept_number - 1) + shown.exemplar - 1
    return rows


def pick(signals: np.ndarray, rows: np.ndarray, at: slice) -> np.ndarray | Lazy:
    """Signals (n, r, h, w), as a view of the file if its trials already are in that order."""
    first = rows[0, 0]
    if (rows.ravel() == np.arange(first, first + rows.size)).all():
        whole = signals[first : first + rows.size]
        return whole.reshape(*rows.shape, *whole.shape[1:])[..., at]
    return Rows(signals, rows, at)


class Rows:
    """Signals (n, r, h, w) picked from trials (trials, h, w) of a mapped array; see `Lazy`."""

    outer = 0

    def __init__(self, signals: np.ndarray, rows: np.ndarray, at: slice) -> None:
        self.signals, self.rows, self.dtype = signals[..., at], rows, signals.dtype
        (n, r), (h, w) = rows.shape, self.signals.shape[1:]
        self.shape = (n, r, h, w)

    def __getitem__(self, at: tuple[slice, ...]) -> np.ndarray:
        part: np.ndarray = self.signals[self.rows[at[0], at[1]]][..., at[2], at[3]]
        return part
