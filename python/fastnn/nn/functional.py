"""The same operations as the layers, as functions. ``import fastnn.nn.functional as F``."""

from __future__ import annotations

from collections.abc import Sequence

from fastnn import _C, Tensor

from .sizes import Size2d

__all__ = [
    "avg_pool2d",
    "batch_norm",
    "conv2d",
    "cross_entropy",
    "dropout",
    "gelu",
    "layer_norm",
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
    ceil_mode: bool = False,
) -> Tensor:
    """The largest value of each window; see ``nn.MaxPool2d``."""
    return _C.max_pool2d(input, kernel_size, stride, padding, dilation, ceil_mode)


def avg_pool2d(
    input: Tensor,
    kernel_size: Size2d,
    stride: Size2d | None = None,
    padding: Size2d = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:
    """The mean of each window; see ``nn.AvgPool2d``."""
    return _C.avg_pool2d(input, kernel_size, stride, padding, count_include_pad, ceil_mode)


def relu(input: Tensor) -> Tensor:
    """max(input, 0)."""
    return _C.relu(input)


def sigmoid(input: Tensor) -> Tensor:
    """1 / (1 + exp(-input))."""
    return _C.sigmoid(input)


def tanh(input: Tensor) -> Tensor:
    """The hyperbolic tangent."""
    return _C.tanh(input)


def gelu(input: Tensor, approximate: str = "none") -> Tensor:
    """input P(X <= input) of a standard normal variable X; see ``nn.GELU``."""
    return _C.gelu(input, approximate)


def layer_norm(
    input: Tensor,
    normalized_shape: int | Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Normalizes over the last dimensions, whose sizes are ``normalized_shape``; see ``nn.LayerNorm``.

    Example:
        >>> import fastnn as fn, fastnn.nn.functional as F
        >>> F.layer_norm(fn.tensor([[1.0, 1.0, 3.0, 3.0]]), (4,)).numpy().round(3).tolist()
        [[-1.0, -1.0, 1.0, 1.0]]
    """
    return _C.layer_norm(input, normalized_shape, weight, bias, eps)


def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Normalizes each channel of (N, C, ...): by the batch's statistics if ``training``, else by the running ones.

    In training the running statistics, where given, move towards the batch's by ``momentum``, in place; see
    ``nn.BatchNorm2d``.

    Errors: ValueError for shapes that do not fit, with one value per channel in training, and without running
    statistics otherwise.
    """
    return _C.batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps, "none")


def softmax(input: Tensor, dim: int = -1) -> Tensor:
    """exp(input) / sum(exp(input)) along ``dim``."""
    return _C.softmax(input, dim)


def log_softmax(input: Tensor, dim: int = -1) -> Tensor:
    """log(softmax(input)) along ``dim``, exact also where softmax would round to 0."""
    return _C.log_softmax(input, dim)


def dropout(input: Tensor, p: float = 0.5, training: bool = True) -> Tensor:
    """Zeroes each element with probability ``p``, if ``training``, and divides the others by 1 - p."""
    return _C.dropout(input, p, training)


def cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """-log softmax(input)[target], for logits (N, classes, ...) and integer labels (N, ...).

    ``target`` may also be a distribution over the classes, of the logits' shape. ``weight`` (classes) makes
    some classes count more; labels equal to ``ignore_index`` do not count at all. ``label_smoothing`` in [0,
    1] gives that share of the target to all classes alike. ``reduction``: "mean" (weighted, over what
    counts), "sum" or "none".

    Errors: IndexError for labels outside 0..classes - 1; ValueError for shapes that do not fit; TypeError for
    targets of the wrong kind.

    Example:
        >>> import fastnn as fn, fastnn.nn.functional as F
        >>> F.cross_entropy(fn.tensor([[0.0, 100.0]]), fn.tensor([0])).item()
        100.0
    """
    return _C.cross_entropy(input, target, ignore_index, reduction, label_smoothing, weight)


def nll_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Tensor:
    """-input[target], for log-probabilities (N, classes, ...) and integer labels; see ``cross_entropy``."""
    return _C.nll_loss(input, target, ignore_index, reduction, weight)


def mse_loss(input: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """(input - target)^2, its mean, its sum or ("none") every element. Shapes must be equal.

    Errors: ValueError for different shapes: a target of (N, 1) against (N,) would broadcast to N^2
    differences.

    Example:
        >>> import fastnn as fn, fastnn.nn.functional as F
        >>> F.mse_loss(fn.tensor([1.0, 2.0]), fn.tensor([1.0, 4.0]), reduction="sum").item()
        4.0
    """
    return _C.mse_loss(input, target, reduction)
