"""One source, several instruction sets: nothing is shared between their objects, and the choice can be overridden."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import fastnn as fn
import pytest

ISAS = fn.info()["isa_supported"]


def run_with(isa: str | None, code: str) -> subprocess.CompletedProcess:
    env = {k: v for k, v in os.environ.items() if k != "FASTNN_ISA"}
    if isa is not None:
        env["FASTNN_ISA"] = isa
    return subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("isa", [name for name, here in ISAS.items() if here])
def test_choice(isa):
    done = run_with(isa, "import fastnn as fn; print(fn.info()['isa'])")
    assert done.stdout.strip() == isa, done.stderr


def test_the_best_is_the_default():
    best = next(name for name, here in ISAS.items() if here)  # listed from the widest
    for unset in (None, ""):
        assert run_with(unset, "import fastnn as fn; print(fn.info()['isa'])").stdout.strip() == best


@pytest.mark.parametrize("wrong", ["avx1024", "AVX2", "avx2 ", "0", "-"])
def test_wrong_choice_is_an_error_that_says_what_there_is(wrong):
    done = run_with(wrong, "import fastnn")
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert f"FASTNN_ISA={wrong} cannot be used here" in last
    assert all(name in last for name, here in ISAS.items() if here)


def merged_objects() -> list[Path]:
    """The objects of each set as CMake left them: beside an extension used in place, or under build/."""
    places = [
        Path(fn._C.__file__).resolve().parent,
        *Path(__file__).parents[1].glob("build*"),
        *Path(__file__).parents[1].glob("build/*"),
    ]
    return sorted({o for place in places for o in place.glob("fastnn_cpu_*.o")})


@pytest.mark.skipif(not shutil.which("nm"), reason="nm (binutils) is not installed")
def test_objects_of_a_set_keep_to_themselves():
    """Of each set's merged object one symbol is global, besides those that carry the set's name; an inline function or
    template that two sets shared would be merged by the linker, and might need an instruction that the machine lacks."""
    objects = merged_objects()
    if not objects:
        pytest.skip("the build folder is not here (the package was installed from a wheel)")
    for path in objects:
        isa = re.fullmatch(r"fastnn_cpu_(\w+)\.o", path.name)[1]
        table = subprocess.run(["nm", path], capture_output=True, text=True, check=True).stdout
        symbols = [line.split()[-2:] for line in table.splitlines()]
        shared = {name for kind, name in symbols if (kind.isupper() and kind != "U") or kind in "uvw"}
        shared -= {name for name in shared if f"fastnn{len(isa)}{isa}" in name}  # named after the set
        assert shared == {f"fastnn_cpu_kernels_{isa}"}, path
        needed = {name for kind, name in symbols if kind == "U"}
        assert not {n for n in needed if n.startswith("_ZNSt") or n.startswith("_ZSt")}, (
            "std:: functions of another object"
        )
        assert not needed & {"malloc", "free", "_Znwm", "_Znam", "__cxa_throw", "__cxa_guard_acquire"}


@pytest.mark.skipif(not shutil.which("objdump"), reason="objdump (binutils) is not installed")
def test_baseline_has_no_wider_registers():
    for path in merged_objects():
        if path.name != "fastnn_cpu_baseline.o":
            continue
        code = subprocess.run(
            ["objdump", "-d", "--no-show-raw-insn", path], capture_output=True, text=True, check=True
        ).stdout
        assert "%xmm" in code or "aarch64" in code
        assert not re.search(r"%[yz]mm|\bvfmadd", code)
