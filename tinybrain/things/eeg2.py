"""THINGS-EEG2: one subject's responses to 16,540 training and 200 test images (Section 4.1).

On disk, for each subject and split, a dict in one of two containers (see `pickles.py`):

    preprocessed_eeg_data   (n, r, h, w): n images, r repetitions, h sensors, w points
    ch_names                h names
    times                   w times in s; in NICE's files 300, of which the last 250 hold

    OSF (Gifford et al. 2022)    17 x 100, -0.2 to 0.79 s at 100 Hz
    NICE (Song et al. 2024)      63 x 250,  0 to 0.996 s at 250 Hz; what the paper uses

Images followed each other every 200 ms, so that a signal of 1 s also holds the response to the
next four. No file is loaded whole: repetitions are averaged block by block from a memory map.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from . import pickles
from .images import image_table, visible
from .recording import Content, Recording, check_request, sensor_names, time_axis
from .sensors import THINGS_EEG2_63

KEYS = ("preprocessed_eeg_data", "ch_names", "times")
FILE = {
    "train": re.compile(r"preprocessed_eeg_train(ing)?\.npy", re.IGNORECASE),
    "test": re.compile(r"preprocessed_eeg_test\.npy", re.IGNORECASE),
}
SUBJECT = re.compile(r"(?:sub-?)?0*(\d+)", re.IGNORECASE)
OTHERS = (
    (re.compile(r"(train|test)\.pt", re.IGNORECASE), "UBP's torch files"),
    (re.compile(r"(train|test)\.npy", re.IGNORECASE), "NeuroBridge's arrays"),
    (re.compile(r".*\.h(df)?5", re.IGNORECASE), "HDF5 files as BERG's"),
    (re.compile(r"ses-\d+.*", re.IGNORECASE), "sessions, as raw data and ZEISS's files have"),
)
OSF_17 = ("Pz", "P3", "P7", "O1", "Oz", "O2", "P4", "P8",
          "P1", "P5", "PO7", "PO3", "POz", "PO4", "PO8", "P6", "P2")  # fmt: skip
PRODUCERS = {
    (17, 100): ("OSF", "the preprocessed files on OSF, component anp5v"),
    (63, 250): ("NICE", "Preprocessed_data_250Hz, which NICE-EEG's scripts make of the raw data"),
}


class EEG2(Recording):
    """One subject and split of THINGS-EEG2.

    Parameters
    ----------
    root : str or Path
        The THINGS-EEG2 folder. Signals may lie in it, in ``*/sub-XX`` or in
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
    images : tuple of Path, (n,)
    concepts : tuple of str, (n,)
        Folder names such as ``"00001_aardvark"``.
    sensors : tuple of str, (h,)
    times : float64, (w,)
        Seconds from image onset.
    repeats : int
        Repetitions of each image in the file.
    kind : "eeg"
    unit : str
        ``"whitened"`` (multivariate noise normalisation), ``"V"`` or ``"a.u."``, by scale.
    summary : str
        One line that says what was recognised.

    Raises
    ------
    FileNotFoundError
        No such subject or split, no images and no table of them, images missing.
    ValueError
        Files of another kind, damaged, ambiguous or hostile; NaN or infinite values; another
        shape than asked; images that do not match. Messages name the file.
    """

    kind, data_set = "eeg", "THINGS-EEG2"

    def __init__(
        self,
        root: str | Path,
        subject: int | str,
        split: str,
        *,
        repeats: str = "mean",
        shape: tuple[int, int] | None = None,
    ):
        check_request(split, repeats)
        content = _open(find_file(root, subject, split), shape)
        table = image_table(root, split, len(content.data))
        super().__init__(content, table, split, repeats)


# Finding the file


def find_file(root: str | Path, subject: int | str, split: str) -> Path:
    """The subject's file of this split, or an error that lists what is there."""
    root, number = Path(root), SUBJECT.fullmatch(str(subject))
    if number is None:
        raise ValueError(f"subject {subject!r}; wanted a number such as 1, or 'sub-01'")
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: there is no such folder; wanted a THINGS-EEG2 folder")
    inside = [(n, path) for n, folder in _subject_folders(root) for path in visible(folder)]
    files = [(n, path) for n, path in inside if FILE[split].fullmatch(path.name)]
    found = [path for n, path in files if n == int(number[1])]
    if len(found) == 1:
        return found[0]
    if found:
        raise ValueError(
            f"{root}: {len(found)} {split} files of subject {subject}: "
            f"{', '.join(map(str, found))}; pass the folder that holds the one you mean"
        )
    there = ", ".join(str(path) for _, path in files) or "none"
    names = [path.name for n, path in inside if n == int(number[1])]
    other = next((what for name, what in OTHERS if any(map(name.fullmatch, names))), None)
    raise FileNotFoundError(
        f"{root}: no preprocessed_eeg_{'training' if split == 'train' else split}.npy of subject "
        f"{subject}, in it or in a folder such as Preprocessed_data_250Hz/sub-01; {split} files "
        f"there: {there}"
        + (f". Of this subject there are {other}, which are not read yet" if other else "")
    )


