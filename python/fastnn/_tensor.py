"""Making tensors from data."""

from __future__ import annotations

import math
import numbers
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastnn import _C
from fastnn._C import Tensor, device, dtype

__all__ = [
    "arange",
    "empty",
    "eye",
    "full",
    "get_default_device",
    "linspace",
    "ones",
    "set_default_device",
    "stack",
    "tensor",
    "zeros",
]

Shape = int | Sequence[int]

_INTEGERS = {_C.uint8: (0, 2**8 - 1), _C.int32: (-(2**31), 2**31 - 1)}

_default_device = device("cpu")


def set_default_device(where: device | str) -> None:
    """Where new tensors are made from now on unless ``device=`` says otherwise; the CPU at first.

    Errors: ValueError if the name is no device's; RuntimeError if the device cannot be used.

    >>> import fastnn as fn
    >>> fn.set_default_device("cpu")
    """
    global _default_device
    _default_device = _C._empty((0,), _C.uint8, where).device


def get_default_device() -> device:
    """Where tensors are made that no ``device=`` places."""
    return _default_device


def tensor(
    data: Any, dtype: dtype | None = None, device: device | str | None = None, requires_grad: bool = False
) -> Tensor:
    """A new tensor with a copy of ``data``: numbers, nested sequences, NumPy arrays, tensors.

    Python floats become float32 and integers int64; NumPy arrays keep their dtype.

    >>> import fastnn as fn
    >>> fn.tensor([[1, 2], [3, 4]], dtype=fn.float32)
    tensor([[1., 2.],
            [3., 4.]])
    """
    if isinstance(data, Tensor):
        out = data.detach().clone()
    else:
        if isinstance(data, (list, tuple)) and any(isinstance(item, Tensor) for item in data):
            data = [item.tolist() if isinstance(item, Tensor) else item for item in data]
        array = np.asarray(data)
        typed = isinstance(data, (np.ndarray, np.generic)) or hasattr(data, "__array_interface__")
        if array.dtype == np.float64 and not typed and dtype is None:
            array = array.astype(np.float32)
        if array.size == 0 and not typed and dtype is None:
            array = array.astype(np.float32)
        if not typed and (
            array.dtype == np.uint64 or (array.dtype == object and all(type(v) is int for v in array.flat))
        ):
            if dtype is None or not dtype.is_floating_point:
                raise ValueError("tensor: an integer does not fit 64 bits")
            array = array.astype(np.float64)
        if array.dtype == object:
            raise TypeError(
                f"tensor: cannot make a tensor from {type(data).__name__} with elements of different shapes or kinds"
            )
        out = _C._tensor_from_array(array)
        if not typed and dtype in _INTEGERS and array.dtype.kind in "iu":
            low, high = _INTEGERS[dtype]
            if array.size and not (low <= array.min() and array.max() <= high):
                raise ValueError(f"tensor: numbers from {array.min()} to {array.max()} do not fit {dtype!r}")
    if dtype is not None:
        out = _C._cast(out, dtype)
    if isinstance(data, Tensor):
        device = device or data.device
    return _placed(out, device, requires_grad)


def _placed(out: Tensor, device: device | str | None, requires_grad: bool) -> Tensor:
    out = _C._to_device(out, device or _default_device)
    return _marked(out, requires_grad)


def _marked(out: Tensor, requires_grad: bool) -> Tensor:
    if requires_grad:
        out.requires_grad = True
    return out


def _shape(args: tuple[Any, ...]) -> Shape:
    return args[0] if len(args) == 1 else args


def zeros(
    *shape: Any, dtype: dtype = _C.float32, device: device | str | None = None, requires_grad: bool = False
) -> Tensor:
    """Zeros of a shape: ``zeros(2, 3)`` or ``zeros((2, 3))``."""
    return _marked(_C._zeros(_shape(shape), dtype, device or _default_device), requires_grad)


