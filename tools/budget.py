"""A budget of compile time and size, so that neither grows unnoticed as ops are added.

    python tools/budget.py --check [BUILD_DIR]          exit status 1 and a list of what is over; after `make test`
    python tools/budget.py --write [BUILD_DIR]          rows for new units, and the bytes of all of them anew
    python tools/budget.py --write --all [BUILD_DIR]    the processor time of all of them too: compiles each once more
    python tools/budget.py --write --log [BUILD_DIR]    the same by ninja's log, of a build without a compiler cache

BUILD_DIR is the newest under build/ unless it is given. ``tools/budget.json`` has a row per translation unit and target:
bytes of the object, and processor time as a multiple of what a fixed program takes to compile on the same machine with the
same compiler, so that it holds on slow and on fast machines.

Bytes are a hard limit. Time is read from ninja's log, which knows only how long a unit took on a machine that was busy with
others; a unit that was slow there is compiled once more, alone, and fails only if its processor time is over. On a shared
machine that time itself swings by half, so the fixed program is timed beside the unit, and a unit has two tries.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
BUDGET = ROOT / "tools" / "budget.json"
WHEEL, WHEEL_WITH_CUDA = 6_000_000, 15_000_000  # bytes

# What a unit may take over its row, and whatever its row says.
TIME, LEAST_TIME = 1.6, 1.0
TRIES = 2
BYTES, LEAST_BYTES = 1.15, 4096
BYTES_OF_ANOTHER_COMPILER = 1.5

PROGRAM = r"""
#include <algorithm>
#include <functional>
#include <map>
#include <regex>
#include <string>
int main(int argc, char** argv) {
  std::map<std::string, std::function<int(const std::string&)>> calls;
  calls["match"] = [](const std::string& s) { return std::regex_match(s, std::regex("a+(b|c)*")); };
  calls["sort"] = [](std::string s) { std::sort(s.begin(), s.end()); return int(s.size()); };
  return argc > 2 ? calls[argv[1]](argv[2]) : 0;
}
"""


@dataclass(frozen=True)
class Unit:
    """One translation unit of one target. ``wall``: seconds it took in the last build, 0 where the log does not say."""

    target: str
    source: str
    command: tuple[str, ...]
    folder: Path
    bytes: int
    wall: float

    @property
    def name(self) -> str:
        return f"{self.target} {self.source}"


Rows = dict[str, dict[str, float]]  # unit -> {"time", "bytes"}


# ---- what was built ---------------------------------------------------------------------------------------------------


def newest_build() -> Path:
    logs = [p for p in ROOT.glob("build/**/.ninja_log") if "CMakeFiles" not in p.parts]
    if not logs:
        raise SystemExit("there is no build folder; `make test` leaves one under build/")
    return max(logs, key=lambda p: p.stat().st_mtime).parent


def wall_times(build: Path) -> dict[str, float]:
    """Seconds of each output when it was last built."""
    seconds = {}
    for line in (build / ".ninja_log").read_text().splitlines():
        if not line.startswith("#"):
            start, end, _, output, _ = line.split("\t")
            seconds[output] = (int(end) - int(start)) / 1000
    return seconds


def units(build: Path) -> list[Unit]:
    found = []
    walls = wall_times(build)
    for entry in json.loads((build / "compile_commands.json").read_text()):
        folder, source = Path(entry["directory"]), Path(entry["file"])
        output = folder / entry["output"]
        if not output.exists():
            continue
        relative = str(output.relative_to(build))
        target = re.search(r"([^/]+)\.dir/", relative)
        inside = source.is_relative_to(ROOT) and not source.is_relative_to(build)
        found.append(
            Unit(
                target[1] if target else "",
                str(source.relative_to(ROOT)) if inside else source.name,
                tuple(shlex.split(entry["command"])),
                folder,
                0 if output.suffix == ".gch" else output.stat().st_size,
                walls.get(relative, 0.0),
            )
        )
    return found


def compiler(build: Path) -> tuple[str, str]:
    """Its path, and its name with the major version."""
    files = sorted(build.glob("CMakeFiles/*/CMakeCXXCompiler.cmake"), key=lambda p: p.stat().st_mtime)
    said = dict(re.findall(r'set\((CMAKE_CXX_COMPILER\w*) "([^"]*)"\)', files[-1].read_text()))
    version = said["CMAKE_CXX_COMPILER_VERSION"].partition(".")[0]
    return said["CMAKE_CXX_COMPILER"], f"{said['CMAKE_CXX_COMPILER_ID']} {version}"


def wheel_bytes(build: Path) -> tuple[int, bool]:
    """How large a wheel of this build is, and whether CUDA is in it."""
    cuda = build / "libfastnn_cuda.so"
    package = [
        p for p in (ROOT / "python/fastnn").rglob("*") if p.is_file() and p.suffix not in (".pyc", ".so")
    ]
    package += [*build.glob("_C*.so"), *ROOT.glob("bench/*.py"), *([cuda] if cuda.exists() else [])]
    return sum(len(zlib.compress(p.read_bytes())) + 200 for p in package), cuda.exists()


# ---- time ---------------------------------------------------------------------------------------------------------------


def processor_time(command: tuple[str, ...], folder: Path) -> float:
    """Of one compilation, with whatever processes it starts, to an object that is thrown away."""
    with tempfile.TemporaryDirectory() as scratch, open(f"{scratch}/said", "w+") as said:
        arguments = list(command)
        arguments[arguments.index("-o") + 1] = f"{scratch}/x.o"
        environment = {**os.environ, "CCACHE_DISABLE": "1"}
        process = subprocess.Popen(arguments, cwd=folder, env=environment, stdout=said, stderr=said)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"this failed: {shlex.join(arguments)}\n{Path(said.name).read_text()}")
        return used.ru_utime + used.ru_stime


def calibration(path: str) -> float:
    """Seconds that the program takes here."""
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch) / "x.cpp"
        source.write_text(PROGRAM)
        command = (path, "-std=c++20", "-O2", "-c", str(source), "-o", "")
        return min(processor_time(command, ROOT) for _ in range(3))


# ---- checks -------------------------------------------------------------------------------------------------------------


def in_log(unit: Unit) -> float:
    """About the processor time that its wall time means, as ninja runs two commands more than there are cores."""
    return unit.wall / (1 + 2 / len(os.sched_getaffinity(0)))


def over_bytes(found: list[Unit], rows: Rows, factor: float) -> list[str]:
    """One line per unit that has no row, or is larger than it may be."""
    failures = []
    for unit in found:
        row = rows.get(unit.name)
        if row is None:
            failures.append(
                f"{unit.name}: no row in {BUDGET.name}; run `python tools/budget.py --write` and commit it"
            )
        elif unit.bytes > (allowed := row["bytes"] * factor + LEAST_BYTES):
            failures.append(
                f"{unit.name}: {unit.bytes:,} bytes, {allowed:,.0f} allowed; make it smaller, or "
                "`python tools/budget.py --write` and say why"
            )
    return failures


def over_time(found: list[Unit], rows: Rows, path: str) -> list[str]:
    """One line per unit that takes more processor time than it may. What its wall time clears is not measured."""
    failures = []
    program_seconds = calibration(path)
    for unit in found:
        row = rows.get(unit.name)
        if row is None:
            continue
        programs = max(row["time"] * TIME, LEAST_TIME)
        if in_log(unit) <= programs * program_seconds:
            continue
        for _ in range(TRIES):
            program_seconds = calibration(path)
            seconds = processor_time(unit.command, unit.folder)
            if seconds <= programs * program_seconds:
                break
        else:
            failures.append(
                f"{unit.name}: {seconds:.1f} s of processor time to compile, {programs * program_seconds:.1f} allowed; "
                "split it, or `python tools/budget.py --write --all` and say why"
            )
    return failures


def gone(rows: Rows) -> list[str]:
    """Rows of sources that are no more."""
    sources = {name: name.partition(" ")[2] for name in rows}
    return [name for name, source in sources.items() if "/" in source and not (ROOT / source).exists()]


def check(build: Path) -> list[str]:
    budget = json.loads(BUDGET.read_text())
    rows, found = budget["units"], units(build)
    path, name = compiler(build)
    failures = over_bytes(found, rows, BYTES if name == budget["compiler"] else BYTES_OF_ANOTHER_COMPILER)
    failures += [f"{row}: its source is gone; run `python tools/budget.py --write`" for row in gone(rows)]
    failures += over_time(found, rows, path)
    size, cuda = wheel_bytes(build)
    allowed = WHEEL_WITH_CUDA if cuda else WHEEL
    if size > allowed:
        failures.append(f"a wheel{' with CUDA' if cuda else ''} has {size:,} bytes, {allowed:,} allowed")
    total = sum(unit.bytes for unit in found)
    print(
        f"{len(found)} units, {total / 1e6:.1f} MB of objects; a wheel has {size / 1e6:.2f} MB, {allowed / 1e6:g} allowed"
    )
    return failures


def write(build: Path, every: bool, by_log: bool) -> None:
    budget = json.loads(BUDGET.read_text()) if BUDGET.exists() else {"units": {}}
    rows, found = budget["units"], units(build)
    path, name = compiler(build)
    program_seconds = calibration(path)
    new = [unit for unit in found if every or by_log or unit.name not in rows]
    started = time.monotonic()
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        measured = pool.map(in_log if by_log else lambda unit: processor_time(unit.command, unit.folder), new)
        times = {
            unit.name: round(took / program_seconds, 2) for unit, took in zip(new, measured, strict=True)
        }
    print(
        f"{len(new)} units compiled in {time.monotonic() - started:.0f} s; the program takes {program_seconds:.2f} s"
    )
    for unit in found:
        taken = times[unit.name] if unit.name in times else rows[unit.name]["time"]
        rows[unit.name] = {"time": taken, "bytes": unit.bytes}
    for row in gone(rows):
        del rows[row]
    lines = ",\n".join(f"  {json.dumps(row)}: {json.dumps(rows[row])}" for row in sorted(rows))
    BUDGET.write_text(f'{{\n "compiler": {json.dumps(name)},\n "units": {{\n{lines}\n }}\n}}\n')


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("build", type=Path, nargs="?", help="the build folder")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--check", action="store_true")
    what.add_argument("--write", action="store_true")
    parser.add_argument("--all", action="store_true", help="with --write: measure the time of every unit")
    parser.add_argument("--log", action="store_true", help="with --write: take times from ninja's log")
    arguments = parser.parse_args()
    build = (arguments.build or newest_build()).resolve()
    if arguments.write:
        write(build, arguments.all, arguments.log)
        return 0
    failures = check(build)
    print(*failures, sep="\n", end="\n" if failures else "")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
