"""Elementwise maps of the CUDA backend over any layout, and the functions of its scalars, on the emulator, against NumPy.

tests/cpp/emulator_map.cu calls them directly, for what no op does yet: five operands, numbers held in the launch. Its
answer is the workspace that was asked for: none, where every operand can be read in vectors as it lies.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from conftest import built

PATH = built("libemulator_test.so")
pytestmark = pytest.mark.skipif(PATH is None, reason="the build folder with the emulator of CUDA is not here")


def load() -> ctypes.CDLL:
    library = ctypes.CDLL(str(PATH))
    library.emulator_map.restype = ctypes.c_int64
    library.emulator_scalar.restype = ctypes.c_bool
    for name in ("emulator_scalar_names", "fastnn_emulator_fault"):
        getattr(library, name).restype = ctypes.c_char_p
    return library


LIB = load() if PATH else None

# name -> types of the operands, the output first; the function
MAPS: dict[str, tuple[list[Any], Callable[..., Any]]] = {
    "sevens float32": (["f4"], lambda: np.float32(7)),
    "negative float32": (["f4"] * 2, lambda x: -x),
    "negative uint8": (["u1"] * 2, lambda x: -x),
    "difference float32": (["f4"] * 3, lambda a, b: a - b),
    "difference float64": (["f8"] * 3, lambda a, b: a - b),
    "less float64": (["?", "f8", "f8"], lambda a, b: a < b),
    "choice float32": (["f4", "?", "f4", "f4"], np.where),
    "choice uint8": (["u1", "?", "u1", "u1"], np.where),
    "scaled sum float64": (["f8"] * 4, lambda a, b, c: a + b * c * 0.5),
    "mixture int32": (["i4"] * 5, lambda a, b, c, d: (a * b) ^ (c - d)),
}


def numbers(rng: np.random.Generator, dtype: Any, shape: tuple[int, ...]) -> np.ndarray:
    if dtype == "?":
        return rng.integers(0, 2, shape).astype(bool)
    if dtype in ("u1", "i4"):
        return rng.integers(0, np.iinfo(dtype).max, shape).astype(dtype)
    return rng.standard_normal(shape).astype(dtype)


def address_of(a: np.ndarray) -> int:
    return a.__array_interface__["data"][0]


def run(name: str, shape: tuple[int, ...], operands: list[Any], seed: int = 1) -> int:
    """Writes operands[0], an array. Others are arrays that broadcast to `shape` or, one at most, a NumPy scalar. Arrays
    that share memory share it on the device. Returns the bytes of workspace."""
    kinds, _ = MAPS[name]
    shape = shape or (1,)
    buffers: list[np.ndarray] = []
    of, offsets, strides, number = [], [], [], b""
    for kind, x in zip(kinds, operands, strict=True):
        if not isinstance(x, np.ndarray):
            number = np.array(x, kind).tobytes()
            of.append(-1)
            offsets.append(0)
            strides.append([0] * len(shape))
            continue
        base = x
        while isinstance(base.base, np.ndarray):
            base = base.base
        if not any(base is b for b in buffers):
            buffers.append(base)
        of.append(next(i for i, b in enumerate(buffers) if b is base))
        view = np.broadcast_to(x, shape)
        offsets.append(address_of(x) - address_of(base))
        strides.append([s // x.itemsize if n > 1 else 0 for s, n in zip(view.strides, shape, strict=True)])
    LIB.fastnn_emulator_seed(ctypes.c_uint64(seed))
    n, ndim = len(operands), len(shape)
    used = LIB.emulator_map(
        name.encode(),
        n,
        ndim,
        (ctypes.c_int64 * ndim)(*shape),
        (ctypes.c_int64 * (n * ndim))(*[s for row in strides for s in row]),
        len(buffers),
        (ctypes.c_void_p * len(buffers))(*map(address_of, buffers)),
        (ctypes.c_int64 * len(buffers))(*[b.nbytes for b in buffers]),
        (ctypes.c_int * n)(*of),
        (ctypes.c_int64 * n)(*offsets),
        ctypes.c_uint64(int.from_bytes(number, "little")),
    )
    assert used >= 0, LIB.fastnn_emulator_fault().decode()
    return used


def check(name: str, shape: tuple[int, ...], operands: list[Any], seed: int = 1) -> int:
    """The same, and compares: the output's elements, and that no other byte of its memory changed."""
    kinds, f = MAPS[name]
    out = operands[0]
    base = out.base if isinstance(out.base, np.ndarray) else out
    want = base.copy()
    given = [np.array(x, k) for k, x in zip(kinds[1:], operands[1:], strict=True)]
    place = np.ndarray(out.shape, out.dtype, want, address_of(out) - address_of(base), out.strides)
    with np.errstate(over="ignore"):
        place[...] = f(*given)
    used = run(name, shape, operands, seed)
    np.testing.assert_array_equal(base, want)
    return used


