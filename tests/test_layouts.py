"""Layouts of the user's own: tables, MNE's boxes, and positions in space."""

from __future__ import annotations

import sys

import mne
import numpy as np
import pytest

from tinybrain.things.layouts import read_layout
from tinybrain.things.sensors import THINGS_EEG2_63, layout, positions

XYZ = 0.09 * positions(THINGS_EEG2_63) + (0.001, 0.01, 0.04)  # metres, on a head that is elsewhere


def table(path, names, numbers, header, separator=","):
    lines = [separator.join([name, *(repr(float(x)) for x in row)])
             for name, row in zip(names, numbers)]  # fmt: skip
    path.write_text("\n".join([separator.join(header), *lines]) + "\n")
    return path


@pytest.mark.parametrize("header", [("name", "x", "y", "z"), ("Name", "X_m", "Y_m", "Z_m")])
def test_positions_on_a_sphere_are_projected_as_those_known_here(tmp_path, header):
    for factor, suffix, separator in ((1, ".csv", ","), (1000, ".tsv", "\t")):  # metres or mm
        path = table(tmp_path / f"cap{suffix}", THINGS_EEG2_63, factor * XYZ, header, separator)
        found = layout(THINGS_EEG2_63, read_layout(path))
        np.testing.assert_allclose(found, layout(THINGS_EEG2_63), atol=1e-12)


def test_places_on_a_flat_head_are_taken_as_they_are_and_columns_found_by_name(tmp_path):
    path = tmp_path / "flat.csv"
    path.write_text("raw_index,y,name,x\n3,0.5,Oz,-0.25\n\n4,-1,Cz,0\n")
    assert read_layout(path) == {"Oz": (-0.25, 0.5), "Cz": (0.0, -1.0)}


def test_a_lout_file_of_mne_is_moved_and_scaled_into_the_outline(tmp_path):
    path = tmp_path / "ctf.lout"
    theirs = mne.channels.read_layout("CTF-275")
    path.write_text("-42 42 -40 31\n" + "".join(
        f"{i:03d} {x} {y} {w} {h} {name}\n"
        for i, (name, (x, y, w, h)) in enumerate(zip(theirs.names, theirs.pos))
    ))
    found = read_layout(path)
    assert list(found) == list(theirs.names)
    xy = np.array(list(found.values()))
    known = layout(theirs.names)
    known = known - (known.max(axis=0) + known.min(axis=0)) / 2
    np.testing.assert_allclose(xy, known / np.linalg.norm(known, axis=1).max(), atol=2e-3)
    assert np.linalg.norm(xy, axis=1).max() == pytest.approx(1)
    boxes = table(tmp_path / "ctf.csv", theirs.names, theirs.pos, ("name", "x", "y", "w", "h"))
    assert read_layout(boxes) == found


def test_of_a_box_the_centre_counts(tmp_path):
    path = tmp_path / "boxes.csv"
    path.write_text("name,x,y,w,h\nleft,0,0,2,2\nright,20,-1,4,4\nfront,10,10,2,2\n")
    # centres (1, 1), (22, 1), (11, 11), of which the extent's middle is (11.5, 6)
    expected = np.array([(-10.5, -5), (10.5, -5), (-0.5, 5)]) / np.hypot(10.5, 5)
    np.testing.assert_allclose(list(read_layout(path).values()), expected)


def test_an_electrode_file_is_read_by_mne(tmp_path):
    path = tmp_path / "cap.sfp"
    path.write_text("".join(
        f"{name}\t{x}\t{y}\t{z}\n" for name, (x, y, z) in zip(THINGS_EEG2_63, 1000 * XYZ)
    ))
    found = layout(THINGS_EEG2_63, read_layout(path))
    np.testing.assert_allclose(found, layout(THINGS_EEG2_63), atol=1e-6)


def test_without_mne_the_message_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "mne", None)
    (tmp_path / "cap.elc").write_text("# ASA electrode file\n")
    with pytest.raises(ImportError, match=r"cap.elc .* pip install 'tinybrain-ddpm\[mne\]'"):
        read_layout(tmp_path / "cap.elc")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "", "a.csv: columns none; wanted name, x, y"),
        ("a.csv", "sensor,x,y\nCz,0,0\n", "columns sensor, x, y; wanted name"),
        ("a.csv", "name,x,y\n", "no sensors in it"),
        ("a.csv", "name,x,y\nCz,0,0\nPz,0\n", "line 3 has not the 3 cells"),
        ("a.csv", "name,x,y\nCz,0,left\n", "a position is not a number"),
        ("a.csv", "name,x,y\nCz,0,nan\nPz,inf,0\n", "no finite position for Cz, Pz"),
        ("a.csv", "name,x,y\nCz,0,0\nCz,1,0\n", "Cz more than once"),
        ("a.csv", "name,x,y\nCz,0,0\nPz,0,-45\n", "reach 45; wanted head radii"),
        ("a.csv", "name,x,y,z\nCz,0,0,1\nPz,0,-1,0\nOz,0,1,0\n", "3 positions on no sphere"),
        ("a.csv", "name,x,y,z\n" + "".join(f"S{i},{i},{i * i},0\n" for i in range(9)),
         "9 positions on no sphere"),
        ("a.csv", "name,x,y,w,h\nCz,1,1,2,2\n", "all sensors are in the same place"),
        ("a.lout", "0 1 0 1\n001 0.1 0.2 0.3 Cz\n", "wanted lines of number, x, y, width"),
        ("a.elc", "no electrodes\n", "a.elc: MNE-Python reads no electrodes from it"),
    ],
)  # fmt: skip
def test_what_is_no_layout_is_refused_by_name(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=message):
        read_layout(tmp_path / name)


def test_what_is_no_text_or_not_there(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(ValueError, match=r"a.csv is no text"):
        read_layout(tmp_path / "a.csv")
    with pytest.raises(FileNotFoundError, match=r"no layout .*b.csv"):
        read_layout(tmp_path / "b.csv")
