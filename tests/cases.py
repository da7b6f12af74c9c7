"""The op table. One row per op drives the tests of test_ops.py: forward and gradients against NumPy, PyTorch and finite
differences, layouts, alignments, threads, instruction sets, special values.

To add an op, add a row: its name, the call on fastnn tensors, the same in NumPy (on float64 arrays) and in PyTorch, and
its inputs: a list of tuples of arguments, drawn by the kinds below. Sizes that matter: one below, at and one above each
vector width, a few thousand odd ones, one large enough for two threads, zero-size, 0-d.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import fastnn as fn
import fastnn.nn.functional as F
import numpy as np

FLOATS = ("float32", "float64")
NUMERIC = (*FLOATS, "int64", "int32", "uint8")


@dataclass(frozen=True)
class Arg:
    """An array to be drawn. Floats take the dtype under test, so do ``whole`` numbers; indices are int64, masks bool."""

    shape: tuple[int, ...]
    draw: Callable[[np.random.Generator, tuple[int, ...]], np.ndarray] = field(repr=False)
    dtype: str | None = None
    differentiable: bool = True

    @property
    def size(self) -> int:
        return math.prod(self.shape)


def normal(*shape: int) -> Arg:
    return Arg(shape, lambda rng, s: rng.standard_normal(s))


def positive(*shape: int) -> Arg:
    return Arg(shape, lambda rng, s: rng.uniform(0.3, 3, s))


def nonzero(*shape: int) -> Arg:
    """Away from 0, where |x|, sign, relu and 1 / x have a kink or a pole."""
    return Arg(shape, lambda rng, s: rng.uniform(0.2, 2, s) * rng.choice([-1, 1], s))


def distinct(*shape: int) -> Arg:
    """No two equal, in random order: the maximum is unique, also within a finite difference."""
    return Arg(shape, lambda rng, s: rng.permutation(np.linspace(-2, 2, math.prod(s))).reshape(s))


def whole(*shape: int) -> Arg:
    """Small whole numbers, many of them equal, exact in every dtype."""
    return Arg(shape, lambda rng, s: rng.integers(0, 7, s), differentiable=False)


def masks(*shape: int) -> Arg:
    return Arg(shape, lambda rng, s: rng.random(s) < 0.5, "bool", differentiable=False)


def indices(high: int, *shape: int) -> Arg:
    return Arg(shape, lambda rng, s: rng.integers(0, high, s), "int64", differentiable=False)


@dataclass(frozen=True)
class Case:
    """One op. Errors are allowed up to eps(dtype) * (``error`` * |expected| + ``spread`` * max |expected|).

    ``exact``: no rounding at all. ``gradient``: how often it can be differentiated in a meaningful way (0, 1 or 2).
    ``special``: values that an op defined by element treats as NumPy does, every combination of them.
    ``threaded``: the largest input is work for a second thread. ``transposable``: bits do not depend on which
    operand lies transposed in memory (products sum in another order then).
    """

    name: str
    call: Callable[..., Any] = field(repr=False)
    numpy: Callable[..., Any] | None = field(repr=False)
    torch: Callable[..., Any] | None = field(repr=False)
    inputs: Sequence[tuple[Arg, ...]] = field(repr=False)
    dtypes: tuple[str, ...] = FLOATS
    error: float = 4
    spread: float = 0
    exact: bool = False
    gradient: int = 2
    special: tuple[float, ...] = ()
    threaded: bool = True
    transposable: bool = True

    @property
    def small(self) -> list[tuple[Arg, ...]]:
        """Inputs cheap enough for one evaluation per element."""
        return [args for args in self.inputs if sum(a.size for a in args) <= 80]

    @property
    def large(self) -> tuple[Arg, ...]:
        return max(self.inputs, key=lambda args: sum(a.size for a in args))


class _Peer:
    """A module's functions by name, looked up when called: the table can be read where PyTorch is not installed."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __getattr__(self, name: str) -> _Peer:
        return _Peer(f"{self._path}.{name}")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        module, _, name = self._path.rpartition(".")
        return getattr(importlib.import_module(module), name)(*args, **kwargs)


torch, TF = _Peer("torch"), _Peer("torch.nn.functional")

SPECIAL = (
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.5,
    -2.0,
    3.0,
    1e-40,
    -1e-40,
    1e-320,
    1e30,
    -1e30,
    math.inf,
    -math.inf,
    math.nan,
)
UNSIGNED = tuple(v for v in SPECIAL if v != 0)  # where the order of 0.0 and -0.0 is nobody's promise

