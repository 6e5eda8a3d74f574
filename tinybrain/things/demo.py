"""A statistical twin of THINGS-EEG2: drawn images, simulated recordings, and the truth.

The recording of image n in repetition r, at sensor h and time t, is

    y[n, r] = M + D[n] + noise[n, r]

with M the mean recording, D what is specific to the image (zero on average over training images)
and Gaussian noise, from `evoked.py`, scaled to the variance components of real recordings. The
best prediction that anyone can make from an image is M + D, which is kept in `truth.npz`.
Folders, containers and keys are those of the files in circulation (`writing.py`), so that the twin
is read as THINGS-EEG2 is.
Letters: n images, r repetitions, h sensors, w time points, a attributes.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import uuid
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path

import numpy as np
from einops import rearrange

from ..files import write_atomically
from . import drawing, evoked, writing
from .sensors import positions

VERSION = 1  # of what is drawn and simulated: to be raised when either changes
BLOCK = 4_000_000  # numbers simulated at a time

# 32 of the 63: all over the scalp, dense over the back of the head, where images are seen.
SENSORS = (
    "Fp1", "Fp2", "F7", "F3", "F4", "F8", "FC5", "FCz", "FC6", "T7", "C3", "Cz", "C4", "T8", "TP9",
    "CPz", "TP10", "P7", "P3", "P1", "Pz", "P2", "P4", "P8", "PO7", "PO3", "POz", "PO4", "PO8",
    "O1", "Oz", "O2",
)  # fmt: skip


@dataclass(frozen=True)
class Settings:
    """All that a demo depends on; see `make_demo`."""

    kind: str
    seed: int
    train_concepts: int
    train_images: int
    train_repeats: int
    test_concepts: int
    test_images: int
    test_repeats: int
    sensors: tuple[str, ...]
    points: int
    rate: float
    image_size: int
    erp_power: float
    image_variance: float
    noise_variance: float
    container: str
    version: int = VERSION

    def __post_init__(self) -> None:
        if self.kind != "eeg":
            raise ValueError(f"kind is {self.kind!r}; only 'eeg' is there yet, 'meg' is to come")
        if self.container not in writing.CONTAINERS:
            raise ValueError(f"container {self.container!r}, wanted one of {writing.CONTAINERS}")
        for field in fields(self):
            value = getattr(self, field.name)
            least = 0 if field.name == "seed" else 1
            if field.type == "int" and (type(value) is not int or value < least):
                raise ValueError(f"{field.name} is {value!r}, wanted an integer from {least} up")
            if field.type == "float" and not 0 < value < np.inf:
                raise ValueError(f"{field.name} is {value!r}, wanted a number above 0")
        if max(self.train_images, self.test_images) > 99:
            raise ValueError("more than 99 images of a concept: file names have two digits")
        if self.train_concepts * self.train_images < 2:
            raise ValueError("one training image: wanted two at least, to tell image from mean")
        if len(positions(self.sensors)) == 0 or len(set(self.sensors)) < len(self.sensors):
            raise ValueError(f"sensors are {self.sensors}, wanted names, each once")

    @property
    def times(self) -> np.ndarray:
        """Seconds from onset, (w,)."""
        return np.arange(self.points) / self.rate


@dataclass(frozen=True)
class Truth:
    """What only a demo can know, from `truth.npz`.

    `train` and `test` are the noise-free responses, float32 (n, h, w). The attributes (n, a) are
    those that the images were drawn from, float64 in [-1, 1], named in `attributes`.
    `noise_variance` (h,) is that of one repetition.
    """

    train: np.ndarray
    test: np.ndarray
    train_attributes: np.ndarray
    test_attributes: np.ndarray
    attributes: tuple[str, ...]
    sensors: tuple[str, ...]
    times: np.ndarray
    noise_variance: np.ndarray
    settings: dict


def make_demo(
    root: str | Path,
    kind: str = "eeg",
    *,
    seed: int = 0,
    train_concepts: int = 400,
    train_images: int = 4,
    train_repeats: int = 4,
    test_concepts: int = 100,
    test_images: int = 1,
    test_repeats: int = 80,
    sensors: Sequence[str] = SENSORS,
    points: int = 50,
    rate: float = 50.0,
    image_size: int = 96,
    erp_power: float = 0.059,
    image_variance: float = 0.018,
    noise_variance: float = 0.87,
    container: str = "pickle",
) -> Path:
    """Write a folder that looks like THINGS-EEG2 with one subject, and `truth.npz` in it.

    The same settings give the same files. A demo that is there already is kept if it has these
    settings. The folder appears when it is complete, not before. The full size of THINGS-EEG2 is
    ``train_concepts=1654, train_images=10, test_concepts=200, sensors=THINGS_EEG2_63, points=250,
    rate=250``: 11 GB on disk, twice that while it is made, 9 GB of memory, and some minutes.

    Parameters
    ----------
    root : folder to make.
    kind : "eeg".
    seed : of all that is random.
    train_concepts, train_images, train_repeats : concepts, images of each, repetitions of those.
    test_concepts, test_images, test_repeats : likewise; no test concept is a training concept.
    sensors : names of the 10-10 system.
    points, rate : time points from onset on, and how many a second. `times` in the files begins
        0.2 s earlier, as in those in circulation.
    image_size : pixels on a side.
    erp_power : mean square of the mean recording, over sensors and time.
    image_variance : variance of the response over training images, mean over sensors and time.
    noise_variance : of one repetition, mean over sensors. The defaults of the three are about
        what whitened THINGS-EEG2 recordings have.
    container : "pickle" as NICE's files, or "npy" as OSF's.

    Returns
    -------
    `root` as a Path.

    Raises
    ------
    ValueError : a setting that cannot be; or `root` holds something else, or other settings.
    """
    settings = Settings(
        kind, seed, train_concepts, train_images, train_repeats, test_concepts, test_images,
        test_repeats, tuple(sensors), points, float(rate), image_size, float(erp_power),
        float(image_variance), float(noise_variance), container,
    )  # fmt: skip
    root = Path(root)
    if _is_made(root, settings):
        return root
    part = root.with_name(f"{root.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        _write(part, settings)
        if hasattr(os, "sync"):  # not on Windows
            os.sync()  # all files at once; one by one takes longer than making them
        os.replace(part, root)
    except OSError:
        if not _is_made(root, settings):  # or else another process was quicker
            raise
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return root


def read_truth(root: str | Path) -> Truth:
    """The truth of a demo.

    Raises
    ------
    FileNotFoundError : `root` is no demo.
    ValueError : its `truth.npz` is damaged.
    """
    content = _load(Path(root), [field.name for field in fields(Truth)])
    names = {key: tuple(content[key].tolist()) for key in ("attributes", "sensors")}
    return Truth(**content | names | {"settings": json.loads(str(content["settings"]))})


def _load(root: Path, keys: list[str]) -> dict[str, np.ndarray]:
    path = root / "truth.npz"
    if not path.is_file():
        raise FileNotFoundError(f"no {path}: {root} is no demo; make_demo makes one")
    try:
        with np.load(path) as file:
            return {key: file[key] for key in keys}
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} is damaged ({error}): delete {root}, make it anew") from error


def _is_made(root: Path, settings: Settings) -> bool:
    """Whether the demo stands there already; an error if something else does."""
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return False
    if not (root / "truth.npz").is_file():
        raise ValueError(f"{root} is there and is no demo; choose a new folder")
    found = json.loads(str(_load(root, ["settings"])["settings"]))
    wanted = json.loads(json.dumps(asdict(settings)))
    other = [key for key in wanted if found.get(key) != wanted[key]]
    if other:
        differ = "; ".join(f"{key} {found.get(key)}, not {wanted[key]}" for key in other)
        raise ValueError(
            f"{root} holds a demo with other settings: {differ}. "
            "Choose a new folder, or delete this one"
        )
    return True


def _write(root: Path, settings: Settings) -> None:
    """Write a whole demo."""
    streams = np.random.SeedSequence(settings.seed).spawn(3)
    scenes, *trials = (np.random.default_rng(stream) for stream in streams)
    concepts = _by_name({
        "train": drawing.draw_attributes(settings.train_concepts, settings.train_images, scenes),
        "test": drawing.draw_attributes(settings.test_concepts, settings.test_images, scenes),
    })
    draw = partial(drawing.draw, size=settings.image_size)
    writing.write_images(root / "Image_set", concepts, draw)
    attributes = [np.concatenate(list(split.values())) for split in concepts.values()]  # (n, a)
    truth = _responses(*attributes, settings)
    noise = evoked.noise_model(settings.sensors, settings.times, settings.noise_variance)
    subject = root / f"Preprocessed_data_{settings.rate:g}Hz" / "sub-01"
    before = int(settings.rate * evoked.BASELINE + 1e-9)  # rounding must not cost a sample
    times = np.arange(-before, settings.points) / settings.rate
    repeats = settings.train_repeats, settings.test_repeats
    for split, rows, r, rng in zip(("training", "test"), truth, repeats, trials):
        path = subject / f"preprocessed_eeg_{split}.npy"
        shape = (len(rows), r, *rows.shape[1:])
        blocks = _trials(rows, r, noise, rng)
        writing.write_recording(path, shape, blocks, settings.sensors, times, settings.container)
    content = vars(Truth(
        *truth, *attributes, drawing.ATTRIBUTES, settings.sensors, settings.times, noise.variance,
        asdict(settings),
    ))  # fmt: skip
    content["settings"] = json.dumps(content["settings"])
    write_atomically(root / "truth.npz", lambda file: np.savez(file, **content))


def _by_name(scenes: dict[str, np.ndarray]) -> dict[str, dict[str, np.ndarray]]:
    """Each split's concepts (images, a) by name and in the order of names, as in THINGS.

    Concepts that look alike are told apart by a number, so that no name stands twice.
    """
    taken, named = Counter(), {}
    for split, concepts in scenes.items():
        found = {}
        for concept in concepts:
            name = drawing.name(concept[0])
            taken[name] += 1
            found[f"{name}{taken[name]}" if taken[name] > 1 else name] = concept
        named[split] = {name: found[name] for name in sorted(found)}
    return named


def _responses(
    train: np.ndarray, test: np.ndarray, settings: Settings
) -> tuple[np.ndarray, np.ndarray]:
    """Noise-free responses to training and test images, M + D, float32 (n, h, w) each."""
    mean = evoked.mean_recording(train, settings.sensors, settings.times)
    mean *= (settings.erp_power / np.mean(mean**2)) ** 0.5
    both = _evoked(train, settings), _evoked(test, settings)
    average = both[0].mean(axis=0, dtype=np.float64)  # (h, w)
    for rows in both:
        rows -= average
    variance = np.mean([np.mean(np.square(row)) for row in both[0]])  # by rows, to spare memory
    for rows in both:
        rows *= (settings.image_variance / variance) ** 0.5
        rows += mean
    return both


def _evoked(attributes: np.ndarray, settings: Settings) -> np.ndarray:
    """`evoked.evoked` of many images, some at a time."""
    response = np.empty((len(attributes), len(settings.sensors), settings.points), np.float32)
    for block in _blocks(response.shape):
        response[block] = evoked.evoked(attributes[block], settings.sensors, settings.times)
    return response


def _trials(
    truth: np.ndarray, repeats: int, noise: evoked.Noise, rng: np.random.Generator
) -> Iterator[np.ndarray]:
    """Single trials of rows of the truth (n, h, w), (b, r, h, w) at a time."""
    for block in _blocks((len(truth), repeats, *truth.shape[1:])):
        rows = truth[block, None]  # (b, 1, h, w)
        drawn = noise.draw(len(rows) * repeats, rng)
        yield rows + rearrange(drawn, "(b r) h w -> b r h w", r=repeats)


def _blocks(shape: tuple[int, ...]) -> Iterator[slice]:
    """Slices of the first axis that hold about BLOCK numbers each."""
    step = max(1, BLOCK // math.prod(shape[1:]))
    return (slice(start, start + step) for start in range(0, shape[0], step))
