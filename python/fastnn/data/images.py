"""What the image transforms do, on float32 arrays (N, C, H, W)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["as_images", "crop_to_ink", "light_on_dark", "resize", "to_channels"]

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


def crop_to_ink(image: Images, aspect: float) -> Images:
    """The part of an image (C, H, W) that holds ink, padded with 0 to height / width = ``aspect``."""
    ink = image.max(axis=0) > _INK * image.max(initial=0)
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    if not rows.size:
        return image
    image = image[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    _, h, w = image.shape
    missing_h, missing_w = max(0, round(w * aspect) - h), max(0, round(h / aspect) - w)
    sides = [
        (0, 0),
        (missing_h // 2, missing_h - missing_h // 2),
        (missing_w // 2, missing_w - missing_w // 2),
    ]
    return np.pad(image, sides)


def resize(images: Images, height: int, width: int) -> Images:
    """Scales the last two dimensions: two small matrix products, as the filter is separable."""
    rows, columns = _weights(images.shape[-2], height), _weights(images.shape[-1], width)
    return np.asarray(rows @ images @ columns.T, np.float32)


def _weights(size: int, new: int) -> Images:
    """(new, size): row i weighs the old pixels that make new pixel i, by a triangle centred on it.

    When reducing, the triangle is as wide as two new pixels, so that every old pixel counts; else as two old
    ones.
    """
    scale = size / new
    centres = (np.arange(new) + 0.5) * scale
    distance = np.abs(np.arange(size) + 0.5 - centres[:, None]) / max(scale, 1.0)
    weights = np.maximum(0.0, 1.0 - distance)
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
