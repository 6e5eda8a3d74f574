"""Tensors out of the two containers that weights travel in, without running what is in them.

    read_torch        a zip file from torch.save (a state dict, or a checkpoint that has one under
                      "state_dict") or from torch.jit.save (TorchScript, as OpenAI's ViT-L-14.pt):
                      NAME/data.pkl, a pickle, and NAME/data/0, 1, ..., the numbers
    read_safetensors  the length of a header (8 bytes), the header (JSON), then the numbers

`machine.py` follows the pickle without running it; code in a TorchScript file is not even read.

Tensors are views of a private memory map: those of safetensors are not read before they are used,
those of torch once, for their checksum. Writing to one does not change the file; but the file must
stay as it is as long as they live.

Source of the second format: the readme of huggingface/safetensors.
"""

from __future__ import annotations

import json
import math
import mmap
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..messages import first_few
from .machine import STORAGES, Machine, Module, Sketch, Storage, lengths

# Those of ViT-L/14 have 100,000 bytes, with the state of its optimizer 1 MB.
MAX_PICKLE = 32 << 20
MAX_HEADER = 16 << 20
MAX_NODES = 100_000  # modules and their attributes; ViT-L/14 has a few thousand
MAX_PATH = 500  # letters in the name of a tensor
MAX_SHARED = 4  # tensors may share numbers; so many times the size of the file is not sharing

CODES = ("F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U8", "BOOL")
DTYPES = dict(zip(CODES, STORAGES.values(), strict=True))
LEGACY = (
    "a bare pickle, as torch.save wrote before torch 1.6; read it where you trust it "
    "(torch.load with weights_only=True), save the state dict again with torch.save"
)


def read_torch(path: str | Path) -> dict[str, Tensor]:
    """Read the tensors of a file from ``torch.save`` or ``torch.jit.save``.

    Returns
    -------
    dict of str to Tensor
        Of a state dict its entries, or those under "state_dict"; of TorchScript the parameters and
        other tensors by their path of attributes. Views of the file, see the top of this module.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        Damaged, truncated, of another kind, or it asks for more than data. The file is named.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     torch.save({"scale": torch.ones(3)}, f"{folder}/weights.pt")
    ...     read_torch(f"{folder}/weights.pt")
    {'scale': tensor([1., 1., 1.])}
    """
    try:
        return TorchZip(Path(path)).tensors()
    except (zipfile.BadZipFile, NotImplementedError, struct.error) as error:
        raise ValueError(f"{path}: a damaged or truncated zip file: {error}") from None
    except (ValueError, RuntimeError, OverflowError) as error:
        raise ValueError(f"{path}: {error}") from None


def read_safetensors(path: str | Path) -> dict[str, Tensor]:
    """Read the tensors of a safetensors file.

    Returns
    -------
    dict of str to Tensor
        Views of the file, see the top of this module.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        Damaged, truncated or of another kind. The file is named.
    """
    try:
        whole = _map(Path(path))
        size = int.from_bytes(whole[:8], "little")
        if not 2 <= size <= min(MAX_HEADER, len(whole) - 8):
            came = f"its first 8 bytes announce a header of {size} bytes, it has {len(whole)}"
            raise ValueError(f"{came}: truncated, or no safetensors file")
        header = json.loads(whole[8 : 8 + size].decode(), object_pairs_hook=_once)
        return _from_header(whole, 8 + size, header)
    except RecursionError:
        raise ValueError(f"{path}: damaged: a header of lists in lists without end") from None
    except (ValueError, RuntimeError) as error:
        raise ValueError(f"{path}: {error}") from None


