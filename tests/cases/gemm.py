"""Products of matrices, and layers that are one."""

from __future__ import annotations

import fastnn as fn
import fastnn.nn.functional as F
import numpy as np

from .case import TF, Arg, Case, normal, torch

PRODUCTS = [
    ((2, 3), (3, 4)),
    ((1, 7), (7, 1)),
    ((5, 1), (1, 5)),
    ((3,), (3,)),
    ((4, 3), (3,)),
    ((3,), (3, 4)),
    ((2, 3, 4), (4, 2)),
    ((2, 3, 4), (2, 4, 3)),
    ((2, 1, 3, 2), (3, 2, 2)),
    ((0, 3), (3, 2)),
    ((3, 0), (0, 2)),
    ((15, 17), (17, 31)),
    ((33, 65), (65, 129)),
    ((6, 257), (257, 16)),
    ((1, 513), (513, 67)),
    ((301, 211), (211, 307)),
]


def _linear(*sizes: tuple[tuple[int, ...], int, int]) -> list[tuple[Arg, ...]]:
    """x (..., in), w (out, in), bias (out)."""
    return [(normal(*x), normal(out, n), normal(out)) for x, n, out in sizes]


LAYERS = _linear(
    ((3, 4), 4, 2),
    ((4,), 4, 3),
    ((2, 3, 4), 4, 5),
    ((0, 3), 3, 2),
    ((1, 17), 17, 9),
    ((33, 65), 65, 31),
    ((129, 211), 211, 257),
)

CASES = [
    Case(
        "matmul",
        fn.matmul,
        np.matmul,
        torch.matmul,
        [(normal(*a), normal(*b)) for a, b in PRODUCTS],
        spread=16,
        transposable=False,
    ),
    Case(
        "matmul of transposed",
        lambda a, b: a.mT @ b.mT,
        lambda a, b: a.swapaxes(-1, -2) @ b.swapaxes(-1, -2),
        lambda a, b: a.mT @ b.mT,
        [
            (normal(*a), normal(*b))
            for a, b in [
                ((3, 2), (4, 3)),
                ((2, 4, 3), (2, 3, 4)),
                ((17, 15), (31, 17)),
                ((257, 129), (65, 257)),
            ]
        ],
        spread=16,
        transposable=False,
    ),
    Case("linear", F.linear, lambda x, w, b: x @ w.T + b, TF.linear, LAYERS, spread=16, transposable=False),
    Case(
        "linear without bias",
        F.linear,
        lambda x, w: x @ w.T,
        TF.linear,
        [args[:2] for args in LAYERS],
        spread=16,
        transposable=False,
    ),
    Case(
        "linear and relu",
        lambda *a: fn._C.linear(*a, activation="relu"),
        lambda x, w, b: np.maximum(x @ w.T + b, 0),
        lambda *a: torch.relu(TF.linear(*a)),
        LAYERS,
        spread=16,
        transposable=False,
    ),
]
