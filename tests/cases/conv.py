"""Convolution."""

from __future__ import annotations

from typing import Any

import fastnn.nn.functional as F
import numpy as np

from .case import TF, Arg, Case, normal


def _conv2d(
    x: np.ndarray,
    w: np.ndarray,
    b: np.ndarray,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
    groups: int = 1,
):
    """(N, C, H, W) and (K, C / groups, R, S) to (N, K, P, Q), by windows."""
    x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    k, _, r, s = w.shape
    windows = np.lib.stride_tricks.sliding_window_view(
        x, ((r - 1) * dilation + 1, (s - 1) * dilation + 1), (2, 3)
    )
    windows = windows[:, :, ::stride, ::stride, ::dilation, ::dilation]
    parts = zip(np.split(windows, groups, 1), np.split(w, groups), strict=True)
    return np.concatenate([np.einsum("ncpqrs,kcrs->nkpq", x, w) for x, w in parts], 1) + b.reshape(k, 1, 1)


def _images(*sizes: tuple[tuple[int, ...], tuple[int, ...]]) -> list[tuple[Arg, ...]]:
    return [(normal(*x), normal(*w), normal(w[0])) for x, w in sizes]


def conv(name: str, sizes: list[tuple[Arg, ...]], **options: Any) -> Case:
    return Case(
        name,
        lambda x, w, b: F.conv2d(x, w, b, **options),
        lambda x, w, b: _conv2d(x, w, b, **options),
        lambda x, w, b: TF.conv2d(x, w, b, **options),
        sizes,
        spread=16,
    )


PLAIN = [
    ((1, 1, 4, 3), (2, 1, 2, 2)),
    ((0, 2, 4, 4), (3, 2, 3, 3)),
    ((2, 3, 9, 17), (5, 3, 3, 3)),
    ((1, 17, 7, 8), (33, 17, 1, 1)),
    ((9, 8, 28, 29), (20, 8, 5, 5)),
]

CASES = [
    conv("conv2d", _images(*PLAIN)),
    conv("conv2d padded", _images(*PLAIN), padding=2),
    conv("conv2d strided", _images(*PLAIN), stride=2, padding=1),
    conv(
        "conv2d dilated",
        _images(((1, 1, 4, 5), (1, 1, 2, 2)), ((2, 3, 9, 17), (5, 3, 3, 3)), ((9, 8, 28, 29), (20, 8, 5, 5))),
        dilation=2,
        padding=1,
    ),
    conv(
        "conv2d in groups",
        _images(((1, 2, 3, 3), (2, 1, 2, 2)), ((2, 6, 9, 17), (4, 3, 3, 3)), ((9, 8, 28, 29), (20, 4, 5, 5))),
        groups=2,
    ),
    conv(
        "conv2d depthwise",
        _images(((1, 3, 3, 3), (3, 1, 2, 2)), ((17, 3, 57, 58), (6, 1, 3, 3))),
        padding=1,
        groups=3,
    ),
]
