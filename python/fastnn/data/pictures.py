"""Pictures of any kind as pixels of 8 bits, of a size that a classifier can use."""

from __future__ import annotations

import math
import os
import warnings
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["read_picture"]

MOST_PIXELS = 1 << 22  # beyond, whole blocks of pixels become one: a net sees a fraction of them
LONGEST_SIDE = 1 << 14
_STRIP = 1 << 20  # pixels converted at a time
_TOO_LARGE = (
    "too large: Pillow decodes it as a whole, and at most {:,} pixels (twice PIL.Image.MAX_IMAGE_PIXELS). "
    "Save it smaller, or as a baseline JPEG, which is decoded at a fraction of its size"
)

# EXIF's orientation -> what PIL.Image.Transpose puts upright.
_UPRIGHT = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}


def read_picture(file: str | os.PathLike[str]) -> NDArray[np.uint8]:
    """The pixels of a picture, (H, W, 3) or with transparency (H, W, 4), 0..255.

    Colours of 16 bits are scaled, floats (which must lie in 0..1) too; palettes are looked up; a picture that the camera
    held sideways is put upright. Large pictures are made smaller while they are read, to at most ``MOST_PIXELS``. Beside
    these memory is used for the pixels that Pillow decodes: of a large JPEG down to a 64th of its own, of other formats all
    that the file has, up to the limit of ``PIL.Image``, 2 ``MAX_IMAGE_PIXELS``.

    Errors: OSError if the file cannot be opened, ImportError without Pillow, ValueError naming the file if it is damaged,
    cut off, no picture, of more pixels than that limit (unless a baseline JPEG), or of pixels whose range is unknown.
    """
    file = os.fsdecode(file)
    try:
        from PIL import Image
    except ImportError:
        raise ImportError(
            f"{file}: reading pictures needs Pillow: pip install pillow (.npy files do not)"
        ) from None
    try:
        with (
            warnings.catch_warnings(action="ignore", category=Image.DecompressionBombWarning),
            _open(file) as picture,
        ):
            return _read(picture)
    except Image.UnidentifiedImageError:
        raise ValueError(f"{file}: neither a picture that Pillow knows nor a .npy file") from None
    except Image.DecompressionBombError as error:
        raise ValueError(f"{file}: {_TOO_LARGE.format(2 * (Image.MAX_IMAGE_PIXELS or 0))}") from error
    except MemoryError:
        raise
    except Exception as error:  # a decoder raises whatever a damaged file makes it meet
        if isinstance(error, OSError) and error.filename is not None:
            raise
        raise ValueError(f"{file}: not a readable picture: {error}") from error


def _open(file: str) -> Image:
    from PIL import Image, JpegImagePlugin

    try:
        return Image.open(file)
    except Image.DecompressionBombError:
        with open(file, "rb") as start:
            if start.read(3) != b"\xff\xd8\xff":
                raise
        picture = JpegImagePlugin.JpegImageFile(file)
        # Decoded smaller, as _read will ask for; but of a progressive one the decoder keeps all coefficients.
        if _factor(*picture.size) > 1 and not picture.info.get("progressive"):
            return picture
        picture.close()
        raise


def _read(picture: Image) -> NDArray[np.uint8]:
    from PIL import Image

    orientation = picture.getexif().get(0x0112, 1)
    factor = _factor(*picture.size)
    if factor > 1:
        picture.draft(None, (picture.width // factor, picture.height // factor))  # JPEG: decodes fewer pixels
        factor = _factor(*picture.size)
    wide = picture.mode == "I" and picture.format in ("PNG", "PPM")  # 16 bits, in an integer of 32
    width, height = picture.size
    rows = factor * max(1, _STRIP // (width * factor))
    strips = []
    for top in range(0, height, rows):
        strip = picture if rows >= height else picture.crop((0, top, width, min(top + rows, height)))
        pixels = _pixels(strip, wide)
        strips.append(pixels if factor == 1 else np.asarray(Image.fromarray(pixels).reduce(factor)))
    whole = np.concatenate(strips)
    if orientation in _UPRIGHT:
        whole = np.asarray(Image.fromarray(whole).transpose(Image.Transpose(_UPRIGHT[orientation])))
    return whole


def _factor(width: int, height: int) -> int:
    """How many pixels of a row (and a column) become one."""
    factor = max(math.isqrt(width * height // MOST_PIXELS), 1)
    while (
        -(-width // factor) * -(-height // factor) > MOST_PIXELS or max(width, height) > LONGEST_SIDE * factor
    ):
        factor += 1
    return factor


def _pixels(picture: Image, wide: bool) -> NDArray[np.uint8]:
    mode, transparent = picture.mode, picture.info.get("transparency")
    if mode.startswith("I;16") or wide:
        values = np.asarray(picture).astype(np.uint32)
        grey = ((values + 128) // 257).astype(np.uint8)
        bands = [grey] * 3
        if isinstance(transparent, int):
            bands.append(np.where(values == transparent, 0, 255).astype(np.uint8))
        return np.stack(bands, axis=-1)
    if mode == "F":
        values = np.asarray(picture)
        if not (values.min() >= 0 and values.max() <= 1):
            raise ValueError(
                f"floats must lie in 0..1; these reach from {values.min():g} to {values.max():g}"
            )
        return np.repeat(np.rint(values * 255).astype(np.uint8)[..., None], 3, axis=-1)
    if mode.startswith("I"):
        raise ValueError(
            "pixels are integers of 32 bits, of which nothing says what is white; save them as 16 bits"
        )
    if mode == "La":
        picture = picture.convert("LA")
    has_alpha = transparent is not None or {"A", "a"} & set(picture.getbands())
    return np.array(picture.convert("RGBA" if has_alpha else "RGB"))
