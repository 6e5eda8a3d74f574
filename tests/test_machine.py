"""The pickle machine on hostile and damaged files: nothing runs, nothing grows without bounds."""

from __future__ import annotations

import contextlib
import functools
import io
import operator
import os
import pathlib
import pickle
import pickletools
import struct
import subprocess

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.pickled import refused_in_bounded_memory, write
from tinybrain.things import machine, pickles

RECORDING = {
    "preprocessed_eeg_data": np.arange(2 * 3 * 5.0).reshape(2, 1, 3, 5),
    "ch_names": ["Pz", "Oz", "Größe"],
    "times": np.linspace(-0.2, 0.4, 5),
    "files": np.array(["aardvark_01b.jpg", "ä.jpg"]),
    "objects": np.array([["a", None], [{"x": 1.5}, [True, -3, 2**70]]], dtype=object),
    "scalars": [np.float32(1.5), np.bool_(True), np.str_("Cz"), 2.5, 70_000, (1,)],
}


class Calls:
    """A pickle of it calls a function as soon as pickle loads it."""

    def __init__(self, function, *args):
        self.call = (function, args)

    def __reduce__(self):
        return self.call


def text(value: str) -> bytes:
    return pickle.BINUNICODE + struct.pack("<I", len(value)) + value.encode()


def hostile(canary: str) -> dict[str, object]:
    """Files that create the canary when np.load(allow_pickle=True) reads them."""
    touch, code = f"touch {canary}", f"open({canary!r}, 'w').close()"
    opened = Calls(open, canary, "w")
    return {
        "os.system": Calls(os.system, touch),
        "exec": Calls(exec, code),
        "eval": {**RECORDING, "note": [Calls(eval, code)]},
        "open": opened,
        "subprocess": Calls(subprocess.check_call, ["touch", canary]),
        "Path.touch": Calls(pathlib.Path.touch, pathlib.Path(canary)),
        "methodcaller": Calls(operator.methodcaller("mkdir"), pathlib.Path(canary)),
        "partial": Calls(functools.partial(os.mkdir, canary)),
        "numpy.memmap": Calls(np.memmap, canary, "u1", "w+", 0, 1),
        "object array": np.array([1, opened], dtype=object),
        "dtype metadata": {"x": np.zeros(2, np.dtype("f8", metadata={"a": opened}))},
        "INST": b"\x80\x04(" + text(canary) + b"ios\nmkdir\n.",
        "OBJ": b"\x80\x04(cos\nmkdir\n" + text(canary) + b"o.",
        "after an array": b"\x80\x04(" + pickle.dumps(np.zeros(3), 4)[2:-1] + b"cos\nmkdir\n"
        + text(canary) + b"\x85Rl.",
    }  # fmt: skip


@pytest.mark.parametrize("container", [3, 4, 5, "npy"])
@pytest.mark.parametrize("name", list(hostile("x")))
def test_hostile_pickles_are_refused_and_not_run(tmp_path, name, container):
    canary = tmp_path / "canary"
    value = hostile(str(canary))[name]
    if isinstance(value, bytes) and container == "npy":
        header = io.BytesIO()
        np.lib.format.write_array(header, np.array(None), allow_pickle=True)
        value, container = header.getvalue()[:128] + value, 4  # 128: the header of np.save
    path = write(tmp_path / "evil.npy", value, container)
    with pytest.raises(ValueError, match="evil.npy"):
        pickles.read(path)
    assert not canary.exists()
    with contextlib.suppress(Exception):  # what comes after the harm does not matter
        np.load(path, allow_pickle=True)
    assert canary.exists(), "the file was not hostile"


@pytest.mark.parametrize("name", ["os.system", "evil.ndarray", "numpy.save"])
def test_a_forbidden_name_is_told(tmp_path, name):
    path = write(tmp_path / "evil.npy", b"\x80\x04c" + name.replace(".", "\n").encode() + b"\n.")
    with pytest.raises(pickles.UnsafePickle, match=rf"evil.npy: refused.*'{name}'"):
        pickles.read(path)


def test_persistent_ids_and_extensions_are_refused(tmp_path):
    for number, data in enumerate((b"Pid\n.", b"Nq\x00Q.", b"\x82\x01.", b"\x97.", b"NN\x81.")):
        path = write(tmp_path / f"{number}.npy", b"\x80\x05" + data)
        with pytest.raises(pickles.UnsafePickle, match=rf"{number}.npy: .*instruction [A-Z]"):
            pickles.read(path)


