"""What is measured: a row is one computation, written once per library, with the least work that it takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

Call = Callable[[], Any]
ALL = 0  # threads: as many as there are cores


@dataclass(frozen=True)
class Repeat:
    """A computation that repeats itself, `run(times)`: one of well under a microsecond, whose loop would count, or one
    that ends with waiting for a device, which shorter samples than `sample` seconds would feel."""

    run: Callable[[int], None]
    sample: float = 200e-6


# One way to compute the row, or several by name, of which the fastest counts: both memory formats, say.
Timed = Call | Repeat | dict[str, Call]


@dataclass(frozen=True)
class Lib:
    """A library as the rows see it. fastnn and torch share their names; rows say `lib.xp` for either."""

    name: str
    xp: Any
    threads: int = 1
    graphed: bool = False  # PyTorch, replaying CUDA graphs

    @cached_property
    def nn(self) -> Any:
        return import_module(f"{self.name}.nn")

    @cached_property
    def F(self) -> Any:
        return import_module(f"{self.name}.nn.functional")

    @cached_property
    def optim(self) -> Any:
        return import_module(f"{self.name}.optim")

    def tensor(self, array: NDArray[Any], requires_grad: bool = False) -> Any:
        return self.xp.tensor(array, requires_grad=requires_grad)

    def grad(self, y: Any, x: Any, dy: Any) -> Any:
        """The gradient of sum(y dy) with respect to x alone; the graph stays, so it can be timed again."""
        return self.grads(y, [x], dy)[0]

    def grads(self, y: Any, xs: list[Any], dy: Any) -> Any:
        grad = self.xp.autograd.grad if self.name == "torch" else self.xp.grad
        return grad(y, xs, dy, retain_graph=True)


@dataclass(frozen=True)
class Row:
    subject: str
    name: str
    sides: Mapping[str, Callable[[Lib], Timed]]  # library -> how it does it
    flops: float = 0  # multiplications and additions that the definition asks for
    bytes: float = (
        0  # bytes that have to cross the memory bus at least, with every operand read or written once
    )
    threads: tuple[int, ...] = (1, ALL)
    comparable: bool = True  # the libraries return the same values
    headline: str = field(default="")  # its name in the README, if it belongs there

    @property
    def key(self) -> str:
        return f"{self.subject}/{self.name}"


def sides(
    tensors: Callable[[Lib], Timed] | None = None,
    numpy: Callable[[Lib], Timed] | None = None,
    torch: Callable[[Lib], Timed] | None = None,
    fastnn: Callable[[Lib], Timed] | None = None,
    onnxruntime: Callable[[Lib], Timed] | None = None,
) -> dict[str, Callable[[Lib], Timed]]:
    """`tensors` serves fastnn and torch alike; `torch` takes its place where torch has a faster way."""
    found = {
        "fastnn": fastnn or tensors,
        "torch": torch or tensors,
        "numpy": numpy,
        "onnxruntime": onnxruntime,
    }
    return {name: side for name, side in found.items() if side}


def floats(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    """Uniform in [-0.5, 0.5): no overflow, no denormals."""
    x = np.random.default_rng(seed).random(shape, np.float32)
    x -= np.float32(0.5)
    return x
