"""All rows, in the order in which they are measured and printed."""

from __future__ import annotations

from . import conv, elementwise, gemm, gpu_rows, kernels, nets, norm, overhead, reduce
from .rows import Row

ROWS: list[Row] = [
    row
    for subject in (gemm, conv, elementwise, reduce, norm, nets, overhead, kernels)
    for row in subject.ROWS
]
_ALL = [*ROWS, *gpu_rows.ROWS, *gpu_rows.SMALL]
_BY_KEY = {row.key: row for row in _ALL}
assert len(_BY_KEY) == len(_ALL), "two rows of one name"


def by_key(key: str) -> Row:
    return _BY_KEY[key]