def _subject_folders(root: Path) -> list[tuple[int, Path]]:
    """(number, folder) of every subject at the places where THINGS folders have them."""
    parts = visible(root)
    deeper = [part for part in parts if part.name.lower() == "eeg_dataset"]
    holders = [root, *parts, *(inner for part in deeper for inner in visible(part))]
    folders = [root.absolute(), *(path for holder in holders for path in visible(holder))]
    return [
        (int(SUBJECT.fullmatch(folder.name)[1]), folder)
        for folder in folders
        if folder.name.lower().startswith("sub") and SUBJECT.fullmatch(folder.name)
    ]


# What the file says


def _open(file: Path, shape: tuple[int, int] | None) -> Content:
    """What is in the file, not yet read."""
    content = pickles.read(file)
    if type(content) is not dict:
        came = f"a bare array of shape {content.shape}, as NeuroBridge, ZEISS and BrainAE write"
        raise ValueError(f"{file}: {came}; wanted a dict with {', '.join(KEYS)}")
    if missing := [key for key in KEYS if key not in content and key != "ch_names"]:
        came = ", ".join(repr(key[:40]) for key in list(content)[:10])
        raise ValueError(f"{file}: its keys are {came}; wanted {' and '.join(missing)} as well")
    data = np.asarray(content["preprocessed_eeg_data"])
    if data.ndim == 3:
        data = data[:, None]  # (n, 1, h, w)
    if data.ndim != 4 or data.dtype.kind not in "fiu" or 0 in data.shape:
        raise ValueError(
            f"{file}: preprocessed_eeg_data is {data.dtype} of shape {data.shape}; "
            "wanted numbers (images, repetitions, sensors, time points)"
        )
    if shape is not None and data.shape[2:] != tuple(shape):
        came, wanted = data.shape[2:], tuple(shape)
        raise ValueError(
            f"{file}: {came[0]} sensors x {came[1]} points came{_says(came)}; "
            f"wanted {wanted[0]} x {wanted[1]}{_says(wanted)}"
        )
    h, w = data.shape[2:]
    times, cut = time_axis(file, content["times"], w)
    sensors = sensor_names(file, content.get("ch_names"), h, (THINGS_EEG2_63, OSF_17))
    unit = "whitened" if (h, w) in PRODUCERS else "a.u."
    return Content(file, data, sensors, times, _producer(file, (h, w)), cut, normalised=unit)


def _says(shape: tuple[int, int]) -> str:
    return f" ({': '.join(PRODUCERS[shape])})" if shape in PRODUCERS else ""


def _producer(file: Path, shape: tuple[int, int]) -> str:
    form = "bare pickle" if pickles.container(file) == "pickle" else "np.save"
    return f"{PRODUCERS[shape][0]}, {form}" if shape in PRODUCERS else form
