"""Which image each trial of THINGS-MEG showed, from whatever table a user has.

    sample_attributes_P1.csv             27,048 trials of a subject, in the order of the epochs
    sub-BIGMEG1/ses-*/meg/*_events.tsv   the same by session and run; version 2 of ds004212 has
                                         numbers only, version 1 has names and no sample numbers

What is known without a table, from the codes of the epochs or from names, is in `order.py`.
THINGS numbers its 1,854 concepts in alphabetical order with spaces for underscores, and its 26,107
images in the order of concepts and of files in them; all numbers start at 1. "exp" trials show
exemplars 1 to 12 of every concept once, "test" trials another exemplar of 200 concepts in each of
12 sessions, "catch" trials an artificial object that says: press a key.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ...messages import first_few
from .images import find_names, image_name, read_names
from .tested import TEST_CONCEPTS, TEST_IMAGES

EXEMPLARS = 12  # of every concept in training, and no less
MAX_TABLE = 64_000_000  # bytes; the real ones have 3.4 MB
KINDS = ("exp", "test", "catch")
COLUMNS = {  # the names of a column, the first that is there
    "image_number": ("value", "things_image_nr"),
    "concept_number": ("things_category_nr",),
    "exemplar": ("things_exemplar_nr",),
    "test_number": ("test_image_nr",),
    "session": ("session_nr",),
    "run": ("run_nr",),
    "sample": ("sample",),
}
NAMES = ("image_path", "file_path")
EVENTS = re.compile(r"(.*_)?ses-(\d+)_.*run-(\d+)_events\.tsv", re.IGNORECASE)


@dataclass(frozen=True)
class Trials:
    """What was shown in each trial, in the order of the epochs; numbers are 0 where unknown.

    Attributes
    ----------
    kind : str array, (trials,)
        ``"exp"``, ``"test"`` or ``"catch"``.
    image_number, concept_number, exemplar : int arrays, (trials,)
        Numbers of THINGS: of the image, of its concept, and of the image within the concept.
    test_number : int array, (trials,)
        The experiment's number of a test image, 1 to 200.
    image : str array, (trials,)
        Names such as ``"vest/vest_10s.jpg"``; empty where unknown and for catch trials.
    session, run, sample : int arrays, (trials,)
        Where in the recording: `sample` counts from the start of the run at 1200 Hz.
    source : str
        The table, for messages.
    """

    kind: np.ndarray
    image_number: np.ndarray
    concept_number: np.ndarray
    exemplar: np.ndarray
    test_number: np.ndarray
    image: np.ndarray
    session: np.ndarray
    run: np.ndarray
    sample: np.ndarray
    source: str

    def __len__(self) -> int:
        return len(self.kind)

    def __getitem__(self, rows: np.ndarray) -> Trials:
        return _made_of([getattr(self, name)[rows] for name in _fields()], self.source)


# Tables


def read_trials(path: str | Path) -> Trials:
    """Read a sample_attributes table, one events.tsv, or all events.tsv of a BIDS subject folder.

    Raises
    ------
    FileNotFoundError
        No such table, or a folder without one.
    ValueError
        A table without the columns that are needed, or with values that cannot be understood.
    """
    path = Path(path)
    if path.is_dir():
        tables = [_read_table(file, ses, run) for ses, run, file in _event_files(path)]
        columns = [np.concatenate([getattr(t, name) for t in tables]) for name in _fields()]
        trials = _made_of(columns, f"{path} ({len(tables)} runs)")
    elif match := EVENTS.fullmatch(path.name):
        trials = _read_table(path, int(match[2]), int(match[3]))
    else:
        trials = _read_table(path)
    return completed(trials)


def trials_from_records(records: Sequence[Mapping[str, object]], source: str) -> Trials:
    """Trials from rows with the columns of sample_attributes, as the FIF's metadata has them."""
    columns = list(records[0]) if records else []
    if "trial_type" not in columns or not {"value", "things_image_nr"} & set(columns):
        came = ", ".join(str(column)[:30] for column in columns[:20]) or "none"
        raise ValueError(
            f"{source}: its columns are {came}; wanted trial_type with value or things_image_nr, "
            "as an events.tsv or a sample_attributes table of THINGS-MEG has"
        )
    kind = np.array([str(row["trial_type"]) for row in records])
    if odd := sorted(set(kind.tolist()) - set(KINDS)):
        raise ValueError(f"{source}: trial_type {odd[0][:30]!r}; wanted {', '.join(KINDS)}")
    numbers = {field: _numbers(records, names, source) for field, names in COLUMNS.items()}
    where = next((name for name in NAMES if name in columns), "")
    named = [where != "" and each != "catch" for each in kind.tolist()]
    image = [image_name(row[where], source) if name else "" for row, name in zip(records, named)]
    return Trials(kind=kind, image=np.array(image), source=source, **numbers)


