"""Convolution of images."""

from __future__ import annotations

from typing import Any, NoReturn

from fastnn import _C, Tensor

from .init import reset_
from .module import Module
from .parameter import Parameter, new_parameter
from .sizes import Size2d, pair, size

__all__ = ["Conv2d"]


class Conv2d(Module):
    """The same filters at every place of an image: (N, in_channels, H, W) to (N, out_channels, P, Q).

    P = floor((H + 2 padding - dilation (kernel_size - 1) - 1) / stride) + 1, and Q likewise. Sizes are ints
    or pairs (vertical, horizontal). ``padding`` may also be "valid" (none) or "same" (P, Q = H, W; stride 1
    only). With ``groups`` g, each of g blocks of filters sees its own in_channels / g channels. ``weight`` is
    ``(out_channels, in_channels / groups, *kernel_size)``, ``bias`` (out_channels) or None. ``init``: see
    ``nn.init``.

    Errors: ValueError for sizes below 1, negative padding, channels that groups do not divide; an input without the
    batch, which ``functional.conv2d`` takes.

    Example:
        >>> import fastnn as fn
        >>> from fastnn import nn
        >>> layer = nn.Conv2d(1, 20, kernel_size=5, padding="same")
        >>> tuple(layer(fn.zeros(128, 1, 28, 28)).shape)
        (128, 20, 28, 28)
    """

    bias: Parameter | None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size2d,
        stride: Size2d = 1,
        padding: Size2d | str = 0,
        dilation: Size2d = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
        init: str = "default",
    ) -> None:
        super().__init__()
        self.in_channels = size(in_channels, "in_channels", 1, "Conv2d")
        self.out_channels = size(out_channels, "out_channels", 1, "Conv2d")
        self.groups = size(groups, "groups", 1, "Conv2d")
        if self.in_channels % self.groups or self.out_channels % self.groups:
            raise ValueError(
                f"Conv2d: in_channels={in_channels} and out_channels={out_channels} must be multiples of "
                f"groups={groups}"
            )
        if padding_mode != "zeros":
            raise ValueError(f"Conv2d: padding_mode={padding_mode!r} is not supported, only 'zeros'")
        self.kernel_size = pair(kernel_size, "kernel_size", 1, "Conv2d")
        self.stride = pair(stride, "stride", 1, "Conv2d")
        self.dilation = pair(dilation, "dilation", 1, "Conv2d")
        if padding == "same" and self.stride != (1, 1):
            raise ValueError(f"Conv2d: padding='same' needs stride 1, not {stride}")
        self.padding = padding if padding in ("same", "valid") else pair(padding, "padding", 0, "Conv2d")
        self.init = init
        self.weight = new_parameter(
            out_channels, in_channels // groups, *self.kernel_size, dtype=dtype, device=device
        )
        self.register_parameter(
            "bias", new_parameter(out_channels, dtype=dtype, device=device) if bias else None
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Starts again from fresh random weights."""
        reset_(self.weight, self.bias, self.init)

    def forward(self, x: Tensor) -> Tensor:
        if getattr(x, "ndim", 4) != 4:
            self._refuse(tuple(x.shape))
        return _C.conv2d(
            x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups, "none"
        )

    def forward_relu(self, x: Tensor) -> Tensor:
        """This layer and a ReLU in one call; ``Sequential`` uses it where one follows the other."""
        if getattr(x, "ndim", 4) != 4:
            self._refuse(tuple(x.shape))
        return _C.conv2d(
            x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups, "relu"
        )

    def _refuse(self, shape: tuple[int, ...]) -> NoReturn:
        """One image would pass, and what follows take its channels for samples."""
        hint = ""
        if len(shape) == 3 and shape[0] == self.in_channels:
            hint = "; one image is a batch too: x.unsqueeze(0)"
        elif len(shape) == 3 and shape[2] == self.in_channels:
            hint = "; channels stand before height and width, and one image is a batch too: x.permute(2, 0, 1).unsqueeze(0)"
        elif self.in_channels == 1 and len(shape) == 3:
            hint = "; images without channels need one: x.unsqueeze(1)"
        elif self.in_channels == 1 and len(shape) == 2:
            hint = "; one image without channels: x.unsqueeze(0).unsqueeze(0)"
        raise ValueError(f"Conv2d: input must have shape (N, {self.in_channels}, H, W), got {shape}{hint}")

    def extra_repr(self) -> str:
        parts = [
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        ]
        if self.padding != (0, 0):
            parts.append(f"padding={self.padding}")
        if self.dilation != (1, 1):
            parts.append(f"dilation={self.dilation}")
        if self.groups != 1:
            parts.append(f"groups={self.groups}")
        if self.bias is None:
            parts.append("bias=False")
        return ", ".join(parts)
