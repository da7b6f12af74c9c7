"""Tensors as the bytes of a file, and back."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

import fastnn

from .format import STORAGE, Array

if TYPE_CHECKING:
    from fastnn import Tensor

__all__ = ["to_array", "to_tensor"]

_CODES: dict[Any, str] = {
    fastnn.float32: "F32",
    fastnn.float64: "F64",
    fastnn.bfloat16: "BF16",
    fastnn.float16: "F16",
    fastnn.int64: "I64",
    fastnn.int32: "I32",
    fastnn.uint8: "U8",
    fastnn.bool: "BOOL",
}


def to_array(tensor: Tensor) -> Array:
    """The tensor's elements in row-major order; its own memory where it is on the CPU and contiguous."""
    tensor = tensor.detach().cpu().contiguous()
    code = _CODES[tensor.dtype]
    return Array(code, tensor.numpy() if code != "BF16" else _bits(tensor).copy())


def to_tensor(array: Array) -> Tensor:
    """A tensor of the array; it takes the memory over."""
    if array.code != "BF16":
        return fastnn.from_numpy(array.data)
    tensor = fastnn.empty(array.data.shape, dtype=fastnn.bfloat16, device="cpu")
    _bits(tensor)[...] = array.data
    return tensor


def _bits(tensor: Tensor) -> NDArray[Any]:
    """The memory of a contiguous bfloat16 tensor, as long as it lives; NumPy has no such dtype."""
    if not tensor.numel():
        return np.empty(tuple(tensor.shape), STORAGE["BF16"])
    memory = (ctypes.c_uint16 * tensor.numel()).from_address(tensor.data_ptr())
    return np.frombuffer(memoryview(memory), STORAGE["BF16"]).reshape(tuple(tensor.shape))
