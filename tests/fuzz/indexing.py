"""Fuzz target: ``x[key]``, ``x[key] = v`` and their gradients, beside NumPy's.

Right: NumPy's elements, and an error where NumPy has one. Integers beside arrays are taken first, as in PyTorch (NumPy
counts them among the arrays).
"""

from __future__ import annotations

from typing import Any

import fastnn as fn
import numpy as np
from fuzz.choices import Choices

NUMBERS = (0, 1, -1, 2, -2, 3, 4, -5, 2**31, -(2**63), 2**64)
DTYPES = ("float32", "float64", "int64", "bool")


def run(data: bytes) -> None:
    choices = Choices(data)
    x = make(choices)
    key = tuple(entry(choices, x) for _ in range(choices.below(5)))
    if len(key) == 1 and choices.below(2):
        key = key[0]
    if choices.below(3):
        read(x, key)
    else:
        write(x, key, choices)


def make(choices: Choices) -> np.ndarray:
    """An array of up to four dimensions, often a view of a larger one."""
    shape = [choices.between(0, 4) for _ in range(choices.below(5))]
    x = np.arange(1.0, 1 + np.prod(shape, dtype=int)).reshape(shape).astype(choices.pick(DTYPES))
    for _ in range(choices.below(3)):
        if x.ndim and choices.below(2):
            x = x[
                (slice(None),) * choices.below(x.ndim)
                + (slice(choices.below(3), None, choices.between(1, 3)),)
            ]
        else:
            order = list(range(x.ndim))
            for i in order:
                j = choices.between(0, i)
                order[i], order[j] = order[j], order[i]
            x = x.transpose(order)
    return x


def entry(choices: Choices, x: np.ndarray) -> Any:
    kind = choices.below(9)
    if kind == 0:
        return choices.pick(NUMBERS)
    if kind <= 2:
        bounds = [choices.pick((None, choices.pick(NUMBERS))) for _ in range(2)]
        return slice(*bounds, choices.pick((None, 1, 2, -1, 3, -2, 2**62, 0)))
    if kind == 3:
        return None
    if kind == 4:
        return ...
    shape = [choices.between(0, 3) for _ in range(choices.below(3))]
    if kind == 5:
        shape = shape or [choices.between(0, 3)]
        return np.array([choices.below(2) for _ in range(np.prod(shape, dtype=int))], bool).reshape(shape)
    if kind == 6:  # a mask that fits
        shape = x.shape[choices.below(3) :][: choices.between(1, 2)] or (2,)
        return np.array([choices.below(2) for _ in range(np.prod(shape, dtype=int))], bool).reshape(shape)
    values = np.array([choices.between(-3, 3) for _ in range(np.prod(shape, dtype=int))], np.int64).reshape(
        shape
    )
    return values.tolist() if kind == 7 else values.astype(choices.pick(("int64", "int32", "uint8")))


def is_array(part: Any) -> bool:
    return isinstance(part, list) or (isinstance(part, np.ndarray) and part.ndim > 0)


def number(part: Any) -> Any:
    """An array without dimensions as the integer that it is: it gives a view."""
    return int(part) if isinstance(part, np.ndarray) and part.ndim == 0 and part.dtype != bool else part


def consumes(part: Any) -> int:
    """How many dimensions a part of a key is about."""
    if is_array(part):
        return part.ndim if part.dtype == bool else 1
    return 0 if part is None or part is ... else 1


def reference(x: np.ndarray, key: Any) -> tuple[np.ndarray, Any]:
    """The view of x by all of the key but its arrays, and the key that is left for that view."""
    parts = key if isinstance(key, tuple) else (key,)
    if not any(map(is_array, parts)):
        return x, key
    parts = [np.array(part, np.int64) if isinstance(part, list) else number(part) for part in parts]
    used = [consumes(part) for part in parts]
    view: list[Any] = []
    rest: list[Any] = []
    for part, dims in zip(parts, used, strict=True):
        if is_array(part):
            view += [slice(None)] * dims
            rest.append(part)
        else:
            view.append(part)
            if part is ...:
                rest += [slice(None)] * (x.ndim - sum(used))
            elif part is None or isinstance(part, slice):
                rest.append(slice(None))
    taken, axis = x[tuple(view)], 0
    for part in rest:
        dims = consumes(part)
        if is_array(part) and part.dtype == bool and part.shape != taken.shape[axis : axis + dims]:
            raise IndexError("a mask of another shape")  # NumPy takes any that has no elements
        axis += dims
    return taken, tuple(rest)


