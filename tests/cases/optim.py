"""Steps of optimisers, of one parameter; those of many are in test_optim.py. Their arguments are the parameter, its gradient
and the state; their results the parameter and the state afterwards."""

from __future__ import annotations

from typing import Any

import fastnn as fn
import numpy as np

from .case import LARGE, Arg, Case, normal, positive, torch

SHAPES = [(1,), (5, 7), (17,), (2, 3, 4), (0, 3), (3001,), LARGE]
STEP = 3  # of Adam: the third


def _sgd(w: Any, g: Any, m: Any) -> tuple[Any, ...]:
    w, m = w.clone(), m.clone()
    fn._C.sgd_step([w], [g], [m], 0.1, 0.9, 0.25, 0.01, False, False, False)
    return w, m


def _sgd_of_numpy(w: Any, g: Any, m: Any) -> tuple[Any, ...]:
    """v = momentum v + (1 - dampening) (g + weight_decay w); w -= lr v."""
    m = 0.9 * m + (1 - 0.25) * (g + 0.01 * w)
    return w - 0.1 * m, m


def _adam(w: Any, g: Any, m: Any, v: Any) -> tuple[Any, ...]:
    w, m, v = w.clone(), m.clone(), v.clone()
    fn._C.adam_step([w], [g], [m], [v], 0.01, 0.9, 0.999, 1e-8, 0.1, True, False, STEP)
    return w, m, v


def _adam_of(sqrt: Any, w: Any, g: Any, m: Any, v: Any) -> tuple[Any, ...]:
    """AdamW: weights shrink by themselves, and both means are corrected for having started at 0."""
    m, v = 0.9 * m + (1 - 0.9) * g, 0.999 * v + (1 - 0.999) * g * g
    step = (m / (1 - 0.9**STEP)) / (sqrt(v / (1 - 0.999**STEP)) + 1e-8)
    return w * (1 - 0.01 * 0.1) - 0.01 * step, m, v


def _state(*kinds: Any) -> list[tuple[Arg, ...]]:
    return [tuple(kind(*shape) for kind in kinds) for shape in SHAPES]


CASES = [
    Case("sgd_step", _sgd, _sgd_of_numpy, _sgd_of_numpy, _state(*[normal] * 3), spread=4, gradient=0),
    Case(
        "adam_step",
        _adam,
        lambda *state: _adam_of(np.sqrt, *state),
        lambda *state: _adam_of(torch.sqrt, *state),
        _state(*[normal] * 3, positive),
        spread=4,
        gradient=0,
    ),
]
