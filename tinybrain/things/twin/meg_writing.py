"""Writes a folder in the shape of THINGS-MEG: the images, the table of trials, and Song's files.

    images_meg/name/name_01b.jpg, ..., name_12s.jpg       of every concept
    images_test_meg/name_13s.jpg                          one more of the test concepts
    sample_attributes_P1.csv                              what was shown, trial after trial
    Preprocessed_data/meg_sub-01_train.pkl, meg_sub-01_test.pkl

THINGS numbers concepts in alphabetical order with spaces for underscores, and images in the order
of concepts and of files in them. Test images have numbers of their own, the rows of the test file:
two alphabetical halves, one after the other, so that their order is not that of THINGS' numbers.
The reader is `things/meg/`. Letters: n images, r repetitions, h sensors, w time points.
"""

from __future__ import annotations

import csv
import io
import pickle
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ...files import write_atomically, write_text
from .writing import file_name, gathered

if TYPE_CHECKING:
    from PIL.Image import Image

T = TypeVar("T")
Row = dict[str, Any]  # of the table of trials
RUNS = 10  # of a session
PACE, SHOWN = 1.5, 0.5  # seconds from image to image, and that it is to be seen
COLUMNS = (
    "trial_type", "image_nr", "category_nr", "exemplar_nr", "test_image_nr", "things_category_nr",
    "things_image_nr", "things_exemplar_nr", "image_path", "onset", "image_on", "image_off",
    "responded", "key_id", "key_time", "RT", "session_nr", "run_nr",
)  # fmt: skip


def in_order(concepts: Mapping[str, T]) -> dict[str, T]:
    """Concepts in the order of THINGS' numbers."""
    return {name: concepts[name] for name in sorted(concepts, key=lambda n: n.replace("_", " "))}


def presented(names: Iterable[str]) -> list[str]:
    """Test concepts in the order of the experiment's numbers: two alphabetical halves."""
    names = list(in_order(dict.fromkeys(names)))
    return names[1::2] + names[::2]


def write_images(
    root: Path, concepts: Mapping[str, np.ndarray], exemplars: int,
    draw: Callable[[NDArray[np.float64]], Image],
) -> None:
    """Draw the scenes of each concept: the first are its training images, one beyond its test."""
    for name, scenes in concepts.items():
        for j, scene in enumerate(scenes, start=1):
            path = root / _image_path(name, j, exemplars)
            path.parent.mkdir(parents=True, exist_ok=True)
            draw(scene).save(path, quality=95)


def _image_path(name: str, j: int, exemplars: int) -> str:
    file = file_name(name, j)
    return f"images_meg/{name}/{file}" if j <= exemplars else f"images_test_meg/{file}"


def trial_table(
    concepts: Mapping[str, np.ndarray], exemplars: int, tested: Sequence[str], sessions: int,
    rng: np.random.Generator,
) -> list[Row]:
    """Rows of sample_attributes: one a trial, in the order of the recording.

    Every training image is shown in one session and every test image in each. As many trials as
    those of test images show an artificial object, to be caught by a key press.
    """
    exp, test = _images(concepts, exemplars, tested)
    sets = np.tile(np.arange(exemplars) % sessions, (len(concepts), 1))
    session_of = rng.permuted(sets, axis=1).ravel()                            # (n,)
    rows = []
    for session in range(sessions):
        trials = [exp[i] for i in np.flatnonzero(session_of == session)] + test
        trials += [_catch(i, len(exp), len(concepts)) for i in range(1, len(test) + 1)]
        for at, i in enumerate(rng.permutation(len(trials))):
            run, before = divmod(at, -(-len(trials) // RUNS))
            onset = PACE * (1 + before)
            seen = {"onset": onset, "image_on": onset, "image_off": onset + SHOWN}
            rows.append(trials[i] | seen | {"session_nr": session + 1, "run_nr": run + 1})
    return rows


def _images(
    concepts: Mapping[str, np.ndarray], exemplars: int, tested: Sequence[str]
) -> tuple[list[Row], list[Row]]:
    """Numbers and names of training and test images, in the order of THINGS' numbers."""
    exp, test, number = [], [], 0
    for c, (name, scenes) in enumerate(concepts.items(), start=1):
        for j in range(1, len(scenes) + 1):
            number += 1
            image: Row = {"category_nr": c, "exemplar_nr": j, "things_category_nr": c,
                          "things_image_nr": number, "things_exemplar_nr": j, "responded": 0,
                          "image_path": _image_path(name, j, exemplars)}  # fmt: skip
            if j <= exemplars:
                image |= {"trial_type": "exp", "image_nr": exemplars * (c - 1) + j}
                exp.append(image)
            else:
                own = 1 + tested.index(name)
                before = exemplars * len(concepts) + len(tested)  # training and catch images
                image |= {"trial_type": "test", "test_image_nr": own, "image_nr": before + own}
                test.append(image)
    return exp, test


def _catch(i: int, before: int, concepts: int) -> Row:
    return {"trial_type": "catch", "image_nr": before + i, "category_nr": concepts + 1,
            "exemplar_nr": i, "image_path": f"images_catch_meg/catch{i:03d}.jpg",
            "responded": 1, "RT": 0.7}  # fmt: skip


def write_table(path: Path, rows: Sequence[Row]) -> None:
    """Write rows as a table with the columns of sample_attributes; what is not known is empty."""
    text = io.StringIO()
    table = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    write_text(path, text.getvalue())


def write_signals(path: Path, shape: tuple[int, ...], blocks: Iterable[np.ndarray]) -> None:
    """Write an array of that shape, block by block of its rows, as a bare pickle in float32."""
    with gathered(path.parent, np.float32, shape, blocks) as data:
        write_atomically(path, lambda file: pickle.dump(data, file, protocol=4))
