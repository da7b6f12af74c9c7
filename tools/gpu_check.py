"""Shows on a machine with a GPU that the CUDA backend works there, and how fast: `make gpu-check`.

Needs no network: Python with NumPy, pytest, pybind11, scikit-build-core, and PyTorch as the peer; CMake,
ninja, nvcc, and compute-sanitizer where there is one. At most ten minutes in all. Builds for the machine's own GPU, runs
the tests of the CUDA backend on it, the op table under compute-sanitizer's memcheck, racecheck and synccheck on a small
set, and the benchmarks; writes bench/results/gpu-NAME.json, prints the table and, last, one line per step.
What ran out of time can be run alone, on what is built already: `python tools/gpu_check.py --only sanitizer`.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
SITE = ROOT / "build" / "gpu-site"
MINUTES = 9.5

# Rows of the op table, by name, that between them run every family of kernels.
SANITIZED = "add or where or exp or sum or argmax or matmul or linear or conv2d or max_pool or avg_pool or softmax or "
SANITIZED += "cross_entropy or norm or gelu or gather or index or cat or dropout"


@dataclass
class Step:
    name: str
    command: list[str]
    minutes: float  # at most
    environment: dict[str, str]  # in the command {minutes} stands for those that the step has


@dataclass
class Outcome:
    name: str
    passed: bool
    seconds: float
    last: str


def environment() -> dict[str, str]:
    path = os.pathsep.join(filter(None, [str(SITE), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path, "FASTNN_TEST_DEVICE": "cuda", "PYTHONDONTWRITEBYTECODE": "1"}


def steps() -> list[Step]:
    env = environment()
    python = sys.executable
    # Warnings are errors elsewhere; here they would be about the machine's versions of things.
    pytest = [
        python,
        "-m",
        "pytest",
        "--maxfail=20",
        "-p",
        "no:cacheprovider",
        "--no-header",
        "-W",
        "default",
    ]
    tests = [str(path) for path in sorted(ROOT.glob("tests/test_cuda*.py"))]
    tests = [path for path in tests if "gates" not in path]  # of machine code for other architectures
    table = "tests/test_cuda_ops.py"
    found = [
        Step(
            "build",
            [
                *(
                    python,
                    "-m",
                    "pip",
                    "install",
                    "--quiet",
                    "--no-build-isolation",
                    "--no-deps",
                    "--no-index",
                ),
                *("--upgrade", "--target", str(SITE), "."),
                *(
                    f"--config-settings=cmake.define.{define}"
                    for define in ("FASTNN_CUDA=on", "FASTNN_CUDA_ARCHS=native")
                ),
            ],
            4,
            {**env, "CMAKE_BUILD_PARALLEL_LEVEL": str(os.cpu_count() or 2)},
        ),
        Step("device", [python, "-c", DEVICE], 0.5, env),
        Step("tests", [*pytest, *tests], 3, env),
        Step("bench", [python, "-m", "bench", "gpu", "--minutes", "{minutes}"], 4.5, env),
    ]
    toolkit = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/cuda/bin"])
    sanitizer = shutil.which("compute-sanitizer", path=toolkit)
    if sanitizer is None:
        print("compute-sanitizer was not found: its steps are left out", flush=True)
    small = [*pytest, table, "-k", f"as_on_the_cpu and float32 and ({SANITIZED})"]
    for tool in ("memcheck", "racecheck", "synccheck") if sanitizer else ():
        command = [str(sanitizer), "--tool", tool, "--error-exitcode", "9", "--launch-timeout", "0", *small]
        found.append(Step(f"sanitizer: {tool}", command, 1.5, {**env, "FASTNN_TEST_LARGEST": "2000"}))
    return found


DEVICE = """
import fastnn as fn
print(fn.cuda.why_not() or fn.cuda.get_device_properties())
raise SystemExit(not fn.cuda.is_available())
"""


def run(step: Step, until: float) -> Outcome:
    started = time.monotonic()
    limit = min(60 * step.minutes, until - started)
    if limit <= 0:
        return Outcome(step.name, False, 0, "no time was left")
    print(f"---- {step.name}", flush=True)
    lines: list[str] = []
    # The last row is begun before the time is over, and written down after.
    command = [part.replace("{minutes}", f"{max(limit / 60 - 0.5, 0.1):.2f}") for part in step.command]
    process = subprocess.Popen(
        ["timeout", "--signal=INT", "--kill-after=10", str(int(limit) + 1), *command],
        cwd=ROOT,
        env=step.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    assert process.stdout
    for line in process.stdout:
        print(line, end="", flush=True)
        lines.append(line.strip())
    code = process.wait()
    last = next((line for line in reversed(lines) if line), "")
    return Outcome(step.name, code == 0, time.monotonic() - started, f"exit status {code}: {last}"[:160])


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", help="steps whose name holds this text")
    parser.add_argument("--minutes", type=float, default=MINUTES)
    options = parser.parse_args()
    until = time.monotonic() + 60 * options.minutes
    outcomes = []
    for step in steps():
        if options.only and options.only not in step.name:
            continue
        outcomes.append(run(step, until))
        if step.name in ("build", "device") and not outcomes[-1].passed:
            break  # nothing else can work
    print()
    for o in outcomes:
        print(f"{'passed' if o.passed else 'FAILED'}  {o.name:22} {o.seconds:6.1f} s  {o.last}")
    return 0 if outcomes and all(o.passed for o in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
