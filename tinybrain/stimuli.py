"""What signals are to be generated for: images in files, or features of them, and captions.

Letters: n images, l tokens, d width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from . import store_files
from .contexts import encoder_of
from .encoder import Encoder, read_captions
from .features import count_rows
from .pipeline import ImageToBrain
from .signal_axes import image_names
from .things.images import list_images

# What tells one maker of features from another, as far as both say it.
MAKER = ("name", "context", "tokens", "unit_length", "sha256", "vision", "seed")


@dataclass(frozen=True)
class Stimuli:
    """Images in files, or features of them in one file, and captions where a model reads them."""

    names: tuple[str, ...]  # one per image
    files: dict[str, Path]  # all that is read, by name
    images: tuple[Path, ...] = ()
    captions: tuple[str, ...] = ()
    features: npt.NDArray[np.floating[Any]] | None = None  # (n, d) or (n, l, d), a memory map

    def __len__(self) -> int:
        return len(self.names)

    def context(self, model: ImageToBrain, of: slice, subject: str | None = None) -> Tensor:
        """The context (n, l, d) of some of them, for one of the model's subjects."""
        if self.features is not None:
            features = np.array(self.features[of])
            bad = ~np.isfinite(features.reshape(len(features), -1)).all(axis=1)
            for broken in np.flatnonzero(bad):
                raise ValueError(f"{self.names[of][broken]}: its features hold NaN or infinity")
            return model.encode(features, subject=subject)
        images = list(self.images[of]) if model.encoder.sees else None
        return model.encode(images, list(self.captions[of]) or None, subject=subject)

    def check(self, model: ImageToBrain, subject: str | None = None) -> None:
        """Raise ValueError if this is not what the model takes."""
        if self.features is not None:
            if self.captions:
                raise ValueError("features are the whole context: give no captions with them")
            _check_maker(next(iter(self.files.values())), model.encoder)
            try:
                self.context(model, slice(1), subject)
            except ValueError as error:
                raise ValueError(f"{next(iter(self.files))}: {error}") from None
            return
        encoder, _ = model.encoder, model.clip  # that there is none is said before the work begins
        if encoder.reads != bool(self.captions):
            raise ValueError(
                f"this model's context is {encoder.context!r}: it "
                + ("needs a table of captions" if encoder.reads else "reads no captions")
            )


def find_stimuli(sources: Sequence[str | Path], captions: str | Path | None = None) -> Stimuli:
    """The images of a folder or of a list of files, or the features in one .npy file.

    Raises
    ------
    FileNotFoundError, ValueError
        Nothing there; no images; no features (n, d) or (n, l, d); images without a caption.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     np.save(Path(folder, "told.npy"), np.zeros((3, 768), np.float32))
    ...     stimuli = find_stimuli([Path(folder, "told.npy")])
    >>> len(stimuli), stimuli.names[0]
    (3, 'told.npy row 0')
    """
    paths = [Path(source) for source in sources]
    if any(path.suffix == ".npy" for path in paths):
        if len(paths) > 1:
            raise ValueError(f"{len(paths)} sources with a .npy: images, or one .npy alone")
        found = _features(paths[0])
    else:
        images = list_images(paths)
        names = image_names(images)
        found = Stimuli(names, dict(zip(names, images)), images)
    if captions is None:
        return found
    table = Path(captions)
    told = tuple(read_captions(table, found.images))
    return replace(found, captions=told, files=found.files | {table.name: table})


def _check_maker(path: Path, encoder: Encoder) -> None:
    """ValueError if a features.json beside features says that another encoder made them."""
    about = store_files.describe(path.parent) if path.name == store_files.ARRAY else None
    made = encoder_of(about) if about and encoder.name != "features" else None
    if made is None:
        return
    pairs = {field: (getattr(made, field), getattr(encoder, field)) for field in MAKER}
    told = {field: pair for field, pair in pairs.items() if None not in pair and "" not in pair}
    if other := [field for field, (there, here) in told.items() if there != here]:
        raise ValueError(
            f"{path} was made by another encoder than this model's (another "
            f"{' and '.join(other)}): {_named(made)}; wanted {_named(encoder)}"
        )


def _named(encoder: Encoder) -> str:
    """An encoder in words; random weights are told apart by their seed alone."""
    seed = f"seed {encoder.seed}, " if encoder.name == "random" else ""
    return f"{seed}{encoder.describe()}{', at unit length' if encoder.unit_length else ''}"


def _features(path: Path) -> Stimuli:
    rows = count_rows(path)  # raises if it is no plain array
    features = np.load(path, mmap_mode="r", allow_pickle=False)
    if features.ndim not in (2, 3) or 0 in features.shape or features.dtype.kind != "f":
        raise ValueError(
            f"{path} holds {features.dtype} of shape {features.shape}; features are floats of "
            "shape (images, width) or (images, tokens, width)"
        )
    names = tuple(f"{path.name} row {row}" for row in range(rows))
    return Stimuli(names, {path.name: path}, features=features)
