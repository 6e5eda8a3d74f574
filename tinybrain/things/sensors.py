"""Where sensors sit: EEG electrodes of the 10-10 system and the gradiometers of a CTF helmet.

Electrodes are constructed on a unit sphere. No table is copied; the positions follow from the
rule by which the cap is measured (Jasper 1958; Chatrian et al. 1985; named as by Oostenveld and
Praamstra 2001):

- midline: the arc nasion - Cz - inion, cut in tenths of 18 degrees: Nz, Fpz, AFz, ... Oz, Iz;
- ring: the circle through Fpz, T7, Oz and T8, a tenth above nasion, ears and inion, in steps of
  18 degrees: Fp1, AF7, F7, FT7, T7, ...; the lower ring, at nasion, ears and inion, likewise: N1,
  AF9, F9, FT9, T9, ...;
- rows: the circle through left ring, midline and right ring, cut in eighths: F7, F5, F3, F1, Fz.

Axes: x to the right, y to the front, z up; Cz is (0, 0, 1), the nasion (0, 1, 0). Odd numbers are
left. A real head is no sphere: seen from a point at the height of the nasion, the 63 electrodes of
THINGS-EEG2 on a template head lie 3 degrees (median; at most 10) from the directions given here.

Gradiometers are named as MLC11-1609: M, left, right or midline (Z), the region, row and number,
and after the dash the serial number of the system, which says nothing. Their places are tabulated
(`ctf275.py`). Places of other sensors are read from a file (`layouts.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ..messages import first_few
from .ctf275 import PLACES

TENTH = np.pi / 10  # a tenth of the half circle nasion - Cz - inion
MIRROR = np.array([-1, 1, 1])  # left to right

# From front to back: name on the midline, between midline and ring, and on the two rings.
ROWS = (
    ("AFz", "AF", "AF"),
    ("Fz", "F", "F"),
    ("FCz", "FC", "FT"),
    ("Cz", "C", "T"),
    ("CPz", "CP", "TP"),
    ("Pz", "P", "P"),
    ("POz", "PO", "PO"),
)

GIVE_PLACES = "; or give places=layouts.read_layout(FILE) (--layout FILE on a command line)"
OLD_NAMES = {"T3": "T7", "T4": "T8", "T5": "P7", "T6": "P8"}  # 10-20 names that 10-10 replaced

# The 63 electrodes of THINGS-EEG2 in the order of the files preprocessed for 63 sensors.
THINGS_EEG2_63 = (
    "Fp1", "Fp2", "AF7", "AF3", "AFz", "AF4", "AF8", "F7", "F5", "F3", "F1", "F2", "F4", "F6",
    "F8", "FT9", "FT7", "FC5", "FC3", "FC1", "FCz", "FC2", "FC4", "FC6", "FT8", "FT10", "T7", "C5",
    "C3", "C1", "Cz", "C2", "C4", "C6", "T8", "TP9", "TP7", "CP5", "CP3", "CP1", "CPz", "CP2",
    "CP4", "CP6", "TP8", "TP10", "P7", "P5", "P3", "P1", "Pz", "P2", "P4", "P6", "P8", "PO7",
    "PO3", "POz", "PO4", "PO8", "O1", "Oz", "O2",
)  # fmt: skip

# The 271 gradiometers of THINGS-MEG in the order of all its files: MLF25, MRF43 and MRO13 are not
# in the hardware, MRO11 is left out by the preprocessing.
THINGS_MEG_271 = tuple(
    f"{name}-1609" for name in PLACES if name not in ("MLF25", "MRF43", "MRO13", "MRO11")
)


def positions(names: Sequence[str]) -> NDArray[np.float64]:
    """Directions of the sensors, as points of the unit sphere.

    Those of gradiometers are the inverse of the projection in `layout`: an approximation (a degree
    from the directions of the true coils, but these are no sphere: 107 to 132 mm from its centre),
    made for drawing and for the demo, not for finding sources.

    Parameters
    ----------
    names : of the 10-10 system, capitals or not (T3, T4, T5, T6 are read as T7, T8, P7, P8); or
        of a CTF helmet with 275 sensors, with the system's number or without.

    Returns
    -------
    (h, 3) float64: x to the right, y to the front, z up; (0, 0, 1) is the vertex. Nasion, ears and
    inion are at z = 0.

    Raises
    ------
    ValueError : names outside the system that most of the names belong to, the first five listed.

    Examples
    --------
    Straight up, to the right, and to the front, a little above the nasion:

    >>> positions(["Cz", "T8", "Fpz"]).round(2)
    array([[0.  , 0.  , 1.  ],
           [0.95, 0.  , 0.31],
           [0.  , 0.95, 0.31]])
    """
    return _directions(names)


def _directions(names: Sequence[str], remedy: str = "") -> NDArray[np.float64]:
    """`positions`; what else can be done about unknown names is told with them."""
    if is_meg(names):
        x, y = _in_helmet(names).T
        inclination, azimuth = np.hypot(x, y) * np.pi / 2, np.arctan2(x, y)
        right, ahead = np.sin(inclination) * [np.sin(azimuth), np.cos(azimuth)]
        return np.stack([right, ahead, np.cos(inclination)], axis=1)           # (h, 3)
    known = {name.upper(): name for name in _ELECTRODES}
    known |= OLD_NAMES
    unknown = [str(name) for name in names if str(name).upper() not in known]
    if unknown:
        raise ValueError(
            f"no 10-10 position for {first_few(unknown)}: wanted names such as Fp1, Cz, PO8 or "
            f"TP10; rename the sensors, or leave them out{remedy}"
        )
    return np.array([_ELECTRODES[known[str(name).upper()]] for name in names]).reshape(-1, 3)


def layout(
    names: Sequence[str], places: Mapping[str, Sequence[float]] | None = None
) -> NDArray[np.float64]:
    """Places of the sensors on a flat head seen from above (azimuthal equidistant: `project`).

    The head's outline, radius 1, is for electrodes the lower ring, at the level of nasion, ears
    and inion (Nz, FT9, T9, TP9, Iz), and the ring through Fpz, T7 and Oz has radius 0.8; for
    gradiometers it is where the helmet is widest, and the lowest have radius 1.28.

    Parameters
    ----------
    names : as in `positions`; or those of `places`.
    places : (x, y) by name, such as `layouts.read_layout` gives, instead of those known here.

    Returns
    -------
    (h, 2) float64: x to the right, y to the front.

    Raises
    ------
    ValueError : names without a place, the first five listed.

    Examples
    --------
    >>> layout(["Cz", "T8", "F3"]).round(2)
    array([[ 0.  ,  0.  ],
           [ 0.8 ,  0.  ],
           [-0.33,  0.42]])
    >>> layout(["left", "right"], places={"left": (-0.5, 0), "right": (0.5, 0)})
    array([[-0.5,  0. ],
           [ 0.5,  0. ]])
    """
    if places is not None:
        return _look_up(names, places, "in the layout given", "add them to it")
    if is_meg(names):
        return _in_helmet(names, GIVE_PLACES)
    return project(_directions(names, GIVE_PLACES))


def project(xyz: NDArray[np.float64]) -> NDArray[np.float64]:
    """The azimuthal equidistant projection of directions (h, 3), of any length, to places (h, 2).

    The distance from the centre is the angle from the vertex, in units of 90 degrees, so that
    tenths of the midline stay equal (Snyder 1987, Map Projections, section 25).

    Parameters
    ----------
    xyz : (h, 3): x to the right, y to the front, z up, in any unit.

    Returns
    -------
    (h, 2) float64: x to the right, y to the front.

    Examples
    --------
    To the right, and halfway between the vertex and the front:

    >>> project(np.array([[3.0, 0, 0], [0, 1, 1]])).round(2)
    array([[1. , 0. ],
           [0. , 0.5]])
    """
    x, y, z = xyz.T
    radius, azimuth = np.arctan2(np.hypot(x, y), z) / (np.pi / 2), np.arctan2(x, y)
    return np.stack([radius * np.sin(azimuth), radius * np.cos(azimuth)], axis=1)  # (h, 2)


def is_meg(names: Sequence[str]) -> bool:
    """Whether more of the names are a CTF helmet's than of the 10-10 system."""
    electrodes = {name.upper() for name in _ELECTRODES} | OLD_NAMES.keys()
    known = [(_stem(name) in PLACES) - (str(name).upper() in electrodes) for name in names]
    return sum(known) > 0


