"""The tests, by several processes at once, each with its share."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .check import Check

PATIENCE = 25.0  # seconds without a word from a process: its test hangs
COLLECTING = 60.0  # until the first word
MOST_FAILURES = 40  # after so many there is nothing to learn from more
STATUSES = (0, 1, 5, 9)  # of a process that is through: passed, failures, no tests, a sanitizer's findings


@dataclass
class Shard:
    """One process, and the tests that it is through with."""

    number: int
    process: subprocess.Popen[bytes]
    events: Path
    heard: float
    done: list[str]
    read: int = 0  # bytes of events
    collected: bool = False
    current: str = ""
    told: bool = True  # of the end of its current test


@dataclass
class Suite:
    check: Check
    arguments: list[str]  # pytest's
    shards: int
    environment: dict[str, str]
    prefix: tuple[str, ...] = ()  # a tool that runs pytest
    patience: float = PATIENCE
    planted: bool = False
    outcomes: dict[str, int] = field(default_factory=dict)
    expected: int = 0
    running: list[Shard] = field(default_factory=list)

    def run(self) -> None:
        with tempfile.TemporaryDirectory() as scratch:
            self.scratch = Path(scratch)
            try:
                for number in range(self.shards):
                    self._start(number, [])
                while self.running and self.check.left() > 0:
                    time.sleep(0.05)
                    for shard in list(self.running):
                        self._look(shard)
                    if self.outcomes.get("failed", 0) >= MOST_FAILURES:
                        break
            finally:
                for shard in self.running:
                    self._kill(shard)
        missed = max(self.expected - sum(self.outcomes.values()), 0)
        found: dict[str, Any] = {**self.outcomes, "not_reached": missed, "processes": self.shards}
        if not self.outcomes:
            found["error"] = "no test was run"
        elif missed:
            found["error"] = f"{missed} tests were not reached"
        self.check.row("all tests", found)

    def _start(self, number: int, done: list[str]) -> None:
        finished, events = (self.scratch / f"{name}-{number}" for name in ("done", "events"))
        finished.write_text("\n".join(done))
        events.write_text("")
        env = {
            **self.environment,
            "FASTNN_SHARD": f"{number}/{self.shards}",
            "FASTNN_SHARD_EVENTS": str(events),
            "FASTNN_SHARD_DONE": str(finished),
        }
        command = [
            *self.prefix,
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "--no-header",
            "-p",
            "no:cacheprovider",
        ]
        command += ["-p", "tools.gpu_check.shard", "-W", "default", *self.arguments]
        with self._log(number).open("ab") as log:
            process = subprocess.Popen(command, env=env, stdout=log, stderr=log, start_new_session=True)
        self.running.append(Shard(number, process, events, time.monotonic(), done))

    def _log(self, number: int) -> Path:
        return self.scratch / f"output-{number}"

    def _look(self, shard: Shard) -> None:
        ended = shard.process.poll()  # before its last words are read
        self._read(shard)
        if ended is not None:
            self.running.remove(shard)
            self._ended(shard, ended)
            return
        silent = time.monotonic() - shard.heard
        if silent > (self.patience if shard.collected else max(self.patience, COLLECTING)):
            self.running.remove(shard)
            self._kill(shard)
            self._gone(shard, "hung", silent, f"no word for {silent:.0f} s")

    def _read(self, shard: Shard) -> None:
        with shard.events.open("rb") as file:
            file.seek(shard.read)
            data = file.read()
        whole = data.rfind(b"\n") + 1
        if not whole:
            return
        shard.read += whole
        shard.heard = time.monotonic()
        for line in data[:whole].splitlines():
            self._event(shard, json.loads(line))

    def _event(self, shard: Shard, event: dict[str, Any]) -> None:
        if "tests" in event:
            shard.collected = True
            if not shard.done:
                self.expected += event["tests"]
        elif "begins" in event:
            shard.current, shard.told = event["begins"], False
        elif "test" in event and not shard.told:
            self._through(shard, event["outcome"], event["seconds"], " ".join(event["last"]))

    def _through(self, shard: Shard, outcome: str, seconds: float, why: str = "") -> None:
        shard.told = True
        shard.done.append(shard.current)
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1
        found: dict[str, Any] = {"outcome": outcome, "seconds": round(seconds, 4)}
        if outcome in ("failed", "hung", "ended"):
            found["error"] = f"{outcome}: {why}"[:400]
            if self.planted:
                found["planted"] = True
        self.check.row(shard.current, found, quiet=True)

    def _ended(self, shard: Shard, status: int) -> None:
        if not shard.collected or not shard.told:
            self._gone(shard, "ended", 0.0, f"the process ended with {status}")
        elif status not in STATUSES:  # it had lost the device
            self._start(shard.number, shard.done)

    def _gone(self, shard: Shard, outcome: str, seconds: float, why: str) -> None:
        """A process that is no more takes its test with it; another does the rest."""
        if not shard.told:
            self._through(shard, outcome, seconds, why)
            self._start(shard.number, shard.done)
            return
        log = self._log(shard.number).read_text(errors="replace").strip().splitlines()
        self.check.row(f"process {shard.number}", {"error": f"{why}: {' '.join(log[-3:])}"[:400]})

    @staticmethod
    def _kill(shard: Shard) -> None:
        """And what it has started: a tool in front of pytest has."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(shard.process.pid, signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):  # one that hangs in the driver is left to it
            shard.process.wait(timeout=10)
