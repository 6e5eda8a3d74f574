"""What only a demo can know: responses without noise, and what images were drawn from.

Kept beside the recordings in `truth.npz`, and of further subjects in `truth_sub-02.npz` and so on.
Letters: n images, k trials, h sensors, w time points, a attributes.
"""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...files import write_atomically
from ..meg.files import subject_number
from .evoked import noise_model
from .settings import Settings
from .simulation import draw_trials


@dataclass(frozen=True)
class Truth:
    """What only a demo can know of a subject, from `truth.npz` or `truth_sub-02.npz`.

    Attributes
    ----------
    train, test : float32, (n, h, w)
        The noise-free responses: nobody can predict a recording better from its image.
    train_attributes, test_attributes : float64, (n, a)
        What the images were drawn from, in [-1, 1].
    attributes : tuple of str, (a,)
        Their names.
    sensors : tuple of str, (h,)
    times : float64, (w,)
        Seconds from image onset.
    noise_variance : float64, (h,)
        Of one repetition.
    settings : dict
        All that the demo depends on.
    """

    train: NDArray[np.float32]
    test: NDArray[np.float32]
    train_attributes: NDArray[np.float64]
    test_attributes: NDArray[np.float64]
    attributes: tuple[str, ...]
    sensors: tuple[str, ...]
    times: NDArray[np.float64]
    noise_variance: NDArray[np.float64]
    settings: dict[str, Any]


def read_truth(root: str | Path, subject: int | str = 1) -> Truth:
    """The truth of a demo about one of its subjects.

    Parameters
    ----------
    root : the folder that `make_demo` made.
    subject : ``1``, ``"01"`` or ``"sub-01"``.

    Returns
    -------
    Truth

    Raises
    ------
    FileNotFoundError : `root` is no demo, or has no such subject.
    ValueError : its file is damaged.

    Examples
    --------
    >>> import tempfile
    >>> from tinybrain.things import make_demo
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     small = {"train_concepts": 2, "test_concepts": 3, "points": 10, "image_size": 8}
    ...     truth = read_truth(make_demo(f"{folder}/demo", **small))
    >>> truth.test.shape, truth.test_attributes.shape, truth.attributes[:2]
    ((3, 32, 10), (3, 13), ('lightness', 'warmth'))
    """
    content = _load(Path(root), subject_number(subject), [field.name for field in fields(Truth)])
    names = {key: tuple(content[key].tolist()) for key in ("attributes", "sensors")}
    return Truth(**content | names | {"settings": json.loads(str(content["settings"]))})


def write_truth(root: Path, subject: int, truth: Truth) -> None:
    """Keep what is true of a subject beside the recordings."""
    content = vars(truth) | {"settings": json.dumps(truth.settings)}
    write_atomically(_truth_file(root, subject), lambda file: np.savez(file, **content))


def draw_targets(
    root: str | Path, subject: int | str = 1, split: str = "test", *, trials: int = 1, seed: int = 0
) -> NDArray[np.float32]:
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

    Examples
    --------
    >>> import tempfile
    >>> from tinybrain.things import make_demo
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     root = make_demo(f"{folder}/demo", train_concepts=2, test_concepts=3, points=10)
    ...     noise = draw_targets(root, trials=100) - read_truth(root).test[:, None]
    >>> noise.shape, round(float(noise.var() * 4), 1)  # of means of four repetitions
    ((3, 100, 32, 10), 0.9)
    """
    if split not in ("train", "test") or trials < 1:
        raise ValueError(f"split {split!r}, {trials} trials; wanted 'train' or 'test', 1 or more")
    truth = read_truth(root, subject)
    variance = truth.noise_variance.mean() / truth.settings["train_repeats"]
    noise = noise_model(truth.sensors, truth.times, variance)
    rng = np.random.default_rng([seed, subject_number(subject), truth.settings["seed"]])
    rows = truth.train if split == "train" else truth.test
    return np.concatenate(list(draw_trials(rows, trials, noise, rng)))


def is_made(root: Path, settings: Settings) -> bool:
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


def _truth_file(root: Path, subject: int) -> Path:
    return root / ("truth.npz" if subject == 1 else f"truth_sub-{subject:02d}.npz")


def _subjects(root: Path) -> int:
    """How many subjects a demo has."""
    return 1 + len(list(root.glob("truth_sub-*.npz")))


def _load(root: Path, subject: int, keys: list[str]) -> dict[str, Any]:
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
