"""Accuracy of exp, log, sqrt, tanh, sigmoid, erf and pow, in units in the last place, and their special values.

The references are NumPy in a wider type (float64 for float32, the 80-bit long double for float64) and the
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
from fastnn import _C

# Allowed errors in ulp against the exact value; csrc/cpu/simd/math.h states what is reached.
BOUND = {"exp": 1.0, "log": 1.0, "sqrt": 0.501, "sigmoid": 2.0, "tanh": 3.0, "pow": 1.0, "erf": 3.0}
WIDER = {np.dtype(np.float32): np.float64, np.dtype(np.float64): np.longdouble}
SPECIAL = [0.0, -0.0, 1.0, -1.0, 1e-45, -1e-45, 1e-38, 3e38, -3e38, np.inf, -np.inf, np.nan]
needs_long_double = pytest.mark.skipif(np.finfo(np.longdouble).nmant < 63, reason="no wider type here")
DTYPES = [np.float32, pytest.param(np.float64, marks=needs_long_double)]


def sigmoid(x):
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1, e) / (1 + e)


def erf(x):
    """To more digits than x has: by its series near 0, and by its complement, of which double has digits enough."""
    if x.dtype == np.float64:  # for float32
        return np.vectorize(math.erf, otypes=[float])(x)
    size = np.minimum(np.abs(np.where(np.isnan(x), 0, x)), np.longdouble(30))
    term = total = np.where(size < 3, size, 0)
    for n in range(1, 90):
        term = -term * np.where(size < 3, size, 0) ** 2 / n
        total = total + term / (2 * n + 1)
    series = total * 2 / np.sqrt(4 * np.arctan(np.longdouble(1)))
    far = 1 - np.vectorize(math.erfc, otypes=[float])(size.astype(float)).astype(x.dtype)
    return np.where(np.isnan(x), x, np.copysign(np.where(size < 1, series, far), x))


REFERENCE = {"exp": np.exp, "log": np.log, "sqrt": np.sqrt, "tanh": np.tanh, "sigmoid": sigmoid, "erf": erf}


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
    assert error[worst] <= BOUND[name], (
        f"{name}{tuple(i[finite][worst] for i in inputs)}: {error[worst]:.2f} ulp"
    )


def samples(dtype):
    rng = np.random.default_rng(0)
    if dtype == np.float32:
        every = np.arange(0, 2**32, 4099, dtype=np.uint64).astype(np.uint32).view(np.float32)
    else:
        every = rng.integers(0, 2**64, 300_000, dtype=np.uint64).view(np.float64)
    dense = [rng.uniform(-105, 90, 200_000), rng.uniform(-2, 2, 200_000), rng.uniform(0.5, 2, 100_000)]
    wide = [rng.uniform(-746, 711, 200_000)] if dtype == np.float64 else []
    return np.concatenate([every, *(d.astype(dtype) for d in dense + wide), np.array(SPECIAL, dtype)])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", REFERENCE)
def test_error(name, dtype):
    x = samples(dtype)
    with np.errstate(all="ignore"):
        exact = REFERENCE[name](x.astype(WIDER[x.dtype]))
        check(name, ours(name, x), exact, x)


@pytest.mark.parametrize("name", ["exp", "log", "tanh"])
def test_validation_set_of_numpy(name):
    path = Path(np.__file__).parent / "_core/tests/data" / f"umath-validation-set-{name}.csv"
    if not path.exists():
        pytest.skip("this NumPy comes without its validation sets")
    rows = [r.split(",") for r in path.read_text().splitlines() if r.startswith("np.float")]
    for dtype, bits in ((np.float32, np.uint32), (np.float64, np.uint64)):
        mine = [r for r in rows if r[0] == f"np.{np.dtype(dtype).name}"]
        x = np.array([int(r[1], 16) for r in mine], bits).view(dtype)
        y = np.array([int(r[2], 16) for r in mine], bits).view(dtype)
        got = ours(name, x)
        with np.errstate(invalid="ignore"):
            apart = np.abs(got.view(bits).astype(np.int64) - y.view(bits).astype(np.int64))
        apart[np.isnan(got) & np.isnan(y)] = 0
        assert len(x) > 100
        assert apart.max() <= {"exp": 1, "log": 1, "tanh": 3}[name], x[apart.argmax()]


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
@pytest.mark.parametrize("name", [*REFERENCE, "pow"])
def test_same_bits_in_any_place(name, dtype):
    """An element's result does not depend on its neighbours, its address or the layout it is read from."""
    x = np.random.default_rng(2).uniform(0.01, 9, 200).astype(dtype)
    arguments = 2 if name == "pow" else 1
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
