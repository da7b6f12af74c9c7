"""What `import fastnn` brings in, opens and starts. Counted, not timed."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest


def in_process(code: str) -> dict:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


MODULES = """
import json, sys
import numpy
before = set(sys.modules)
import fastnn
print(json.dumps(sorted(set(sys.modules) - before)))
"""


def test_modules_beyond_numpy():
    new = in_process(MODULES)
    found = {name.partition(".")[0] for name in new} | set(new)
    heavy = {
        "torch",
        "safetensors",
        "PIL",
        "tqdm",
        "pooch",
        "matplotlib",
        "pandas",
        "scipy",
        "sklearn",
        "multiprocessing",
        "concurrent",
        "asyncio",
        "urllib.request",
        "http",
        "ssl",
        "socket",
        "subprocess",
        "argparse",
        "unittest",
        "logging",
        "pickle",
    }
    assert found & heavy == set()
    ours = [name for name in new if name.startswith("fastnn")]
    assert len(new) - len(ours) <= 30, [n for n in new if n not in ours]
    assert len(ours) <= 80, ours


AUDIT = """
import json, sys
import numpy
seen = []
watched = ("socket.", "subprocess.", "os.system", "os.exec", "os.posix_spawn", "urllib.", "http.", "shutil.", "os.mkdir", "os.remove")
def hook(event, args):
    if event.startswith(watched):
        seen.append([event, repr(args)])
    if event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+"):
        seen.append([event, repr(args)])
sys.dont_write_bytecode = True
sys.addaudithook(hook)
import fastnn
fastnn.cuda.is_available()
fastnn.info()
print(json.dumps(seen))
"""


def test_import_touches_neither_network_nor_files_nor_processes():
    assert in_process(AUDIT) == []


STATE = """
import json, os
before = len(os.listdir("/proc/self/task"))
import numpy
with_numpy = len(os.listdir("/proc/self/task"))
import fastnn
print(json.dumps([len(os.listdir("/proc/self/task")) - with_numpy, fastnn._C._memory_stats("cpu")["used"]]))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc is Linux's")
def test_import_starts_no_thread_and_holds_no_tensor():
    assert in_process(STATE) == [0, 0]


def test_every_public_name_is_there():
    import fastnn

    for module in (fastnn, fastnn.autograd, fastnn.cuda):
        for name in getattr(module, "__all__", []):
            assert hasattr(module, name), f"{module.__name__}.{name}"