def mine(key: Any) -> Any:
    """The key with fastnn's tensors in place of half of NumPy's arrays."""
    if isinstance(key, tuple):
        return tuple(mine(part) if i % 2 else part for i, part in enumerate(key))
    return fn.from_numpy(key.copy()) if isinstance(key, np.ndarray) and key.ndim else key


def tensor(x: np.ndarray) -> fn.Tensor:
    """The same view of memory of its own."""
    base = x
    while base.base is not None:
        base = base.base
    copy = base.copy()
    offset = x.__array_interface__["data"][0] - base.__array_interface__["data"][0]
    return fn.from_numpy(np.ndarray(x.shape, x.dtype, copy, offset, x.strides))


def outcome(f: Any) -> tuple[Any, Exception | None]:
    try:
        return f(), None
    except (IndexError, ValueError, TypeError, OverflowError) as error:
        return None, error


def agree(theirs: Exception | None, ours: Exception | None, selected: Any) -> bool:
    """Whether there are two results, and no two errors. One of each is a fault."""
    if theirs:
        assert ours, f"NumPy refuses it: {theirs!r}"
    elif ours and not (
        np.size(selected) == 0 and "is out of range" in str(ours)
    ):  # NumPy checks some of them
        raise AssertionError(f"NumPy takes it: {ours!r}")
    return not ours


def take(x: Any, key: Any) -> Any:
    return np.asarray(x[key])


def assign(x: Any, key: Any, value: Any) -> None:
    x[key] = value


def read(x: np.ndarray, key: Any) -> None:
    t = tensor(x)
    if x.dtype.kind == "f":
        t.requires_grad_()
    expected, theirs = outcome(lambda: take(*reference(x, key)))
    result, ours = outcome(lambda: t[mine(key)])
    if not agree(theirs, ours, expected):
        return
    equal(result, expected)
    if x.dtype.kind != "f":
        return
    weights = np.arange(1.0, 1 + np.size(expected), dtype=x.dtype).reshape(np.shape(expected))
    result.backward(fn.from_numpy(weights))
    gradient = np.zeros_like(x)
    np.add.at(*reference(gradient, key), weights)
    equal(t.grad, gradient)


def write(x: np.ndarray, key: Any, choices: Choices) -> None:
    reached, _ = outcome(lambda: take(*reference(x, key)))
    shape = list(np.shape(reached)) if reached is not None else [2]
    for i in range(len(shape)):  # what may be broadcast, what may not
        shape[i] = choices.pick((shape[i], 1, shape[i], 3))
    shape = shape[choices.pick((0, 0, 1)) :]
    v = (100 + np.arange(np.prod(shape, dtype=int))).reshape(shape).astype(x.dtype)
    changed, t, value = x.copy(), tensor(x), fn.from_numpy(v.copy())
    recorded = x.dtype.kind == "f" and bool(choices.below(2))
    if recorded:
        leaf, value = t.requires_grad_(), value.requires_grad_()
        t = leaf.clone()

    _, theirs = outcome(lambda: assign(*reference(changed, key), v))
    before = t.detach().clone()
    _, ours = outcome(lambda: assign(t, mine(key), value))
    if not agree(theirs, ours, reached):
        return equal(t, before.numpy())
    equal(t, changed)
    if recorded:
        weights = np.arange(1.0, 1 + x.size, dtype=x.dtype).reshape(x.shape)
        t.backward(fn.from_numpy(weights))
        owner = np.full(x.shape, -1)  # which element of v stands where
        assign(*reference(owner, key), np.arange(v.size).reshape(v.shape))
        equal(leaf.grad, np.where(owner < 0, weights, 0).astype(x.dtype))
        got = np.bincount(owner[owner >= 0], weights[owner >= 0], v.size)
        equal(value.grad, got.reshape(v.shape).astype(x.dtype))


def equal(ours: Any, theirs: Any) -> None:
    assert isinstance(ours, fn.Tensor)
    assert tuple(ours.shape) == np.shape(theirs), f"shape {tuple(ours.shape)}, NumPy has {np.shape(theirs)}"
    np.testing.assert_array_equal(ours.detach().numpy(), theirs)
