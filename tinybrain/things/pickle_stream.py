"""Writes a dict with one large array as a pickle, a block at a time.

`pickle.dump` copies an array before it writes it: 8 GB for NICE's training file. Here the few
instructions that describe a dict of an array, names and numbers are spelled out (protocol 4, names
of numpy 1, which numpy 2 reads as well), and the bytes of the array follow as they are made. The
reader for such files is `pickles.py`.

Source of the instructions: pickletools in the standard library.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np

from ..files import write_atomically

Order = Literal["C", "F"]  # of an array's bytes in the file

PROTOCOL, END = b"\x80\x04", b"."
MARK, DICT, SET_ITEMS = b"(", b"}", b"u"
ARRAY = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R"
# Type <f8: little-endian, no fields, no subarray, plain alignment.
FLOAT64 = b"cnumpy\ndtype\nX\x02\x00\x00\x00f8\x89\x88\x87R"
FLOAT64 += b"(K\x03X\x01\x00\x00\x00<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
OBJECT = b"cnumpy\ndtype\nX\x02\x00\x00\x00O8\x89\x88\x87R"
OBJECT += b"(K\x03X\x01\x00\x00\x00|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK?tb"
# Before and after the dict in either container: np.save writes an array () of one object.
START = {"pickle": PROTOCOL, "npy": PROTOCOL + ARRAY + b"(K\x01)" + OBJECT + b"\x89]"}
FINISH = {"pickle": END, "npy": b"atb" + END}


def write_dict(
    path: str | Path,
    key: str,
    shape: tuple[int, ...],
    blocks: Iterable[np.ndarray],
    others: Mapping[str, object],
    order: Order = "C",
    container: str = "pickle",
) -> Path:
    """Write {key: float64 array, **others}, atomically and in bounded memory.

    Parameters
    ----------
    path : where; the folder is made if missing.
    key : the name of the large array, which comes first in the dict.
    shape : of the whole array.
    blocks : its parts in the order of its bytes: along the first axis if `order` is "C", along the
        last if it is "F". They are converted to float64.
    others : what else the dict holds: arrays of float64, and lists, text and numbers.
    container : "pickle", a bare one as NICE's files, or "npy", as np.save writes a dict.

    Returns
    -------
    `path` as a Path.

    Raises
    ------
    ValueError
        The blocks have more or fewer values than `shape`; no file is left behind.
    TypeError
        `others` holds something else, such as a dict.

    Examples
    --------
    >>> import tempfile
    >>> from tinybrain.things import pickles
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     blocks = (np.full((10, 63), i) for i in range(3))  # made when they are written
    ...     others = {"ch_names": ["O1"]}
    ...     content = pickles.read(write_dict(f"{folder}/x.npy", "data", (30, 63), blocks, others))
    >>> content["data"].shape, content["ch_names"]
    ((30, 63), ['O1'])
    """

    def write(file: BinaryIO) -> None:
        if container == "npy":
            header = {"descr": "|O", "fortran_order": False, "shape": ()}
            np.lib.format.write_array_header_1_0(file, header)
        file.write(START[container] + DICT + MARK + _plain(key))
        size = 8 * math.prod(shape)
        file.write(_array_start(shape, order) + b"\x8e" + struct.pack("<Q", size))
        written = sum(file.write(_bytes(block, order)) for block in blocks)
        if written != size:
            raise ValueError(f"{path}: {written} bytes came for shape {shape}, which has {size}")
        file.write(b"tb")
        for name, value in others.items():
            file.write(_plain(name))
            file.write(_whole_array(value) if isinstance(value, np.ndarray) else _plain(value))
        file.write(SET_ITEMS + FINISH[container])

    return write_atomically(path, write)


def _array_start(shape: tuple[int, ...], order: Order) -> bytes:
    """An array up to its bytes: version, shape, type, and whether it is in Fortran's order."""
    lengths = MARK + b"".join(_plain(int(length)) for length in shape) + b"t"
    return ARRAY + MARK + b"K\x01" + lengths + FLOAT64 + (b"\x88" if order == "F" else b"\x89")


def _whole_array(array: np.ndarray) -> bytes:
    content = _bytes(array, "C")
    return _array_start(array.shape, "C") + b"B" + struct.pack("<I", len(content)) + content + b"tb"


def _bytes(block: np.ndarray, order: Order) -> bytes:
    return np.asarray(block, "<f8").tobytes(order)


def _plain(value: object) -> bytes:
    """Text, numbers, and lists of them."""
    if isinstance(value, str):
        text = value.encode()
        return b"X" + struct.pack("<I", len(text)) + text
    if isinstance(value, int):
        return b"J" + struct.pack("<i", value)
    if isinstance(value, float):
        return b"G" + struct.pack(">d", value)
    if isinstance(value, (list, tuple)):
        return b"](" + b"".join(_plain(item) for item in value) + b"e"
    raise TypeError(f"a {type(value).__name__}; wanted arrays, text, numbers, or lists of them")
