"""What a call costs when there is next to nothing to compute: arguments, dispatch, allocation, the graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .rows import Lib, Repeat, Row, Timed, sides

ONE = np.ones(1, np.float32)


def _row(
    name: str, tensors: Callable[[Lib], Timed], numpy: Callable[[Lib], Timed] | None = None, title: str = ""
) -> Row:
    return Row("overhead", name, sides(tensors, numpy), threads=(1,), comparable=False, headline=title)


def _square(x: Any) -> Repeat:
    def run(times: int) -> None:
        for _ in range(times):
            x * x

    return Repeat(run)


def _relu(lib: Lib) -> Timed:
    x, relu = lib.tensor(ONE), lib.F.relu

    def run(times: int) -> None:
        for _ in range(times):
            relu(x)

    return Repeat(run)


def _view(x: Any) -> Repeat:
    """A view: a new tensor object and no kernel."""

    def run(times: int) -> None:
        for _ in range(times):
            x.reshape(1, 1)

    return Repeat(run)


def _property(x: Any) -> Repeat:
    """The cheapest way into the library and back."""

    def run(times: int) -> None:
        for _ in range(times):
            x.ndim  # noqa: B018

    return Repeat(run)


def _square_and_back(lib: Lib) -> Timed:
    x = lib.tensor(ONE, requires_grad=True)

    def run(times: int) -> None:
        for _ in range(times):
            x.grad = None
            (x * x).backward()

    return Repeat(run)


def _product(lib: Lib) -> Timed:
    a = np.eye(4, dtype=np.float32)
    a = a if lib.name == "numpy" else lib.tensor(a)

    def run(times: int) -> None:
        for _ in range(times):
            a @ a

    return Repeat(run)


ROWS = [
    _row(
        "x * x, one element",
        lambda lib: _square(lib.tensor(ONE)),
        lambda lib: _square(ONE),
        "x * x, one element",
    ),
    _row(
        "x * x, one element, recorded for backward",
        lambda lib: _square(lib.tensor(ONE, requires_grad=True)),
        title="x * x, one element, recorded for backward",
    ),
    _row("x * x and backward, one element", _square_and_back),
    _row("relu, one element", _relu),
    _row("A @ A, 4x4", _product, _product),
    _row("x.reshape, a view", lambda lib: _view(lib.tensor(ONE)), lambda lib: _view(ONE)),
    _row("x.ndim", lambda lib: _property(lib.tensor(ONE)), lambda lib: _property(ONE)),
]
