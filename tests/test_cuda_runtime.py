"""What cuda/host asks of the CUDA runtime, on a twin of the runtime that has no device."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT


def headers() -> Path | None:
    """The folder of cuda_runtime.h: beside nvcc, or of NVIDIA's packages."""
    nvcc = shutil.which("nvcc")
    places = [Path(nvcc).resolve().parents[1] / "include"] if nvcc else []
    places += [Path("/usr/local/cuda/include"), *(Path(p) / "nvidia/cu13/include" for p in sys.path)]
    return next((p for p in places if (p / "cuda_runtime.h").exists()), None)


@pytest.fixture(scope="module")
def asked(tmp_path_factory) -> dict[str, list[str]]:
    """By step of the program: what the runtime was asked for, and on which device."""
    include, compiler = headers(), shutil.which("g++") or shutil.which("c++")
    if include is None or compiler is None:
        pytest.skip("there is no cuda_runtime.h or no compiler")
    program = tmp_path_factory.mktemp("cudart") / "twin"
    folders = [f"-I{ROOT}", f"-I{ROOT / 'csrc'}", f"-I{include}"]
    sources = [
        "-xc++",
        *(str(ROOT / "cuda" / "host" / name) for name in ("backend.cu", "pinned.cu")),
        str(ROOT / "tests" / "cpp" / "cudart_twin.cpp"),
    ]
    flags = ["-std=c++20", "-DFASTNN_DEVICE=CUDA", "-DFASTNN_ABI=0", "-pthread"]
    subprocess.run([compiler, *flags, *folders, *sources, "-o", program], check=True)
    steps: dict[str, list[str]] = {}
    for line in subprocess.run([program], capture_output=True, text=True, check=True).stdout.splitlines():
        if line.startswith("# "):
            step = steps[line[2:]] = []
        else:
            step.append(line)
    return steps


def test_a_copy_between_devices_is_ordered_on_both(asked):
    """The legacy stream is 1 on every device: which one is meant, the current device says."""
    assert asked["a copy from device 0 to device 1, default streams"] == [
        "0: event after 1",
        "1: 1 waits for the event",
        "1: copy 0 to 1 on 1",
        "1: event after 1",
        "0: 1 waits for the event",
    ]
    assert asked["the default stream of device 0 while 1 is current"] == ["0: wait for 1"]


def test_tickets_are_zeros_in_the_order_of_the_stream(asked):
    assert asked["contexts"] == ["0: zeros on 1", "1: zeros on 1"]


def test_a_note_of_an_index_is_taken_once_and_whole(asked):
    assert asked["an index out of range"] == ["0 0 0 1 index 5 0"]


def test_a_question_leaves_no_error_for_the_next_launch(asked):
    assert asked["questions"] == ["0: ask 1", "0 0, error 0"]


def test_pinned_memory_rests_behind_what_was_queued(asked):
    """On every device that was used; nobody waits."""
    assert asked["pinned memory"] == ["0: event after 1", "1: event after 1", "another: 1, the same: 1"]
    assert asked["pinned memory to the system"] == ["1: wait for an event"] * 2 + ["1: free pinned"]


def test_pinned_memory_after_an_error_is_waited_for(asked):
    steps = asked["pinned memory without events"]
    assert steps == ["0: wait for all", "1: wait for all", "2: wait for all", "1: free pinned"]


def test_scratch_stays_with_its_stream_and_goes_with_its_thread(asked):
    assert asked["scratch"] == ["0: zeros on 100", "1 1"]
    assert asked["a thread ends"] == ["1: zeros on 1", "1: free", "1: free"]
