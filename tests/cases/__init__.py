"""The op table. A row per op drives the tests of test_ops.py and test_cuda_ops.py: forward and gradients against NumPy,
PyTorch and finite differences, layouts, alignments, threads, instruction sets, special values, schedules on a GPU.

A file per family, named as its folder in csrc/ops, holds the rows as ``CASES``. An elementwise op that the extension
describes by itself (rows.py) needs its domain in elementwise.py and no more; any other op needs a Case in its family's
file: its name, the call on fastnn tensors, the same in NumPy (on float64 arrays) and in PyTorch, and its inputs, a list
of tuples of arguments (case.py).
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from .case import Arg, Case

__all__ = ["CASES", "FAMILIES", "Arg", "Case"]

_PARTS = {"__init__", "case", "rows"}  # what rows are made of
FAMILIES = sorted({path.stem for path in Path(__file__).parent.glob("*.py")} - _PARTS)
CASES: list[Case] = [case for family in FAMILIES for case in import_module(f".{family}", __name__).CASES]
