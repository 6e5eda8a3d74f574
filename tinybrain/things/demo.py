"""Statistical twins of THINGS-EEG2 and THINGS-MEG: drawn images, simulated recordings, truth.

The recording of image n in repetition r, at sensor h and time t, is

    y[n, r] = M + D[n] + noise[n, r]

with M the mean recording, D what is specific to the image (zero on average over training images)
and Gaussian noise, from `twin/evoked.py`, scaled to chosen variance components (`simulation.py`
there). The best prediction that anyone can make from an image is M + D, which is kept in
`truth.npz`, and of further subjects, who differ as people do (`people.py`), in `truth_sub-02.npz`
and so on. Folders, containers and keys are those of the files in circulation (`writing.py`, and
for MEG `meg_writing.py`), so that a twin is read as the data set is.
Letters: n images, r repetitions, h sensors, w time points, a attributes.
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path

import numpy as np

from ..files import write_atomically
from .meg.files import subject_number
from .twin import drawing, evoked, meg_writing, writing
from .twin.people import person, streams
from .twin.settings import Settings, choose
from .twin.simulation import draw_trials, responses


@dataclass(frozen=True)
class Truth:
    """What only a demo can know of a subject, from `truth.npz` or `truth_sub-02.npz`.

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
    subjects: int = 1,
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
    """Write a folder that looks like THINGS-EEG2 or THINGS-MEG, and `truth.npz`.

    The same settings give the same files, and a subject's do not depend on how many others there
    are. A demo that is there already is kept if it has these
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
    subjects : sub-01, sub-02, ..., all of whom see the same images; see `twin/people.py`. What is
        said below of responses and noise is the first, who is average.
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
    settings = choose(kind, seed, subjects, asked)
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


def read_truth(root: str | Path, subject: int | str = 1) -> Truth:
    """The truth of a demo about one of its subjects.

    Raises
    ------
    FileNotFoundError : `root` is no demo, or has no such subject.
    ValueError : its file is damaged.
    """
    content = _load(Path(root), subject_number(subject), [field.name for field in fields(Truth)])
    names = {key: tuple(content[key].tolist()) for key in ("attributes", "sensors")}
    return Truth(**content | names | {"settings": json.loads(str(content["settings"]))})


def draw_targets(
    root: str | Path, subject: int | str = 1, split: str = "test", *, trials: int = 1, seed: int = 0
) -> np.ndarray:
    """What a perfect sampler of training targets draws: the truth and new noise.

    A training target is the mean of `train_repeats` repetitions: the images of either split are
    recorded anew so many times, and averaged, for each of the trials.

    Parameters
    ----------
    root, subject : as in `read_truth`.
    split : "train" or "test", the images.
    trials, seed : how many to draw of each image, and the seed of their noise, which is not that of
        the recordings.

    Returns
    -------
    (n, k, h, w) float32, in the order and the unit of the truth.

    Raises
    ------
    ValueError : another split, less than one trial; and as `read_truth`.
    """
    if split not in ("train", "test") or trials < 1:
        raise ValueError(f"split {split!r}, {trials} trials; wanted 'train' or 'test', 1 or more")
    truth = read_truth(root, subject)
    variance = truth.noise_variance.mean() / truth.settings["train_repeats"]
    noise = evoked.noise_model(truth.sensors, truth.times, variance)
    rng = np.random.default_rng([seed, subject_number(subject), truth.settings["seed"]])
    return np.concatenate(list(draw_trials(getattr(truth, split), trials, noise, rng)))


def _truth_file(root: Path, subject: int) -> Path:
    return root / ("truth.npz" if subject == 1 else f"truth_sub-{subject:02d}.npz")


def _subjects(root: Path) -> int:
    """How many subjects a demo has."""
    return 1 + len(list(root.glob("truth_sub-*.npz")))


def _load(root: Path, subject: int, keys: list[str]) -> dict[str, np.ndarray]:
    path = _truth_file(root, subject)
    if not _truth_file(root, 1).is_file():
        raise FileNotFoundError(f"no {root / 'truth.npz'}: {root} is no demo; make_demo makes one")
    if not path.is_file():
        raise FileNotFoundError(
            f"no {path}: the demo has subjects 1 to {_subjects(root)}, not "
            f"{subject}; make_demo(..., subjects={subject}) in a new folder makes one with more"
        )
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
    found = json.loads(str(_load(root, 1, ["settings"])["settings"]))
    found["subjects"] = _subjects(root)
    wanted = json.loads(json.dumps(settings.stored | {"subjects": settings.subjects}))
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
    scenes = streams(settings.seed, 1)[0]
    (_write_meg if settings.kind == "meg" else _write_eeg)(root, settings, scenes)


def _write_truth(root: Path, subject: int, truth: Truth) -> None:
    content = vars(truth) | {"settings": json.dumps(truth.settings)}
    write_atomically(_truth_file(root, subject), lambda file: np.savez(file, **content))


def _write_eeg(root: Path, settings: Settings, scenes: np.random.Generator) -> None:
    concepts = drawing.by_name({
        "train": drawing.draw_attributes(settings.train_concepts, settings.train_images, scenes),
        "test": drawing.draw_attributes(settings.test_concepts, settings.test_images, scenes),
    })
    draw = partial(drawing.draw, size=settings.image_size)
    writing.write_images(root / "Image_set", concepts, draw)
    attributes = [np.concatenate(list(split.values())) for split in concepts.values()]  # (n, a)
    for subject in range(1, 1 + settings.subjects):
        _write_truth(root, subject, _record_eeg(root, settings, subject, attributes))


def _record_eeg(
    root: Path, settings: Settings, subject: int, attributes: Sequence[np.ndarray]
) -> Truth:
    """Write one subject's recordings."""
    truth, noise = _simulate(attributes, settings, subject)
    folder = root / f"Preprocessed_data_{settings.rate:g}Hz" / f"sub-{subject:02d}"
    before = int(settings.rate * evoked.BASELINE + 1e-9)  # rounding must not cost a sample
    times = np.arange(-before, settings.points) / settings.rate
    repeats = settings.train_repeats, settings.test_repeats
    generators = streams(settings.seed, subject)[1:]
    for split, rows, r, rng in zip(("training", "test"), truth, repeats, generators):
        path = folder / f"preprocessed_eeg_{split}.npy"
        shape = (len(rows), r, *rows.shape[1:])
        blocks = draw_trials(rows, r, noise, rng)
        writing.write_recording(path, shape, blocks, settings.sensors, times, settings.container)
    return Truth(
        *truth, *attributes, drawing.ATTRIBUTES, settings.sensors, settings.times, noise.variance,
        settings.stored,
    )


