"""Numbers that say how good an output is; not differentiated.

A metric is any function (output, target) -> mean.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from fastnn import Tensor

__all__ = ["Metric", "accuracy", "mae", "metric_functions", "mse"]

Metric = Callable[[Tensor, Tensor], Any]


def accuracy(output: Tensor, target: Tensor) -> float:
    """The share of samples whose largest output (of (N, classes)) is at their label (N).

    Example:
        >>> import fastnn as fn
        >>> from fastnn.train import accuracy
        >>> accuracy(fn.tensor([[0.1, 0.9], [0.8, 0.2]]), fn.tensor([1, 1]))
        0.5
    """
    if len(output.shape) != len(target.shape) + 1:
        raise ValueError(
            f"accuracy: expected outputs (N, classes) and labels (N), "
            f"not {tuple(output.shape)} and {tuple(target.shape)}"
        )
    right = output.argmax(1) == target
    return float(right.sum().item()) / max(right.numel(), 1)


def mse(output: Tensor, target: Tensor) -> float:
    """The mean squared error."""
    return float(((output - target) ** 2).mean().item())


def mae(output: Tensor, target: Tensor) -> float:
    """The mean absolute error."""
    return float((output - target).abs().mean().item())


_named: dict[str, Metric] = {"accuracy": accuracy, "mse": mse, "mae": mae}


def metric_functions(metrics: Iterable[str | Metric] | Mapping[str, Metric]) -> dict[str, Metric]:
    """Metrics by name.

    Errors: ValueError for an unknown name, TypeError for what is neither name nor function.
    """
    if isinstance(metrics, Mapping):
        return dict(metrics)
    functions: dict[str, Metric] = {}
    for metric in [metrics] if isinstance(metrics, str) else metrics:
        if isinstance(metric, str):
            if metric not in _named:
                raise ValueError(
                    f"Trainer: unknown metric {metric!r}; known: {', '.join(_named)}, or give a function"
                )
            functions[metric] = _named[metric]
        elif callable(metric):
            functions[getattr(metric, "__name__", type(metric).__name__)] = metric
        else:
            raise TypeError(f"Trainer: a metric is a name or a function, not a {type(metric).__name__}")
    return functions
