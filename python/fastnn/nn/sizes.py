"""Arguments of layers that are sizes: integers, of Python or NumPy, or pairs of them as (height, width)."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

__all__ = ["Size2d", "pair", "size"]

Size2d = int | Sequence[int]


def size(value: Any, name: str, least: int, owner: str) -> int:
    """The integer given. Errors: TypeError, or ValueError if it is below ``least``."""
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{owner}: {name} must be an integer, not {value!r}") from None
    if number < least:
        raise ValueError(f"{owner}: {name} must be at least {least}, not {number}")
    return number


def pair(value: Any, name: str, least: int, owner: str) -> tuple[int, int]:
    """(value, value), or the two values given. Errors: TypeError, or ValueError if one is below ``least``."""
    both = tuple(value) if isinstance(value, tuple | list) else (value, value)
    if len(both) != 2 or not all(hasattr(one, "__index__") for one in both):
        raise TypeError(f"{owner}: {name} must be an integer or a pair of integers, not {value!r}")
    height, width = map(operator.index, both)
    if min(height, width) < least:
        raise ValueError(f"{owner}: {name} must be at least {least}, not {value!r}")
    return height, width
