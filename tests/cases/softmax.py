"""Softmax and the losses."""

from __future__ import annotations

import fastnn as fn
import fastnn.nn.functional as F
import numpy as np

from .case import TF, Case, indices, normal

LOGITS = [
    (normal(*s),)
    for s in [
        (2, 3),
        (5, 10),
        (1, 1),
        (0, 4),
        (2, 3, 4),
        (3, 16),
        (3, 17),
        (5, 1000),
        (3, 5, 70),
        (301, 100, 7),
    ]
]

LABELLED = [
    (normal(n, c), indices(c, n)) for n, c in [(2, 3), (7, 10), (1, 1), (33, 17), (5, 1000), (4001, 10)]
]


def _softmax(x: np.ndarray, dim: int) -> np.ndarray:
    e = np.exp(x - x.max(dim, keepdims=True, initial=-np.inf))
    return e / e.sum(dim, keepdims=True)


def _cross_entropy(x: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return -np.log(np.take_along_axis(_softmax(x, 1), labels[:, None], 1)).mean()


def _losses(x: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return -np.log(np.take_along_axis(_softmax(x, 1), labels[:, None], 1))[:, 0]


CASES = [
    *[
        Case(
            f"softmax {dim}",
            lambda x, d=dim: F.softmax(x, d),
            lambda x, d=dim: _softmax(x, d),
            lambda x, d=dim: TF.softmax(x, d),
            LOGITS,
            error=16,
            spread=2,
        )
        for dim in (0, 1, -1)
    ],
    *[
        Case(
            f"log_softmax {dim}",
            lambda x, d=dim: F.log_softmax(x, d),
            lambda x, d=dim: np.log(_softmax(x, d)),
            lambda x, d=dim: TF.log_softmax(x, d),
            LOGITS,
            error=16,
            spread=2,
        )
        for dim in (0, 1, -1)
    ],
    Case("cross_entropy", F.cross_entropy, _cross_entropy, TF.cross_entropy, LABELLED, error=16, spread=4),
    Case(
        "cross_entropy smoothed",
        lambda x, t: fn._C.cross_entropy(x, t, label_smoothing=0.2),
        lambda x, t: 0.8 * _cross_entropy(x, t) - 0.2 * np.log(_softmax(x, 1)).mean(),
        lambda x, t: TF.cross_entropy(x, t, label_smoothing=0.2),
        LABELLED,
        error=16,
        spread=4,
    ),
    Case(
        "mse_loss",
        F.mse_loss,
        lambda a, b: ((a - b) ** 2).mean(),
        TF.mse_loss,
        [(normal(*s), normal(*s)) for s in [(2, 3), (5, 7), (1,), (17, 33), (301, 1031)]],
        error=16,
        spread=4,
    ),
    Case(
        "cross_entropy without a class",
        lambda x, t: F.cross_entropy(x, t, ignore_index=0, reduction="sum"),
        lambda x, t: (_losses(x, t) * (t != 0)).sum(),
        lambda x, t: TF.cross_entropy(x, t, ignore_index=0, reduction="sum"),
        LABELLED,
        error=32,
    ),
    Case(
        "cross_entropy of each",
        lambda x, t: F.cross_entropy(x, t, reduction="none"),
        _losses,
        lambda x, t: TF.cross_entropy(x, t, reduction="none"),
        LABELLED,
        error=16,
        spread=4,
    ),
    Case(
        "nll_loss",
        F.nll_loss,
        lambda x, t: -np.take_along_axis(x, t[:, None], 1).mean(),
        TF.nll_loss,
        LABELLED,
        error=16,
        spread=16,
        threaded=False,
    ),
]
