"""Runs the rows: every library in its own process, rounds interleaved between them, threads matched.

A round asks each library in turn for some samples of the same row, so that whatever else the machine does
hits all alike. Ratios are ratios of medians over all rounds.
"""

from __future__ import annotations

import json
import math
import statistics
import sys
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import machine
from .process import LONGEST, ROOT, Process
from .rows import Row

PEERS = {"numpy": "NumPy", "torch": "PyTorch", "onnxruntime": "ONNX Runtime"}  # in the order of the tables


@dataclass(frozen=True)
class Settings:
    rounds: int = 5
    seconds: float = 0.05  # per library, row and round
    slow: float = 0.4  # a row with a library whose calls take longer than this gets two rounds less


def quantile(samples: Sequence[float], q: float) -> float:
    """The smallest sample that at least a share q of all does not exceed."""
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))]


class Harness:
    def __init__(
        self,
        libraries: Sequence[str],
        threads: Sequence[int],
        settings: Settings,
        quiet: bool = False,
        ceilings: str = "machine",  # who measures them; "": nobody
        longest: float = LONGEST,  # seconds to wait for a worker's answer
        environment: dict[str, str] | None = None,  # what workers have besides this process's
    ) -> None:
        self.libraries, self.settings, self.quiet = libraries, settings, quiet
        wanted = [(name, count) for count in threads for name in (*libraries, ceilings) if name]
        with ThreadPoolExecutor() as pool:  # each waits for a process that imports its library
            started = pool.map(lambda w: Process(w[0], w[1], longest=longest, more=environment), wanted)
            processes = dict(zip(wanted, started, strict=True))
        self.machines = {count: processes.pop((ceilings, count)) for count in threads if ceilings}
        self.workers = processes
        self.ceilings: dict[int, dict[str, list[float]]] = {
            count: {"flops": [], "bytes": []} for count in threads
        }

    def stop(self) -> None:
        for process in [*self.workers.values(), *self.machines.values()]:
            process.stop()

    def measure_ceilings(self) -> None:
        for count, process in self.machines.items():
            reply = process.ask(ceilings=True)
            for name, found in self.ceilings[count].items():
                if reply.get(name):
                    found.append(reply[name])

    def measure(self, row: Row, threads: int) -> dict[str, Any]:
        """One row: {library: {"median", "p95", "best", "samples", "way"} or {"error"}}."""
        found: dict[str, Any] = {}
        samples: dict[str, list[float]] = {}
        for name in self.libraries:
            if name.partition("@")[0] in row.sides:
                reply = self.workers[name, threads].ask(prepare=row.key)
                found[name] = reply
                if "error" not in reply:
                    samples[name] = []
        slow = any(found[name]["seconds"] > self.settings.slow for name in samples)
        for _ in range(max(1, self.settings.rounds - 2 * slow)):
            for name in list(samples):
                reply = self.workers[name, threads].ask(time=self.settings.seconds)
                if "error" in reply:
                    found[name] = reply
                    del samples[name]
                else:
                    samples[name] += reply["samples"]
        for name, all_of_it in samples.items():
            found[name] = {
                "median": statistics.median(all_of_it),
                "p95": quantile(all_of_it, 0.95),
                "best": min(all_of_it),
                "samples": len(all_of_it),
                "way": found[name]["way"],
            }
        return found

    def run(self, rows: Iterable[Row], until: float = math.inf) -> list[dict[str, Any]]:
        """All rows or, where time.time() passes `until`, those before."""
        results: list[dict[str, Any]] = []
        subject = ""
        for row in rows:
            if time.time() > until:
                break
            if row.subject != subject:  # the machine's mood changes: measure its ceilings again and again
                subject = row.subject
                self.measure_ceilings()
            for threads in self.ceilings:
                wanted = [count or machine.cores() for count in row.threads]
                if threads and threads not in wanted and len(self.ceilings) > 1:
                    continue
                results.append(self.record(row, threads))
                self._say(results[-1])
        self.measure_ceilings()
        return results

    def record(self, row: Row, threads: int) -> dict[str, Any]:
        """A row of a report: what it is, and what was measured."""
        return {
            "subject": row.subject,
            "name": row.name,
            "threads": threads,
            "headline": row.headline,
            "flops": row.flops,
            "bytes": row.bytes,
            "results": self.measure(row, threads),
        }

    def _say(self, record: dict[str, Any]) -> None:
        if not self.quiet:
            figures = (
                f"{name} {found['median'] * 1e6:10.2f} us"
                if "median" in found
                else f"{name} {found['error'][:60]}"
                for name, found in record["results"].items()
            )
            line = f"{record['subject']}/{record['name']}"
            line += f", {record['threads']} threads" if record["threads"] else ""
            print(f"{line:64}", "  ".join(figures), file=sys.stderr, flush=True)

    def report(self, results: list[dict[str, Any]], probes: dict[str, Any], started: float) -> dict[str, Any]:
        """Everything that the tables are made of, as JSON. A ceiling is the best figure of the run."""
        versions = {name: worker.version for (name, _), worker in self.workers.items()}
        return {
            "machine": {**machine.describe(ROOT), "versions": versions},
            "date": time.strftime("%Y-%m-%d"),
            "minutes": round((time.time() - started) / 60, 1),
            "settings": vars(self.settings),
            "ceilings": {
                str(count): {name: max(found) if found else None for name, found in by_name.items()}
                for count, by_name in self.ceilings.items()
            },
            "probes": probes,
            "rows": results,
        }


def as_json(report: dict[str, Any]) -> str:
    return json.dumps(report, indent=1, sort_keys=True) + "\n"


def save(report: dict[str, Any], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(as_json(report))
