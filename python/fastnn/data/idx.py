"""The IDX format of MNIST and its relatives.

    2 zero bytes, 1 byte element type, 1 byte number of dimensions; every size as a big-endian uint32; the
    elements.

Source: Y. LeCun, C. Cortes, C. Burges, The MNIST database of handwritten digits,
http://yann.lecun.com/exdb/mnist/
"""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from gzip import GzipFile

__all__ = ["read_idx"]

_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_MAX_DIMS = 8
_DEFLATE_LIMIT = 1032  # no deflate stream expands further


def read_idx(path: str | os.PathLike[str]) -> NDArray[Any]:
    """The array in an IDX file, which may be compressed (``.gz``).

    Errors: OSError if it cannot be opened, ValueError naming the file if it is damaged, cut off or no IDX
    file. A file that declares more than it can hold is refused before memory is asked for.
    """
    import gzip
    import zlib

    path = os.fsdecode(path)
    with open(path, "rb") as raw:
        size = os.fstat(raw.fileno()).st_size
        compressed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        try:
            if compressed:
                with gzip.open(raw) as file:
                    return _read(file, size * _DEFLATE_LIMIT)
            return _read(raw, size)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise ValueError(f"{path}: damaged or cut off: {error}") from error
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error


def _read(file: BinaryIO | GzipFile, room: int) -> NDArray[Any]:
    start = file.read(4)
    if len(start) < 4 or start[:2] != b"\0\0" or start[2] not in _TYPES or not 1 <= start[3] <= _MAX_DIMS:
        raise ValueError("not an IDX file")
    dtype, dims = np.dtype(_TYPES[start[2]]), start[3]
    sizes = file.read(4 * dims)
    if len(sizes) < 4 * dims:
        raise ValueError("cut off within the header")
    shape = tuple(np.frombuffer(sizes, ">u4").tolist())
    declared = math.prod(shape) * dtype.itemsize
    if declared > room:
        raise ValueError(f"declares {declared} bytes of shape {shape}, but holds at most {room}")
    data = file.read(declared)
    if len(data) < declared:
        raise ValueError(f"cut off: {len(data)} of {declared} bytes of shape {shape}")
    if file.read(1):  # also makes gzip compare its checksum
        raise ValueError(f"holds more than the declared shape {shape}")
    return np.frombuffer(data, dtype).reshape(shape).astype(dtype.newbyteorder("="))