WIDTHS = (2, 4, 8, 16)
TAILS = sorted({w + d for w in WIDTHS for d in (-1, 0, 1)})
LARGE = (11, 40009)  # enough work for a second thread in the cheapest kernel, odd in every sense


def unary(kind: Callable[..., Arg]) -> list[tuple[Arg, ...]]:
    shapes = [(), (0,), (0, 3), (5, 7), (2, 3, 4), (3001,), LARGE, *((n,) for n in TAILS)]
    return [(kind(*shape),) for shape in shapes]


def binary(kind: Callable[..., Arg], other: Callable[..., Arg] | None = None) -> list[tuple[Arg, ...]]:
    """Equal shapes of every tail, and shapes that broadcast: rows, columns, outer products, numbers, nothing."""
    pairs = [((n,), (n,)) for n in TAILS]
    pairs += [
        ((5, 7), (7,)),
        ((5, 1), (1, 7)),
        ((2, 1, 3), (4, 1)),
        ((), (6,)),
        ((6,), ()),
        ((), ()),
        ((1,), (9,)),
    ]
    pairs += [
        ((0,), (1,)),
        ((0, 3), (3,)),
        ((3001,), (3001,)),
        ((129, 1), (129, 65)),
        (LARGE, LARGE),
        (LARGE, LARGE[1:]),
    ]
    return [(kind(*a), (other or kind)(*b)) for a, b in pairs]


def all_dtypes(inputs: Callable[..., list[tuple[Arg, ...]]]) -> list[tuple[Arg, ...]]:
    return inputs(whole)


def _choice(inputs: list[tuple[Arg, ...]]) -> list[tuple[Arg, ...]]:
    """(condition, a, b) from pairs: the condition in the shape of the second."""
    return [(masks(*b.shape), a, b) for a, b in inputs]


ARITHMETIC = [
    Case("add", fn.add, np.add, torch.add, binary(normal), special=SPECIAL, error=0.5),
    Case("sub", fn.sub, np.subtract, torch.sub, binary(normal), special=SPECIAL, error=0.5),
    Case("mul", fn.mul, np.multiply, torch.mul, binary(normal), special=SPECIAL, error=0.5),
    Case("div", fn.div, np.divide, torch.div, binary(normal, nonzero), special=SPECIAL, error=0.5),
    Case("pow", fn.pow, np.power, torch.pow, binary(positive, normal), special=SPECIAL),
    Case(
        "maximum",
        fn.maximum,
        np.maximum,
        torch.maximum,
        binary(distinct, normal),
        special=UNSIGNED,
        exact=True,
    ),
    Case(
        "minimum",
        fn.minimum,
        np.minimum,
        torch.minimum,
        binary(distinct, normal),
        special=UNSIGNED,
        exact=True,
    ),
    Case("neg", fn.neg, np.negative, torch.neg, unary(normal), special=SPECIAL, exact=True),
    Case("abs", fn.abs, np.abs, torch.abs, unary(nonzero), special=SPECIAL, exact=True),
    Case("sign", fn.sign, np.sign, torch.sign, unary(nonzero), exact=True),
    Case("exp", fn.exp, np.exp, torch.exp, unary(normal), special=SPECIAL, error=2),
    Case("log", fn.log, np.log, torch.log, unary(positive), special=SPECIAL, error=2),
    Case("sqrt", fn.sqrt, np.sqrt, torch.sqrt, unary(positive), special=SPECIAL, error=0.5),
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
]

WHOLE_NUMBERS = [
    Case(
        f"{case.name} of whole numbers",
        case.call,
        case.numpy,
        case.torch,
        case.inputs,
        NUMERIC,
        exact=True,
        gradient=0,
    )
    for case in (
        Case("add", fn.add, np.add, torch.add, all_dtypes(binary)),
        Case("sub", fn.sub, np.subtract, torch.sub, all_dtypes(binary)),
        Case("mul", fn.mul, np.multiply, torch.mul, all_dtypes(binary)),
        Case("maximum", fn.maximum, np.maximum, torch.maximum, all_dtypes(binary)),
        Case("minimum", fn.minimum, np.minimum, torch.minimum, all_dtypes(binary)),
        Case("neg", fn.neg, np.negative, torch.neg, all_dtypes(unary)),
        Case("eq", fn.eq, np.equal, torch.eq, all_dtypes(binary)),
        Case("ne", fn.ne, np.not_equal, torch.ne, all_dtypes(binary)),
        Case("lt", fn.lt, np.less, torch.lt, all_dtypes(binary)),
        Case("le", fn.le, np.less_equal, torch.le, all_dtypes(binary)),
        Case("gt", fn.gt, np.greater, torch.gt, all_dtypes(binary)),
        Case("ge", fn.ge, np.greater_equal, torch.ge, all_dtypes(binary)),
    )
]

