"""Elementwise operations, dropout and the optimisers: bound by memory, so the ceiling is the STREAM copy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from . import numpy_ops as ops
from .rows import ALL, Call, Lib, Row, Timed, floats, sides

MILLION = 1 << 20


def _inputs(lib: Lib, count: int, size: int, positive: bool) -> list[Any]:
    arrays = [floats(size, seed=i) for i in range(count)]
    if positive:
        for a in arrays:
            a += np.float32(1)
    return arrays if lib.name == "numpy" else [lib.tensor(a) for a in arrays]


def elementwise(
    name: str, inputs: int, size: int, numpy: Callable[..., Any], positive: bool = False, headline: str = ""
) -> Row:
    """`name` is the function in fastnn and torch; `numpy(*inputs, out)` does the same, into a buffer."""

    def fastnn(lib: Lib) -> Timed:
        arguments = _inputs(lib, inputs, size, positive)
        function = getattr(lib.F if name == "gelu" else lib.xp, name)
        return lambda: function(*arguments)

    def torch(lib: Lib) -> Timed:
        arguments = _inputs(lib, inputs, size, positive)
        out = lib.xp.empty(size)
        if name == "gelu":  # lives in nn.functional, without out=
            return lambda: lib.F.gelu(*arguments)
        if name == "relu":  # has no out=; clamp_min is the same and has
            return lambda: lib.xp.clamp_min(*arguments, 0, out=out)
        function = getattr(lib.xp, name)
        return lambda: function(*arguments, out=out)

    def arrays(lib: Lib) -> Timed:
        arguments, out = _inputs(lib, inputs, size, positive), np.empty(size, np.float32)
        return lambda: numpy(*arguments, out)

    label = f"{size // MILLION}M" if size >= MILLION else str(size)
    threads = (1, ALL) if size >= MILLION else (1,)
    return Row(
        "elementwise",
        f"{name} {label}",
        sides(fastnn=fastnn, torch=torch, numpy=arrays),
        bytes=4.0 * size * (inputs + 1),
        threads=threads,
        headline=headline,
    )


def gradient(name: str, size: int, numpy: Callable[..., Any]) -> Row:
    """dx from dy and what the forward pass saved; `numpy(dy, y)`."""

    def tensors(lib: Lib) -> Timed:
        x, dy = lib.tensor(floats(size), requires_grad=True), lib.tensor(floats(size, seed=1))
        y = getattr(lib.F, name)(x)
        return lambda: lib.grad(y, x, dy)

    def arrays(lib: Lib) -> Timed:
        x, dy = floats(size), floats(size, seed=1)
        y = x if name == "gelu" else getattr(ops, name)(x)  # what its gradient is a function of
        return lambda: numpy(dy, y)

    return Row(
        "elementwise", f"{name} backward {size // MILLION}M", sides(tensors, arrays), bytes=12.0 * size
    )


def bias(rows: int, columns: int) -> Row:
    def tensors(lib: Lib) -> Timed:
        x, b = lib.tensor(floats(rows, columns)), lib.tensor(floats(columns, seed=1))
        return lambda: x + b

    def torch(lib: Lib) -> Timed:
        x, b, y = (
            lib.tensor(floats(rows, columns)),
            lib.tensor(floats(columns, seed=1)),
            lib.xp.empty(rows, columns),
        )
        return lambda: lib.xp.add(x, b, out=y)

    def arrays(lib: Lib) -> Timed:
        x, b, y = floats(rows, columns), floats(columns, seed=1), np.empty((rows, columns), np.float32)
        return lambda: np.add(x, b, out=y)

    name = f"add a row, {rows}x{columns}"
    return Row("elementwise", name, sides(tensors, arrays, torch), bytes=8.0 * rows * columns)


def dropout(size: int) -> Row:
    def tensors(lib: Lib) -> Timed:
        x = lib.tensor(floats(size))
        return lambda: lib.F.dropout(x, 0.5, True)

    def arrays(lib: Lib) -> Timed:
        x, rng = floats(size), np.random.default_rng(0)
        return lambda: ops.dropout(x, 0.5, rng)[0]

    label = f"{size // MILLION}M"
    return Row(
        "elementwise",
        f"dropout {label}",
        sides(tensors, arrays),
        bytes=8.0 * size,
        comparable=False,
        headline=f"dropout, {label} elements",
    )


def optimiser(name: str, size: int) -> Row:
    states = 2 if name == "Adam" else 1

    def make(lib: Lib, **options: bool) -> Call:
        w = lib.nn.Parameter(lib.tensor(floats(size)))
        (w * lib.tensor(floats(size, seed=1))).sum().backward()
        momentum = {} if name == "Adam" else {"momentum": 0.9}
        step: Call = getattr(lib.optim, name)([w], lr=1e-3, **momentum, **options).step
        return step

    def torch(lib: Lib) -> Timed:
        return {"foreach": make(lib, foreach=True), "fused": make(lib, fused=True)}

    def arrays(lib: Lib) -> Timed:
        w, g, m, v = (
            floats(size),
            floats(size, seed=1),
            np.zeros(size, np.float32),
            np.zeros(size, np.float32),
        )
        if name == "Adam":
            return lambda: ops.adam([w], [g], [m], [v], 1)

        def step() -> None:
            ops.sgd([w], [g], 1e-3, 0.9, [m])
            np.copyto(g, m)  # sgd overwrote the gradient

        return step

    return Row(
        "elementwise",
        f"{name} {size // MILLION}M parameters",
        sides(make, arrays, torch),
        bytes=4.0 * size * (3 + 2 * states),
        comparable=False,
        headline=f"{name} step, {size // MILLION}M parameters",
    )


LARGE, SMALL = 16 * MILLION, 4096
ROWS = [
    elementwise("add", 2, LARGE, lambda a, b, out: np.add(a, b, out=out), headline="add, 16M elements"),
    elementwise("mul", 2, LARGE, lambda a, b, out: np.multiply(a, b, out=out)),
    elementwise("div", 2, LARGE, lambda a, b, out: np.divide(a, b, out=out), positive=True),
    elementwise("exp", 1, LARGE, lambda a, out: np.exp(a, out=out), headline="exp, 16M elements"),
    elementwise("log", 1, LARGE, lambda a, out: np.log(a, out=out), positive=True),
    elementwise("sqrt", 1, LARGE, lambda a, out: np.sqrt(a, out=out), positive=True),
    elementwise("relu", 1, LARGE, ops.relu),
    elementwise("sigmoid", 1, LARGE, ops.sigmoid),
    elementwise("tanh", 1, LARGE, ops.tanh),
    elementwise("gelu", 1, LARGE, ops.gelu, headline="GELU, 16M elements"),
    gradient("relu", LARGE, ops.relu_backward),
    gradient("sigmoid", LARGE, ops.sigmoid_backward),
    gradient("tanh", LARGE, ops.tanh_backward),
    gradient("gelu", LARGE, ops.gelu_backward),
    bias(4096, 4096),
    elementwise("add", 2, SMALL, lambda a, b, out: np.add(a, b, out=out)),
    elementwise("exp", 1, SMALL, lambda a, out: np.exp(a, out=out)),
    elementwise("tanh", 1, SMALL, ops.tanh),
    dropout(4 * MILLION),
    optimiser("SGD", 10 * MILLION),
    optimiser("Adam", 10 * MILLION),
]
