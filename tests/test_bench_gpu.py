"""The rows measured on a GPU run, here on small shapes; their table."""

import sys
from pathlib import Path

import fastnn
import numpy as np
import pytest
from conftest import needs_cuda

sys.path.insert(0, str(Path(__file__).parents[1]))
from bench import gpu, table
from bench.gpu_rows import ROWS, SMALL
from bench.rows import Lib, Repeat, floats

pytestmark = needs_cuda


@pytest.mark.parametrize("row", SMALL, ids=lambda row: row.key)
def test_fastnn_runs(row):
    timed = row.sides["fastnn"](Lib("fastnn", fastnn))
    assert isinstance(timed, Repeat)
    timed.run(2)


def test_a_graph_of_a_gradient_holds_no_forward_pass(monkeypatch):
    """What a CUDA graph would capture, called on the CPU: the values that the tape gives."""
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(gpu, "_on_device", lambda build, precision: build)
    monkeypatch.setattr(
        gpu, "_tensor", lambda lib, *shape, seed=0, grad=False: lib.tensor(floats(*shape, seed=seed), grad)
    )
    monkeypatch.setattr(
        gpu,
        "_integers",
        lambda lib, high, count, seed: lib.tensor(np.random.default_rng(seed).integers(0, high, count)),
    )
    for row in (
        *gpu.convolutions(2, 4, 6, 7, 3, stride=2, groups=2)[1:],
        gpu.layer_norm(6, 9, backward=True),
        gpu.embedding(7, 5, 9, backward=True),
    ):
        plain, found = (row.sides["torch"](Lib("torch", torch, graphed=g))() for g in (False, True))
        graphed = [found] if torch.is_tensor(found) else [g for g in found if g is not None]
        plain = [plain] if torch.is_tensor(plain) else list(plain)
        torch.testing.assert_close(graphed, plain)


def test_names_and_work():
    assert len({row.key for row in ROWS}) == len(ROWS)
    row = gpu.product("NN", 10, 20, 30)
    assert (row.flops, row.bytes) == (12000, 4 * (300 + 600 + 200))
    forward, dx, dw = gpu.convolutions(2, 4, 6, 7, 3, stride=2)
    assert forward.flops == dx.flops == dw.flops == 2 * 2 * 6 * 4 * 4 * 4 * 9
    assert len(gpu.convolutions(1, 3, 4, 9, 3)) == 2  # images need no gradient


def test_table():
    report = {
        "ceilings": {"0": {"flops": 1e12, "bytes": 1e12}},
        "rows": [
            {
                **{"subject": "gpu-gemm", "name": "NN 8^3", "threads": 0, "flops": 1e9, "bytes": 1e3},
                "results": {"fastnn": {"median": 2e-3}, "torch": {"median": 3e-3}, "numpy": {"error": "no"}},
            }
        ],
    }
    last = table.on_gpu(report).splitlines()[-1]
    cells = [cell.strip() for cell in last.strip("|").split("|")]
    assert cells[:3] == ["gemm: NN 8^3", "2.00 ms", "3.00 ms"]
    assert cells[-3:] == ["1.50x", "–", "50%"]
