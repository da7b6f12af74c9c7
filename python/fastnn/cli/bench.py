"""Measure our kernels and whole training steps against NumPy, here and now, in half a minute."""

from __future__ import annotations

import argparse
import os

from .train import count

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--threads",
        type=count,
        default=len(os.sched_getaffinity(0)),
        help="of either library (default: all cores)",
    )


def run(args: argparse.Namespace) -> int:
    try:
        from fastnn._bench import quick
    except ImportError:
        raise ImportError(
            "the benchmark comes with the installed package; in a source tree run: python -m bench quick"
        ) from None
    return int(quick.run(args))
