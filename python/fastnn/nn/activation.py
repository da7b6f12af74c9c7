"""Nonlinearities, element by element, and softmax over classes."""

from __future__ import annotations

from fastnn import _C, Tensor

from .module import Module

__all__ = ["GELU", "LogSoftmax", "ReLU", "Sigmoid", "Softmax", "Tanh"]


class ReLU(Module):
    """max(x, 0): fast, and does not saturate for positive x; a unit that is never positive stops to learn.

    ``inplace`` is accepted for PyTorch's sake; the input is never changed.

    Example:
        >>> import fastnn as fn
        >>> from fastnn import nn
        >>> nn.ReLU()(fn.tensor([-1.0, 2.0])).tolist()
        [0.0, 2.0]
    """

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        return _C.relu(x)


class Sigmoid(Module):
    """1 / (1 + exp(-x)), between 0 and 1; saturates at both ends."""

    def forward(self, x: Tensor) -> Tensor:
        return _C.sigmoid(x)


class Tanh(Module):
    """The hyperbolic tangent, between -1 and 1; zero-centred, saturates at both ends."""

    def forward(self, x: Tensor) -> Tensor:
        return _C.tanh(x)


class GELU(Module):
    """x P(X <= x) of a standard normal variable X: a smooth ReLU that lets a little of negative x through.

    ``approximate="tanh"`` takes (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2 for P.
    Source: Hendrycks and Gimpel 2016.

    Example:
        >>> import fastnn as fn
        >>> from fastnn import nn
        >>> nn.GELU()(fn.tensor([-1.0, 0.0, 1.0])).numpy().round(4).tolist()
        [-0.15870000422000885, 0.0, 0.8413000106811523]
    """

    def __init__(self, approximate: str = "none") -> None:
        super().__init__()
        if approximate not in ("none", "tanh"):
            raise ValueError(f"GELU: approximate must be 'none' or 'tanh', not {approximate!r}")
        self.approximate = approximate

    def forward(self, x: Tensor) -> Tensor:
        return _C.gelu(x, self.approximate)

    def extra_repr(self) -> str:
        return f"approximate={self.approximate!r}"


class Softmax(Module):
    """exp(x) / sum(exp(x)) along dimension ``dim`` (the last): positive numbers that add up to 1.

    For training, give the logits themselves to ``CrossEntropyLoss``, which is exact where this one rounds to
    0.

    Example:
        >>> import fastnn as fn
        >>> from fastnn import nn
        >>> nn.Softmax()(fn.zeros(1, 4)).tolist()
        [[0.25, 0.25, 0.25, 0.25]]
    """

    def __init__(self, dim: int = -1) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, x: Tensor) -> Tensor:
        return _C.softmax(x, self.dim)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class LogSoftmax(Softmax):
    """log(softmax(x)) along dimension ``dim`` (the last), exact also where softmax would round to 0."""

    def forward(self, x: Tensor) -> Tensor:
        return _C.log_softmax(x, self.dim)
