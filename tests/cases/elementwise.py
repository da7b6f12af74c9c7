"""Elementwise ops: where each of those that the extension describes is tried, and what is made of them."""

from __future__ import annotations

import math
from functools import partial

import fastnn as fn
import numpy as np

from .case import (
    LARGE,
    TF,
    UNSIGNED,
    Arg,
    Case,
    between,
    binary,
    distinct,
    masks,
    nonzero,
    normal,
    positive,
    torch,
    unary,
    whole,
)
from .rows import domain, row_cases


def _sigmoid(x: np.ndarray) -> np.ndarray:
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1, e) / (1 + e)


def _erf(x: np.ndarray) -> np.ndarray:
    """In long double by its series near 0, and by its complement, of which double has digits enough."""
    if x.dtype != np.longdouble:
        return np.vectorize(math.erf, otypes=[float])(x)
    size = np.minimum(np.abs(np.where(np.isnan(x), 0, x)), np.longdouble(30))
    term = total = np.where(size < 3, size, 0)
    for n in range(1, 90):
        term = -term * np.where(size < 3, size, 0) ** 2 / n
        total = total + term / (2 * n + 1)
    series = total * 2 / np.sqrt(4 * np.arctan(np.longdouble(1)))
    far = 1 - np.vectorize(math.erfc, otypes=[float])(size.astype(float)).astype(x.dtype)
    return np.where(np.isnan(x), x, np.copysign(np.where(size < 1, series, far), x))


def _normal_cdf(x: np.ndarray) -> np.ndarray:
    """P(X <= x) of a standard normal variable X, in x's type: by a series near 0, a continued fraction far from it
    (Abramowitz and Stegun 26.2.10 and 26.2.14)."""
    root = np.sqrt(8 * np.arctan(np.ones((), x.dtype)))  # of 2 pi
    size = np.abs(x)
    tail = np.where(np.isnan(x), x, np.zeros_like(x))  # P(X > size)
    near = size[size < 2]
    term = total = near
    for n in range(1, 40):
        term = term * near * near / (2 * n + 1)
        total = total + term
    tail[size < 2] = 0.5 - total * np.exp(-near * near / 2) / root
    outside = (size >= 2) & (size < 150)
    far = size[outside]
    fraction = np.zeros_like(far)
    for n in range(150, 0, -1):
        fraction = n / (far + fraction)
    short = far.astype(np.float32).astype(x.dtype)  # its square is exact
    square = np.exp(-short * short / 2) * np.exp(-(far - short) * (far + short) / 2)
    tail[outside] = square / root / (far + fraction)
    return np.where(x < 0, tail, 1 - tail)


def _gelu(x: np.ndarray, approximate: str = "none") -> np.ndarray:
    if approximate == "tanh":
        return x * _sigmoid(2 * np.sqrt(2 / x.dtype.type(math.pi)) * (x + x.dtype.type(0.044715) * x * x * x))
    return x * _normal_cdf(x)


def _softplus(x: np.ndarray, beta: float = 1, threshold: float = 20) -> np.ndarray:
    return np.where(beta * x > threshold, x, np.logaddexp(0, beta * x) / beta)


ROWS = {
    "add": domain(normal, normal),
    "sub": domain(normal, normal),
    "mul": domain(normal, normal),
    "div": domain(normal, nonzero),
    "pow": domain(positive, normal),
    "hypot": domain(normal, normal),
    "maximum": domain(distinct, normal, special=UNSIGNED),
    "minimum": domain(distinct, normal, special=UNSIGNED),
    "neg": domain(normal),
    "abs": domain(nonzero),
    "sign": domain(nonzero, special=UNSIGNED),
    "exp": domain(normal),
    "log": domain(positive),
    "log1p": domain(between(-0.9, 3)),
    "sqrt": domain(positive),
    "erf": domain(normal, numpy=_erf),
    **{name: domain(whole, whole) for name in ("eq", "ne", "lt", "le", "gt", "ge")},
    "logical_and": domain(masks, masks),
    "logical_or": domain(masks, masks),
    "logical_not": domain(masks),
    "relu": domain(nonzero, numpy=lambda x: np.maximum(x, 0), special=UNSIGNED),
    "sigmoid": domain(normal, numpy=_sigmoid),
    "tanh": domain(normal),
    "softplus": domain(normal, parameters=({}, {"beta": 2.0, "threshold": 0.7}), numpy=_softplus),
    "gelu_tanh": domain(
        normal,
        numpy=partial(_gelu, approximate="tanh"),
        torch=lambda x: TF.gelu(x, approximate="tanh"),
        error=8,
        spread=2,
    ),
    "gelu": domain(normal, numpy=_gelu, spread=2),
}


def _choice(inputs: list[tuple[Arg, ...]]) -> list[tuple[Arg, ...]]:
    """(condition, a, b) from pairs: the condition in the shape of the second."""
    return [(masks(*b.shape), a, b) for a, b in inputs]


CASES = [
    *row_cases(ROWS),
    Case(
        "operators",
        lambda x, y: (2 * x - y / 4 + 1) * -y,
        lambda x, y: (2 * x - y / 4 + 1) * -y,
        lambda x, y: (2 * x - y / 4 + 1) * -y,
        binary(normal),
        spread=4,
    ),
    Case(
        "powers of a number",
        lambda x: x**2 + x**-1 + x**0.5 + x**3 + 2**x,
        lambda x: x**2 + x**-1 + x**0.5 + x**3 + 2**x,
        lambda x: x**2 + x**-1 + x**0.5 + x**3 + 2**x,
        unary(positive),
        error=8,
    ),
    Case("where", fn.where, np.where, torch.where, _choice(binary(normal)), exact=True),
    Case("clone", fn.clone, np.copy, torch.clone, unary(normal), exact=True),
    Case(
        "contiguous of transposed",
        lambda x: x.transpose(0, -1).contiguous(),
        lambda x: x.swapaxes(0, -1),
        lambda x: x.transpose(0, -1).contiguous(),
        [(normal(*s),) for s in [(5, 7), (2, 3, 4), (0, 3), (129, 65), LARGE]],
        exact=True,
    ),
    Case(
        "to",
        lambda x: (x * 3).to(fn.float64).to(fn.float32).to(fn.float64),
        lambda x: x * 3,
        lambda x: (x * 3).double().float().double(),
        unary(whole),
        exact=True,
        gradient=0,
    ),
]
