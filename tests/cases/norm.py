"""Normalisation by mean and variance."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import fastnn as fn
import fastnn.nn.functional as F
import numpy as np

from .case import TF, Arg, Case, nonzero, normal, positive


def _over(x: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """(x - mean) / sqrt(variance + eps) over the axes."""
    d = x - x.mean(axes, keepdims=True)
    return d / np.sqrt((d * d).mean(axes, keepdims=True) + 1e-5)


def _layer_norm(
    x: np.ndarray, w: np.ndarray | float = 1.0, b: np.ndarray | float = 0.0, dims: int = 1
) -> np.ndarray:
    return _over(x, tuple(range(-dims, 0))) * w + b


def _batch_norm(x: np.ndarray, w: np.ndarray, b: np.ndarray) -> np.ndarray:
    shape = (-1,) + (1,) * (x.ndim - 2)
    return _over(x, (0, *range(2, x.ndim))) * w.reshape(shape) + b.reshape(shape)


def _normalized_by(
    x: np.ndarray, mean: np.ndarray, variance: np.ndarray, w: np.ndarray, b: np.ndarray
) -> np.ndarray:
    mean, variance, w, b = (v.reshape(-1, *(1,) * (x.ndim - 2)) for v in (mean, variance, w, b))
    return (x - mean) / np.sqrt(variance + 1e-5) * w + b


ROWS = [(2, 5), (2, 3, 4), (1, 9), (5, 16), (7, 17), (33, 31), (3, 130), (2, 1023), (40, 3001), (301, 1031)]

CHANNELS = [
    (6, 2),
    (3, 2, 3),
    (2, 3, 2, 2),
    (5, 17),
    (33, 35),
    (70, 9),
    (2, 3, 130),
    (9, 3, 4, 4),
    (3, 5, 7, 9),
    (2, 1, 31, 33),
    (131, 301),
    (5, 40, 57, 58),
]


def _norm(name: str, call: Any, numpy: Any, torch: Any, inputs: list[tuple[Arg, ...]]) -> Case:
    return Case(name, call, numpy, torch, inputs, error=16, spread=8)


CASES = [
    _norm(
        "layer_norm",
        lambda x, w, b: F.layer_norm(x, w.shape, w, b),
        _layer_norm,
        lambda x, w, b: TF.layer_norm(x, w.shape, w, b),
        [(normal(*s), normal(s[-1]), normal(s[-1])) for s in ROWS],
    ),
    _norm(
        "layer_norm over two dimensions",
        lambda x, w: F.layer_norm(x, w.shape, w),
        lambda x, w: _layer_norm(x, w, dims=2),
        lambda x, w: TF.layer_norm(x, w.shape, w),
        [(normal(*s), normal(*s[-2:])) for s in [(2, 3, 4), (5, 2, 3, 3), (3, 17, 5), (31, 57, 58)]],
    ),
    _norm(
        "layer_norm plain",
        lambda x: F.layer_norm(x, x.shape[-1]),
        _layer_norm,
        lambda x: TF.layer_norm(x, x.shape[-1:]),
        [(normal(*s),) for s in ROWS],
    ),
    _norm(
        "batch_norm",
        lambda x, w, b: F.batch_norm(x, None, None, w, b, True),
        _batch_norm,
        lambda x, w, b: TF.batch_norm(x, None, None, w, b, True),
        [(normal(*s), normal(s[1]), normal(s[1])) for s in CHANNELS],
    ),
    _norm(
        "batch_norm with relu",
        lambda x, w, b: fn._C.batch_norm(x, None, None, w, b, True, activation="relu"),
        lambda x, w, b: np.maximum(_batch_norm(x, w, b), 0),
        lambda x, w, b: TF.relu(TF.batch_norm(x, None, None, w, b, True)),
        [(normal(*s), nonzero(s[1]), normal(s[1])) for s in CHANNELS],
    ),
    _norm(
        "batch_norm plain",
        lambda x: F.batch_norm(x, None, None, training=True),
        lambda x: _over(x, (0, *range(2, x.ndim))),
        lambda x: TF.batch_norm(x, None, None, training=True),
        [(normal(*s),) for s in CHANNELS],
    ),
    *[
        _norm(
            f"batch_norm of running statistics{' with relu' * relu}",
            lambda x, m, v, w, b, a=("relu" if relu else "none"): fn._C.batch_norm(
                x, m, v, w, b, activation=a
            ),
            (lambda *a: np.maximum(_normalized_by(*a), 0)) if relu else _normalized_by,
            (lambda *a: TF.relu(TF.batch_norm(*a))) if relu else TF.batch_norm,
            [
                (
                    normal(*s),
                    *(replace(kind(s[1]), differentiable=False) for kind in (normal, positive)),
                    nonzero(s[1]),
                    normal(s[1]),
                )
                for s in CHANNELS
            ],
        )
        for relu in (False, True)
    ],
]
