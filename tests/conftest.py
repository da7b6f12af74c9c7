"""Fixtures that all tests share."""

from __future__ import annotations

import ctypes
import os
import signal
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def built(name: str) -> Path | None:
    """A library or program of the newest build folder, where one is here."""
    found = [p for pattern in ("build*/", "build*/*/") for p in ROOT.glob(f"{pattern}{name}")]
    found += [p for pattern in ("build*/", "build*/*/") for p in ROOT.glob(f"{pattern}cuda/emulator/{name}")]
    return max(found, key=lambda p: p.stat().st_mtime, default=None)


# CUDA devices are emulated unless FASTNN_TEST_DEVICE=cuda asks for the real ones. fastnn looks for its CUDA library at
# the first question about CUDA, so this stands before the import.
EMULATOR = built("libfastnn_cuda_emulator.so")
EMULATED = os.environ.get("FASTNN_TEST_DEVICE") != "cuda"
if EMULATED and EMULATOR:
    os.environ["FASTNN_CUDA_LIBRARY"] = str(EMULATOR)

import fastnn as fn  # noqa: E402

# A job in the background is started deaf to Ctrl-C, and so would be the processes that tests interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

needs_cuda = pytest.mark.skipif(
    not (EMULATOR if EMULATED else fn.cuda.is_available()),
    reason="the build folder with the emulator of CUDA is not here" if EMULATED else "no CUDA device",
)


def emulator_seed(seed: int) -> None:
    """Chooses the schedule of the launches that follow; nothing on a real device."""
    if EMULATED:
        library = ctypes.CDLL(str(EMULATOR))
        library.fastnn_emulator_seed(ctypes.c_uint64(seed))


@pytest.fixture(autouse=True)
def _settings_stay():
    """Whatever a test sets for the process or its thread is set back."""
    threads, recording, precision = fn.get_num_threads(), fn.is_grad_enabled(), fn.get_precision()
    yield
    fn.set_num_threads(threads)
    fn.autograd.set_grad_enabled(recording)
    fn.set_precision(precision)
    fn.set_default_device("cpu")
    fn._C._fail_allocation_after(0)


@pytest.fixture(scope="session")
def torch():
    """PyTorch, the second oracle; the first is NumPy, which every test of the table uses too."""
    return pytest.importorskip("torch", reason="torch is not installed (extra `peers`)")
