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
from typing import cast

import numpy as np

from .. import store
from ..images import ImageTable
from ..recording import Content, Recording, check_request, span
from . import trials as meg_trials
from .epochs import Epochs, check_same
from .files import find_table, look_for, open_recording, pick
from .images import find_files, things_order
from .selection import USUAL, Selection
from .tested import TEST_IMAGES
from .trials import Trials, name_images, tested_concepts

UNIT = "baseline sd"


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
    signals : (n, h, w) float32, (n, r, h, w) with ``repeats="single"``
        n is 19,848 in training and 200 in the test, h x w the paper's 271 x 200.
    images, concepts : (n,) tuples of Path and of str
        The image of each row, and its concept: ``"aardvark"``, or ``"00001_aardvark"`` where
        folders are named so.
    sensors, times : (h,) tuple of str and (w,) float64
        Names, and seconds from image onset.
    repeats : int
        r, how often each image was shown.
    kind, unit : str
        ``"meg"``; and ``"baseline sd"``, or by scale, or as this project's own store says.
    summary : str
        What was recognised, in one line; and if a store that was prepared here was preferred to
        other files of the subject, to which.

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

    Examples
    --------
    Of a demo, which has the folders and the files of Song et al., and few images:

    >>> import tempfile
    >>> from tinybrain.things import MEG, make_demo
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     few = {"train_concepts": 3, "train_images": 2, "test_concepts": 2}
    ...     test = MEG(make_demo(f"{folder}/demo", "meg", **few), "P1", "test", repeats="single")
    >>> test.signals.shape, test.unit, test.times[[0, -1]].tolist()
    ((2, 12, 271, 200), 'baseline sd', [0.005, 1.0])
    >>> test.images[0].name, test.concepts[0], test.sensors[0]
    ('teal_star_03s.jpg', 'teal_star', 'MLC11-1609')
    """

    kind, data_set = "meg", "THINGS-MEG"

    def __init__(
        self, root: str | Path, subject: int | str, split: str, *, repeats: str = "mean",
        drop_test_concepts: bool = True, crop: str = "paper", test_order: str = "presentation",
        tmin: float | None = None, shape: tuple[int, int] | None = None,
    ) -> None:  # fmt: skip
        check_request(split, repeats)
        wanted = Selection(crop, drop_test_concepts, test_order)
        content, images = open_content(root, subject, split, wanted, tmin)
        h, w = content.data.shape[2:]
        if shape is not None and (h, w) != tuple(shape):
            raise ValueError(
                f"{content.file}: {h} sensors x {w} points came with crop={crop!r} "
                f"({span(content.times)}); wanted {shape[0]} x {shape[1]}"
            )
        super().__init__(content, images, split, repeats)


def open_content(
    root: str | Path,
    subject: int | str,
    split: str,
    wanted: Selection = USUAL,
    tmin: float | None = None,
    without: Path | None = None,
) -> tuple[Content, ImageTable]:
    """What `MEG` reads, and the image of each row; the signals are not yet read. Errors as there.

    Parameters
    ----------
    without : a store that is not looked at: the one that is being made.
    """
    file, note = look_for(root, subject, split, without)
    if file.name.lower() == "recording.json":
        content, images = _stored(file, root, split, wanted)
    else:
        table = find_table(root, subject)
        epochs = open_recording(file, split, table, tmin)
        rows, trials = _rows(epochs, table, split, wanted)
        at = wanted.window(file, epochs.times)
        images = _images(trials[rows[:, 0]], root)
        content = Content(file, epochs.pick(rows, at), epochs.sensors, epochs.times[at],
                          epochs.producer, normalised=UNIT)  # fmt: skip
    return replace(content, note=content.note + note), images


def _rows(
    epochs: Epochs, table: Trials | None, split: str, wanted: Selection
) -> tuple[np.ndarray, Trials]:
    """Trial indices (n, r) in a file, and what its trials showed."""
    trials = _told(epochs, table)
    if split == "test":
        rows = meg_trials.test_rows(trials, wanted.test_order)
    else:
        whole = trials if table is None or (trials.kind == "test").any() else table
        tested = tested_concepts(whole)
        drop = wanted.drop_test_concepts
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


def _told(epochs: Epochs, table: Trials | None) -> Trials:
    """What the trials of a file showed: by its own words or, without names in it, by the table."""
    if (own := epochs.trials) is not None:
        named = (own.image[own.kind != "catch"] != "").all()
        if named or table is None or not epochs.whole:
            return own
    if table is None:
        raise FileNotFoundError(
            f"{epochs.file}: it does not say what was shown; wanted sample_attributes_P?.csv of "
            "the subject (sourcedata of ds004212) beside it or above"
        )
    if len(table) != epochs.whole:
        raise ValueError(f"{table.source}: {len(table)} trials, but {epochs.whole} in "
                         f"{epochs.file}")  # fmt: skip
    if own is not None:
        check_same(table, own)
    return table


def _images(shown: Trials, root: str | Path) -> ImageTable:
    """The image of each row, by name."""
    source = shown.source
    if (shown.image == "").any():
        shown = name_images(shown, root)
        source = "their numbers"
    return find_files(shown.image.tolist(), root, source)


# This project's own store


def _stored(
    file: Path, root: str | Path, split: str, wanted: Selection
) -> tuple[Content, ImageTable]:
    """A split of the store, without test concepts and with test images in the order asked for."""
    card = store.read_card(file.parent)
    content = card.content(split, root, _look_up)
    images, (n, r, h, w) = cast(ImageTable, content.images), content.data.shape
    tested = set(card.splits["test"].concepts) if "test" in card.splits else set()
    drop = tested if wanted.drop_test_concepts else set()
    if split == "test":
        kept = _in_order(card.splits[split].images, wanted.test_order)
    else:
        kept = [row for row in range(n) if images.concepts[row] not in drop]
    at = wanted.window(file, content.times)
    rows = np.array(kept)[:, None] * r + np.arange(r)  # (n, r)
    signals = cast(np.ndarray, content.data).reshape(n * r, h, w)  # a store's are a map
    paths = tuple(images.paths[row] for row in kept)
    concepts = tuple(images.concepts[row] for row in kept)
    content = replace(content, data=pick(signals, rows, at), times=content.times[at])
    return content, ImageTable(paths, concepts, images.source)


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
