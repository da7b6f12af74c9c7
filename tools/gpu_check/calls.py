"""The phases of the two calls, what matters most first."""

from __future__ import annotations

import importlib.util
import itertools
import os
import time
from pathlib import Path
from typing import Any

from bench import gpu, gpu_rows, table
from bench.harness import Harness, Settings, as_json
from bench.rows import Row

from . import probe, profiler
from .check import FRUITLESS, ROW, Check, Phase
from .suite import Suite
from .tree import ROOT

# ---- first call


def imports(check: Check) -> None:
    """The machine, and one product."""
    with check.worker() as worker:
        facts = worker.ask(40, task="machine")
        if not check.row("machine", facts):
            return
        check.facts |= facts
        if check.dry:  # they would look for a device
            check.facts |= {"ncu": "", "compute-sanitizer": ""}
        check.row("clocks", worker.ask(10, task="clocks"))
        check.row("one product", worker.ask(20, task="product"))


def faults(check: Check) -> None:
    """A dry run's: rows that hang, lose the device, end the process; the ones after them must go through."""
    with check.worker() as worker:
        worker.row("a row that hangs", 1, planted=True, task="hang")
        worker.row("the row after", task="product")
        worker.row("a row that loses the device", planted=True, task="lose_device")
        worker.row("the row after that", task="product")
        worker.row("a row that ends its process", planted=True, task="end")
        worker.row("and the row after that", task="product")
    planted = str(ROOT / "tools" / "gpu_check" / "planted.py")
    suite = Suite(check, [planted], 1, check.tree.environment(check.dry), patience=2, planted=True)
    suite.run()
    if suite.outcomes != {"passed": 2, "hung": 1, "failed": 1, "ended": 1}:
        check.row("planted tests", {"error": "their outcomes are not what was planted"})


def probes(check: Check) -> None:
    """Everything that the probe knows to ask, into a file beside the rows."""
    library = check.tree.probe(check.dry)
    if library is None or not library.exists():
        check.skip("the probe", "its library is not here")
        return
    tables: dict[str, Any] = {}
    with check.worker() as worker:
        known = worker.ask(task="experiments", library=str(library))
        if not check.row("experiments", {**known, "number": len(known.get("experiments", []))}):
            return
        for kind, names in itertools.groupby(known["experiments"], lambda name: str(name).split()[0]):
            worker.fruitless = 0  # what fails of one kind says nothing of the next
            for name in names:
                if check.left() < 0 or worker.fruitless == FRUITLESS:
                    tables[name] = {
                        "error": f"not asked: {FRUITLESS} of its kind failed, or there was no time"
                    }
                    continue
                found = worker.ask(4, task="experiment", library=str(library), which=name)
                tables[name] = found.get("words", {"error": found.get("error", "")})
                if "error" in found:
                    check.row(name, found)
            check.row(
                f"experiments of {kind}", _answered({n: t for n, t in tables.items() if n.split()[0] == kind})
            )
    check.output.file("ptx_probe.json", probe.text(check.facts.get("device", "?"), tables))


def _answered(tables: dict[str, Any]) -> dict[str, Any]:
    answered = sum(isinstance(words, str) for words in tables.values())
    missing = {"error": f"{len(tables) - answered} were not answered"} if answered < len(tables) else {}
    return {"answered": answered, "of": len(tables), **missing}


