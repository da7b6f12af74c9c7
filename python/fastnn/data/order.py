"""Random orders that are the same on every machine and with every NumPy version."""

from __future__ import annotations

import reprlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["permutation", "shares", "stable_order"]

_STEP_BITS = 20  # about 0.1 s of sorting


def permutation(n: int, seed: int, stream: int = 0) -> NDArray[np.int64]:
    """A random order of 0..n-1, a function of (n, seed, stream) alone.

    Sorts raw Philox output (Salmon et al. 2011), the only kind that NumPy promises never to change. Two equal
    draws of 64 bits keep their order; the bias is below n^2 / 2^65.
    """
    key = np.array([seed % 2**64, stream % 2**64], np.uint64)
    return stable_order(np.random.Philox(key=key).random_raw(n))


def stable_order(keys: NDArray[Any]) -> NDArray[np.int64]:
    """What ``np.argsort(keys, kind="stable")`` gives of random integers of 64 bits, in steps that Ctrl-C comes between.

    Many are parted by their highest bits, in their order, and each part is sorted.
    """
    bits = max(0, len(keys) - 1).bit_length() - _STEP_BITS
    if bits <= 0:
        return np.argsort(keys, kind="stable")
    lowest = 0 if keys.dtype == np.uint64 else -(1 << (bits - 1))
    parts: list[list[NDArray[np.int64]]] = [[] for _ in range(1 << bits)]
    for start in range(0, len(keys), 1 << _STEP_BITS):
        part = (keys[start : start + (1 << _STEP_BITS)] >> (64 - bits)).astype(np.int64) - lowest
        order = np.argsort(part.astype(np.uint16), kind="stable")
        ends = np.cumsum(np.bincount(part, minlength=len(parts)))[:-1]
        for pieces, piece in zip(parts, np.split(order + start, ends), strict=True):
            pieces.append(piece)
    result = np.empty(len(keys), np.int64)
    end = 0
    for number, pieces in enumerate(parts):
        indices = np.concatenate(pieces)
        parts[number] = []
        result[end : end + len(indices)] = indices[np.argsort(keys[indices], kind="stable")]
        end += len(indices)
    return result


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
