"""python -m bench run | hunt | gpu | accuracy | table | plots | quick | list"""

from __future__ import annotations

import argparse
import fnmatch
import importlib.util
import json
import re
import subprocess
import sys
import time
from pathlib import Path

from . import accuracy, gpu, gpu_rows, kernels, machine, misc, peers, quick, table
from .harness import PEERS, Harness, Settings, save
from .process import PACKAGE, ROOT
from .rows import Row
from .subjects import ROWS


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m bench", description="Measures fastnn against NumPy and PyTorch."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="measure, and write bench/results/cpu-NAME.json")
    run.add_argument("--name", default=_slug(), help="of the machine (default: %(default)s)")
    run.add_argument(
        "--only", action="append", metavar="PATTERN", help="rows such as 'gemm/*' or 'nets/LeNet*'"
    )
    run.add_argument(
        "--libraries", default=_installed(), help="fastnn@FOLDER is another build (default: %(default)s)"
    )
    run.add_argument(
        "--isa",
        default="",
        choices=list(peers.LIKE),
        help="hold all libraries to it, and name the JSON after it",
    )
    run.add_argument("--threads", default=f"1,{machine.cores()}", help="(default: %(default)s)")
    run.add_argument("--rounds", type=int, default=Settings.rounds)
    run.add_argument("--seconds", type=float, default=Settings.seconds, help="per library, row and round")
    run.add_argument("--no-probes", action="store_true", help="leave out import time, sizes and peak memory")
    run.add_argument("--output", type=Path, help="where the JSON goes instead")
    run.add_argument("--table", action="store_true", help="rewrite the tables afterwards")
    hunt = commands.add_parser("hunt", help="random shapes against PyTorch and NumPy, one thread, for cliffs")
    hunt.add_argument(
        "families", nargs="*", metavar="FAMILY", help="of products, convolutions, ... (default: all)"
    )
    hunt.add_argument("--seed", type=int, default=0)
    hunt.add_argument("--shapes", type=int, default=1000, help="of each family (default: %(default)s)")
    hunt.add_argument("--worst", type=int, default=12, help="to print (default: %(default)s)")
    hunt.add_argument("--isa", default="", choices=list(peers.LIKE), help="hold all libraries to it")
    on_gpu = commands.add_parser("gpu", help="measure on a GPU, and write bench/results/gpu-NAME.json")
    on_gpu.add_argument("--only", action="append", metavar="PATTERN")
    on_gpu.add_argument("--minutes", type=float, default=5.0, help="to spend at most (default: %(default)s)")
    on_gpu.add_argument("--output", type=Path, help="where the JSON goes instead")
    tables = commands.add_parser("table", help="rewrite the tables in README.md and docs/performance.md")
    tables.add_argument(
        "result", nargs="?", type=Path, help="JSON of a run (default: the latest in bench/results)"
    )
    commands.add_parser("accuracy", help="time to accuracy on Fashion-MNIST, against PyTorch")
    plots = commands.add_parser("plots", help="draw pictures of a run in docs/images")
    plots.add_argument("result", nargs="?", type=Path, help="as for table")
    commands.add_parser("list", help="names of all rows")
    commands.add_parser("quick", help="what `fastnn bench` does")
    return parser.parse_args()


def _installed() -> str:
    packages = [name for name in ("fastnn", *PEERS) if importlib.util.find_spec(name)]
    return ",".join([*packages, "kernels"] if kernels.library() else packages)


def _slug() -> str:
    where = machine.describe(ROOT)
    return re.sub(r"[^a-z0-9]+", "-", f"{where['cpu']} {where['cores']} cores".lower()).strip("-")


def _chosen(patterns: list[str] | None, rows: list[Row]) -> list[Row]:
    return [
        row for row in rows if not patterns or any(fnmatch.fnmatch(row.key, pattern) for pattern in patterns)
    ]


def _run(options: argparse.Namespace) -> int:
    started = time.time()
    libraries = options.libraries.split(",")
    if unknown := {name for name in libraries if name.partition("@")[0] not in ("fastnn", *PEERS, "kernels")}:
        sys.exit(f"unknown libraries: {', '.join(sorted(unknown))}")
    rows = _chosen(options.only, ROWS)
    threads = sorted({int(count) for count in options.threads.split(",")})
    harness = Harness(
        libraries, threads, Settings(options.rounds, options.seconds), environment=peers.LIKE[options.isa]
    )
    try:
        results = harness.run(rows)
    finally:
        harness.stop()
    probes = {} if options.no_probes else misc.probes([name for name in libraries if name != "kernels"])
    name = "-".join(filter(None, (options.name, options.isa)))
    path = options.output or ROOT / "bench" / "results" / f"cpu-{name}.json"
    save(harness.report(results, probes, started), path)
    failures = [(row, name) for row in results for name, found in row["results"].items() if "error" in found]
    print(
        f"{path}: {len(results)} rows in {time.time() - started:.0f} s, {len(failures)} failures",
        file=sys.stderr,
    )
    if options.table:
        table.main(path)
    return 1 if failures else 0


def _run_on_gpu(options: argparse.Namespace) -> int:
    started = time.time()
    rows = _chosen(options.only, gpu_rows.ROWS)
    libraries = [name for name in gpu.LIBRARIES if importlib.util.find_spec(name.removesuffix("-graph"))]
    harness = Harness(libraries, [0], Settings(rounds=3, seconds=0.03), ceilings="gpu")
    try:
        results = harness.run(rows, until=started + 60 * options.minutes)
    finally:
        harness.stop()
    report = harness.report(results, {}, started)
    report["machine"] |= gpu.describe()
    name = re.sub(r"[^a-z0-9]+", "-", report["machine"]["gpu"].lower()).strip("-")
    path = options.output or ROOT / "bench" / "results" / f"gpu-{name}.json"
    save(report, path)
    print(table.on_gpu(report))
    failures = [row for row in results if any("error" in found for found in row["results"].values())]
    left = len(rows) - len(results)
    print(
        f"{path}: {len(results)} rows, {len(failures)} with failures, {left} left out for want of time",
        file=sys.stderr,
    )
    return 1 if failures or left else 0


def _hunt(options: argparse.Namespace) -> int:
    """In a process of its own, whose libraries read the environment as they are imported."""
    code = f"import json, sys; from {PACKAGE} import hunt; sys.exit(hunt.main(*json.loads(sys.argv[1])))"
    arguments = json.dumps([options.families, options.seed, options.shapes, options.worst])
    environment = peers.environment(1) | peers.LIKE[options.isa]
    command = [sys.executable, "-c", code, arguments]
    return subprocess.run(command, env=environment, check=False).returncode


def main() -> int:
    options = _arguments()
    if options.command == "hunt":
        return _hunt(options)
    if options.command == "gpu":
        return _run_on_gpu(options)
    if options.command == "run":
        return _run(options)
    if options.command == "table":
        return table.main(options.result)
    if options.command == "accuracy":
        return accuracy.main()
    if options.command == "plots":
        from . import plots

        return plots.main(options.result or table.latest())
    if options.command == "quick":
        return quick.main([])
    print("\n".join(row.key for row in ROWS))
    return 0


if __name__ == "__main__":
    sys.exit(main())
