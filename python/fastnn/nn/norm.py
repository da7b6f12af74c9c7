"""Normalisation by mean and variance: of a batch per channel, or of each sample."""

from __future__ import annotations

from typing import Any, NoReturn

import fastnn as fn
from fastnn import _C, Tensor

from . import init
from .module import Module
from .parameter import Parameter, new_parameter
from .sizes import size

__all__ = ["BatchNorm1d", "BatchNorm2d", "LayerNorm"]


class LayerNorm(Module):
    """(x - mean) / sqrt(variance + eps) weight + bias over the last dimensions, of each sample by itself.

    ``normalized_shape``: sizes of those dimensions, or an int for the last one. ``weight`` and ``bias`` have
    that shape and start as 1 and 0; ``elementwise_affine=False`` leaves out both, ``bias=False`` the bias.
    The variance is the mean of squares, divided by n. Source: Ba, Kiros, Hinton 2016, eq. 4.

    Errors: ValueError for sizes below 1, or an input that does not end in that shape.

    Example:
        >>> import fastnn as fn
        >>> from fastnn import nn
        >>> layer = nn.LayerNorm(4)
        >>> layer(fn.tensor([[1.0, 1.0, 3.0, 3.0]])).detach().numpy().round(3).tolist()
        [[-1.0, -1.0, 1.0, 1.0]]
    """

    weight: Parameter | None
    bias: Parameter | None

    def __init__(
        self,
        normalized_shape: int | tuple[int, ...],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        sizes = normalized_shape if isinstance(normalized_shape, tuple | list) else (normalized_shape,)
        if not sizes:
            raise ValueError("LayerNorm: normalized_shape must have at least one dimension")
        self.normalized_shape = tuple(size(n, "normalized_shape", 1, "LayerNorm") for n in sizes)
        self.eps = float(eps)
        self.elementwise_affine = bool(elementwise_affine)
        for name, wanted in (("weight", elementwise_affine), ("bias", elementwise_affine and bias)):
            parameter = new_parameter(*self.normalized_shape, dtype=dtype, device=device) if wanted else None
            self.register_parameter(name, parameter)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Starts again from weight 1 and bias 0."""
        _reset(self.weight, self.bias)

    def forward(self, x: Tensor) -> Tensor:
        return _C.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"


class _BatchNorm(Module):
    """What the two share; they differ in the inputs they take."""

    weight: Parameter | None
    bias: Parameter | None
    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Tensor | None
    _dimensions: tuple[int, ...]
    _expected: str

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.num_features = size(num_features, "num_features", 1, type(self).__name__)
        self.eps = float(eps)
        self.momentum = None if momentum is None else float(momentum)
        self.affine = bool(affine)
        self.track_running_stats = bool(track_running_stats)
        for name in ("weight", "bias"):
            parameter = new_parameter(self.num_features, dtype=dtype, device=device) if affine else None
            self.register_parameter(name, parameter)
        dtype = dtype or fn.float32
        tracked = bool(track_running_stats)
        for name in ("running_mean", "running_var"):
            buffer = fn.empty(self.num_features, dtype=dtype, device=device) if tracked else None
            self.register_buffer(name, buffer)
        self.register_buffer("num_batches_tracked", fn.tensor(0, device=device) if tracked else None)
        self.reset_parameters()

    def reset_running_stats(self) -> None:
        """Forgets what was seen: running mean 0, variance 1, no batches."""
        if self.running_mean is not None and self.running_var is not None:
            init.zeros_(self.running_mean)
            init.ones_(self.running_var)
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.zero_()

    def reset_parameters(self) -> None:
        """Starts again: weight 1, bias 0, no running statistics."""
        self.reset_running_stats()
        _reset(self.weight, self.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self._normalize(x, "none")

    def forward_relu(self, x: Tensor) -> Tensor:
        """This layer and a ReLU in one call; ``Sequential`` uses it where one follows the other."""
        return self._normalize(x, "relu")

    def _normalize(self, x: Tensor, activation: str) -> Tensor:
        if getattr(x, "ndim", None) not in self._dimensions or x.shape[1] != self.num_features:
            self._refuse(x)
        momentum = 0.0 if self.momentum is None else self.momentum
        mean, variance = self.running_mean, self.running_var
        batch = self.training or mean is None or variance is None
        if self.training and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
            if self.momentum is None:  # the mean over all batches so far
                momentum = 1.0 / int(self.num_batches_tracked.item())
        if batch and not self.training:
            mean = variance = None
        return _C.batch_norm(x, mean, variance, self.weight, self.bias, batch, momentum, self.eps, activation)

    def _refuse(self, x: Any) -> NoReturn:
        name = type(self).__name__
        if not hasattr(x, "ndim"):
            raise TypeError(f"{name}: input must be a Tensor, got {type(x).__name__}")
        shape = tuple(x.shape)
        if x.ndim not in self._dimensions:
            raise ValueError(f"{name}: input must have shape {self._expected}, got {shape}")
        hint = ""
        if x.ndim > 2 and shape[-1] == self.num_features:
            hint = f"; channels that stand last must be turned: x.permute(0, {x.ndim - 1}, {', '.join(map(str, range(1, x.ndim - 1)))})"
        raise ValueError(
            f"{name}: input of shape {shape} has {shape[1]} channels, but this layer takes {self.num_features}{hint}"
        )

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"track_running_stats={self.track_running_stats}"
        )


class BatchNorm1d(_BatchNorm):
    """(x - mean) / sqrt(variance + eps) weight + bias per feature of (N, C) or (N, C, L), over N and L.

    See ``BatchNorm2d``.

    Example:
        >>> import fastnn as fn
        >>> from fastnn import nn
        >>> layer = nn.BatchNorm1d(2)
        >>> layer(fn.tensor([[1.0, -5.0], [3.0, 5.0]])).detach().numpy().round(3).tolist()
        [[-1.0, -1.0], [1.0, 1.0]]
        >>> layer.running_mean  # a tenth of the way from 0 to (2, 0)
        tensor([0.2, 0. ])
    """

    _dimensions = (2, 3)
    _expected = "(N, C) or (N, C, L)"


class BatchNorm2d(_BatchNorm):
    """(x - mean) / sqrt(variance + eps) weight + bias per channel of (N, C, H, W), over N, H and W.

    In training, mean and variance are the batch's, and the running ones move towards them by ``momentum``
    (the running variance counts n - 1); ``momentum=None`` makes them means over all batches. In evaluation
    mode the running ones serve; ``track_running_stats=False`` keeps none and always uses the batch's.
    ``weight`` and ``bias`` start as 1 and 0; ``affine=False`` leaves them out.
    Source: Ioffe and Szegedy 2015, algorithm 1.

    Errors: ValueError for inputs of another shape, or with one value per channel in training.

    Example:
        >>> import fastnn as fn
        >>> from fastnn import nn
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        >>> tuple(net(fn.zeros(2, 3, 6, 6)).shape), list(net[1].state_dict())
        ((2, 8, 4, 4), ['weight', 'bias', 'running_mean', 'running_var', 'num_batches_tracked'])
    """

    _dimensions = (4,)
    _expected = "(N, C, H, W)"


def _reset(weight: Parameter | None, bias: Parameter | None) -> None:
    if weight is not None:
        init.ones_(weight)
    if bias is not None:
        init.zeros_(bias)