def _in_helmet(names: Sequence[str], remedy: str = "") -> NDArray[np.float64]:
    wanted = "wanted names such as MLC11-1609"
    return _look_up(names, PLACES, "in a CTF helmet", wanted, remedy)


def _look_up(
    names: Sequence[str], places: Mapping[str, Sequence[float]], where: str, wanted: str,
    remedy: str = "",
) -> NDArray[np.float64]:
    """Places by name, capitals and what follows a dash aside: (h, 2)."""
    known = {_stem(name): place for name, place in places.items()}
    known |= {str(name).upper(): place for name, place in places.items()}
    found = [known.get(str(name).upper(), known.get(_stem(name))) for name in names]
    if unknown := [str(name) for name, place in zip(names, found) if place is None]:
        raise ValueError(
            f"no place {where} for {first_few(unknown)}: {wanted}; rename the sensors, or leave "
            f"them out{remedy}"
        )
    return np.array(found, dtype=np.float64).reshape(-1, 2)


def _stem(name: str) -> str:
    """The part of a name that does not change from system to system: MLC11 of MLC11-1609."""
    return str(name).upper().partition("-")[0]


def _on_sphere(inclination: float, azimuth: float) -> NDArray[np.float64]:
    """The point at an angle from Cz, turned from the front towards the left ear."""
    across = np.sin(inclination)
    return np.array([across * np.sin(-azimuth), across * np.cos(azimuth), np.cos(inclination)])


