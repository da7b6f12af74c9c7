"""Losses: one number that says how far an output is from its target."""

from __future__ import annotations

from fastnn import Tensor

from . import functional as F
from .module import Module

__all__ = ["CrossEntropyLoss", "MSELoss", "NLLLoss"]


def _checked(reduction: str) -> str:
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"reduction must be 'mean', 'sum' or 'none', not {reduction!r}")
    return reduction


class CrossEntropyLoss(Module):
    """-log of the probability that softmax gives to the right class; see ``functional.cross_entropy``.

    Example:
        >>> import fastnn as fn
        >>> from fastnn import nn
        >>> loss = nn.CrossEntropyLoss()(fn.zeros(4, 10), fn.tensor([1, 5, 0, 9]))
        >>> round(loss.item(), 4)  # log 10: nothing learned yet
        2.3026
    """

    weight: Tensor | None

    def __init__(
        self,
        weight: Tensor | None = None,
        *,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.ignore_index = ignore_index
        self.reduction = _checked(reduction)
        self.label_smoothing = label_smoothing

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(
            logits,
            labels,
            self.weight,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
            label_smoothing=self.label_smoothing,
        )

    def extra_repr(self) -> str:
        return f"reduction={self.reduction!r}"


class NLLLoss(Module):
    """-x[label] for log-probabilities x, as ``LogSoftmax`` gives them; see ``functional.nll_loss``."""

    weight: Tensor | None

    def __init__(
        self, weight: Tensor | None = None, *, ignore_index: int = -100, reduction: str = "mean"
    ) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.ignore_index = ignore_index
        self.reduction = _checked(reduction)

    def forward(self, log_probabilities: Tensor, labels: Tensor) -> Tensor:
        return F.nll_loss(
            log_probabilities, labels, self.weight, ignore_index=self.ignore_index, reduction=self.reduction
        )

    def extra_repr(self) -> str:
        return f"reduction={self.reduction!r}"


class MSELoss(Module):
    """The mean of (output - target)^2; see ``functional.mse_loss``.

    Example:
        >>> import fastnn as fn
        >>> from fastnn import nn
        >>> nn.MSELoss()(fn.tensor([1.0, 2.0]), fn.tensor([1.0, 4.0])).item()
        2.0
    """

    def __init__(self, reduction: str = "mean") -> None:
        super().__init__()
        self.reduction = _checked(reduction)

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        return F.mse_loss(output, target, self.reduction)

    def extra_repr(self) -> str:
        return f"reduction={self.reduction!r}"
