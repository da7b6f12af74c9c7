"""All rows, in the order in which they are measured and printed."""

from __future__ import annotations

from . import conv, elementwise, gemm, gpu, kernels, nets, norm, overhead, reduce
from .rows import Row

ROWS: list[Row] = [
    row
    for subject in (gemm, conv, elementwise, reduce, norm, nets, overhead, kernels)
    for row in subject.ROWS
]
_BY_KEY = {row.key: row for row in [*ROWS, *gpu.ROWS]}
assert len(_BY_KEY) == len(ROWS) + len(gpu.ROWS), "two rows of one name"


def by_key(key: str) -> Row:
    return _BY_KEY[key]
