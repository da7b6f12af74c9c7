"""How much a batch's mean is the mean of, so that means over batches become means over all that counts."""

from __future__ import annotations

import functools
import math
from typing import Any

import fastnn.nn.functional as F
from fastnn import Tensor, nn

__all__ = ["LossWeight", "Means", "counted", "entropy_settings", "split"]

_FUNCTIONS = (F.cross_entropy, F.nll_loss)
_MODULES = (nn.CrossEntropyLoss, nn.NLLLoss)


def counted(labels: Tensor, ignore_index: int) -> int:
    """How many labels are not ``ignore_index``."""
    return int((labels != ignore_index).sum().item())


def entropy_settings(loss: Any) -> dict[str, Any] | None:
    """The settings of a loss of labels, as a function, module or partial of one; None of any other loss."""
    loss = _module_of(loss)
    if isinstance(loss, functools.partial):
        known = entropy_settings(loss.func)
        return None if known is None else {**known, **loss.keywords}
    if isinstance(loss, _MODULES):
        names = ("weight", "ignore_index", "reduction")
        return {name: getattr(loss, name) for name in names}
    return {} if loss in _FUNCTIONS else None


def _module_of(loss: Any) -> Any:
    """The module whose ``forward`` or call was given, bound."""
    owner = getattr(loss, "__self__", None)
    return owner if isinstance(owner, nn.Module) else loss


def is_sum(loss: Any) -> bool:
    """Whether a loss of ours adds up the batch in place of its mean."""
    loss = _module_of(loss)
    if isinstance(loss, functools.partial):
        return loss.keywords.get("reduction") == "sum" or is_sum(loss.func)
    return isinstance(loss, (*_MODULES, nn.MSELoss)) and loss.reduction == "sum"


class LossWeight:
    """Says how much of a batch the mean of a loss is over.

    Labels that are ignored count nothing, others the weight of their class; samples of other targets count 1 each.
    """

    def __init__(self, loss: Any) -> None:
        settings = entropy_settings(loss)
        self.ignored = int(
            getattr(_module_of(loss), "ignore_index", (settings or {}).get("ignore_index", -100))
        )
        self.of_classes = (settings or {}).get("weight")
        self.counts_labels = settings is not None and self.of_classes is None
        self.is_sum = is_sum(loss)

    def __call__(self, output: Any, target: Tensor) -> float:
        labels = not target.dtype.is_floating_point
        if not (
            labels and isinstance(output, Tensor) and output.ndim == target.ndim + 1 and output.shape[1] > 1
        ):
            return len(target)  # numbers, whole as they may be: one output has no classes
        if self.of_classes is None:
            return counted(target, self.ignored)
        values = target.cpu().numpy()
        return float(self.of_classes.cpu().double().numpy()[values[values != self.ignored]].sum())

    def mean(self, loss: float, weight: float) -> float:
        """The mean, also of a loss that adds up."""
        return loss / weight if self.is_sum and weight else loss


def split(value: Any, weight: float) -> tuple[Any, float]:
    """A mean and what it is over: as a loss or metric gave the two, or its mean with the weight given."""
    if isinstance(value, tuple) and len(value) == 2:
        mean, weight = value
        return mean, float(weight)
    return value, weight


class Means:
    """Means over samples of numbers that come as means over batches."""

    def __init__(self) -> None:
        self.sums: dict[str, float] = {}
        self.weights: dict[str, float] = {}

    def add(self, name: str, mean: float, weight: float) -> None:
        """The mean over one more batch; with weight 0, where nothing in it counted, it says nothing."""
        self.sums[name] = self.sums.get(name, 0.0) + (mean * weight if weight else 0.0)
        self.weights[name] = self.weights.get(name, 0.0) + weight

    def result(self) -> dict[str, float]:
        """The means so far; NaN where nothing counted."""
        return {
            name: total / weight if (weight := self.weights[name]) else math.nan
            for name, total in self.sums.items()
        }
