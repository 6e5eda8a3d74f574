"""A pickle machine that can describe tensors and nothing else.

A pickle is a program for a small stack machine. Python's own machine may import and call anything,
so a file from a stranger may do anything. This one knows only the instructions that state dicts
and TorchScript need. It imports nothing and calls nothing: a global is a `Word` of a fixed list, a
module of TorchScript is a `Module` that keeps its attributes, and a tensor is a `Sketch` of where
its numbers lie, to be checked against the file before it is made.

Source of the instructions: pickletools in the standard library, which also takes a pickle apart
into them. What calls and persistent ids mean: the files that torch.save and torch.jit.save write.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from .stack import Stack

# A checkpoint of ViT-L/14 with the state of its optimizer takes 50,000.
MAX_STEPS = 300_000
MAX_AXES = 16

STORAGES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
FIRST_ARGUMENT = {  # what calling these gives is their first argument, as far as data go
    "torch._utils _rebuild_parameter",
    "torch Size",
    "torch.jit._pickle build_intlist",
    "torch.jit._pickle build_doublelist",
    "torch.jit._pickle build_boollist",
    "torch.jit._pickle build_tensorlist",
    "torch.jit._pickle build_tensor_from_id",
    "torch.jit._pickle restore_type_tag",
}
WORDS = (
    FIRST_ARGUMENT
    | {"torch._utils _rebuild_tensor_v2", "collections OrderedDict"}
    | {f"torch {name}" for name in STORAGES}
    | {str(dtype).replace(".", " ") for dtype in STORAGES.values()}
)


def lengths(value: Any) -> tuple[int, ...]:
    """A shape, strides or places, once they are whole numbers from 0 up that torch can hold."""
    if type(value) not in (list, tuple) or len(value) > MAX_AXES:
        raise ValueError(f"damaged: a tensor's shape is no list of at most {MAX_AXES} lengths")
    if not all(type(length) is int and 0 <= length < 1 << 40 for length in value):
        raise ValueError("damaged: a tensor's shape has impossible lengths")
    return tuple(value)


@dataclass(frozen=True)
class Word:
    """A name of Python's or TorchScript's: a word, not the thing."""

    name: str


@dataclass(frozen=True)
class Storage:
    """Numbers in the entry NAME/data/`key`."""

    dtype: torch.dtype
    key: str
    count: int


@dataclass(frozen=True)
class Sketch:
    """A tensor that was described and is not yet made."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


@dataclass(eq=False)
class Module:
    """A module of TorchScript: its attributes and nothing of its class."""

    state: dict[str, Any] = field(default_factory=dict)


