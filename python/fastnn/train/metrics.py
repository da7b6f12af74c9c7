"""Numbers that say how good an output is; not differentiated.

A metric is any function (output, target) -> mean, or -> (mean, how much it is the mean of) where samples weigh differently
or some do not count.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from fastnn import Tensor

from .checks import called
from .weights import counted

__all__ = ["Metric", "accuracy", "direction", "mae", "metric", "metric_functions", "mse"]

Metric = Callable[[Tensor, Tensor], Any]
_Metric = TypeVar("_Metric", bound=Callable[..., Any])


def metric(mode: str) -> Callable[[_Metric], _Metric]:
    """Decorator that says which values of a metric are good: ``"max"``, the large ones, or ``"min"``.

    Callbacks that follow the metric then know when it became better.

    Errors: ValueError for another mode.

    Example:
        >>> from fastnn.train import metric
        >>> @metric("max")
        ... def agreement(output, target):
        ...     return (output * target).mean()
        >>> agreement.mode
        'max'
    """
    if mode not in ("min", "max"):
        raise ValueError(f"metric: mode must be 'min' or 'max', not {mode!r}")

    def stated(function: _Metric) -> _Metric:
        function.mode = mode  # type: ignore[attr-defined]
        return function

    return stated


@metric("max")
def accuracy(output: Tensor, target: Tensor, ignore_index: int = -100, count: float | None = None) -> float:
    """The share of labels (N, ...) at which the outputs (N, classes, ...) are largest.

    Labels equal to ``ignore_index`` do not count; ``count`` says how many others there are, where that is known.

    Errors: ValueError for shapes that do not fit, or a single class.

    Example:
        >>> import fastnn as fn
        >>> from fastnn.train import accuracy
        >>> accuracy(fn.tensor([[0.1, 0.9], [0.8, 0.2]]), fn.tensor([1, 1]))
        0.5
    """
    shape, labels = tuple(output.shape), tuple(target.shape)
    if shape[:1] + shape[2:] != labels or len(shape) < 2:
        raise ValueError(f"accuracy: expected outputs (N, classes) and labels (N), not {shape} and {labels}")
    if shape[1] == 1:
        raise ValueError(f"accuracy: outputs of shape {shape} have one class, which is always the largest")
    right = output.argmax(1) == target
    if 0 <= ignore_index < shape[1]:  # else no output is at it
        right = right & (target != ignore_index)
    return float(right.sum().item()) / max(counted(target, ignore_index) if count is None else count, 1)


@metric("min")
def mse(output: Tensor, target: Tensor) -> float:
    """The mean squared error. Errors: ValueError for different shapes, which would be broadcast."""
    _same_shape("mse", output, target)
    return float(((output - target) ** 2).mean().item())


@metric("min")
def mae(output: Tensor, target: Tensor) -> float:
    """The mean absolute error. Errors: ValueError for different shapes, which would be broadcast."""
    _same_shape("mae", output, target)
    return float((output - target).abs().mean().item())


def _same_shape(name: str, output: Tensor, target: Tensor) -> None:
    if tuple(output.shape) != tuple(target.shape):
        raise ValueError(
            f"{name}: output and target must have the same shape, not {tuple(output.shape)} and {tuple(target.shape)}"
        )


_named: dict[str, Metric] = {"accuracy": accuracy, "mse": mse, "mae": mae}


def direction(name: str, metrics: Mapping[str, Metric]) -> str | None:
    """Whether the number of this name in the logs shall fall ("min") or rise ("max"); None if nobody said."""
    name = name.removeprefix("val_")
    if name == "loss":
        return "min"
    own = getattr(unwrapped(metrics.get(name)), "mode", None)
    return own or getattr(_named.get(name), "mode", None)


def unwrapped(metric: Any) -> Any:
    """The function behind ``functools.partial``, which has its name and direction."""
    while isinstance(metric, functools.partial):
        metric = metric.func
    return metric


def ignored_by(metric: Any) -> int | None:
    """The label that an accuracy with settings of its own ignores."""
    if isinstance(metric, functools.partial):
        own = metric.keywords.get("ignore_index")
        return ignored_by(metric.func) if own is None else int(own)
    return None


def metric_functions(metrics: Metric | Iterable[str | Metric] | Mapping[str, Metric]) -> dict[str, Metric]:
    """Metrics by name.

    Errors: ValueError for an unknown name, or one that two of them or the history's own numbers have; TypeError for what is
    neither name nor function.
    """
    if isinstance(metrics, Mapping):
        pairs: list[tuple[str, Any]] = list(metrics.items())
    elif isinstance(metrics, str) or callable(metrics):
        pairs = [_pair(metrics)]
    else:
        pairs = [_pair(metric) for metric in metrics]
    functions: dict[str, Metric] = {}
    for name, function in pairs:
        if not callable(function) or isinstance(function, type):
            raise TypeError(f"Trainer: the metric {name!r} must be a function, not {called(function)}")
        if name in ("loss", "lr") or str(name).startswith("val_"):
            raise ValueError(
                f"Trainer: a metric cannot be called {name!r}, which is a number of the history's own"
            )
        if functions.get(name, function) is not function:
            raise ValueError(
                f"Trainer: two metrics are called {name!r}; name them: metrics={{'name': function, ...}}"
            )
        functions[name] = function
    return functions


def _pair(metric: Any) -> tuple[str, Metric]:
    if isinstance(metric, str):
        if metric not in _named:
            raise ValueError(
                f"Trainer: unknown metric {metric!r}; known: {', '.join(_named)}, or give a function"
            )
        return metric, _named[metric]
    if callable(metric):
        return getattr(unwrapped(metric), "__name__", type(metric).__name__), metric
    raise TypeError(f"Trainer: a metric is a name or a function, not a {type(metric).__name__}")
