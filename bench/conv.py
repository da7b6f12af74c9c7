"""Convolution, forward and each gradient by itself, and pooling: N, C -> K, R x R / stride @ H, float32."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from . import numpy_ops as ops
from .rows import ALL, Call, Lib, Row, Timed, floats, sides


@dataclass(frozen=True)
class Shape:
    n: int
    c: int
    k: int
    r: int
    h: int
    stride: int = 1
    padding: int = 0
    groups: int = 1
    headline: str = ""

    @property
    def name(self) -> str:
        stride = f"/{self.stride}" if self.stride > 1 else ""
        channels = f"depthwise {self.c}" if self.groups > 1 else f"{self.c}->{self.k}"
        return f"N{self.n} {channels} {self.r}x{self.r}{stride} @{self.h}"

    @property
    def p(self) -> int:
        return (self.h + 2 * self.padding - self.r) // self.stride + 1

    @property
    def flops(self) -> float:
        return 2.0 * self.n * self.k * self.p**2 * self.c // self.groups * self.r**2

    @property
    def bytes(self) -> float:
        return 4.0 * (
            self.n * (self.c * self.h**2 + self.k * self.p**2) + self.k * self.c // self.groups * self.r**2
        )

    def x(self) -> Any:
        return floats(self.n, self.c, self.h, self.h)

    def w(self) -> Any:
        return floats(self.k, self.c // self.groups, self.r, self.r, seed=1)

    def dy(self) -> Any:
        return floats(self.n, self.k, self.p, self.p, seed=2)


SHAPES = [
    Shape(32, 3, 64, 7, 224, 2, 3),
    Shape(32, 3, 64, 3, 224, 1, 1),
    Shape(32, 64, 64, 3, 56, 1, 1),
    Shape(32, 128, 128, 3, 56, 2, 1),
    Shape(32, 512, 512, 3, 7, 1, 1),
    Shape(8, 256, 256, 3, 56, 1, 1),
    Shape(32, 64, 256, 1, 56),
    Shape(32, 64, 192, 5, 27, 1, 2),
    Shape(128, 64, 64, 3, 32, 1, 1, headline="convolution 64→64 3x3, 32x32 pixels, batch 128"),
    Shape(32, 144, 144, 3, 56, 1, 1, 144),
    Shape(32, 3, 32, 3, 32, 1, 1),
    Shape(64, 1, 20, 5, 28),
    Shape(64, 20, 50, 5, 12),
    Shape(1, 512, 512, 3, 4, 1, 1),
]


def _formats(lib: Lib) -> dict[str, Any]:
    """How an image may lie in memory: torch is given both of its ways, and the faster one counts."""
    if lib.name == "torch":
        return {"NCHW": lib.xp.contiguous_format, "channels_last": lib.xp.channels_last}
    return {"": None}


def _placed(lib: Lib, array: Any, memory_format: Any, requires_grad: bool = False) -> Any:
    x = lib.tensor(array)
    if memory_format is not None:
        x = x.contiguous(memory_format=memory_format)
    if requires_grad:
        x.requires_grad = True
    return x


def _forward(shape: Shape) -> dict[str, Any]:
    def tensors(lib: Lib) -> Timed:
        def prepare(memory_format: Any) -> Call:
            x, w = _placed(lib, shape.x(), memory_format), _placed(lib, shape.w(), memory_format)
            return lambda: lib.F.conv2d(x, w, None, shape.stride, shape.padding, 1, shape.groups)

        return {name: prepare(memory_format) for name, memory_format in _formats(lib).items()}

    def numpy(lib: Lib) -> Timed:
        x, w = ops.batch_last(shape.x()), shape.w()
        cols = ops.conv2d(x, w, None, *_pairs(shape))[1]
        return lambda: ops.conv2d(x, w, None, *_pairs(shape), cols)[0]

    return sides(tensors, numpy)


def _pairs(shape: Shape) -> tuple[tuple[int, int], tuple[int, int], int]:
    return (shape.stride, shape.stride), (shape.padding, shape.padding), shape.groups


def _backward(shape: Shape, of: str) -> dict[str, Any]:
    def tensors(lib: Lib) -> Timed:
        def prepare(memory_format: Any) -> Call:
            x = _placed(lib, shape.x(), memory_format, of == "x")
            w = _placed(lib, shape.w(), memory_format, of == "w")
            y = lib.F.conv2d(x, w, None, shape.stride, shape.padding, 1, shape.groups)
            dy = _placed(lib, shape.dy(), memory_format)
            return lambda: lib.grad(y, x if of == "x" else w, dy)

        return {name: prepare(memory_format) for name, memory_format in _formats(lib).items()}

    def numpy(lib: Lib) -> Timed:
        x, w, dy = ops.batch_last(shape.x()), shape.w(), ops.batch_last(shape.dy())
        cols = ops.conv2d(x, w, None, *_pairs(shape))[1]
        if of == "w":  # the columns are there since the forward pass
            return lambda: ops.conv2d_grad_weight(dy, cols, w, shape.groups)
        return lambda: ops.conv2d_grad_input(dy, w, x.shape, *_pairs(shape), cols)

    return sides(tensors, numpy)


def _fast(sides: dict[str, Any]) -> dict[str, Any]:
    """fastnn where a little more rounding is allowed, against the others as they are."""

    def fastnn(lib: Lib) -> Timed:
        def allowed(call: Call) -> Call:
            def run() -> Any:
                with lib.xp.precision("fp32_fast"):
                    return call()

            return run

        return {name: allowed(call) for name, call in sides["fastnn"](lib).items()}

    return {**sides, "fastnn": fastnn}


def convolution(shape: Shape, fast: bool = False) -> list[Row]:
    def row(name: str, sides: dict[str, Any], headline: str = "") -> Row:
        if fast:
            name, sides, headline = f"{name}, fp32_fast", _fast(sides), ""
        return Row("conv", f"{shape.name} {name}", sides, shape.flops, shape.bytes, (ALL,), headline=headline)

    rows = [
        row("forward", _forward(shape), shape.headline),
        row("dX", _backward(shape, "x"), shape.headline and shape.headline + ", input gradient"),
        row("dW", _backward(shape, "w"), shape.headline and shape.headline + ", weight gradient"),
    ]
    return [rows[0], rows[2]] if shape.c <= 3 else rows  # nobody asks for the gradient of the images


def pooling(name: str, n: int, c: int, h: int, kernel: int, backward: bool) -> Row:
    p = h // kernel
    index = 1.0 if name == "max" else 0.0  # bytes per output that remember where the maximum was

    def tensors(lib: Lib) -> Timed:
        def prepare(memory_format: Any) -> Call:
            pool = lib.F.max_pool2d if name == "max" else lib.F.avg_pool2d
            x = _placed(lib, floats(n, c, h, h), memory_format, backward)
            if not backward:
                return lambda: pool(x, kernel)
            y, dy = pool(x, kernel), _placed(lib, floats(n, c, p, p, seed=1), memory_format)
            return lambda: lib.grad(y, x, dy)

        return {name: prepare(memory_format) for name, memory_format in _formats(lib).items()}

    def numpy(lib: Lib) -> Timed:
        x, dy = ops.batch_last(floats(n, c, h, h)), ops.batch_last(floats(n, c, p, p, seed=1))
        if name == "avg":
            return (
                (lambda: ops.avg_pool2d_backward(dy, x.shape, kernel))
                if backward
                else lambda: ops.avg_pool2d(x, kernel)
            )
        y = ops.max_pool2d(x, kernel)
        return (
            (lambda: ops.max_pool2d_backward(dy, x, y, kernel))
            if backward
            else lambda: ops.max_pool2d(x, kernel)
        )

    return Row(
        "conv",
        f"{name}-pool {kernel}x{kernel} N{n} C{c} @{h} {'backward' if backward else 'forward'}",
        sides(tensors, numpy),
        bytes=n * c * (4.0 * h * h + (4 + index) * p * p),
        headline="" if backward or name == "avg" else f"max-pool {kernel}x{kernel}, {n}x{c}x{h}x{h}",
    )


ROWS = [
    *[row for shape in SHAPES for row in convolution(shape)],
    *[
        row
        for shape in SHAPES
        if shape.r == 3 and shape.stride == 1 and shape.c // shape.groups >= 64 and shape.n > 1
        for row in convolution(shape, fast=True)
    ],
    *[pooling(name, 32, 64, 56, 2, backward) for name in ("max", "avg") for backward in (False, True)],
]
