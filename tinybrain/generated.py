"""What a trained model made of the test images, kept beside it: `generated.npz` in its run folder.

Tables and figures across subjects and models are made of these files, without sampling again. The
file holds, as plain arrays, float32 unless said otherwise:

    one           (n, h, w)  one sample of each test image
    mean          (n, h, w)  the mean of its k samples
    conditional   (n, h, w)  the conditional mean; absent where the recipe has none
    recorded      (n, h, w)  what was recorded, the mean of the test repetitions
    erp           (h, w)     the mean training recording; absent where it was not given
    sensors       (h,)       names
    times         (w,)       seconds from image onset, float64
    images        (n,)       names of the test images
    kind, unit    "eeg" or "meg"; of the signals

Letters: n images, k trials, h sensors, w time points.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .files import write_atomically

if TYPE_CHECKING:
    from .pipeline import ImageToBrain
    from .recorded import Recorded
    from .report import Evaluation

FILE = "generated.npz"


@dataclass(frozen=True)
class Generated:
    """What the file holds; the module says what it is."""

    one: np.ndarray
    mean: np.ndarray
    conditional: np.ndarray | None
    recorded: np.ndarray
    erp: np.ndarray | None
    sensors: tuple[str, ...]
    times: np.ndarray
    images: tuple[str, ...]
    kind: str
    unit: str

    @property
    def best(self) -> np.ndarray:
        """The conditional mean, or the mean of the samples where there is none. (n, h, w)."""
        return self.mean if self.conditional is None else self.conditional

    def rows(self, images: Sequence[str]) -> np.ndarray:
        """The rows of images by name, (m,) int64.

        Raises
        ------
        ValueError
            An image that this model was not tested on.
        """
        at = {name: row for row, name in enumerate(self.images)}
        missing = [name for name in images if name not in at]
        if missing:
            raise ValueError(
                f"{len(missing)} of {len(images)} test images, {missing[0]} first, are not among "
                f"the {len(at)} that were generated ({self.images[0]} first): subjects who are "
                "compared need the same test images"
            )
        return np.array([at[name] for name in images], dtype=np.int64)


OPTIONAL = ("conditional", "erp")


def image_names(paths: Sequence[str | Path]) -> tuple[str, ...]:
    """File names, with as many folders before them as it takes to tell the images apart.

    Raises
    ------
    ValueError
        An image stands twice.

    Examples
    --------
    >>> image_names(["test/cat/01.jpg", "test/dog/01.jpg"])
    ('cat/01.jpg', 'dog/01.jpg')
    """
    parts = [Path(path).parts for path in paths]
    for depth in range(1, max(map(len, parts), default=1) + 1):
        names = tuple("/".join(part[-depth:]) for part in parts)
        if len(set(names)) == len(names):
            return names
    raise ValueError("a test image stands twice among the test images; wanted each once")


def write(
    folder: str | Path, model: ImageToBrain, test: Recorded, evaluation: Evaluation,
    erp: np.ndarray | None = None,
) -> Path:
    """Keep what an evaluation generated.

    Parameters
    ----------
    folder : of the run
    model : ImageToBrain
    test : recording with `signals` (n, r, h, w), single repetitions, and `images`
    evaluation : report.Evaluation, with `samples` (n, k, h, w) and `mean` (n, h, w)
    erp : (h, w), the mean of the training recording

    Returns
    -------
    path of the file, which appears whole or not at all
    """
    made = {
        "one": evaluation.samples[:, 0],
        "mean": evaluation.samples.mean(axis=1, dtype=np.float64),
        "conditional": evaluation.mean if model.recipe.has_conditional_mean else None,
        "recorded": test.signals.mean(axis=1, dtype=np.float64),
        "erp": erp,
    }
    content: dict[str, Any] = {
        name: np.asarray(values, np.float32) for name, values in made.items() if values is not None
    }
    content |= {
        "sensors": np.array(model.sensors), "times": np.asarray(model.times, np.float64),
        "images": np.array(image_names(test.images)),
        "kind": np.array(model.kind), "unit": np.array(model.unit),
    }  # fmt: skip
    return write_atomically(Path(folder) / FILE, lambda file: np.savez(file, **content))


def read(folder: str | Path) -> Generated:
    """What `write` kept in a run folder.

    Raises
    ------
    FileNotFoundError
        There is none.
    ValueError
        It is damaged, or its arrays do not fit together.

    Examples
    --------
    What a run left, and the same again as `study` reads it (with stand-ins for a model and what
    `report.evaluate` made of it):

    >>> import tempfile
    >>> from types import SimpleNamespace as Like
    >>> model = Like(recipe=Like(has_conditional_mean=True), sensors=("O1", "Oz"), kind="eeg",
    ...              times=np.arange(10) / 100, unit="a.u.")
    >>> test = Like(signals=np.zeros((3, 4, 2, 10)), images=["a.jpg", "b.jpg", "c.jpg"])
    >>> made = Like(samples=np.zeros((3, 5, 2, 10)), mean=np.zeros((3, 2, 10)))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = write(folder, model, test, made)
    ...     found = read(folder)
    >>> found.best.shape, found.rows(["c.jpg", "a.jpg"]).tolist(), found.erp
    ((3, 2, 10), [2, 0], None)
    """
    path = Path(folder) / FILE
    if not path.is_file():
        raise FileNotFoundError(f"no {path}: train and evaluate that model first")
    needed = [field.name for field in fields(Generated) if field.name not in OPTIONAL]
    try:
        with np.load(path, allow_pickle=False) as file:
            content: dict[str, Any] = {name: file[name] for name in file.files}
            missing = [name for name in needed if name not in content]
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} is damaged ({error}): delete it and evaluate anew") from error
    if missing:
        raise ValueError(f"{path}: no {', '.join(missing)}; delete it and evaluate anew")
    for name in ("sensors", "images"):
        content[name] = tuple(content[name].tolist())
    for name in ("kind", "unit"):
        content[name] = str(content[name])
    values: dict[str, Any] = {each.name: content.get(each.name) for each in fields(Generated)}
    found = Generated(**values)
    _check(found, path)
    return found


def _check(found: Generated, path: Path) -> None:
    n, h, w = len(found.images), len(found.sensors), len(found.times)
    for name in ("one", "mean", "conditional", "recorded", "erp"):
        values, wanted = getattr(found, name), (h, w) if name == "erp" else (n, h, w)
        if values is not None and values.shape != wanted:
            raise ValueError(
                f"{path}: {name} has shape {values.shape}; wanted {wanted}, as it has {n} images, "
                f"{h} sensors and {w} times; delete it and evaluate anew"
            )
