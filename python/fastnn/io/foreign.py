"""What a file that is no safetensors really is."""

from __future__ import annotations

import re
from typing import BinaryIO

__all__ = ["foreign"]

_CONVERT = (
    "Loading a pickle runs code that is in the file, so fastnn never does. If you trust it, convert it in PyTorch: "
    "safetensors.torch.save_file(torch.load(path, weights_only=True), 'new.safetensors')"
)
_UNPACK = "; unpack it first"
_MAGIC = {
    b"\x93NUMPY": "a NumPy .npy file; read it with numpy.load(path, allow_pickle=False)",
    b"\x89HDF": "an HDF5 file (as Keras writes), not safetensors",
    b"GGUF": "a GGUF file, not safetensors",
    b"\x1f\x8b": f"compressed with gzip{_UNPACK}",
    b"BZh": f"compressed with bzip2{_UNPACK}",
    b"\xfd7zXZ": f"compressed with xz{_UNPACK}",
    b"\x28\xb5\x2f\xfd": f"compressed with zstd{_UNPACK}",
    b"7z\xbc\xaf\x27\x1c": f"a 7z archive{_UNPACK}",
    b"\x89PNG": "a picture (PNG), not safetensors",
    b"\xff\xd8\xff": "a picture (JPEG), not safetensors",
    b"GIF8": "a picture (GIF), not safetensors",
    b"%PDF": "a PDF document, not safetensors",
    b"\x7fELF": "a program or library (ELF), not safetensors",
    b"MATLAB": "a MATLAB file, not safetensors; scipy.io.loadmat reads it",
}
_TEXTS = (  # how they begin, in lower case
    (
        b"version https://git-lfs",
        "a pointer of Git LFS, in place of the file itself; fetch that with `git lfs pull`",
    ),
    (b"<!doctype html", "a web page (HTML), as a download that failed leaves, not safetensors"),
    (b"<html", "a web page (HTML), as a download that failed leaves, not safetensors"),
    (b"<", "an XML text, not safetensors"),
    (b"{", "a JSON text, not safetensors; where it is the index of several files, load those"),
)
_TAR = 257  # where "ustar" stands
_ONNX = re.compile(rb"\x08[\x01-\x20][\x12\x1a\x22\x3a\x42]")  # ir_version, then one of the fields behind it
_PREFIX = 1 << 16


def foreign(file: BinaryIO) -> str | None:
    """Names a file of another kind by how it begins, without reading it; None if that says nothing."""
    file.seek(0)
    start = file.read(_PREFIX)
    if start.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _archive(file)
    # Two such bytes followed by zeros are the length of a header.
    protocol = start.startswith((b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"))
    if (protocol and start[2:8] != bytes(6)) or _is_pickle(start, file):
        return f"a Python pickle, as torch.save once wrote. {_CONVERT}"
    for magic, what in _MAGIC.items():
        if start.startswith(magic):
            return what
    if start[_TAR:].startswith(b"ustar"):
        return f"a tar archive{_UNPACK}"
    if start[4:].startswith(b"TFL3"):
        return "a TensorFlow Lite model, not safetensors"
    if _ONNX.match(start) and start[3:8] != bytes(5):
        return "a protocol buffer, such as an ONNX or TensorFlow model, not safetensors"
    return _text(start)


def _is_pickle(start: bytes, file: BinaryIO) -> bool:
    """Whether these are operations of a pickle of any protocol; the first ones have no mark. They are read, not run."""
    import pickletools

    names, stopped = [], None
    try:
        for operation, _, position in pickletools.genops(start):
            names.append(operation.name)
            stopped = position if operation.name == "STOP" else None
    except Exception:  # cut here, or none
        pass
    at_end = stopped is not None and stopped + 1 == len(start) and not file.read(1)
    return at_end or (len(names) >= 4 and not {"GLOBAL", "PUT", "BINPUT"}.isdisjoint(names))


def _text(start: bytes) -> str | None:
    try:
        text = start[:400].decode("utf-8-sig", errors="strict" if len(start) <= 400 else "ignore")
    except UnicodeDecodeError:
        return None
    if not text.strip() or any(ord(c) < 32 and c not in "\t\n\r\f" for c in text):
        return None
    for beginning, what in _TEXTS:
        if text.lstrip().lower().startswith(beginning.decode()):
            return what
    first = text.split(maxsplit=1)[0]
    hint = "; numpy.loadtxt reads numbers" if first[0] in "+-.0123456789" else ""
    shown = text.strip()[:30]
    return f"a text file, which begins {shown!r}, not safetensors{hint}"


def _archive(file: BinaryIO) -> str:
    import zipfile

    try:
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
    except Exception:  # cut off, or damaged in any way
        names = []
    if names and all(name.endswith(".npy") for name in names):
        return "a NumPy .npz file; read it with numpy.load(path, allow_pickle=False)"
    if "config.json" in names and any(name.endswith(".h5") for name in names):
        return "a Keras model, not safetensors"
    if any(name.endswith("data.pkl") for name in names):
        return f"a zip archive that holds a pickle, as torch.save writes. {_CONVERT}"
    inside = f" of {', '.join(names[:3])}{', ...' if len(names) > 3 else ''}" if names else ""
    return f"a zip archive{inside}, not safetensors. Where torch.save wrote it: {_CONVERT}"
