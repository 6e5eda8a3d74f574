"""Statistical twins of THINGS-EEG2 and THINGS-MEG: drawn images, simulated recordings, truth.

The recording of image n in repetition r, at sensor h and time t, is

    y[n, r] = M + D[n] + noise[n, r]

with M the mean recording, D what is specific to the image (zero on average over training images)
and Gaussian noise, from `twin/evoked.py`, scaled to chosen variance components (`simulation.py`
there). The best prediction that anyone can make from an image is M + D, which is kept in
`truth.npz`, and of further subjects, who differ as people do (`people.py`), in `truth_sub-02.npz`
and so on (`truth.py`). Folders, containers and keys are those of the files in circulation
(`writing.py`, and for MEG `meg_writing.py`), so that a twin is read as the data set is.
Letters: n images, r repetitions, h sensors, w time points, a attributes.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .twin import drawing, evoked, meg_writing, writing
from .twin.people import person, streams
from .twin.settings import Settings, choose
from .twin.simulation import draw_trials, responses
from .twin.truth import Truth, draw_targets, is_made, read_truth, write_truth

__all__ = ["Truth", "draw_targets", "make_demo", "read_truth"]

Attributes = tuple[NDArray[np.float64], NDArray[np.float64]]  # (n, a) of training and test images


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
    are. A demo that is there already is kept if it has these settings. The folder appears when it
    is complete, not before.

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

    Examples
    --------
    Five people who saw the same two training and three test concepts:

    >>> import tempfile
    >>> from tinybrain.things import EEG2
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     small = {"train_concepts": 2, "test_concepts": 3, "points": 10, "image_size": 8}
    ...     root = make_demo(f"{folder}/demo", subjects=5, **small)
    ...     found = sorted(path.name for path in root.iterdir())
    ...     signals = EEG2(root, subject=5, split="train").signals
    >>> found[:3], signals.shape
    (['Image_set', 'Preprocessed_data_50Hz', 'truth.npz'], (8, 32, 10))
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
    if is_made(root, settings):
        return root
    part = root.with_name(f"{root.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        _write(part, settings)
        if hasattr(os, "sync"):  # not on Windows
            os.sync()  # all files at once; one by one takes longer than making them
        os.replace(part, root)
    except OSError:
        if not is_made(root, settings):  # or else another process was quicker
            raise
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return root


def _write(root: Path, settings: Settings) -> None:
    """Write a whole demo."""
    scenes = streams(settings.seed, 1)[0]
    (_write_meg if settings.kind == "meg" else _write_eeg)(root, settings, scenes)


def _write_eeg(root: Path, settings: Settings, scenes: np.random.Generator) -> None:
    concepts = drawing.by_name({
        "train": drawing.draw_attributes(settings.train_concepts, settings.train_images, scenes),
        "test": drawing.draw_attributes(settings.test_concepts, settings.test_images, scenes),
    })
    draw = partial(drawing.draw, size=settings.image_size)
    writing.write_images(root / "Image_set", concepts, draw)
    train, test = (np.concatenate(list(split.values())) for split in concepts.values())  # (n, a)
    for subject in range(1, 1 + settings.subjects):
        write_truth(root, subject, _record_eeg(root, settings, subject, (train, test)))


def _record_eeg(root: Path, settings: Settings, subject: int, attributes: Attributes) -> Truth:
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
        truth[0], truth[1], attributes[0], attributes[1], drawing.ATTRIBUTES,
        settings.sensors, settings.times, noise.variance, settings.stored,
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
        write_truth(root, subject, _record_meg(root, settings, subject, (shown, test), kept))


def _record_meg(
    root: Path, settings: Settings, subject: int, attributes: Attributes, kept: NDArray[np.bool_]
) -> Truth:
    """Write one subject's recordings; `kept` are the training rows that are of no test concept."""
    (train, test), noise = _simulate(attributes, settings, subject, counted=kept)
    _, train_rng, test_rng, _ = streams(settings.seed, subject)
    folder = root / "Preprocessed_data"
    rows = (block[:, 0] for block in draw_trials(train, 1, noise, train_rng))  # (b, h, w)
    path = folder / f"meg_sub-{subject:02d}_train.pkl"
    meg_writing.write_signals(path, train.shape, rows)
    shape = (len(test), settings.test_repeats, *test.shape[1:])
    blocks = draw_trials(test, settings.test_repeats, noise, test_rng)
    meg_writing.write_signals(folder / f"meg_sub-{subject:02d}_test.pkl", shape, blocks)
    return Truth(
        train[kept, :, 1:], test[..., 1:], attributes[0][kept], attributes[1], drawing.ATTRIBUTES,
        settings.sensors, settings.times[1:], noise.variance, settings.stored,
    )


def _simulate(
    attributes: Attributes, settings: Settings, subject: int,
    counted: NDArray[np.bool_] | slice = slice(None),
) -> tuple[tuple[NDArray[np.float32], NDArray[np.float32]], evoked.Noise]:
    """Noise-free responses to training and test images, and the noise of single trials."""
    who = person(settings.seed, subject)
    truth = responses(
        attributes[0], attributes[1], settings.sensors, settings.times, counted=counted, person=who,
        erp_power=settings.erp_power, image_variance=settings.image_variance,
    )
    variance = who.noise * settings.noise_variance
    return truth, evoked.noise_model(settings.sensors, settings.times, variance)