def _map(path: Path) -> mmap.mmap:
    if not path.exists():
        raise FileNotFoundError(f"{path}: there is no such file")
    if not path.is_file() or not path.stat().st_size:
        raise ValueError("a folder or an empty file; wanted a file with weights")
    with open(path, "rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)


def _flat(whole: mmap.mmap, start: int, size: int, dtype: torch.dtype) -> Tensor:
    """Bytes of the file as a vector of numbers."""
    if size == 0:
        return torch.empty(0, dtype=dtype)
    raw = torch.frombuffer(whole, dtype=torch.uint8, count=size, offset=start)
    if dtype == torch.bool:
        return raw != 0  # other bytes than 0 and 1 are no booleans
    aligned = raw.data_ptr() % dtype.itemsize == 0
    return (raw if aligned else raw.clone()).view(dtype)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    entries = dict(pairs)
    if len(entries) != len(pairs):
        raise ValueError("damaged: a name stands twice in the header")
    return entries


def _from_header(whole: mmap.mmap, start: int, header: object) -> dict[str, Tensor]:
    """The tensors that the header describes; their bytes, from `start` on, leave no gap."""
    if type(header) is not dict:
        raise ValueError("damaged: the header is not a JSON object")
    there, tensors, places = len(whole) - start, {}, []
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        if type(entry) is not dict or not {"dtype", "shape", "data_offsets"} <= set(entry):
            raise ValueError(f"damaged: {name[:80]!r} lacks a dtype, a shape or data_offsets")
        if (dtype := DTYPES.get(str(entry["dtype"]))) is None:
            came = str(entry["dtype"])[:20]
            raise ValueError(f"{name[:80]!r} is of type {came!r}; this reads {', '.join(CODES)}")
        shape, place = lengths(entry["shape"]), lengths(entry["data_offsets"])
        size = math.prod(shape) * dtype.itemsize
        if len(place) != 2 or place[1] - place[0] != size or place[1] > there:
            came = f"but the header gives it {place} of {there}: truncated or damaged"
            raise ValueError(f"{name[:80]!r} is {size} bytes, {came}")
        tensors[name] = _flat(whole, start + place[0], size, dtype).view(shape)
        places.append(place)
    places = sorted(places)
    if [0, *(last for _, last in places)] != [*(first for first, _ in places), there]:
        raise ValueError(f"damaged: its tensors overlap or do not fill the {there} bytes of data")
    return tensors


class TorchZip:
    """A zip file from torch; its entries are not compressed and can be mapped."""

    def __init__(self, path: Path) -> None:
        self.whole = _map(path)
        if self.whole[:1] == b"\x80":
            raise ValueError(LEGACY)
        if self.whole[:4] != b"PK\x03\x04":
            raise ValueError(f"starts with {self.whole[:8]!r}; wanted a zip file from torch.save")
        with zipfile.ZipFile(path) as file:
            self.directory = file.start_dir
            self.entries = {entry.filename: entry for entry in file.infolist()}
            if len(self.entries) != len(file.infolist()):
                raise ValueError("damaged: a name stands twice in the zip file")
        programs = [name for name in self.entries if name.split("/")[1:] == ["data.pkl"]]
        if len(programs) != 1:
            raise ValueError("a zip file, but not from torch.save: it lacks NAME/data.pkl")
        self.root = programs[0].removesuffix("data.pkl")
        if f"{self.root}byteorder" in self.entries and self.read("byteorder", 16) != b"little":
            raise ValueError("written on a big-endian machine; save it again on another")
        self.vectors: dict[Storage, Tensor] = {}

    def place(self, name: str) -> tuple[int, int]:
        """Where the bytes of an entry start and end, once they agree with their checksum."""
        if (entry := self.entries.get(self.root + name)) is None:
            raise ValueError(f"damaged: it lacks {self.root + name[:80]!r}")
        if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1:
            raise ValueError(f"{entry.filename!r} is compressed or encrypted; torch does neither")
        local = self.whole[entry.header_offset : entry.header_offset + 30]
        magic, name_length, extra_length = struct.unpack("<4s22xHH", local)
        start = entry.header_offset + 30 + name_length + extra_length
        end = start + entry.file_size
        inside = 0 <= entry.header_offset < end <= self.directory
        if magic != b"PK\x03\x04" or entry.file_size != entry.compress_size or not inside:
            raise ValueError(f"damaged: {entry.filename!r} is not where it should be")
        with memoryview(self.whole) as view, view[start:end] as content:
            if zlib.crc32(content) != entry.CRC:
                raise ValueError(f"damaged: {entry.filename!r} has another checksum")
        return start, end

    def read(self, name: str, most: int) -> bytes:
        start, end = self.place(name)
        if end - start > most:
            raise ValueError(f"{name} has {end - start} bytes; wanted at most {most}")
        return self.whole[start:end]

    def tensors(self) -> dict[str, Tensor]:
        top = Machine().run(self.read("data.pkl", MAX_PICKLE))
        if type(top) is dict and type(top.get("state_dict")) is dict:
            top = top["state_dict"]
        sketches = dict(_leaves(top) if type(top) is Module else _entries(top))
        claimed = sum(math.prod(s.shape) * s.storage.dtype.itemsize for s in sketches.values())
        if claimed > MAX_SHARED * len(self.whole):
            raise ValueError(f"refused: {claimed} bytes of tensors in a file of {len(self.whole)}")
        return {name: self.tensor(name, sketch) for name, sketch in sketches.items()}

    def tensor(self, name: str, sketch: Sketch) -> Tensor:
        storage, shape, strides = sketch.storage, sketch.shape, sketch.strides
        count = math.prod(shape)
        steps = zip(shape, strides, strict=False)
        last = sketch.offset + sum((length - 1) * step for length, step in steps)
        inside = count <= storage.count and (not count or last < storage.count)
        if len(shape) != len(strides) or not inside:
            there = f"its storage has {storage.count} numbers"
            raise ValueError(f"damaged: {name!r} is {shape}, strides {strides}; {there}")
        if storage not in self.vectors:
            start, end = self.place(f"data/{storage.key}")
            if storage.count * storage.dtype.itemsize != end - start:
                came = f"{end - start} bytes, {storage.count} of {storage.dtype} were wanted"
                raise ValueError(f"damaged: data/{storage.key} has {came}")
            self.vectors[storage] = _flat(self.whole, start, end - start, storage.dtype)
        return self.vectors[storage].as_strided(shape, strides, sketch.offset if count else 0)


def _leaves(top: Module) -> Iterator[tuple[str, Sketch]]:
    """The tensors of a tree of modules by their path of attributes."""
    todo, nodes = [("", top)], 0
    while todo:
        path, module = todo.pop()
        nodes += 1 + len(module.state)
        if nodes > MAX_NODES or len(path) > MAX_PATH:
            raise ValueError("refused: modules in modules without end")
        for name, value in module.state.items():
            if type(value) is Sketch:
                yield f"{path}{name}", value
            elif type(value) is Module:
                todo.append((f"{path}{name}.", value))


def _entries(top: object) -> Iterator[tuple[str, Sketch]]:
    """The tensors of a state dict, which holds nothing else."""
    if type(top) is not dict or not top:
        raise ValueError("it holds no dict, or an empty one; wanted a state dict of tensors")
    for name, value in top.items():
        if type(value) is not Sketch or type(name) is not str:
            keys = first_few(top, 10)
            came = f"{str(name)[:80]!r} is a {type(value).__name__}; its keys are {keys}"
            raise ValueError(f"wanted a state dict of tensors by name, {came}")
        yield name, value
