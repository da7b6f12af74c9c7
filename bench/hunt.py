"""`python -m bench hunt`: random shapes of each family against the faster of PyTorch and NumPy, for cliffs.

All libraries share one process with one thread each, so that thousands of shapes take minutes; calls alternate, and the
best sample of each counts. What is worst is printed with its ratio (above 1: fastnn is faster), to be looked into by rows.
"""

from __future__ import annotations

import importlib.util
import math
import statistics
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .rows import Call, Lib, floats
from .timing import Timer
from .worker import load

Random = np.random.Generator
Sides = dict[str, Callable[[Lib], Call]]
Case = tuple[str, Sides]
LIBRARIES = ("fastnn", "torch", "numpy")


def size(rng: Random, low: int, high: int) -> int:
    """From `low` to `high`, as likely in each octave; powers of two more often than chance."""
    drawn = round(math.exp(rng.uniform(math.log(low), math.log(high))))
    if rng.random() < 0.25:
        drawn = 1 << round(math.log2(drawn))
    return min(max(drawn, low), high)


def pick(rng: Random, *choices: Any) -> Any:
    return choices[rng.integers(len(choices))]


def array(lib: Lib, x: Any) -> Any:
    return x if lib.name == "numpy" else lib.tensor(x)


def on(*names: str, call: Callable[[Lib], Call]) -> Sides:
    return dict.fromkeys(names, call)


def products(rng: Random) -> Case:
    while True:
        m, n, k = (size(rng, 1, 2048) for _ in range(3))
        if 1000 < m * n * k < 2e8:
            break
    kind = pick(rng, "NN", "NT", "TN", "TT")

    def call(lib: Lib) -> Call:
        a = array(lib, floats(*((m, k) if kind[0] == "N" else (k, m))))
        b = array(lib, floats(*((k, n) if kind[1] == "N" else (n, k)), seed=1))
        a, b = (a if kind[0] == "N" else a.T), (b if kind[1] == "N" else b.T)
        return lambda: lib.xp.matmul(a, b)

    return f"{kind} {m}x{n}x{k}", on(*LIBRARIES, call=call)


def batched(rng: Random) -> Case:
    b, m, n, k = size(rng, 2, 256), *(size(rng, 1, 128) for _ in range(3))

    def call(lib: Lib) -> Call:
        x, y = array(lib, floats(b, m, k)), array(lib, floats(b, k, n, seed=1))
        return lambda: lib.xp.matmul(x, y)

    return f"{b} of {m}x{n}x{k}", on(*LIBRARIES, call=call)


