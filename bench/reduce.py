"""Reductions, softmax and cross-entropy over matrices: bound by memory, so the ceiling is the STREAM copy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from . import numpy_ops as ops
from .rows import Lib, Row, Timed, floats, sides

SIDE = 4096


def reduction(name: str, axis: int | None, headline: str = "") -> Row:
    """A SIDE x SIDE matrix reduced along one axis, or whole."""

    def tensors(lib: Lib) -> Timed:
        x = lib.tensor(floats(SIDE, SIDE))
        function = getattr(lib.xp, name)
        if axis is None:
            return lambda: function(x)
        if name == "max":  # of a dimension it returns the indices too, which torch is spared by its amax
            return lambda: lib.xp.amax(x, axis) if lib.name == "torch" else function(x, axis)[0]
        return lambda: function(x, axis)

    def arrays(lib: Lib) -> Timed:
        x = floats(SIDE, SIDE)
        function: Callable[..., Any] = getattr(np, name)
        return lambda: function(x, axis=axis)

    label = "all" if axis is None else f"axis {axis}"
    return Row(
        "reduce",
        f"{name} {label}, {SIDE}x{SIDE}",
        sides(tensors, arrays),
        bytes=4.0 * SIDE * SIDE,
        headline=headline,
    )


def by_row(name: str, rows: int, columns: int, numpy: Callable[..., Any]) -> Row:
    """softmax or log_softmax along the last axis."""

    def tensors(lib: Lib) -> Timed:
        x = lib.tensor(floats(rows, columns))
        function = getattr(lib.F, name)
        return lambda: function(x, -1)

    def arrays(lib: Lib) -> Timed:
        x, y = floats(rows, columns), np.empty((rows, columns), np.float32)
        return lambda: numpy(x, y)

    return Row("reduce", f"{name} {rows}x{columns}", sides(tensors, arrays), bytes=8.0 * rows * columns)


def cross_entropy(rows: int, classes: int) -> Row:
    """The loss and its gradient."""
    labels = np.random.default_rng(1).integers(0, classes, rows)

    def tensors(lib: Lib) -> Timed:
        x, target = lib.tensor(floats(rows, classes), requires_grad=True), lib.tensor(labels)

        def call() -> Any:
            x.grad = None
            lib.F.cross_entropy(x, target).backward()
            return x.grad

        return call

    def arrays(lib: Lib) -> Timed:
        x = floats(rows, classes)
        return lambda: ops.cross_entropy(x, labels)[1]

    return Row(
        "reduce",
        f"cross-entropy and gradient {rows}x{classes}",
        sides(tensors, arrays),
        bytes=8.0 * rows * classes,
        headline=f"cross-entropy and gradient, {rows}x{classes}",
    )


def log_softmax(x: ops.Array, y: ops.Array) -> ops.Array:
    np.subtract(x, x.max(axis=-1, keepdims=True), out=y)
    y -= np.log(np.exp(y).sum(axis=-1, keepdims=True))
    return y


ROWS = [
    reduction("sum", None, headline="sum of a 4096x4096 matrix"),
    reduction("sum", 0),
    reduction("sum", 1),
    reduction("mean", 1),
    reduction("max", None),
    reduction("max", 0),
    reduction("max", 1),
    reduction("argmax", 1),
    by_row("softmax", SIDE, 1000, ops.softmax),
    by_row("log_softmax", SIDE, 1000, log_softmax),
    cross_entropy(SIDE, 1000),
    cross_entropy(128, 10),
]
