"""Any recording of THINGS-MEG that `MEG` reads to this project's own store, a few MB at a time.

The store is mapped and takes no time to open, where FIF, HDF5 and pickles are read anew each time.
Letters: n images, r repetitions, h sensors, w time points.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from ... import __version__
from .. import store
from ..images import ImageTable
from ..preparing import SPLITS, Report, alone, made_before, silent
from ..recording import Content, check_values, read_signals, unit_of
from .files import look_for
from .images import image_name
from .reader import open_content
from .selection import USUAL, Selection


def convert(
    root: str | Path, out: str | Path, subject: int, *, wanted: Selection = USUAL,
    tmin: float | None = None, report: Report = silent,
) -> Path:  # fmt: skip
    """Write both splits of a subject, single repetitions, or continue with the second.

    Parameters
    ----------
    root, subject, tmin
        As for `MEG`. What is being made is not looked at if it is in `root`.
    out : str or Path
        The store becomes ``out/sub-01``.
    wanted : Selection
        Images, their order, and time points.
    report : function of a line of text, optional
        Is told what was recognised and written.

    Returns
    -------
    Path of the store.

    Raises
    ------
    FileNotFoundError, ValueError, ModuleNotFoundError
        As `MEG` does; or there is a store made otherwise.
    BlockingIOError
        Another process is making it.
    """
    place = Path(out) / f"sub-{subject:02d}"
    files = {split: look_for(root, subject, split, place).file for split in SPLITS}
    source = {
        "made by": f"tinybrain {__version__}, things.meg.convert",
        "files": {split: str(file.absolute()) for split, file in files.items()},
        **asdict(wanted),
        "tmin": tmin,
    }
    with alone(place):
        card = made_before(place, source)
        splits = dict(card.splits) if card else {}
        for split in SPLITS:
            if split in splits:
                report(f"{split}: there")
                continue
            content, images = open_content(root, subject, split, wanted, tmin, place)
            n, r, h, w = content.data.shape
            report(f"{split}: {content.file} ({content.producer}){content.note}, {n} images, {r} "
                   f"repetitions, {h} sensors, {w} points")  # fmt: skip
            unit = _write(place, split, content, images)
            names = tuple(image_name(path.name) for path in images.paths)
            splits[split] = store.Split(names, images.concepts)
            store.write_card(
                place, kind="meg", subject=subject, sensors=content.sensors, times=content.times,
                unit=unit, source=source, splits=splits,
            )  # fmt: skip
    return place


def _write(place: Path, split: str, content: Content, images: ImageTable) -> str:
    """Write the signals (n, r, h, w) of a split and say their unit."""
    with store.new_signals(place, split, content.data.shape) as signals:
        read = read_signals(content.data, average=False, out=signals)
        check_values(content.file, read, images.paths, content.sensors)
    return content.unit or unit_of(read.rms, content.normalised)
