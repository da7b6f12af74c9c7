"""What draws random numbers."""

from __future__ import annotations

import fastnn as fn
import fastnn.nn.functional as F

from .case import Case, nonzero, unary


def _dropout(x: fn.Tensor) -> fn.Tensor:
    fn.manual_seed(4)
    return F.dropout(x, 0.3)


CASES = [
    Case("dropout", _dropout, None, None, unary(nonzero)),
]
