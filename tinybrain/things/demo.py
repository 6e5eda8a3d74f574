"""Statistical twins of THINGS-EEG2 and THINGS-MEG: drawn images, simulated recordings, truth.

The recording of image n in repetition r, at sensor h and time t, is

    y[n, r] = M + D[n] + noise[n, r]

with M the mean recording, D what is specific to the image (zero on average over training images)
and Gaussian noise, from `twin/evoked.py`, scaled to chosen variance components (`simulation.py`
there). The best prediction that anyone can make from an image is M + D, which is kept in
`truth.npz`. Folders, containers and keys are those of the files in circulation (`writing.py`, and
for MEG `meg_writing.py`), so that a twin is read as the data set is.
Letters: n images, r repetitions, h sensors, w time points, a attributes.
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
import zipfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path

import numpy as np

from ..files import write_atomically
from .twin import drawing, evoked, meg_writing, writing
from .twin.settings import Settings, choose
from .twin.simulation import responses, trials


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
    train_concepts: int | None = None,
    train_images: int | None = None,
    train_repeats: int | None = None,
    test_concepts: int | None = None,
    test_images: int | None = None,
    test_repeats: int | None = None,
    sensors: Sequence[str] | None = None,
    points: int | None = None,
    rate: float | None = None,
    image_size: int | None = None,
    erp_power: float | None = None,
    image_variance: float | None = None,
    noise_variance: float | None = None,
    container: str | None = None,
) -> Path:
    """Write a folder that looks like THINGS-EEG2 or THINGS-MEG with one subject, and `truth.npz`.

    The same settings give the same files. A demo that is there already is kept if it has these
    settings. The folder appears when it is complete, not before.

    What is not given is that of `twin.settings.DEFAULTS`: in EEG 400 concepts x 4 images, 32
    electrodes and 50 points, 0.2 GB; in MEG 50 x 12, 271 gradiometers and 200 points, 0.35 GB.
    The full size of THINGS-EEG2 is ``train_concepts=1654, train_images=10, test_concepts=200,
    sensors=THINGS_EEG2_63, points=250, rate=250``: 11 GB on disk, twice that while it is made,
    9 GB of memory, and some minutes.

    The MEG is in the experiment's folders and in Song's files, one row an image, in float32 where
    those have float64. As there, the training file has images of the test concepts as well, and
    both have the sample at onset. The truth has neither, which is what `MEG` reads: its rows are
    in the order of THINGS' image numbers in training, and of the experiment's own in the test.

    Parameters
    ----------
    root : folder to make.
    kind : "eeg" or "meg".
    seed : of all that is random.
    train_concepts, train_images, train_repeats : concepts, images of each, repetitions of those.
    test_concepts, test_images, test_repeats : likewise; no test concept is a training concept. In
        MEG training images have one repetition and test concepts one image.
    sensors : names of the 10-10 system, or of a CTF helmet.
    points, rate : time points from onset on, and how many a second. `times` in the files of EEG
        begins 0.2 s earlier, as in those in circulation.
    image_size : pixels on a side.
    erp_power : mean square of the mean recording, over sensors and time.
    image_variance : variance of the response over training images, mean over sensors and time.
    noise_variance : of one repetition, mean over sensors. The defaults of the three are about
        what whitened THINGS-EEG2 recordings have. In MEG the unit is the deviation of the
        baseline: noise is a little above 1, as that of THINGS-MEG; responses (the mean's peak is
        1.1) are larger than there, so that a few images are enough to learn something. Squared
        error against the test averages: zero 0.157, mean ERP 0.137, ridge 0.132 from the features
        of a tower that has learned nothing and 0.127 from the attributes, truth 0.099.
    container : "pickle" as NICE's files, or "npy" as OSF's. In MEG "pickle" as Song's.

    Returns
    -------
    `root` as a Path.

    Raises
    ------
    ValueError : a setting that cannot be; or `root` holds something else, or other settings.
    """
    asked = {
        "train_concepts": train_concepts, "train_images": train_images,
        "train_repeats": train_repeats, "test_concepts": test_concepts, "test_images": test_images,
        "test_repeats": test_repeats, "sensors": sensors, "points": points, "rate": rate,
        "image_size": image_size, "erp_power": erp_power, "image_variance": image_variance,
        "noise_variance": noise_variance, "container": container,
    }  # fmt: skip
    settings = choose(kind, seed, asked)
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
    truth = (_write_meg if settings.kind == "meg" else _write_eeg)(root, settings)
    content = vars(truth) | {"settings": json.dumps(truth.settings)}
    write_atomically(root / "truth.npz", lambda file: np.savez(file, **content))


def _write_eeg(root: Path, settings: Settings) -> Truth:
    streams = np.random.SeedSequence(settings.seed).spawn(3)
    scenes, *others = (np.random.default_rng(stream) for stream in streams)
    concepts = _by_name({
        "train": drawing.draw_attributes(settings.train_concepts, settings.train_images, scenes),
        "test": drawing.draw_attributes(settings.test_concepts, settings.test_images, scenes),
    })
    draw = partial(drawing.draw, size=settings.image_size)
    writing.write_images(root / "Image_set", concepts, draw)
    attributes = [np.concatenate(list(split.values())) for split in concepts.values()]  # (n, a)
    truth, noise = _simulate(attributes, settings)
    subject = root / f"Preprocessed_data_{settings.rate:g}Hz" / "sub-01"
    before = int(settings.rate * evoked.BASELINE + 1e-9)  # rounding must not cost a sample
    times = np.arange(-before, settings.points) / settings.rate
    repeats = settings.train_repeats, settings.test_repeats
    for split, rows, r, rng in zip(("training", "test"), truth, repeats, others):
        path = subject / f"preprocessed_eeg_{split}.npy"
        shape = (len(rows), r, *rows.shape[1:])
        blocks = trials(rows, r, noise, rng)
        writing.write_recording(path, shape, blocks, settings.sensors, times, settings.container)
    return Truth(
        *truth, *attributes, drawing.ATTRIBUTES, settings.sensors, settings.times, noise.variance,
        asdict(settings),
    )


def _write_meg(root: Path, settings: Settings) -> Truth:
    streams = np.random.SeedSequence(settings.seed).spawn(4)
    scenes, train_rng, test_rng, order = (np.random.default_rng(stream) for stream in streams)
    many = settings.train_images
    splits = _by_name({
        "train": drawing.draw_attributes(settings.train_concepts, many, scenes),
        "test": drawing.draw_attributes(settings.test_concepts, many + 1, scenes),  # one more
    })
    concepts = meg_writing.in_order(splits["train"] | splits["test"])
    meg_writing.write_images(root, concepts, many, partial(drawing.draw, size=settings.image_size))
    tested = meg_writing.presented(splits["test"])
    table = meg_writing.trial_table(concepts, many, tested, settings.test_repeats, order)
    meg_writing.write_table(root / "sample_attributes_P1.csv", table)
    shown = np.concatenate([images[:many] for images in concepts.values()])    # (n, a)
    kept = np.repeat([name in splits["train"] for name in concepts], many)     # (n,)
    test = np.stack([concepts[name][many] for name in tested])                 # (n, a)
    truth, noise = _simulate((shown, test), settings, counted=kept)
    folder = root / "Preprocessed_data"
    blocks = (block[:, 0] for block in trials(truth[0], 1, noise, train_rng))  # (b, h, w)
    meg_writing.write_signals(folder / "meg_sub-01_train.pkl", truth[0].shape, blocks)
    shape = (len(test), settings.test_repeats, *truth[1].shape[1:])
    blocks = trials(truth[1], settings.test_repeats, noise, test_rng)
    meg_writing.write_signals(folder / "meg_sub-01_test.pkl", shape, blocks)
    return Truth(
        truth[0][kept, :, 1:], truth[1][..., 1:], shown[kept], test, drawing.ATTRIBUTES,
        settings.sensors, settings.times[1:], noise.variance, asdict(settings),
    )


def _simulate(
    attributes: Sequence[np.ndarray], settings: Settings, counted: np.ndarray | slice = slice(None)
) -> tuple[tuple[np.ndarray, np.ndarray], evoked.Noise]:
    """Noise-free responses to training and test images, and the noise of single trials."""
    truth = responses(
        *attributes, settings.sensors, settings.times, erp_power=settings.erp_power,
        image_variance=settings.image_variance, counted=counted,
    )
    return truth, evoked.noise_model(settings.sensors, settings.times, settings.noise_variance)


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
