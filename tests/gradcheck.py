"""Derivatives by central differences in float64: the oracle that needs no other library."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

Arrays = Sequence[np.ndarray]


def numeric_gradients(
    f: Callable[..., Arrays], xs: Arrays, wanted: Sequence[bool], dys: Arrays, step: float = 1e-5
) -> list:
    """d sum(f(*xs) * dys) / dx for each wanted x, None for the others. Errors are about step^2 and 1e-16 / step."""

    def value() -> float:
        return sum(float(np.sum(y * dy)) for y, dy in zip(f(*xs), dys, strict=True))

    gradients: list[np.ndarray | None] = []
    for x, want in zip(xs, wanted, strict=True):
        if not want:
            gradients.append(None)
            continue
        dx = np.empty(x.shape)
        for i in np.ndindex(x.shape):
            at = x[i]
            x[i] = at + step
            above = value()
            x[i] = at - step
            dx[i] = (above - value()) / (2 * step)
            x[i] = at
        gradients.append(dx)
    return gradients
