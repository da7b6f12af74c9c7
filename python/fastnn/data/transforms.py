"""Transforms of a batch of inputs, NumPy array to NumPy array, that a model file can carry.

Fit them on training data, give them to ``fn.save_model``, and whoever loads the model applies the same ones.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..registry import Describable, arguments_of
from .dataset import as_array
from .images import as_images, fit_ink, in_unit_range, light_on_dark, resize, to_channels

__all__ = ["Compose", "Log1p", "Reshape", "Resize", "Standardize", "ToFloat", "ToImages", "Transform"]

_CHUNK = 1 << 16  # elements that are float64 at a time
_EPS = float(np.finfo(np.float64).eps)


class Transform(Describable):
    """Base class: ``__call__`` takes a batch, shape (batch, ...), and returns one of as many samples."""

    def __call__(self, x: NDArray[Any]) -> NDArray[Any]:
        raise NotImplementedError(f"{type(self).__name__} must define __call__")

    def __repr__(self) -> str:
        values = ", ".join(f"{key}={value!r}" for key, value in arguments_of(self).items())
        return f"{type(self).__name__}({values})"


class Compose(Transform):
    """One transform after the other.

    Example:
        >>> import numpy as np
        >>> from fastnn.data import Compose, Standardize, ToFloat
        >>> Compose(ToFloat(), Standardize(0.5, 0.5))(np.array([[0, 255]], np.uint8))
        array([[-1.,  1.]], dtype=float32)
    """

    def __init__(self, *transforms: Transform) -> None:
        self.transforms = transforms

    def __call__(self, x: NDArray[Any]) -> NDArray[Any]:
        for transform in self.transforms:
            x = transform(x)
        return x

    def __repr__(self) -> str:
        return f"Compose({', '.join(map(repr, self.transforms))})"


class ToFloat(Transform):
    """float32 in place of integers: multiplied by ``scale``, or without it brought into 0..1.

    Without ``scale``, uint8 and uint16 are divided by the largest value of their type, and floats keep their values. The
    other types of integers, which lists and CSV files come as, say nothing of a range: they are divided by 255.

    Errors: ValueError if integers of these other types do not lie in 0..255 and there is no ``scale``.

    Example:
        >>> import numpy as np
        >>> from fastnn.data import ToFloat
        >>> ToFloat(scale=1 / 16)(np.array([0, 8, 16]))
        array([0. , 0.5, 1. ], dtype=float32)
    """

    def __init__(self, scale: float | None = None) -> None:
        self.scale = scale

    def __call__(self, x: NDArray[Any]) -> NDArray[Any]:
        x = as_array(x)
        if self.scale is None:
            return in_unit_range(x)
        y = x.astype(np.float32)
        y *= np.float32(self.scale)
        return y


class Standardize(Transform):
    """(x - mean) / std: columns or channels of mean 0 and variance 1, which is what networks learn from best.

    Parameters: ``mean`` and ``std``, a number, or one number per column of a (batch, columns) array or per
    channel of a (batch, channels, ...) array. A std of 0 (a constant column) counts as 1. Computed in float64, as the
    differences of large numbers are small; the result is float32.

    Errors: ValueError if there are other than one value or one per channel, or if data to ``fit`` hold NaN, infinity, or
    integers that differ by less than float64 can tell apart.

    Example:
        >>> import numpy as np
        >>> from fastnn.data import Standardize
        >>> x = np.array([[1.0, 100.0], [3.0, 300.0]], np.float32)
        >>> Standardize.fit(x)(x)
        array([[-1., -1.],
               [ 1.,  1.]], dtype=float32)
    """

    def __init__(self, mean: ArrayLike = 0.0, std: ArrayLike = 1.0) -> None:
        self.mean = np.asarray(mean, np.float64).reshape(-1)
        std = np.asarray(std, np.float64).reshape(-1)
        self.std = np.where(std == 0, 1.0, std)

    @classmethod
    def fit(cls, x: ArrayLike) -> Standardize:
        """Mean and standard deviation of every column or channel of training data, computed in float64."""
        data = as_array(x)
        axes = (0, *range(2, data.ndim))
        low, high = data.min(axes), data.max(axes)
        largest = np.maximum(np.abs(low.astype(np.float64)), np.abs(high.astype(np.float64)))
        _refuse(~np.isfinite(largest), "holds NaN or infinity, which have no mean")
        if (largest > 1e100).any():  # whose squares float64 may not hold
            unit = np.where(largest > 1e100, largest, 1.0)
            scaled = data / unit.reshape(-1, *[1] * (data.ndim - 2))
            mean, std = scaled.mean(axes) * unit, scaled.std(axes) * unit
        else:
            mean, std = data.mean(axes, dtype=np.float64), data.std(axes, dtype=np.float64)
        constant = low == high
        if data.dtype.kind in "iu":
            _refuse(
                ~constant & (largest > 2**53) & (std < 4096 * _EPS * largest),
                "holds integers too large for their differences to be seen in float64: subtract the least one first",
            )
        # The deviation of a constant column is the rounding of its mean, and of one that differs in its last bit no more.
        std = np.where(constant | (std <= 4 * _EPS * np.abs(mean)), 0.0, std)
        return cls(np.where(constant, low, mean).tolist(), std.tolist())

    def __call__(self, x: NDArray[Any]) -> NDArray[Any]:
        x = as_array(x)
        for values in (self.mean, self.std):
            if values.size != 1 and (x.ndim < 2 or x.shape[1] != values.size):
                raise ValueError(f"Standardize has {values.size} channels, the input has the shape {x.shape}")
        shape = (-1, *[1] * (x.ndim - 2))
        mean, std = self.mean.reshape(shape), self.std.reshape(shape)
        y = np.empty(x.shape, np.float32)
        step = max(1, _CHUNK * len(x) // max(x.size, 1)) if x.ndim else 1
        for start in range(0, len(x), step):
            y[start : start + step] = (x[start : start + step] - mean) / std
        return y

    def constructor_arguments(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return (self.mean.tolist(), self.std.tolist()), {}


def _refuse(columns: NDArray[Any], why: str) -> None:
    if columns.any():
        raise ValueError(f"Standardize.fit: column or channel {int(np.argmax(columns))} {why}")


class Log1p(Transform):
    """log(1 + x) for values >= 0 that span orders of magnitude; -log(1 - x) below 0, so that it is odd."""

    def __call__(self, x: NDArray[Any]) -> NDArray[Any]:
        y = as_array(x).astype(np.float32)
        return np.copysign(np.log1p(np.abs(y)), y)


class Reshape(Transform):
    """Gives every sample a shape: ``Reshape(1, 8, 8)``. Errors: ValueError if it does not fit."""

    def __init__(self, *shape: int) -> None:
        self.shape = shape

    def __call__(self, x: NDArray[Any]) -> NDArray[Any]:
        return x.reshape(len(x), *self.shape)


class Resize(Transform):
    """Scales images (..., H, W) to a height and a width, with a triangle filter as wide as the reduction."""

    def __init__(self, height: int, width: int) -> None:
        self.height = height
        self.width = width

    def __call__(self, x: NDArray[Any]) -> NDArray[Any]:
        return resize(as_array(x).astype(np.float32), self.height, self.width)


class ToImages(Transform):
    """Any images, one or many, as float32 in 0..1 of the shape (batch, channels, height, width).

    Accepts (H, W), (N, H, W), (N, C, H, W) or (N, H, W, C) with 1, 3 or 4 channels, of any size, and
    flattened images (N, channels * height * width). uint8 and uint16 are divided by the largest value of their
    type; other integers, as lists and CSV files give them, are bytes too. Colours become grey by their luminance, or
    grey three equal channels.

    Parameters: ``shape``, (channels, height, width). ``ink``: for drawings, such as digits or letters: the
    darker of paper and ink becomes 0, and images of another size are cropped to the ink, centred and scaled
    to fill the height or width, as the digits and Fashion-MNIST data sets were made. Images that already have
    the size stay in place.

    Errors: ValueError if the input has none of these shapes or holds NaN, infinity, floats outside 0..1 or integers
    outside 0..255.

    Example:
        >>> import numpy as np
        >>> from fastnn.data import ToImages
        >>> page = np.full((100, 80), 255, np.uint8)
        >>> page[30:70, 38:42] = 0                       # a black stroke on white paper
        >>> ToImages((1, 8, 8), ink=True)(page).shape
        (1, 1, 8, 8)
    """

    def __init__(self, shape: tuple[int, int, int], ink: bool = False) -> None:
        if len(shape) != 3 or min(shape) < 1:
            raise ValueError(f"ToImages: shape must be (channels, height, width), not {shape}")
        self.shape = shape
        self.ink = ink

    def __call__(self, x: NDArray[Any]) -> NDArray[Any]:
        channels, height, width = self.shape
        images = to_channels(in_unit_range(as_images(as_array(x), self.shape)), channels)
        if images.size and not (images.min() >= 0 and images.max() <= 1):
            raise ValueError(
                f"ToImages: floats must lie in 0..1; these reach from {images.min():g} to {images.max():g}"
            )
        if self.ink:
            images = light_on_dark(images)
        if images.shape[2:] == (height, width):
            return images
        if not self.ink:
            return resize(images, height, width)
        fitted = np.empty((len(images), *self.shape), np.float32)
        for image, place in zip(images, fitted, strict=True):
            place[...] = fit_ink(image, height, width)
        return fitted
