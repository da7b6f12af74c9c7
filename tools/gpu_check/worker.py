"""Does what a check asks for, row by row, in a process of its own: JSON lines in and out, as bench.worker.

An error that the device does not recover from ends the process; the check starts another.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from bench.worker import device_lost

from .probe import Library, pack

Found = dict[str, Any]


def _best(call: Callable[[], Any], finish: Callable[[], Any], times: int, samples: int = 5) -> float:
    """Seconds a call, the device's work included."""
    call(), finish()
    found = []
    for _ in range(samples):
        start = time.perf_counter()
        for _ in range(times):
            call()
        finish()
        found.append((time.perf_counter() - start) / times)
    return min(found)


# ---- the machine


def machine() -> Found:
    import fastnn as fn

    if why := fn.cuda.why_not():
        raise RuntimeError(f"CUDA cannot be used: {why}")
    p = fn.cuda.get_device_properties()
    found = {
        "device": p.name,
        "capability": f"{p.major}.{p.minor}",
        "multiprocessors": p.multi_processor_count,
        "memory": p.total_memory,
        "fastnn": fn.__version__,
        "python": sys.version.split()[0],
        "numpy": np.__version__,
        "cores": len(os.sched_getaffinity(0)),
    }
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/cuda/bin"])
    for tool in ("ncu", "compute-sanitizer"):
        found[tool] = shutil.which(tool, path=path) or ""
    return found


def clocks() -> Found:
    """Of the moment, for whoever reads the figures later."""
    smi, asked = shutil.which("nvidia-smi"), "driver_version,clocks.sm,clocks.mem,power.draw,temperature.gpu"
    if smi is None:
        return {"skipped": "left out: there is no nvidia-smi"}
    command = [smi, f"--query-gpu={asked}", "--format=csv,noheader"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=8, check=True)
    return dict(zip(asked.split(","), done.stdout.strip().split(", "), strict=False))


def product() -> Found:
    import fastnn as fn

    a, b = (np.random.default_rng(i).standard_normal((65, 70)).astype(np.float32) for i in (0, 1))
    start = time.perf_counter()
    got = (fn.tensor(a).to("cuda") @ fn.tensor(b.T.copy()).to("cuda")).cpu().numpy()
    seconds, error = time.perf_counter() - start, float(np.abs(got - a @ b.T).max())
    if not error < 1e-4:
        raise RuntimeError(f"a 65 x 70 x 65 product is off by {error}")
    return {"seconds": seconds, "error_of_it": error}


def torch_version() -> Found:
    import torch

    return {
        "torch": torch.__version__,
        "sees": torch.cuda.get_device_name() if torch.cuda.is_available() else "",
    }


# ---- the probe and the ceilings


def experiments(library: str) -> Found:
    probe = Library(library)
    return {"experiments": probe.experiments, "ceilings": probe.ceilings}


def experiment(library: str, which: str) -> Found:
    return {"words": pack(Library(library).run(which))}


def ceiling(library: str, which: str, **sizes: int) -> Found:
    rate, unit = Library(library).ceiling(which, **sizes)
    return {"rate": rate, "unit": unit}


def calls(small: bool) -> Found:
    """What a call of fastnn costs: queued, and waited for; copies to and from the host."""
    import fastnn as fn

    times, count = (3, 1 << 12) if small else (1000, 1 << 24)
    wait = fn.cuda.synchronize
    x, host = fn.zeros(1, device="cuda"), fn.zeros(count)
    pinned, there = host.pin_memory(), fn.zeros(count, device="cuda")
    to, back = 4 * count / _best(lambda: pinned.to("cuda"), wait, 1), _best(there.cpu, wait, 1)
    return {
        "queue_s": _best(x.relu, wait, times),
        "read_back_s": _best(lambda: x.relu().item(), wait, max(times // 10, 1)),
        "wait_s": _best(wait, wait, times),
        "pageable_to_device": 4 * count / _best(lambda: host.to("cuda"), wait, 1),
        "pinned_to_device": to,
        "to_host": 4 * count / back,
    }


def torch_calls() -> Found:
    import torch

    x, count = torch.zeros(1, device="cuda"), 1 << 28
    a = torch.rand(count, device="cuda")
    b = torch.empty_like(a)
    return {
        "queue_s": _best(x.relu, torch.cuda.synchronize, 1000),
        "read_back_s": _best(lambda: x.relu().item(), torch.cuda.synchronize, 100),
        "copy": 8 * count / _best(lambda: b.copy_(a), torch.cuda.synchronize, 3),
    }


def torch_product(precision: str, size: int) -> Found:
    """The vendor's library."""
    import torch

    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    a, b = (torch.randn(size, size, device="cuda").to(dtype) for _ in range(2))
    seconds = _best(lambda: a @ b, torch.cuda.synchronize, 2)
    return {"rate": 2.0 * size**3 / seconds, "unit": "flop/s"}


# ---- mistakes that a dry run plants


def hang() -> Found:
    time.sleep(3600)
    return {}


def lose_device() -> Found:
    """As after an illegal access: every later call of this process fails."""
    import fastnn as fn

    def fail(*_: Any) -> None:
        raise RuntimeError("cudaErrorIllegalAddress: an illegal memory access was encountered")

    vars(fn.cuda)["synchronize"] = fail
    fail()
    return {}


def end() -> Found:
    os._exit(1)


TASKS: dict[str, Callable[..., Found]] = {
    task.__name__: task
    for task in (
        *(machine, clocks, product, torch_version, experiments, experiment, ceiling),
        *(calls, torch_calls, torch_product, hang, lose_device, end),
    )
}


def main() -> None:
    replies = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what a library prints must not look like a reply
    print(json.dumps({"version": "1"}), file=replies)
    for line in sys.stdin:
        request = json.loads(line)
        try:
            reply = TASKS[request.pop("task")](**request)
        except Exception as error:  # the check goes on without this row
            import fastnn

            reply = {"error": f"{type(error).__name__}: {error}".splitlines()[0][:300]}
            if "cudaError" in reply["error"] or device_lost(fastnn):
                reply["ends"] = True
        print(json.dumps(reply), file=replies)
        if "ends" in reply:
            break


if __name__ == "__main__":
    main()