def _write_meg(root: Path, settings: Settings, scenes: np.random.Generator) -> None:
    many = settings.train_images
    splits = drawing.by_name({
        "train": drawing.draw_attributes(settings.train_concepts, many, scenes),
        "test": drawing.draw_attributes(settings.test_concepts, many + 1, scenes),  # one more
    })
    concepts = meg_writing.in_order(splits["train"] | splits["test"])
    meg_writing.write_images(root, concepts, many, partial(drawing.draw, size=settings.image_size))
    tested = meg_writing.presented(splits["test"])
    shown = np.concatenate([images[:many] for images in concepts.values()])    # (n, a)
    kept = np.repeat([name in splits["train"] for name in concepts], many)     # (n,)
    test = np.stack([concepts[name][many] for name in tested])                 # (n, a)
    for subject in range(1, 1 + settings.subjects):
        order = streams(settings.seed, subject)[3]
        table = meg_writing.trial_table(concepts, many, tested, settings.test_repeats, order)
        meg_writing.write_table(root / f"sample_attributes_P{subject}.csv", table)
        _write_truth(root, subject, _record_meg(root, settings, subject, (shown, test), kept))


def _record_meg(
    root: Path, settings: Settings, subject: int, attributes: Sequence[np.ndarray],
    kept: np.ndarray,
) -> Truth:
    """Write one subject's recordings; `kept` are the training rows that are of no test concept."""
    (train, test), noise = _simulate(attributes, settings, subject, counted=kept)
    _, train_rng, test_rng, _ = streams(settings.seed, subject)
    folder = root / "Preprocessed_data"
    blocks = (block[:, 0] for block in draw_trials(train, 1, noise, train_rng))  # (b, h, w)
    path = folder / f"meg_sub-{subject:02d}_train.pkl"
    meg_writing.write_signals(path, train.shape, blocks)
    shape = (len(test), settings.test_repeats, *test.shape[1:])
    blocks = draw_trials(test, settings.test_repeats, noise, test_rng)
    meg_writing.write_signals(folder / f"meg_sub-{subject:02d}_test.pkl", shape, blocks)
    return Truth(
        train[kept, :, 1:], test[..., 1:], attributes[0][kept], attributes[1], drawing.ATTRIBUTES,
        settings.sensors, settings.times[1:], noise.variance, settings.stored,
    )


def _simulate(
    attributes: Sequence[np.ndarray], settings: Settings, subject: int,
    counted: np.ndarray | slice = slice(None),
) -> tuple[tuple[np.ndarray, np.ndarray], evoked.Noise]:
    """Noise-free responses to training and test images, and the noise of single trials."""
    who = person(settings.seed, subject)
    truth = responses(
        *attributes, settings.sensors, settings.times, erp_power=settings.erp_power,
        image_variance=settings.image_variance, counted=counted, person=who,
    )
    variance = who.noise * settings.noise_variance
    return truth, evoked.noise_model(settings.sensors, settings.times, variance)
