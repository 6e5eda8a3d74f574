"""Values at sensors, everywhere between them: what a scalp map shows (Section 4.4).

Between sensors a map is the piecewise cubic of Clough and Tocher (1965) on the Delaunay triangles
of the sensors: smooth (C1), equal to the recording at each sensor, linear in the recording. No
sensor says what happens beyond the outermost, and a cubic left alone there shoots up; so border
points stand around the sensors, each with the mean of the sensors it neighbours. What is further
than MARGIN from the sensors' convex hull is not painted.

Positions are in head radii: x to the right, y to the nose, radius 1 the head's outline.
Shapes: h sensors, p points, q corners of a polygon.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from einops import rearrange

MARGIN = 0.25  # head radii: carries the 10-20 ring (0.8) to the outline; a patch remains a patch


def interpolate(values: np.ndarray, xy: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Values between sensors: smooth, exact at the sensors, NaN where no sensor is near.

    Parameters
    ----------
    values : (..., h), any unit. All maps share one triangulation: pass many at once.
    xy : (h, 2) positions of the sensors in head radii, three or more.
    points : (..., 2) where to interpolate, such as a grid (m, m, 2) or a list (p, 2).

    Returns
    -------
    float64, the leading axes of `values`, then those of `points`; NaN outside `painted_area(xy)`.

    Raises
    ------
    ValueError : shapes that do not fit; values or positions that are not finite; a position twice.

    Examples
    --------
    Four sensors see a plane that rises to the right. It is one between them, and nothing beyond:

    >>> import numpy as np
    >>> from tinybrain.scalp import interpolate
    >>> xy = np.array([(-0.5, -0.5), (0.5, -0.5), (-0.5, 0.5), (0.5, 0.5)])
    >>> plane = 10 + 2 * xy[:, 0]
    >>> interpolate(plane, xy, np.array([(0.0, 0.0), (0.5, 0.5), (2.0, 0.0)])).round(1)
    array([10., 11., nan])
    """
    xy, points = check_positions(xy), np.asarray(points, dtype=np.float64)
    return np.where(is_painted(xy, points), extend(values, xy, points), np.nan)


def painted_area(xy: np.ndarray) -> np.ndarray:
    """The polygon (q, 2) that is painted: the sensors' hull and MARGIN around it, within the head.

    The head ends at radius 1. Where sensors sit below its outline, as those of a MEG helmet do,
    the paint ends with them.
    """
    from scipy.spatial import ConvexHull

    ring = around(xy, MARGIN, step=0.02)
    within = ring / np.maximum(1, np.linalg.norm(ring, axis=1, keepdims=True))
    points = np.concatenate([within, xy])
    area: np.ndarray = points[ConvexHull(points).vertices]  # in order, not closed
    return area


def check_positions(xy: np.ndarray, sensors: Sequence[str] | None = None) -> np.ndarray:
    """Positions (h, 2) as float64, or a ValueError that names the sensors at fault."""
    xy = np.asarray(xy, dtype=np.float64)
    if xy.ndim != 2 or xy.shape[1] != 2 or len(xy) < 3:
        raise ValueError(f"xy has shape {xy.shape}: wanted (sensors, 2), three sensors or more")
    names = np.array([f"sensor {i}" for i in range(len(xy))] if sensors is None else sensors)
    if len(names) != len(xy):
        raise ValueError(f"xy has shape {xy.shape} but there are {len(names)} sensor names")
    missing = names[~np.isfinite(xy).all(axis=1)]
    if len(missing):
        raise ValueError(f"no finite position for {', '.join(missing)}: leave these sensors out")
    _, place, count = np.unique(xy.round(6), axis=0, return_inverse=True, return_counts=True)
    shared = names[count[place.ravel()] > 1]
    if len(shared):
        raise ValueError(f"{', '.join(shared)} are in the same place: leave out all but one")
    return xy


def extend(values: np.ndarray, xy: np.ndarray, points: np.ndarray) -> np.ndarray:
    """`interpolate` before its mask: values as far out as the border points."""
    from scipy.interpolate import CloughTocher2DInterpolator
    from scipy.spatial import Delaunay

    values, h = np.asarray(values, dtype=np.float64), len(xy)
    if values.ndim == 0 or values.shape[-1] != h:
        raise ValueError(f"values have shape {values.shape} and xy {xy.shape}: wanted (..., {h})")
    if not np.isfinite(values).all():
        raise ValueError(f"{(~np.isfinite(values)).sum()} of {values.size} values are not finite")
    columns = values.reshape(-1, h).T  # (h, maps)
    # scipy refines its gradients to an absolute tolerance: volts must come out as microvolts do
    scale = np.maximum(np.abs(columns).max(axis=0), np.finfo(np.float64).tiny)
    triangles = Delaunay(np.concatenate([xy, around(xy, 2 * MARGIN, step=MARGIN)]))
    start, neighbours = triangles.vertex_neighbor_vertices
    near = [neighbours[start[i] : start[i + 1]] for i in range(h, len(triangles.points))]
    beyond = [columns[n[n < h]].mean(axis=0) for n in near]  # (border, maps)
    knots = np.concatenate([columns, beyond]) / scale
    maps: np.ndarray = CloughTocher2DInterpolator(triangles, knots, tol=1e-9)(points) * scale
    return np.moveaxis(maps, -1, 0).reshape(values.shape[:-1] + points.shape[:-1])


def is_painted(xy: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Whether each point lies in the painted area, which is convex: behind each of its edges."""
    from scipy.spatial import ConvexHull

    edges = ConvexHull(painted_area(xy)).equations  # (q, 3): outward normal and offset
    beyond = (points @ edges[:, :2].T + edges[:, 2]).max(axis=-1)
    return np.asarray(beyond <= 1e-3)  # sensors on a rim are in


def around(xy: np.ndarray, distance: float, step: float) -> np.ndarray:
    """Points about a step apart on the sensors' convex hull grown by a distance, corners round."""
    from scipy.spatial import ConvexHull

    discs = rearrange(xy[:, None] + distance * arc(0, 360), "h q xy -> (h q) xy")
    ring = discs[ConvexHull(discs).vertices]  # in order, not closed
    ring = np.concatenate([ring, ring[:1]])
    walked = np.concatenate([[0], np.linalg.norm(np.diff(ring, axis=0), axis=1).cumsum()])
    at = np.linspace(0, walked[-1], round(walked[-1] / step), endpoint=False)
    return np.stack([np.interp(at, walked, ring[:, axis]) for axis in (0, 1)], axis=1)


def arc(start: float, stop: float) -> np.ndarray:
    """Points 4 degrees apart on the unit circle, from and to an angle in degrees: (q, 2)."""
    angle = np.deg2rad(np.linspace(start, stop, round((stop - start) / 4) + 1))
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)
