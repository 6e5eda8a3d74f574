"""The stack of a pickle machine: what `machine.py` and `things/machine.py` have in common.

Source: the description of the machine in pickletools, in the standard library.
"""

from __future__ import annotations


class Stack:
    """Values, marks among them, and a memo; a program that trips over them raises IndexError."""

    def __init__(self) -> None:
        self.stack, self.marks, self.memo = [], [], {}
        self.push = self.stack.append

    def last(self, count: int) -> list:
        """Take the last `count` values off."""
        if count > len(self.stack):
            raise IndexError("too few values on the stack")
        values = self.stack[-count:]
        del self.stack[-count:]
        return values

    def since_mark(self) -> list:
        """Take off all values since the last mark."""
        mark = self.marks.pop()
        values = self.stack[mark:]
        del self.stack[mark:]
        return values

    def remember(self, index: int) -> None:
        self.memo[index] = self.stack[-1]
