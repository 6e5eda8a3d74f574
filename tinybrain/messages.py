"""How a message names many things."""

from __future__ import annotations

from collections.abc import Collection

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
