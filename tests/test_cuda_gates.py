"""The machine code of the CUDA kernels: registers, local memory, instructions; and that the gates themselves notice."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, built

TOOL = ROOT / "tools" / "cuda_gates.py"
LIBRARY, PROBE = built("libfastnn_cuda.so"), built("libfastnn_cuda_probe.so")
ALL_ARCHITECTURES = ROOT / "build" / "cuda" / "all" / "libfastnn_cuda.so"


@pytest.fixture(scope="module")
def gates():
    spec = importlib.util.spec_from_file_location("cuda_gates", TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def has_disassembler() -> bool:
    wheels = (Path(p) / "nvidia/cu13/bin/cuobjdump" for p in sys.path)
    return any(w.exists() for w in wheels) or shutil.which("cuobjdump") is not None


needs_disassembler = pytest.mark.skipif(
    not has_disassembler(), reason="cuobjdump is not installed (extra `test` on Linux)"
)


def check(library: Path, *options: str) -> None:
    done = subprocess.run(
        [sys.executable, TOOL, library, *options], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(LIBRARY is None, reason="the CUDA library was not built: no nvcc")
@needs_disassembler
def test_machine_code_is_within_budget():
    """That of the architecture that `make test` compiles for."""
    check(LIBRARY)


@pytest.mark.full
@pytest.mark.skipif(not ALL_ARCHITECTURES.exists(), reason="`make cuda-all` has not run: no nvcc")
@needs_disassembler
def test_machine_code_of_all_architectures_is_within_budget():
    check(ALL_ARCHITECTURES, "--all")


@pytest.mark.skipif(PROBE is None, reason="the probe was not built: no nvcc")
@needs_disassembler
def test_the_probe_asks_what_it_is_there_to_ask(gates):
    """Products of a warpgroup, boxes of tensors, stmatrix: the compiler has left none of them out."""
    lines = gates.cuobjdump("-sass", str(PROBE))
    for instruction in ("HGMMA", "UTMALDG", "UTMASTG", "STSM", "LDSM", "HMMA", "FFMA"):
        assert any(instruction in line for line in lines), instruction


def test_an_architecture_that_is_missing_fails(gates, monkeypatch, tmp_path, capsys):
    budget = tmp_path / "budget.json"
    budget.write_text('{"sm_80": {"k": {"registers": 32}}, "sm_90a": {"k": {"registers": 32}}}')
    found = {"sm_90a": {"k": {"registers": 30, "stack": 0}}}
    monkeypatch.setattr(gates, "BUDGET", budget)
    monkeypatch.setattr(gates, "usage", lambda _: (found, {}))
    monkeypatch.setattr(gates, "missing_instructions", lambda *_: [])
    for options, failures in [([], ""), (["--all"], "sm_80: not in library.so\n"), (["--write"], "")]:
        monkeypatch.setattr(sys, "argv", ["cuda_gates", "library.so", *options])
        assert gates.main() == bool(failures)
        assert capsys.readouterr().out == failures
    assert gates.json.loads(budget.read_text()) == {
        "sm_80": {"k": {"registers": 32}},
        "sm_90a": {"k": {"registers": 30}},
    }


def test_more_than_the_budget_fails(gates):
    budget = {"sm_80": {"k": {"registers": 32}}}

    def failures(registers: int, stack: int, name: str = "k", architecture: str = "sm_80") -> list[str]:
        return gates.over_budget({architecture: {name: {"registers": registers, "stack": stack}}}, budget)

    assert failures(32, 0) == []
    assert failures(33, 0) == ["sm_80 k: 33 registers, 32 allowed"]
    assert failures(32, 8) == ["sm_80 k: 8 stack, 0 allowed"]
    assert len(failures(1, 0, name="new")) == 1
    assert len(failures(1, 0, architecture="sm_100")) == 1


@pytest.mark.parametrize(
    ("signature", "name"),
    [
        ("void fastnn::cuda::(anonymous namespace)::sum_rows<float, 4>(float*, int)", "sum_rows"),
        (
            "void fastnn::cuda::product<fastnn::cuda::SimtTile<float, 128>, (bool)1>(fastnn::cuda::GemmParams)",
            "product SimtTile",
        ),
        ("fastnn::cuda::plain(int)", "plain"),
    ],
)
def test_names_of_kernels(gates, signature, name):
    assert gates.kernel_name(signature) == name


def test_a_missing_instruction_fails(gates, monkeypatch):
    dump = """
    arch = sm_80
        Function : one
        /*0000*/                   LDGSTS.E.BYPASS.128 [R1], [R2.64] ;
        /*0010*/              @!P0 HMMA.1688.F32.TF32 R4, R8, R12, R4 ;
        Function : two
        /*0000*/                   LDGSTS.E [R1], [R2.64] ;
    """
    monkeypatch.setattr(gates, "cuobjdump", lambda *arguments: dump.splitlines())
    kernels = {"one": "product_kernel MmaTile", "two": "product_kernel MmaTile", "x": "other"}
    assert gates.missing_instructions("library", kernels) == [
        "there is no product_kernel SimtTile",
        "sm_80 two: no HMMA",
    ]