def ones(
    *shape: Any, dtype: dtype = _C.float32, device: device | str | None = None, requires_grad: bool = False
) -> Tensor:
    """Ones of a shape: ``ones(2, 3)`` or ``ones((2, 3))``."""
    return full(_shape(shape), 1, dtype=dtype, device=device, requires_grad=requires_grad)


def empty(
    *shape: Any, dtype: dtype = _C.float32, device: device | str | None = None, requires_grad: bool = False
) -> Tensor:
    """Uninitialised memory of a shape."""
    return _marked(_C._empty(_shape(shape), dtype, device or _default_device), requires_grad)


def full(
    shape: Shape,
    value: float,
    *,
    dtype: dtype | None = None,
    device: device | str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """A tensor of ``shape`` with one value everywhere; the dtype is that of the value unless given."""
    if dtype is None and isinstance(value, Tensor):
        dtype = value.dtype
    elif dtype is None:
        value = value.item() if isinstance(value, np.ndarray) and value.size == 1 else value
        truth, whole = isinstance(value, (bool, np.bool_)), isinstance(value, (int, np.integer))
        dtype = _C.bool if truth else _C.int64 if whole else _C.float32
    return _marked(_C._full(shape, value, dtype, device or _default_device), requires_grad)


def _number(op: str, value: Any) -> int | float:
    """A number of Python's, NumPy's or a tensor's as Python's."""
    if isinstance(value, Tensor) and value.requires_grad:
        raise TypeError(f"{op}: no gradient would come to a tensor that requires one; give its item()")
    if isinstance(value, (Tensor, np.ndarray, np.generic)):
        value = value.item()
    if isinstance(value, numbers.Real):
        return int(value) if isinstance(value, numbers.Integral) else float(value)
    for of, number in (("__index__", operator.index), ("__float__", float)):
        if hasattr(value, of):
            return number(value)
    raise TypeError(f"{op}: expected a number, not {value!r}")


def arange(
    start: float,
    end: float | None = None,
    step: float = 1,
    *,
    dtype: dtype | None = None,
    device: device | str | None = None,
) -> Tensor:
    """start, start + step, ... below ``end`` (from 0 if only one number is given).

    >>> import fastnn as fn
    >>> fn.arange(4)
    tensor([0, 1, 2, 3])
    """
    if end is None:
        start, end = 0, start
    first, last, by = (_number("arange", v) for v in (start, end, step))
    if dtype is None:
        dtype = _C.int64 if all(isinstance(v, int) for v in (first, last, by)) else _C.float32
    return _C._arange(first, last, by, dtype, device or _default_device)


def linspace(
    start: float,
    end: float,
    steps: int,
    *,
    dtype: dtype = _C.float32,
    device: device | str | None = None,
) -> Tensor:
    """``steps`` evenly spaced numbers from ``start`` to ``end``, both included.

    Errors: ValueError if one of these is not finite or ``steps`` is negative.
    """
    first, last = float(_number("linspace", start)), float(_number("linspace", end))
    if not (math.isfinite(first) and math.isfinite(last)):
        raise ValueError(f"linspace: start and end must be finite, got {first} and {last}")
    if math.isfinite(last - first):
        values = np.linspace(first, last, operator.index(steps))
    else:
        values = 2 * np.linspace(first / 2, last / 2, operator.index(steps))
    return tensor(values, dtype=dtype, device=device)


def eye(
    n: int, m: int | None = None, *, dtype: dtype = _C.float32, device: device | str | None = None
) -> Tensor:
    """Ones on the diagonal of an (n, m) matrix, zeros elsewhere."""
    return tensor(np.eye(n, m), dtype=dtype, device=device)


def stack(tensors: Sequence[Tensor], dim: int = 0, *, axis: int | None = None) -> Tensor:
    """Tensors of one shape joined along a new dimension (which NumPy calls ``axis``)."""
    dim = dim if axis is None else axis
    return _C.cat([_C.unsqueeze(t, dim) for t in tensors], dim)