def aligned(a: np.ndarray) -> np.ndarray:
    """A copy that owns its memory: on the device it begins a block."""
    return np.ascontiguousarray(a).copy()


@pytest.mark.parametrize("name", MAPS)
@pytest.mark.parametrize("shape", [(), (3,), (257,), (6, 8), (5, 16, 24), (20000,), (3, 4096)], ids=str)
def test_dense_operands_are_not_copied(name, shape):
    rng = np.random.default_rng(0)
    kinds = MAPS[name][0]
    assert check(name, shape, [aligned(numbers(rng, k, shape or (1,))) for k in kinds]) == 0


# Where the last dimension is whole vectors, or there is no other.
SPREAD: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "row": ((40, 48), (48,)),
    "column": ((40, 48), (40, 1)),
    "number": ((40, 48), (1, 1)),
    "number over odd rows": ((7, 5), (1, 1)),
    "planes": ((3, 4, 16), (4, 1)),
    "rows of planes": ((3, 4, 16), (3, 1, 16)),
}


@pytest.mark.parametrize("name", [n for n, (kinds, _) in MAPS.items() if len(kinds) > 2])
@pytest.mark.parametrize("spread", SPREAD)
def test_broadcast_operands_are_not_copied(name, spread):
    shape, narrow = SPREAD[spread]
    kinds = MAPS[name][0]
    rng = np.random.default_rng(1)
    for k in range(1, len(kinds)):
        operands = [aligned(numbers(rng, kind, narrow if i == k else shape)) for i, kind in enumerate(kinds)]
        if spread == "number over odd rows":  # as an op's loop has it: one dimension
            operands = [x.reshape(-1) for x in operands]
            assert check(name, (35,), operands) == 0
        else:
            assert check(name, shape, operands) == 0


@pytest.mark.parametrize("name", [n for n, (kinds, _) in MAPS.items() if len(kinds) > 1])
def test_numbers_are_no_memory(name):
    kinds = MAPS[name][0]
    rng = np.random.default_rng(2)
    for shape in [(1,), (5,), (300,), (6, 16), (9000,)]:
        for k in range(1, len(kinds)):
            operands: list[Any] = [aligned(numbers(rng, kind, shape)) for kind in kinds]
            operands[k] = operands[k].reshape(-1)[0]
            assert check(name, shape, operands) == 0
            # beside operands that are copied
            operands[0] = np.zeros((*shape, 3), kinds[0])[..., 1]
            assert check(name, shape, operands) > 0 or shape == (1,)


def strided(rng: np.random.Generator, kind: Any, shape: tuple[int, ...]) -> np.ndarray:
    """A view of some layout that no vector reads."""
    way = rng.integers(6)
    if way == 0:  # every second
        return numbers(rng, kind, (*shape[:-1], 2 * shape[-1]))[..., ::2]
    if way == 1:  # from behind
        return numbers(rng, kind, shape)[..., ::-1]
    if way == 2:  # transposed
        return numbers(rng, kind, shape[::-1]).transpose()
    if way == 3:  # begins between vectors
        return numbers(rng, kind, (math.prod(shape) + 1,))[1:].reshape(shape)
    if way == 4:  # rows of odd length
        return numbers(rng, kind, (*shape[:-1], shape[-1] + 1))[..., :-1]
    return numbers(rng, kind, shape)


@pytest.mark.parametrize("name", MAPS)
def test_any_layout(name):
    kinds = MAPS[name][0]
    rng = np.random.default_rng(3)
    copied = 0
    for trial in range(24):
        shape = tuple(rng.choice([2, 3, 4, 5, 8, 16, 17, 33], rng.integers(1, 4)).tolist())
        copied += check(name, shape, [strided(rng, k, shape) for k in kinds], trial) > 0
    assert copied > 8


