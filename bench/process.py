"""The harness's end of a worker process."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
from pathlib import Path
from typing import Any

from . import peers

PACKAGE = __package__ or "bench"
ROOT = Path(__file__).parents[PACKAGE.count(".") + 1]  # the folder that holds the package
STARTUP, LONGEST = 120.0, 180.0  # seconds to wait for the first reply and for any other


class Worker:
    """A process that answers requests, a JSON object a line either way. It is started again if it dies: one row cannot
    end the run. {"ends": true} in an answer says that the process can do no more: its device is lost.
    """

    version = ""

    def __init__(
        self,
        name: str,
        command: list[str],
        env: dict[str, str],
        startup: float = STARTUP,
        longest: float = LONGEST,
    ) -> None:
        self.name, self.command, self.env = name, command, env
        self.startup, self.longest = startup, longest
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=self.env
        )
        self.version = self._reply(self.startup).get("version", "")

    def ask(self, **request: Any) -> dict[str, Any]:
        """The worker's reply; {"error": ...} if the row failed, crashed the process or took too long."""
        if self.process is None:
            self.start()
        if self.process is None:
            return {"error": f"{self.name} does not start"}
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(request).encode() + b"\n")
            self.process.stdin.flush()
            return self._reply(self.longest)
        except OSError as error:
            self.stop()
            return {"error": str(error)}

    def _reply(self, seconds: float) -> dict[str, Any]:
        assert self.process is not None
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], seconds)
        line = self.process.stdout.readline() if ready else b""
        if line:
            reply: dict[str, Any] = json.loads(line)
            if reply.get("ends"):
                self.stop()
            return reply
        self.stop()
        return {"error": "the process ended" if ready else f"no reply within {seconds:.0f} s"}

    def stop(self) -> None:
        if self.process is None:
            return
        self.process.kill()
        for pipe in (self.process.stdin, self.process.stdout):
            with contextlib.suppress(OSError):
                assert pipe is not None
                pipe.close()
        with contextlib.suppress(subprocess.TimeoutExpired):  # one that hangs in a driver is left to it
            self.process.wait(timeout=10)
        self.process = None


class Process(Worker):
    """`python -m bench.worker LIBRARY THREADS`. `fastnn@FOLDER` is the fastnn in that folder, so that two builds can be
    compared.
    """

    def __init__(
        self,
        label: str,
        threads: int,
        task: str = "rows",
        longest: float = LONGEST,
        more: dict[str, str] | None = None,  # environment
    ) -> None:
        name, _, folder = label.partition("@")
        count = str(threads)
        env = {**peers.environment(threads), **(more or {})}
        env["PYTHONPATH"] = os.pathsep.join(filter(None, [folder, str(ROOT), env.get("PYTHONPATH")]))
        command = [sys.executable, "-m", f"{PACKAGE}.worker", name, count, task]
        super().__init__(name, command, env, longest=longest)
