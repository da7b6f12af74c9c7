"""Peers at their best, or held to the instruction set that fastnn is held to."""

from __future__ import annotations

import os
from typing import Any

# Variables that pin a library to other kernels or settings than it would choose. Some systems set them for everybody.
PINS = ("OPENBLAS_", "MKL_", "ONEDNN_", "DNNL_", "ATEN_", "NPY_", "KMP_", "OMP_", "GOTO_", "BLIS_")

# FASTNN_ISA and what holds the peers to the same instructions.
LIKE: dict[str, dict[str, str]] = {
    "": {},
    "avx2": {
        "FASTNN_ISA": "avx2",
        "OPENBLAS_CORETYPE": "Haswell",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "ATEN_CPU_CAPABILITY": "avx2",
        "NPY_DISABLE_CPU_FEATURES": "AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL AVX512_SPR",
    },
}


def environment(threads: int) -> dict[str, str]:
    """This process's, without pins; `threads` of 0 is as many as the library likes."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(PINS)}
    if threads:
        names = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
        kept |= dict.fromkeys(names, str(threads))
    return kept


def kernels(name: str, xp: Any) -> str:
    """Which kernels a library chose here, as far as it tells: "" if it does not."""
    if name == "fastnn":
        return str(xp.info()["isa"])
    if name == "torch":
        blas = ", MKL" if xp.backends.mkl.is_available() else ""
        return f"{xp.backends.cpu.get_cpu_capability()}{blas}"
    if name != "numpy":  # whose BLAS is in every process that imports it
        return ""
    try:
        from threadpoolctl import threadpool_info
    except ImportError:
        return ""
    pools = [pool for pool in threadpool_info() if pool["user_api"] == "blas"]
    return ", ".join(f"{pool['internal_api']} {pool.get('architecture', '')}".strip() for pool in pools)
