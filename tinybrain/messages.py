"""How a message names many things, writes numbers, and tells two descriptions apart."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

LONGEST = 200  # letters of a name; those in files that others made may have any length


def first_few(names: Collection[object], count: int = 5) -> str:
    """Names for a message: the first few, and how many more there are; "none" of none.

    Examples
    --------
    >>> first_few(["O1", "Oz", "O2"]), first_few(range(1, 100), 3), first_few({})
    ('O1, Oz, O2', '1, 2, 3 and 96 more', 'none')
    """
    shown = [str(name)[:LONGEST] for name, _ in zip(names, range(count))]
    more = f" and {len(names) - count} more" if len(names) > count else ""
    return (", ".join(shown) or "none") + more


def digits(value: float, form: str) -> str:
    """A value in a form such as ".3f"; zero has no sign.

    Examples
    --------
    >>> digits(-0.0004, ".3f"), digits(-0.0006, ".3f")
    ('0.000', '-0.001')
    """
    text = format(value, form)
    return text if float(text) else text.removeprefix("-")


def differences(before: Any, now: Any, name: str = "", word: str = "now") -> list[str]:
    """What differs, a line for each value: dicts key by key, of a list the first that does.

    Parameters
    ----------
    before, now : of dicts, lists and values, as JSON has them
    name : of both, in front of the keys
    word : what `now` is

    Examples
    --------
    >>> differences({"lr": 0.1, "encoder": {"seed": 0}}, {"lr": 0.1, "encoder": {"seed": 5}}, "run")
    ['run.encoder.seed: 0 there, 5 now']
    >>> differences({"images": ["a", "b", "c"]}, {"images": ["a", "c", "b"]}, word="asked for")
    ['images[1]: b there, c asked for']
    """
    if isinstance(before, dict) and isinstance(now, dict):
        return [
            line for key in dict.fromkeys((*before, *now)) for line in
            differences(before.get(key), now.get(key), f"{name}.{key}".lstrip("."), word)
        ]  # fmt: skip
    if isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        pairs = enumerate(zip(before, now))
        found = (differences(*pair, f"{name}[{i}]", word) for i, pair in pairs)
        return next(filter(None, found), [])
    if _same(before, now):
        return []
    there, here = (f"{len(value)} entries" if isinstance(value, (list, dict)) else str(value)
                   for value in (before, now))
    return [f"{name}: {there} there, {here} {word}"]


def _same(a: Any, b: Any) -> bool:
    """Equal, floats up to what another thread count may change in a sum; NaN to NaN."""
    if isinstance(a, float) and isinstance(b, float):
        return math.isclose(a, b, rel_tol=1e-6) or (math.isnan(a) and math.isnan(b))
    return bool(a == b)
