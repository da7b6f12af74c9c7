"""Whole training steps (forward, loss, backward, SGD) and inference of single samples."""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

from . import numpy_nets, onnx_nets
from .rows import Call, Lib, Row, Timed, floats, sides

LR = 0.01
COMPILE = os.environ.get("BENCH_COMPILE", "") not in (
    "",
    "0",
)  # torch.compile too: some 20 s a net, on two cores


def lenet(nn: Any) -> Any:
    return nn.Sequential(
        *(nn.Conv2d(1, 20, 5), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(20, 50, 5), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(800, 500), nn.ReLU(), nn.Linear(500, 10)),
    )


def lenet5(nn: Any) -> Any:
    return nn.Sequential(
        *(nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10)),
    )


def mlp(*sizes: int) -> Callable[[Any], Any]:
    def build(nn: Any) -> Any:
        layers = []
        for n_in, n_out in pairwise(sizes):
            layers += [nn.Linear(n_in, n_out), nn.ReLU()]
        return nn.Sequential(*layers[:-1])

    return build


def _same_weights(lib: Lib, model: Any, net: numpy_nets.Net) -> Any:
    """Gives the model the weights of the NumPy net, so that all libraries compute the same numbers."""
    names = [name for name, _ in model.named_parameters()]
    model.load_state_dict({name: lib.tensor(w) for name, w in zip(names, net.parameters, strict=True)})
    return model


class Case:
    """A net as fastnn and torch build it, its NumPy twin, and the inputs of one batch."""

    def __init__(
        self,
        name: str,
        build: Callable[[Any], Any],
        twin: Callable[..., numpy_nets.Net],
        shape: tuple[int, ...],
        classes: int,
    ) -> None:
        self.name, self.build, self.twin, self.shape, self.classes = name, build, twin, shape, classes

    def net(self) -> numpy_nets.Net:
        return self.twin(np.random.default_rng(0))

    def model(self, lib: Lib) -> Any:
        return _same_weights(lib, self.build(lib.nn), self.net())

    def batch(self, size: int) -> tuple[Any, Any]:
        return floats(size, *self.shape), np.random.default_rng(1).integers(0, self.classes, size)

    def flops(self, training: bool) -> float:
        """Of products and convolutions, per sample; the first layer's input gradient is not asked for."""
        pixels = {"LeNet": (24**2, 8**2), "LeNet-5": (28**2, 10**2)}.get(self.name, ())
        weights = [p.size for p in self.net().parameters if p.ndim > 1]
        forward = [2.0 * w * n for w, n in zip(weights, (*pixels, *[1] * len(weights)), strict=False)]
        total = float(sum(forward))
        return 3 * total - forward[0] if training else total


def step(case: Case, batch: int, headline: str = "") -> Row:
    def train(lib: Lib, images_last: bool = False, compiled: bool = False, **options: bool) -> Call:
        model = case.model(lib)
        x, labels = (lib.tensor(a) for a in case.batch(batch))
        if images_last:
            model = model.to(memory_format=lib.xp.channels_last)
            x = x.contiguous(memory_format=lib.xp.channels_last)
        optimiser = lib.optim.SGD(model.parameters(), lr=LR, **options)
        if compiled:
            model = lib.xp.compile(model)

        def call() -> Any:
            optimiser.zero_grad()
            loss = lib.F.cross_entropy(model(x), labels)
            loss.backward()
            optimiser.step()
            return loss

        return call

    def torch(lib: Lib) -> Timed:
        ways = {"foreach": train(lib, foreach=True), "fused": train(lib, fused=True)}
        if COMPILE:
            ways["compiled"] = train(lib, compiled=True, fused=True)
        if len(case.shape) == 3:
            ways["channels_last, fused"] = train(lib, images_last=True, fused=True)
        return ways

    def numpy(lib: Lib) -> Timed:
        net, (x, labels) = case.net(), case.batch(batch)
        return lambda: net.step(x, labels, LR)

    return Row(
        "nets",
        f"{case.name} batch {batch} training step",
        sides(train, numpy, torch),
        flops=batch * case.flops(training=True),
        headline=headline,
    )


def inference(case: Case, batch: int = 1, headline: str = "") -> Row:
    def tensors(lib: Lib) -> Timed:
        model, x = case.model(lib), lib.tensor(case.batch(batch)[0])
        model.eval()
        without_graph = lib.xp.inference_mode if lib.name == "torch" else lib.xp.no_grad

        def call() -> Any:
            with without_graph():
                return model(x)

        return call

    def numpy(lib: Lib) -> Timed:
        net, (x, _) = case.net(), case.batch(batch)
        return lambda: net.forward(x)

    def onnxruntime(lib: Lib) -> Timed:
        model = onnx_nets.serialized(case.build, case.net().parameters, case.shape, case.classes)
        run, x = onnx_nets.session(lib.xp, model, lib.threads), case.batch(batch)[0]
        return lambda: run(x)

    return Row(
        "nets",
        f"{case.name} batch {batch} inference",
        sides(tensors, numpy, onnxruntime=onnxruntime),
        flops=batch * case.flops(training=False),
        headline=headline,
    )


def _mlp(*sizes: int) -> Case:
    name = "MLP " + "-".join(map(str, sizes))
    return Case(name, mlp(*sizes), lambda rng: numpy_nets.mlp(sizes, rng), sizes[:1], sizes[-1])


MLP = _mlp(784, 256, 10)
LENET = Case("LeNet", lenet, numpy_nets.lenet, (1, 28, 28), 10)
LENET5 = Case("LeNet-5", lenet5, numpy_nets.lenet5, (1, 28, 28), 10)
ROWS = [
    step(LENET, 128, headline="LeNet (20-50-500) training step, batch 128"),
    step(LENET, 64),
    step(LENET5, 64, headline="LeNet-5 training step, batch 64"),
    step(MLP, 128, headline="MLP 784-256-10 training step, batch 128"),
    step(_mlp(784, 128, 10), 64),
    step(_mlp(64, 64, 10), 32, headline="MLP 64-64-10 training step, batch 32"),
    step(_mlp(2, 16, 2), 32, headline="MLP 2-16-2 training step, batch 32"),
    inference(LENET, headline="LeNet inference, one image"),
    inference(LENET5),
    inference(MLP),
    inference(LENET, 128),
]
