"""`fastnn bench`: our kernels and whole training steps against NumPy, here and now, in half a minute."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from . import machine
from .harness import Harness, Settings
from .subjects import by_key
from .table import digits, duration, ratio_to_best_peer, share_of_ceiling

ROWS = {
    "gemm/NN 64^3": "matrix product 64^3",
    "gemm/NN 256^3": "matrix product 256^3",
    "gemm/NN 1024^3": "matrix product 1024^3",
    "gemm/TN 1024x1024x64, a weight gradient": "weight gradient 1024x1024, batch 64",
    "gemm/A x 4096^2": "matrix times vector, 4096^2",
    "conv/N64 20->50 5x5 @12 forward": "convolution 20->50 5x5 @12, batch 64",
    "conv/N128 64->64 3x3 @32 forward": "convolution 64->64 3x3 @32, batch 128",
    "conv/N128 64->64 3x3 @32 dW": "its weight gradient",
    "conv/max-pool 2x2 N32 C64 @56 forward": "max-pool 2x2, 32x64x56x56",
    "elementwise/add 16M": "add, 16M elements",
    "elementwise/exp 16M": "exp, 16M elements",
    "elementwise/tanh 16M": "tanh, 16M elements",
    "elementwise/dropout 4M": "dropout, 4M elements",
    "elementwise/Adam 10M parameters": "Adam step, 10M parameters",
    "reduce/sum all, 4096x4096": "sum, 4096x4096",
    "reduce/softmax 4096x1000": "softmax, 4096x1000",
    "nets/MLP 2-16-2 batch 32 training step": "MLP 2-16-2 training step, batch 32",
    "nets/MLP 784-256-10 batch 128 training step": "MLP 784-256-10 training step, batch 128",
    "nets/LeNet batch 128 training step": "LeNet training step, batch 128",
    "nets/LeNet batch 1 inference": "LeNet inference, one image",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--threads", type=_positive, default=machine.cores(), help="of either library (default: %(default)s)"
    )


def _positive(text: str) -> int:
    if (value := int(text)) < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser("fastnn bench", description=__doc__)
    add_arguments(parser)
    return run(parser.parse_args(argv))


def run(options: argparse.Namespace) -> int:
    """Prints the table; exit code 0, or 1 if a row failed."""
    threads = options.threads
    print(f"fastnn against NumPy, {threads} threads each, float32, medians of interleaved rounds\n")
    harness = Harness(("fastnn", "numpy"), (threads,), Settings(rounds=3, seconds=0.04), quiet=True)
    try:
        return _run(harness, threads)
    finally:
        harness.stop()


def _run(harness: Harness, threads: int) -> int:
    harness.measure_ceilings()
    report = harness.report([], {}, 0)
    ceiling = report["ceilings"][str(threads)]
    line = "{:42} {:>10} {:>10} {:>9} {:>16} {:>11}"
    print(line.format("", "fastnn", "NumPy", "speed-up", "rate", "of ceiling"))
    failed = 0
    for key, title in ROWS.items():
        row = by_key(key)
        results = harness.measure(row, threads)
        record = {"threads": threads, "flops": row.flops, "bytes": row.bytes, "results": results}
        errors = [f"{name}: {found['error']}" for name, found in results.items() if "error" in found]
        if errors:
            print(f"{title:42} {'; '.join(errors)}", flush=True)
            failed = 1
            continue
        ours, theirs = (results[name]["median"] for name in ("fastnn", "numpy"))
        work, unit = (row.flops, "GFLOP/s") if row.flops else (row.bytes, "GB/s")
        share = share_of_ceiling(record, report)
        cells = [duration(ours), duration(theirs), f"{digits(ratio_to_best_peer(record) or 0)}x"]
        cells += [f"{digits(work / ours / 1e9)} {unit}", "" if share is None else f"{100 * share:.0f} %"]
        print(line.format(title, *cells), flush=True)
    flops = ceiling["flops"]
    arithmetic = f"{digits(flops / 1e9)} GFLOP/s" if flops else "arithmetic not measured (no compiler)"
    print(f"\nceilings of this machine: {arithmetic}, memory copy {digits(ceiling['bytes'] / 1e9)} GB/s")
    return failed


if __name__ == "__main__":
    sys.exit(main())
