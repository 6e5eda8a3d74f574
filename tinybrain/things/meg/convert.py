"""Any recording of THINGS-MEG that `MEG` reads to this project's own store, a few MB at a time.

The store is mapped and takes no time to open, where FIF, HDF5 and pickles are read anew each time.
Letters: n images, r repetitions, h sensors, w time points.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ... import __version__
from .. import store
from ..recording import Content, check_values, read_signals, unit_of
from .files import find_file
from .images import image_name
from .raw import made_before
from .reader import open_content

SPLITS = ("train", "test")


def convert(
    root: str | Path,
    out: str | Path,
    subject: int,
    *,
    crop: str = "paper",
    drop_test_concepts: bool = True,
    test_order: str = "presentation",
    tmin: float | None = None,
    report: Callable[[str], object] = lambda line: None,
) -> Path:
    """Write both splits of a subject, single repetitions, or continue with the second.

    Parameters
    ----------
    root, subject, crop, drop_test_concepts, test_order, tmin
        As for `MEG`.
    out : str or Path
        The store is ``out/sub-01``.
    report : function of a line of text, optional
        Is told what was recognised and written.

    Returns
    -------
    Path
        The store, ``out/sub-01``.

    Raises
    ------
    FileNotFoundError, ValueError, ModuleNotFoundError
        As `MEG` does; or there is a store made otherwise.
    """
    place = Path(out) / f"sub-{subject:02d}"
    how = {"crop": crop, "drop_test_concepts": drop_test_concepts, "test_order": test_order}
    files = {split: find_file(root, subject, split) for split in SPLITS}
    source = {
        "made by": f"tinybrain {__version__}, things.meg.convert",
        "files": {split: str(file.absolute()) for split, file in files.items()},
        **how,
        "tmin": tmin,
    }
    card = made_before(place, source)
    splits = dict(card.splits) if card else {}
    for split in SPLITS:
        if split in splits:
            report(f"{split}: there")
            continue
        content = open_content(root, subject, split, tmin=tmin, **how)
        n, r, h, w = shape = content.data.shape
        report(f"{split}: {content.file} ({content.producer}), {n} images, {r} repetitions, "
               f"{h} sensors, {w} points")  # fmt: skip
        unit = _write(place, split, content, shape)
        names = tuple(image_name(path.name) for path in content.images.paths)
        splits[split] = store.Split(names, content.images.concepts)
        store.write_card(
            place, kind="meg", subject=subject, sensors=content.sensors, times=content.times,
            unit=unit, source=source, splits=splits,
        )  # fmt: skip
    return place


def _write(place: Path, split: str, content: Content, shape: tuple[int, ...]) -> str:
    """Write the signals (n, r, h, w) of a split and say their unit."""
    with store.new_signals(place, split, shape) as signals:
        read = read_signals(content.data, average=False, out=signals)
        check_values(content.file, read, content.images.paths, content.sensors)
    return content.unit or unit_of(read.rms, content.normalised)
