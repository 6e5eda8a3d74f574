"""A pickle machine that can describe data and nothing else.

A pickle is a program for a small stack machine. Python's own machine may import and call anything,
so a file from a stranger may do anything. This one knows only the instructions that dicts, lists,
text, numbers and numpy arrays need (protocols 3, 4 and 5), and numpy's names are words to it that
it recognises. Where Python would import, call, or set attributes, it imports nothing, calls
nothing, and writes down the type, the shape and the place of an array (`find`, `reduce`, `build`).

The bytes of an array lie in the file in one piece; they are not copied: `view` gives the array as
a read-only view of the memory map `whole`.

Source of the instructions: pickletools in the standard library.
"""

from __future__ import annotations

import math
import pickletools
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, cast

import numpy as np

from ..untrusted.stack import Stack

# Names and files of all 16,740 images take 0.3 million instructions and 3 MB of text; UBP's
# features of all training images take 1.1 million.
MAX_STEPS = 2_000_000
MAX_TEXT = 64_000_000  # bytes
MAX_DEPTH = 16
MAX_AXES = 32
MAX_SCALAR = 1024  # bytes

DTYPE = re.compile(r"([<>|])(b1|[iu][1248]|f[248]|c8|c16|O8?|[US][1-9]\d{0,4})")
MODULES = ("numpy",) + tuple(
    f"numpy.{core}.{part}"
    for core in ("core", "_core")  # numpy 1, numpy 2
    for part in ("multiarray", "numeric")
)
WORDS = ("ndarray", "dtype", "_reconstruct", "scalar", "_frombuffer")


class UnsafePickle(ValueError):
    """The file asks for more than data: foreign code, or memory without bounds."""


@dataclass(frozen=True)
class Word:
    """One of numpy's names: a word, not the thing."""

    name: str


@dataclass(frozen=True)
class Span:
    """Bytes in the file that were not read."""

    start: int
    size: int


@dataclass(eq=False)
class Dtype:
    """The type of an array's elements; its byte order comes later than its code."""

    code: str
    value: np.dtype | None = None


@dataclass(eq=False)
class Array:
    """An array in the file: in `content` its bytes, or a list if its elements are objects.

    What a damaged file says of it may be anything; `view` and `Machine.array` find out.
    """

    content: Span | bytes | list[object] | None = None
    dtype: np.dtype | None = None
    shape: tuple[int, ...] = ()
    order: str = "C"
    axes: tuple[int, ...] | None = None


def dtype_of(text: str) -> np.dtype:
    """The dtype that numpy writes as this text, if it is one of numbers, text or objects."""
    if not (match := DTYPE.fullmatch(text)):
        raise ValueError(f"an array with elements of type {text[:20]!r}; wanted numbers or text")
    return np.dtype("O" if match[2][0] == "O" else text)


def _count(shape: tuple[int, ...]) -> int:
    """How many elements an array of this shape has."""
    if type(shape) is not tuple or len(shape) > MAX_AXES:
        raise ValueError(f"damaged: an array's shape is no tuple of at most {MAX_AXES} lengths")
    if not all(type(length) is int and 0 <= length < 2**62 for length in shape):
        raise ValueError("damaged: an array's shape has lengths that are no whole numbers from 0")
    return math.prod(shape)


def view(whole: np.ndarray, array: Array) -> np.ndarray:
    """The array as a view of the file, once its shape and its number of bytes agree."""
    span, dtype = array.content, array.dtype
    if dtype is None or dtype.hasobject or type(span) is not Span:
        raise ValueError("damaged: an array without type or without content")
    if (size := _count(array.shape) * dtype.itemsize) != span.size:
        needs = f"an array of shape {array.shape} and type {dtype} needs {size} bytes"
        raise ValueError(f"{needs}, but {span.size} are there: truncated or damaged")
    flat = whole[span.start : span.start + span.size].view(dtype)
    if dtype.kind == "U" and flat.size and flat.view(dtype.str[0] + "u4").max() > 0x10FFFF:
        raise ValueError("damaged: an array of text holds numbers that are no characters")
    if array.order == "K" and array.axes is not None:
        return flat.reshape(array.shape).transpose(array.axes)
    order = cast(Literal["C", "F"], array.order)  # numpy refuses any other
    in_shape: np.ndarray = flat.reshape(array.shape, order=order)
    return in_shape


Step = Callable[[Any], object]  # what an instruction does to a machine


