"""How much a batch's mean is the mean of, so that means over batches become means over all that counts."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

import fastnn as fn
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

    Labels that are ignored count nothing, others the weight of their class; samples of other targets count 1 each. Whether
    somebody else's loss ignores labels is found out in the first batch that has some.
    """

    def __init__(self, loss: Any) -> None:
        settings = entropy_settings(loss)
        declared = getattr(_module_of(loss), "ignore_index", (settings or {}).get("ignore_index"))
        self.loss = loss
        self.ignored = -100 if declared is None else int(declared)
        self.of_classes = (settings or {}).get("weight")
        self.counts_labels = settings is not None and self.of_classes is None
        self.is_sum = is_sum(loss)
        self._ignores = True if settings is not None or declared is not None else None

    def __call__(self, loss: Any, output: Any, target: Tensor) -> tuple[Any, float]:
        """The loss of a batch, and what it is the mean of."""
        if isinstance(loss, tuple):
            return split(loss, len(target))
        labels = not target.dtype.is_floating_point
        if not (labels and isinstance(output, Tensor) and output.ndim == target.ndim + 1):
            return loss, len(target)
        if self.of_classes is not None:
            values = target.cpu().numpy()
            return loss, float(self.of_classes.cpu().double().numpy()[values[values != self.ignored]].sum())
        count = counted(target, self.ignored)
        if count < target.numel() and not self._ignores_labels(loss, output, target):
            return loss, target.numel()
        return loss, count

    def _ignores_labels(self, loss: Any, output: Tensor, target: Tensor) -> bool:
        if self._ignores is None:
            if not (isinstance(loss, Tensor) and loss.numel() == 1 and math.isfinite(output.sum().item())):
                return False  # nothing can be found out, and training ends
            state = fn.get_rng_state()
            self._ignores = _is_blind(self.loss, loss.item(), output, target, target == self.ignored)
            fn.set_rng_state(state)
        return self._ignores

    def mean(self, loss: float, weight: float) -> float:
        """The mean, also of a loss that adds up."""
        return loss / weight if self.is_sum and weight else loss


def split(value: Any, weight: float) -> tuple[Any, float]:
    """A mean and what it is over: as a loss or metric gave the two, or its mean with the weight given."""
    if isinstance(value, tuple) and len(value) == 2:
        mean, weight = value
        return mean, float(weight)
    return value, weight


def _is_blind(function: Any, loss: float, output: Tensor, target: Tensor, ignored: Tensor) -> bool:
    """Whether the loss of a batch stays what it is when the outputs change whose labels are ignored."""
    # Constant along no dimension, for softmax does not see what is added to all classes; nowhere 0.
    change = np.cos(np.arange(output.numel())).reshape(output.shape)
    changed = output + fn.tensor(change, dtype=output.dtype, device=output.device)
    with fn.no_grad():
        for dim in (1, output.ndim - 1):  # that of the classes
            if output.shape[:dim] + output.shape[dim + 1 :] == target.shape:
                other = function(fn.where(ignored.unsqueeze(dim), changed, output), target).item()
                if other == loss or (math.isnan(other) and math.isnan(loss)):  # 0 / 0: all are ignored
                    return True
    return False


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
