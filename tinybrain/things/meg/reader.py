"""THINGS-MEG: one subject's responses to 22,248 training and 200 test images (Section 4.1).

Whatever files a subject's recording is in (`files.py`, `epochs.py`), its rows come out in
one order: training by THINGS' image numbers, concept after concept and exemplar after exemplar;
test images as asked. Signals are in standard deviations of the 0.1 s before each image, one for
every trial and sensor, and not in tesla. Images followed each other every 1.25 to 1.7 s, each
shown for 0.5 s.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from .. import store
from ..images import ImageTable
from ..recording import Content, Recording, check_request, span
from . import trials as meg_trials
from .epochs import Epochs, check_same
from .files import find_file, find_table, open_recording, pick
from .images import find_files, things_order
from .tested import TEST_IMAGES
from .trials import Trials, name_images, tested_concepts

UNIT = "baseline sd"
CROPS = {  # first and last time, in seconds
    "paper": (0.005, 1.0),
    "onset": (0.0, 0.995),
    "closed": (0.0, 1.0),
    "all": (-np.inf, np.inf),
}


class MEG(Recording):
    """One subject and split of THINGS-MEG.

    Parameters
    ----------
    root : str or Path
        A folder with a subject's recording in it: derivatives of ds004212, or a cache of Song,
        ATM, UBP, NeuroBridge, AlignVis or this project. Names of images are taken from it, or
        from ``sample_attributes_P1.csv``, ``image_paths.csv`` or a folder of images
        (``images_meg`` and ``images_test_meg``, ``images``, ``Image_set``), there or above.
    subject : int or str
        ``1``, ``"sub-01"``, ``"P1"`` or ``"BIGMEG1"``.
    split : "train" or "test"
    repeats : "mean" or "single"
        Average the repetitions of each image, or keep them. Training images were shown once and
        test images 12 times, so that averages of the two differ in noise.
    drop_test_concepts : bool
        Leave out of the training the 200 concepts of which another image is in the test, as Song
        et al. do: 19,848 images of 1,654 concepts remain of 22,248 of 1,854.
    crop : "paper", "onset", "closed" or "all"
        0.005 to 1 s, 200 points, as Song et al. and so the paper; 0 to 0.995 s, 200 points, as
        NeuroBridge; 0 to 1 s, 201 points, as ATM and UBP; or all that the file has, -0.1 to 1.3 s
        in the distributed epochs.
    test_order : "presentation" or "image"
        Order of test images: by the experiment's own numbers, as Song et al., whose feature files
        have it too; or by THINGS' image numbers, as ATM, UBP and NeuroBridge.
    tmin : float, optional
        Time of the first point of a file that does not tell.
    shape : (h, w), optional
        Sensors and time points that the caller needs, to be told at once if the files have others.

    Attributes
    ----------
    signals : float32, (n, h, w), or (n, r, h, w) for single repetitions
    images : tuple of Path, (n,)
    concepts : tuple of str, (n,)
        Names such as ``"aardvark"``, or ``"00001_aardvark"`` where folders are named so.
    sensors : tuple of str, (h,)
    times : float64, (w,)
        Seconds from image onset.
    repeats : int
        Repetitions of each image in the file.
    kind : "meg"
    unit : str
        ``"baseline sd"``, or by scale, or as this project's own store says.
    summary : str
        One line that says what was recognised.

    Raises
    ------
    FileNotFoundError
        No such subject or split, a continuation file missing, names of images not to be found, or
        images missing.
    ValueError
        Files of another kind, damaged, ambiguous or hostile; NaN or infinite values; another
        shape or crop than the file has. Messages name the file.
    ModuleNotFoundError
        The file needs mne or h5py, which are not installed.
    """

    kind, data_set = "meg", "THINGS-MEG"

    def __init__(
        self,
        root: str | Path,
        subject: int | str,
        split: str,
        *,
        repeats: str = "mean",
        drop_test_concepts: bool = True,
        crop: str = "paper",
        test_order: str = "presentation",
        tmin: float | None = None,
        shape: tuple[int, int] | None = None,
    ):
        check_request(split, repeats)
        content = open_content(
            root, subject, split, drop_test_concepts=drop_test_concepts, crop=crop,
            test_order=test_order, tmin=tmin,
        )
        if shape is not None and content.data.shape[2:] != tuple(shape):
            came, wanted = content.data.shape[2:], tuple(shape)
            raise ValueError(
                f"{content.file}: {came[0]} sensors x {came[1]} points came with crop={crop!r} "
                f"({span(content.times)}); wanted {wanted[0]} x {wanted[1]}"
            )
        super().__init__(content, content.images, split, repeats)


def _content(epochs: Epochs, rows: np.ndarray, crop: str, images: ImageTable) -> Content:
    """The trials `rows` (n, r) and the points of a crop, not yet read."""
    at = window(epochs.file, epochs.times, crop)
    return Content(
        epochs.file,
        epochs.pick(rows, at),
        epochs.sensors,
        epochs.times[at],
        epochs.producer,
        normalised=UNIT,
        images=images,
    )


def open_content(
    root: str | Path,
    subject: int | str,
    split: str,
    *,
    drop_test_concepts: bool = True,
    crop: str = "paper",
    test_order: str = "presentation",
    tmin: float | None = None,
) -> Content:
    """What `MEG` reads, its rows in their order and its signals not yet read; errors as there."""
    if crop not in CROPS or test_order not in ("presentation", "image"):
        raise ValueError(
            f"crop {crop!r}, test_order {test_order!r}; wanted crop {', '.join(CROPS)} and "
            "test_order 'presentation' or 'image'"
        )
    file = find_file(root, subject, split)
    if file.name.lower() == "recording.json":
        return _stored(file, root, split, drop_test_concepts, test_order, crop)
    table = find_table(root, subject)
    epochs = open_recording(file, split, table, tmin)
    rows, trials = _rows(epochs, table, split, drop_test_concepts, test_order)
    at = window(file, epochs.times, crop)
    return Content(
        file, epochs.pick(rows, at), epochs.sensors, epochs.times[at], epochs.producer,
        normalised=UNIT, images=_images(trials[rows[:, 0]], root),
    )  # fmt: skip


def window(file: Path, times: np.ndarray, crop: str) -> slice:
    """The points of a crop; an error that says which crops there are if the file lacks some."""
    step = np.diff(times).mean() if len(times) > 1 else 1.0
    inside = {
        name: np.flatnonzero((times > first - step / 2) & (times < last + step / 2))
        for name, (first, last) in CROPS.items()
    }
    whole = [
        name
        for name, (first, last) in CROPS.items()
        if name == "all"
        or (times[0] < first + step / 2 and times[-1] > last - step / 2 and len(inside[name]))
    ]
    if crop not in whole:
        raise ValueError(
            f"{file}: its {len(times)} points are {span(times)}; crop={crop!r} wants "
            f"{CROPS[crop][0]:g} to {CROPS[crop][1]:g} s: take crop={' or '.join(map(repr, whole))}"
        )
    return slice(int(inside[crop][0]), int(inside[crop][-1]) + 1)


def _rows(
    epochs: Epochs, table: Trials | None, split: str, drop: bool, order: str
) -> tuple[np.ndarray, Trials]:
    """Trial indices (n, r) in a file, and what its trials showed."""
    trials = epochs.trials
    if trials is None and table is None:
        raise FileNotFoundError(
            f"{epochs.file}: it does not say what was shown; wanted sample_attributes_P?.csv of "
            "the subject (sourcedata of ds004212) beside it or above"
        )
    named = trials is not None and (trials.image[trials.kind != "catch"] != "").all()
    if epochs.whole and table is not None and not named:
        if len(table) != epochs.whole:
            raise ValueError(f"{table.source}: {len(table)} trials, but {epochs.whole} in "
                             f"{epochs.file}")  # fmt: skip
        if trials is not None:
            check_same(table, trials)
        trials = table
    if split == "test":
        rows = meg_trials.test_rows(trials, order)
    else:
        known = table is None or (trials.kind == "test").any()
        tested = tested_concepts(trials if known else table)
        rows = meg_trials.training_rows(trials, drop, tested)[:, None]
        shown = trials.concept_number[rows]
        if not drop and (shown > 0).all() and not np.isin(shown, tested).any():
            raise ValueError(
                f"{epochs.file}: its producer left the test concepts out; wanted "
                "drop_test_concepts=True, or the distributed epochs"
            )
    if not rows.size:
        raise ValueError(f"{epochs.file}: no trials of the {split} split in it")
    return rows, trials


def _images(shown: Trials, root: str | Path) -> ImageTable:
    """The image of each row, by name."""
    source = shown.source
    if (shown.image == "").any():
        shown = name_images(shown, root)
        source = "their numbers"
    return find_files(shown.image.tolist(), root, source)


# This project's own store


def _stored(
    file: Path, root: str | Path, split: str, drop: bool, order: str, crop: str
) -> Content:
    """A split of the store, without test concepts and with test images in the order asked for."""
    card = store.read_card(file.parent)
    content = card.content(split, root, _look_up)
    n, r, h, w = content.data.shape
    tested = set(card.splits["test"].concepts) if "test" in card.splits else set()
    if split == "test":
        kept = _in_order(card.splits[split].images, order)
    else:
        concepts = content.images.concepts
        kept = [row for row in range(n) if not (drop and concepts[row] in tested)]
    at = window(file, content.times, crop)
    rows = np.array(kept)[:, None] * r + np.arange(r)  # (n, r)
    data = pick(content.data.reshape(n * r, h, w), rows, at)
    images = ImageTable(
        tuple(content.images.paths[row] for row in kept),
        tuple(content.images.concepts[row] for row in kept),
        content.images.source,
    )
    return replace(content, data=data, times=content.times[at], images=images)


def _look_up(
    root: str | Path, split: str, names: Sequence[tuple[str, str]], told_by: str | Path
) -> ImageTable:
    return find_files(["/".join(name) for name in names], root, str(told_by))


def _in_order(names: Sequence[str], order: str) -> list[int]:
    """Rows of test images in an order; as they are if they are not the 200 of THINGS-MEG."""
    by_name = sorted(range(len(names)), key=lambda row: things_order(names[row]))
    if order == "image" or len(names) != len(TEST_IMAGES):
        return by_name if order == "image" else list(range(len(names)))
    place = np.argsort(np.argsort(TEST_IMAGES))  # of each presented image, by its number
    return [by_name[each] for each in place.tolist()]
