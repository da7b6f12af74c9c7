"""The safetensors format, streamed, validated before anything is allocated, and checksummed.

    8 bytes   n, the length of the header, little-endian
    n bytes   JSON: {name: {"dtype", "shape", "data_offsets": [begin, end]}, "__metadata__": {str: str}}
    the rest  the tensors' bytes, little-endian and row-major, without gaps

The format itself has no checksum. Files written here carry one in their metadata, ``fastnn.sha256``: of the
whole file, with 64 zeros in the digest's place. Any metadata key that starts with ``fastnn.`` demands it, and
two do, so no single damaged byte can switch the check off. Files of other programs, which have none, load as
well.

Specification: https://github.com/huggingface/safetensors#format
"""

from __future__ import annotations

import json
import math
import os
import stat
from collections.abc import Mapping
from io import BufferedReader
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .atomic import atomic_write

__all__ = ["Array", "read", "write"]

# Name in the file -> how NumPy holds the bytes. NumPy has no bfloat16: its bits travel as uint16.
STORAGE: dict[str, np.dtype[Any]] = {
    code: np.dtype(kind)
    for code, kind in {
        "F32": "<f4", "F64": "<f8", "BF16": "<u2", "F16": "<f2",
        "I64": "<i8", "I32": "<i4", "U8": "u1", "BOOL": "?",
    }.items()
}  # fmt: skip

PREFIX = "fastnn."
_VERSION, _DIGEST = PREFIX + "version", PREFIX + "sha256"
_ZEROS = "0" * 64
_MAX_HEADER = 100_000_000  # the limit of the reference implementation
_MAX_DIMS = 8


class Array(NamedTuple):
    """A tensor's bytes as a NumPy array, and the name of its dtype in the file."""

    code: str
    data: NDArray[Any]


class _Entry(NamedTuple):
    name: str
    code: str
    shape: tuple[int, ...]
    begin: int
    end: int


def write(path: str | os.PathLike[str], arrays: Mapping[str, Array], metadata: Mapping[str, str]) -> None:
    """Writes a file atomically. ``metadata`` must not hold the checksum's own keys."""
    order = sorted(arrays, key=lambda name: -arrays[name].data.itemsize)  # keeps every tensor aligned
    ends = dict(zip(order, accumulate(arrays[name].data.nbytes for name in order), strict=True))
    header: dict[str, Any] = {"__metadata__": {_VERSION: "1", _DIGEST: _ZEROS, **metadata}}
    for name, (code, data) in arrays.items():
        offsets = [ends[name] - data.nbytes, ends[name]]
        header[name] = {"dtype": code, "shape": list(data.shape), "data_offsets": offsets}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    if len(text) > _MAX_HEADER:
        raise ValueError(
            f"{os.fspath(path)}: names and metadata take {len(text)} bytes, more than {_MAX_HEADER}"
        )
    buffers = [_bytes(arrays[name].data) for name in order]
    digest = _sha256(text)
    for buffer in buffers:
        digest.update(buffer)
    zeros, checked = _ZEROS.encode(), digest.hexdigest().encode()
    with atomic_write(path) as file:
        file.write(len(text).to_bytes(8, "little"))
        file.write(text.replace(zeros, checked, 1))
        for buffer in buffers:
            file.write(buffer)


def read(path: str | os.PathLike[str]) -> tuple[dict[str, Array], dict[str, str]]:
    """The tensors and the metadata of a file.

    Errors: OSError if it cannot be opened, ValueError naming the file if anything about it is wrong.
    """
    if stat.S_ISFIFO(os.stat(path).st_mode):  # opening one would wait for a writer
        raise ValueError(f"{os.fspath(path)}: a pipe, not a file")
    with open(path, "rb") as file:
        try:
            return _read(file)
        except (ValueError, RecursionError) as error:
            from .foreign import foreign

            reason = foreign(file) or (error if isinstance(error, ValueError) else "nested too deeply")
            raise ValueError(f"{os.fspath(path)}: {reason}") from error