class Machine(Stack):
    """A pickle machine that can only describe data; `run` follows one pickle from byte `at`."""

    protocols: ClassVar[tuple[int, ...]] = (3, 4, 5)
    steps: ClassVar[dict[bytes, Step]]  # what each instruction does: STEPS, below

    def __init__(self, whole: np.ndarray, at: int):
        self.whole, self.bytes, self.at = whole, whole.data, at
        super().__init__()
        self.nodes = self.text_size = 0

    def run(self) -> object:
        """Return what the pickle describes: dicts, lists, tuples, numbers, text and arrays."""
        if self.take(1) != b"\x80" or self.number(1) not in self.protocols:
            raise ValueError("its objects are not a pickle of protocol 3, 4 or 5")
        for _ in range(MAX_STEPS):
            code = self.take(1)
            if code == b".":  # STOP
                break
            if code not in self.steps:
                raise UnsafePickle(f"instruction {_spelled(code)} at byte {self.at - 1}")
            self.steps[code](self)
        else:
            raise UnsafePickle(f"more than {MAX_STEPS} instructions; a recording has hundreds")
        if len(self.stack) != 1 or self.at != len(self.bytes):
            left = len(self.bytes) - self.at
            raise ValueError(f"damaged: {len(self.stack)} values, and {left} bytes after the end")
        return self.plain(self.stack[0], 0)

    def skip(self, size: int) -> int:
        start, left = self.at, len(self.bytes) - self.at
        if size > left:
            came = f"{size} bytes should follow byte {start}, {left} do"
            raise ValueError(f"truncated: {came}; copy or download the file again")
        self.at += size
        return start

    def take(self, size: int) -> bytes:
        start = self.skip(size)
        return bytes(self.bytes[start : self.at])

    def span(self, size: int) -> Span:
        return Span(self.skip(size), size)

    def number(self, size: int, signed: bool = False) -> int:
        return int.from_bytes(self.take(size), "little", signed=signed)

    def spend(self, size: int) -> int:
        self.text_size += size
        if self.text_size > MAX_TEXT:
            raise UnsafePickle(f"more than {MAX_TEXT} bytes of text")
        return size

    def text(self, size: int) -> str:
        return self.take(self.spend(size)).decode("utf-8")

    def line(self) -> str:
        line, _, _ = bytes(self.bytes[self.at : self.at + 200]).partition(b"\n")
        self.at += len(line) + 1
        return line.decode("utf-8")

    def append(self, values: list[Any]) -> None:
        self.stack[-1].extend(values)

    def set_items(self, values: list[Any]) -> None:
        keys = values[::2]
        if not all(type(key) is str for key in keys):
            raise ValueError("it holds a dict with keys that are not text; wanted names as keys")
        self.stack[-1].update(zip(keys, values[1::2], strict=True))

    def find(self, module: str, name: str) -> None:
        """Where Python would import, push a word of numpy's or refuse."""
        if module not in MODULES or name not in WORDS:
            asked = f"{module}.{name}"[:80] if type(module) is type(name) is str else "no name"
            raise UnsafePickle(f"it asks for {asked!r}; wanted dicts, lists and numpy arrays")
        self.push(Word(name))

    def reduce(self) -> None:
        """Where Python would call, push a description of the array, dtype or number."""
        word, args = self.last(2)
        if word.name == "_reconstruct":
            self.push(Array())
        elif word.name == "dtype":
            self.push(Dtype(args[0]))
        elif word.name == "_frombuffer":
            self.push(Array(args[0], args[1].value, *args[2:]))  # shape, order, perhaps axes
        elif word.name == "scalar" and args[1].size <= MAX_SCALAR:
            self.push(view(self.whole, Array(args[1], args[0].value))[()])
        else:
            raise UnsafePickle(f"it would call numpy's {word.name} with values it does not take")

    def build(self) -> None:
        """Where Python would set any attribute, complete a dtype or an array."""
        state, target = self.last(1)[0], self.stack[-1]
        if type(target) is Dtype:
            target.value = dtype_of(state[1] + target.code)
        elif type(target) is Array:
            target.shape, target.dtype, target.content = state[1], state[2].value, state[4]
            target.order = "F" if state[3] is True else "C"
        else:
            raise UnsafePickle(f"it would set the state of a {type(target).__name__}")

    def plain(self, value: object, depth: int) -> object:
        """The value built anew with its arrays in place, within bounds of depth and number."""
        self.nodes += 1
        if depth > MAX_DEPTH or self.nodes > MAX_STEPS:
            raise UnsafePickle("lists in lists without end")
        if isinstance(value, Array):
            return self.array(value, depth)
        if isinstance(value, (list, tuple)):
            return type(value)([self.plain(item, depth + 1) for item in value])
        if isinstance(value, dict):
            return {key: self.plain(item, depth + 1) for key, item in value.items()}
        if value is None or isinstance(value, (bool, int, float, str, np.generic)):
            return value
        raise ValueError(f"it holds a bare {type(value).__name__}; wanted dicts, lists and arrays")

    def array(self, array: Array, depth: int) -> np.ndarray:
        dtype, content = array.dtype, array.content
        if dtype != np.dtype(object) or not isinstance(content, list):
            if dtype is not None and dtype.kind == "U" and isinstance(content, Span):
                self.spend(content.size)
            return view(self.whole, array)
        if _count(array.shape) != len(content):
            raise ValueError(f"damaged: an array of {len(content)} objects has other shape")
        flat = np.empty(len(content), object)
        for index, item in enumerate(content):
            flat[index] = self.plain(item, depth + 1)
        return flat.reshape(array.shape)  # numpy lists objects in C order whatever the flag says


