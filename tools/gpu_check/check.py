"""What all phases share: the output folder, the clock, workers."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.process import Worker

from .tree import Tree

STARTUP = 40.0  # seconds until a worker answers first: it imports PyTorch
ROW = 20.0  # seconds that a row may take
FRUITLESS = 3  # workers in a row that end without a result: then there is no device any more


class Output:
    """Rows, one line of JSON each, written as they come. Where the folder takes no more, rows go to the terminal."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.path = folder, folder / f"{name}.jsonl"
        self.failed = ""
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
        self.row({"call": name, "at": time.strftime("%Y-%m-%d %H:%M:%S")})

    def row(self, record: dict[str, Any]) -> None:
        line = json.dumps(record, separators=(",", ":"))
        if not self._attempt(self.path, line + "\n", "a"):
            print(line, flush=True)

    def file(self, name: str, text: str, mode: str = "w") -> None:
        self._attempt(self.folder / name, text, mode)

    def _attempt(self, path: Path, text: str, mode: str) -> bool:
        try:
            with path.open(mode) as file:
                file.write(text)
        except OSError as error:
            if not self.failed:
                self.failed = f"{path} cannot be written: {error.strerror}"
                print(f"{self.failed}; rows go to the terminal from here on", flush=True)
            return False
        return True


@dataclass
class Phase:
    name: str
    seconds: float  # that it is given; what the phases before have left over comes on top
    run: Callable[[Check], None]
    vital: bool = False  # without it nothing else can work


@dataclass
class Check:
    """One call: its options, where it writes, and what has become of it."""

    tree: Tree
    output: Output
    dry: bool
    phase: str = ""
    deadline: float = 0.0
    failures: int = 0
    rows: int = 0
    facts: dict[str, Any] = field(default_factory=dict)  # what the first phase found out about the machine

    def left(self) -> float:
        return self.deadline - time.monotonic()

    def row(self, name: str, found: dict[str, Any], *, quiet: bool = False) -> bool:
        """Writes a row down; false if it failed."""
        self.rows += 1
        failed = "error" in found
        expected = bool(found.get("planted"))
        self.failures += failed != expected
        self.output.row({"phase": self.phase, "row": name, **found})
        if failed or not quiet:
            text = found["error"] if failed else found.get("skipped") or _short(found)
            state = "" if not failed else "as planted: " if expected else "FAILED: "
            print(f"  {name:58} {state}{text}"[: None if failed else 200], flush=True)
        return not failed

    def skip(self, name: str, why: str) -> None:
        self.row(name, {"skipped": f"left out: {why}"})

    def worker(self, module: str = "tools.gpu_check.worker", *arguments: str, **more: str) -> Patient:
        return Patient(
            self, [sys.executable, "-m", module, *arguments], {**self.tree.environment(self.dry), **more}
        )


def _short(found: dict[str, Any]) -> str:
    cells = []
    for name, value in found.items():
        if isinstance(value, float):
            cells.append(f"{name} {value:.4g}")
        elif isinstance(value, (str, int)):
            cells.append(f"{name} {value}")
    return "  ".join(cells)


class Patient:
    """A worker that is asked for rows: each has seconds, and the phase's end is kept."""

    def __init__(self, check: Check, command: list[str], env: dict[str, str]) -> None:
        self.check, self.command, self.env = check, command, env
        self.worker: Worker | None = None
        self.fruitless = 0

    def __enter__(self) -> Patient:
        return self

    def __exit__(self, *_: object) -> None:
        if self.worker:
            self.worker.stop()

    def ask(self, seconds: float = ROW, **request: Any) -> dict[str, Any]:
        if self.fruitless >= FRUITLESS:
            return {"error": f"the last {FRUITLESS} processes came to nothing: is there a device still?"}
        if self.worker is None:
            startup = max(min(STARTUP, self.check.left()), 1.0)
            self.worker = Worker(self.command[2], self.command, self.env, startup=startup)
        self.worker.longest = max(min(seconds, self.check.left() + 1), 1.0)
        reply = self.worker.ask(**request)
        self.fruitless = self.fruitless + 1 if self.worker.process is None else 0
        return reply

    def row(
        self, name: str, seconds: float = ROW, *, quiet: bool = False, planted: bool = False, **request: Any
    ) -> bool:
        """Asks and writes down; false if the row failed. A planted one has to."""
        found = self.ask(seconds, **request)
        return self.check.row(name, {**found, "planted": True} if planted else found, quiet=quiet)


def run(name: str, phases: list[Phase], tree: Tree, options: argparse.Namespace) -> int:
    """Goes through the phases of a call; 0 if all went well."""
    check = Check(tree, Output(options.output, name), options.dry_run)
    began = time.monotonic()
    check.deadline = began
    summary: list[str] = []
    for phase in phases:
        check.deadline += phase.seconds
        if options.only and options.only not in phase.name and not phase.vital:
            continue
        check.phase = phase.name
        print(f"---- {phase.name}, until second {check.deadline - began:.0f}", flush=True)
        started, failures, rows = time.monotonic(), check.failures, check.rows
        try:
            phase.run(check)
        except Exception as error:  # a phase that fails must not take the others with it
            check.row("the phase itself", {"error": f"{type(error).__name__}: {error}"[:300]})
        failed = check.failures - failures
        seconds = time.monotonic() - started
        state = "FAILED" if failed else "passed"
        summary.append(
            f"{state}  {phase.name:12} {seconds:6.1f} s  {check.rows - rows} rows, {failed} failures"
        )
        check.output.row({"phase": phase.name, "seconds": round(seconds, 2), "failures": failed})
        if phase.vital and failed:
            summary.append(f"        {phase.name} failed: nothing after it can work")
            break
    print(f"\n{name} call, {time.monotonic() - began:.0f} s", *summary, sep="\n", flush=True)
    if check.output.failed:
        print(check.output.failed)
    return 1 if check.failures or check.output.failed else 0
