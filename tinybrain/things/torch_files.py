"""Dicts of arrays and tensors from torch.save, mapped and not loaded.

Such a file is a zip file whose entries are not compressed: NAME/data.pkl, a pickle, and the numbers
of tensor k in NAME/data/k (see `untrusted/archive.py`). Numpy arrays, as UBP's files have them,
lie in the pickle itself: from protocol 3 on as bytes, which are mapped; under protocol 2, which
torch takes unless told otherwise, as text, which is decoded while there is little of it.
"""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from ..untrusted.archive import TorchZip
from ..untrusted.machine import STORAGES, Sketch, Storage, lengths
from .machine import STEPS, Array, Machine, Span, UnsafePickle, Word, view

TENSOR = "torch._utils _rebuild_tensor_v2"
DICT = "collections OrderedDict"
ENCODE = "_codecs encode"  # of text, into the bytes that protocol 2 cannot hold
NAMES = {TENSOR, DICT, ENCODE, *(f"torch {name}" for name in STORAGES)}


def read_torch(path: str | Path) -> object:
    """What torch.save wrote: dicts, lists, text, numbers, and arrays in place of tensors.

    Raises ValueError; the caller names the file.
    """
    try:
        archive = TorchZip(Path(path))
        start, end = archive.place("data.pkl")
        return TorchMachine(archive, start, end).run()
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        came = f"a damaged or truncated zip file, of torch.save or np.savez ({str(error)[:80]})"
        raise ValueError(f"{came}; wanted one that torch.save wrote") from None


class TorchMachine(Machine):
    """A `Machine` that also knows tensors, and bytes that were written as text."""

    protocols: ClassVar[tuple[int, ...]] = (2, 3, 4, 5)
    steps = STEPS | {b"Q": lambda m: m.storage(m.last(1)[0])}  # BINPERSID

    def __init__(self, archive: TorchZip, start: int, end: int):
        super().__init__(np.frombuffer(archive.whole, np.uint8)[:end], start)
        self.archive = archive

    def spend(self, size: int) -> int:
        try:
            return super().spend(size)
        except UnsafePickle as error:
            raise UnsafePickle(
                f"{error}; numpy arrays are text in files of protocol 2: read it where you trust "
                "it, and save it again with torch.save(..., pickle_protocol=5)"
            ) from None

    def find(self, module: str, name: str) -> None:
        if f"{module} {name}" in NAMES:
            self.push(Word(f"{module} {name}"))
        else:
            super().find(module, name)

    def storage(self, key: tuple[Any, ...]) -> None:
        """The numbers that a persistent id stands for; where they once lay does not matter."""
        kind, word, name, _, count = key
        dtype = STORAGES.get(word.name.removeprefix("torch "))
        if kind != "storage" or dtype is None or type(name) is not str or type(count) is not int:
            raise ValueError("damaged: what should be a storage is none")
        self.push(Storage(dtype, name, count))

    def reduce(self) -> None:
        word, args = self.stack[-2:]
        if word.name not in NAMES:
            super().reduce()
            return
        self.last(2)
        if word.name == DICT and not args:
            self.push({})
        elif word.name == ENCODE and type(args[0]) is str and args[1] == "latin1":
            self.push(args[0].encode("latin1"))
        elif word.name == TENSOR and type(args[0]) is Storage:
            (offset,), shape, strides = lengths((args[1],)), lengths(args[2]), lengths(args[3])
            self.push(Sketch(args[0], offset, shape, strides))
        else:
            raise UnsafePickle(f"it would call {word.name} with values it does not take")

    def plain(self, value: object, depth: int) -> object:
        if not isinstance(value, Sketch):
            return super().plain(value, depth)
        if value.storage.dtype == torch.bfloat16:
            raise ValueError("a tensor of bfloat16, which numpy lacks: save it again as float32")
        return self.archive.tensor("a tensor", value).numpy()

    def array(self, array: Array, depth: int) -> np.ndarray:
        if not isinstance(array.content, bytes):
            return super().array(array, depth)
        content = np.frombuffer(array.content, np.uint8)
        return view(content, replace(array, content=Span(0, len(content))))
