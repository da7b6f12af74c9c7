"""Layers that change the shape, or nothing."""

from __future__ import annotations

from typing import Any

from fastnn import _C, Tensor

from .module import Module

__all__ = ["Flatten", "Identity"]


class Flatten(Module):
    """Joins the dimensions ``start_dim`` to ``end_dim`` into one: by default all but the batch.

    Errors: IndexError if one is out of range, ValueError if they are in the wrong order.

    Example:
        >>> import fastnn as fn
        >>> from fastnn import nn
        >>> tuple(nn.Flatten()(fn.zeros(8, 50, 4, 4)).shape)
        (8, 800)
    """

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        super().__init__()
        self.start_dim = start_dim
        self.end_dim = end_dim

    def forward(self, x: Tensor) -> Tensor:
        return _C.flatten(x, self.start_dim, self.end_dim)

    def extra_repr(self) -> str:
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Identity(Module):
    """Returns its input; takes a layer's place. Arguments are accepted and ignored."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        return x
