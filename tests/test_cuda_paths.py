"""The paths of CUDA kernels that the small inputs of the op table do not reach: long rows, split sums, sorting, large tiles,
tensor cores. Against the CPU, under several schedules with the same bits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import fastnn as fn
import fastnn.nn.functional as F
import numpy as np
import pytest
from conftest import emulator_seed, needs_cuda
from fastnn import optim

pytestmark = needs_cuda

Make = Callable[[str], list[fn.Tensor]]


def floats(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def integers(high: int, *shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, high, shape)


def gradients(call: Callable[..., fn.Tensor], *arrays: np.ndarray) -> Callable[[str], list[fn.Tensor]]:
    """The result of a call and the gradients of its floating arguments."""

    def make(device: str) -> list[fn.Tensor]:
        xs = [fn.tensor(a, device=device) for a in arrays]
        for x in xs:
            x.requires_grad = x.dtype.is_floating_point
        y = call(*xs)
        dy = fn.tensor(floats(*y.shape, seed=9), device=device)
        return [y, *fn.grad(y, [x for x in xs if x.requires_grad], dy)]

    return make


def values(call: Callable[..., Any], *arrays: np.ndarray) -> Callable[[str], list[fn.Tensor]]:
    def make(device: str) -> list[fn.Tensor]:
        y = call(*(fn.tensor(a, device=device) for a in arrays))
        return list(y) if isinstance(y, (tuple, list)) else [y]

    return make


def put(x: fn.Tensor, index: fn.Tensor, value: fn.Tensor) -> fn.Tensor:
    x[index] = value
    return x


def in_place(op: str, view: Callable[[fn.Tensor], fn.Tensor], *shape: int) -> Make:
    """x.view op= y; what the view leaves out must stay."""

    def make(device: str) -> list[fn.Tensor]:
        x = fn.tensor(floats(*shape), device=device)
        part = view(x)
        y = fn.tensor(floats(*part.shape, seed=1), device=device)
        getattr(part, op)(y)
        getattr(part, op)(part)  # an output that is also an input
        return [x]

    return make


def many_tensors(make_optimizer: Callable[[Any], Any]) -> Make:
    """More tensors than one launch takes, of odd sizes."""

    def make(device: str) -> list[fn.Tensor]:
        ws = [fn.tensor(floats(k % 7 + 1, 5, seed=k), device=device, requires_grad=True) for k in range(200)]
        opt = make_optimizer(ws)
        for step in range(2):
            for k, w in enumerate(ws):
                w.grad = fn.tensor(floats(k % 7 + 1, 5, seed=1000 * step + k), device=device)
            opt.step()
        return [w.detach() for w in ws]

    return make


def conv(n: int, c: int, k: int, size: int, kernel: int, **options: Any) -> Make:
    groups = options.get("groups", 1)
    return gradients(
        lambda x, w, b: F.conv2d(x, w, b, **options),
        floats(n, c, size, size),
        floats(k, c // groups, kernel, kernel, seed=1),
        floats(k, seed=2),
    )


def layer_norm(x: fn.Tensor, w: fn.Tensor, b: fn.Tensor) -> fn.Tensor:
    return F.layer_norm(x, w.shape, w, b)


def batch_norm(x: fn.Tensor, w: fn.Tensor, b: fn.Tensor) -> fn.Tensor:
    """With its running statistics and a ReLU."""
    mean, variance = fn.zeros_like(w.detach()), fn.ones_like(w.detach())
    y = fn._C.batch_norm(x, mean, variance, w, b, True, activation="relu")
    return y + (mean + variance).reshape(-1, *[1] * (x.ndim - 2))


PATHS: dict[str, Make] = {
    # reductions: rows by a block, columns, the whole in two passes
    "sum of long rows": values(lambda x: x.sum(1), floats(3, 20001)),
    "sum of long columns": values(lambda x: x.sum(0), floats(20001, 3)),
    "sum of all": values(lambda x: x.sum(), floats(211, 307)),
    "max and argmax of all": values(lambda x: [x.max(), x.argmax()], floats(211, 307)),
    "argmin of long rows": values(lambda x: x.argmin(1), floats(2, 30011)),
    "sum of many columns in chunks": values(lambda x: x.sum(0), floats(2100, 40)),
    "sum of many rows in chunks": values(lambda x: x.sum(1), floats(40, 2100)),
    "argmax of columns in chunks": values(lambda x: x.argmax(0), floats(2100, 40)),
    "sum of columns of bytes": values(lambda x: x.sum(0), integers(256, 2100, 130).astype(np.uint8)),
    "sum of columns of doubles": values(lambda x: x.sum(0), floats(2100, 70).astype(np.float64)),
    "max of middle": values(lambda x: x.max(1), floats(5, 1203, 7)),
    "any of a long row": values(lambda x: x.any(), np.zeros(30001, bool)),
    "sum of rows of odd length": values(lambda x: x.sum(1), floats(71, 333)),
    "sum of planes": gradients(lambda x: x.sum((0, 2)), floats(9, 5, 132)),
    "sum of odd planes": gradients(lambda x: x.sum((0, 2)), floats(9, 5, 131)),
    "sum over three dimensions apart": values(lambda x: x.sum((0, 2, 4)), floats(3, 4, 5, 6, 7)),
    "max over three dimensions apart": values(
        lambda x: x.permute(1, 3, 0, 2, 4).max(), floats(3, 4, 5, 6, 7)
    ),
    "sum over three dimensions apart, in parts": values(
        lambda x: x.sum((0, 2, 4)), integers(9, 5, 20, 5, 21, 5).astype(np.uint8)
    ),
    # softmax: rows in registers, rows in chunks, columns
    "softmax of long rows": gradients(lambda x: x.softmax(1), floats(2, 9001)),
    "softmax of rows in chunks": gradients(lambda x: x.softmax(1), floats(2, 40003)),
    "log_softmax of rows in chunks": gradients(lambda x: x.log_softmax(1), floats(1, 40003)),
    "softmax of columns": gradients(lambda x: x.softmax(1), floats(2, 701, 33)),
    "cross_entropy of many classes": gradients(F.cross_entropy, floats(3, 40003), integers(40003, 3)),
    # normalisation: rows in registers and beyond, sums over rows by the last block and by a launch more; channels in chunks, of runs and of columns
    "layer_norm of long rows": gradients(layer_norm, floats(2, 8001), floats(8001), floats(8001, seed=1)),
    "layer_norm of longer rows": gradients(layer_norm, floats(2, 8196), floats(8196), floats(8196, seed=1)),
    "layer_norm of many rows": gradients(layer_norm, floats(70, 600), floats(600), floats(600, seed=1)),
    "layer_norm of rows that blocks share": gradients(
        layer_norm, floats(203, 516), floats(516), floats(516, seed=1)
    ),
    "layer_norm of teams that take turns": gradients(
        layer_norm, floats(301, 130), floats(130), floats(130, seed=1)
    ),
    "layer_norm of many short rows": gradients(layer_norm, floats(1500, 7), floats(7), floats(7, seed=1)),
    "batch_norm of cut runs": gradients(batch_norm, floats(2, 3, 71, 60), floats(3), floats(3, seed=1)),
    "batch_norm of odd cut runs": gradients(batch_norm, floats(1, 2, 4099), floats(2), floats(2, seed=1)),
    "batch_norm of many runs": gradients(batch_norm, floats(150, 2, 8, 8), floats(2), floats(2, seed=1)),
    "batch_norm of many channels": gradients(
        batch_norm, floats(2, 1030, 2), floats(1030), floats(1030, seed=1)
    ),
    "batch_norm of many rows": gradients(batch_norm, floats(150, 33), floats(33), floats(33, seed=1)),
    # indexing: sorted places, long scans
    "gradient of a gather, sorted": gradients(lambda x, i: x[i], floats(50, 3), integers(50, 6007)),
    "gradient of a gather, slices": gradients(lambda x, i: x[i], floats(9, 130), integers(9, 700)),
    "put, sorted": values(put, floats(800, 2), integers(800, 5003), floats(5003, 2, seed=1)),
    "nonzero of many": values(lambda x: (x > 0.3).nonzero(), floats(37, 701)),
    "index range of many": values(lambda x, i: x[i], floats(11), integers(11, 30011)),
    # products: vectors, every kind of tile, split k
    "row times matrix": gradients(lambda a, b: a @ b, floats(1, 3001), floats(3001, 65, seed=1)),
    "matrix times column": gradients(lambda a, b: a @ b, floats(65, 3001), floats(3001, 1, seed=1)),
    "matrix times vector": gradients(lambda a, b: a @ b, floats(130, 700), floats(700, seed=1)),
    "large tiles": gradients(lambda a, b: a @ b, floats(261, 70), floats(70, 517, seed=1)),
    "split k": gradients(lambda a, b: a @ b, floats(24, 5003), floats(5003, 17, seed=1)),
    "few columns": gradients(F.linear, floats(300, 130), floats(10, 130, seed=1), floats(10, seed=2)),
    "batched": gradients(lambda a, b: a @ b, floats(5, 33, 70), floats(5, 70, 18, seed=1)),
    # convolution
    "conv in tiles": conv(2, 16, 40, 13, 3, padding=1),
    "conv with stride": conv(2, 8, 24, 15, 3, stride=2, padding=1),
    "conv 1x1": conv(3, 40, 30, 7, 1),
    "conv 5x5, one channel": conv(3, 1, 20, 16, 5),
    "conv in groups": conv(2, 12, 24, 9, 3, groups=3, padding=2, dilation=2),
    "conv depthwise": conv(2, 17, 17, 21, 3, groups=17, padding=1),
    "conv depthwise, two filters each": conv(2, 6, 12, 9, 5, groups=6, stride=2, padding=2),
    # the rest
    "elementwise of many": gradients(
        lambda a, b: (a * b).tanh() + a.exp(), floats(70001), floats(70001, seed=1)
    ),
    # elementwise: operands that are read as they lie, that are copied first, outputs that are copied from scratch memory
    "row and column of whole vectors": gradients(
        lambda a, b, c: a * b + c, floats(70, 64), floats(64, seed=1), floats(70, 1, seed=2)
    ),
    "row and column of odd length": gradients(
        lambda a, b, c: a * b + c, floats(70, 33), floats(33, seed=1), floats(70, 1, seed=2)
    ),
    "strided and transposed": values(
        lambda a, b: a[:, ::2] * b.T - a[:, 1::2], floats(70, 66), floats(33, 70, seed=1)
    ),
    "comparison and choice of strided": values(
        lambda a, b: fn.where(a[:, ::2] < b.T, a[:, 1::2], b.T), floats(70, 66), floats(33, 70, seed=1)
    ),
    "bytes from behind": values(lambda x: -x.T[:, ::-1], integers(256, 41, 70).astype(np.uint8)),
    "cast of strided": values(lambda x: x[::3].to(fn.float64), integers(1000, 1000, 7)),
    "in place on every second": in_place("mul_", lambda x: x[:, ::2], 41, 66),
    "in place on a transpose": in_place("add_", lambda x: x.T, 41, 66),
    "in place on a block": in_place("sub_", lambda x: x[1:, 3:], 41, 66),
    "in place from behind": in_place("mul_", lambda x: x[::-1, ::-1], 41, 66),
    "transposed copy": values(lambda x: x.T.contiguous(), floats(133, 261)),
    "copy of every second": values(lambda x: x[:, ::2].contiguous(), floats(133, 262)),
    "copy of a block": values(lambda x: x[:, 4:].contiguous(), floats(133, 260)),
    "fill of every second": values(lambda x: [x[:, ::2].fill_(3.0), x], floats(41, 66)),
    "many tensors, SGD": many_tensors(lambda w: optim.SGD(w, lr=0.1, momentum=0.9)),
    "many tensors, AdamW": many_tensors(lambda w: optim.AdamW(w, lr=0.1)),
}


def host(tensors: list[fn.Tensor]) -> list[np.ndarray]:
    return [t.detach().cpu().numpy() for t in tensors]


def compare(got: list[np.ndarray], want: list[np.ndarray], tolerance: float) -> None:
    assert len(got) == len(want)
    for a, b in zip(got, want, strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        scale = float(np.max(np.abs(b), initial=0)) if b.dtype.kind == "f" else 0.0
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * scale)


@pytest.mark.parametrize("name", PATHS)
def test_as_on_the_cpu(name):
    want = host(PATHS[name]("cpu"))
    first = None
    for seed in (1, 2):
        emulator_seed(seed)
        got = host(PATHS[name]("cuda"))
        compare(got, want, 2e-5)
        first = first or got
        assert all(a.tobytes() == b.tobytes() for a, b in zip(got, first, strict=True))


@pytest.mark.parametrize("shape", [(2100, 40), (2100, 3), (40003, 2), (9000, 1)])
@pytest.mark.parametrize("dtype", [fn.float32, fn.float64])
def test_both_walks_add_up_alike(shape, dtype):
    """Down columns, and along the rows of the transpose: chunks are brought together in one order."""
    x = fn.tensor(floats(*shape)).to(dtype).to("cuda")
    assert host([x.sum(0)])[0].tobytes() == host([x.T.contiguous().sum(1)])[0].tobytes()


ROUNDED = [
    name
    for name in PATHS
    if name.startswith(("conv in", "conv with", "conv 1x1", "conv 5", "large", "split", "few"))
]


@pytest.mark.parametrize("precision", ["tf32", "bf16", "fp16"])
@pytest.mark.parametrize("name", ROUNDED)
def test_tensor_cores(name, precision):
    want = host(PATHS[name]("cpu"))
    bits = {"tf32": 10, "bf16": 7, "fp16": 10}[precision]
    with fn.precision(precision):
        got = host(PATHS[name]("cuda"))
    compare(got, want, 2.0**-bits)
    assert any(a.tobytes() != b.tobytes() for a, b in zip(got, want, strict=True))
