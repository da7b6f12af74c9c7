"""What a file that is no safetensors really is."""

from __future__ import annotations

from typing import BinaryIO

__all__ = ["foreign"]

_CONVERT = (
    "Loading a pickle runs code that is in the file, so fastnn never does. If you trust it, convert it in PyTorch: "
    "safetensors.torch.save_file(torch.load(path, weights_only=True), 'new.safetensors')"
)
_MAGIC = {
    b"\x93NUMPY": "a NumPy .npy file; read it with numpy.load(path, allow_pickle=False)",
    b"\x89HDF": "an HDF5 file (as Keras writes), not safetensors",
    b"GGUF": "a GGUF file, not safetensors",
    b"\x1f\x8b": "compressed with gzip; unpack it first",
    b"\x89PNG": "a picture (PNG), not safetensors",
    b"\xff\xd8\xff": "a picture (JPEG), not safetensors",
}


def foreign(file: BinaryIO) -> str | None:
    """Names a file of another kind by how it begins, without reading it; None if that says nothing."""
    file.seek(0)
    start = file.read(8)
    if start.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _archive(file)
    # A pickle of protocol 2 and later; two such bytes followed by zeros are the length of a header.
    if start[:1] == b"\x80" and start[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05") and start[2:] != bytes(6):
        return f"a Python pickle, as torch.save once wrote. {_CONVERT}"
    return next((what for magic, what in _MAGIC.items() if start.startswith(magic)), None)


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
