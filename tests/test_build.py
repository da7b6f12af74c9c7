"""How the package is built: what `make demo` compiled serves `make test` too."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

# The build tools stand beside this Python.
PATH = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
SITE = [Path(p) / "nvidia/cu13/bin" for p in sys.path]
NVCC, CUOBJDUMP = (
    next((str(p / name) for p in SITE if (p / name).exists()), None) or shutil.which(name)
    for name in ("nvcc", "cuobjdump")
)
TOOLS = [shutil.which(name, path=PATH) for name in ("cmake", "ninja", "c++")]


def commands(folder: Path, *options: str) -> dict[str, str]:
    """The command that makes each object, after CMake was told the options."""
    pybind11 = subprocess.run(
        [sys.executable, "-m", "pybind11", "--cmakedir"], capture_output=True, text=True, check=True
    )
    found = f"-Dpybind11_DIR={pybind11.stdout.strip()}"
    done = subprocess.run(
        ["cmake", "-G", "Ninja", "-S", ROOT, "-B", folder, "-DFASTNN_CUDA=off", found, *options],
        env={**os.environ, "PATH": PATH, **({"CUDACXX": NVCC} if NVCC else {})},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return {
        entry["output"]: entry["command"]
        for entry in json.loads((folder / "compile_commands.json").read_text())
    }


@pytest.mark.skipif(not all(TOOLS), reason="cmake, ninja or a compiler is not here")
def test_instruction_sets_and_tests_change_no_command_of_what_is_there_without_them(tmp_path):
    python = f"-DPython_EXECUTABLE={sys.executable}"
    demo = commands(tmp_path, python, "-DFASTNN_ISAS=native", "-DFASTNN_TESTS=OFF")
    test = commands(tmp_path, python, "-DFASTNN_ISAS=all", "-DFASTNN_TESTS=ON")
    assert len(test) > len(demo) > 20
    assert {output: test[output] for output in demo} == demo


@pytest.mark.skipif(
    not all(TOOLS) or not NVCC or not CUOBJDUMP, reason="cmake, ninja, a compiler or nvcc is not here"
)
def test_blackwell_is_an_option(tmp_path):
    """One file for every architecture that the option adds, compiled as CMake would."""
    options = (f"-DPython_EXECUTABLE={sys.executable}", "-DFASTNN_ISAS=native", "-DFASTNN_CUDA=on")
    plain = commands(tmp_path, *options)
    found = commands(tmp_path, *options, "-DFASTNN_CUDA_BLACKWELL=ON")
    output = next(o for o in found if o.endswith("fastnn_cuda.dir/cuda/elementwise/logic.cu.o"))
    before, after = (set(re.findall(r"code=\[(\w+)\]", of[output])) for of in (plain, found))
    assert after - before == {"sm_100", "sm_120"}

    Path(output).parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(shlex.split(found[output]), cwd=tmp_path, check=True)
    listed = subprocess.run(
        [CUOBJDUMP, "--list-elf", output], capture_output=True, text=True, check=True
    ).stdout
    assert all(f".{architecture}." in listed for architecture in after - before), listed
