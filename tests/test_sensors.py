"""Positions of sensors, against the geometry that defines them and what others have measured."""

import warnings

import mne
import numpy as np
import pytest
from scipy.optimize import least_squares

from tinybrain.things.ctf275 import PLACES
from tinybrain.things.sensors import (
    THINGS_EEG2_63,
    THINGS_MEG_271,
    is_meg,
    layout,
    positions,
)

RAW_ORDER = """
Fp1 F3 F7 FT9 FC5 FC1 C3 T7 TP9 CP5 CP1 Pz P3 P7 O1 Oz O2 P4 P8 TP10 CP6 CP2 Cz C4 T8 FT10 FC6
FC2 F4 F8 Fp2 AF7 AF3 AFz F1 F5 FT7 FC3 FCz C1 C5 TP7 CP3 P1 P5 PO7 PO3 POz PO4 PO8 P6 P2 CPz
CP4 TP8 C6 C2 FC4 FT8 F6 F2 AF4 AF8
"""  # the 63 names as the raw files of THINGS-EEG2 list them
ROWS = {"AF": "AF", "F": "F", "FC": "FT", "C": "T", "CP": "TP", "P": "P", "PO": "PO"}  # to ring


def angle(a, b):
    """Degrees between rows of unit vectors."""
    return np.degrees(np.arccos(np.clip((a * b).sum(-1), -1, 1)))


def test_the_midline_goes_over_the_head_in_steps_of_18_degrees():
    names = ["Nz", "Fpz", "AFz", "Fz", "FCz", "Cz", "CPz", "Pz", "POz", "Oz", "Iz"]
    degrees = np.radians(np.arange(0, 181, 18))
    expected = np.stack([np.zeros(11), np.cos(degrees), np.sin(degrees)], axis=1)
    np.testing.assert_allclose(positions(names), expected, atol=1e-15)


@pytest.mark.parametrize(
    ("height", "names"),
    [
        (18, "Fpz Fp1 AF7 F7 FT7 T7 TP7 P7 PO7 O1 Oz"),
        (0, "Nz N1 AF9 F9 FT9 T9 TP9 P9 PO9 I1 Iz"),
    ],
)
def test_the_rings_go_round_the_left_of_the_head_in_steps_of_18_degrees(height, names):
    turn, height = np.radians(np.arange(0, 181, 18)), np.radians(height)
    across = np.cos(height)
    expected = [-across * np.sin(turn), across * np.cos(turn), np.full(11, np.sin(height))]
    np.testing.assert_allclose(positions(names.split()), np.transpose(expected), atol=1e-15)


@pytest.mark.parametrize(("row", "ring"), ROWS.items())
def test_a_coronal_row_lies_on_one_circle_in_equal_steps(row, ring):
    names = [f"{ring}7", *(f"{row}{n}" for n in "531z246"), f"{ring}8"]
    xyz = positions(names)
    steps = np.linalg.norm(np.diff(xyz, axis=0), axis=1)
    np.testing.assert_allclose(steps, steps[0], rtol=1e-12)
    assert np.linalg.svd(xyz - xyz[4], compute_uv=False)[2] < 1e-12  # in one plane, so a circle


def test_every_electrode_is_on_the_sphere_and_has_its_mirror_image():
    xyz = positions(THINGS_EEG2_63)
    np.testing.assert_allclose(np.linalg.norm(xyz, axis=1), 1, rtol=1e-14)
    for name in THINGS_EEG2_63:
        number = name.lstrip("AFPTCOIpz")
        if number:
            other = name.replace(number, str(int(number) + (1 if int(number) % 2 else -1)))
            np.testing.assert_array_equal(positions([other])[0], positions([name])[0] * (-1, 1, 1))
            assert (positions([name])[0, 0] < 0) == int(number) % 2


