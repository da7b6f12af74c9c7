"""LeNet: two rounds of convolution and pooling, then fully connected layers."""

from __future__ import annotations

from collections.abc import Sequence

from fastnn import nn

__all__ = ["LeNet", "LeNet5"]


def _image(input_shape: Sequence[int], owner: str, least: int) -> tuple[int, int, int]:
    if len(input_shape) != 3 or min(input_shape) < 1:
        raise ValueError(f"{owner}: input_shape must be (channels, height, width), not {tuple(input_shape)}")
    channels, height, width = input_shape
    if min(height, width) < least:
        raise ValueError(f"{owner}: images must be at least {least} x {least}, not {height} x {width}")
    return channels, height, width


class LeNet(nn.Sequential):
    """The wide variant with ReLU: 20 filters 5x5, pool, 50 filters 5x5, pool, 500 units, ``classes`` outputs.

    ``input_shape`` is (channels, height, width). Images below 16 x 16 are padded by 2, so that something is
    left of them; 28 x 28 gives 431,080 parameters. ``init`` as for ``nn.Linear``.

    Errors: ValueError for images below 4 x 4.

    Source: LeCun et al. 1998; sizes as in Caffe's MNIST example.

    Example:
        >>> import fastnn as fn
        >>> from fastnn.models import LeNet
        >>> tuple(LeNet()(fn.zeros(4, 1, 28, 28)).shape)
        (4, 10)
        >>> LeNet(classes=10, input_shape=(1, 8, 8))[0].padding
        (2, 2)
        >>> LeNet().summary((1, 28, 28)).parameters
        431080
    """

    def __init__(
        self, classes: int = 10, input_shape: Sequence[int] = (1, 28, 28), init: str = "default"
    ) -> None:
        channels, height, width = _image(input_shape, "LeNet", 4)
        padding = 2 if min(height, width) < 16 else 0
        features = 50 * _left(height, padding) * _left(width, padding)
        super().__init__(
            nn.Conv2d(channels, 20, 5, padding=padding, init=init),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(20, 50, 5, padding=padding, init=init),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(features, 500, init=init),
            nn.ReLU(),
            nn.Linear(500, classes, init=init),
        )


def _left(size: int, padding: int) -> int:
    """What two rounds of a 5x5 filter and pooling by 2 leave of one dimension."""
    for _ in range(2):
        size = (size + 2 * padding - 4) // 2
    return size


class LeNet5(nn.Sequential):
    """LeNet-5 with tanh and average pooling: 6 and 16 filters 5x5, 120 and 84 units, ``classes`` outputs.

    ``input_shape`` is (channels, height, width); the first layer pads by 2 unless the images are at least 32
    x 32, the size for which it was made. In place of the original's subsampling weights, sparse connections
    and radial outputs it has plain pooling, full connections and linear outputs. ``init`` as for
    ``nn.Linear``.

    Errors: ValueError for images below 12 x 12.

    Source: LeCun et al. 1998, "Gradient-based learning applied to document recognition".

    Example:
        >>> import fastnn as fn
        >>> from fastnn.models import LeNet5
        >>> LeNet5().summary((1, 28, 28)).parameters
        61706
    """

    def __init__(
        self, classes: int = 10, input_shape: Sequence[int] = (1, 28, 28), init: str = "default"
    ) -> None:
        channels, height, width = _image(input_shape, "LeNet5", 12)
        padding = 2 if min(height, width) < 32 else 0
        left = [((size + 2 * padding - 4) // 2 - 4) // 2 for size in (height, width)]
        super().__init__(
            nn.Conv2d(channels, 6, 5, padding=padding, init=init),
            nn.Tanh(),
            nn.AvgPool2d(2),
            nn.Conv2d(6, 16, 5, init=init),
            nn.Tanh(),
            nn.AvgPool2d(2),
            nn.Flatten(),
            nn.Linear(16 * left[0] * left[1], 120, init=init),
            nn.Tanh(),
            nn.Linear(120, 84, init=init),
            nn.Tanh(),
            nn.Linear(84, classes, init=init),
        )