LOGIC = [
    Case(
        "logical_and",
        fn.logical_and,
        np.logical_and,
        torch.logical_and,
        binary(masks),
        ("bool",),
        exact=True,
        gradient=0,
    ),
    Case(
        "logical_or",
        fn.logical_or,
        np.logical_or,
        torch.logical_or,
        binary(masks),
        ("bool",),
        exact=True,
        gradient=0,
    ),
    Case(
        "logical_not",
        fn.logical_not,
        np.logical_not,
        torch.logical_not,
        unary(masks),
        ("bool",),
        exact=True,
        gradient=0,
    ),
    Case("where", fn.where, np.where, torch.where, _choice(binary(normal)), exact=True),
]

COPIES = [
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

_MATRICES = [(normal(*s),) for s in [(5, 7), (1, 9), (0, 3), (129, 65), LARGE]]
VIEWS = [
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
        _MATRICES,
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
        _MATRICES,
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
        _MATRICES[:2] + _MATRICES[3:],
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
]

_PRODUCTS = [
    ((2, 3), (3, 4)),
    ((1, 7), (7, 1)),
    ((5, 1), (1, 5)),
    ((3,), (3,)),
    ((4, 3), (3,)),
    ((3,), (3, 4)),
    ((2, 3, 4), (4, 2)),
    ((2, 3, 4), (2, 4, 3)),
    ((2, 1, 3, 2), (3, 2, 2)),
    ((0, 3), (3, 2)),
    ((3, 0), (0, 2)),
    ((15, 17), (17, 31)),
    ((33, 65), (65, 129)),
    ((6, 257), (257, 16)),
    ((1, 513), (513, 67)),
    ((301, 211), (211, 307)),
]
MATMUL = [
    Case(
        "matmul",
        fn.matmul,
        np.matmul,
        torch.matmul,
        [(normal(*a), normal(*b)) for a, b in _PRODUCTS],
        spread=16,
        transposable=False,
    ),
    Case(
        "matmul of transposed",
        lambda a, b: a.mT @ b.mT,
        lambda a, b: a.swapaxes(-1, -2) @ b.swapaxes(-1, -2),
        lambda a, b: a.mT @ b.mT,
        [
            (normal(*a), normal(*b))
            for a, b in [
                ((3, 2), (4, 3)),
                ((2, 4, 3), (2, 3, 4)),
                ((17, 15), (31, 17)),
                ((257, 129), (65, 257)),
            ]
        ],
        spread=16,
        transposable=False,
    ),
]


def _linear(*sizes: tuple[tuple[int, ...], int, int]) -> list[tuple[Arg, ...]]:
    """x (..., in), w (out, in), bias (out)."""
    return [(normal(*x), normal(out, n), normal(out)) for x, n, out in sizes]


_LAYERS = _linear(
    ((3, 4), 4, 2),
    ((4,), 4, 3),
    ((2, 3, 4), 4, 5),
    ((0, 3), 3, 2),
    ((1, 17), 17, 9),
    ((33, 65), 65, 31),
    ((129, 211), 211, 257),
)
LINEAR = [
    Case("linear", F.linear, lambda x, w, b: x @ w.T + b, TF.linear, _LAYERS, spread=16, transposable=False),
    Case(
        "linear without bias",
        F.linear,
        lambda x, w: x @ w.T,
        TF.linear,
        [args[:2] for args in _LAYERS],
        spread=16,
        transposable=False,
    ),
    Case(
        "linear and relu",
        lambda *a: fn._C.linear(*a, activation="relu"),
        lambda x, w, b: np.maximum(x @ w.T + b, 0),
        lambda *a: torch.relu(TF.linear(*a)),
        _LAYERS,
        spread=16,
        transposable=False,
    ),
]

_erf = np.vectorize(math.erf, otypes=[float])
_erfc = np.vectorize(math.erfc, otypes=[float])

ACTIVATIONS = [
    Case("relu", F.relu, lambda x: np.maximum(x, 0), TF.relu, unary(nonzero), exact=True, special=UNSIGNED),
    Case("sigmoid", F.sigmoid, lambda x: 1 / (1 + np.exp(-x)), torch.sigmoid, unary(normal), special=SPECIAL),
    Case("tanh", F.tanh, np.tanh, torch.tanh, unary(normal), special=SPECIAL),
    Case("erf", fn.erf, _erf, torch.erf, unary(normal), special=SPECIAL),
    Case(
        "gelu",
        F.gelu,
        lambda x: x * 0.5 * _erfc(-x / math.sqrt(2)),
        TF.gelu,
        unary(normal),
        spread=2,
        error=8,
        special=SPECIAL,
    ),
    Case(
        "gelu by tanh",
        lambda x: F.gelu(x, "tanh"),
        lambda x: x * 0.5 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x))),
        lambda x: TF.gelu(x, approximate="tanh"),
        unary(normal),
        spread=2,
        error=8,
        special=SPECIAL,
    ),
]


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


