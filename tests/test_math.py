"""The error bounds that elementwise ops publish, in units in the last place, and special values.

The references are those of the op table in a wider type (float64 for float32, the 80-bit long double for float64) and the
validation sets that come with NumPy.
"""

import math
import os
import subprocess
import sys
from pathlib import Path

import fastnn as fn
import numpy as np
import pytest
from cases.elementwise import ROWS
from cases.rows import described, references
from fastnn import _C

BOUND = {row.name: row.ulp for row in described().values() if row.ulp is not None and row.name in ROWS}
OPERANDS = {name: described()[name].operands for name in BOUND}
UNARY, BINARY = ([name for name in BOUND if OPERANDS[name] == n] for n in (1, 2))
SLACK = 2.0**-10  # ulp; references are rounded too, long double to 11 bits more than float64
WIDER = {np.dtype(np.float32): np.float64, np.dtype(np.float64): np.longdouble}
SPECIAL = [0.0, -0.0, 1.0, -1.0, 1e-45, -1e-45, 1e-38, 3e38, -3e38, np.inf, -np.inf, np.nan]
needs_long_double = pytest.mark.skipif(np.finfo(np.longdouble).nmant < 63, reason="no wider type here")
DTYPES = [np.float32, pytest.param(np.float64, marks=needs_long_double)]


def exactly(name, *arrays):
    """What the op would return if it rounded nothing, in a wider type."""
    reference, _ = references(described()[name], ROWS[name], {})
    return reference(*(a.astype(WIDER[a.dtype]) for a in arrays))


def ours(name, *arrays):
    return getattr(_C, name)(*(fn.from_numpy(a) for a in arrays)).numpy()


def ulp_error(got, exact):
    """|got - exact| in ulps of got's type at exact; both finite."""
    info = np.finfo(got.dtype)
    exponent = np.frexp(np.where(exact == 0, 1, exact))[1] - 1
    ulp = np.ldexp(np.ones_like(exact), np.maximum(exponent, info.minexp) - info.nmant)
    return np.abs(got.astype(exact.dtype) - exact) / ulp


def check(name, got, exact, *inputs):
    rounded = exact.astype(got.dtype)
    finite = np.isfinite(rounded) & np.isfinite(got)
    where = [i[~finite] for i in inputs]
    np.testing.assert_array_equal(got[~finite], rounded[~finite], err_msg=f"{name} of {where}")
    zero = rounded == 0
    np.testing.assert_array_equal(np.signbit(got[zero]), np.signbit(rounded[zero]))
    error = ulp_error(got[finite], exact[finite])
    worst = error.argmax()
    assert error[worst] <= BOUND[name][got.dtype.name] + SLACK, (
        f"{name}{tuple(i[finite][worst] for i in inputs)}: {error[worst]:.2f} ulp"
    )


def every_size(dtype):
    """Numbers of every exponent."""
    if dtype == np.float32:
        return np.arange(0, 2**32, 4099, dtype=np.uint64).astype(np.uint32).view(np.float32)
    return np.random.default_rng(0).integers(0, 2**64, 300_000, dtype=np.uint64).view(np.float64)


def samples(dtype):
    rng = np.random.default_rng(0)
    dense = [rng.uniform(-105, 90, 200_000), rng.uniform(-2, 2, 200_000), rng.uniform(0.5, 2, 100_000)]
    wide = [rng.uniform(-746, 711, 200_000)] if dtype == np.float64 else []
    return np.concatenate(
        [every_size(dtype), *(d.astype(dtype) for d in dense + wide), np.array(SPECIAL, dtype)]
    )


