"""Pooling."""

from __future__ import annotations

from collections.abc import Callable

import fastnn as fn
import fastnn.nn.functional as F
import numpy as np

from .case import TF, Case, distinct, normal


def _pooled(
    f: Callable[..., np.ndarray], kernel: int, stride: int, padding: int, fill: float
) -> Callable[[np.ndarray], np.ndarray]:
    def pool(x: np.ndarray) -> np.ndarray:
        x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)), constant_values=fill)
        windows = np.lib.stride_tricks.sliding_window_view(x, (kernel, kernel), (2, 3))
        return f(windows[:, :, ::stride, ::stride], (-2, -1))

    return pool


PLANES = [
    (1, 1, 4, 4),
    (1, 2, 5, 6),
    (2, 3, 9, 17),
    (1, 2, 8, 64),
    (3, 2, 7, 35),
    (0, 2, 4, 4),
    (9, 7, 56, 57),
]

CASES = [
    *[
        case
        for kernel, stride, padding in [(2, 2, 0), (3, 2, 1), (3, 1, 1), (2, 3, 0)]
        for case in (
            Case(
                f"max_pool2d {kernel} {stride} {padding}",
                lambda x, a=(kernel, stride, padding): F.max_pool2d(x, *a),
                _pooled(np.max, kernel, stride, padding, -np.inf),
                lambda x, a=(kernel, stride, padding): TF.max_pool2d(x, *a),
                [(distinct(*s),) for s in PLANES],
                exact=True,
            ),
            Case(
                f"avg_pool2d {kernel} {stride} {padding}",
                lambda x, a=(kernel, stride, padding): F.avg_pool2d(x, *a),
                _pooled(np.mean, kernel, stride, padding, 0),
                lambda x, a=(kernel, stride, padding): TF.avg_pool2d(x, *a),
                [(normal(*s),) for s in PLANES],
                spread=4,
            ),
        )
    ],
    Case(
        "max_pool2d dilated",
        lambda x: fn._C.max_pool2d(x, 2, 1, 0, 2),
        lambda x: np.maximum(
            np.maximum(x[..., :-2, :-2], x[..., :-2, 2:]), np.maximum(x[..., 2:, :-2], x[..., 2:, 2:])
        ),
        lambda x: TF.max_pool2d(x, 2, 1, 0, 2),
        [(distinct(*s),) for s in PLANES],
        exact=True,
    ),
]
