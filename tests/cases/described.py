"""Today's elementwise ops as ``fastnn._C._rows()`` will describe them."""

from __future__ import annotations

from typing import Any

from .case import FLOATS, NUMERIC


def _row(
    name: str,
    kind: str,
    doc: str,
    dtypes: tuple[str, ...] = FLOATS,
    ulp: float | None = None,
    ulp64: float | None = None,
    differentiable: int = 2,
    inplace: bool = False,
    method: bool = True,
    **parameters: Any,
) -> dict[str, Any]:
    return {
        "name": name,
        "kind": kind,
        "dtypes": list(dtypes),
        "ulp": ulp,
        "ulp64": ulp64,
        "differentiable": differentiable,
        "method": method,
        "inplace": inplace,
        "parameters": [{"name": key, "default": value} for key, value in parameters.items()],
        "doc": doc,
    }


ROWS = [
    _row("add", "binary", "a + b, broadcast.", NUMERIC, 0.5, inplace=True),
    _row("sub", "binary", "a - b, broadcast.", NUMERIC, 0.5, inplace=True),
    _row("mul", "binary", "a * b, broadcast.", NUMERIC, 0.5, inplace=True),
    _row("div", "binary", "a / b, broadcast; integers become float32.", ulp=0.5, inplace=True),
    _row("pow", "binary", "a ** b, broadcast; integers become float32.", ulp=1.0),
    _row("maximum", "binary", "The larger of a and b, broadcast; NaN wins.", NUMERIC),
    _row("minimum", "binary", "The smaller of a and b, broadcast; NaN wins.", NUMERIC),
    _row("neg", "unary", "-x", NUMERIC),
    _row("abs", "unary", "|x|", NUMERIC),
    _row("sign", "unary", "-1, 0 or 1 by the sign of x.", NUMERIC),
    _row("exp", "unary", "e to the power of x.", ulp=0.93),
    _row("log", "unary", "Natural logarithm of x.", ulp=0.83),
    _row("sqrt", "unary", "Square root of x.", ulp=0.5),
    _row(
        "erf",
        "unary",
        "Error function: 2 / sqrt(pi) times the integral of exp(-t^2) from 0 to x.",
        ulp=2.6,
    ),
    *(
        _row(name, "binary", f"a {sign} b, as bool.", (*NUMERIC, "bool"), differentiable=0)
        for name, sign in {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}.items()
    ),
    _row("logical_and", "binary", "a and b, of bool tensors.", ("bool",), differentiable=0),
    _row("logical_or", "binary", "a or b, of bool tensors.", ("bool",), differentiable=0),
    _row("logical_not", "unary", "not x, of a bool tensor.", ("bool",), differentiable=0),
    _row("relu", "unary", "The larger of x and 0."),
    _row("sigmoid", "unary", "1 / (1 + e^-x)", ulp=1.97),
    _row("tanh", "unary", "Hyperbolic tangent of x.", ulp=2.62),
    _row(
        "gelu",
        "unary",
        "x P(X <= x) of a standard normal variable X; approximate 'none' or 'tanh'.",
        ulp=7.6,
        ulp64=9.0,
        method=False,
        approximate="none",
    ),
]