def array_pickle(shape, dtype="f8", content=b"four"):
    """A pickle of an array that claims a shape and a type, whatever its content."""
    function, args, _ = np.empty(0).__reduce__()
    claim = Calls(function, *args)
    claim.call += ((1, shape, np.dtype(dtype), False, content),)
    return pickle.dumps(claim, 4)


BOMBS = {
    "nested lists": (b"]" * 40_000 + b"a" * 39_999 + b".", "without end"),
    "a list in itself": (b"]\x94(" + b"h\x00" * 10 + b"e.", "without end"),
    "laughs": (
        b"(]\x94" + b"".join(b"](" + b"h%c" % i * 10 + b"e\x94" for i in range(12)) + b"t.",
        "without end",
    ),
    "steps": (b"(" + b"N" * 100_001 + b"t.", "instructions"),
    "bytes": (pickle.BINBYTES8 + b"\xff" * 7 + b"\x7f" + b".", "truncated"),
    "text": (pickle.BINUNICODE8 + b"\xff" * 7 + b"\x7f" + b".", "bytes of text"),
    "long": (pickle.LONG4 + b"\xff\xff\xff\x7f" + b".", "LONG4"),
    "memo": (b"]r\xff\xff\xff\xff.", "holds a list"),
    "shape": (array_pickle((2**40, 2**40)), "truncated"),
    "empty but wide": (array_pickle((0, 2**61, 2**61), content=b""), "shape|big|large"),
    "many axes": (array_pickle((1,) * 60), "32 lengths"),
    "nested shape": (array_pickle((1,)).replace(b"K\x01\x85", b"]" * 9999 + b"a" * 9998), "32"),
    "scalar": (pickle.dumps([np.str_("a" * 1000)], 4), "scalar"),
    "not utf-8": (pickle.SHORT_BINUNICODE + b"\x01\xff.", "a damaged pickle"),
    "too many bytes": (array_pickle((1,), content=bytes(16)), "but 16 are there"),
    "negative": (array_pickle((-1, -4)), "whole numbers"),
    "pointers": (array_pickle((1,), "O", b"8 bytes!"), "without content"),
    "itemsize": (array_pickle((1,)).replace(b"\x8c\x02f8", b"\x8c\x0bU2147483647"), "elements"),
    "few objects": (array_pickle((3,), "O", [None]), "an array of 1 objects"),
    "no characters": (array_pickle((1,), "U1", b"\xff" * 4), "no characters"),
}


@pytest.mark.parametrize("name", list(BOMBS))
def test_bombs_are_refused_in_bounded_memory(tmp_path, name, monkeypatch):
    data, reason = BOMBS[name]
    path = write(tmp_path / "bomb.npy", data if data[:1] == b"\x80" else b"\x80\x04" + data)
    refused_in_bounded_memory(monkeypatch, path, reason)


def test_text_in_arrays_counts_as_text(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "MAX_TEXT", 1000)
    path = write(tmp_path / "bomb.npy", {"x": np.array(["abc"] * 100)})
    with pytest.raises(pickles.UnsafePickle, match="1000 bytes of text"):
        pickles.read(path)


CODES = [op.code.encode("latin1") for op in pickletools.opcodes]


@settings(max_examples=200, deadline=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture])  # fmt: skip
@given(data=st.data(), container=st.sampled_from([3, 4, 5, "npy"]),
       value=st.sampled_from([RECORDING, RECORDING["times"]]))  # fmt: skip
def test_damaged_files_give_values_or_value_errors(tmp_path, data, container, value):
    path = write(tmp_path / "damaged.npy", value, container)
    blob = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 6))):
        # Instructions lie at both ends; the middle is mostly signal.
        at = data.draw(st.integers(0, len(blob)) | st.integers(0, min(300, len(blob))))
        size = data.draw(st.sampled_from([0, 1, 1, 1, 2, 8]))
        blob[at : at + size] = data.draw(st.binary(max_size=3) | st.sampled_from(CODES))
    path.write_bytes(blob)
    try:
        read = pickles.read(path)
    except ValueError as error:
        assert "damaged.npy" in str(error)
    else:
        assert isinstance(read, (dict, np.ndarray)) and repr(read)
