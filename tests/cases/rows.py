"""Elementwise ops as the extension describes them, and the cases that follow from a description and a domain.

``described()`` alone reads ``fastnn._C._rows()``: what a row is called, its dtypes, how large its error may be, how often
it can be differentiated, which forms and parameters it has. What it cannot say is the ``Domain``: where the op is to be
tried. References are NumPy's and PyTorch's functions of the same name unless the domain names others.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import fastnn as fn
import numpy as np

from .case import FLOATS, SPECIAL, Arg, Case, binary, masks, unary, whole

Kind = Callable[..., Arg]
Reference = Callable[..., Any]


# ---- what the extension says ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """One elementwise op. ``ulp``: its largest error in units in the last place, by dtype; None where nothing is rounded.
    ``differentiable``: how often, 0 to 2. ``parameters``: names and defaults of what follows the operands.
    """

    name: str
    kind: str
    dtypes: tuple[str, ...]
    ulp: dict[str, float] | None
    differentiable: int
    method: bool
    inplace: bool
    parameters: dict[str, Any]
    doc: str

    @property
    def error(self) -> float | None:
        """The bound in the dtype where it is largest."""
        return None if self.ulp is None else max(self.ulp.values())

    @property
    def operands(self) -> int:
        return {"unary": 1, "binary": 2}[self.kind]

    @property
    def floats(self) -> tuple[str, ...]:
        return tuple(d for d in self.dtypes if d in FLOATS)

    @property
    def integers(self) -> tuple[str, ...]:
        return tuple(d for d in self.dtypes if d not in FLOATS and d != "bool")

    def call(self, *operands: Any, **parameters: Any) -> Any:
        return getattr(fn._C, self.name)(*operands, **parameters)

    def call_in_place(self, x: Any, *operands: Any, **parameters: Any) -> Any:
        return getattr(x, f"{self.name}_")(*operands, **parameters)


def described() -> dict[str, Row]:
    """The rows by name."""
    rows = []
    for one in fn._C._rows():
        values = {key: one[key] for key in Row.__dataclass_fields__}
        values["dtypes"] = tuple(one["dtypes"])
        if one["ulp"] is not None:  # "ulp64": of float64, where it is larger
            values["ulp"] = {"float32": one["ulp"], "float64": one.get("ulp64") or one["ulp"]}
        values["parameters"] = {p["name"]: p["default"] for p in one["parameters"]}
        rows.append(Row(**values))
    return {row.name: row for row in rows}


# ---- what it is compared with -----------------------------------------------------------------------------------------

NUMPY_NAMES = {
    "sub": "subtract",
    "mul": "multiply",
    "div": "divide",
    "pow": "power",
    "neg": "negative",
    "eq": "equal",
    "ne": "not_equal",
    "lt": "less",
    "le": "less_equal",
    "gt": "greater",
    "ge": "greater_equal",
}


def of_numpy(name: str) -> Reference:
    return getattr(np, NUMPY_NAMES.get(name, name))


def of_torch(name: str) -> Reference:
    """Looked up when called: the table can be read where PyTorch is not installed."""

    def call(*args: Any, **kwargs: Any) -> Any:
        torch = importlib.import_module("torch")
        function = getattr(torch, name, None) or getattr(torch.nn.functional, name)
        return function(*args, **kwargs)

    return call


@dataclass(frozen=True)
class Domain:
    """Where an op is tried: a kind of array for each operand (``whole`` numbers and masks are tried wherever the op takes
    integers and bools), its ``parameters``, ``special`` values in every combination. ``numpy`` and ``torch`` take the
    operands and the parameters by name; ``numpy`` in the type of its operands, long double included, and with an error
    far below that type's: the published bound is held against it. ``error``, in place of that bound, where the worst
    is far from what is drawn. ``spread`` as in ``Case``.
    """

    operands: tuple[Kind, ...]
    parameters: tuple[dict[str, Any], ...] = ({},)
    special: tuple[float, ...] = SPECIAL
    numpy: Reference | None = None
    torch: Reference | None = None
    error: float | None = None
    spread: float = 0


def domain(*operands: Kind, **options: Any) -> Domain:
    return Domain(operands, **options)


# ---- cases --------------------------------------------------------------------------------------------------------------


def label(row: Row, parameters: Mapping[str, Any]) -> str:
    return " ".join([row.name, *(f"{key}={value}" for key, value in parameters.items())])


def references(row: Row, chosen: Domain, parameters: Mapping[str, Any]) -> tuple[Reference, Reference]:
    """NumPy's and PyTorch's, as functions of the operands alone."""
    both = chosen.numpy or of_numpy(row.name), chosen.torch or of_torch(row.name)
    return partial(both[0], **parameters), partial(both[1], **parameters)


def cases_of(row: Row, chosen: Domain) -> Iterator[Case]:
    shapes = {1: unary, 2: binary}[row.operands]
    exactly = row.error is None or row.error <= 0.5  # of whole numbers also where fractions are rounded
    numbers = (*(row.floats if exactly else ()), *row.integers)
    for parameters in chosen.parameters:
        name = label(row, parameters)
        call = partial(row.call, **parameters)
        both = references(row, chosen, parameters)
        drawn = row.floats and chosen.operands[0] is not whole
        if drawn:
            yield Case(
                name,
                call,
                *both,
                shapes(*chosen.operands),
                row.floats,
                # Correctly rounded is equal. Otherwise the reference, rounded too, adds half a unit.
                error=chosen.error or (row.error or 0) + (0 if exactly else 0.5),
                spread=chosen.spread,
                exact=row.error is None,
                gradient=row.differentiable,
                special=chosen.special if row.floats == FLOATS else (),
            )
        if row.integers:
            special = () if drawn or row.floats != FLOATS else chosen.special
            yield Case(
                f"{name} of whole numbers",
                call,
                *both,
                shapes(whole),
                numbers,
                exact=True,
                gradient=0,
                special=special,
            )
        if "bool" in row.dtypes:
            only = row.dtypes == ("bool",)
            yield Case(
                name if only else f"{name} of masks",
                call,
                *both,
                shapes(masks),
                ("bool",),
                exact=True,
                gradient=0,
            )


def row_cases(domains: Mapping[str, Domain]) -> list[Case]:
    """Of every row that has a domain; test_rows.py fails where one lacks the other."""
    return [
        case
        for row in described().values()
        if row.name in domains
        for case in cases_of(row, domains[row.name])
    ]
