"""Reading pickles and .npy files: equal to what numpy reads, without loading it."""

from __future__ import annotations

import pickle
import struct
import time

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tests.memory import peak_memory
from tests.pickled import write
from tinybrain.things import pickles

RECORDING = {
    "preprocessed_eeg_data": np.arange(5 * 4 * 3 * 7.0).reshape(5, 4, 3, 7) / 7,
    "ch_names": ["Pz", "Oz", "Größe"],
    "times": np.linspace(-0.2, 0.4, 7),
}
METADATA = {
    "train_img_concepts": ["00001_aardvark", "00002_abacus"] * 3,
    "test_img_files": np.array(["aardvark_01b.jpg", "ä.jpg"]),
    "objects": np.array([["a", None], [{"x": 1.5}, [True, -3, 2**70]]], dtype=object, order="F"),
    "scalars": [np.float32(1.5), np.int64(-3), np.bool_(True), np.str_("Cz"), 2.5, 70_000, (1,)],
}


def same(a, b):
    if isinstance(a, np.ndarray) and a.dtype != object:
        a, b = a.astype(a.dtype.newbyteorder("=")), b.astype(b.dtype.newbyteorder("="))
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, (list, tuple, np.ndarray)):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    return type(a) is type(b) and a == b


def without_frames(data: bytes) -> bytes:
    assert data[2:3] == pickle.FRAME
    return data[:2] + data[11:]


@pytest.mark.parametrize("container", [3, 4, 5, "npy"])
@pytest.mark.parametrize("value", [RECORDING, METADATA], ids=["recording", "metadata"])
def test_reads_what_was_written(tmp_path, value, container):
    path = write(tmp_path / "a.npy", value, container)
    assert same(value, pickles.read(path))
    assert pickles.container(path) == ("npy" if container == "npy" else "pickle")


DTYPES = st.one_of(
    hnp.floating_dtypes(sizes=(16, 32, 64), endianness="?"),
    hnp.integer_dtypes(endianness="?"),
    hnp.unsigned_integer_dtypes(endianness="?"),
    hnp.complex_number_dtypes(sizes=(64, 128)),
    hnp.boolean_dtypes(),
    hnp.unicode_string_dtypes(endianness="?", min_len=1, max_len=5),
    hnp.byte_string_dtypes(min_len=1, max_len=5),
)
ARRAYS = hnp.arrays(DTYPES, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))
here = settings(max_examples=150, deadline=None,
                suppress_health_check=[HealthCheck.function_scoped_fixture])  # fmt: skip


@here
@given(
    array=ARRAYS,
    turn=st.sampled_from(["C", "F", "transposed", "sliced"]),
    container=st.sampled_from([3, 4, 5, "npy"]),
    inside=st.booleans(),
)
def test_any_array_equals_numpys(tmp_path, array, turn, container, inside):
    array = np.asarray(array, order="F" if turn == "F" else "C")
    array = np.moveaxis(array, 0, -1) if turn == "transposed" and array.ndim else array
    array = array[::2] if turn == "sliced" and array.ndim else array
    path = write(tmp_path / "a.npy", {"x": [array, array]} if inside else array, container)
    value = pickles.read(path)
    expected = np.load(path, allow_pickle=True)
    expected = expected.item()["x"][0] if inside and container == "npy" else expected
    expected = expected["x"][0] if inside and container != "npy" else expected
    result = value["x"][1] if inside else value
    assert same(array, result) and same(expected, result)
    assert not result.flags.writeable


@pytest.mark.parametrize("container", [3, 4, 5, "npy"])
@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 1, 0), (1, 2, 0), (0, 2, 1)])
def test_every_memory_order(tmp_path, axes, container):
    array = np.arange(24.0).reshape(2, 3, 4).transpose(axes)
    read = pickles.read(write(tmp_path / "a.npy", array, container))
    assert same(array, read)
    if read.flags.c_contiguous == array.flags.c_contiguous:  # only then did numpy keep the order
        assert read.strides == array.strides


@pytest.mark.parametrize("core", ["numpy.core", "numpy._core"])
@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_pickles_of_numpy_1_and_numpy_2(tmp_path, core, protocol):
    data = pickle.dumps(RECORDING, protocol)
    data = data if protocol == 3 else without_frames(data)
    for name in (b"numpy._core.multiarray", b"numpy._core.numeric",
                 b"numpy.core.multiarray", b"numpy.core.numeric"):  # fmt: skip
        new = core.encode() + name[name.rindex(b".") :]
        data = data.replace(bytes([len(name)]) + name, bytes([len(new)]) + new)
        data = data.replace(b"c" + name, b"c" + new)
    assert core.encode() in data
    assert same(RECORDING, pickles.read(write(tmp_path / "a.npy", data, protocol)))


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_headers_of_every_version(tmp_path, version, order):
    array = np.asarray(RECORDING["preprocessed_eeg_data"], order=order)
    with open(tmp_path / "a.npy", "wb") as file:
        np.lib.format.write_array(file, array, version=version)
    read = pickles.read(tmp_path / "a.npy")
    assert same(array, read) and read.strides == array.strides


