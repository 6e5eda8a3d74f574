"""The stack of a pickle machine: what `machine.py` and `things/machine.py` have in common.

Source: the description of the machine in pickletools, in the standard library.
"""

from __future__ import annotations

from typing import Any


class Stack:
    """Values, marks among them, and a memo; a program that trips over them raises IndexError."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.push = self.stack.append

    def last(self, count: int) -> list[Any]:
        """Take the last `count` values off."""
        if count > len(self.stack):
            raise IndexError("too few values on the stack")
        values = self.stack[-count:]
        del self.stack[-count:]
        return values

    def since_mark(self) -> list[Any]:
        """Take off all values since the last mark."""
        mark = self.marks.pop()
        values = self.stack[mark:]
        del self.stack[mark:]
        return values

    def remember(self, index: int) -> None:
        self.memo[index] = self.stack[-1]
