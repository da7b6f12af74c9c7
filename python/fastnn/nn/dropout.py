"""Dropout."""

from __future__ import annotations

import numpy as np

from fastnn import _C, Tensor

from .module import Module

__all__ = ["Dropout"]


class Dropout(Module):
    """In training, zeroes each element with probability ``p`` and divides the others by 1 - p.

    The division keeps the mean; in evaluation mode the layer is the identity. Errors: ValueError unless 0 <=
    p <= 1.
    Source: Srivastava et al. 2014, in its inverted form.

    Example:
        >>> import fastnn as fn
        >>> from fastnn import nn
        >>> layer = nn.Dropout(0.5)
        >>> set(layer(fn.ones(100)).tolist()) <= {0.0, 2.0}
        True
        >>> set(layer.eval()(fn.ones(100)).tolist())
        {1.0}
    """

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        if not isinstance(p, int | float | np.number):
            raise TypeError(f"Dropout: p must be a number, not {p!r}")
        if not 0.0 <= p <= 1.0:
            raise ValueError(f"Dropout: p={p} must lie between 0 and 1")
        self.p = float(p)

    def forward(self, x: Tensor) -> Tensor:
        return _C.dropout(x, self.p, True) if self.training else x

    def extra_repr(self) -> str:
        return f"p={self.p}"
