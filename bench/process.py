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

PACKAGE = __package__ or "bench"
ROOT = Path(__file__).parents[PACKAGE.count(".") + 1]  # the folder that holds the package
STARTUP, LONGEST = 120.0, 180.0  # seconds to wait for the first reply and for any other


class Process:
    """`python -m bench.worker LIBRARY THREADS`, started again if it dies: one row cannot end the run.

    `fastnn@FOLDER` is the fastnn in that folder, so that two builds can be compared.
    """

    def __init__(self, label: str, threads: int, task: str = "rows") -> None:
        self.name, _, self.folder = label.partition("@")
        self.threads, self.task = threads, task
        self.version = ""
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        count = str(self.threads)
        env = dict(os.environ)
        if self.threads:  # 0: as the library likes
            env |= dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), count)
        env["PYTHONPATH"] = os.pathsep.join(
            filter(None, [self.folder, str(ROOT), os.environ.get("PYTHONPATH")])
        )
        command = [sys.executable, "-m", f"{PACKAGE}.worker", self.name, count, self.task]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env)
        self.version = self._reply(STARTUP).get("version", "")

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
            return self._reply(LONGEST)
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
            return reply
        self.stop()
        return {"error": "the process ended" if ready else f"no reply within {seconds:.0f} s"}

    def stop(self) -> None:
        if self.process is None:
            return
        self.process.kill()
        with contextlib.suppress(OSError), self.process:  # closes the pipes and waits
            pass
        self.process = None
