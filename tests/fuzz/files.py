"""Fuzz target: ``fn.load``, ``fn.load_model`` and the reader of IDX files, given any bytes.

Right: ValueError naming the file, or values that are saved and loaded again as the same. Byte 0 says what is read
and what is put right before, for no mutation finds a checksum: the header's length, the metadata, the room for the
tensors and the digest.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import fastnn as fn
import numpy as np
from fastnn.data.idx import read_idx
from fuzz.choices import Choices

SEPARATOR = b"\xff"  # which UTF-8 does not know
ZEROS = "0" * 64
FOLDER = Path("/dev/shm" if os.path.isdir("/dev/shm") else os.environ.get("TMPDIR", "/tmp"))
PATH, AGAIN = (FOLDER / f"fastnn-fuzz-{os.getpid()}-{name}.safetensors" for name in ("given", "again"))


def run(data: bytes) -> None:
    choices = Choices(data)
    mode = choices.byte()
    try:
        PATH.write_bytes(framed(choices.rest(), mode) if mode & 4 else choices.rest())
        (idx, tensors, model, tensors)[mode & 3]()
    finally:
        for path in (PATH, AGAIN):
            path.unlink(missing_ok=True)


def framed(data: bytes, mode: int) -> bytes:
    """header, tree, model and contents, divided by SEPARATOR, as a file; mode's bits say what is put right."""
    header, tree, model, contents = (*data.split(SEPARATOR, 3), b"", b"", b"", b"")[:4]
    try:
        entries = json.loads(header)
        metadata = entries.setdefault("__metadata__", {})
        if tree:
            metadata["fastnn.tree"] = tree.decode()
        if model:
            metadata["fastnn.model"] = model.decode()
        metadata.update({"fastnn.version": "1", "fastnn.sha256": ZEROS})
        ends = [entry["data_offsets"][1] for name, entry in entries.items() if name != "__metadata__"]
        if mode & 8 and max(ends, default=0) < 1 << 16:
            contents = contents[: max(ends, default=0)].ljust(max(ends, default=0), b"\x01")
        text = json.dumps(entries, ensure_ascii=False).encode()
    except (ValueError, RecursionError, TypeError, AttributeError, KeyError, IndexError):
        return len(header).to_bytes(8, "little") + header + contents
    size = len(text).to_bytes(8, "little")
    digest = hashlib.sha256(size + text + contents).hexdigest()
    return size + text.replace(ZEROS.encode(), digest.encode(), 1) + contents


def refused(error: Exception) -> None:
    assert str(PATH) in str(error) or isinstance(error, OSError), f"names no file: {error!r}"


def idx() -> None:
    try:
        array = read_idx(PATH)
    except (ValueError, OSError) as error:
        return refused(error)
    assert array.nbytes <= 1 << 28


def tensors() -> None:
    try:
        values = fn.load(PATH)
    except (ValueError, OSError) as error:
        return refused(error)
    fn.save(values, AGAIN)
    assert same(values, fn.load(AGAIN))


def model() -> None:
    try:
        found = fn.load_model(PATH)
    except (ValueError, OSError) as error:
        return refused(error)
    fn.save_model(found, AGAIN)
    again = fn.load_model(AGAIN)
    assert same(found.state_dict(), again.state_dict())
    assert repr(found) == repr(again)
    assert (found.classes, repr(found.preprocessing)) == (again.classes, repr(again.preprocessing))


def same(a: object, b: object) -> bool:
    if type(a) is not type(b):
        return False
    if isinstance(a, fn.Tensor):
        assert isinstance(b, fn.Tensor)
        x, y = a.to(fn.float64).numpy(), b.to(fn.float64).numpy()
        return a.dtype is b.dtype and x.shape == y.shape and np.array_equal(x, y, equal_nan=True)
    if isinstance(a, dict):
        assert isinstance(b, dict)
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        assert isinstance(b, list | tuple)
        return len(a) == len(b) and all(map(same, a, b))
    return a == b or (a != a and b != b)
