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
    lines = list(gates.cuobjdump("-sass", str(PROBE)))
    for instruction in ("HGMMA", "UTMALDG", "UTMASTG", "STSM", "LDSM", "HMMA", "FFMA"):
        assert any(instruction in line for line in lines), instruction


def test_an_architecture_that_is_missing_fails(gates, monkeypatch, tmp_path, capsys):
    budget = tmp_path / "budget.json"
    budget.write_text('{"gone": {"sm_90a": 9}, "k<1>": {"sm_80": 32, "sm_90a": 32}}')
    found = {"sm_90a": {"k<1>": {"registers": 30, "stack": 0}}}
    monkeypatch.setattr(gates, "BUDGET", budget)
    monkeypatch.setattr(gates, "usage", lambda _: (found, {}))
    monkeypatch.setattr(gates, "disassembled", lambda *_: {})
    monkeypatch.setattr(gates, "missing_instructions", lambda _: [])
    for options, failures in [([], ""), (["--all"], "sm_80: not in library.so\n"), (["--write"], "")]:
        monkeypatch.setattr(sys, "argv", ["cuda_gates", "library.so", *options])
        assert gates.main() == bool(failures)
        assert capsys.readouterr().out == failures
    assert budget.read_text() == '{\n "k<1>": {"sm_80": 32, "sm_90a": 30}\n}\n'


def test_more_than_the_budget_fails(gates):
    budget = {"k<1>": {"sm_80": 32, "sm_120": [128, 16]}, "k<2>": {"sm_80": 64}}

    def failures(registers: int, stack: int, name: str = "k<1>", architecture: str = "sm_80") -> list[str]:
        return gates.over_budget({architecture: {name: {"registers": registers, "stack": stack}}}, budget)

    assert failures(32, 0) == []
    assert failures(33, 0) == ["sm_80 k<1>: 33 registers, 32 allowed"]
    assert failures(33, 0, name="k<2>") == []
    assert failures(32, 8) == ["sm_80 k<1>: 8 stack, 0 allowed"]
    assert failures(128, 16, architecture="sm_120") == []
    assert failures(128, 24, architecture="sm_120") == ["sm_120 k<1>: 24 stack, 16 allowed"]
    assert len(failures(1, 0, name="k<3>")) == 1
    assert len(failures(1, 0, architecture="sm_100")) == 1


@pytest.mark.parametrize(
    ("signature", "name"),
    [
        ("void fastnn::cuda::(anonymous namespace)::sum_rows<float, 4>(float*, int)", "sum_rows<float, 4>"),
        (
            "void fastnn::cuda::product<float, fastnn::cuda::MmaTile<(fastnn::Precision)2, 2>, "
            "fastnn::cuda::Matrix<float> >(fastnn::cuda::Matrix<float>)",
            "product<float, MmaTile<(Precision)2, 2>, Matrix<float>>",
        ),
        ("fastnn::cuda::plain(int)", "plain"),
    ],
)
def test_names_of_instances(gates, signature, name):
    assert gates.instance_name(signature) == name


DUMP = """
    arch = sm_80
        Function : tile
        /*0000*/                   LDGSTS.E.BYPASS.128 [R1], [R2.64] ;
        /*0010*/              @!P0 HMMA.1688.F32.TF32 R4, R8, R12, R4 ;
        /*0020*/                   IADD3 R1, R1, 0x10, RZ ;
        /*0030*/                   IADD3 R1, R1, 0x10, RZ ;
        /*0040*/               @P0 BRA 0x10 ;
        /*0050*/                   BRA 0x50 ;
        Function : tile without its units
        /*0000*/                   LDGSTS.E [R1], [R2.64] ;
        Function : row
        /*0000*/                   LDG.E.128.CONSTANT R4, desc[UR4][R2.64] ;
        Function : narrow row
        /*0000*/                   LDG.E R4, desc[UR4][R2.64] ;
        Function : other
        /*0000*/                   LDG.E R4, desc[UR4][R2.64] ;
"""


@pytest.fixture
def code(gates, monkeypatch):
    monkeypatch.setattr(gates, "cuobjdump", lambda *arguments: iter(DUMP.splitlines(keepends=True)))
    return gates.disassembled(
        "library",
        {
            "tile": "product_kernel<float, MmaTile<2, 1>, Matrix<float>>",
            "tile without its units": "product_kernel<float, MmaTile<2, 2>, Matrix<float>>",
            "row": "softmax_held<float, true, 16, 4, 1024>",
            "narrow row": "layer_norm_kernel<double, 8, 2, 512, true>",
            "other": "layer_norm_kernel<float, 4, 1, 512, true>",
        },
    )


def test_a_missing_instruction_fails(gates, monkeypatch, code):
    failures = gates.missing_instructions(code)
    assert [line for line in failures if not line.startswith("there is no ")] == [
        "sm_80 product_kernel<float, MmaTile<2, 2>, Matrix<float>>: no HMMA",
        r"sm_80 layer_norm_kernel<double, 8, 2, 512, true>: no LDG\.E\.128",
    ]
    assert r"there is no ^product_kernel<\w+, SimtTile<" in failures


def test_a_main_loop_of_less_multiply_adds_fails(gates, code):
    found = gates.shares(code)
    name, other = (f"product_kernel<float, MmaTile<2, {i}>, Matrix<float>>" for i in (1, 2))
    assert found == {("sm_80", name): 25.0, ("sm_80", other): 0.0}
    assert gates.thin_loops(found, {name: {"sm_80 share": 27.0}}) == []
    assert gates.thin_loops(found, {name: {"sm_80 share": 28.0}}) == [
        f"sm_80 {name}: 25.0 % of the main loop are multiply-adds, 28.0 % expected"
    ]
    row = gates.written({}, {"sm_80": {name: {"registers": 9, "stack": 8}}}, {("sm_80", name): 25.0})
    assert row == {name: {"sm_80": [9, 8], "sm_80 share": 25.0}}
