"""What is in a file of THINGS-EEG2, whoever preprocessed it; no signal is read here.

    OSF, Gifford       np.save of a dict: preprocessed_eeg_data, ch_names, times     17 x 100
    NICE, ATM          the same dict in a bare pickle called .npy, 300 times         63 x 250
    UBP                torch.save of a dict: eeg, img, ch_names, times ..., float16  63 x 250
    NeuroBridge        array (concepts, images, r, h, w) and info.json, or a bare pickle of both
    ZEISS              array (sessions, conditions, r, h, w), img_conditions_*.npy, meta.json
    BrainAE            array (n, r, h, w), channel_names.npy, preprocessing.json
    this project       recording.json, see `store.py`

They are told apart by container, keys and shape. Sensors come in the order of THINGS_EEG2_63 if
they are those 63. The order of repetitions is the file's: shuffled by OSF and NICE, by session in
the others. ZEISS filters below 83 Hz and takes every fourth sample where the others resample; its
condition i, from 1, is row i of the image table.

Sources: the scripts that write them, in gifale95/eeg_encoding, eeyhsong/NICE-EEG and BrainAE,
HaitaoWuTJU/Uncertainty-aware-Blur-Prior, feroooooo/NeuroBridge, ZEISS/things_eeg2_dataset.
Letters: n images, r repetitions, h sensors, w time points; s sessions, k of them with an image.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from einops import rearrange

from ...messages import first_few
from .. import pickles, store
from ..images import SPLIT_FOLDER, ImageTable, named_images, visible
from ..recording import Content, Lazy, sensor_names, time_axis
from ..sensors import THINGS_EEG2_63
from ..store_card import CARD, read_json

KEYS = ("preprocessed_eeg_data", "ch_names", "times")
OSF_17 = ("Pz", "P3", "P7", "O1", "Oz", "O2", "P4", "P8",
          "P1", "P5", "PO7", "PO3", "POz", "PO4", "PO8", "P6", "P2")  # fmt: skip
PRODUCERS: dict[tuple[int, ...], tuple[str, str]] = {
    (17, 100): ("OSF", "the preprocessed files on OSF, component anp5v"),
    (63, 250): ("NICE", "Preprocessed_data_250Hz, which NICE-EEG's scripts make of the raw data"),
}
AXES: dict[tuple[int, ...], np.ndarray] = {  # of arrays that come without times
    (17, 100): np.arange(-20, 80) / 100,
    (63, 250): np.arange(250) / 250,
    (63, 251): np.arange(251) / 250,
    (63, 301): np.arange(-50, 251) / 250,
}
WINDOW = 250  # points from onset that are kept of ZEISS's sessions: 0 to 0.996 s
UNITS = {"mvnn": "whitened", "zscore": "z-score"}  # by NeuroBridge's word for it
MAX_JSON = 16 << 20  # bytes; BrainAE's lists all images, in 700,000
MADE_HERE = "examples/prepare_eeg.py makes a recording of raw data"
Said = dict[str, Any]  # what a file, or one beside it, says of itself


def open_file(file: Path, split: str, root: str | Path, subject: int) -> Content:
    """What is in the file; see the top of this module.

    Raises FileNotFoundError and ValueError, which name the file.
    """
    if file.name == CARD:
        return _own(file, split, root, subject)
    content = pickles.read(file)
    if isinstance(content, np.ndarray):
        return _bare(file, content)
    if "eeg" in content and "img" in content:
        return _ubp(file, content, split, root)
    if getattr(content.get("data"), "ndim", 0) == 5:
        return _concepts(file, content["data"], content)
    if "raw_eeg_data" in content:
        raise ValueError(f"{file}: raw data, continuous; {MADE_HERE}")
    if missing := [key for key in KEYS if key not in content and key != "ch_names"]:
        came = first_few([repr(key) for key in content], 10)
        raise ValueError(f"{file}: its keys are {came}; wanted {' and '.join(missing)} as well")
    data = content["preprocessed_eeg_data"]
    if getattr(data, "ndim", 0) == 3:
        data = data[:, None]  # (n, 1, h, w)
    _check(file, "preprocessed_eeg_data", data, 4)
    form = "bare pickle" if pickles.container(file) == "pickle" else "np.save"
    who, unit = _usual(data.shape[2:])
    return _content(file, data, content, f"{who}{form}", unit)


# One function for each form


def _own(file: Path, split: str, root: str | Path, subject: int) -> Content:
    card = store.read_card(file.parent)
    if (card.kind, card.subject) != ("eeg", subject):
        raise ValueError(f"{file}: {card.kind} of subject {card.subject}; wanted EEG of {subject}")
    return card.content(split, root)


def _ubp(file: Path, content: Said, split: str, root: str | Path) -> Content:
    data = content["eeg"]
    _check(file, "eeg", data, 4)
    images = _ubp_images(file, content["img"], data.shape[:2], split, root)
    return _content(file, data, content, "UBP, torch.save", "whitened", images=images)


def _ubp_images(
    file: Path, img: object, shape: tuple[int, ...], split: str, root: str | Path
) -> ImageTable:
    """Paths such as train_images/00001_aardvark/aardvark_01b.jpg, the same for each repetition."""
    try:
        table = np.asarray(img)
    except ValueError:
        table = np.empty(0)
    if table.dtype.kind != "U" or table.shape not in (shape, shape[:1]):
        wanted = f"a path for each of {shape[0]} x {shape[1]} signals"
        raise ValueError(f"{file}: img is {table.dtype} of shape {table.shape}; wanted {wanted}")
    table = table.reshape(len(table), -1)  # (n, r) or (n, 1)
    if len(rows := np.flatnonzero((table != table[:, :1]).any(axis=1))):
        raise ValueError(f"{file}: img names several images in row {rows[0]}; wanted one a row")
    names = [tuple(re.split(r"[/\\]", path)) for path in table[:, 0].tolist()]
    for parts in names:
        folders = [name for name in SPLIT_FOLDER if SPLIT_FOLDER[name].fullmatch(parts[0])]
        if len(parts) < 2 or {"", ".", ".."} & set(parts) or (folders and folders != [split]):
            came = "/".join(parts)[:80]
            raise ValueError(f"{file}: img names {came!r}; wanted {split} images in their folders")
    pairs = [(parts[-2], parts[-1]) for parts in names]
    return named_images(root, split, pairs, file, sorted_by_name=True)


def _bare(file: Path, data: np.ndarray) -> Content:
    """An array: what its axes mean lies beside it."""
    if data.ndim == 5:
        sessions = file.name.lower().startswith("preprocessed")
        return _sessions(file, data) if sessions else _concepts(file, data, None)
    about = _beside(file, r"preprocessing\.json")
    names = _beside(file, r"channel_names\.npy")
    _check(file, "a bare array", data, 4)
    known = about is not None or names is not None
    if not known and data.shape[2:] not in AXES:
        raise ValueError(
            f"{file}: a bare array of shape {data.shape}, with nothing beside it that says what "
            "its axes are; wanted BrainAE's (images, repetitions, 63, 250), or a dict with "
            f"{', '.join(KEYS)}"
        )
    said = {} if names is None else {"ch_names": pickles.read(names)}
    mvnn = about is not None and read_json(about, MAX_JSON).get("mvnn") is True
    producer = f"{'BrainAE' if known else 'bare array'}, np.save"
    return _content(file, data, said, producer, "whitened" if mvnn else "a.u.")


def _concepts(file: Path, data: np.ndarray, said: Said | None) -> Content:
    """NeuroBridge: (concepts, images of each, r, h, w); what they are in it, or in info.json."""
    form = "np.save" if said is None else "bare pickle"
    if said is None:
        info = _beside(file, r"info\.json", above=1)
        said = {} if info is None else read_json(info, MAX_JSON)
    _check(file, "the array", data, 5)
    data = rearrange(data, "c i r h w -> (c i) r h w")
    unit = UNITS.get(str(said.get("normalization")), "a.u.")
    return _content(file, data, said, f"NeuroBridge, {form}", unit)


def _sessions(file: Path, data: np.ndarray) -> Content:
    """ZEISS: (s, conditions, r, h, w), each condition in k of the sessions."""
    _check(file, "the array", data, 5)
    kind = re.sub(r".*(train(ing)?|test).*", r"\1", file.name.lower())
    listed = _beside(file, rf"img_conditions_{kind}(_sub-\d+)?\.npy")
    if listed is None:
        raise FileNotFoundError(
            f"{file}: sessions x conditions, as ZEISS's, but img_conditions_{kind}.npy, which "
            "says which image each is, is not beside it"
        )
    rows = _where(listed, pickles.read(listed), data.shape[:2])  # (n, k)
    meta = _beside(file, r"meta(_sub-\d+)?\.json")
    said = {} if meta is None else read_json(meta, MAX_JSON)
    axis, _ = time_axis(file, _times(file, said, data.shape[3:]), data.shape[4])
    start = int(np.abs(axis).argmin())
    times = slice(start, start + WINDOW)
    left, kept = len(axis) - len(axis[times]), axis[times]
    note = f" ({left} of {len(axis)} points left out)" if left else ""
    flat = rearrange(data, "s c r h w -> (s c) r h w")[..., times]
    said = {"ch_names": said.get("ch_names"), "times": kept}
    form = f"ZEISS, np.save, {data.shape[0]} sessions merged by image"
    return _content(file, flat, said, form, "whitened", rows=rows, note=note)


def _where(file: Path, given: object, shape: tuple[int, ...]) -> np.ndarray:
    """Where each condition lies among all (sessions conditions): (n, k), in order of its number."""
    codes = np.asarray(given)
    if codes.shape != shape or codes.dtype.kind not in "iu" or codes.size == 0:
        came = f"{codes.dtype} of shape {codes.shape}"
        raise ValueError(f"{file}: {came}; wanted the number of each of {shape} conditions")
    flat = codes.ravel()
    numbers, counts = np.unique(flat, return_counts=True)
    if not np.array_equal(numbers, np.arange(1, len(numbers) + 1)) or np.ptp(counts):
        raise ValueError(
            f"{file}: conditions {numbers[0]} to {numbers[-1]}, {len(numbers)} different ones, in "
            f"{counts.min()} to {counts.max()} sessions; wanted each from 1 on, equally often"
        )
    return np.argsort(flat, kind="stable").reshape(len(numbers), -1)


# What they have in common


class Arranged:
    """Signals of a map, their rows and sensors in another order; see `recording.Lazy`.

    `flat` is (m, r, h, w), `rows` (n, k) says which of its m rows become the repetitions of each
    image.
    """

    outer = 0

    def __init__(self, flat: np.ndarray, rows: np.ndarray, sensors: list[int] | None = None):
        self.flat, self.rows, self.sensors, self.dtype = flat, rows, sensors, flat.dtype
        (n, k), (_, r, h, w) = rows.shape, flat.shape
        self.shape = (n, k * r, h, w)

    def __getitem__(self, at: tuple[slice, ...]) -> np.ndarray:
        part = rearrange(self.flat[self.rows[at[0]]], "n k r h w -> n (k r) h w")
        part = part if self.sensors is None else part[:, :, self.sensors]
        wanted: np.ndarray = part[(slice(None), *at[1:])]
        return wanted


def _content(
    file: Path,
    data: np.ndarray,
    said: Said,
    producer: str,
    normalised: str,
    *,
    images: ImageTable | None = None,
    rows: np.ndarray | None = None,
    note: str = "",
) -> Content:
    """The `Content`, once names and times are checked; `rows` (n, k) as `Arranged` takes them."""
    h, w = data.shape[2:]
    times, cut = time_axis(file, _times(file, said, (h, w)), w)
    names, order = sensor_names(file, said.get("ch_names"), h, (THINGS_EEG2_63, OSF_17)), None
    if names != THINGS_EEG2_63 and set(names) == set(THINGS_EEG2_63):
        names, order = THINGS_EEG2_63, [names.index(name) for name in THINGS_EEG2_63]
        cut += f" (sensors put in the order {', '.join(THINGS_EEG2_63[:3])}, ...)"
    signals: np.ndarray | Lazy = data
    if rows is not None or order is not None:
        signals = Arranged(data, np.arange(len(data))[:, None] if rows is None else rows, order)
    return Content(file, signals, names, times, producer, cut + note,
                   normalised=normalised, images=images)  # fmt: skip


def _times(file: Path, said: Said, shape: tuple[int, ...]) -> object:
    if (times := said.get("times")) is None and (times := AXES.get(shape)) is None:
        raise ValueError(
            f"{file}: {shape[0]} sensors x {shape[1]} points, and neither it nor a file beside it "
            "says at what times"
        )
    return times


def _check(file: Path, what: str, data: object, axes: int) -> None:
    """Refuse what is no array of numbers with so many axes."""
    wanted = "(images, repetitions, sensors, time points)"
    wanted = f"(concepts or sessions, {wanted[1:]}" if axes == 5 else wanted
    array = data if isinstance(data, np.ndarray) else np.empty((), object)
    if array.ndim != axes or array.dtype.kind not in "fiu" or 0 in array.shape:
        came = f"{array.dtype} of shape {array.shape}" if array is data else type(data).__name__
        raise ValueError(f"{file}: {what} is {came}; wanted numbers {wanted}")
    if axes == 5 and not array.flags.c_contiguous:
        raise ValueError(f"{file}: an array in Fortran's order; save np.ascontiguousarray of it")


def _usual(shape: tuple[int, ...]) -> tuple[str, str]:
    """Who writes signals of this shape, and what their unit is if they are about 1."""
    return (f"{PRODUCERS[shape][0]}, ", "whitened") if shape in PRODUCERS else ("", "a.u.")


def _beside(file: Path, name: str, above: int = 0) -> Path | None:
    """A file of this name in the same folder, or in one above it."""
    for folder in (file.parent, *list(file.parents)[1 : 1 + above]):
        for path in visible(folder):
            if re.fullmatch(name, path.name, re.IGNORECASE) and path.is_file():
                return path
    return None
