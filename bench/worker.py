"""One library in a process of its own: reads requests, one JSON object a line, and answers each with one.

    python -m bench.worker LIBRARY THREADS TASK

{"prepare": ROW} builds and warms up a row; {"time": SECONDS} takes samples of it; {"ceilings": true}
measures the machine. Two libraries in one process would share caches, allocator and, worse, spinning
threads.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from typing import Any

from . import accuracy, gpu, peers
from .kernels import Kernels
from .rows import Lib
from .subjects import by_key
from .timing import Timer, fastest


def load(name: str, threads: int) -> Lib:
    """Imports a library and tells it how many threads to use; NumPy's BLAS was told by the environment,
    ONNX Runtime is told by the rows."""
    if name == "kernels":
        return Lib(name, Kernels(), threads)
    package = name.removesuffix("-graph")
    xp = importlib.import_module(package)
    if package in ("fastnn", "torch") and threads:
        xp.set_num_threads(threads)
    return Lib(package, xp, threads, graphed=name.endswith("-graph"))


class Session:
    def __init__(self, name: str, threads: int) -> None:
        self.name, self.lib = name, load(name, threads)
        self.timer: Timer | None = None
        self.on_device = False
        self.version = str(self.lib.xp.__version__)
        if chosen := peers.kernels(self.lib.name, self.lib.xp):
            self.version += f" ({chosen})"

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        if "prepare" in request:
            self.timer = None  # frees the row before
            self.on_device = request["prepare"].startswith("gpu-")
            prepared = by_key(request["prepare"]).sides[self.name](self.lib)
            way, self.timer = fastest(prepared) if isinstance(prepared, dict) else ("", Timer(prepared))
            return {"way": way, "seconds": self.timer.seconds}
        assert self.timer is not None
        return {"samples": self.timer.samples(request["time"])}


def device_lost(xp: Any) -> bool:
    """Whether CUDA has met an error in this process that it does not recover from."""
    try:
        if xp.cuda.is_available():
            xp.cuda.synchronize()
    except Exception:
        return True
    return False


class Machine:
    version = ""

    def __init__(self, threads: int) -> None:
        from .ceilings import Ceilings

        self.ceilings = Ceilings(threads)

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        return dict(self.ceilings.measure())


def main() -> None:
    name, threads, task = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    replies = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever a library prints must not look like a reply
    session: Any
    if name == "machine":
        session = Machine(threads)
    elif name == "gpu":
        session = gpu.Ceilings(threads)
    elif task == "accuracy":
        session = accuracy.Trainer(load(name, threads))
    else:
        session = Session(name, threads)
    print(json.dumps({"version": session.version}), file=replies)
    for line in sys.stdin:
        try:
            reply = session.answer(json.loads(line))
        except Exception as error:  # the run goes on without this row
            reply = {"error": f"{type(error).__name__}: {error}".splitlines()[0][:300]}
            if isinstance(session, Session) and session.on_device and device_lost(session.lib.xp):
                reply["ends"] = True
        print(json.dumps(reply), file=replies)
        if "ends" in reply:
            break


if __name__ == "__main__":
    main()
