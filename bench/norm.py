"""Layer and batch normalisation, each with all of its gradients: bound by memory, so the ceiling is the STREAM copy.

The bytes are those of every operand read or written once per pass that needs it: layer normalisation keeps a row in the
cache (8 an element forward, 12 backward); batch normalisation reads x for its statistics and again for the result, and
backward x and dy twice (12 and 20). A cache that holds a channel saves some of that.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import numpy_ops as ops
from .rows import Lib, Row, Timed, floats, sides

EPS = np.float32(1e-5)
Array = NDArray[np.float32]


def normalized(x: Array, axes: tuple[int, ...]) -> tuple[Array, Array]:
    """(x - mean) rstd, and rstd."""
    h = x - x.mean(axes, keepdims=True)
    rstd = 1 / np.sqrt(np.square(h).mean(axes, keepdims=True) + EPS)
    h *= rstd
    return h, rstd


def backward(g: Array, h: Array, rstd: Array, axes: tuple[int, ...]) -> Array:
    dx = g - g.mean(axes, keepdims=True)
    dx -= h * (g * h).mean(axes, keepdims=True)
    dx *= rstd
    return dx


def gradients(lib: Lib, y: Any, leaves: list[Any], dy: Any) -> Any:
    return (lib.xp.autograd if lib.name == "torch" else lib.xp).grad(y, leaves, dy)


def _row(name: str, shape: tuple[int, ...], bytes: float, training: bool, tensors: Any, arrays: Any) -> Row:
    kind = "forward and backward" if training else "forward"
    headline = f"{name}, {'x'.join(map(str, shape))}, {kind}" if training else ""
    label = f"{name} {'x'.join(map(str, shape))} {kind}"
    return Row("norm", label, sides(tensors, arrays), bytes=bytes * math.prod(shape), headline=headline)


def layer(rows: int, columns: int, training: bool) -> Row:
    def tensors(lib: Lib) -> Timed:
        x, w, b = (
            lib.tensor(floats(*s), requires_grad=training) for s in ((rows, columns), (columns,), (columns,))
        )
        dy = lib.tensor(floats(rows, columns, seed=1))

        def call() -> Any:
            y = lib.F.layer_norm(x, (columns,), w, b)
            return gradients(lib, y, [x, w, b], dy)[0] if training else y

        return call

    def arrays(lib: Lib) -> Timed:
        x, w, b, dy = floats(rows, columns), floats(columns), floats(columns), floats(rows, columns, seed=1)

        def call() -> Array:
            h, rstd = normalized(x, (1,))
            y = h * w + b
            if not training:
                return y
            _ = (dy * h).sum(0), dy.sum(0)
            return backward(dy * w, h, rstd, (1,))

        return call

    return _row("LayerNorm", (rows, columns), 20 if training else 8, training, tensors, arrays)


def batch(n: int, c: int, side: int, training: bool, relu: bool = False) -> Row:
    shape = (n, c, side, side)

    def tensors(lib: Lib) -> Timed:
        net = lib.nn.Sequential(lib.nn.BatchNorm2d(c), *[lib.nn.ReLU(inplace=True)] * relu)
        net[0].weight, net[0].bias = (lib.nn.Parameter(lib.tensor(floats(c))) for _ in range(2))
        x, dy = lib.tensor(floats(*shape)), lib.tensor(floats(*shape, seed=1))

        def make(x: Any, dy: Any) -> Any:
            leaves = [x.requires_grad_(training), net[0].weight, net[0].bias]
            return lambda: gradients(lib, net(x), leaves, dy)[0] if training else net(x)

        if lib.name != "torch":
            return make(x, dy)
        last = {"memory_format": lib.xp.channels_last}
        return {"NCHW": make(x, dy), "channels_last": make(x.detach().clone(**last), dy.clone(**last))}

    def arrays(lib: Lib) -> Timed:
        x, dy = ops.batch_last(floats(*shape)), ops.batch_last(floats(*shape, seed=1))
        w, b, axes = floats(c).reshape(c, 1, 1, 1), floats(c).reshape(c, 1, 1, 1), (1, 2, 3)

        def call() -> Array:
            h, rstd = normalized(x, axes)
            y = h * w + b
            if relu:
                np.maximum(y, 0, out=y)
            if not training:
                return y
            g = dy * (y > 0) if relu else dy
            _ = (g * h).sum(axes), g.sum(axes)
            return backward(g * w, h, rstd, axes)

        return call

    name = "BatchNorm+ReLU" if relu else "BatchNorm"
    return _row(name, shape, 32 if training else 12, training, tensors, arrays)


ROWS = [
    layer(8192, 1024, training=False),
    layer(8192, 1024, training=True),
    batch(32, 64, 56, training=False),
    batch(32, 64, 56, training=True),
    batch(32, 64, 56, training=True, relu=True),
    batch(32, 64, 112, training=True, relu=True),
]
