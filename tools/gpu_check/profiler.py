"""Kernels under ncu: what they are bound by."""

from __future__ import annotations

import csv
import subprocess
import sys
from typing import Any

from .check import Check

# Row of the benchmarks, and the kernel of it to look at: the second launch, for the first finds nothing warm.
KERNELS = [
    ("gpu-gemm/NN 4096^3", "product_kernel"),
    ("gpu-gemm/NN 4096^3 bf16", "product_kernel"),
    ("gpu-conv/N32 128->128 3x3 @28 forward", "product_kernel"),
    ("gpu-memory/add 64M", "map_kernel"),
    ("gpu-memory/softmax 16384x4096", "softmax_held"),
    ("gpu-memory/layer_norm 16384x1024 gradient", "layer_norm_backward_kernel"),
]
SMALL = [("gpu-gemm/NN 33x17x9", "product_kernel"), ("gpu-memory/add 0M", "map_kernel")]
SECTIONS = (
    "SpeedOfLight",
    "LaunchStats",
    "Occupancy",
    "MemoryWorkloadAnalysis",
    "WarpStateStats",
    "SchedulerStats",
)
LIMIT = 25.0  # seconds

# ncu's names, and ours.
METRICS = {
    "gpu__time_duration.sum": "time",
    "sm__throughput.avg.pct_of_peak_sustained_elapsed": "compute_percent",
    "gpu__compute_memory_throughput.avg.pct_of_peak_sustained_elapsed": "memory_percent",
    "dram__throughput.avg.pct_of_peak_sustained_elapsed": "dram_percent",
    "l1tex__throughput.avg.pct_of_peak_sustained_active": "l1_percent",
    "lts__throughput.avg.pct_of_peak_sustained_elapsed": "l2_percent",
    "sm__warps_active.avg.pct_of_peak_sustained_active": "occupancy_percent",
    "launch__registers_per_thread": "registers",
    "launch__waves_per_multiprocessor": "waves",
    "smsp__issue_active.avg.per_cycle_active": "issued_per_clock",
}


def run(check: Check) -> None:
    ncu = check.facts.get("ncu")
    if not ncu:
        check.skip("ncu", "it is not on this machine")
    for key, kernel in SMALL if check.dry else KERNELS:
        if check.left() < 3:
            check.skip(f"{key}: {kernel}", "no time was left")
        else:
            check.row(f"{key}: {kernel}", _profile(check, ncu, key, kernel))


def _profile(check: Check, ncu: str | None, key: str, kernel: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "tools.gpu_check.once", key]
    if ncu:
        sections = [option for section in SECTIONS for option in ("--section", section)]
        command = [
            *(ncu, "--clock-control", "none", "--csv", "--page", "raw", *sections),
            *("--kernel-name", f"regex:{kernel}", "--launch-skip", "1", "--launch-count", "1", *command),
        ]
    elif not check.dry:
        return {"skipped": "left out: there is no ncu"}
    try:
        done = subprocess.run(
            command,
            env=check.tree.environment(check.dry),
            capture_output=True,
            text=True,
            errors="replace",
            timeout=max(min(LIMIT, check.left()), 1),
            check=False,
        )
    except subprocess.TimeoutExpired as late:
        return {"error": f"not done after {late.timeout:.0f} s"}
    if done.returncode:
        return {
            "error": f"exit status {done.returncode}: {' '.join((done.stderr or done.stdout).split())[-300:]}"
        }
    if not ncu:
        return {"skipped": "ran without ncu"}
    check.output.file("profile.csv", f"# {key}\n{done.stdout}\n", "a")
    return parsed(done.stdout) or {"error": f"ncu said nothing of {kernel}"}


def parsed(text: str) -> dict[str, Any]:
    """The last kernel of ncu's raw page: a line of names, one of units, then values."""
    rows = list(csv.reader(line for line in text.splitlines() if line.startswith('"')))
    if len(rows) < 3:
        return {}
    names, units, values = rows[0], rows[1], rows[-1]
    found: dict[str, Any] = {}
    for name, unit, value in zip(names, units, values, strict=False):
        if name in METRICS:
            try:
                found[METRICS[name]] = float(value.replace(",", ""))
            except ValueError:
                continue
            if METRICS[name] == "time":
                found["unit"] = unit
    return found