class Machine(Stack):
    """A pickle machine that can only describe tensors; `run` follows one pickle."""

    def run(self, program: bytes) -> object:
        """What the pickle describes: dicts, lists, text, numbers, modules and sketches."""
        for count, (op, value, at) in enumerate(pickletools.genops(program)):
            if count == MAX_STEPS:
                raise ValueError(f"data.pkl has more than {MAX_STEPS} instructions")
            if op.name not in STEPS:
                raise _unsafe(f"would run the instruction {op.name}, which tensors do not need")
            try:
                STEPS[op.name](self, value)
            except (AttributeError, IndexError, KeyError, TypeError):
                raise ValueError(f"data.pkl is damaged at its byte {at}, {op.name}") from None
        if len(self.stack) != 1 or self.marks:
            raise ValueError(f"data.pkl is damaged: it ends with {len(self.stack)} values")
        return self.stack[0]

    def append(self, values: list[Any]) -> None:
        if type(self.stack[-1]) is not list:
            raise TypeError
        self.stack[-1].extend(values)

    def set_items(self, values: list[Any]) -> None:
        target, keys = self.stack[-1], values[::2]
        if type(target) is not dict or not {type(key) for key in keys} <= {str, int}:
            raise TypeError
        target.update(zip(keys, values[1::2], strict=True))

    def find(self, name: str) -> None:
        """Where Python would import, push a word or refuse."""
        if name not in WORDS and not name.startswith(("__torch__ ", "__torch__.")):
            raise _unsafe(f"asks for {name.replace(' ', '.')[:80]!r}")
        self.push(Word(name))

    def storage(self, key: object) -> None:
        """The numbers that a persistent id stands for; where they once lay does not matter."""
        kind, word, name, _, count = key if type(key) is tuple and len(key) == 5 else (None,) * 5
        dtype = STORAGES.get(word.name.removeprefix("torch ")) if type(word) is Word else None
        if kind != "storage" or dtype is None or type(name) is not str or type(count) is not int:
            raise ValueError("data.pkl is damaged: what should be a storage is none")
        self.push(Storage(dtype, name, count))

    def reduce(self) -> None:
        """Where Python would call, push a dict, a sketch or the first argument."""
        word, args = self.last(2)
        name = word.name if type(word) is Word and type(args) is tuple else "what is no function"
        if name == "collections OrderedDict" and not args:
            self.push({})
        elif name == "torch._utils _rebuild_tensor_v2" and type(args[0]) is Storage:
            (offset,), shape, strides = map(lengths, ((args[1],), *args[2:4]))
            self.push(Sketch(args[0], offset, shape, strides))
        elif name in FIRST_ARGUMENT and args:
            self.push(args[0])
        else:
            raise _unsafe(f"would call {name.replace(' ', '.')[:80]} with values it does not take")

    def new(self) -> None:
        """Where Python would make an object of a class, push a module."""
        word, args = self.last(2)
        if type(word) is not Word or not word.name.startswith("__torch__") or args != ():
            raise _unsafe("would make an object that is no module of TorchScript")
        self.push(Module())

    def build(self) -> None:
        """Where Python would set any attribute, give a module its own."""
        (state,), target = self.last(1), self.stack[-1]
        if type(target) is Module and type(state) is dict:
            target.state = state
        elif type(target) is not dict or type(state) is not dict or set(state) != {"_metadata"}:
            raise _unsafe(f"would set attributes of a {type(target).__name__}")
        # What is left is torch's note on versions beside a state dict; it holds no tensor.


def _unsafe(what: str) -> ValueError:
    return ValueError(f"refused, nothing in it was run: it {what}; wanted a state dict of tensors")


STEPS: dict[str, Callable[[Machine, Any], object]] = {
    "BINUNICODE": lambda m, text: m.push(text),
    "SHORT_BINUNICODE": lambda m, text: m.push(text),
    "BININT": lambda m, number: m.push(number),
    "BININT1": lambda m, number: m.push(number),
    "BININT2": lambda m, number: m.push(number),
    "LONG1": lambda m, number: m.push(number),
    "BINFLOAT": lambda m, number: m.push(number),
    "PROTO": lambda m, _: None,
    "FRAME": lambda m, _: None,
    "STOP": lambda m, _: None,
    "NONE": lambda m, _: m.push(None),
    "NEWTRUE": lambda m, _: m.push(True),
    "NEWFALSE": lambda m, _: m.push(False),
    "MARK": lambda m, _: m.marks.append(len(m.stack)),
    "EMPTY_TUPLE": lambda m, _: m.push(()),
    "TUPLE": lambda m, _: m.push(tuple(m.since_mark())),
    "TUPLE1": lambda m, _: m.push(tuple(m.last(1))),
    "TUPLE2": lambda m, _: m.push(tuple(m.last(2))),
    "TUPLE3": lambda m, _: m.push(tuple(m.last(3))),
    "EMPTY_LIST": lambda m, _: m.push([]),
    "APPEND": lambda m, _: m.append(m.last(1)),
    "APPENDS": lambda m, _: m.append(m.since_mark()),
    "EMPTY_DICT": lambda m, _: m.push({}),
    "SETITEM": lambda m, _: m.set_items(m.last(2)),
    "SETITEMS": lambda m, _: m.set_items(m.since_mark()),
    "MEMOIZE": lambda m, _: m.remember(len(m.memo)),
    "BINPUT": lambda m, index: m.remember(index),
    "LONG_BINPUT": lambda m, index: m.remember(index),
    "BINGET": lambda m, index: m.push(m.memo[index]),
    "LONG_BINGET": lambda m, index: m.push(m.memo[index]),
    "GLOBAL": lambda m, name: m.find(name),
    "STACK_GLOBAL": lambda m, _: m.find(" ".join(m.last(2))),
    "BINPERSID": lambda m, _: m.storage(m.last(1)[0]),
    "REDUCE": lambda m, _: m.reduce(),
    "NEWOBJ": lambda m, _: m.new(),
    "BUILD": lambda m, _: m.build(),
}
