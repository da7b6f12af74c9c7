"""The check on a GPU, gone through on the emulator: every phase, and what it makes of mistakes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import ROOT, built, needs_cuda

sys.path.insert(0, str(ROOT))
from tools.gpu_check import calls, profiler, tree
from tools.gpu_check.check import Check, Output

NEEDED = built("libfastnn_cuda_probe_emulator.so")
needs_emulator = pytest.mark.skipif(
    NEEDED is None, reason="the build folder with the emulator of CUDA is not here"
)


def check(output: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "tools.gpu_check", "--dry-run", "--output", str(output), *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@needs_emulator
def test_both_calls_come_through_planted_mistakes(tmp_path):
    done = check(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    first, second = rows(tmp_path / "first.jsonl"), rows(tmp_path / "second.jsonl")
    for phases, found in [(calls.first(True), first), (calls.second(True), second)]:
        assert [row["phase"] for row in found if "seconds" in row and "row" not in row] == [
            p.name for p in phases
        ]
    planted = {row["row"].split("::")[-1]: row["error"] for row in first if row.get("planted")}
    assert planted.pop("a row that hangs") == "no reply within 1 s"
    assert planted.pop("a row that ends its process") == "the process ended"
    assert "cudaErrorIllegalAddress" in planted.pop("a row that loses the device")
    assert planted.pop("test_that_hangs").startswith("hung: no word for")
    assert planted.pop("test_that_ends_the_process") == "ended: the process ended with 3"
    assert planted.pop("test_that_loses_the_device").startswith("failed: ")
    assert planted == {}
    assert [row for row in first + second if "error" in row and not row.get("planted")] == []
    forced = {(row["tile"], row["splits"]) for row in second if row.get("phase") == "sweep" and "tile" in row}
    assert forced == {("", 0), ("128x256", 1), ("64x64", 2)}
    assert len(list(tmp_path.iterdir())) <= 8
    assert set(json.loads((tmp_path / "ptx_probe.json").read_text())) == {"device", "tables"}


@needs_emulator
def test_no_device_ends_the_call_at_once(tmp_path):
    done = check(tmp_path, "first", FASTNN_EMULATOR_DEVICES="0")
    assert done.returncode == 1
    assert "CUDA cannot be used: FASTNN_EMULATOR_DEVICES asks for no device" in done.stdout
    assert "import failed: nothing after it can work" in done.stdout
    assert "---- probe" not in done.stdout


def library_of_another_build(path: Path) -> Path:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no compiler")
    source = path.with_suffix(".c")
    source.write_text("long long other[64] = {1}; void* fastnn_cuda_backend(char** why) { return other; }")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", path, source], check=True)
    return path


@needs_emulator
def test_a_library_of_another_build_ends_the_call_at_once(tmp_path):
    library = library_of_another_build(tmp_path / "other.so")
    done = check(tmp_path / "out", "second", FASTNN_CUDA_LIBRARY=str(library))
    assert done.returncode == 1
    assert f"{library} belongs to another build of fastnn" in done.stdout
    assert "---- sweep" not in done.stdout


@needs_emulator
def test_a_full_folder_is_told_and_rows_go_to_the_terminal(tmp_path):
    (tmp_path / "first.jsonl").symlink_to("/dev/full")
    done = check(tmp_path, "first", "--only", "probe")
    assert done.returncode == 1, done.stderr
    assert f"{tmp_path}/first.jsonl cannot be written: No space left on device; rows go to the" in done.stdout
    assert '{"phase":"probe","row":"experiments of mma","answered":3,"of":3}' in done.stdout
    assert "passed  probe" in done.stdout
    (tmp_path / "file").write_text("")
    done = check(tmp_path / "file" / "below", "first", "--only", "import")
    assert done.returncode == 1
    assert "cannot be written: Not a directory" in done.stdout


# ---- the tree that travels


@pytest.fixture
def lying(tmp_path, monkeypatch) -> Path:
    """A tree beside sources, with its stamp."""
    for path in (
        "csrc/a.cpp",
        "cuda/gemm/b.cu",
        "cuda/emulator/c.cpp",
        "python/fastnn/__init__.py",
        "CMakeLists.txt",
    ):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(path)
    monkeypatch.setattr(tree, "ROOT", tmp_path)
    place = tmp_path / "build" / "gpu-tree"
    place.mkdir(parents=True)
    (place / "stamp.json").write_text(json.dumps({"extension": tree.SUFFIX, "sources": tree.sources()}))
    return tmp_path


def test_a_tree_that_fits(lying):
    assert tree.checked().folder == lying / "build" / "gpu-tree"
    (lying / "cuda" / "emulator" / "c.cpp").write_text("another")  # is not in it
    tree.checked()


def test_a_tree_of_other_sources(lying):
    (lying / "cuda" / "gemm" / "b.cu").write_text("another")
    (lying / "csrc" / "new.cpp").write_text("")
    with pytest.raises(
        SystemExit, match=r"made from other sources \(csrc/new.cpp, cuda/gemm/b.cu\): `make gpu-tree`"
    ):
        tree.checked()


def test_a_tree_for_another_python(lying):
    (lying / "build" / "gpu-tree" / "stamp.json").write_text('{"extension": ".cpython-37.so", "sources": {}}')
    with pytest.raises(
        SystemExit, match=r"holds an extension .cpython-37.so; this Python takes .*PYTHON=python3"
    ):
        tree.checked()


def test_no_tree(lying):
    (lying / "build" / "gpu-tree" / "stamp.json").unlink()
    with pytest.raises(SystemExit, match=r"there is no tree in .*gpu-tree: `make gpu-tree`"):
        tree.checked()


def test_a_tree_that_was_carried_alone(lying, monkeypatch):
    monkeypatch.setattr(tree, "ROOT", lying / "build" / "gpu-tree")
    assert tree.checked().folder == lying / "build" / "gpu-tree"


# ---- what is said of rows that are there


@needs_cuda
def test_swept_rows_are_benchmarks():
    from bench.subjects import by_key

    keys = {*calls.VARIANT_ROWS, *(key for key, _ in (*profiler.KERNELS, *profiler.SMALL))}
    for dry in (False, True):
        keys |= {
            key for tile in ("", *calls.SIMT, *calls.MMA) for n in (1, 2) for key in calls.swept(tile, n, dry)
        }
    for key in keys:
        assert "fastnn" in by_key(key).sides
    assert calls.swept("64x256", 1, False) == [*calls.LARGE, *calls.SPLIT]
    assert not any("^3 tf32" in key for key in calls.swept("32x32", 2, False))


PAGE = """==PROF== Connected to process 1
"ID","Kernel Name","gpu__time_duration.sum","launch__registers_per_thread","dram__throughput.avg.pct_of_peak_sustained_elapsed"
"","","us","register/thread","%"
"0","product_kernel","1,234.5","128","33.1"
"""


def test_what_ncu_says():
    assert profiler.parsed(PAGE) == {"time": 1234.5, "unit": "us", "registers": 128.0, "dram_percent": 33.1}
    assert profiler.parsed("==PROF== No kernels were profiled.\n") == {}


def tool(path: Path, script: str) -> str:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


def asked(tmp_path: Path, **facts: str) -> Check:
    """A check in a phase of a minute."""
    output = Output(tmp_path / "out", "second")
    return Check(tree.Tree(None), output, True, "phase", time.monotonic() + 60, facts=facts)


def test_kernels_under_the_profiler(tmp_path):
    (tmp_path / "page").write_text(PAGE)
    check = asked(tmp_path, ncu=tool(tmp_path / "ncu", f'echo "$@" >>{tmp_path}/asked; cat {tmp_path}/page'))
    profiler.run(check)
    found = [row for row in rows(check.output.path) if row.get("phase") == "phase"]
    assert [row["registers"] for row in found] == [128.0] * len(profiler.SMALL)
    lines = (tmp_path / "asked").read_text().splitlines()
    assert "--clock-control none" in lines[0]
    assert lines[1].endswith("-m tools.gpu_check.once gpu-memory/add 0M")
    check.facts["ncu"] = tool(tmp_path / "ncu", "echo ERR_NVGPUCTRPERM >&2; exit 1")
    profiler.run(check)
    assert check.failures == len(profiler.SMALL)
    assert rows(check.output.path)[-1]["error"] == "exit status 1: ERR_NVGPUCTRPERM"


@needs_emulator
@pytest.mark.parametrize("finding", ["", "========= Invalid __global__ read of size 4 bytes"])
def test_tests_under_a_sanitizer(tmp_path, finding):
    """Which runs what comes after its options, and writes what it finds into a file per process."""
    script = f"""while [ "$1" != --log-file ]; do shift; done
