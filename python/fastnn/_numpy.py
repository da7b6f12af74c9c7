"""What NumPy's functions make of tensors (NEP 13 and NEP 18).

A function of NumPy takes a tensor as the array ``t.numpy()``, so what it returns is an array. Those that are methods of
tensors, too, are these, and return tensors: sum, mean, max, min, any, all, squeeze. Operators between arrays and
tensors are the tensors'; NumPy's ufuncs by name (``np.exp(t)``) are refused, as no gradient would go through them.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from fastnn import _C
from fastnn._C import Tensor

__all__ = ["array_function", "array_ufunc"]


def _array(value: Any) -> Any:
    """With arrays in place of tensors, also in lists and tuples."""
    if isinstance(value, Tensor):
        return value.numpy()
    if type(value) in (list, tuple):
        return type(value)(map(_array, value))
    return value


# ---- functions

_REDUCTIONS: dict[Any, str] = {
    np.sum: "sum", np.mean: "mean", np.max: "max", np.amax: "max", np.min: "min", np.amin: "min",
    np.any: "any", np.all: "all",
}  # fmt: skip
_OF_SHAPE = (np.shape, np.ndim, np.size)
_WRITERS = (np.copyto, np.put, np.place, np.putmask, np.put_along_axis, np.fill_diagonal)


def _reduced(
    name: str, a: Tensor, axis: Any = None, *, dtype: Any = None, out: Any = None, keepdims: bool = False
) -> Tensor:
    if out is not None:
        raise TypeError(f"np.{name} of a tensor cannot write to out=; take np.{name}(t.numpy(), out=...)")
    a = a if dtype is None else _C._cast(a, dtype)
    if name in ("max", "min") and axis is not None:
        found: Tensor = getattr(a, name)(axis, keepdims)[0]
        return found
    if name in ("max", "min") and keepdims:
        found = getattr(a, name)()
        return found.reshape((1,) * a.ndim)
    result: Tensor = getattr(a, name)(axis, keepdims)
    return result


def array_function(self: Tensor, function: Any, types: Any, args: tuple[Any, ...], kwargs: Any) -> Any:
    """What NumPy calls for ``function(*args, **kwargs)`` where one of these is a tensor."""
    implementation = getattr(function, "_implementation", None)
    if implementation is None:
        return NotImplemented
    first = args[0] if args else kwargs.get("a")
    if function in _REDUCTIONS and isinstance(first, Tensor):
        name = _REDUCTIONS[function]
        order = ("a", "axis", "dtype", "out") if name in ("sum", "mean") else ("a", "axis", "out")
        given = {**dict(zip(order, args, strict=False)), **kwargs}
        given = {key: value for key, value in given.items() if value is not np._NoValue}
        # With where= or initial=, and the mean of integers, it is NumPy's own.
        of_floats = name != "mean" or first.is_floating_point() or given.get("dtype") is not None
        if of_floats and len(args) <= len(order) and given.keys() <= {*order, "dtype", "keepdims"}:
            return _reduced(name, **given)
    if function in _OF_SHAPE and args and isinstance(first, Tensor):
        return implementation(np.broadcast_to(np.False_, first.shape), *args[1:], **kwargs)
    if function in _WRITERS and isinstance(first, Tensor):
        raise TypeError(f"np.{function.__name__} does not write to tensors; give it t.numpy()")
    if function is np.squeeze:
        return implementation(*args, **kwargs)
    if isinstance(kwargs.get("out"), Tensor):
        raise TypeError(f"np.{function.__name__} does not write to tensors; give out=t.numpy()")
    return implementation(*map(_array, args), **{key: _array(value) for key, value in kwargs.items()})


# ---- ufuncs

_OPERATORS: dict[Any, tuple[Callable[..., Any], str]] = {
    getattr(np, name): (getattr(operator, python), reflected)
    for name, python, reflected in (
        ("add", "add", "__radd__"), ("subtract", "sub", "__rsub__"), ("multiply", "mul", "__rmul__"),
        ("true_divide", "truediv", "__rtruediv__"), ("matmul", "matmul", "__rmatmul__"), ("power", "pow", "__rpow__"),
        ("bitwise_and", "and_", "__rand__"), ("bitwise_or", "or_", "__ror__"),
        ("equal", "eq", "__eq__"), ("not_equal", "ne", "__ne__"), ("less", "lt", "__gt__"),
        ("less_equal", "le", "__ge__"), ("greater", "gt", "__lt__"), ("greater_equal", "ge", "__le__"),
    )
}  # fmt: skip
_HERE = {"absolute": "abs", "multiply": "mul", "subtract": "sub", "true_divide": "div", "power": "pow"}


def array_ufunc(self: Tensor, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
    """What NumPy calls for its operators and ufuncs where one operand is a tensor."""
    if method == "__call__" and not kwargs and ufunc in _OPERATORS:
        forward, reflected = _OPERATORS[ufunc]
        first, second = inputs
        return (
            forward(first, second) if isinstance(first, Tensor) else getattr(Tensor, reflected)(second, first)
        )
    name = ufunc.__name__
    if kwargs.get("out") is not None:
        why = f"np.{name} does not write the result of tensors into an array; for a += t take a += t.numpy()"
    elif method != "__call__":
        why = f"np.{name}.{method} takes no tensors; give it t.numpy()"
    else:
        ours = _HERE.get(name, name)
        mine = f"fn.{ours}(...), which has a gradient, or " if ours in _C.__all__ else ""
        why = f"np.{name} takes no tensors; take {mine}np.{name} of t.numpy()"
    raise TypeError(why)