def pairs(dtype):
    """Any two numbers, two of similar size, and the special values, each with each."""
    rng = np.random.default_rng(1)
    every = every_size(dtype)
    size = rng.choice(every, 200_000)
    with np.errstate(all="ignore"):
        similar = size * rng.uniform(-4, 4, size.size).astype(dtype)
    grid = np.meshgrid(np.array(SPECIAL, dtype), np.array(SPECIAL, dtype))
    near = rng.uniform(-9, 9, (2, 100_000)).astype(dtype)
    columns = [(every, rng.permutation(every)), (size, similar), near, [g.ravel() for g in grid]]
    return [np.concatenate([c[i] for c in columns]) for i in (0, 1)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", BOUND)
def test_error(name, dtype):
    operands = [samples(dtype)] if OPERANDS[name] == 1 else pairs(dtype)
    with np.errstate(all="ignore"):
        check(name, ours(name, *operands), exactly(name, *operands), *operands)


def validation_set(name):
    return Path(np.__file__).parent / "_core/tests/data" / f"umath-validation-set-{name}.csv"


@pytest.mark.parametrize("name", [name for name in UNARY if validation_set(name).exists()])
def test_validation_set_of_numpy(name):
    rows = [r.split(",") for r in validation_set(name).read_text().splitlines() if r.startswith("np.float")]
    for dtype, bits in ((np.float32, np.uint32), (np.float64, np.uint64)):
        mine = [r for r in rows if r[0] == f"np.{np.dtype(dtype).name}"]
        x = np.array([int(r[1], 16) for r in mine], bits).view(dtype)
        y = np.array([int(r[2], 16) for r in mine], bits).view(dtype)
        got = ours(name, x)
        with np.errstate(invalid="ignore"):
            apart = np.abs(got.view(bits).astype(np.int64) - y.view(bits).astype(np.int64))
        apart[np.isnan(got) & np.isnan(y)] = 0
        assert len(x) > 100
        assert apart.max() <= math.floor(BOUND[name][got.dtype.name] + 0.5), x[apart.argmax()]


@pytest.mark.parametrize("dtype", DTYPES)
def test_pow(dtype):
    rng = np.random.default_rng(1)
    n = 200_000
    x = [np.exp(rng.uniform(-80, 80, n)), rng.uniform(0, 3, n), -np.floor(rng.uniform(0, 100, n)),
         rng.uniform(0.99, 1.01, n), np.exp(rng.uniform(-103, -87, n))]  # fmt: skip
    y = [rng.uniform(-1, 1, n), rng.uniform(-80, 80, n), np.round(rng.uniform(-20, 20, n)),
         rng.uniform(-8000, 8000, n), rng.uniform(-1, 1.5, n)]  # fmt: skip
    if dtype == np.float64:
        x += [np.exp(rng.uniform(-740, 700, n))]
        y += [rng.uniform(-1.1, 1.1, n)]
    x, y = np.concatenate(x).astype(dtype), np.concatenate(y).astype(dtype)
    with np.errstate(all="ignore"):
        check("pow", ours("pow", x, y), np.power(x.astype(np.longdouble), y.astype(np.longdouble)), x, y)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("exponent", [2, 3, -1, 4])
def test_whole_powers(dtype, exponent):
    rng = np.random.default_rng(3)
    x = np.exp(rng.uniform(-40, 40, 100_001)) * rng.choice([-1, 1], 100_001)
    x = np.concatenate(
        [x, rng.uniform(1, 2, 100_001), [0.0, -0.0, np.inf, -np.inf, np.nan, 1e30, -1e30]]
    ).astype(dtype)
    with np.errstate(all="ignore"):
        want = x.astype(np.longdouble) ** exponent
        check("pow", ours("pow", x, np.full_like(x, exponent)), want, x)
        check("pow", (fn.tensor(x) ** exponent).numpy(), want, x)
    y = np.where(np.arange(x.size) % 3 == 0, 1.7, exponent).astype(dtype)  # with other exponents beside it
    alone, among = ours("pow", x, np.full_like(x, exponent)), ours("pow", x, y)
    assert np.array_equal(alone[y == exponent], among[y == exponent], equal_nan=True)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_pow_of_special_values(dtype):
    values = [*SPECIAL, 2, -2, 0.5, -0.5, 3, -3, 2.5, -2.5, 1e30, -1e30, 2**24 - 1, 1 - 2**24, 2**24]
    x, y = (v.ravel().copy() for v in np.meshgrid(np.array(values, dtype), np.array(values, dtype)))
    with np.errstate(all="ignore"):
        expected = np.power(x, y)
        got = ours("pow", x, y)
        np.testing.assert_array_equal(np.isnan(got), np.isnan(expected), err_msg="NaN")
        np.testing.assert_allclose(got, expected, rtol=4 * np.finfo(dtype).eps)
        np.testing.assert_array_equal(np.signbit(got[expected == 0]), np.signbit(expected[expected == 0]))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", BOUND)
def test_same_bits_in_any_place(name, dtype):
    """An element's result does not depend on its neighbours, its address or the layout it is read from."""
    x = np.random.default_rng(2).uniform(0.01, 9, 200).astype(dtype)
    arguments = OPERANDS[name]
    whole = ours(name, *[x] * arguments)
    for start in (0, 1, 3):
        for size in (1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 63, 65, 130):
            part = x[start : start + size]
            np.testing.assert_array_equal(ours(name, *[part] * arguments), whole[start : start + size])
    np.testing.assert_array_equal(ours(name, *[x[::3]] * arguments), whole[::3])
    square = x[:196].reshape(14, 14)
    np.testing.assert_array_equal(ours(name, *[square.T] * arguments), whole[:196].reshape(14, 14).T)


OTHER_ISAS = [isa for isa, runs in fn.info()["isa_supported"].items() if runs and isa != fn.info()["isa"]]


@pytest.mark.skipif("FASTNN_ISA" in os.environ, reason="this is already the run of one instruction set")
@pytest.mark.parametrize("isa", OTHER_ISAS)
def test_other_instruction_sets(isa):
    files = [Path(__file__), Path(__file__).with_name("test_elementwise.py")]
    command = [sys.executable, "-m", "pytest", "-x", *map(str, files)]
    done = subprocess.run(command, env={**os.environ, "FASTNN_ISA": isa}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:]