echo "{finding}" >"$(echo "$2" | sed s/%p/$$/)"; shift 2; exec "$@" """
    check = asked(tmp_path, **{"compute-sanitizer": tool(tmp_path / "compute-sanitizer", script)})
    calls.sanitizer("memcheck").run(check)
    *_, tests, last = rows(check.output.path)
    assert tests["passed"] > 0
    assert tests["not_reached"] == 0
    assert last["row"] == "memcheck: findings"
    assert last.get("error") == (finding[10:] or None)
    assert sorted(p.name for p in check.output.folder.iterdir()) == ["sanitizer-memcheck.log", "second.jsonl"]


@needs_emulator
def test_a_variant_of_another_build_is_told_and_the_others_measured(tmp_path):
    check = asked(tmp_path)
    folder = tmp_path / "tree" / "variants" / "old"
    folder.mkdir(parents=True)
    library = library_of_another_build(folder / tree.BACKEND)
    found = tree.Tree(tmp_path / "tree").variants()
    assert found == {"old": library}
    calls.variants(check, found)
    usual, old = (
        [row for row in rows(check.output.path) if row.get("variant") == name] for name in ("", "old")
    )
    assert len(usual) == len(old) == 2
    assert all(row["median"] > 0 for row in usual)
    assert all(f"{library} belongs to another build of fastnn" in row["error"] for row in old)


@needs_emulator
def test_a_device_that_stays_lost_is_given_up(tmp_path):
    check = asked(tmp_path)
    with check.worker() as worker:
        errors = [worker.ask(task="end")["error"] for _ in range(5)]
    assert errors[:3] == ["the process ended"] * 3
    assert errors[3] == errors[4] == "the last 3 processes came to nothing: is there a device still?"