_PLAIN = [
    ((1, 1, 4, 3), (2, 1, 2, 2)),
    ((0, 2, 4, 4), (3, 2, 3, 3)),
    ((2, 3, 9, 17), (5, 3, 3, 3)),
    ((1, 17, 7, 8), (33, 17, 1, 1)),
    ((9, 8, 28, 29), (20, 8, 5, 5)),
]
CONVOLUTION = [
    conv("conv2d", _images(*_PLAIN)),
    conv("conv2d padded", _images(*_PLAIN), padding=2),
    conv("conv2d strided", _images(*_PLAIN), stride=2, padding=1),
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

_SUMMED = [
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
_RANKED = [
    (distinct(*s),)
    for s in [(2, 3), (5, 7), (1, 9), (2, 3, 4), (17, 33), (3, 1025), (1025, 3), (31, 2, 70), (301, 1031)]
]


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
        all_dtypes(_like(_RANKED)) if whole else _RANKED,
        NUMERIC if whole else FLOATS,
        exact=True,
        gradient=0,
    )


def _like(inputs: list[tuple[Arg, ...]]) -> Callable[..., list[tuple[Arg, ...]]]:
    return lambda kind: [(kind(*x.shape),) for (x,) in inputs]


REDUCTIONS = [
    *[_reduction("sum", dim, _SUMMED) for dim in (None, 0, -1, (0, -1))],
    *[_reduction("mean", dim, [args for args in _SUMMED if args[0].size]) for dim in (None, 0, -1, (0, -1))],
    Case(
        "sum keepdim",
        lambda x: x.sum(0, keepdim=True) * x,
        lambda x: x.sum(0, keepdims=True) * x,
        lambda x: x.sum(0, keepdim=True) * x,
        _SUMMED,
        spread=4,
    ),
    Case(
        "sum of whole numbers",
        lambda x: x.sum(0),
        lambda x: x.sum(0),
        lambda x: x.sum(0),
        _like(_SUMMED)(whole),
        ("int64", "int32", "uint8"),
        exact=True,
        gradient=0,
    ),
    Case(
        "sum of masks",
        lambda x: x.sum(),
        lambda x: x.sum(),
        lambda x: x.sum(),
        _like(_SUMMED)(masks),
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
            _RANKED,
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
            _RANKED,
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
]

_LOGITS = [
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


def _softmax(x: np.ndarray, dim: int) -> np.ndarray:
    e = np.exp(x - x.max(dim, keepdims=True, initial=-np.inf))
    return e / e.sum(dim, keepdims=True)


def _cross_entropy(x: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return -np.log(np.take_along_axis(_softmax(x, 1), labels[:, None], 1)).mean()


_LABELLED = [
    (normal(n, c), indices(c, n)) for n, c in [(2, 3), (7, 10), (1, 1), (33, 17), (5, 1000), (4001, 10)]
]
SOFTMAX = [
    *[
        Case(
            f"softmax {dim}",
            lambda x, d=dim: F.softmax(x, d),
            lambda x, d=dim: _softmax(x, d),
            lambda x, d=dim: TF.softmax(x, d),
            _LOGITS,
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
            _LOGITS,
            error=16,
            spread=2,
        )
        for dim in (0, 1, -1)
    ],
    Case("cross_entropy", F.cross_entropy, _cross_entropy, TF.cross_entropy, _LABELLED, error=16, spread=4),
    Case(
        "cross_entropy smoothed",
        lambda x, t: fn._C.cross_entropy(x, t, label_smoothing=0.2),
        lambda x, t: 0.8 * _cross_entropy(x, t) - 0.2 * np.log(_softmax(x, 1)).mean(),
        lambda x, t: TF.cross_entropy(x, t, label_smoothing=0.2),
        _LABELLED,
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
]


def _pooled(
    f: Callable[..., np.ndarray], kernel: int, stride: int, padding: int, fill: float
) -> Callable[[np.ndarray], np.ndarray]:
    def pool(x: np.ndarray) -> np.ndarray:
        x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)), constant_values=fill)
        windows = np.lib.stride_tricks.sliding_window_view(x, (kernel, kernel), (2, 3))
        return f(windows[:, :, ::stride, ::stride], (-2, -1))

    return pool


_PLANES = [
    (1, 1, 4, 4),
    (1, 2, 5, 6),
    (2, 3, 9, 17),
    (1, 2, 8, 64),
    (3, 2, 7, 35),
    (0, 2, 4, 4),
    (9, 7, 56, 57),
]


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


_ROWS = [(2, 5), (2, 3, 4), (1, 9), (5, 16), (7, 17), (33, 31), (3, 130), (2, 1023), (40, 3001), (301, 1031)]
_CHANNELS = [
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


NORMS = [
    _norm(
        "layer_norm",
        lambda x, w, b: F.layer_norm(x, w.shape, w, b),
        _layer_norm,
        lambda x, w, b: TF.layer_norm(x, w.shape, w, b),
        [(normal(*s), normal(s[-1]), normal(s[-1])) for s in _ROWS],
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
        [(normal(*s),) for s in _ROWS],
    ),
    _norm(
        "batch_norm",
        lambda x, w, b: F.batch_norm(x, None, None, w, b, True),
        _batch_norm,
        lambda x, w, b: TF.batch_norm(x, None, None, w, b, True),
        [(normal(*s), normal(s[1]), normal(s[1])) for s in _CHANNELS],
    ),
    _norm(
        "batch_norm with relu",
        lambda x, w, b: fn._C.batch_norm(x, None, None, w, b, True, activation="relu"),
        lambda x, w, b: np.maximum(_batch_norm(x, w, b), 0),
        lambda x, w, b: TF.relu(TF.batch_norm(x, None, None, w, b, True)),
        [(normal(*s), nonzero(s[1]), normal(s[1])) for s in _CHANNELS],
    ),
    _norm(
        "batch_norm plain",
        lambda x: F.batch_norm(x, None, None, training=True),
        lambda x: _over(x, (0, *range(2, x.ndim))),
        lambda x: TF.batch_norm(x, None, None, training=True),
        [(normal(*s),) for s in _CHANNELS],
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
                for s in _CHANNELS
            ],
        )
        for relu in (False, True)
    ],
]

POOLS = [
    case
    for kernel, stride, padding in [(2, 2, 0), (3, 2, 1), (3, 1, 1), (2, 3, 0)]
    for case in (
        Case(
            f"max_pool2d {kernel} {stride} {padding}",
            lambda x, a=(kernel, stride, padding): F.max_pool2d(x, *a),
            _pooled(np.max, kernel, stride, padding, -np.inf),
            lambda x, a=(kernel, stride, padding): TF.max_pool2d(x, *a),
            [(distinct(*s),) for s in _PLANES],
            exact=True,
        ),
        Case(
            f"avg_pool2d {kernel} {stride} {padding}",
            lambda x, a=(kernel, stride, padding): F.avg_pool2d(x, *a),
            _pooled(np.mean, kernel, stride, padding, 0),
            lambda x, a=(kernel, stride, padding): TF.avg_pool2d(x, *a),
            [(normal(*s),) for s in _PLANES],
            spread=4,
        ),
    )
]

INDEXING = [
    Case(
        "rows by index",
        lambda x, i: x[i],
        lambda x, i: x[i],
        lambda x, i: x[i],
        [
            (normal(n, *s), indices(n, *i))
            for n, s, i in [(5, (3,), (4,)), (6, (), (2, 3)), (4, (2, 3), (0,)), (301, (257,), (1031,))]
        ],
        exact=True,
    ),
    Case(
        "columns by index",
        lambda x, i: x[:, i],
        lambda x, i: x[:, i],
        lambda x, i: x[:, i],
        [
            (normal(3, 5), indices(5, 4)),
            (normal(2, 4, 3), indices(4, 2, 2)),
            (normal(257, 301), indices(301, 519)),
        ],
        exact=True,
    ),
    Case(
        "pairs of indices",
        lambda x, i, j: x[i, :, j],
        lambda x, i, j: x[i, :, j],
        lambda x, i, j: x[i, :, j],
        [
            (normal(3, 2, 4), indices(3, 5), indices(4, 5)),
            (normal(31, 7, 17), indices(31, 2, 3), indices(17, 3)),
        ],
        exact=True,
        threaded=False,
    ),
    Case(
        "gather",
        lambda x, i: fn.gather(x, 1, i),
        lambda x, i: np.take_along_axis(x, i, 1),
        lambda x, i: torch.gather(x, 1, i),
        [
            (normal(3, 5), indices(5, 3, 4)),
            (normal(2, 4, 3), indices(4, 2, 6, 3)),
            (normal(301, 257), indices(257, 301, 129)),
        ],
        exact=True,
    ),
    Case(
        "where a mask holds",
        lambda x, m: x[m],
        lambda x, m: x[m],
        lambda x, m: x[m],
        [
            (normal(5, 7), masks(5, 7)),
            (normal(3, 2, 4), masks(3, 2)),
            (normal(0, 3), masks(0, 3)),
            (normal(129, 65), masks(129, 65)),
        ],
        exact=True,
        threaded=False,
    ),
]


def _losses(x: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return -np.log(np.take_along_axis(_softmax(x, 1), labels[:, None], 1))[:, 0]


def _dropout(x: fn.Tensor) -> fn.Tensor:
    fn.manual_seed(4)
    return F.dropout(x, 0.3)


def _assigned(x: Any, i: Any) -> Any:
    y = x * 1
    y[i] = 2.5
    return y


MORE = [
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
        _like(_RANKED)(whole),
        NUMERIC,
        gradient=0,
    ),
    Case(
        "max with positions",
        lambda x: x.max(1),
        lambda x: (x.max(1), x.argmax(1)),
        lambda x: tuple(x.max(1)),
        _RANKED,
        exact=True,
    ),
    Case(
        "all",
        lambda x: x.all(0),
        lambda x: x.all(0),
        lambda x: x.all(0),
        _like(_SUMMED)(masks),
        ("bool",),
        gradient=0,
    ),
    Case(
        "any",
        lambda x: x.any(-1),
        lambda x: x.any(-1),
        lambda x: x.any(-1),
        _like(_SUMMED)(masks),
        ("bool",),
        gradient=0,
    ),
    Case(
        "cross_entropy without a class",
        lambda x, t: F.cross_entropy(x, t, ignore_index=0, reduction="sum"),
        lambda x, t: (_losses(x, t) * (t != 0)).sum(),
        lambda x, t: TF.cross_entropy(x, t, ignore_index=0, reduction="sum"),
        _LABELLED,
        error=32,
    ),
    Case(
        "cross_entropy of each",
        lambda x, t: F.cross_entropy(x, t, reduction="none"),
        _losses,
        lambda x, t: TF.cross_entropy(x, t, reduction="none"),
        _LABELLED,
        error=16,
        spread=4,
    ),
    Case(
        "nll_loss",
        F.nll_loss,
        lambda x, t: -np.take_along_axis(x, t[:, None], 1).mean(),
        TF.nll_loss,
        _LABELLED,
        error=16,
        spread=16,
        threaded=False,
    ),
    Case(
        "max_pool2d dilated",
        lambda x: fn._C.max_pool2d(x, 2, 1, 0, 2),
        lambda x: np.maximum(
            np.maximum(x[..., :-2, :-2], x[..., :-2, 2:]), np.maximum(x[..., 2:, :-2], x[..., 2:, 2:])
        ),
        lambda x: TF.max_pool2d(x, 2, 1, 0, 2),
        [(distinct(*s),) for s in _PLANES],
        exact=True,
    ),
    Case(
        "assigned by index",
        _assigned,
        _assigned,
        _assigned,
        [
            (normal(5), indices(5, 3)),
            (normal(3, 2, 2), indices(3, 0)),
            (normal(1009, 37), indices(1009, 20011)),
        ],
        exact=True,
    ),
    Case("dropout", _dropout, None, None, unary(nonzero)),
]

CASES = [
    *ARITHMETIC,
    *WHOLE_NUMBERS,
    *LOGIC,
    *COPIES,
    *VIEWS,
    *MATMUL,
    *LINEAR,
    *ACTIVATIONS,
    *CONVOLUTION,
    *REDUCTIONS,
    *SOFTMAX,
    *NORMS,
    *POOLS,
    *INDEXING,
    *MORE,
]
