"""Sizes given once for both image dimensions, or as (height, width)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = ["Size2d", "pair"]

Size2d = int | Sequence[int]


def pair(value: Any, name: str, least: int, owner: str) -> tuple[int, int]:
    """(value, value), or the two values given. Errors: TypeError, or ValueError if one is below ``least``."""
    both = (
        (value, value) if isinstance(value, int) else tuple(value) if isinstance(value, tuple | list) else ()
    )
    if len(both) != 2 or not all(isinstance(one, int) for one in both):
        raise TypeError(f"{owner}: {name} must be an int or a pair of ints, not {value!r}")
    if min(both) < least:
        raise ValueError(f"{owner}: {name} must be at least {least}, not {value!r}")
    return both
