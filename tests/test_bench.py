"""The benchmark compares like with like, survives what it measures, and prints what it found."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
from bench import hunt, kernels, numpy_ops, peers, table
from bench.harness import quantile
from bench.process import Process
from bench.rows import Lib
from bench.subjects import ROWS, by_key
from bench.timing import Timer, fastest

AFFORDABLE = [row for row in ROWS if row.comparable and row.flops < 2e9 and row.bytes < 2.1e8]


def values(row, lib):
    """What the row returns, by every way of computing it; images all batch first."""
    calls = row.sides[lib.name](lib)
    for call in calls.values() if isinstance(calls, dict) else [calls]:
        result = call()
        if lib.name in ("fastnn", "torch"):
            yield np.asarray(result.detach())
        elif np.ndim(result) == 4 and not row.name.endswith("dW"):
            yield numpy_ops.batch_first(result)
        else:
            yield np.asarray(result)


@pytest.mark.parametrize("row", AFFORDABLE, ids=lambda row: row.key)
def test_libraries_compute_the_same(row):
    found = []
    for name in row.sides:
        if importlib.util.find_spec(name) and (name != "onnxruntime" or importlib.util.find_spec("onnx")):
            found += values(row, Lib(name, importlib.import_module(name)))
    first, *others = found
    every = slice(None, None, max(1, first.size // 100_000))  # a sample of large results
    tolerance = 1e-4 * float(np.abs(first).max())
    for other in others:
        assert other.shape == first.shape
        np.testing.assert_allclose(other.ravel()[every], first.ravel()[every], rtol=1e-3, atol=tolerance)


def test_work_of_known_rows():
    product = by_key("gemm/NN 64^3")
    assert product.flops == 2 * 64**3
    assert product.bytes == 3 * 4 * 64**2
    assert by_key("conv/N128 64->64 3x3 @32 forward").flops == 2 * 128 * 64 * 32**2 * 64 * 9
    assert by_key("conv/N32 depthwise 144 3x3 @56 forward").flops == 2 * 32 * 144 * 56**2 * 9
    # 1 -> 20 on 24 x 24, 20 -> 50 on 8 x 8, 800 -> 500 -> 10; three products each, but no dx of the images
    forward = np.array([576 * 20 * 25, 64 * 50 * 500, 800 * 500, 500 * 10]) * 2 * 128
    assert by_key("nets/LeNet batch 128 training step").flops == 3 * forward.sum() - forward[0]


@pytest.mark.skipif(kernels.library() is None, reason=f"{kernels.LIBRARY} is not built here")
@pytest.mark.parametrize("row", kernels.ROWS, ids=lambda row: row.key)
def test_kernels_run_without_python(row):
    row.sides["kernels"](Lib("kernels", kernels.Kernels(), 1)).run(1)


def test_timer_counts_calls_and_keeps_samples_long():
    calls = 0

    def call():
        nonlocal calls
        calls += 1

    timer = Timer(call)
    before = calls
    samples = timer.samples(0.01)
    assert timer.times > 100  # far below a microsecond each
    assert calls - before == 1 + timer.times * len(samples)


def test_fastest_of_several_ways_wins():
    name, _ = fastest({"slow": lambda: sum(range(100_000)), "quick": lambda: None})
    assert name == "quick"


def test_quantile():
    assert quantile(range(100), 0.95) == 95
    assert quantile([3.0], 0.95) == 3.0
    assert quantile([5, 1, 3], 0.5) == 3


def test_a_failing_row_does_not_end_the_worker():
    worker = Process("numpy", 1)
    try:
        assert worker.version.startswith(np.__version__)
        assert "KeyError" in worker.ask(prepare="no such row")["error"]
        assert worker.ask(prepare="gemm/NN 64^3")["seconds"] > 0
        assert min(worker.ask(time=0.001)["samples"]) > 0
        assert worker.process is not None
        worker.process.kill()
        assert "error" in worker.ask(time=0.001)
        assert worker.ask(prepare="gemm/NN 64^3")["seconds"] > 0  # started again
    finally:
        worker.stop()


def parts(result):
    return result if isinstance(result, tuple | list) else [result]


@pytest.mark.parametrize("family", hunt.FAMILIES)
def test_hunted_shapes_are_the_same_computation(family):
    libs = [
        Lib(name, importlib.import_module(name)) for name in hunt.LIBRARIES if importlib.util.find_spec(name)
    ]
    for name, sides in hunt.cases(family, seed=1, count=25):
        results = [sides[lib.name](lib)() for lib in libs if lib.name in sides]
        ours = [np.asarray(part.detach()) for part in parts(results[0])]
        for result in results[1:]:  # NumPy's largest values come without their places
            theirs = [
                np.asarray(part.detach() if hasattr(part, "detach") else part) for part in parts(result)
            ]
            for mine, other in zip(ours, theirs, strict=False):
                assert np.allclose(mine, other, rtol=1e-3, atol=2e-3, equal_nan=True), name
    again = [name for name, _ in hunt.cases(family, seed=1, count=25)]
    assert again == [name for name, _ in hunt.cases(family, seed=1, count=25)]
    assert again != [name for name, _ in hunt.cases(family, seed=2, count=25)]


def test_peers_run_without_pins(monkeypatch):
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Nehalem")
    monkeypatch.setenv("MKL_DEBUG_CPU_TYPE", "5")
    assert "OPENBLAS_CORETYPE" not in peers.environment(1)
    assert peers.environment(3)["OMP_NUM_THREADS"] == "3"
    assert "MKL_DEBUG_CPU_TYPE" not in peers.environment(0)


def test_a_library_that_does_not_start_is_an_error_of_its_rows():
    worker = Process("no_such_library", 1)
    assert "does not start" in worker.ask(prepare="gemm/NN 64^3")["error"]


def report(fastnn, numpy, torch, flops=0.0, bytes=0.0):
    results = {
        name: {"median": seconds, "p95": 2 * seconds, "way": ""}
        for name, seconds in zip(("fastnn", "numpy", "torch"), (fastnn, numpy, torch), strict=True)
        if seconds
    }
    row = {"subject": "gemm", "name": "a row", "threads": 2, "headline": "a headline", "results": results}
    return {
        "machine": {
            "cpu": "a processor", "isa": "AVX2", "cores": 2, "commit": "abc", "versions": {"numpy": "2.4"},
            "caches": {"L1": "32K"}, "memory_gib": 8, "system": "Linux", "python": "3.12",
        },
        "date": "2026-01-01", "minutes": 1, "probes": {"import_seconds": {"fastnn": 0.02, "torch": 1.5}},
        "ceilings": {"2": {"flops": 100e9, "bytes": 20e9}},
        "rows": [{**row, "flops": flops, "bytes": bytes}],
    }  # fmt: skip


def test_ratio_is_to_the_faster_peer_and_share_to_the_tighter_ceiling():
    found = report(1e-3, 4e-3, 2e-3, flops=50e6, bytes=10e6)
    assert table.ratio_to_best_peer(found["rows"][0]) == 2
    assert table.share_of_ceiling(found["rows"][0], found) == pytest.approx(0.5)  # both: 0.5 ms of 1 ms
    found = report(1e-3, 4e-3, None, flops=50e6, bytes=16e6)
    assert table.ratio_to_best_peer(found["rows"][0]) == 4
    assert table.share_of_ceiling(found["rows"][0], found) == pytest.approx(0.8)
    assert table.share_of_ceiling(report(1e-3, None, None, bytes=1e3)["rows"][0], found) is None  # in cache
    assert table.ratio_to_best_peer(report(None, 1.0, 1.0)["rows"][0]) is None


def test_durations_have_three_digits():
    texts = [table.duration(seconds) for seconds in (1.5, 0.0123456, 1e-3, 2.5e-6, 3.21e-7)]
    assert texts == ["1.50 s", "12.3 ms", "1.00 ms", "2.50 µs", "321 ns"]
    assert table.digits(1234.5) == "1234"


def test_documents_are_rewritten_between_the_markers_alone(tmp_path):
    page = tmp_path / "page.md"
    blocks = ["<!-- bench:headlines -->", "old", "<!-- /bench -->", "<!-- bench:gemm -->", "<!-- /bench -->"]
    page.write_text("\n".join(["before", *blocks, "after"]))
    found = report(1e-3, 0.5e-3, 2e-3, flops=50e6)
    assert table.update(page, found)
    text = page.read_text()
    assert text.startswith("before\n<!-- bench:headlines -->\n\na processor")
    assert "old" not in text
    assert "| a headline | 1.00 ms | 500 µs | 2.00 ms | – | **0.500x** | 50 % |" in text  # a loss stands out
    assert "| import, over `import numpy` | 20.0 ms | – | 1.50 s | – | 75.0x | – |" in text
    assert "| a row | 2 | 1.00 ms [2.00 ms] | 50.0 GFLOP/s | 50 % |" in text
    assert not table.update(page, found)


def test_summary_lists_the_losses():
    found = report(1e-3, 0.5e-3, 2e-3)
    won = report(1e-3, 3e-3, 2e-3)["rows"][0]
    found["rows"] += [{**won, "name": "another"}, {**won, "name": "a third", "results": {}}]
    assert table.summary(found) == (
        "- 2 threads: fastnn is ahead of the fastest peer in 1 of 2 rows; the median ratio is 1.25.\n"
        "  Behind: gemm: a row (0.500).\n"
    )


def test_kernels_beside_the_way_through_python():
    found = report(3e-6, None, None)
    found["rows"][0]["subject"] = "kernels"
    found["rows"][0]["results"]["kernels"] = {"median": 2e-6, "p95": 2e-6, "way": ""}
    line = table.kernels(found).splitlines()[-1]
    assert line.startswith("| a row | 2 | 2.00 µs [2.00 µs] | 3.00 µs [")
    assert line.endswith("| 1.00 µs | 50 % |")
