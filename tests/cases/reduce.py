"""Reductions: sums, means, extrema and where they stand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .case import FLOATS, NUMERIC, Arg, Case, all_dtypes, distinct, masks, positive, torch, unary, whole

SUMMED = [
    (positive(*s),)
    for s in [
        (2, 3),
        (5, 7),
        (1, 9),
        (0, 3),
        (2, 3, 4),
        (17, 33),
        (3, 1025),
        (1025, 3),
        (31, 2, 70),
        (301, 1031),
    ]
]

RANKED = [
    (distinct(*s),)
    for s in [(2, 3), (5, 7), (1, 9), (2, 3, 4), (17, 33), (3, 1025), (1025, 3), (31, 2, 70), (301, 1031)]
]


def _like(inputs: list[tuple[Arg, ...]]) -> Callable[..., list[tuple[Arg, ...]]]:
    return lambda kind: [(kind(*x.shape),) for (x,) in inputs]


def _reduction(name: str, dim: Any, inputs: list[tuple[Arg, ...]], **options: Any) -> Case:
    """sum, mean along dimensions: what torch calls dim, NumPy calls axis."""
    return Case(
        f"{name} {dim}".replace("None", "of all"),
        lambda x: getattr(x, name)(dim),
        lambda x: getattr(x, name)(dim),
        lambda x: getattr(x, name)(dim),
        inputs,
        spread=4,
        **options,
    )


def _ranking(name: str, dim: Any, whole: bool = False) -> Case:
    return Case(
        f"{name} {dim}{' of whole numbers' * whole}",
        lambda x: getattr(x, name)(dim),
        lambda x: getattr(np, name)(x, dim),
        lambda x: getattr(torch, name)(x, dim),
        all_dtypes(_like(RANKED)) if whole else RANKED,
        NUMERIC if whole else FLOATS,
        exact=True,
        gradient=0,
    )


CASES = [
    *[_reduction("sum", dim, SUMMED) for dim in (None, 0, -1, (0, -1))],
    *[_reduction("mean", dim, [args for args in SUMMED if args[0].size]) for dim in (None, 0, -1, (0, -1))],
    Case(
        "sum keepdim",
        lambda x: x.sum(0, keepdim=True) * x,
        lambda x: x.sum(0, keepdims=True) * x,
        lambda x: x.sum(0, keepdim=True) * x,
        SUMMED,
        spread=4,
    ),
    Case(
        "sum of whole numbers",
        lambda x: x.sum(0),
        lambda x: x.sum(0),
        lambda x: x.sum(0),
        _like(SUMMED)(whole),
        ("int64", "int32", "uint8"),
        exact=True,
        gradient=0,
    ),
    Case(
        "sum of masks",
        lambda x: x.sum(),
        lambda x: x.sum(),
        lambda x: x.sum(),
        _like(SUMMED)(masks),
        ("bool",),
        exact=True,
        gradient=0,
    ),
    *[
        Case(
            f"{name} {dim}",
            lambda x, f=name, d=dim: getattr(x, f)(d)[0],
            lambda x, f=name, d=dim: getattr(x, f)(d),
            lambda x, f=name, d=dim: getattr(x, f)(d)[0],
            RANKED,
            exact=True,
        )
        for name in ("max", "min")
        for dim in (0, -1)
    ],
    *[
        Case(
            f"{name} of all",
            lambda x, f=name: getattr(x, f)(),
            lambda x, f=name: getattr(x, f)(),
            lambda x, f=name: getattr(x, f)(),
            RANKED,
            exact=True,
        )
        for name in ("max", "min")
    ],
    *[
        _ranking(name, dim, whole)
        for name in ("argmax", "argmin")
        for dim in (0, -1)
        for whole in (False, True)
    ],
    Case(
        "sum of any shape",
        lambda x: x.sum(),
        lambda x: x.sum(),
        lambda x: x.sum(),
        unary(positive),
        spread=32,
    ),
    Case(
        "argmax of all",
        lambda x: x.argmax(),
        lambda x: x.argmax(),
        lambda x: x.argmax(),
        _like(RANKED)(whole),
        NUMERIC,
        gradient=0,
    ),
    Case(
        "max with positions",
        lambda x: x.max(1),
        lambda x: (x.max(1), x.argmax(1)),
        lambda x: tuple(x.max(1)),
        RANKED,
        exact=True,
    ),
    Case(
        "all",
        lambda x: x.all(0),
        lambda x: x.all(0),
        lambda x: x.all(0),
        _like(SUMMED)(masks),
        ("bool",),
        gradient=0,
    ),
    Case(
        "any",
        lambda x: x.any(-1),
        lambda x: x.any(-1),
        lambda x: x.any(-1),
        _like(SUMMED)(masks),
        ("bool",),
        gradient=0,
    ),
]
