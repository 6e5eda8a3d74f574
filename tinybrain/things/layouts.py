"""Places of sensors from a file of the user's: what `sensors.py` does not know.

Three kinds of file are read:

- a table with the columns name, x, y: places on a flat head, in head radii, taken as they are;
- boxes, as MNE's layouts have them: a .lout file, or a table with the columns name, x, y, w, h.
  They have no unit, so that their centres are moved and scaled: the outline is around all sensors;
- positions in space: a table with the columns name, x, y, z, or any file of electrodes that
  MNE-Python reads (.elc, .sfp, .loc, .bvef, ...). x is to the right, y to the front, z up, in any
  unit. They go through `sensors.project`, as seen from the centre of the sphere that fits them
  best; the outline is where it is widest.

A column may say that it is in metres: x_m. Other columns are not looked at. Letters: h sensors.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..messages import first_few
from .sensors import project


def read_layout(path: str | Path) -> dict[str, tuple[float, float]]:
    """Places of sensors on a flat head by name, for `sensors.layout`.

    Parameters
    ----------
    path : a .csv or .tsv table, a .lout file, or what `mne.channels.read_custom_montage` reads.

    Returns
    -------
    dict : (x, y) of each sensor: x to the right, y to the front, radius 1 the head's outline.

    Raises
    ------
    FileNotFoundError : no such file.
    ValueError : what is in it is none of these; a name twice; numbers that are none.
    ImportError : an electrode file, but MNE-Python is not installed.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     cap = Path(folder) / "cap.csv"
    ...     _ = cap.write_text("name,x,y\\nleft,-0.5,0.1\\nright,0.5,0.1")
    ...     places = read_layout(cap)
    >>> places["left"]
    (-0.5, 0.1)
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no layout {path}")
    columns: Sequence[Sequence[str | float]]
    if path.suffix.lower() in (".csv", ".tsv"):
        names, columns = _read_table(path)
    elif path.suffix.lower() == ".lout":
        names, columns = _read_lout(path)
    else:
        names, columns = _read_montage(path)
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"{path}: {first_few(twice)} more than once")
    numbers = _numbers(path, names, columns)                                   # (h, 2, 3 or 4)
    xy = {2: _as_they_are, 3: _project, 4: _boxes}[numbers.shape[1]](path, numbers)
    return {name: (float(x), float(y)) for name, (x, y) in zip(names, xy)}


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"{path} is no text; wanted a layout") from None


def _read_table(path: Path) -> tuple[list[str], list[list[str]]]:
    """Names, and of each sensor its 2 (places), 3 (space) or 4 (boxes) columns."""
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    lines = [row for row in csv.reader(_read_text(path).splitlines(), delimiter=delimiter) if row]
    header = [cell.strip().lower().removesuffix("_m") for cell in lines[0]] if lines else []
    for kind in (("x", "y", "z"), ("x", "y", "w", "h"), ("x", "y")):
        if {"name", *kind} <= set(header):
            break
    else:
        raise ValueError(
            f"{path}: columns {', '.join(header) or 'none'}; wanted name, x, y (head radii), "
            "name, x, y, z (in space) or name, x, y, w, h (boxes)"
        )
    if ragged := [i for i, row in enumerate(lines, start=1) if len(row) != len(header)]:
        raise ValueError(f"{path}: line {ragged[0]} has not the {len(header)} cells of the first")
    columns = [header.index(key) for key in kind]
    names = [row[header.index("name")].strip() for row in lines[1:]]
    return names, [[row[i] for i in columns] for row in lines[1:]]


def _read_lout(path: Path) -> tuple[list[str], list[list[str]]]:
    """A line of limits, then of each sensor: number, x, y, width, height, name."""
    lines = [line.split(None, 5) for line in _read_text(path).splitlines()[1:] if line.strip()]
    if any(len(line) < 6 for line in lines):
        raise ValueError(f"{path}: wanted lines of number, x, y, width, height and name")
    return [line[5].strip() for line in lines], [line[1:5] for line in lines]


def _read_montage(path: Path) -> tuple[list[str], list[list[float]]]:
    try:
        import mne
    except ImportError:
        raise ImportError(
            f"{path} is read with MNE-Python: pip install 'tinybrain-ddpm[mne]', or give a .csv "
            "with the columns name, x, y, z"
        ) from None
    try:
        found = mne.channels.read_custom_montage(path).get_positions()["ch_pos"]
    except Exception as error:  # MNE's readers raise whatever comes up
        raise ValueError(f"{path}: MNE-Python reads no electrodes from it ({error})") from error
    return [str(name) for name in found], [list(place) for place in found.values()]


def _numbers(
    path: Path, names: list[str], columns: Sequence[Sequence[str | float]]
) -> NDArray[np.float64]:
    if not names:
        raise ValueError(f"{path}: no sensors in it")
    try:
        numbers = np.array(columns, np.float64)
    except ValueError:
        raise ValueError(f"{path}: a position is not a number") from None
    if bad := [name for name, row in zip(names, numbers) if not np.isfinite(row).all()]:
        raise ValueError(f"{path}: no finite position for {first_few(bad)}")
    return numbers


def _as_they_are(path: Path, xy: NDArray[np.float64]) -> NDArray[np.float64]:
    """Places in head radii; others, such as pixels or millimetres, would be drawn nowhere."""
    if (far := np.abs(xy).max()) > 2:
        raise ValueError(
            f"{path}: x and y reach {far:g}; wanted head radii (the outline is 1), or the column z"
        )
    return xy


def _boxes(path: Path, boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Centres of boxes (h, 4), moved and scaled into the outline."""
    centres: NDArray[np.float64] = boxes[:, :2] + boxes[:, 2:] / 2
    centres -= (centres.min(axis=0) + centres.max(axis=0)) / 2
    reach = float(np.linalg.norm(centres, axis=1).max())
    if reach == 0:
        raise ValueError(f"{path}: all sensors are in the same place")
    return centres / reach


def _project(path: Path, xyz: NDArray[np.float64]) -> NDArray[np.float64]:
    """The projection of directions from the centre of the sphere that fits best."""
    xyz = xyz - xyz.mean(axis=0)
    xyz = xyz / (np.abs(xyz).max() or 1)  # whatever the unit
    system = np.c_[2 * xyz, np.ones(len(xyz))]  # |p - c|^2 = R^2 is linear in c and R^2 - |c|^2
    if np.linalg.matrix_rank(system, tol=1e-3) < 4:
        raise ValueError(f"{path}: {len(xyz)} positions on no sphere; wanted four and more")
    centre = np.linalg.lstsq(system, (xyz**2).sum(axis=1), rcond=None)[0][:3]
    return project(xyz - centre)