def _read(file: BufferedReader) -> tuple[dict[str, Array], dict[str, str]]:
    size = os.fstat(file.fileno()).st_size
    if size < 8:
        raise ValueError(f"{size} bytes are too few for a safetensors file: it was cut off or is empty")
    length = int.from_bytes(file.read(8), "little")
    if not 2 <= length <= min(size - 8, _MAX_HEADER):
        raise ValueError(
            f"not a safetensors file, or cut off: the header would be {length} bytes of {size} in all "
            f"(at most {_MAX_HEADER})"
        )
    text = file.read(length)
    entries, metadata = _parse(text, size - 8 - length)
    digest = _start_digest(text, metadata)
    arrays = {}
    for entry in sorted(entries, key=lambda entry: (entry.begin, entry.end)):
        data = np.empty(entry.shape, STORAGE[entry.code])
        raw = _bytes(data)
        if file.readinto(raw) != raw.nbytes:
            raise ValueError("the file became shorter while it was read")
        if digest is not None:
            digest.update(raw)
        if entry.code == "BOOL" and np.frombuffer(raw, np.uint8).max(initial=0) > 1:
            raise ValueError(f"tensor {entry.name!r}: a bool is stored as 0 or 1")
        arrays[entry.name] = Array(entry.code, data)
    if digest is not None and digest.hexdigest() != metadata[_DIGEST]:
        raise ValueError("damaged: its contents do not match the checksum they were saved with")
    own = (_VERSION, _DIGEST)
    return (
        {entry.name: arrays[entry.name] for entry in entries},
        {key: value for key, value in metadata.items() if key not in own},
    )


def _bytes(array: NDArray[Any]) -> memoryview:
    return array.reshape(-1).view(np.uint8).data


def _sha256(text: bytes) -> Any:
    import hashlib  # loads OpenSSL, which `import fastnn` need not wait for

    return hashlib.sha256(len(text).to_bytes(8, "little") + text)


def _start_digest(text: bytes, metadata: dict[str, str]) -> Any:
    """The running checksum after the header, or None for a file that has none."""
    if not any(key.startswith(PREFIX) for key in metadata):
        return None
    if metadata.get(_VERSION) != "1":
        raise ValueError(
            f"damaged, or written by a newer fastnn: {_VERSION} is {metadata.get(_VERSION)!r}, not '1'"
        )
    digest = metadata.get(_DIGEST, "").encode()
    if len(digest) != len(_ZEROS) or text.count(digest) != 1:
        raise ValueError(f"damaged: {_DIGEST} is not a checksum")
    return _sha256(text.replace(digest, _ZEROS.encode()))


def _parse(text: bytes, room: int) -> tuple[list[_Entry], dict[str, str]]:
    """Checks the header against itself and against the ``room`` bytes that follow it."""
    try:
        header = json.loads(text.decode(), object_pairs_hook=_unique, parse_constant=_no_constant)
    except UnicodeDecodeError:
        raise ValueError("damaged, or not a safetensors file: the header is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"damaged, or not a safetensors file: the header is not JSON ({error})") from None
    if not isinstance(header, dict):
        raise ValueError("the header is not a JSON object")
    if rb"\ud" in text.lower():  # JSON can spell halves of characters, which no other file could hold
        try:
            json.dumps(header, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise ValueError("a name or text in the header holds half of a character") from None
    metadata = header.pop("__metadata__", {})
    if not (isinstance(metadata, dict) and all(isinstance(value, str) for value in metadata.values())):
        raise ValueError("__metadata__ must map strings to strings")
    entries = [_entry(name, value) for name, value in header.items()]
    position = 0
    for entry in sorted(entries, key=lambda entry: (entry.begin, entry.end)):
        if entry.begin != position:
            what = "overlaps the tensor before it" if entry.begin < position else "leaves a gap before it"
            raise ValueError(f"tensor {entry.name!r} {what}: it begins at byte {entry.begin}, not {position}")
        position = entry.end
    if position != room:
        cut = ": the file was cut off" if position > room else ""
        raise ValueError(f"the header declares {position} bytes of tensors, the file holds {room}{cut}")
    return entries, metadata


def _entry(name: str, value: Any) -> _Entry:
    match value:
        case {"dtype": str(code), "shape": list(shape), "data_offsets": [begin, end], **rest} if not rest:
            numbers = [*shape, begin, end]
        case _:
            raise ValueError(
                f"tensor {name!r} must have dtype, shape and data_offsets: [begin, end], and no more"
            )
    if code not in STORAGE:
        raise ValueError(f"tensor {name!r} has dtype {code[:20]!r}; fastnn has {', '.join(STORAGE)}")
    if len(shape) > _MAX_DIMS or not all(type(number) is int and 0 <= number < 2**63 for number in numbers):
        raise ValueError(
            f"tensor {name!r}: shape (at most {_MAX_DIMS} sizes) and offsets must be integers >= 0"
        )
    size = math.prod(shape) * STORAGE[code].itemsize
    if end - begin != size:
        raise ValueError(
            f"tensor {name!r}: {code} of shape {shape} takes {size} bytes, its offsets span {end - begin}"
        )
    return _Entry(name, code, tuple(shape), begin, end)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("the header names one tensor twice")
    return result


def _no_constant(name: str) -> Any:
    raise ValueError(f"the header holds {name}, which JSON does not know")
