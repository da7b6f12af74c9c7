"""The methods of Tensor that are clearer in Python."""

from __future__ import annotations

import types
from typing import Any, NoReturn

import numpy as np

from fastnn import _C
from fastnn._C import Tensor, device, dtype
from fastnn._numpy import array_function, array_ufunc

__all__: list[str] = []


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
    """Refuses."""
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
    """The number in it, by a format such as ".3f"; without one, as ``str`` prints it."""
    if not spec:
        return str(self)
    if self.ndim:
        raise TypeError(
            f"a format such as {spec!r} is of a number; this tensor has the shape {tuple(self.shape)}"
        )
    return format(self.item(), spec)


def _deepcopy(self: Tensor, memo: dict[int, Any]) -> Tensor:
    """Another leaf with memory of its own."""
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

    method.__doc__ = f"This tensor as {target!r}; itself where it is."
    return method


def _type_as(self: Tensor, other: Tensor) -> Tensor:
    """This tensor in the dtype of another. Errors: TypeError if ``other`` is no tensor.

    >>> import fastnn as fn
    >>> fn.tensor([1, 2]).type_as(fn.ones(1))
    tensor([1., 2.])
    """
    if not isinstance(other, Tensor):
        raise TypeError(f"type_as(other): other must be a Tensor, not {other!r}; x.to(dtype) takes a dtype")
    return _C._cast(self, other.dtype)


def _dim(self: Tensor) -> int:
    """Number of dimensions, as ``ndim``.

    >>> import fastnn as fn
    >>> fn.ones(2, 3).dim()
    2
    """
    return self.ndim


def _numel(self: Tensor) -> int:
    """How many elements it has.

    >>> import fastnn as fn
    >>> fn.ones(2, 3).numel()
    6
    """
    return _C._numel(self)


def _is_floating_point(self: Tensor) -> bool:
    """Whether its elements are floating numbers: float32, float64, float16 or bfloat16.

    >>> import fastnn as fn
    >>> fn.ones(2).is_floating_point(), fn.arange(2).is_floating_point()
    (True, False)
    """
    return self.dtype.is_floating_point


def _unbind(self: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    """Its parts along a dimension, which they do not have: views.

    Errors: IndexError if there is no such dimension.

    >>> import fastnn as fn
    >>> fn.tensor([[1, 2], [3, 4]]).unbind(1)
    (tensor([1, 3]), tensor([2, 4]))
    """
    return tuple(_C.narrow(self, dim, i, 1).squeeze(dim) for i in range(self.size(dim)))


def _cpu(self: Tensor) -> Tensor:
    """On the CPU: itself if it is there, else a copy, for which the device is waited for.

    >>> import fastnn as fn
    >>> fn.ones(2).cpu().device
    device('cpu')
    """
    return self.to("cpu")


def _cuda(self: Tensor, device: device | str | int = "cuda", non_blocking: bool = False) -> Tensor:
    """On a CUDA device, by default the first: itself if it is there, else a copy. ``non_blocking`` as for :meth:`to`.

    Errors: RuntimeError saying why the device cannot be used.

    >>> import fastnn as fn
    >>> x = fn.ones(2)
    >>> if fn.cuda.is_available():
    ...     x = x.cuda()
    """
    return self.to(device, non_blocking=non_blocking)


def _pin_memory(self: Tensor) -> Tensor:
    """A copy in memory of the CPU that CUDA devices read by themselves, so that ``to(device, non_blocking=True)`` need
    not wait; itself if it is there.

    Errors: RuntimeError if CUDA cannot be used, or the tensor is not on the CPU.

    >>> import fastnn as fn
    >>> x = fn.ones(2)
    >>> if fn.cuda.is_available():
    ...     x = x.pin_memory().to("cuda", non_blocking=True)
    """
    return _C._pin_memory(self)


def _is_pinned(self: Tensor) -> bool:
    """Whether it is in memory of :meth:`pin_memory`.

    >>> import fastnn as fn
    >>> fn.ones(2).is_pinned()
    False
    """
    return _C._is_pinned(self)


def _record_stream(self: Tensor, stream: _C.CudaStream) -> None:
    """Says that another stream than the tensor's own reads it: its memory is used anew only after what that one has
    queued by the time the tensor is dropped.

    Errors: TypeError if ``stream`` is none; ValueError if it is on another device.

    >>> import fastnn as fn
    >>> if fn.cuda.is_available():
    ...     side = fn.cuda.Stream()
    ...     fn.ones(2, device="cuda").record_stream(side)
    """
    _C._record_stream(self, stream)


def _mT(self: Tensor) -> Tensor:
    """The last two dimensions swapped."""
    return self.transpose(-2, -1)


def _install() -> None:
    methods: dict[str, Any] = {
        "to": _to,
        "size": _size,
        "dim": _dim,
        "numel": _numel,
        "requires_grad_": _requires_grad_,
        "__reduce_ex__": _refuse_pickle,
        "__copy__": _copy,
        "__deepcopy__": _deepcopy,
        "__format__": _format,
        "__array_function__": array_function,
        "__array_ufunc__": array_ufunc,
        "T": property(_transposed),
        "mT": property(_mT),
        "data": property(lambda self: self.detach(), _C._set_data, doc="The same memory without history."),
        "itemsize": property(lambda self: self.dtype.itemsize, doc="Bytes per element."),
        "nbytes": property(lambda self: self.numel() * self.dtype.itemsize, doc="Bytes of all elements."),
        "cpu": _cpu,
        "cuda": _cuda,
        "is_cuda": property(lambda self: self.device.type == "cuda", doc="Whether it is on a CUDA device."),
        "pin_memory": _pin_memory,
        "is_pinned": _is_pinned,
        "record_stream": _record_stream,
        "__cuda_array_interface__": property(
            lambda self: _C._cuda_array_interface(self), doc="Numba's protocol."
        ),
        "float": _cast_to(_C.float32),
        "double": _cast_to(_C.float64),
        "half": _cast_to(_C.float16),
        "bfloat16": _cast_to(_C.bfloat16),
        "long": _cast_to(_C.int64),
        "int": _cast_to(_C.int32),
        "bool": _cast_to(_C.bool),
        "type_as": _type_as,
        "is_floating_point": _is_floating_point,
        "unbind": _unbind,
    }
    for name, value in methods.items():
        if isinstance(value, types.FunctionType):
            value.__name__, value.__qualname__ = name, f"Tensor.{name}"
        setattr(Tensor, name, value)
    _C._set_repr(_repr)


_install()