def convolutions(rng: Random) -> Case:
    while True:
        r, s = pick(rng, (1, 1), (3, 3), (3, 3), (5, 5), (7, 7), (1, 7), (7, 1), (4, 4), (2, 3))
        groups = pick(rng, 1, 1, 1, 2, 4, "depthwise")
        channels, filters = size(rng, 1, 256), size(rng, 1, 256)
        if groups == "depthwise":
            groups = filters = channels
        channels, filters = -(-channels // groups) * groups, -(-filters // groups) * groups
        n, h, w = size(rng, 1, 16), size(rng, 4, 64), size(rng, 4, 64)
        stride, dilation = pick(rng, 1, 1, 1, 2), pick(rng, 1, 1, 1, 2)
        padding = int(rng.integers(0, max(r, s) // 2 * dilation + 1))
        out = [(x + 2 * padding - dilation * (t - 1) - 1) // stride + 1 for x, t in ((h, r), (w, s))]
        if min(out) > 0 and 1e4 < n * math.prod(out) * filters * channels // groups * r * s < 2e8:
            break
    trains = bool(rng.integers(2))

    def call(lib: Lib) -> Call:
        x, weight = (
            lib.tensor(floats(n, channels, h, w)),
            lib.tensor(floats(filters, channels // groups, r, s)),
        )
        x.requires_grad_(trains)
        weight.requires_grad_(trains)

        def forward() -> Any:
            return lib.F.conv2d(x, weight, None, stride, padding, dilation, groups)

        if not trains:
            return forward
        dy = lib.tensor(floats(n, filters, *out))
        return lambda: lib.grads(forward(), [x, weight], dy)

    name = f"N{n} {channels}->{filters} {r}x{s}/{stride} @{h}x{w} pad {padding} dilation {dilation} groups {groups}"
    return f"{name}{' training' if trains else ''}", on("fastnn", "torch", call=call)


def operand(rng: Random, shape: tuple[int, ...]) -> tuple[str, Callable[[Lib, int], Any]]:
    """A tensor of that shape in some layout: its name, and what makes it from a seed."""
    layout = pick(rng, "dense", "dense", "permuted", "every second", "rows of a wider one")

    def make(lib: Lib, seed: int) -> Any:
        if layout == "permuted":
            x, axes = array(lib, floats(*shape[::-1], seed=seed)), tuple(range(len(shape)))[::-1]
            return x.transpose(axes) if lib.name == "numpy" else x.permute(axes)
        if layout == "every second":
            return array(lib, floats(*shape[:-1], 2 * shape[-1], seed=seed))[..., ::2]
        if layout == "rows of a wider one":
            return array(lib, floats(*shape[:-1], shape[-1] + 5, seed=seed))[..., : shape[-1]]
        return array(lib, floats(*shape, seed=seed))

    return layout, make


def some_shape(rng: Random, most: float = 1e6) -> tuple[int, ...]:
    while True:
        shape = tuple(size(rng, 1, 2000) for _ in range(int(rng.integers(2, 4))))
        if 10 < math.prod(shape) < most:
            return shape


UNARY = ("exp", "tanh", "sqrt", "abs", "log1p", "log")
BINARY = ("add", "mul", "div", "maximum", "sub")
OF_NUMPY = {"mul": "multiply", "div": "divide", "sub": "subtract"}


def elementwise(rng: Random) -> Case:
    shape, kind = some_shape(rng), pick(rng, "unary", "binary", "power", "activation", "broadcast")
    layout, make = operand(rng, shape)
    if kind == "power":
        exponent = pick(rng, 2, 3, -1, 0.5, 1.7)

        def call(lib: Lib) -> Call:
            x = abs(make(lib, 0)) if exponent in (1.7, 0.5) else make(lib, 0)
            return lambda: x**exponent

        return f"** {exponent} {shape} {layout}", on(*LIBRARIES, call=call)
    op = pick(rng, *{"unary": UNARY, "activation": ("relu", "sigmoid", "erf")}.get(kind, BINARY))
    names = ("fastnn", "torch") if kind == "activation" else LIBRARIES
    across = pick(rng, shape[-1:], (*shape[:-1], 1))

    def call_op(lib: Lib) -> Call:
        f = getattr(lib.xp, OF_NUMPY.get(op, op) if lib.name == "numpy" else op)
        x = abs(make(lib, 0)) if op.startswith(("sqrt", "log")) else make(lib, 0)
        if kind in ("unary", "activation"):
            return lambda: f(x)
        y = make(lib, 1) if kind == "binary" else array(lib, floats(*across, seed=1))
        return lambda: f(x, y)

    return f"{op} {shape} {layout}{f' with {across}' if kind == 'broadcast' else ''}", on(
        *names, call=call_op
    )


def reductions(rng: Random) -> Case:
    shape, op = some_shape(rng), pick(rng, "sum", "mean", "max", "argmax", "softmax", "log_softmax")
    layout, make = operand(rng, shape)
    dim = pick(rng, *range(len(shape)), *([None] if "softmax" not in op else []))

    def call(lib: Lib) -> Call:
        x = make(lib, 0)
        if "softmax" in op:
            f = getattr(lib.xp, op)
            return lambda: f(x, dim)
        f = getattr(x, op)
        return f if dim is None else (lambda: f(dim))

    return f"{op} of {shape} along {dim} {layout}", on(
        *(LIBRARIES[:2] if "softmax" in op else LIBRARIES), call=call
    )


def copies(rng: Random) -> Case:
    shape = some_shape(rng)
    layout, make = operand(rng, shape)
    op = pick(rng, "copy", "cat", "rows by index", "transposed")
    axis = int(rng.integers(len(shape)))
    chosen = rng.integers(0, shape[0], size(rng, 1, 2000))

    def call(lib: Lib) -> Call:
        x = make(lib, 0)
        if op == "cat":
            y = make(lib, 1)
            if lib.name == "numpy":
                return lambda: np.concatenate([x, y], axis)
            return lambda: lib.xp.cat([x, y], axis)
        if op == "rows by index":
            index = array(lib, chosen)
            return lambda: x[index]
        if op == "copy":
            return (lambda: np.array(x, order="C")) if lib.name == "numpy" else (lambda: x.clone())
        turned = x.swapaxes(0, axis) if lib.name == "numpy" else x.transpose(0, axis)
        return (lambda: np.array(turned, order="C")) if lib.name == "numpy" else (lambda: turned.contiguous())

    return f"{op} {shape} {layout} axis {axis}, {len(chosen)} chosen", on(*LIBRARIES, call=call)


def pools(rng: Random) -> Case:
    n, c, h, w = size(rng, 1, 16), size(rng, 1, 64), size(rng, 6, 64), size(rng, 6, 64)
    kernel, stride = int(rng.integers(2, 6)), int(rng.integers(1, 4))
    op, trains = pick(rng, "max_pool2d", "avg_pool2d"), bool(rng.integers(2))

    def call(lib: Lib) -> Call:
        x = lib.tensor(floats(n, c, h, w), requires_grad=trains)
        f = getattr(lib.F, op)
        if not trains:
            return lambda: f(x, kernel, stride)
        dy = lib.xp.ones_like(f(x, kernel, stride)).detach()
        return lambda: lib.grad(f(x, kernel, stride), x, dy)

    name = f"{op} {n}x{c}x{h}x{w} {kernel}/{stride}{' training' if trains else ''}"
    return name, on("fastnn", "torch", call=call)


FAMILIES: dict[str, Callable[[Random], Case]] = {
    family.__name__: family
    for family in (products, batched, convolutions, elementwise, reductions, copies, pools)
}


def cases(family: str, seed: int, count: int) -> Iterator[Case]:
    rng = np.random.default_rng([seed, list(FAMILIES).index(family)])
    for _ in range(count):
        yield FAMILIES[family](rng)


def ratio(sides: Sides, libs: list[Lib], seconds: float) -> float:
    """The faster peer's time over fastnn's, of alternating rounds."""
    timers = {lib.name: Timer(sides[lib.name](lib)) for lib in libs if lib.name in sides}
    best = dict.fromkeys(timers, math.inf)
    for _ in range(3):
        for name, timer in timers.items():
            best[name] = min(best[name], *timer.samples(seconds / 3))
    return min(time for name, time in best.items() if name != "fastnn") / best["fastnn"]


def summary(ratios: list[float]) -> str:
    below = (f"{sum(r < mark for r in ratios) / len(ratios):.1%} below {mark}x" for mark in (1.0, 0.7, 0.5))
    return (
        f"{len(ratios)} shapes, geometric mean {statistics.geometric_mean(ratios):.2f}x, {', '.join(below)}"
    )


def main(families: list[str], seed: int, count: int, worst: int, seconds: float = 0.004) -> int:
    libs = [load(name, 1) for name in LIBRARIES if importlib.util.find_spec(name)]
    for family in families or FAMILIES:
        found = []
        for name, sides in cases(family, seed, count):
            try:
                found.append((ratio(sides, libs, seconds), name))
            except Exception as error:  # of one library; the hunt goes on
                print(f"{family}: {name}: {type(error).__name__}: {error}", file=sys.stderr)
        print(f"{family}: {summary([r for r, _ in found])}", flush=True)
        for r, name in sorted(found)[:worst]:
            print(f"    {r:5.2f}  {name}", flush=True)
    return 0
