"""Dicts with a large array written block by block, read by pickle, by numpy and by our reader."""

from __future__ import annotations

import pickle
import pickletools

import numpy as np
import pytest

from tests.memory import peak_memory
from tinybrain.things import pickles
from tinybrain.things.pickle_stream import write_dict

OTHERS = {"ch_names": ["Fp1", "Ωz"], "times": np.arange(3) / 7, "sfreq": 1000, "lowpass": 0.01,
          "empty": []}  # fmt: skip


@pytest.mark.parametrize("container", ["pickle", "npy"])
@pytest.mark.parametrize(("order", "axis"), [("C", 0), ("F", -1)])
def test_everybody_reads_the_same(tmp_path, container, order, axis):
    data = np.random.default_rng(0).standard_normal((7, 2, 5))
    blocks = np.array_split(data, 3, axis=axis)
    file = write_dict(tmp_path / "a/b.npy", "data", data.shape, blocks, OTHERS, order, container)
    assert pickles.container(file) == container
    if container == "npy":
        read = np.load(file, allow_pickle=True).item()
    else:
        read = pickle.loads(file.read_bytes())
    for content in (read, pickles.read(file)):
        assert list(content) == ["data", *OTHERS]
        np.testing.assert_array_equal(content["data"], data)
        assert content["data"].dtype == np.float64
        np.testing.assert_array_equal(content["times"], OTHERS["times"])
        assert all(content[key] == OTHERS[key] for key in OTHERS if key != "times")


def test_it_is_protocol_4_by_names_that_old_and_new_numpy_know(tmp_path):
    file = write_dict(tmp_path / "x.npy", "data", (2, 3), [np.ones((2, 3), np.float32)], OTHERS)
    steps = list(pickletools.genops(file.read_bytes()))
    assert steps[0][1] == 4
    words = {argument for op, argument, _ in steps if op.name == "GLOBAL"}
    assert words == {"numpy.core.multiarray _reconstruct", "numpy ndarray", "numpy dtype"}


@pytest.mark.parametrize("rows", [1, 3])
def test_too_few_or_too_many_values_leave_nothing(tmp_path, rows):
    with pytest.raises(ValueError, match="bytes came for shape"):
        write_dict(tmp_path / "x.npy", "data", (2, 3), [np.ones((rows, 3))], {})
    assert list(tmp_path.iterdir()) == []


def test_what_it_cannot_write_leaves_nothing(tmp_path):
    with pytest.raises(TypeError, match="a dict; wanted arrays, text, numbers, or lists of them"):
        write_dict(tmp_path / "x.npy", "data", (1,), [np.ones(1)], {"more": {"a": 1}})
    assert list(tmp_path.iterdir()) == []


def test_only_a_block_is_in_memory(tmp_path):
    def write():
        blocks = (np.full((10, 1000), row, float) for row in range(200))
        return write_dict(tmp_path / "x.npy", "data", (2000, 1000), blocks, {})

    file, peak = peak_memory(write)
    assert file.stat().st_size > 16e6 and peak < 1e6