def test_big_array_is_a_map_of_the_file(tmp_path):
    """2 GB with a hole: opening must not read, copy or allocate the array."""
    shape, size = (992, 4, 63, 1000), 992 * 4 * 63 * 1000 * 8
    data = without_frames(pickle.dumps({"x": np.zeros((99, 4, 63, 0))}, 4))
    data = data.replace(b"Kc", b"M" + struct.pack("<H", 992))  # 99 images
    data = data.replace(b"K\0t", b"M" + struct.pack("<H", 1000) + b"t")  # 0 points, the last axis
    before, after = data.split(b"C\0")  # no bytes
    before += pickle.BINBYTES8 + struct.pack("<Q", size)
    with open(tmp_path / "big.npy", "wb") as file:
        file.write(before)
        file.seek(len(before) + size - 8)
        file.write(struct.pack("<d", 42.0) + after)
    start = time.perf_counter()
    array, peak = peak_memory(lambda: pickles.read(tmp_path / "big.npy")["x"])
    seconds = time.perf_counter() - start
    assert isinstance(array, np.memmap) and array.shape == shape
    assert array[-1, -1, -1, -1] == 42 and array[0, 0, 0, 0] == 0
    assert peak < 1_000_000 and seconds < 0.5


@pytest.mark.parametrize("container", [3, 4, 5, "npy"])
def test_truncated_anywhere(tmp_path, container):
    whole = write(tmp_path / "whole.npy", RECORDING, container).read_bytes()
    for length in [*range(0, len(whole), 13), len(whole) - 1]:
        path = write(tmp_path / "cut.npy", whole[:length])
        with pytest.raises(ValueError, match="cut.npy"):
            pickles.read(path)
    with pytest.raises(ValueError, match="4 bytes after the end"):
        pickles.read(write(path, whole + b"more"))


def test_plain_array_of_another_length_than_its_header_says(tmp_path):
    path = write(tmp_path / "a.npy", np.zeros((4, 5)), "npy")
    whole = path.read_bytes()
    for data, reason in (
        (whole[:-8], "but 152 are there"),
        (whole + b"8 bytes!", "but 168 are there"),
        (whole[:100], "header that is cut off"),
        (whole[:8] + b"\xff\xff" + whole[10:], "header that is cut off"),
        (whole.replace(b"(4, 5)", b"(4,-5)"), "plain array"),
    ):
        with pytest.raises(ValueError, match=f"a.npy: .*{reason}"):
            pickles.read(write(path, data))


@pytest.mark.parametrize(
    ("first", "said"),
    [
        (b"\x89HDF\r\n\x1a\n", "HDF5"),
        (b"PK\x03\x04....data.pkl", r"truncated zip file.*torch\.save"),
        (b"\x1f\x8b\x08", "gzip"),
        (b"MATLAB 7.3 MAT-file", "MATLAB"),
        (b"<!DOCTYPE html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1", "LFS"),
        (pickle.dumps(RECORDING, 2), "protocol 2"),
        (pickle.dumps([1], 0), r"starts with b'\(lp0"),
        (b"", "empty"),
        (pickle.dumps([1, 2], 4), "holds a list"),
        (pickle.dumps({1: 2}, 4), "keys that are not text"),
        (pickle.dumps({"a": b"raw"}, 4), "bare Span"),
        (pickle.dumps({"a": {1, 2}}, 4), "EMPTY_SET"),
    ],
)
def test_other_files_are_named(tmp_path, first, said):
    path = write(tmp_path / "other.npy", first)
    with pytest.raises(ValueError, match=rf"other\.npy: .*{said}"):
        pickles.read(path)


def test_missing_folders_and_structured_arrays(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere.npy"):
        pickles.read(tmp_path / "nowhere.npy")
    with pytest.raises(ValueError, match="folder"):
        pickles.read(tmp_path)
    np.save(tmp_path / "fields.npy", np.zeros(3, [("a", "f8")]))
    with pytest.raises(ValueError, match=r"fields.npy.*plain"):
        pickles.read(tmp_path / "fields.npy")
