"""What is measured once per process: import time, size on disk, peak memory."""

from __future__ import annotations

import io
import os
import resource
import statistics
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path
from typing import Any

from . import machine
from .process import PACKAGE, ROOT

IMPORTS = 7
IMPORT = "import time, numpy; start = time.perf_counter(); import {}; print(time.perf_counter() - start)"


def _python(*arguments: str) -> str:
    env = dict(os.environ)
    env["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), env.get("PYTHONPATH")]))
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, env=env, check=True)
    return done.stdout.strip().splitlines()[-1]


def import_seconds(name: str) -> float:
    """Seconds that `import NAME` takes once NumPy is imported; the median of several fresh processes."""
    return statistics.median(float(_python("-c", IMPORT.format(name))) for _ in range(IMPORTS))


def _files(name: str) -> list[Path]:
    """The files of the installed distribution, without what it depends on."""
    files = metadata.files(name) or []
    paths = {Path(str(file.locate())).resolve() for file in files if not str(file).endswith(".pyc")}
    return sorted(path for path in paths if path.is_file())


def installed_bytes(name: str) -> int:
    return sum(path.stat().st_size for path in _files(name))


def wheel_bytes(name: str) -> int:
    """Size of the wheel, which is a compressed archive of the installed files: they are packed again."""
    with io.BytesIO() as packed:
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as wheel:
            for path in _files(name):
                wheel.write(path)
        return len(packed.getvalue())


def peak_bytes(name: str, threads: int) -> int:
    """The most memory that a process ever held which imports the library and trains LeNet for 20 steps."""
    return int(_python("-m", f"{PACKAGE}.misc", name, str(threads)))


def probes(libraries: list[str]) -> dict[str, Any]:
    """{probe: {library: figure}}; a library that fails a probe is left out of it."""
    found: dict[str, dict[str, Any]] = {
        "import_seconds": {},
        "installed_bytes": {},
        "wheel_bytes": {},
        "peak_bytes": {},
    }

    def note(probe: str, name: str, measure: Any, *arguments: Any) -> None:
        try:
            if figure := measure(*arguments):
                found[probe][name] = figure
        except (subprocess.CalledProcessError, metadata.PackageNotFoundError, ValueError) as error:
            print(f"{probe} of {name}: {error}", file=sys.stderr)

    for name in libraries:
        if name != "numpy":
            note("import_seconds", name, import_seconds, name)
        note("installed_bytes", name, installed_bytes, name)
        if name != "onnxruntime":  # trains nothing
            note("peak_bytes", name, peak_bytes, name, machine.cores())
    note("wheel_bytes", "fastnn", wheel_bytes, "fastnn")
    return found


def main() -> None:
    from .subjects import by_key
    from .worker import load

    prepared = by_key("nets/LeNet batch 128 training step").sides[sys.argv[1]](
        load(sys.argv[1], int(sys.argv[2]))
    )
    call: Any = prepared["fused"] if isinstance(prepared, dict) else prepared
    for _ in range(20):
        call()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


if __name__ == "__main__":
    main()
