"""What a row of the op table is: the op, the same in NumPy and PyTorch, and the inputs, drawn by kind and size.

Sizes that matter: one below, at and one above each vector width, a few thousand odd ones, one large enough for two
threads, zero-size, 0-d.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

FLOATS = ("float32", "float64")
NUMERIC = (*FLOATS, "int64", "int32", "uint8")


@dataclass(frozen=True)
class Arg:
    """An array to be drawn. Floats take the dtype under test, so do ``whole`` numbers; indices are int64, masks bool."""

    shape: tuple[int, ...]
    draw: Callable[[np.random.Generator, tuple[int, ...]], np.ndarray] = field(repr=False)
    dtype: str | None = None
    differentiable: bool = True

    @property
    def size(self) -> int:
        return math.prod(self.shape)


def normal(*shape: int) -> Arg:
    return Arg(shape, lambda rng, s: rng.standard_normal(s))


def between(low: float, high: float) -> Callable[..., Arg]:
    return lambda *shape: Arg(shape, lambda rng, s: rng.uniform(low, high, s))


positive = between(0.3, 3)


def nonzero(*shape: int) -> Arg:
    """Away from 0, where |x|, sign, relu and 1 / x have a kink or a pole."""
    return Arg(shape, lambda rng, s: rng.uniform(0.2, 2, s) * rng.choice([-1, 1], s))


def distinct(*shape: int) -> Arg:
    """No two equal, in random order: the maximum is unique, also within a finite difference."""
    return Arg(shape, lambda rng, s: rng.permutation(np.linspace(-2, 2, math.prod(s))).reshape(s))


def whole(*shape: int) -> Arg:
    """Small whole numbers, many of them equal, exact in every dtype."""
    return Arg(shape, lambda rng, s: rng.integers(0, 7, s), differentiable=False)


def masks(*shape: int) -> Arg:
    return Arg(shape, lambda rng, s: rng.random(s) < 0.5, "bool", differentiable=False)


def indices(high: int, *shape: int) -> Arg:
    return Arg(shape, lambda rng, s: rng.integers(0, high, s), "int64", differentiable=False)


@dataclass(frozen=True)
class Case:
    """One row. Errors are allowed up to eps(dtype) * (``error`` * |expected| + ``spread`` * max |expected|).

    ``exact``: no rounding at all. ``gradient``: how often it can be differentiated in a meaningful way (0, 1 or 2).
    ``special``: values that an op defined by element treats as NumPy does, every combination of them.
    ``threaded``: the largest input is work for a second thread. ``transposable``: bits do not depend on which
    operand lies transposed in memory (products sum in another order then).
    """

    name: str
    call: Callable[..., Any] = field(repr=False)
    numpy: Callable[..., Any] | None = field(repr=False)
    torch: Callable[..., Any] | None = field(repr=False)
    inputs: Sequence[tuple[Arg, ...]] = field(repr=False)
    dtypes: tuple[str, ...] = FLOATS
    error: float = 4
    spread: float = 0
    exact: bool = False
    gradient: int = 2
    special: tuple[float, ...] = ()
    threaded: bool = True
    transposable: bool = True

    @property
    def small(self) -> list[tuple[Arg, ...]]:
        """Inputs cheap enough for one evaluation per element."""
        return [args for args in self.inputs if sum(a.size for a in args) <= 80]

    @property
    def large(self) -> tuple[Arg, ...]:
        return max(self.inputs, key=lambda args: sum(a.size for a in args))


class _Peer:
    """A module's functions by name, looked up when called: the table can be read where PyTorch is not installed."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __getattr__(self, name: str) -> _Peer:
        return _Peer(f"{self._path}.{name}")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        module, _, name = self._path.rpartition(".")
        return getattr(importlib.import_module(module), name)(*args, **kwargs)


torch, TF = _Peer("torch"), _Peer("torch.nn.functional")

SPECIAL = (
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.5,
    -2.0,
    3.0,
    1e-40,
    -1e-40,
    1e-320,
    1e30,
    -1e30,
    math.inf,
    -math.inf,
    math.nan,
)
UNSIGNED = tuple(v for v in SPECIAL if v != 0)  # where the order of 0.0 and -0.0 is nobody's promise

WIDTHS = (2, 4, 8, 16)
TAILS = sorted({w + d for w in WIDTHS for d in (-1, 0, 1)})
LARGE = (11, 40009)  # enough work for a second thread in the cheapest kernel, odd in every sense


def unary(kind: Callable[..., Arg]) -> list[tuple[Arg, ...]]:
    shapes = [(), (0,), (0, 3), (5, 7), (2, 3, 4), (3001,), LARGE, *((n,) for n in TAILS)]
    return [(kind(*shape),) for shape in shapes]


def binary(kind: Callable[..., Arg], other: Callable[..., Arg] | None = None) -> list[tuple[Arg, ...]]:
    """Equal shapes of every tail, and shapes that broadcast: rows, columns, outer products, numbers, nothing."""
    pairs = [((n,), (n,)) for n in TAILS]
    pairs += [
        ((5, 7), (7,)),
        ((5, 1), (1, 7)),
        ((2, 1, 3), (4, 1)),
        ((), (6,)),
        ((6,), ()),
        ((), ()),
        ((1,), (9,)),
    ]
    pairs += [
        ((0,), (1,)),
        ((0, 3), (3,)),
        ((3001,), (3001,)),
        ((129, 1), (129, 65)),
        (LARGE, LARGE),
        (LARGE, LARGE[1:]),
    ]
    return [(kind(*a), (other or kind)(*b)) for a, b in pairs]


def all_dtypes(inputs: Callable[..., list[tuple[Arg, ...]]]) -> list[tuple[Arg, ...]]:
    return inputs(whole)