def ceilings(check: Check) -> None:
    """Of the device by our own loops, of the vendor's library, of a call."""
    library = check.tree.probe(check.dry)
    blocks = 2 if check.dry else 8 * int(check.facts.get("multiprocessors", 132))
    sizes: dict[str, Any] = {"blocks": blocks, "repeats": 1, "samples": 1, "memory": 1 << 14}
    if not check.dry:
        sizes |= {"repeats": 20, "samples": 5, "memory": 1 << 31}
    with check.worker() as worker:
        known = worker.ask(task="experiments", library=str(library))
        check.row("ceilings", {**known, "number": len(known.get("ceilings", []))})
        for name in known.get("ceilings", []):
            more = {"repeats": 2000} if name == "launches" and not check.dry else {}
            worker.row(name, task="ceiling", library=str(library), which=name, **{**sizes, **more})
    with check.worker() as worker:
        worker.row("calls of fastnn", task="calls", small=check.dry)
    if check.dry or importlib.util.find_spec("torch") is None:
        check.skip("PyTorch", "it has no device in a dry run" if check.dry else "it is not installed")
        return
    with check.worker() as worker:
        if not worker.row("PyTorch", 40, task="torch_version"):
            return
        worker.row("calls of PyTorch", task="torch_calls")
        for precision in ("fp32", "tf32", "bf16"):
            for size in (4096, 8192):
                name = f"vendor's library, {precision} {size}^3"
                worker.row(name, task="torch_product", precision=precision, size=size)