def _fields() -> list[str]:
    """The names of the columns."""
    return [name for name in Trials.__dataclass_fields__ if name != "source"]


def _made_of(columns: Sequence[np.ndarray], source: str) -> Trials:
    """Trials of columns in the order of `_fields`."""
    kind, image_number, concept_number, exemplar, test_number, image, *where = columns
    session, run, sample = where
    return Trials(kind, image_number, concept_number, exemplar, test_number, image,
                  session, run, sample, source)  # fmt: skip


def _read_table(path: Path, session: int = 0, run: int = 0) -> Trials:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such table")
    if path.stat().st_size > MAX_TABLE:
        raise ValueError(f"{path}: {path.stat().st_size} bytes; a table of trials has 4 MB")
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            tab = "\t" if path.suffix.lower() == ".tsv" else ","
            records = list(csv.DictReader(file, delimiter=tab, restval=""))
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: no table of text: {error}") from None
    trials = trials_from_records(records, str(path))
    # The name of an events file says which run it is, not its rows.
    return replace(
        trials,
        session=np.full(len(trials), session) if session else trials.session,
        run=np.full(len(trials), run) if run else trials.run,
    )


def _event_files(folder: Path) -> list[tuple[int, int, Path]]:
    """(session, run, file) of one subject in order, without the hidden files that macOS leaves."""
    found = []
    for file in folder.rglob("*_events.tsv"):
        match, inside = EVENTS.fullmatch(file.name), file.relative_to(folder).parts
        if match and not any(part.startswith(".") for part in inside):
            found.append((int(match[2]), int(match[3]), match[1] or "", file))
    if not found:
        raise FileNotFoundError(
            f"{folder}: no ses-*/meg/*_run-*_events.tsv in it; wanted a subject's folder such as "
            "sub-BIGMEG1 of ds004212"
        )
    if len({subject for _, _, subject, _ in found}) > 1:
        raise ValueError(f"{folder}: tables of several subjects; pass one subject's folder")
    runs = [(session, run, file) for session, run, _, file in sorted(found)]
    if len({run[:2] for run in runs}) < len(runs):
        raise ValueError(f"{folder}: more than one table of the same session and run")
    return runs


def _numbers(
    records: Sequence[Mapping[str, object]], names: tuple[str, ...], source: str
) -> np.ndarray:
    """A column of whole numbers; 0 where the table has no such column or nothing in it."""
    name = next((name for name in names if name in records[0]), "")
    column = np.zeros(len(records), np.int64)
    for line, row in enumerate(records if name else ()):
        text = "" if row[name] is None else str(row[name]).strip()
        if text.lower() in ("", "n/a", "nan", "none"):
            continue
        try:
            number = float(text)
        except ValueError:
            number = -1.0
        if not (0 <= number < 2**53 and number == int(number)):
            raise ValueError(f"{source}: {name} of trial {line + 1} is {text[:20]!r}; "
                             "wanted a whole number")  # fmt: skip
        column[line] = int(number)
    return column


def completed(trials: Trials) -> Trials:
    """Fill in the numbers that follow from others: of test images, and of exemplars."""
    index = {image: index for index, image in enumerate(TEST_IMAGES)}
    test_number, exemplar = trials.test_number.copy(), trials.exemplar.copy()
    for row in np.flatnonzero((trials.kind == "test") & (test_number == 0)).tolist():
        test_number[row] = index.get(int(trials.image_number[row]), -1) + 1
    known = (trials.concept_number > 0) & (trials.image_number > 0)
    exp = np.flatnonzero(known & (trials.kind == "exp"))
    first = np.full(trials.concept_number.max(initial=0) + 1, np.iinfo(np.int64).max)
    np.minimum.at(first, trials.concept_number[exp], trials.image_number[exp])
    whole = np.bincount(trials.concept_number[exp], minlength=len(first)) == EXEMPLARS
    fill = known & (exemplar == 0) & whole[trials.concept_number]
    exemplar[fill] = (trials.image_number - first[trials.concept_number])[fill] + 1
    return replace(trials, test_number=test_number, exemplar=exemplar)


