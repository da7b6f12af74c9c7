"""Time to accuracy on Fashion-MNIST: the same LeNet, weights, order of images and optimiser in fastnn and PyTorch.

    python -m bench accuracy     writes bench/results/accuracy.json

Each library trains in a process of its own; they take turns epoch by epoch. The clock runs while a library trains, not
while it is tested.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from . import machine
from .nets import LENET, Case
from .process import ROOT, Process
from .rows import Lib

EPOCHS, BATCH, LR, MOMENTUM = 8, 128, 0.05, 0.9
RESULT = ROOT / "bench" / "results" / "accuracy.json"


class Trainer:
    """The worker's side: {"epoch": number} trains one epoch and tests."""

    version = ""

    def __init__(self, lib: Lib, case: Case = LENET) -> None:
        from fastnn.data import load_fashion_mnist

        self.lib = lib
        train, test = load_fashion_mnist()
        (self.x, self.y), (self.tx, self.ty) = train.arrays, test.arrays
        self.model = case.model(lib)
        self.optimiser = lib.optim.SGD(self.model.parameters(), lr=LR, momentum=MOMENTUM)

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        lib = self.lib
        order = np.random.default_rng(request["epoch"]).permutation(len(self.x))
        start = time.perf_counter()
        for i in range(0, len(order), BATCH):
            chosen = order[i : i + BATCH]
            x, y = lib.xp.from_numpy(self.x[chosen]), lib.xp.from_numpy(self.y[chosen])
            self.optimiser.zero_grad()
            lib.F.cross_entropy(self.model(x), y).backward()
            self.optimiser.step()
        seconds = time.perf_counter() - start
        right = 0
        with lib.xp.no_grad():
            for i in range(0, len(self.tx), 1000):
                found = self.model(lib.xp.from_numpy(self.tx[i : i + 1000])).argmax(1)
                right += int((np.asarray(found) == self.ty[i : i + 1000]).sum())
        return {"seconds": seconds, "accuracy": right / len(self.tx)}


def main() -> int:
    threads = machine.cores()
    workers = {name: Process(f"{name}", threads, "accuracy") for name in ("fastnn", "torch")}
    found: dict[str, dict[str, list[float]]] = {n: {"seconds": [], "accuracy": []} for n in workers}
    try:
        for epoch in range(EPOCHS):
            for name, worker in workers.items():
                reply = worker.ask(epoch=epoch)
                if "error" in reply:
                    sys.exit(f"{name}: {reply['error']}")
                before = found[name]["seconds"][-1] if epoch else 0.0
                found[name]["seconds"].append(before + reply["seconds"])
                found[name]["accuracy"].append(reply["accuracy"])
                print(
                    f"epoch {epoch + 1}, {name}: {found[name]['seconds'][-1]:.1f} s, {reply['accuracy']:.4f}"
                )
    finally:
        for worker in workers.values():
            worker.stop()
    report = {
        "task": f"Fashion-MNIST, LeNet (20-50-500), SGD {LR} momentum {MOMENTUM}, batch {BATCH}",
        "machine": machine.describe(ROOT),
        "date": time.strftime("%Y-%m-%d"),
        "threads": threads,
        "libraries": found,
    }
    Path(RESULT).write_text(json.dumps(report, indent=1) + "\n")
    return 0
