"""What a current in the head gives a sensor outside: axial gradiometers over a sphere.

A current dipole q at r_q in a conductor that is symmetric about the origin has, at a point r = R u
outside, with |u| = 1, the radial magnetic field (Sarvas 1987; currents in the volume have none)

    B_r(r) = mu0/4pi (q x (r - r_q)) . u / |r - r_q|^3 = - mu0/4pi (q x r_q) . u / |r - r_q|^3,

and an axial gradiometer measures B_r(R u) - B_r((R + BASELINE) u). A radial dipole has no field;
a tangential one has a peak and a trough on either side of it.
Letters: h sensors, m sources.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..sensors import positions

Vectors = NDArray[np.float64]  # (..., 3)

MU0_OVER_4PI = 1e-7  # T m / A
HELMET = 0.121  # m, from the centre to the inner coils: what fits a CTF helmet best
BASELINE = 0.05  # m, from the inner to the outer coils
DEPTH = 0.065  # m, from the centre to the sources: the folds of the cortex


def radial_field(moments: Vectors, places: Vectors, points: Vectors) -> NDArray[np.float64]:
    """Radial magnetic field of current dipoles outside a conducting sphere.

    Parameters
    ----------
    moments : (m, 3), A m.
    places : (m, 3), m from the centre of the sphere.
    points : (h, 3), m, further out than every dipole.

    Returns
    -------
    (h, m) float64, T: the field of each dipole at each point, outwards positive.

    Examples
    --------
    10 nA m to the right, 65 mm up, as measured 121 mm up in front of it and behind it:

    >>> field = radial_field(
    ...     np.array([[1e-8, 0, 0]]), np.array([[0, 0, 0.065]]),
    ...     np.array([[0, 0.03, 0.117], [0, -0.03, 0.117]]),
    ... )
    >>> (1e15 * field).round().ravel()  # femtotesla
    array([ 75., -75.])
    """
    distance = np.linalg.norm(points[:, None] - places, axis=-1)               # (h, m)
    outwards = points / np.linalg.norm(points, axis=1, keepdims=True)          # (h, 3)
    field: NDArray[np.float64] = (
        -MU0_OVER_4PI * (outwards @ np.cross(moments, places).T) / distance**3
    )
    return field


def gradiometers(
    moments: Vectors, places: Vectors, directions: Vectors
) -> NDArray[np.float64]:
    """What axial gradiometers measure of current dipoles: (h, m), T; see `radial_field`.

    `directions` (h, 3) are those of the sensors from the centre, of length 1.
    """
    inner, outer = HELMET * directions, (HELMET + BASELINE) * directions
    return radial_field(moments, places, inner) - radial_field(moments, places, outer)


def gain(
    sensors: Sequence[str], sources: Sequence[tuple[str, float]], rotation: Vectors | None = None
) -> NDArray[np.float64]:
    """What tangential dipoles under places of the 10-10 system give gradiometers, (h, m).

    Parameters
    ----------
    sensors : names of a CTF helmet.
    sources : of each dipole the electrode above it, and its angle in degrees as seen from above
        the head there: 0 points away from the vertex, 90 a quarter turn counterclockwise, which
        on the back of the head is to the right. Under the vertex itself, 0 points to the front.
    rotation : (3, 3), of the head in the helmet; straight without it.

    Returns
    -------
    (h, m) float64, in units of the most that an infinitely dense helmet would see of the dipole.

    Examples
    --------
    The field of a dipole at the back that points up leaves the head on its left:

    >>> gain(["MLO32", "MRO32"], [("Oz", 180)]).round(1).ravel()
    array([ 0.7, -0.7])
    """
    above = positions([name for name, _ in sources])                           # (m, 3)
    angles = np.radians([angle for _, angle in sources])[:, None]
    away = above * above[:, 2:] - (0, 0, 1.0)  # from the vertex, along the sphere
    away = np.where(above[:, 2:] > 1 - 1e-9, (0, 1.0, 0), away)
    away /= np.linalg.norm(away, axis=1, keepdims=True)
    moments = np.cos(angles) * away + np.sin(angles) * np.cross(above, away)   # (m, 3)
    directions = positions(sensors)                                            # (h, 3)
    if rotation is not None:
        directions = directions @ rotation  # the helmet as the head sees it
    return gradiometers(moments, DEPTH * above, directions) / _strongest()


def _strongest() -> float:
    """The largest field of a tangential dipole of 1 A m, over all sensors that could be there."""
    angle = np.linspace(0, np.pi / 2, 1000)
    around = np.stack([np.sin(angle), np.zeros(1000), np.cos(angle)], axis=1)
    dipole = np.array([[0.0, 1, 0]]), np.array([[0, 0, DEPTH]])
    return float(np.abs(gradiometers(*dipole, around)).max())
