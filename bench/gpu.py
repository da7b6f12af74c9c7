"""What is measured on a GPU: fastnn against PyTorch, whose products are cuBLAS's and whose convolutions are cuDNN's.

`torch` launches each kernel as it comes; `torch-graph` replays a CUDA graph of the same calls; `numpy` does the same on
the CPU, where that says something. Precision is equal on all sides and part of the row's name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .nets import LENET, LENET5, LR, MLP, Case
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


def cross_entropy(rows: int, classes: int) -> Row:
    """Loss and gradient: the logits are read twice and their gradient written."""

    def build(lib: Lib) -> Call:
        x = _tensor(lib, rows, classes, grad=True)
        labels = lib.tensor(np.random.default_rng(1).integers(0, classes, rows)).to("cuda")
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


ROWS = [
    *[product("NN", n, n, n, headline=f"matrix product {n}³") for n in (1024, 2048, 4096, 8192)],
    *[product(kind, 2048, 2048, 2048) for kind in ("NT", "TN")],
    *[product("NN", *shape) for shape in ((5632, 3072, 512), (1024, 1024, 8192), (32768, 768, 768))],
    *[product("NN", *shape) for shape in ((357, 789, 333), (4095, 4095, 4095))],
    *[product("NT", 128, 10, 256), product("NT", 128, 256, 784), product("NN", 1, 4096, 4096)],
    *[product("NN", 4096, 4096, 4096, precision) for precision in ("tf32", "bf16", "fp16")],
    *convolutions(32, 64, 64, 56, 3),
    *convolutions(32, 128, 128, 28, 3),
    *convolutions(32, 256, 256, 14, 3),
    *convolutions(32, 512, 512, 7, 3),
    *convolutions(32, 128, 256, 28, 3, stride=2),
    *convolutions(32, 256, 64, 56, 1),
    *convolutions(32, 3, 64, 224, 7, stride=2),
    *convolutions(32, 144, 144, 56, 3, groups=144),
    *convolutions(32, 128, 128, 28, 3, precision="tf32"),
    elementwise("add", 2),
    elementwise("relu", 1),
    elementwise("exp", 1),
    over_rows("sum of all", 8192, 8192, 1, lambda lib, x: x.sum()),
    over_rows("sum of rows", 8192, 8192, 1, lambda lib, x: x.sum(1)),
    over_rows("sum of columns", 8192, 8192, 1, lambda lib, x: x.sum(0)),
    over_rows("argmax of rows", 8192, 8192, 1, lambda lib, x: x.argmax(1)),
    over_rows("transposed copy", 8192, 8192, 2, lambda lib, x: x.T.contiguous()),
    over_rows("dropout", 8192, 8192, 2, lambda lib, x: lib.F.dropout(x, 0.5, True)),
    *[over_rows("softmax", 64 * MILLION // n, n, 2, lambda lib, x: x.softmax(1)) for n in (256, 4096, 32768)],
    cross_entropy(65536, 1024),
    optimiser("SGD", 25 * MILLION, 1, momentum=0.9),
    optimiser("Adam", 25 * MILLION, 2),
    *[step(MLP, batch, headline=f"MLP 784-256-10 step, batch {batch}") for batch in (32, 128, 1024)],
    step(LENET, 128, headline="LeNet 20-50-500 step, batch 128"),
    step(LENET5, 64, headline="LeNet-5 step, batch 64"),
]


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
