"""Why CUDA cannot be used, case by case, and what the library for real devices is made of."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest
from conftest import EMULATOR, built


def python(code: str, **environment: str | None) -> subprocess.CompletedProcess:
    env = {**os.environ, **{k: v for k, v in environment.items() if v is not None}}
    for name in (k for k, v in environment.items() if v is None):
        env.pop(name, None)
    return subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)


# ---- why not ------------------------------------------------------------------------------------------------------------

ASK = """
import fastnn as fn
print(fn.cuda.is_available(), fn.cuda.device_count(), fn.cuda.why_not())
try:
    fn.ones(2).to("cuda")
except RuntimeError as e:
    print(e)
print(fn.info()["cuda"])
"""


def why_not(library: str | None, **environment: str) -> str:
    done = python(ASK, FASTNN_CUDA_LIBRARY=library, **environment)
    assert done.returncode == 0, done.stderr
    first, second, third = done.stdout.splitlines()
    assert first.startswith("False 0 ")
    assert second == f"cuda:0 cannot be used: {third}"
    assert first.endswith(third)
    return third


def test_a_missing_library_says_that_it_was_not_built(tmp_path):
    missing = str(tmp_path / "libfastnn_cuda.so")
    assert why_not(missing) == (
        f"fastnn was built without CUDA (FASTNN_CUDA=on at build time adds it): there is no {missing}"
    )


def test_a_file_that_is_no_library(tmp_path):
    (tmp_path / "x.so").write_text("not a library")
    assert why_not(str(tmp_path / "x.so")).startswith("the CUDA backend cannot be loaded: ")


def test_a_library_that_lacks_another_is_not_called_missing(tmp_path):
    source, library, gone = tmp_path / "x.c", tmp_path / "x.so", tmp_path / "libgone.so"
    source.write_text("")
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no compiler")
    subprocess.run([compiler, "-shared", "-o", gone, source], check=True)
    subprocess.run([compiler, "-shared", "-Wl,--no-as-needed", "-o", library, source, gone], check=True)
    gone.unlink()
    assert why_not(str(library)).startswith("the CUDA backend cannot be loaded: ")


def test_a_library_of_something_else():
    assert why_not("libc.so.6") == "libc.so.6 is not a CUDA backend of fastnn"


needs_emulator = pytest.mark.skipif(
    EMULATOR is None, reason="the build folder with the emulator of CUDA is not here"
)


@needs_emulator
def test_a_forced_plan_that_there_is_not():
    """The variables are read once, when the library is opened: not by a product somewhere later."""
    assert why_not(str(EMULATOR), FASTNN_CUDA_TILE="12x3") == (
        "FASTNN_CUDA_TILE must be one of 128x256, 128x128, 64x256, 64x64, 32x128, 128x32, 32x32, 64x128, got "
        '"12x3"'
    )
    for splits in ("0", "-1", "2x", "65536", "many"):
        assert why_not(str(EMULATOR), FASTNN_CUDA_SPLITS=splits) == (
            f'FASTNN_CUDA_SPLITS must be a number from 1 to 65535, got "{splits}"'
        )


TIE = """
import fastnn as fn
one = fn.full((16, 16), 1 + 2.0**-11, device="cuda")
with fn.precision("tf32"):
    print((one @ fn.eye(16).to("cuda")).cpu().max().item() - 1)
"""


@needs_emulator
@pytest.mark.parametrize(("capability", "rest"), [("80", 2.0**-10), ("90", 0.0)])
def test_ties_of_tf32_go_as_the_device_does_it_fastest(capability, rest):
    done = python(TIE, FASTNN_CUDA_LIBRARY=str(EMULATOR), FASTNN_EMULATOR_CAPABILITY=capability)
    assert (done.stdout, done.stderr) == (f"{rest}\n", "")


PRODUCTS = """
import ctypes, os, numpy as np, fastnn as fn
library = ctypes.CDLL(os.environ["FASTNN_CUDA_LIBRARY"])
library.fastnn_emulator_launches.restype = ctypes.c_uint64
a, b = (np.random.default_rng(i).standard_normal(s).astype("f") for i, s in enumerate([(600, 33, 32), (600, 32, 2)]))
x, y = fn.tensor(a).to("cuda"), fn.tensor(b).to("cuda")
before = library.fastnn_emulator_launches()
z = x @ y
print(library.fastnn_emulator_launches() - before, np.abs(z.cpu().numpy() - a @ b).max() < 1e-4)
"""


@needs_emulator
def test_a_forced_plan_is_taken():
    """Of 600 products of 33 rows. Parts of k are added up by the last block of a tile while 1,024 counters last for all
    tiles, else by a launch more: so launches tell that k was split, and tiles of which height there were."""
    for tile, splits, launches in [("", "", 1), ("128x32", "2", 1), ("32x32", "2", 2), ("32x32", "1", 1)]:
        found = python(
            PRODUCTS,
            FASTNN_CUDA_LIBRARY=str(EMULATOR),
            FASTNN_CUDA_TILE=tile,
            FASTNN_CUDA_SPLITS=splits,
        )
        assert found.stdout == f"{launches} True\n", (tile, splits, found.stderr)


REAL = built("libfastnn_cuda.so")
no_driver = pytest.mark.skipif(
    REAL is None or os.path.exists("/dev/nvidiactl"),
    reason="the library for real devices was not built" if REAL is None else "this machine has a GPU",
)


@no_driver
def test_the_real_library_loads_without_a_driver_and_says_so():
    assert why_not(str(REAL)) == "there is no NVIDIA driver on this machine"


@pytest.mark.skipif(REAL is None, reason="the library for real devices was not built")
def test_the_real_library_is_small_and_needs_no_cuda_library():
    assert REAL.stat().st_size <= 10 << 20
    listed = subprocess.run(["ldd", str(REAL)], capture_output=True, text=True, check=True).stdout
    assert "libc.so" in listed
    for name in ("libcuda", "libcudart", "cublas", "cudnn"):
        assert name not in listed


def test_import_opens_no_cuda_library():
    code = "import fastnn, os; print('libfastnn_cuda' in open('/proc/self/maps').read())"
    assert python(code).stdout == "False\n"
