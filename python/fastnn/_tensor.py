"""Making tensors from data, and the parts of Tensor that are clearer in Python."""

from __future__ import annotations

import math
import numbers
import operator
from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np

from fastnn import _C
from fastnn._C import Tensor, device, dtype
from fastnn._numpy import array_function, array_ufunc

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


# ---- methods of Tensor ------------------------------------------------------------------------------------------------


def _repr(self: Tensor) -> str:
    wide = self.detach().to("cpu")
    if self.dtype is _C.bfloat16:
        wide = _C._cast(wide, _C.float32)
    body = np.array2string(wide.numpy(), separator=", ", prefix="tensor(", threshold=1000)
    parts = [body]
    if self.numel() == 0 and self.ndim != 1:
        parts.append(f"size={tuple(self.shape)}")
    if self.dtype not in (_C.float32, _C.int64, _C.bool):
        parts.append(f"dtype={self.dtype!r}")
    if self.device != "cpu":
        parts.append(f"device='{self.device}'")
    if self.grad_fn is not None:
        parts.append(f"grad_fn={self.grad_fn!r}")
    elif self.requires_grad:
        parts.append("requires_grad=True")
    return f"tensor({', '.join(parts)})"


def _to(
    self: Tensor,
    *args: Any,
    dtype: Any = None,
    device: Any = None,
    copy: bool = False,
    non_blocking: bool = False,
) -> Tensor:
    """This tensor as another dtype or on another device: ``x.to(fn.float64)``, ``x.to("cuda")``, ``x.to(other)``.

    With ``non_blocking`` a copy of pinned memory (``pin_memory()``) to a device is only queued: leave that memory
    alone until the device has read it.
    """
    for arg in args:
        if isinstance(arg, Tensor):
            dtype, device = arg.dtype, arg.device
        elif isinstance(arg, (str, int, _C.device)):
            device = arg
        else:
            dtype = arg
    out = self
    if device is not None:
        device = f"cuda:{device}" if isinstance(device, int) else device
        out = _C._to_device(out, device, non_blocking)
    if dtype is not None:
        out = _C._cast(out, dtype)
    return out.clone() if copy and out is self else out


def _size(self: Tensor, dim: int | None = None) -> Any:
    """The shape, or the size of one dimension."""
    if dim is None:
        return self.shape
    if not hasattr(dim, "__index__"):
        raise TypeError(f"size: dim must be an integer, not {dim!r}")
    if not -self.ndim <= dim < self.ndim:
        raise IndexError(f"size: dimension {dim} is out of range for a tensor of {self.ndim} dimensions")
    return self.shape[dim]


def _requires_grad_(self: Tensor, requires_grad: bool = True) -> Tensor:
    """Sets requires_grad and returns this tensor."""
    self.requires_grad = requires_grad
    return self


def _refuse_pickle(self: Tensor, protocol: int = 0) -> NoReturn:
    raise TypeError(
        "tensors are not pickled: loading a pickle can run any code. Use fastnn.save(dict, path) and fastnn.load(path)"
    )


def _copy(self: Tensor) -> Tensor:
    """The same memory in another tensor; of a leaf another leaf, else one with the same history."""
    if not self.is_leaf:
        return self.view(self.shape)
    copy = self.detach()
    if type(self) is not Tensor:
        copy = type(self)(copy)
    copy.requires_grad = self.requires_grad
    return copy


def _format(self: Tensor, spec: str) -> str:
    if not spec:
        return str(self)
    if self.ndim:
        raise TypeError(
            f"a format such as {spec!r} is of a number; this tensor has the shape {tuple(self.shape)}"
        )
    return format(self.item(), spec)


def _deepcopy(self: Tensor, memo: dict[int, Any]) -> Tensor:
    if not self.is_leaf:
        raise RuntimeError("only leaf tensors can be deep-copied; use detach() first")
    copy = self.detach().clone()
    if type(self) is not Tensor:
        copy = type(self)(copy)
    copy.requires_grad = self.requires_grad
    memo[id(self)] = copy
    return copy


def _transposed(self: Tensor) -> Tensor:
    """The dimensions in reverse order."""
    return self.permute(tuple(range(self.ndim - 1, -1, -1)))


def _cast_to(target: dtype) -> Any:
    def method(self: Tensor) -> Tensor:
        return _C._cast(self, target)

    method.__doc__ = f"This tensor as {target!r}."
    return method


def _type_as(self: Tensor, other: Tensor) -> Tensor:
    if not isinstance(other, Tensor):
        raise TypeError(f"type_as(other): other must be a Tensor, not {other!r}; x.to(dtype) takes a dtype")
    return _C._cast(self, other.dtype)


def _install() -> None:
    methods: dict[str, Any] = {
        "to": _to,
        "size": _size,
        "dim": lambda self: self.ndim,
        "numel": lambda self: _C._numel(self),
        "requires_grad_": _requires_grad_,
        "__reduce_ex__": _refuse_pickle,
        "__copy__": _copy,
        "__deepcopy__": _deepcopy,
        "__format__": _format,
        "__array_function__": array_function,
        "__array_ufunc__": array_ufunc,
        "T": property(_transposed),
        "mT": property(lambda self: self.transpose(-2, -1), doc="The last two dimensions swapped."),
        "data": property(lambda self: self.detach(), _C._set_data, doc="The same memory without history."),
        "itemsize": property(lambda self: self.dtype.itemsize, doc="Bytes per element."),
        "nbytes": property(lambda self: self.numel() * self.dtype.itemsize, doc="Bytes of all elements."),
        "cpu": lambda self: self.to("cpu"),
        "cuda": lambda self, device="cuda", non_blocking=False: self.to(device, non_blocking=non_blocking),
        "is_cuda": property(lambda self: self.device.type == "cuda", doc="Whether it is on a CUDA device."),
        "pin_memory": lambda self: _C._pin_memory(self),
        "is_pinned": lambda self: _C._is_pinned(self),
        "record_stream": lambda self, stream: _C._record_stream(self, stream),
        "__cuda_array_interface__": property(lambda self: _C._cuda_array_interface(self)),
        "float": _cast_to(_C.float32),
        "double": _cast_to(_C.float64),
        "half": _cast_to(_C.float16),
        "bfloat16": _cast_to(_C.bfloat16),
        "long": _cast_to(_C.int64),
        "int": _cast_to(_C.int32),
        "bool": _cast_to(_C.bool),
        "type_as": _type_as,
        "is_floating_point": lambda self: self.dtype.is_floating_point,
        "unbind": lambda self, dim=0: tuple(
            _C.narrow(self, dim, i, 1).squeeze(dim) for i in range(self.size(dim))
        ),
    }
    for name, value in methods.items():
        setattr(Tensor, name, value)
    _C._set_repr(_repr)


_install()