def test_a_template_head_measured_by_others_agrees():
    # MNE's montage renders electrodes on a real head's surface. The one freedom is the point from
    # which directions are taken, as a head has no centre. Found: median 2.9, at most 10.1 degrees.
    names = list(THINGS_EEG2_63)
    there = mne.channels.get_builtin_montages()
    with warnings.catch_warnings():  # one name is going, the other is not yet everywhere
        warnings.simplefilter("ignore", FutureWarning)
        montage = mne.channels.make_standard_montage(
            "colin27_1005" if "colin27_1005" in there else "standard_1005"
        )
    places = montage.get_positions()["ch_pos"]
    head = np.array([places[name] for name in names], float)  # metres

    def directions(centre):
        return (head - centre) / np.linalg.norm(head - centre, axis=1, keepdims=True)

    ours = positions(names)
    centre = least_squares(lambda c: (directions(c) - ours).ravel(), np.zeros(3)).x
    apart = angle(directions(centre), ours)
    assert np.median(apart) < 3.5
    assert apart.max() < 11
    assert abs(centre[2] - montage.get_positions()["nasion"][2]) < 0.005


def test_flat_positions_keep_angles_from_the_vertex_and_directions():
    # Nasion, ears and inion are the outline; Fpz, T7 and Oz are a tenth of the midline inside.
    names = ["Cz", "Nz", "Iz", "T9", "T10", "Fpz", "T7", "T8", "Oz", "FCz"]
    expected = [(0, 0), (0, 1), (0, -1), (-1, 0), (1, 0),
                (0, 0.8), (-0.8, 0), (0.8, 0), (0, -0.8), (0, 0.2)]  # fmt: skip
    np.testing.assert_allclose(layout(names), expected, atol=1e-15)
    flat, xyz = layout(THINGS_EEG2_63), positions(THINGS_EEG2_63)
    from_vertex = angle(xyz, np.array([0, 0, 1.0]))
    np.testing.assert_allclose(np.linalg.norm(flat, axis=1), from_vertex / 90, atol=1e-7)
    same_side = (flat * xyz[:, :2]).sum(axis=1)
    lengths = np.linalg.norm(flat, axis=1) * np.linalg.norm(xyz[:, :2], axis=1)
    np.testing.assert_allclose(same_side, lengths, atol=1e-15)


def test_names_in_any_capitals_and_of_the_old_system():
    np.testing.assert_array_equal(positions(["FCZ", "fp1"]), positions(["FCz", "Fp1"]))
    np.testing.assert_array_equal(
        positions(["T3", "t4", "T5", "T6"]), positions(["T7", "T8", "P7", "P8"])
    )
    assert positions([]).shape == (0, 3)
    assert layout([]).shape == (0, 2)


@pytest.mark.parametrize("function", [positions, layout])
def test_names_outside_the_system_are_all_listed(function):
    with pytest.raises(ValueError, match="for EOG, F11, MLC11, :") as error:
        function(["Oz", "EOG", "F11", "MLC11", ""])
    assert "Oz" not in str(error.value)
    assert ("give places=" in str(error.value)) == (function is layout)  # positions takes none
    with pytest.raises(ValueError, match="for S0, S1, S2, S3, S4 and 2 more: "):
        function([f"S{number}" for number in range(7)])


def test_the_63_of_things_eeg2_are_in_rows_from_front_to_back_and_left_to_right():
    rows = ["FP", *ROWS, "O"]
    row_of = {ring: row for row, ring in ROWS.items()}

    def place(name):
        stem = name.rstrip("z0123456789")
        return rows.index(row_of.get(stem, stem).upper()), positions([name])[0, 0]

    assert tuple(sorted(RAW_ORDER.split(), key=place)) == THINGS_EEG2_63


# Gradiometers ------------------------------------------------------------------------------------

# Centres of coils in metres, x to the right: some lines of MNE-Python's canonical_meg/ctf275.csv.
COILS = {
    "MLC11": (-0.0112, 0.0664, 0.0779), "MZF01": (-0.0002, 0.1257, -0.0107),
    "MZO03": (-0.0010, -0.1276, -0.0622), "MLT51": (-0.0998, 0.0410, -0.0713),
    "MRT51": (0.0998, 0.0411, -0.0713), "MZC02": (-0.0006, 0.0131, 0.0950),
    "MLF14": (-0.0773, 0.0888, -0.0292), "MRP33": (0.0566, -0.0784, 0.0663),
}  # fmt: skip
CENTRE = (0, -0.0046, -0.0192)  # of the sphere that fits all 274 of them


