"""What the emulator's twins of tensor cores, ldmatrix and conversions believe, against what hardware answered
(tests/golden/ptx_probe.json); and that the comparison notices."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from conftest import ROOT, built

sys.path.insert(0, str(ROOT))
from tools.gpu_check import probe
from tools.gpu_check.__main__ import GOLDEN

PATH = built("libfastnn_cuda_probe_emulator.so")
pytestmark = pytest.mark.skipif(PATH is None, reason="the build folder with the emulator of CUDA is not here")


@pytest.fixture(scope="module")
def mine() -> dict[str, probe.Words]:
    library = probe.Library(str(PATH))
    return {name: library.run(name) for name in library.experiments}


@pytest.fixture
def golden(mine, tmp_path) -> dict:
    """A file of what the emulator itself answers, written and read."""
    path = tmp_path / "golden.json"
    path.write_text(probe.text("the emulator", {name: probe.pack(words) for name, words in mine.items()}))
    return probe.load(path)


@pytest.mark.skipif(
    not GOLDEN.exists(), reason="no GPU has answered yet: `make gpu-check` on one makes the file"
)
def test_the_emulator_believes_what_hardware_does(mine):
    assert probe.differences(probe.load(GOLDEN), mine) == []


def test_the_emulator_agrees_with_itself(mine, golden):
    assert set(golden["tables"]) == set(mine)
    assert set(mine) >= {"mma tf32 fragments", "ldmatrix", "cvt rna tf32", "cvt rn tf32"}
    assert probe.differences(golden, mine) == []
    assert len(json.dumps(golden)) < 40_000


def test_a_difference_is_told(mine, golden):
    names = ("ldmatrix", "cvt rn fp16", "mma bf16 fragments", "sums of mma tf32, not compared")
    for name in names:
        golden["tables"][name] = probe.pack(mine[name] ^ (np.arange(mine[name].size) == 5).astype(np.uint32))
    golden["tables"]["mma tf32 fragments"] = {"error": "illegal instruction"}
    del golden["tables"]["ldmatrix transposed"]
    golden["tables"]["cvt rna tf32"] = probe.pack(mine["cvt rna tf32"][:-1])
    said = dict(line.split(": ", 1) for line in probe.differences(golden, mine))
    at = mine["ldmatrix"][5]
    assert said.pop("ldmatrix") == (
        f"1 of 128 words differ from the emulator, first at 5: {at:#010x} here, {at ^ 1:#010x} there"
    )
    assert said.pop("cvt rn fp16").startswith("1 of ")
    assert said.pop("mma bf16 fragments").startswith("1 of 384 words differ")
    assert said.pop("mma tf32 fragments") == "not known from hardware: illegal instruction"
    assert said.pop("ldmatrix transposed") == "not known from hardware: the experiment is newer than the file"
    assert said.pop("cvt rna tf32").endswith("words here, 877 on the emulator")
    assert said == {}


def test_fragments_are_told_apart(mine):
    """Every element of an operand is seen, once, where the two halves of k and the two operands are looked at."""
    for kind, k in [("tf32", 8), ("bf16", 16), ("fp16", 16)]:
        low, high, right = mine[f"mma {kind} fragments"].reshape(3, 128)
        left = np.concatenate([low, high]) if k == 16 else low
        assert len(set(left.tolist())) == 16 * k
        assert len({v for v in right.tolist()}) == k * 8


def test_ceilings_run(mine):
    library = probe.Library(str(PATH))
    assert {"copy", "fp32 multiply-adds", "launches"} <= set(library.ceilings)
    for name in library.ceilings:
        rate, unit = library.ceiling(name, blocks=2, repeats=1, samples=1, memory=1 << 14)
        assert rate > 0
        assert unit.endswith("/s")
