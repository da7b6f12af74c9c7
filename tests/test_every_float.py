"""Every float32 there is, through the functions that promise an error bound, for each instruction set.

Not part of `make test`: `make test-full` runs it, in some minutes. What a process checks is in check(), which
this file runs as a program: FASTNN_ISA is read once, at import.
"""

import json
import os
import subprocess
import sys

import fastnn as fn
import numpy as np
import pytest
from cases.elementwise import ROWS
from cases.rows import described, references

BOUND = {
    row.name: row.ulp["float32"]
    for row in described().values()
    if row.kind == "unary" and row.ulp is not None and "float32" in row.dtypes and row.name in ROWS
}
CHUNK = 1 << 16  # inputs at a time: everything that is made of them stays in L2
# Bits of a double: its exponent's, the exponent of the smallest normal float, that of a float's last place
EXPONENT, SMALLEST, MANTISSA = 0x7FF << 52, (1023 - 126) << 52, 23 << 52
OF_TORCH = ("erf", "gelu")  # the table's reference, exact in any type, would take hours


def reference(name, x):
    """In float64, for a float64 x."""
    if name not in OF_TORCH:
        return references(described()[name], ROWS[name], {})[0](x)
    import torch

    if name == "erf":
        return torch.erf(torch.from_numpy(x)).numpy()
    return 0.5 * x * torch.special.erfc(torch.from_numpy(x * -np.sqrt(0.5))).numpy()


def check(name, part, parts):
    """The largest error among this part of all floats, where, and inputs whose result is no rounding at all."""
    function, worst, where, wrong = getattr(fn._C, name), 0.0, 0.0, []
    for start in range(part * CHUNK, 1 << 32, parts * CHUNK):
        x = np.arange(start, start + CHUNK, dtype=np.uint32).view(np.float32)
        got = function(fn.from_numpy(x)).numpy()
        exact = reference(name, x.astype(np.float64))
        rounded = exact.astype(np.float32)
        finite = np.isfinite(got) & np.isfinite(rounded)
        bits = np.maximum(exact.view(np.int64) & EXPONENT, SMALLEST)  # of the power of two below
        error = np.where(finite, np.abs(got - exact) / (bits - MANTISSA).view(np.float64), 0)
        if error.max() > worst:
            worst, where = float(error.max()), float(x[error.argmax()])
        same = (got == rounded) & (np.signbit(got) == np.signbit(rounded)) | np.isnan(got) & np.isnan(rounded)
        special = ~finite | (rounded == 0) & (got == 0)
        wrong += x[special & ~same][:3].tolist()
    return {"worst": worst, "where": where, "wrong": wrong}


@pytest.mark.full
@pytest.mark.parametrize("isa", [isa for isa, runs in fn.info()["isa_supported"].items() if runs])
@pytest.mark.parametrize("name", BOUND)
def test_every_float(name, isa):
    if name in OF_TORCH:
        pytest.importorskip("torch")
    parts = len(os.sched_getaffinity(0))
    env = os.environ | dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1") | {"FASTNN_ISA": isa}
    command = [sys.executable, __file__, name]
    running = [
        subprocess.Popen([*command, str(part), str(parts)], env=env, stdout=subprocess.PIPE, text=True)
        for part in range(parts)
    ]
    found = [json.loads(process.communicate()[0]) for process in running]
    worst = max(found, key=lambda result: result["worst"])
    print(f"{name}, {isa}: {worst['worst']:.4f} ulp at {worst['where']!r}")
    assert not any(result["wrong"] for result in found), found
    assert worst["worst"] <= BOUND[name], worst


if __name__ == "__main__":
    fn.set_num_threads(1)
    with np.errstate(all="ignore"):
        print(json.dumps(check(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))