def name_images(trials: Trials, source: str | Path) -> Trials:
    """Name the images of trials that have numbers only.

    Parameters
    ----------
    source : image_paths.csv; a folder of images; or a folder that has one of them, in it or above.

    Raises
    ------
    FileNotFoundError
        No such source, or images that it does not have, the first of them named.
    ValueError
        The source does not tell the numbers of images.
    """
    names = (find_names if Path(source).is_dir() else read_names)(source)
    image, missing = trials.image.astype(object), []
    for row in np.flatnonzero((trials.kind != "catch") & (trials.image == "")).tolist():
        number, concept = int(trials.image_number[row]), int(trials.concept_number[row])
        exemplar = int(trials.exemplar[row])
        if 0 < number <= len(names.in_order):
            image[row] = names.in_order[number - 1]
        elif (concept, exemplar) in names.by_exemplar:
            image[row] = names.by_exemplar[concept, exemplar]
        else:
            missing.append(f"exemplar {exemplar} of concept {concept} (image number {number})")
    if missing:
        raise FileNotFoundError(
            f"{names.source}: {len(missing)} images that {trials.source} has are not in it: "
            f"{first_few(missing, 3)}"
        )
    return replace(trials, image=image.astype(str))


# Rows


def training_rows(
    trials: Trials, drop_test_concepts: bool = True, tested: np.ndarray | None = None
) -> np.ndarray:
    """Indices (n,) of the training trials in the order of THINGS' image numbers.

    Parameters
    ----------
    drop_test_concepts : bool
        Leave out the concepts of which another image is in the test: 22,248 become 19,848.
    tested : int array, optional
        Their numbers, if `trials` are not all; by default `tested_concepts(trials)`.

    Raises
    ------
    ValueError
        An image was shown twice, or the concepts are not known.
    """
    rows = np.flatnonzero(trials.kind == "exp")
    if drop_test_concepts:
        if (trials.concept_number[trials.kind != "catch"] == 0).any():
            raise ValueError(
                f"{trials.source}: concepts are not known, so that test concepts cannot be left "
                "out; wanted all 22,248 training trials, or a table with things_category_nr "
                "(sample_attributes_P?.csv, events.tsv)"
            )
        tested = tested_concepts(trials) if tested is None else tested
        rows = rows[~np.isin(trials.concept_number[rows], tested)]
    keys = (trials.image_number, trials.exemplar, trials.concept_number)
    rows = rows[np.lexsort([key[rows] for key in keys])]
    same = np.all([key[rows][1:] == key[rows][:-1] for key in keys], axis=0)
    if same.any():
        twice = rows[1:][same]
        raise ValueError(
            f"{trials.source}: {len(twice)} training images come more than once or cannot be told "
            f"apart, the first in trial {twice[0] + 1} (image {trials.image_number[twice[0]]})"
        )
    return rows


def tested_concepts(trials: Trials) -> np.ndarray:
    """Numbers of the concepts in the test; those of THINGS-MEG in a table without test trials."""
    test = trials.kind == "test"
    return np.unique(trials.concept_number[test]) if test.any() else np.sort(TEST_CONCEPTS)


def test_rows(trials: Trials, order: str = "image") -> np.ndarray:
    """Indices (n, r) of the test trials: one row an image, its repetitions in time's order.

    Parameters
    ----------
    order : "image" or "presentation"
        By THINGS' image numbers, or by the experiment's own numbers (`test_image_nr`). Both are
        in use; see `MEG`.

    Raises
    ------
    ValueError
        Unequal numbers of repetitions, unknown numbers, or another word for `order`.
    """
    if order not in ("image", "presentation"):
        raise ValueError(f"order {order!r}; wanted 'image' or 'presentation'")
    rows = np.flatnonzero(trials.kind == "test")
    keys = {"image": trials.image_number, "presentation": trials.test_number}
    number = keys[order][rows]
    if (number == 0).any():
        raise ValueError(f"{trials.source}: numbers of test images in the order {order!r} are not "
                         "known; wanted a table with test_image_nr")  # fmt: skip
    images, counts = np.unique(number, return_counts=True)
    if len(set(counts.tolist())) != 1:
        least, most = images[counts.argmin()], images[counts.argmax()]
        raise ValueError(
            f"{trials.source}: test image {least} comes {counts.min()} times and {most} "
            f"{counts.max()} times (of {len(images)} images); wanted each once a session"
        )
    rows = rows[np.lexsort((rows, trials.session[rows], number))]
    return rows.reshape(len(images), -1)
