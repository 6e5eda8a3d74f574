"""THINGS-EEG2: one subject's responses to 16,540 training and 200 test images (Section 4.1).

What the paper uses are 63 sensors x 250 points, 0 to 0.996 s at 250 Hz; the files on OSF have 17 x
100. `files.py` lists the forms in circulation. Images followed each other every 200 ms, so that a
signal of 1 s also holds the response to the next four. No file is loaded whole: repetitions are
averaged block by block from a memory map.

Letters: n images, r repetitions, h sensors, w time points.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from .. import store
from ..choosing import Chosen, choose
from ..images import image_table, visible
from ..recording import Recording, check_request
from ..store_card import CARD
from .files import MADE_HERE, PRODUCERS, open_file
from .raw import subject_folders, subject_number

FILE = {
    split: re.compile(rf"preprocessed_eeg_{name}(_sub-\d+)?\.npy|{split}\.(npy|pt)", re.IGNORECASE)
    for split, name in (("train", "train(ing)?"), ("test", "test"))
}
OTHERS = (
    (
        re.compile(r".*\.h(df)?5", re.IGNORECASE),
        "HDF5 files as BERG's, of another pipeline (current source density, 200 Hz); do not mix",
    ),
    (re.compile(r"ses-\d+.*", re.IGNORECASE), f"sessions of raw data; {MADE_HERE}"),
)


class EEG2(Recording):
    """One subject and split of THINGS-EEG2.

    Parameters
    ----------
    root : str or Path
        The THINGS-EEG2 folder. Signals may lie in ``sub-XX`` in it, in ``*/sub-XX`` or in
        ``eeg_dataset/preprocessed_data/sub-XX``; images in ``Image_set``; in any capitals.
    subject : int or str
        ``1``, ``"01"`` or ``"sub-01"``.
    split : "train" or "test"
    repeats : "mean" or "single"
        Average the repetitions of each image, or keep them. Training images were shown 4 times
        and test images 80 times, so that averages of the two differ in noise.
    shape : (h, w), optional
        Sensors and time points that the caller needs, to be told at once if the files have others.

    Attributes
    ----------
    signals : float32, (n, h, w), or (n, r, h, w) for single repetitions
        Of the paper (16540, 63, 250) in training and (200, 63, 250) in the test.
    images : tuple of Path, (n,)
        In the folders of their concepts.
    concepts : tuple of str, (n,)
        The names of these folders, such as ``"00001_aardvark"``.
    sensors : tuple of str, (h,)
        Electrodes, in the order of THINGS-EEG2 if they are its 63.
    times : float64, (w,)
        Seconds from image onset.
    repeats : int
        r: 4 in training, 80 in the test.
    kind : "eeg"
    unit : str
        ``"whitened"`` (multivariate noise normalisation), ``"z-score"``, ``"V"`` or ``"a.u."``, as
        the file says or, where it does not, by scale.
    summary : str
        One line that says what was recognised, and which other files of the subject were passed
        over: what `prepare_eeg.py` made is preferred to somebody else's.

    Raises
    ------
    FileNotFoundError
        No such subject or split, no images and no table of them, images missing.
    ValueError
        Files of another kind, damaged or hostile, or several and none of them prepared here; NaN
        or infinite values; another shape than asked; images that do not match. Messages name the
        file.

    Examples
    --------
    A demo has the folders and files of the data set, with few images:

    >>> import tempfile
    >>> from tinybrain.things import EEG2, make_demo
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     sizes = {"train_concepts": 6, "train_images": 2, "test_concepts": 3}
    ...     demo = make_demo(f"{folder}/demo", **sizes, sensors=["O1", "Oz", "O2"])
    ...     train, test = EEG2(demo, 1, "train"), EEG2(demo, 1, "test", repeats="single")
    >>> train.signals.shape, train.repeats, test.signals.shape
    ((12, 3, 50), 4, (3, 80, 3, 50))
    >>> train.times[:3].tolist(), test.images[0].name, test.concepts[0]
    ([0.0, 0.02, 0.04], 'blue_leaf_01b.jpg', '00001_blue_leaf')
    """

    kind, data_set = "eeg", "THINGS-EEG2"

    def __init__(
        self, root: str | Path, subject: int | str, split: str, *, repeats: str = "mean",
        shape: tuple[int, int] | None = None,
    ) -> None:  # fmt: skip
        check_request(split, repeats)
        file, note = look_for(root, subject, split)
        content = open_file(file, split, root, subject_number(subject))
        content = replace(content, note=content.note + note)
        _check_shape(file, content.data.shape[2:], shape)
        table = content.images or image_table(root, split, content.data.shape[0])
        super().__init__(content, table, split, repeats)


# Finding the file


def find_file(root: str | Path, subject: int | str, split: str) -> Path:
    """The subject's file of this split, or an error that lists what is there."""
    return look_for(root, subject, split).file


def look_for(root: str | Path, subject: int | str, split: str) -> Chosen:
    """`find_file` and, for the summary, what was passed over."""
    root, number = Path(root), subject_number(subject)
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: there is no such folder; wanted a THINGS-EEG2 folder")
    inside = [(n, path) for n, folder in subject_folders(root) for path in visible(folder)]
    files = [(n, path) for n, path in inside if _holds(path, split)]
    found = [path for n, path in files if n == number]
    if len(found) > 1:  # one alone is refused by what reads it, in better words
        found = [path for path in found if path.name != CARD or _is_eeg(path)]
    if found:
        return choose(found, f"{split} files of subject {subject} in {root}")
    there = ", ".join(str(path) for _, path in files) or "none"
    whose = ", ".join(map(str, sorted({n for n, _ in files})))
    names = [path.name for n, path in inside if n == number]
    other = next((what for name, what in OTHERS if any(map(name.fullmatch, names))), None)
    raise FileNotFoundError(
        f"{root}: no preprocessed_eeg_{'training' if split == 'train' else split}.npy of subject "
        f"{subject}, nor another form of it, in it or in a folder such as Preprocessed_data_250Hz/"
        f"sub-01; {f'subjects there: {whose}; ' * bool(files)}{split} files there: {there}"
        + (f". Of this subject there are {other}" if other else "")
    )


def _holds(path: Path, split: str) -> bool:
    """Whether a file holds this split, by its name."""
    if path.name == CARD:
        return path.with_name(f"signals_{split}.npy").exists()
    return FILE[split].fullmatch(path.name) is not None


def _is_eeg(card: Path) -> bool:
    return store.read_card(card.parent).kind == "eeg"


def _check_shape(
    file: Path, came: tuple[int, ...], wanted: tuple[int, int] | None
) -> None:
    if wanted is not None and came != tuple(wanted):
        raise ValueError(
            f"{file}: {came[0]} sensors x {came[1]} points came{_says(came)}; "
            f"wanted {wanted[0]} x {wanted[1]}{_says(tuple(wanted))}"
        )


def _says(shape: tuple[int, ...]) -> str:
    return f" ({': '.join(PRODUCERS[shape])})" if shape in PRODUCERS else ""
