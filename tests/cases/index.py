"""Reading and writing by index."""

from __future__ import annotations

from typing import Any

import fastnn as fn
import numpy as np

from .case import Case, indices, masks, normal, torch


def _assigned(x: Any, i: Any) -> Any:
    y = x * 1
    y[i] = 2.5
    return y


CASES = [
    Case(
        "rows by index",
        lambda x, i: x[i],
        lambda x, i: x[i],
        lambda x, i: x[i],
        [
            (normal(n, *s), indices(n, *i))
            for n, s, i in [(5, (3,), (4,)), (6, (), (2, 3)), (4, (2, 3), (0,)), (301, (257,), (1031,))]
        ],
        exact=True,
    ),
    Case(
        "columns by index",
        lambda x, i: x[:, i],
        lambda x, i: x[:, i],
        lambda x, i: x[:, i],
        [
            (normal(3, 5), indices(5, 4)),
            (normal(2, 4, 3), indices(4, 2, 2)),
            (normal(257, 301), indices(301, 519)),
        ],
        exact=True,
    ),
    Case(
        "pairs of indices",
        lambda x, i, j: x[i, :, j],
        lambda x, i, j: x[i, :, j],
        lambda x, i, j: x[i, :, j],
        [
            (normal(3, 2, 4), indices(3, 5), indices(4, 5)),
            (normal(31, 7, 17), indices(31, 2, 3), indices(17, 3)),
        ],
        exact=True,
        threaded=False,
    ),
    Case(
        "gather",
        lambda x, i: fn.gather(x, 1, i),
        lambda x, i: np.take_along_axis(x, i, 1),
        lambda x, i: torch.gather(x, 1, i),
        [
            (normal(3, 5), indices(5, 3, 4)),
            (normal(2, 4, 3), indices(4, 2, 6, 3)),
            (normal(301, 257), indices(257, 301, 129)),
        ],
        exact=True,
    ),
    Case(
        "where a mask holds",
        lambda x, m: x[m],
        lambda x, m: x[m],
        lambda x, m: x[m],
        [
            (normal(5, 7), masks(5, 7)),
            (normal(3, 2, 4), masks(3, 2)),
            (normal(0, 3), masks(0, 3)),
            (normal(129, 65), masks(129, 65)),
        ],
        exact=True,
        threaded=False,
    ),
    Case(
        "assigned by index",
        _assigned,
        _assigned,
        _assigned,
        [
            (normal(5), indices(5, 3)),
            (normal(3, 2, 2), indices(3, 0)),
            (normal(1009, 37), indices(1009, 20011)),
        ],
        exact=True,
    ),
]
