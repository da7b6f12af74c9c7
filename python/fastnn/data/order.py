"""Random orders that are the same on every machine and with every NumPy version."""

from __future__ import annotations

import reprlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["permutation", "shares"]


def permutation(n: int, seed: int, stream: int = 0) -> NDArray[np.int64]:
    """A random order of 0..n-1, a function of (n, seed, stream) alone.

    Sorts raw Philox output (Salmon et al. 2011), the only kind that NumPy promises never to change. Two equal
    draws of 64 bits keep their order; the bias is below n^2 / 2^65.
    """
    key = np.array([seed % 2**64, stream % 2**64], np.uint64)
    return np.argsort(np.random.Philox(key=key).random_raw(n), kind="stable")


def shares(total: int, parts: Sequence[float] | NDArray[Any]) -> list[int]:
    """Counts as given, or ``total`` divided by fractions so that every rounding error stays below one.

    Errors: ValueError if counts do not add up to ``total``, or fractions to 1.
    """
    sizes = np.asarray(parts)
    shown = reprlib.repr(sizes.tolist())
    if sizes.ndim != 1 or not sizes.size or sizes.dtype.kind not in "iuf" or not (sizes >= 0).all():
        raise ValueError(f"split sizes must be numbers >= 0, not {shown}")
    if sizes.dtype.kind in "iu":
        if sizes.sum() != total:
            raise ValueError(f"split sizes {shown} must add up to {total}, not {sizes.sum()}")
        return sizes.tolist()  # type: ignore[no-any-return]
    if abs(sizes.sum() - 1) > 1e-6:
        raise ValueError(f"split fractions {shown} must add up to 1, not {sizes.sum()}")
    exact = sizes * total
    counts = np.floor(exact + 1e-9).astype(np.int64)
    largest_remainders = np.argsort(counts - exact, kind="stable")
    counts[largest_remainders[: total - counts.sum()]] += 1
    return counts.tolist()  # type: ignore[no-any-return]
