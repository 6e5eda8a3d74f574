"""Fields of dipoles in a sphere, against MNE's forward solution, Biot and Savart, and symmetry."""

from __future__ import annotations

import mne
import numpy as np
import pytest
from mne.io.constants import FIFF

from tinybrain.things.sensors import THINGS_MEG_271, layout, positions
from tinybrain.things.twin.fields import BASELINE, HELMET, gain, gradiometers, radial_field

RNG = np.random.default_rng(0)
PLACES = RNG.uniform(-0.04, 0.04, (5, 3))  # m
MOMENTS = RNG.normal(size=(5, 3))
SENSORS = THINGS_MEG_271[::9]


def forward_of_mne(points, places):
    """MNE's field of unit dipoles along x, y and z in a sphere, at radial point magnetometers."""
    info = mne.create_info([f"M{i}" for i in range(len(points))], 1000.0, "mag")
    for channel, point in zip(info["chs"], points):
        outwards = point / np.linalg.norm(point)
        across = np.cross(outwards, (0.3, 0.5, 0.8))
        across /= np.linalg.norm(across)
        axes = across, np.cross(outwards, across), outwards
        channel["loc"] = np.concatenate([point, *axes])
        channel["coil_type"] = FIFF.FIFFV_COIL_POINT_MAGNETOMETER
    with info._unlock():
        info["dev_head_t"] = mne.Transform("meg", "head")
    sphere = mne.make_sphere_model((0, 0, 0), head_radius=None, verbose=False)
    normals = np.tile((0, 0, 1.0), (len(places), 1))
    source = mne.setup_volume_source_space(pos={"rr": places, "nn": normals}, verbose=False)
    solution = mne.make_forward_solution(
        info, mne.Transform("head", "mri"), source, sphere, eeg=False, mindist=0, verbose=False
    )
    return solution["sol"]["data"].reshape(len(points), len(places), 3)


def test_fields_are_those_of_mne():
    directions = positions(SENSORS)
    inner, outer = HELMET * directions, (HELMET + BASELINE) * directions
    expected = [
        np.einsum("hmx,mx->hm", forward_of_mne(points, PLACES), MOMENTS)
        for points in (inner, outer)
    ]
    top = np.abs(expected[0]).max()
    np.testing.assert_allclose(
        radial_field(MOMENTS, PLACES, inner), expected[0], rtol=1e-5, atol=1e-6 * top
    )
    np.testing.assert_allclose(
        gradiometers(MOMENTS, PLACES, directions), expected[0] - expected[1], rtol=1e-5,
        atol=1e-6 * top,
    )


def test_the_radial_field_is_that_of_the_current_alone():
    # Biot and Savart's sum over a short straight wire that carries the current of the dipole.
    points = HELMET * positions(SENSORS)
    step = 1e-5 * MOMENTS / np.linalg.norm(MOMENTS, axis=1, keepdims=True)
    current = np.linalg.norm(MOMENTS, axis=1) / 1e-5
    for m in range(len(MOMENTS)):
        field = np.zeros_like(points)
        for share in np.linspace(-0.5, 0.5, 11)[:-1] + 0.05:
            apart = points - (PLACES[m] + share * step[m])
            distance = np.linalg.norm(apart, axis=1, keepdims=True)
            field += 1e-7 * current[m] * np.cross(step[m] / 10, apart) / distance**3
        expected = (field * positions(SENSORS)).sum(axis=1)
        found = radial_field(MOMENTS[m : m + 1], PLACES[m : m + 1], points)[:, 0]
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7 * np.abs(expected).max())


def test_a_radial_dipole_is_silent_and_so_is_the_centre():
    loud = np.abs(gradiometers(MOMENTS, PLACES, positions(SENSORS))).max()
    silent = gradiometers(PLACES * 30, PLACES, positions(SENSORS))
    assert np.abs(silent).max() < 1e-12 * loud
    assert np.abs(gradiometers(MOMENTS, 0 * PLACES, positions(SENSORS))).max() < 1e-12 * loud


@pytest.mark.parametrize(
    ("source", "out", "into"),  # where the field leaves the head, and where it enters
    [
        (("Cz", 0), (-1, 0), (1, 0)),  # a current to the front: the right hand's rule
        (("Cz", 90), (0, -1), (0, 1)),  # to the left
        (("Oz", 0), (1, 0), (-1, 0)),  # down the back of the head
        (("Oz", 90), (0, 1), (0, -1)),  # to the right
    ],
)
def test_a_tangential_dipole_has_a_peak_and_a_trough_beside_it(source, out, into):
    field = gain(THINGS_MEG_271, [source])[:, 0]
    xy = layout(THINGS_MEG_271) - layout([source[0]])
    for at, direction in ((field.argmax(), out), (field.argmin(), into)):
        assert xy[at] @ direction > 0.9 * np.linalg.norm(xy[at])
        assert 0.2 < np.linalg.norm(xy[at]) < 0.6
    assert 0.9 < field.max() <= 1.0
    assert -1.0 <= field.min() < -0.9


def test_a_dipole_mirrored_from_left_to_right_has_the_mirrored_field_with_the_other_sign():
    # The helmet is not quite symmetric, so that sensors are made up: each with its mirror image.
    left, right = gain(THINGS_MEG_271, [("PO7", -60), ("PO8", 60)]).T
    xy = layout(THINGS_MEG_271)
    mirror = np.linalg.norm(xy[:, None] * (-1, 1) - xy, axis=-1).argmin(axis=1)
    assert np.corrcoef(left, -right[mirror])[0, 1] > 0.99
