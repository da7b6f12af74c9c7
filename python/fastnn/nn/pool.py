"""Pooling of images: a window slides, and one number stays of each place."""

from __future__ import annotations

from fastnn import _C, Tensor

from .module import Module
from .sizes import Size2d, pair

__all__ = ["AvgPool2d", "MaxPool2d"]


class MaxPool2d(Module):
    """The largest value of each window: (N, C, H, W) to (N, C, P, Q), P and Q as for ``Conv2d``.

    Sizes are ints or pairs. ``stride`` is the window's size unless given; with ``ceil_mode`` a last window
    may reach beyond the image. Padding, at most half the window, counts as minus infinity. Of equal values
    the first gets the gradient. Errors: ValueError for sizes out of range.

    Example:
        >>> import fastnn as fn
        >>> from fastnn import nn
        >>> nn.MaxPool2d(2)(fn.tensor([[[[1.0, 2.0], [4.0, 3.0]]]])).item()
        4.0
    """

    def __init__(
        self,
        kernel_size: Size2d,
        stride: Size2d | None = None,
        padding: Size2d = 0,
        dilation: Size2d = 1,
        *,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__()
        self.kernel_size = pair(kernel_size, "kernel_size", 1, "MaxPool2d")
        self.stride = self.kernel_size if stride is None else pair(stride, "stride", 1, "MaxPool2d")
        self.padding = pair(padding, "padding", 0, "MaxPool2d")
        self.dilation = pair(dilation, "dilation", 1, "MaxPool2d")
        self.ceil_mode = ceil_mode

    def forward(self, x: Tensor) -> Tensor:
        return _C.max_pool2d(x, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode)

    def extra_repr(self) -> str:
        window = f"kernel_size={self.kernel_size}, stride={self.stride}"
        return f"{window}, padding={self.padding}, dilation={self.dilation}, ceil_mode={self.ceil_mode}"


class AvgPool2d(Module):
    """The mean of each window: (N, C, H, W) to (N, C, P, Q), P and Q as for ``Conv2d``.

    Sizes are ints or pairs. ``stride`` is the window's size unless given; with ``ceil_mode`` a last window
    may reach beyond the image. Padding counts as zeros, which the mean includes unless
    ``count_include_pad=False``. Errors: ValueError for sizes out of range.

    Example:
        >>> import fastnn as fn
        >>> from fastnn import nn
        >>> nn.AvgPool2d(2)(fn.tensor([[[[1.0, 2.0], [4.0, 3.0]]]])).item()
        2.5
    """

    def __init__(
        self,
        kernel_size: Size2d,
        stride: Size2d | None = None,
        padding: Size2d = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        super().__init__()
        self.kernel_size = pair(kernel_size, "kernel_size", 1, "AvgPool2d")
        self.stride = self.kernel_size if stride is None else pair(stride, "stride", 1, "AvgPool2d")
        self.padding = pair(padding, "padding", 0, "AvgPool2d")
        self.ceil_mode = ceil_mode
        self.count_include_pad = count_include_pad

    def forward(self, x: Tensor) -> Tensor:
        return _C.avg_pool2d(
            x, self.kernel_size, self.stride, self.padding, self.count_include_pad, self.ceil_mode
        )

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, ceil_mode={self.ceil_mode}"
