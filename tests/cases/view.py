"""Views, and copies that join tensors."""

from __future__ import annotations

import math

import fastnn as fn
import numpy as np

from .case import LARGE, Case, normal, torch, unary

MATRICES = [(normal(*s),) for s in [(5, 7), (1, 9), (0, 3), (129, 65), LARGE]]

CASES = [
    Case(
        "reshape",
        lambda x: x.reshape(-1),
        lambda x: x.reshape(-1),
        lambda x: x.reshape(-1),
        unary(normal),
        exact=True,
        threaded=False,
    ),
    Case(
        "reshape of transposed",
        lambda x: x.T.reshape(-1),
        lambda x: x.T.reshape(-1),
        lambda x: x.T.reshape(-1),
        MATRICES,
        exact=True,
    ),
    Case(
        "permute",
        lambda x: x.permute(2, 0, 1),
        lambda x: x.transpose(2, 0, 1),
        lambda x: x.permute(2, 0, 1),
        [(normal(*s),) for s in [(2, 3, 4), (1, 5, 1), (0, 2, 3), (17, 9, 33)]],
        exact=True,
        threaded=False,
    ),
    Case(
        "expand",
        lambda x: x.expand(3, -1, 4),
        lambda x: np.broadcast_to(x, (3, len(x), 4)),
        lambda x: x.expand(3, -1, 4),
        [(normal(*s),) for s in [(5, 1), (1, 1), (0, 1), (3001, 1)]],
        exact=True,
        threaded=False,
    ),
    Case(
        "squeeze, unsqueeze",
        lambda x: x.unsqueeze(1).unsqueeze(-1).squeeze(1),
        lambda x: x[..., None],
        lambda x: x.unsqueeze(1).unsqueeze(-1).squeeze(1),
        MATRICES,
        exact=True,
        threaded=False,
    ),
    Case(
        "flatten",
        lambda x: x.flatten(1),
        lambda x: x.reshape(len(x), math.prod(x.shape[1:])),
        lambda x: x.flatten(1),
        [(normal(*s),) for s in [(2, 3, 4), (2, 3), (0, 2, 3), (33, 5, 7, 3)]],
        exact=True,
        threaded=False,
    ),
    Case(
        "slice",
        lambda x: x[1:, ::2] * x[:-1, :1],
        lambda x: x[1:, ::2] * x[:-1, :1],
        lambda x: x[1:, ::2] * x[:-1, :1],
        MATRICES[:2] + MATRICES[3:],
        error=0.5,
    ),
    Case(
        "select",
        lambda x: x[2] + x[-1, 3],
        lambda x: x[2] + x[-1, 3],
        lambda x: x[2] + x[-1, 3],
        [(normal(*s),) for s in [(5, 7), (3, 4, 2), LARGE]],
        error=0.5,
    ),
    Case(
        "narrow",
        lambda x: fn.narrow(x, 1, 2, 4),
        lambda x: x[:, 2:6],
        lambda x: torch.narrow(x, 1, 2, 4),
        [(normal(*s),) for s in [(5, 7), (0, 6), (2, 6, 3), (129, 65)]],
        exact=True,
        threaded=False,
    ),
    Case(
        "cat",
        lambda a, b: fn.cat([a, b, a], 1),
        lambda a, b: np.concatenate([a, b, a], 1),
        lambda a, b: torch.cat([a, b, a], 1),
        [
            (normal(*a), normal(*b))
            for a, b in [
                ((3, 2), (3, 5)),
                ((3, 0), (3, 5)),
                ((2, 3, 2), (2, 1, 2)),
                ((65, 129), (65, 3)),
                ((301, 1009), (301, 511)),
            ]
        ],
        exact=True,
    ),
    Case(
        "stack",
        lambda a, b: fn.stack([a, b], 1),
        lambda a, b: np.stack([a, b], 1),
        lambda a, b: torch.stack([a, b], 1),
        [(normal(*s), normal(*s)) for s in [(3,), (3, 4), (0, 3), (2, 3, 4), (301, 1009)]],
        exact=True,
    ),
]