def tests(check: Check) -> None:
    apart = ("gates", "runtime", "build")  # of machine code, of sources, of machines without a GPU
    paths = [str(p) for p in sorted(ROOT.glob("tests/test_cuda*.py")) if not p.stem.endswith(apart)]
    env = {**check.tree.environment(check.dry), "FASTNN_TEST_SEEDS": "1"}
    if check.dry:
        Suite(
            check, [*paths, "-k", "there_and_back or (on_the_cpu and float32 and (relu or gelu))"], 2, env
        ).run()
    else:
        Suite(check, paths, max(min((os.cpu_count() or 2) // 2, 8), 1), env).run()


def benchmarks(check: Check) -> None:
    peers = [name for name in gpu.LIBRARIES[1:] if importlib.util.find_spec(name.removesuffix("-graph"))]
    started, libraries, settings = time.time(), ["fastnn", *peers], Settings(3, 0.03)
    ceiling = "gpu" if "torch" in peers else ""
    if check.dry:
        libraries, settings, ceiling = ["fastnn"], Settings(1, 0.001), ""
    env = check.tree.environment(check.dry)
    harness = Harness(libraries, [0], settings, True, ceiling, longest=ROW, environment=env)
    rows, results, subject = (gpu_rows.SMALL if check.dry else gpu_rows.ROWS), [], ""
    failed = 0  # in a row, of a subject: what fails of one says nothing of the next
    try:
        for row in rows:
            if check.left() <= 0:
                check.skip(f"{row.key} and what follows", "no time was left")
                break
            if row.subject != subject:
                subject, failed = row.subject, 0
                harness.measure_ceilings()
            if failed == FRUITLESS:
                check.skip(row.key, f"the {FRUITLESS} rows before it failed")
                continue
            results.append(harness.record(row, 0))
            check.row(row.key, _medians(row, results[-1]["results"]))
            failed = failed + 1 if "error" in results[-1]["results"]["fastnn"] else 0
        harness.measure_ceilings()
    finally:
        harness.stop()
    report = harness.report(results, {}, started)
    report["machine"] |= {k: v for k, v in check.facts.items() if isinstance(v, (str, int))}
    check.output.file("gpu.json", as_json(report))
    check.output.file("gpu.md", table.on_gpu(report) + "\n")


def _medians(row: Row, results: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {name: r["median"] for name, r in results.items() if "median" in r}
    wrong = {name: r["error"] for name, r in results.items() if "error" in r}
    if "fastnn" in found and row.flops:
        found["flop/s"] = row.flops / found["fastnn"]
    if "fastnn" in found and row.bytes:
        found["byte/s"] = row.bytes / found["fastnn"]
    if "fastnn" in wrong:
        found["error"] = wrong.pop("fastnn")
    return found | ({"peers": wrong} if wrong else {})  # which is not for us to answer for


# ---- second call

# Tiles of products in float32, and of those on tensor cores (cuda/gemm/tile_plan.cuh).
SIMT = ("128x256", "128x128", "64x256", "64x64", "32x128", "128x32", "32x32")
MMA = ("128x256", "128x128", "64x128", "64x64")
SPLITS = (1, 2, 4, 8, 16)
# Products that are split are small in C; of the large ones only whole tiles are of interest.
LARGE = (
    "gpu-gemm/NN 4096^3",
    "gpu-gemm/NN 2048^3",
    "gpu-gemm/NN 5632x3072x512",
    "gpu-conv/N32 64->64 3x3 @56 forward",
)
SPLIT = (
    *(
        "gpu-gemm/NN 1024^3",
        "gpu-gemm/NN 1024x1024x8192",
        "gpu-gemm/NT 128x256x784",
        "gpu-gemm/NT 128x10x256",
    ),
    *("gpu-gemm/NN 357x789x333", "gpu-conv/N32 64->64 3x3 @56 dW", "gpu-conv/N32 512->512 3x3 @7 forward"),
    *("gpu-conv/N32 512->512 3x3 @7 dX", "gpu-conv/N32 512->512 3x3 @7 dW"),
)
ROUNDED = ("gpu-gemm/NN 1024^3 {}", "gpu-gemm/NN 2048^3 {}", "gpu-gemm/NN 4096^3 {}")
PRECISIONS = ("tf32", "bf16")


def swept(tile: str, splits: int, dry: bool) -> list[str]:
    if dry:
        return ["gpu-gemm/NN 33x17x9", "gpu-gemm/TN 16x8x20 tf32", "gpu-conv/N2 4->6 3x3/2 @7 forward"]
    plain = [*(LARGE if splits <= 1 else ()), *SPLIT] if tile in ("", *SIMT) else []
    rounded = [key.format(p) for p in PRECISIONS for key in ROUNDED] if tile in ("", *MMA) else []
    return plain + (rounded if splits <= 1 else [key for key in rounded if "1024" in key])


def sweep(check: Check) -> None:
    """Rows under every tile and split, to hold the planner's estimates against; first as planned."""
    tiles = tuple(dict.fromkeys(SIMT + MMA))
    plans = [("", 0), *((tile, splits) for splits in SPLITS for tile in tiles)]
    if check.dry:
        plans = [("", 0), ("128x256", 1), ("64x64", 2)]
    for tile, splits in plans:
        if check.left() <= 1:
            check.skip(f"tile {tile}, {splits} splits and what follows", "no time was left")
            break
        forced = {"FASTNN_CUDA_TILE": tile, "FASTNN_CUDA_SPLITS": str(splits)} if tile else {}
        name = f"tile {tile}, {splits} splits" if tile else "as planned"
        _measure(check, name, swept(tile, splits, check.dry), forced, {"tile": tile, "splits": splits})


def _measure(check: Check, name: str, keys: list[str], env: dict[str, str], more: dict[str, Any]) -> None:
    """Rows of the benchmarks, fastnn alone, in one process under this environment."""
    seconds = 0.001 if check.dry else 0.02
    began, measured = time.monotonic(), 0
    with check.worker("bench.worker", "fastnn", "0", "rows", **env) as worker:
        for key in keys:
            if check.left() <= 0 or worker.fruitless == FRUITLESS:
                why = "no time was left" if check.left() <= 0 else f"the {FRUITLESS} rows before it failed"
                check.skip(f"{name}: {key} and what follows", why)
                break
            found = worker.ask(6, prepare=key)
            if "error" not in found:
                found = worker.ask(6, time=seconds)
            if samples := sorted(found.pop("samples", [])):
                found = {"median": samples[len(samples) // 2], "best": samples[0]}
            measured += check.row(f"{name}: {key}", {**found, **more, "of": key}, quiet=True)
    print(f"  {name}: {measured} of {len(keys)} rows in {time.monotonic() - began:.1f} s", flush=True)


VARIANT_ROWS = (
    *("gpu-nets/MLP 784-256-10 batch 128 training step", "gpu-nets/LeNet batch 128 training step"),
    *(*LARGE, "gpu-gemm/NN 4096^3 bf16", "gpu-gemm/NN 4096^3 tf32"),
    *("gpu-memory/softmax 16384x4096", "gpu-memory/layer_norm 16384x1024 gradient", "gpu-memory/exp 64M"),
)


def variants(check: Check, found: dict[str, Path]) -> None:
    """The same rows with other libraries; the usual one among them, so that all ran in the same minute."""
    keys = ["gpu-gemm/NN 33x17x9", "gpu-memory/softmax 5x7"] if check.dry else list(VARIANT_ROWS)
    if not found:
        none = (
            "they need a device"
            if check.dry
            else "the tree has none (VARIANTS=NAME=OPTIONS at `make gpu-tree`)"
        )
        check.skip("variants", none)
    if found or check.dry:
        _measure(check, "the usual library", keys, {}, {"variant": ""})
    for name, library in found.items():
        _measure(check, f"variant {name}", keys, {"FASTNN_CUDA_LIBRARY": str(library)}, {"variant": name})


# Rows of the op table that between them run every family of kernels.
SANITIZED = (
    "add or where or exp or sum or argmax or matmul or linear or conv2d or max_pool or avg_pool or softmax or "
    "cross_entropy or norm or gelu or gather or index or cat or dropout"
)


def sanitizer(tool: str) -> Phase:
    def run(check: Check) -> None:
        path = check.facts.get("compute-sanitizer")
        env = {**check.tree.environment(check.dry), "FASTNN_TEST_LARGEST": "2000", "FASTNN_TEST_SEEDS": "1"}
        which = "relu" if check.dry else SANITIZED
        tests = [str(ROOT / "tests" / "test_cuda_ops.py"), "-k", f"as_on_the_cpu and float32 and ({which})"]
        if not path:
            check.skip(tool, "compute-sanitizer is not on this machine")
            if check.dry:
                Suite(check, tests, 1, env).run()
            return
        log = check.output.folder / f"sanitizer-{tool}.log"
        prefix = (
            path,
            "--tool",
            tool,
            "--error-exitcode",
            "9",
            "--launch-timeout",
            "0",
            "--print-limit",
            "200",
        )
        Suite(check, tests, 4, env, prefix=(*prefix, "--log-file", f"{log}.%p"), patience=40).run()
        found = _gathered(check, tool)
        check.row(f"{tool}: findings", {"error": found} if found else {"findings": 0})

    return Phase(tool, 45, run)


def _gathered(check: Check, tool: str) -> str:
    """The tool's logs, one a process, as one file; the first finding, or nothing."""
    logs = sorted(check.output.folder.glob(f"sanitizer-{tool}.log.*"))
    text = "\n".join(log.read_text(errors="replace") for log in logs)
    check.output.file(f"sanitizer-{tool}.log", text[: 8 << 20])
    for log in logs:
        log.unlink()
    lines = [line for line in text.splitlines() if line.startswith("=========")]
    found = [line for line in lines if "Invalid" in line or "hazard" in line.lower() or "Error" in line]
    return found[0][10:300].strip() if found else ""


def first(dry: bool) -> list[Phase]:
    return [
        Phase("import", 20, imports, vital=True),
        *([Phase("faults", 30, faults)] if dry else []),
        Phase("probe", 20, probes),
        Phase("ceilings", 35, ceilings),
        Phase("tests", 100, tests),
        Phase("benchmarks", 180, benchmarks),
        Phase("profiler", 45, profiler.run),
    ]


def second(dry: bool) -> list[Phase]:
    return [
        Phase("import", 15, imports, vital=True),
        Phase("sweep", 105, sweep),
        Phase("variants", 30, lambda check: variants(check, {} if dry else check.tree.variants())),
        sanitizer("memcheck"),
        sanitizer("racecheck"),
    ]