def _spelled(code: bytes) -> str:
    names = (op.name for op in pickletools.opcodes if op.code == code.decode("latin1"))
    return f"{name}, which data do not need," if (name := next(names, "")) else repr(code)


INSTRUCTIONS: dict[str, Step] = {
    "FRAME": lambda m: m.number(8),
    "NONE": lambda m: m.push(None),
    "NEWTRUE": lambda m: m.push(True),
    "NEWFALSE": lambda m: m.push(False),
    "BININT": lambda m: m.push(m.number(4, signed=True)),
    "BININT1": lambda m: m.push(m.number(1)),
    "BININT2": lambda m: m.push(m.number(2)),
    "LONG1": lambda m: m.push(m.number(m.number(1), signed=True)),
    "BINFLOAT": lambda m: m.push(struct.unpack(">d", m.take(8))[0]),
    "SHORT_BINUNICODE": lambda m: m.push(m.text(m.number(1))),
    "BINUNICODE": lambda m: m.push(m.text(m.number(4))),
    "BINUNICODE8": lambda m: m.push(m.text(m.number(8))),
    "SHORT_BINBYTES": lambda m: m.push(m.span(m.number(1))),
    "BINBYTES": lambda m: m.push(m.span(m.number(4))),
    "BINBYTES8": lambda m: m.push(m.span(m.number(8))),
    "BYTEARRAY8": lambda m: m.push(m.span(m.number(8))),
    "EMPTY_TUPLE": lambda m: m.push(()),
    "TUPLE1": lambda m: m.push(tuple(m.last(1))),
    "TUPLE2": lambda m: m.push(tuple(m.last(2))),
    "TUPLE3": lambda m: m.push(tuple(m.last(3))),
    "MARK": lambda m: m.marks.append(len(m.stack)),
    "TUPLE": lambda m: m.push(tuple(m.since_mark())),
    "EMPTY_LIST": lambda m: m.push([]),
    "APPEND": lambda m: m.append(m.last(1)),
    "APPENDS": lambda m: m.append(m.since_mark()),
    "EMPTY_DICT": lambda m: m.push({}),
    "SETITEM": lambda m: m.set_items(m.last(2)),
    "SETITEMS": lambda m: m.set_items(m.since_mark()),
    "MEMOIZE": lambda m: m.remember(len(m.memo)),
    "BINPUT": lambda m: m.remember(m.number(1)),
    "LONG_BINPUT": lambda m: m.remember(m.number(4)),
    "BINGET": lambda m: m.push(m.memo[m.number(1)]),
    "LONG_BINGET": lambda m: m.push(m.memo[m.number(4)]),
    "GLOBAL": lambda m: m.find(m.line(), m.line()),
    "STACK_GLOBAL": lambda m: m.find(*m.last(2)),
    "REDUCE": lambda m: m.reduce(),
    "BUILD": lambda m: m.build(),
}

STEPS = {
    op.code.encode("latin1"): INSTRUCTIONS[op.name]
    for op in pickletools.opcodes
    if op.name in INSTRUCTIONS
}
Machine.steps = STEPS
