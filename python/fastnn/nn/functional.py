"""The same operations as the layers, as functions. ``import fastnn.nn.functional as F``."""

from __future__ import annotations

import fastnn as fn
from fastnn import _C, Tensor

from .sizes import Size2d, pair

__all__ = [
    "avg_pool2d",
    "conv2d",
    "cross_entropy",
    "dropout",
    "linear",
    "log_softmax",
    "max_pool2d",
    "mse_loss",
    "nll_loss",
    "relu",
    "sigmoid",
    "softmax",
    "tanh",
]


def check_reduction(op: str, reduction: str) -> str:
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"{op}: reduction must be 'mean', 'sum' or 'none', not {reduction!r}")
    return reduction


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """input W^T + bias: (..., in) with weight (out, in) and bias (out) to (..., out).

    Example:
        >>> import fastnn as fn, fastnn.nn.functional as F
        >>> F.linear(fn.tensor([[1.0, 2.0]]), fn.tensor([[3.0, 4.0]]), fn.tensor([0.5])).tolist()
        [[11.5]]
    """
    return _C.linear(input, weight, bias, "none")


def conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Size2d = 1,
    padding: Size2d | str = 0,
    dilation: Size2d = 1,
    groups: int = 1,
) -> Tensor:
    """Convolution of (N, C, H, W) with weight (K, C / groups, R, S) to (N, K, P, Q); see ``nn.Conv2d``.

    Example:
        >>> import fastnn as fn, fastnn.nn.functional as F
        >>> F.conv2d(fn.ones(1, 1, 3, 3), fn.ones(1, 1, 2, 2)).tolist()
        [[[[4.0, 4.0], [4.0, 4.0]]]]
    """
    return _C.conv2d(input, weight, bias, stride, padding, dilation, groups, "none")


def max_pool2d(
    input: Tensor,
    kernel_size: Size2d,
    stride: Size2d | None = None,
    padding: Size2d = 0,
    dilation: Size2d = 1,
) -> Tensor:
    """The largest value of each window; see ``nn.MaxPool2d``."""
    kernel = pair(kernel_size, "kernel_size", 1, "max_pool2d")
    return _C.max_pool2d(
        input,
        kernel,
        kernel if stride is None else pair(stride, "stride", 1, "max_pool2d"),
        pair(padding, "padding", 0, "max_pool2d"),
        pair(dilation, "dilation", 1, "max_pool2d"),
    )


def avg_pool2d(
    input: Tensor,
    kernel_size: Size2d,
    stride: Size2d | None = None,
    padding: Size2d = 0,
    count_include_pad: bool = True,
) -> Tensor:
    """The mean of each window; see ``nn.AvgPool2d``."""
    kernel = pair(kernel_size, "kernel_size", 1, "avg_pool2d")
    return _C.avg_pool2d(
        input,
        kernel,
        kernel if stride is None else pair(stride, "stride", 1, "avg_pool2d"),
        pair(padding, "padding", 0, "avg_pool2d"),
        count_include_pad,
    )


def relu(input: Tensor) -> Tensor:
    """max(input, 0)."""
    return _C.relu(input)


def sigmoid(input: Tensor) -> Tensor:
    """1 / (1 + exp(-input))."""
    return _C.sigmoid(input)


def tanh(input: Tensor) -> Tensor:
    """The hyperbolic tangent."""
    return _C.tanh(input)


def softmax(input: Tensor, dim: int = -1) -> Tensor:
    """exp(input) / sum(exp(input)) along ``dim``."""
    return _C.softmax(input, dim)


def log_softmax(input: Tensor, dim: int = -1) -> Tensor:
    """log(softmax(input)) along ``dim``, exact also where softmax would round to 0."""
    return _C.log_softmax(input, dim)


def dropout(input: Tensor, p: float = 0.5, training: bool = True) -> Tensor:
    """

    eroes each element with probability ``p`` and divides the others by 1 - p, if ``training``; see
    ``nn.Dropout``.
    """
    return _C.dropout(input, p, training)


def cross_entropy(input: Tensor, target: Tensor, ignore_index: int = -100, reduction: str = "mean") -> Tensor:
    """-log softmax(input)[target], for logits (N, classes) and integer labels (N).

    Rows whose label is ``ignore_index`` do not count. ``reduction``: "mean" over the rows that count, "sum",
    or "none" for the N losses.

    Errors: ValueError or IndexError for shapes that do not fit and labels outside 0..classes - 1; TypeError
    for labels that are no integers.

    Example:
        >>> import fastnn as fn, fastnn.nn.functional as F
        >>> round(F.cross_entropy(fn.tensor([[0.0, 100.0]]), fn.tensor([1])).item(), 4)
        0.0
    """
    return _C.cross_entropy(input, target, ignore_index, check_reduction("cross_entropy", reduction))


def nll_loss(input: Tensor, target: Tensor, ignore_index: int = -100, reduction: str = "mean") -> Tensor:
    """

    input[row, target[row]], for log-probabilities (N, classes) and integer labels (N); see ``cross_entropy``.
    """
    check_reduction("nll_loss", reduction)
    classes = input.shape[-1]
    if len(input.shape) != 2 or tuple(target.shape) != (input.shape[0],):
        raise ValueError(
            f"nll_loss: expected log-probabilities (N, classes) and labels (N), "
            f"not {tuple(input.shape)} and {tuple(target.shape)}"
        )
    counts = target != ignore_index
    labels = fn.where(counts, target, fn.zeros_like(target))
    if labels.numel() and not 0 <= int(labels.min().item()) <= int(labels.max().item()) < classes:
        raise IndexError(f"nll_loss: labels must lie in 0..{classes - 1}")
    losses = -input[fn.arange(input.shape[0]), labels]
    losses = fn.where(counts, losses, fn.zeros_like(losses))
    if reduction == "none":
        return losses
    return losses.sum() if reduction == "sum" else losses.sum() / counts.sum()


def mse_loss(input: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """(input - target)^2, its mean, its sum or ("none") every element. Shapes must be equal.

    Errors: ValueError for different shapes: a target of (N, 1) against (N,) would broadcast to N^2
    differences.

    Example:
        >>> import fastnn as fn, fastnn.nn.functional as F
        >>> F.mse_loss(fn.tensor([1.0, 2.0]), fn.tensor([1.0, 4.0]), reduction="sum").item()
        4.0
    """
    check_reduction("mse_loss", reduction)
    if input.shape != target.shape:
        raise ValueError(
            f"mse_loss: input {tuple(input.shape)} and target {tuple(target.shape)} must have equal shapes"
        )
    if reduction == "mean":
        return _C.mse_loss(input, target)
    squares = (input - target) ** 2
    return squares.sum() if reduction == "sum" else squares
