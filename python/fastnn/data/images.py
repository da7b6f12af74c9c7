"""What the image transforms do, on float32 arrays (N, C, H, W)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["as_images", "fit_ink", "in_unit_range", "light_on_dark", "resize", "to_channels"]

Images = NDArray[np.float32]
_LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)  # of red, green and blue: ITU-R BT.601
_INK = 0.2  # lighter than this is paper, dust or shadow


def as_images(x: NDArray[Any], shape: tuple[int, int, int]) -> NDArray[Any]:
    """Images in any common layout as (N, C, H, W); ``shape`` (C, H, W) says how flattened ones are meant."""
    if x.ndim == 2 and x.shape != shape[1:] and x.shape[1] == np.prod(shape):
        x = x.reshape(len(x), *shape)
    elif x.ndim == 2:
        x = x[None, None]
    elif x.ndim == 3:
        x = x[:, None]
    elif x.ndim == 4 and x.shape[1] not in (1, 3, 4) and x.shape[3] in (1, 3, 4):
        x = x.transpose(0, 3, 1, 2)
    if x.ndim != 4 or x.shape[1] not in (1, 3, 4) or 0 in x.shape[2:] or x.dtype.kind not in "fiub":
        raise ValueError(
            f"expected images of shape (H, W), (N, H, W), (N, C, H, W), (N, H, W, C) or "
            f"(N, {np.prod(shape)}), C being 1, 3 or 4, not {x.dtype} of shape {x.shape}"
        )
    return x


def to_channels(images: Images, channels: int) -> Images:
    """Grey from colour or colour from grey; transparent parts (a fourth channel of 0) become white."""
    if images.shape[1] == 4:
        alpha = images[:, 3:]
        images = images[:, :3] * alpha + (1 - alpha)
    if images.shape[1] == channels:
        return images
    if channels == 1:
        return np.tensordot(images, _LUMINANCE, (1, 0))[:, None]
    if images.shape[1] == 1:
        return np.repeat(images, channels, axis=1)
    raise ValueError(f"cannot make {channels} channels of {images.shape[1]}")


def light_on_dark(images: Images) -> Images:
    """Inverts every image whose border is bright: dark ink on light paper."""
    border = np.concatenate([images[..., 0, :], images[..., -1, :], images[..., 0], images[..., -1]], axis=-1)
    bright = border.mean(axis=(1, 2)) > 0.5
    return np.where(bright[:, None, None, None], 1 - images, images)


def fit_ink(image: Images, height: int, width: int) -> Images:
    """The part of an image (C, H, W) that holds ink, centred on a sheet of the shape wanted, scaled to (height, width).

    The sheet of a long thin part may be large, and is not made: its zeros add nothing.
    """
    ink = image.max(axis=0) > _INK * image.max(initial=0)
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    if not rows.size:
        return resize(image, height, width)
    image = image[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    _, h, w = image.shape
    aspect = height / width
    missing_h, missing_w = max(0, round(w * aspect) - h), max(0, round(h / aspect) - w)
    down = _weights(h + missing_h, height, missing_h // 2, h)
    across = _weights(w + missing_w, width, missing_w // 2, w)
    return np.asarray(down @ image @ across.T, np.float32)


def resize(images: Images, height: int, width: int) -> Images:
    """Scales the last two dimensions: two small matrix products, as the filter is separable."""
    rows, columns = _weights(images.shape[-2], height), _weights(images.shape[-1], width)
    return np.asarray(rows @ images @ columns.T, np.float32)


def in_unit_range(x: NDArray[Any]) -> Images:
    """Numbers as float32: uint8 and uint16 divided by the largest value of their type, floats as they are.

    Other integers, as lists and CSV files give them, are bytes too. Errors: ValueError if they cannot be.
    """
    largest = 1
    if x.dtype.kind == "u" and x.dtype.itemsize <= 2:
        largest = np.iinfo(x.dtype).max
    elif x.dtype.kind in "iu":
        largest = 255
        if x.size and not (x.min() >= 0 and x.max() <= 255):
            raise ValueError(
                f"integers of type {x.dtype} must lie in 0..255, as bytes do; these reach from {x.min()} to {x.max()}. "
                "Give uint16, floats in 0..1, or ToFloat(scale=...)"
            )
    y = x.astype(np.float32)
    y *= np.float32(1 / largest)
    return y


def _weights(size: int, new: int, first: int = 0, count: int | None = None) -> Images:
    """(new, size): row i weighs the old pixels that make new pixel i, by a triangle centred on it.

    When reducing, the triangle is as wide as two new pixels, so that every old pixel counts; else as two old
    ones. ``first`` and ``count`` choose old pixels, (new, count).
    """
    scale = size / new
    centres = (np.arange(new) + 0.5) * scale
    support = max(scale, 1.0)
    weights = np.empty((new, size if count is None else count), np.float32)
    for row, centre in zip(weights, centres, strict=True):
        near = np.arange(max(0, int(centre - support) - 1), min(size, int(centre + support) + 2))
        values = np.maximum(0.0, 1.0 - np.abs(near + 0.5 - centre) / support)
        values /= values.sum()
        row[...] = 0
        here = (near >= first) & (near < first + len(row))
        row[near[here] - first] = values[here]
    return weights