@pytest.mark.parametrize("name", [n for n, (kinds, _) in MAPS.items() if len(set(kinds)) == 1 < len(kinds)])
def test_output_that_is_also_an_input(name):
    kinds = MAPS[name][0]
    rng = np.random.default_rng(4)
    views: list[Callable[[np.ndarray], np.ndarray]] = [
        lambda x: x,
        lambda x: x.T,
        lambda x: x[:, ::2],
        lambda x: x[::-1, ::-1],
        lambda x: x[1:, 1:],
    ]
    for view in views:
        for k in range(1, len(kinds)):
            y = view(numbers(rng, kinds[0], (40, 40)))
            operands = [y if i in (0, k) else strided(rng, kinds[0], y.shape) for i in range(len(kinds))]
            check(name, y.shape, operands)
            operands = [y] * len(kinds)
            run(name, y.shape, operands)  # all of them: against the same on an array that owns its memory
            dense = aligned(y)
            run(name, y.shape, [dense] * len(kinds))
    y = numbers(rng, kinds[0], (33, 33))
    want = MAPS[name][1](*[y.T.copy()] * (len(kinds) - 1))
    run(name, y.shape, [y.T] * len(kinds))
    np.testing.assert_array_equal(y.T, want)


def test_copies_of_many_elements_go_in_parts():
    """More than are copied at once, in rows that are and are not whole vectors, along the first dimension and within it."""
    rng = np.random.default_rng(5)
    at_once = 1 << 10  # kCopiedElements of the emulator
    for shape in [(3, 528), (3, 517), (2, 2407), (9, 7, 33), (70, 48), (5000,)]:
        x = numbers(rng, "u1", (*shape[:-1], 2 * shape[-1]))[..., ::2]
        y = aligned(np.zeros(shape, np.uint8))
        used = check("negative uint8", shape, [y, x])
        assert 0 < used <= 2 * at_once
        y = np.zeros((*shape[:-1], 2 * shape[-1]), np.uint8)[..., 1::2]
        check("difference float32", shape, [y.astype("f4"), x.astype("f4"), x.astype("f4")[..., ::-1]])
        assert at_once < check("negative uint8", shape, [y, x]) <= 2 * at_once


# ---- functions of scalars -------------------------------------------------------------------------------------------------

NAMES = LIB.emulator_scalar_names().decode().split() if LIB else []
EXPECTED: dict[str, Callable[..., Any]] = {
    **{"+": np.add, "-": np.subtract, "*": np.multiply, "/": np.divide, "negative": np.negative},
    **{"<": np.less, "<=": np.less_equal, ">": np.greater, ">=": np.greater_equal},
    **{"==": np.equal, "!=": np.not_equal, "max": np.maximum, "min": np.minimum, "round": np.rint},
    **{"pow": np.power, "atan2": np.arctan2},
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "fma": lambda x, y: x * y + x,
    "select": lambda x, y: np.where(x < y, x, y),
    "erf": np.vectorize(math.erf, otypes=[float]),
    "erfc": np.vectorize(math.erfc, otypes=[float]),
}
INVERSE = {"asin", "acos", "atan", "asinh", "acosh", "atanh"}


def expected(name: str) -> Callable[..., Any]:
    if name in EXPECTED:
        return EXPECTED[name]
    return getattr(np, f"arc{name[1:]}" if name in INVERSE else name)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_functions_of_scalars(dtype):
    """Against NumPy in double."""
    rng = np.random.default_rng(6)
    x = np.concatenate([rng.uniform(0.05, 0.95, 100), rng.uniform(1.1, 9, 100), rng.uniform(-9, -0.1, 100)])
    y = rng.permutation(x)
    x, y = (v.astype(dtype).astype(np.float64) for v in (x, y))
    y[:3] = x[:3]
    x[-2:], y[-2:] = [2.5, -3.5], [0.5, 2]
    out = np.zeros((len(x), len(NAMES)))
    assert LIB.emulator_scalar(
        dtype is np.float64,
        x.ctypes.data_as(ctypes.c_void_p),
        y.ctypes.data_as(ctypes.c_void_p),
        len(x),
        out.ctypes.data_as(ctypes.c_void_p),
        len(NAMES),
    ), LIB.fastnn_emulator_fault().decode()
    assert len(NAMES) == len(set(NAMES)) > 45
    for name, got in zip(NAMES, out.T, strict=True):
        f = expected(name)
        one = name in ("rsqrt", "sigmoid", "erf", "erfc") or getattr(f, "nin", 2) == 1
        with np.errstate(all="ignore"):
            want = np.asarray(f(x) if one else f(x, y), np.float64)
        tolerance = 16 * np.finfo(dtype).eps
        np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance, equal_nan=True, err_msg=name)
