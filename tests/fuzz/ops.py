"""Fuzz target: any function of the extension and any method of Tensor, with any arguments, several in a row.

Right: a result, or one of the errors that the documentation names. A result that is no tensor of sensible size
ends there; the others are arguments of the next call, and at last gradients are taken through all of it.
"""

from __future__ import annotations

import operator
from types import FunctionType
from typing import Any

import fastnn as fn
import numpy as np
from fuzz.choices import Choices

CLEAR = (
    ValueError,
    IndexError,
    TypeError,
    RuntimeError,
    MemoryError,
    OverflowError,
    BufferError,
)  # the last: NumPy's
LARGEST = 1 << 16  # elements of a tensor that is used further

# What would end the process or every later input's sense, belongs to a device, or hands out addresses.
LEFT_OUT = {
    "_fail_allocation_after", "_set_repr", "_set_data", "_manual_seed", "_set_rng_state", "_set_precision",
    "_set_grad_enabled", "set_num_threads", "data_ptr", "_record_function", "_call_forward",
}  # fmt: skip
DTYPES = (fn.float32, fn.float64, fn.bfloat16, fn.float16, fn.int64, fn.int32, fn.uint8, fn.bool)
NUMBERS = (0, 1, -1, 2, 3, -2, 5, 7, 64, -(2**31), 2**48, 2**62, 2**63 - 1, -(2**63), 2**64)
FLOATS = (0.0, 1.0, -0.5, 2.5, -0.0, 1e-40, 3e38, 1e308, float("inf"), float("-inf"), float("nan"))
WORDS = (
    "mean",
    "sum",
    "none",
    "same",
    "valid",
    "cpu",
    "cuda",
    "cuda:7",
    "relu",
    "tanh",
    "zeros",
    "x",
    "",
    "\0",
    "é" * 300,
)
OPERATORS = (
    operator.add, operator.sub, operator.mul, operator.truediv, operator.pow, operator.matmul, operator.and_,
    operator.or_, operator.eq, operator.lt, operator.iadd, operator.imul, operator.isub, operator.itruediv,
    operator.ipow, operator.getitem, operator.neg, operator.abs, operator.invert, operator.setitem, float, int, bool, len,
    list, repr, np.asarray, np.exp, hash,
)  # fmt: skip


def callables() -> list[Any]:
    names = [
        name for name in dir(fn._C) if name not in LEFT_OUT and not name.startswith(("__", "_cuda", "_Trace"))
    ]
    found: list[Any] = [getattr(fn._C, name) for name in names]
    # Methods, with the tensor as any other argument: it may be no tensor at all.
    found += [getattr(fn.Tensor, name) for name in dir(fn.Tensor) if name not in LEFT_OUT and name[0] != "_"]
    return [f for f in found if callable(f)] + list(OPERATORS)


CALLABLES = callables()


def run(data: bytes) -> None:
    choices = Choices(data)
    pool = [tensor(choices) for _ in range(choices.between(1, 3))]
    with fn.enable_grad():
        for _ in range(choices.between(1, 6)):
            f = CALLABLES[(choices.byte() << 8 | choices.byte()) % len(CALLABLES)]
            arguments = [argument(choices, pool) for _ in range(choices.below(9))]
            if f in OPERATORS or isinstance(f, FunctionType):  # of Python, where `self` may be anything
                arguments[:1] = [choices.pick(pool)]
            names = {
                choices.pick(NAMES): argument(choices, pool) for _ in range(choices.pick((0, 0, 0, 1, 2)))
            }
            keep(attempt(lambda: f(*arguments, **names)), pool)  # noqa: B023 (called at once)
        if choices.below(2):
            for t in pool[-2:]:
                attempt(lambda: t.sum().backward())  # noqa: B023
    for t in pool:  # what is left is whole
        assert t.numel() == np.prod(t.shape, dtype=object)
        attempt(lambda: t.detach().to(fn.float64).numpy().sum())  # noqa: B023


NAMES = (
    "dim",
    "dtype",
    "out",
    "keepdim",
    "device",
    "reduction",
    "weight",
    "padding",
    "stride",
    "requires_grad",
    "x",
)


def attempt(call: Any) -> Any:
    try:
        return call()
    except CLEAR as error:
        refusal = error
    text = str(refusal).strip()
    assert text, f"an error without words: {refusal!r}"
    assert not text.startswith("std::"), text
    return None


def keep(result: Any, pool: list[fn.Tensor]) -> None:
    for t in result if isinstance(result, tuple | list) else (result,):
        if isinstance(t, fn.Tensor) and t.numel() <= LARGEST and len(pool) < 8:
            pool.append(t)


def tensor(choices: Choices) -> fn.Tensor:
    shape = [choices.pick((2, 3, 1, 0, 5, 4, 9)) for _ in range(choices.below(5))]
    dtype = choices.pick(DTYPES)
    count = int(np.prod(shape, dtype=int))
    values = np.resize(np.array([choices.between(-3, 8) for _ in range(6)], np.float64), count).reshape(shape)
    t = fn.from_numpy(values).to(dtype)
    for _ in range(choices.below(3)):
        if t.dim() == 0:
            break
        i, j = choices.below(t.dim()), choices.below(t.dim())
        kind = choices.below(3)
        if kind == 0:
            t = t.transpose(i, j)
        elif kind == 1:
            t = t[(slice(None),) * i + (slice(choices.below(2), None, choices.between(1, 2)),)]
        elif t.shape[i] == 1:
            t = t.expand([choices.between(1, 3) if k == i else -1 for k in range(t.dim())])
    if t.is_floating_point() and choices.below(2):
        t.requires_grad_()
    return t


def argument(choices: Choices, pool: list[fn.Tensor], depth: int = 0) -> Any:
    kind = choices.below(16)
    if kind <= 5:
        return choices.pick(pool)
    if kind <= 8:
        return choices.pick(NUMBERS)
    if kind == 9:
        return choices.pick(FLOATS)
    if kind == 10:
        return choices.pick((None, True, False, ..., slice(None), slice(1, None, 2)))
    if kind == 11:
        return choices.pick(WORDS)
    if kind == 12:
        return choices.pick(DTYPES)
    if kind <= 14 and depth < 3:
        items = [argument(choices, pool, depth + 1) for _ in range(choices.below(5))]
        return items if kind == 13 else tuple(items)
    return choices.pick(
        (
            np.float32(2.5),
            np.int64(-1),
            np.array([0, 1, 1]),
            np.ones((2, 3)),
            np.array(["a"]),
            1j,
            b"raw",
            object,
            len,
        )
    )
