"""What Python costs: a kernel called from a loop in C++, beside the same computation through fastnn.

The loop is `kernels.cpp`, a library of its own that a build with FASTNN_TESTS makes and no wheel contains. It
calls an entry of the kernel table on operands made once: no Python, no tensors, no dispatch, no allocation.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .process import ROOT
from .rows import Call, Lib, Repeat, Row, Timed, floats

LIBRARY = "libfastnn_kernels.so"


def library() -> Path | None:
    """That of the newest build folder, where one is here."""
    found = [path for folder in ("build*", "build*/*") for path in ROOT.glob(f"{folder}/{LIBRARY}")]
    return max(found, key=lambda path: path.stat().st_mtime, default=None)


class Kernels:
    """In place of a library's module: `prepare` makes a row ready for `run(times)`."""

    __version__ = "this build"

    def __init__(self) -> None:
        path = library()
        if path is None:
            raise FileNotFoundError(f"{LIBRARY}: configure a build folder with -DFASTNN_TESTS=ON")
        loaded = ctypes.CDLL(str(path))
        loaded.kernel_prepare.restype = ctypes.c_bool
        loaded.kernel_prepare.argtypes = [ctypes.c_char_p, ctypes.c_int]
        loaded.kernel_run.restype = None
        loaded.kernel_run.argtypes = [ctypes.c_long]
        self._prepare, self.run = loaded.kernel_prepare, loaded.kernel_run

    def prepare(self, name: str, threads: int) -> Repeat:
        if not self._prepare(name.encode(), threads):
            raise KeyError(f"kernels.cpp has no row {name!r}")
        return Repeat(self.run)


def _row(name: str, flops: float, count: float, through_python: Callable[[Lib], Call]) -> Row:
    def alone(lib: Lib) -> Timed:
        kernel: Repeat = lib.xp.prepare(name, lib.threads)
        return kernel

    def fastnn(lib: Lib) -> Timed:
        call = through_python(lib)

        def run(times: int) -> None:
            with lib.xp.no_grad():
                for _ in range(times):
                    call()

        return Repeat(run)

    sides = {"fastnn": fastnn, "kernels": alone}
    return Row("kernels", name, sides, flops=flops, bytes=4 * count, threads=(1,), comparable=False)


def _product(size: int) -> Row:
    def call(lib: Lib) -> Call:
        a, b = lib.tensor(floats(size, size)), lib.tensor(floats(size, size))
        return lambda: a @ b

    return _row(f"matrix product {size}^3", 2.0 * size**3, 3.0 * size**2, call)


def _linear(lib: Lib) -> Call:
    layers = lib.nn.Sequential(lib.nn.Linear(800, 500), lib.nn.ReLU())
    step: Any = layers[0].forward_relu  # what Sequential calls
    x = lib.tensor(floats(1, 800))
    return lambda: step(x)


def _convolution(lib: Lib) -> Call:
    layer = lib.nn.Conv2d(64, 64, 3, padding=1, bias=False)
    x = lib.tensor(floats(32, 64, 32, 32))
    return lambda: layer.forward(x)


def _softmax(lib: Lib) -> Call:
    x = lib.tensor(floats(128, 10))
    return lambda: lib.F.softmax(x, -1)


def _add(lib: Lib) -> Call:
    a, b = lib.tensor(floats(4096)), lib.tensor(floats(4096))
    return lambda: a + b


ROWS = [
    _product(64),
    _product(1024),
    _row("linear and relu, 1x800 to 500", 2.0 * 800 * 500, 801.0 * 500, _linear),
    _row(
        "convolution N32 64->64 3x3 @32", 2.0 * 32 * 64 * 32**2 * 64 * 9, 2.0 * 32 * 64 * 32**2, _convolution
    ),
    _row("softmax 128x10", 0, 2.0 * 1280, _softmax),
    _row("add, 4096 elements", 0, 3.0 * 4096, _add),
]