def of_mne():
    """Names without the system's number and centres of boxes of MNE's layout, (275, 2)."""
    found = mne.channels.read_layout("CTF-275")
    names = [name.split("-")[0] for name in found.names]
    return names, found.pos[:, :2] + found.pos[:, 2:] / 2


def test_gradiometers_are_where_the_layout_of_mne_has_them():
    names, expected = of_mne()
    assert list(PLACES) == names
    xy = layout(names)
    size = np.polyfit(expected.ravel() - np.tile(expected.mean(axis=0), 275),
                      xy.ravel() - np.tile(xy.mean(axis=0), 275), 1)[0]  # fmt: skip
    assert size > 0  # neither turned about nor mirrored: one positive factor for both axes
    moved = xy - size * expected
    np.testing.assert_allclose(moved, np.tile(moved.mean(axis=0), (275, 1)), atol=1e-3)


def test_the_271_of_things_meg_are_those_of_mne_without_four_in_their_order():
    names = [name for name in of_mne()[0] if name not in ("MLF25", "MRF43", "MRO13", "MRO11")]
    assert [f"{name}-1609" for name in names] == list(THINGS_MEG_271)
    assert len(set(THINGS_MEG_271)) == 271


def test_directions_of_gradiometers_are_those_of_the_coils_within_a_degree():
    coils = np.array(list(COILS.values())) - CENTRE
    coils /= np.linalg.norm(coils, axis=1, keepdims=True)
    assert angle(positions(list(COILS)), coils).max() < 1.2
    np.testing.assert_allclose(np.linalg.norm(positions(THINGS_MEG_271), axis=1), 1, rtol=1e-14)


def test_the_flat_helmet_is_its_own_projection():
    flat, xyz = layout(THINGS_MEG_271), positions(THINGS_MEG_271)
    from_vertex = angle(xyz, np.array([0, 0, 1.0]))
    np.testing.assert_allclose(np.linalg.norm(flat, axis=1), from_vertex / 90, atol=1e-7)
    assert np.linalg.norm(layout(["MZC02"])) < 0.12  # the vertex
    for name, (x, y) in zip(THINGS_MEG_271, flat):
        assert name[1] == "Z" or (x < 0) == (name[1] == "L")
        assert name[2] not in "FO" or (y > -0.1) == (name[2] == "F")


def test_the_number_of_the_system_does_not_matter():
    for names in (["MLC11-1609", "MZO02-1609"], ["MLC11-2622", "mzo02-4504"]):
        np.testing.assert_array_equal(layout(names), layout(["MLC11", "MZO02"]))
        np.testing.assert_array_equal(positions(names), positions(["MLC11", "MZO02"]))
    assert is_meg(["MLC11-1609"]) and not is_meg(["Cz"]) and not is_meg([])


@pytest.mark.parametrize("function", [positions, layout])
def test_names_that_no_helmet_has_are_all_listed(function):
    with pytest.raises(ValueError, match="in a CTF helmet for MLC99, UPPT001, Oz: ") as error:
        function(["MLC11-1609", "MLC99", "MRC11", "UPPT001", "Oz"])
    assert "MRC11-" not in str(error.value)
    assert ("give places=" in str(error.value)) == (function is layout)  # positions takes none


def test_places_that_are_given_go_before_those_known_here():
    given = {"MLC11-1": (0.5, 0.5), "thumb": (0.1, -0.2)}
    np.testing.assert_array_equal(
        layout(["Thumb", "MLC11-1609"], given), [(0.1, -0.2), (0.5, 0.5)]
    )
    with pytest.raises(ValueError, match="no place in the layout given for Cz, MLC12: add them"):
        layout(["Cz", "thumb", "MLC12"], given)