def _between(
    middle: NDArray[np.float64], left: NDArray[np.float64], share: float
) -> NDArray[np.float64]:
    """The point a share of the way from middle to left on their coronal circle."""
    # The circle passes through left's mirror image too; its centre is its plane's point next to 0.
    normal = np.cross(left - middle, left * MIRROR - middle)
    normal /= np.linalg.norm(normal)
    centre = normal * (normal @ middle)
    a, b = middle - centre, left - centre
    angle = np.arccos(a @ b / (a @ a))
    return centre + (np.sin((1 - share) * angle) * a + np.sin(share * angle) * b) / np.sin(angle)


def _construct() -> dict[str, NDArray[np.float64]]:
    """All electrodes by name."""
    midline = ["Nz", "Fpz", *(row[0] for row in ROWS), "Oz", "Iz"]
    found = {name: _on_sphere((5 - i) * TENTH, 0) for i, name in enumerate(midline)}
    left = {}
    for stem, tenths in (("Fp", 1), ("O", 9)):
        left[stem, 1] = _on_sphere(4 * TENTH, tenths * TENTH)
    for stem, tenths in (("N", 1), ("I", 9)):
        left[stem, 1] = _on_sphere(5 * TENTH, tenths * TENTH)
    for tenths, (middle, row, ring) in enumerate(ROWS, start=2):
        left[ring, 7] = _on_sphere(4 * TENTH, tenths * TENTH)
        left[ring, 9] = _on_sphere(5 * TENTH, tenths * TENTH)
        for step, number in enumerate((1, 3, 5), start=1):
            left[row, number] = _between(found[middle], left[ring, 7], step / 4)
    for (stem, number), place in left.items():
        found |= {f"{stem}{number}": place, f"{stem}{number + 1}": place * MIRROR}
    return found


_ELECTRODES = _construct()
