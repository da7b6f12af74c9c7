"""Multi-layer perceptron."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from fastnn import nn

__all__ = ["MLP"]

_ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid}


class MLP(nn.Sequential):
    """Linear layers of the given sizes with a nonlinearity between each two: (N, sizes[0]) to (N, sizes[-1]).

    Parameters: ``activation``: "relu", "tanh" or "sigmoid". ``dropout``, the probability after each hidden
    layer. ``init`` as for ``nn.Linear``.

    Errors: ValueError for fewer than two sizes or an unknown activation.

    Example:
        >>> import fastnn as fn
        >>> from fastnn.models import MLP
        >>> model = MLP([2, 16, 2])
        >>> tuple(model(fn.zeros(32, 2)).shape)
        (32, 2)
        >>> model
        MLP(
          (0): Linear(in_features=2, out_features=16, bias=True)
          (1): ReLU()
          (2): Linear(in_features=16, out_features=2, bias=True)
        )
    """

    def __init__(
        self, sizes: Sequence[int], activation: str = "relu", dropout: float = 0.0, init: str = "default"
    ) -> None:
        if len(sizes) < 2:
            raise ValueError(f"MLP: sizes={list(sizes)} must name at least an input and an output size")
        if activation not in _ACTIVATIONS:
            raise ValueError(f"MLP: activation must be one of {', '.join(_ACTIVATIONS)}, not {activation!r}")
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(sizes[:-1]):
            layers += [nn.Linear(inputs, outputs, init=init), _ACTIVATIONS[activation]()]
            if dropout:
                layers.append(nn.Dropout(dropout))
        super().__init__(*layers, nn.Linear(sizes[-2], sizes[-1], init=init))
