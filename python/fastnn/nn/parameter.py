"""The tensor that a module learns."""

from __future__ import annotations

from typing import Any

import fastnn as fn
from fastnn import Tensor

__all__ = ["Parameter", "new_parameter"]


class Parameter(Tensor):
    """A tensor that a ``Module`` lists among its parameters when it is assigned to an attribute.

    ``data`` (a tensor, shared, not copied) gives values, shape and dtype; the parameter is a leaf that
    requires a gradient unless ``requires_grad=False``.

    Errors: TypeError if ``data`` is no tensor; RuntimeError if a gradient is asked of integers.

    Example:
        >>> import fastnn as fn
        >>> from fastnn import nn
        >>> w = nn.Parameter(fn.zeros(2, 3))
        >>> tuple(w.shape), w.requires_grad, w.is_leaf
        ((2, 3), True, True)
    """

    def __new__(cls, data: Tensor, requires_grad: bool = True) -> Any:
        if not isinstance(data, Tensor):
            raise TypeError(f"Parameter: expected a tensor, not a {type(data).__name__}")
        return super().__new__(cls, data)

    def __init__(self, data: Tensor, requires_grad: bool = True) -> None:
        self.requires_grad = requires_grad

    def __repr__(self) -> str:
        return f"Parameter containing:\n{super().__repr__()}"


def new_parameter(*shape: int, dtype: Any = None, device: Any = None) -> Parameter:
    """A parameter whose values are still to be set; float32 on the default device unless said otherwise."""
    return Parameter(fn.empty(shape, dtype=dtype or fn.float32, device=device))
