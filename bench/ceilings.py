"""The two ceilings of this machine, measured in the same run as the rows, independent of the libraries.

Arithmetic: the loop of `peak.cpp`, built with the system's compiler. Memory: STREAM's copy (McCalpin,
1995), c[i] = a[i] over arrays far larger than the caches, counted as one read and one write per element;
NumPy's copy is the system's memcpy.
"""

from __future__ import annotations

import ctypes
import os
import platform
import shutil
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

COPY_BYTES = 256 << 20
FMA_STEPS = 2_000_000


def _build_peak() -> ctypes.CDLL | None:
    """`peak.cpp` as a library; None where there is no compiler."""
    compiler = shutil.which(os.environ.get("CXX", "c++")) or shutil.which("g++") or shutil.which("clang++")
    if not compiler:
        return None
    native = "-mcpu=native" if platform.machine() == "aarch64" else "-march=native"
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "peak.so"
        source = Path(__file__).with_name("peak.cpp")
        options = ["-O3", "-ffp-contract=fast", native, "-shared", "-fPIC"]
        built = subprocess.run([compiler, *options, str(source), "-o", str(library)], capture_output=True)
        if built.returncode:
            return None
        peak = ctypes.CDLL(str(library))
    peak.fma_flops.restype = ctypes.c_double
    peak.fma_flops.argtypes = [ctypes.c_long]
    return peak


class Ceilings:
    """Measures both on `threads` threads at once. NumPy's copy and ctypes let go of the interpreter lock."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self.pool = ThreadPoolExecutor(threads)
        self.peak = _build_peak()
        a = np.ones(COPY_BYTES // 4, np.float32)
        self.pairs = list(
            zip(np.array_split(a, threads), np.array_split(np.empty_like(a), threads), strict=True)
        )
        self.measure()

    def measure(self) -> dict[str, float | None]:
        """Operations and bytes per second; the best of a few, for what disturbs can only slow down."""
        return {
            "flops": max(self._flops() for _ in range(5)) if self.peak else None,
            "bytes": max(self._bytes() for _ in range(3)),
        }

    def _flops(self) -> float:
        assert self.peak is not None
        start = time.perf_counter()
        done: list[float] = list(self.pool.map(self.peak.fma_flops, [FMA_STEPS] * self.threads))
        return sum(done) / (time.perf_counter() - start)

    def _bytes(self) -> float:
        start = time.perf_counter()
        list(self.pool.map(lambda pair: np.copyto(pair[1], pair[0]), self.pairs))
        return 2 * COPY_BYTES / (time.perf_counter() - start)
