"""y = x W^T + b."""

from __future__ import annotations

from typing import Any

from fastnn import _C, Tensor

from .init import reset_
from .module import Module
from .parameter import Parameter, new_parameter
from .sizes import size

__all__ = ["Linear"]


class Linear(Module):
    """A layer of units that each see the whole input: (..., in_features) to (..., out_features).

    ``weight`` is (out_features, in_features), ``bias`` (out_features) or None. ``init`` chooses where they
    start: "default" (PyTorch's), "0.02", "scaled", "scaled:0.1"; see ``nn.init``.

    Errors: ValueError for a negative size.

    Example:
        >>> import fastnn as fn
        >>> from fastnn import nn
        >>> layer = nn.Linear(20, 30, init="scaled")
        >>> tuple(layer(fn.zeros(128, 20)).shape)
        (128, 30)
    """

    bias: Parameter | None

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
        init: str = "default",
    ) -> None:
        super().__init__()
        self.in_features = size(in_features, "in_features", 0, "Linear")
        self.out_features = size(out_features, "out_features", 0, "Linear")
        self.init = init
        self.weight = new_parameter(out_features, in_features, dtype=dtype, device=device)
        self.register_parameter(
            "bias", new_parameter(out_features, dtype=dtype, device=device) if bias else None
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Starts again from fresh random weights."""
        reset_(self.weight, self.bias, self.init)

    def forward(self, x: Tensor) -> Tensor:
        return _C.linear(x, self.weight, self.bias, "none")

    def forward_relu(self, x: Tensor) -> Tensor:
        """This layer and a ReLU in one call; ``Sequential`` uses it where one follows the other."""
        return _C.linear(x, self.weight, self.bias, "relu")

    def extra_repr(self) -> str:
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"
        )
