"""How rows are measured on a GPU: fastnn against PyTorch, whose products are cuBLAS's and whose convolutions are cuDNN's.

`torch` launches each kernel as it comes; `torch-graph` replays a CUDA graph of the same calls; `numpy` does the same on
the CPU, where that says something. Precision is equal on all sides and part of the row's name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .nets import LR, Case
from .rows import Call, Lib, Repeat, Row, Timed, floats

LIBRARIES = ("fastnn", "torch", "torch-graph", "numpy")
SAMPLE = 2e-3  # seconds: a sample waits for the device once, which costs some 10 us
WARM_UP = 3

Build = Callable[[Lib], Call]


def _cuda(lib: Lib) -> Any:
    return lib.xp.cuda


def _prepared(lib: Lib, precision: str) -> None:
    """PyTorch's settings for a precision; fastnn's rows set it around the call."""
    if lib.name == "fastnn":
        lib.xp.set_precision(precision)
        return
    tf32 = precision == "tf32"
    lib.xp.backends.cuda.matmul.allow_tf32 = lib.xp.backends.cudnn.allow_tf32 = tf32
    lib.xp.backends.cudnn.benchmark = True


def _graphed(lib: Lib, call: Call) -> Call:
    torch = lib.xp
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(WARM_UP):
            call()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()

    def replay(owner: Call = call) -> None:  # the graph reads and writes the memory of what `call` holds
        graph.replay()

    return replay


def _on_device(build: Build, precision: str) -> Callable[[Lib], Timed]:
    def side(lib: Lib) -> Timed:
        _prepared(lib, precision)
        call = build(lib)
        if lib.graphed:
            call = _graphed(lib, call)
        for _ in range(WARM_UP):
            call()
        synchronize = _cuda(lib).synchronize

        def run(times: int) -> None:
            for _ in range(times):
                call()
            synchronize()

        return Repeat(run, SAMPLE)

    return side


def row(
    subject: str,
    name: str,
    build: Build,
    *,
    flops: float = 0,
    bytes: float = 0,
    precision: str = "fp32",
    numpy: Callable[[Lib], Timed] | None = None,
    headline: str = "",
) -> Row:
    side = _on_device(build, precision)
    sides = {"fastnn": side, "torch": side, "torch-graph": side}
    if numpy:
        sides["numpy"] = numpy
    label = name if precision == "fp32" else f"{name} {precision}"
    return Row(f"gpu-{subject}", label, sides, flops=flops, bytes=bytes, threads=(0,), headline=headline)


def _tensor(lib: Lib, *shape: int, seed: int = 0, grad: bool = False) -> Any:
    x = lib.tensor(floats(*shape, seed=seed)).to("cuda")
    if grad:
        x.requires_grad = True
    return x


def _integers(lib: Lib, high: int, count: int, seed: int) -> Any:
    return lib.tensor(np.random.default_rng(seed).integers(0, high, count)).to("cuda")


# ---- matrix products


def product(kind: str, m: int, n: int, k: int, precision: str = "fp32", headline: str = "") -> Row:
    def operands(lib: Lib, half: bool) -> tuple[Any, Any]:
        a = _tensor(lib, *((m, k) if kind[0] == "N" else (k, m)))
        b = _tensor(lib, *((k, n) if kind[1] == "N" else (n, k)), seed=1)
        if half:  # PyTorch's operands lie in memory as the tensor cores take them
            dtype = lib.xp.bfloat16 if precision == "bf16" else lib.xp.float16
            a, b = a.to(dtype), b.to(dtype)
        return (a if kind[0] == "N" else a.T), (b if kind[1] == "N" else b.T)

    def build(lib: Lib) -> Call:
        a, b = operands(lib, lib.name == "torch" and precision in ("bf16", "fp16"))
        return lambda: lib.xp.matmul(a, b)

    def on_cpu(lib: Lib) -> Timed:
        a, b = floats(m, k), floats(k, n, seed=1)
        return lambda: np.matmul(a, b)

    return row(
        "gemm",
        f"{kind} {m}^3" if m == n == k else f"{kind} {m}x{n}x{k}",
        build,
        flops=2.0 * m * n * k,
        bytes=4.0 * (m * k + k * n + m * n),
        precision=precision,
        numpy=on_cpu if kind == "NN" and m == n == k == 2048 and precision == "fp32" else None,
        headline=headline,
    )


# ---- convolution: forward, gradient of the input, gradient of the filters


def convolutions(
    n: int,
    c: int,
    k: int,
    size: int,
    kernel: int,
    stride: int = 1,
    groups: int = 1,
    precision: str = "fp32",
) -> list[Row]:
    pad = kernel // 2
    out = (size + 2 * pad - kernel) // stride + 1
    flops = 2.0 * n * k * out * out * (c // groups) * kernel * kernel
    memory = 4.0 * (n * c * size * size + n * k * out * out + k * c // groups * kernel * kernel)
    what = f"N{n} {c}->{k} {kernel}x{kernel}" + (f"/{stride}" if stride > 1 else "") + f" @{size}"
    what = what if groups == 1 else f"depthwise {what}"

    def call(lib: Lib, x: Any, w: Any) -> Any:
        return lib.F.conv2d(x, w, stride=stride, padding=pad, groups=groups)

    def forward(lib: Lib) -> Call:
        x, w = _tensor(lib, n, c, size, size), _tensor(lib, k, c // groups, kernel, kernel, seed=1)
        return lambda: call(lib, x, w)

    def gradient(of_input: bool) -> Build:
        def build(lib: Lib) -> Call:
            x = _tensor(lib, n, c, size, size, grad=of_input)
            w = _tensor(lib, k, c // groups, kernel, kernel, seed=1, grad=not of_input)
            y = call(lib, x, w)
            dy = _tensor(lib, n, k, out, out, seed=2)
            if lib.graphed:  # a graph cannot use what was recorded before it, so it calls what the tape would
                backward, mask = lib.xp.ops.aten.convolution_backward, [of_input, not of_input, False]
                twice = [[v, v] for v in (stride, pad, 1)]
                x, w = x.detach(), w.detach()
                return lambda: backward(dy, x, w, None, *twice, False, [0, 0], groups, mask)
            return lambda: lib.grad(y, x if of_input else w, dy)

        return build

    found = [
        row("conv", f"{what} forward", forward, flops=flops, bytes=memory, precision=precision),
        row("conv", f"{what} dW", gradient(False), flops=flops, bytes=memory, precision=precision),
    ]
    if c > 3:
        found.insert(
            1, row("conv", f"{what} dX", gradient(True), flops=flops, bytes=memory, precision=precision)
        )
    return found


# ---- bound by memory

MILLION = 1 << 20


def elementwise(name: str, inputs: int, size: int = 64 * MILLION) -> Row:
    def build(lib: Lib) -> Call:
        arguments = [_tensor(lib, size, seed=i) for i in range(inputs)]
        function = getattr(lib.xp, name)
        return lambda: function(*arguments)

    return row("memory", f"{name} {size // MILLION}M", build, bytes=4.0 * size * (inputs + 1))


def over_rows(name: str, rows: int, size: int, passes: int, call: Callable[[Lib, Any], Any]) -> Row:
    def build(lib: Lib) -> Call:
        x = _tensor(lib, rows, size)
        return lambda: call(lib, x)

    return row("memory", f"{name} {rows}x{size}", build, bytes=4.0 * rows * size * passes)


def layer_norm(rows: int, size: int, backward: bool = False) -> Row:
    """Forward, or the gradient of all three operands: x and dy are read, dx is written."""

    def build(lib: Lib) -> Call:
        x = _tensor(lib, rows, size, grad=backward)
        w, b = (_tensor(lib, size, seed=i, grad=backward) for i in (1, 2))
        y = lib.F.layer_norm(x, (size,), w, b)
        dy = _tensor(lib, rows, size, seed=3)
        if not backward:
            return lambda: lib.F.layer_norm(x, (size,), w, b)
        if lib.graphed:
            aten, ones = lib.xp.ops.aten, [True] * 3
            x, w, b = x.detach(), w.detach(), b.detach()
            _, mean, rstd = aten.native_layer_norm(x, [size], w, b, 1e-5)
            return lambda: aten.native_layer_norm_backward(dy, x, [size], mean, rstd, w, b, ones)
        return lambda: lib.grads(y, [x, w, b], dy)

    name = f"layer_norm {rows}x{size}" + (" gradient" if backward else "")
    return row("memory", name, build, bytes=4.0 * rows * size * (3 if backward else 2))


def batch_norm(n: int, c: int, size: int) -> Row:
    """In training: x is read twice, for its statistics and to be normalised."""

    def build(lib: Lib) -> Call:
        x, w, b = _tensor(lib, n, c, size, size), _tensor(lib, c, seed=1), _tensor(lib, c, seed=2)
        mean, variance = _tensor(lib, c, seed=3), _tensor(lib, c, seed=4)
        return lambda: lib.F.batch_norm(x, mean, variance, w, b, training=True)

    return row("memory", f"batch_norm {n}x{c}x{size}x{size}", build, bytes=12.0 * n * c * size * size)


def embedding(rows: int, size: int, count: int, backward: bool = False) -> Row:
    """`count` rows of a table, or the gradient of the table: their sums, over zeros."""

    def build(lib: Lib) -> Call:
        table = _tensor(lib, rows, size, grad=backward)
        index = _integers(lib, rows, count, seed=2)
        if not backward:
            return lambda: table[index]
        dy = _tensor(lib, count, size, seed=1)
        if lib.graphed:
            gradient = lib.xp.ops.aten.embedding_dense_backward
            return lambda: gradient(dy, index, rows, -1, False)
        y = lib.xp.nn.functional.embedding(index, table) if lib.name == "torch" else table[index]
        return lambda: lib.grad(y, table, dy)

    memory = 4.0 * size * (count + rows if backward else 2 * count)
    name = f"embedding {count} of {rows}x{size}" + (" gradient" if backward else "")
    return row("memory", name, build, bytes=memory)


def cross_entropy(rows: int, classes: int) -> Row:
    """Loss and gradient: the logits are read twice and their gradient written."""

    def build(lib: Lib) -> Call:
        x = _tensor(lib, rows, classes, grad=True)
        labels = _integers(lib, classes, rows, seed=1)
        one = lib.tensor(np.ones((), np.float32)).to("cuda")
        return lambda: lib.grad(lib.F.cross_entropy(x, labels), x, one)

    return row("memory", f"cross_entropy {rows}x{classes} both ways", build, bytes=12.0 * rows * classes)


def optimiser(name: str, count: int, states: int, **options: Any) -> Row:
    """A step over the parameters of a ResNet-50, or about: `count` numbers in 160 tensors."""

    def build(lib: Lib) -> Call:
        parameters = [_tensor(lib, count // 160, seed=i, grad=True) for i in range(160)]
        for i, p in enumerate(parameters):
            p.grad = _tensor(lib, count // 160, seed=i + 1)
        extra = {"fused": True, "capturable": True} if lib.name == "torch" and name == "Adam" else {}
        extra = {"fused": True} if lib.name == "torch" and name == "SGD" else extra
        return getattr(lib.optim, name)(parameters, lr=1e-3, **options, **extra).step

    return row("memory", f"{name} {count // MILLION}M", build, bytes=4.0 * count * (3 + 2 * states))


# ---- whole steps


def step(case: Case, batch: int, headline: str = "") -> Row:
    def build(lib: Lib) -> Call:
        model = case.model(lib).to("cuda")
        x, labels = (lib.tensor(a).to("cuda") for a in case.batch(batch))
        extra = {"fused": True} if lib.name == "torch" else {}
        optimizer = lib.optim.SGD(model.parameters(), lr=LR, **extra)

        def call() -> Any:
            optimizer.zero_grad()
            loss = lib.F.cross_entropy(model(x), labels)
            loss.backward()
            optimizer.step()
            return loss

        return call

    def numpy(lib: Lib) -> Timed:
        net, (x, labels) = case.net(), case.batch(batch)
        return lambda: net.step(x, labels, LR)

    return row(
        "nets",
        f"{case.name} batch {batch} training step",
        build,
        flops=batch * case.flops(training=True),
        numpy=numpy,
        headline=headline,
    )


class Ceilings:
    """What the device gives at best: bytes a second of a copy, float32 operations a second of cuBLAS."""

    version = ""

    def __init__(self, threads: int) -> None:
        import torch

        self.torch = torch
        self.a = torch.rand(1 << 28, device="cuda")
        self.b = torch.empty_like(self.a)
        self.m = torch.rand(8192, 8192, device="cuda")
        self.measure()

    def _seconds(self, call: Call) -> float:
        start, end = (self.torch.cuda.Event(enable_timing=True) for _ in range(2))
        call()
        start.record()
        for _ in range(3):
            call()
        end.record()
        end.synchronize()
        return float(start.elapsed_time(end)) / 3e3

    def measure(self) -> dict[str, float | None]:
        return {
            "bytes": 8.0 * self.a.numel() / self._seconds(lambda: self.b.copy_(self.a)),
            "flops": 2.0 * 8192**3 / self._seconds(lambda: self.torch.matmul(self.m, self.m)),
        }

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        return dict(self.measure())


def describe() -> dict[str, Any]:
    """The device, for the head of a report."""
    import fastnn

    p = fastnn.cuda.get_device_properties()
    return {
        "gpu": p.name,
        "capability": f"{p.major}.{p.minor}",
        "multiprocessors": p.multi_processor_count,
        "gpu_memory_gib": round(p.total_memory / 2**30, 1),
    }
