"""Elementwise ops, casts and copies: every layout, every dtype, special values."""

import itertools
import warnings

import fastnn as fn
import numpy as np
import pytest
from fastnn import _C

NUMBERS = [np.float32, np.float64, np.int64, np.int32, np.uint8]
SHAPES = [(0,), (), (1,), (17,), (1025,), (40_000,), (3, 5), (33, 65), (1000, 3), (3, 1000), (5, 0, 2),
          (2, 3, 700), (17, 18, 19), (5, 4, 3, 2), (2, 2, 2, 2, 2, 2, 3)]  # fmt: skip


def random(shape, dtype, seed=0):
    rng = np.random.default_rng(seed)
    if np.dtype(dtype) == np.bool_:
        return rng.integers(0, 2, shape).astype(bool)
    if np.issubdtype(dtype, np.integer):
        return rng.integers(0, 200, shape).astype(dtype)
    return rng.standard_normal(shape).astype(dtype)


def layouts(shape, dtype, seed):
    """Arrays dense, column-major, transposed, strided, with gaps, to be broadcast along each dimension."""
    yield random(shape, dtype, seed)
    if len(shape) < 2:
        return
    yield np.asfortranarray(random(shape, dtype, seed + 1))
    swapped = (*shape[:-2], shape[-1], shape[-2])
    yield random(swapped, dtype, seed + 2).swapaxes(-1, -2)
    yield random(tuple(2 * s + 1 for s in shape), dtype, seed + 3)[tuple(slice(1, 2 * s, 2) for s in shape)]
    yield random(tuple(s + 3 for s in shape), dtype, seed + 4)[tuple(slice(1, s + 1) for s in shape)]
    for d in range(len(shape)):
        if shape[d]:
            yield np.broadcast_to(random((*shape[:d], 1, *shape[d + 1 :]), dtype, seed + 5), shape).copy()[
                ...
            ]
            yield random((*shape[:d], 1, *shape[d + 1 :]), dtype, seed + 6)


@pytest.mark.parametrize("dtype", NUMBERS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_layouts(shape, dtype):
    for a, b in itertools.product(layouts(shape, dtype, 0), layouts(shape, dtype, 50)):
        x, y = fn.from_numpy(a), fn.from_numpy(b)
        np.testing.assert_array_equal((x - y).numpy(), a - b)
    for a in layouts(shape, dtype, 0):
        x, y, c = fn.from_numpy(a), fn.tensor(random(shape, dtype, 7)), random(shape, np.bool_)
        np.testing.assert_array_equal((x < y).numpy(), a < y.numpy())
        chosen = np.where(c, a, y.numpy())
        np.testing.assert_array_equal(_C.where(fn.from_numpy(c), x, y).numpy(), chosen)
        np.testing.assert_array_equal(x.contiguous().numpy(), a)
        if a.shape != shape:
            continue
        out = fn.from_numpy(np.zeros(a.shape[::-1], dtype).T)
        out.copy_(x)
        np.testing.assert_array_equal(out.numpy(), a)


@pytest.mark.parametrize("dtype", [fn.bfloat16, fn.float16, fn.bool], ids=str)
def test_transposed_copy_of_other_sizes(dtype):
    a = random((65, 41), np.bool_)
    x = fn.from_numpy(a).to(dtype)
    np.testing.assert_array_equal(x.transpose(0, 1).contiguous().to(fn.bool).numpy(), a.T)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_special_values(dtype):
    s = np.array([0, -0.0, 1, -1, np.nan, np.inf, -np.inf, 3.5, -2, 1e-45], dtype)
    a, b = (v.ravel().copy() for v in np.meshgrid(s, s))
    x, y = fn.from_numpy(a), fn.from_numpy(b)
    with np.errstate(all="ignore"):
        for ours, theirs in ((_C.add, np.add), (_C.mul, np.multiply), (_C.div, np.divide),
                             (_C.maximum, np.maximum), (_C.minimum, np.minimum), (_C.eq, np.equal),
                             (_C.ne, np.not_equal), (_C.lt, np.less), (_C.le, np.less_equal)):  # fmt: skip
            np.testing.assert_array_equal(ours(x, y).numpy(), theirs(a, b))
        for ours, theirs in ((_C.neg, np.negative), (_C.abs, np.abs), (_C.sign, np.sign),
                             (_C.relu, lambda v: np.maximum(v, 0))):  # fmt: skip
            np.testing.assert_array_equal(ours(x).numpy(), theirs(a))


def test_logic():
    a, b = random(1003, np.bool_, 0), random(1003, np.bool_, 1)
    x, y = fn.from_numpy(a), fn.from_numpy(b)
    np.testing.assert_array_equal(_C.logical_and(x, y).numpy(), a & b)
    np.testing.assert_array_equal(_C.logical_or(x, y).numpy(), a | b)
    np.testing.assert_array_equal(_C.logical_not(x).numpy(), ~a)


# ---- conversions ----


def saturated(x, dtype):
    """Truncated towards zero, the nearest end outside the range, 0 for NaN."""
    limits, whole = np.iinfo(dtype), np.trunc(x.astype(np.longdouble))
    y = np.zeros(x.shape, dtype)
    inside = (whole >= limits.min) & (whole <= limits.max)
    y[inside] = whole[inside].astype(dtype)
    y[whole > limits.max], y[whole < limits.min] = limits.max, limits.min
    return y


def as_bfloat16(x):
    """x rounded once to 8 bits of significand, ties to even, as float32."""
    wide = x.astype(np.longdouble)
    plain = np.isfinite(wide) & (wide != 0)
    exponent = np.maximum(np.frexp(np.where(plain, wide, 1))[1] - 8, -133)
    with np.errstate(over="ignore", invalid="ignore"):
        rounded = np.ldexp(np.rint(np.ldexp(wide, -exponent)), exponent)
        y = np.where(plain, rounded, wide).astype(np.float32)
    return np.where(np.abs(y) > np.float32(3.3895314e38), np.copysign(np.inf, y), y).astype(np.float32)


def sources():
    rng = np.random.default_rng(3)
    edges = [0, -0.0, np.nan, np.inf, -np.inf, 65504, 65519, 65520, 1e-8, -6e-8, 255.9, 256, -1, -0.9,
             2147483520, 2147483648, -2147483648, 9.2e18, 9.3e18]  # fmt: skip
    bits = rng.integers(0, 2**32, 20_003, dtype=np.uint64).astype(np.uint32).view(np.float32)
    single = np.concatenate(
        [bits, np.array(edges, np.float32), rng.uniform(-300, 300, 5000).astype(np.float32)]
    )
    single[np.isnan(single)] = np.nan  # NumPy warns about signalling ones
    yield single
    near = np.float64(np.float16(rng.uniform(-9, 9, 5000))) + rng.choice(
        [0, 1e-9, -1e-9, 2**-11, 2**-12], 5000
    )
    yield np.concatenate([single.astype(np.float64), near, rng.uniform(-7e4, 7e4, 5000)])
    yield np.concatenate([rng.integers(-(2**63), 2**63 - 1, 10_001), 2 ** rng.integers(0, 62, 99) + 1])
    yield rng.integers(-(2**31), 2**31 - 1, 10_003).astype(np.int32)
    yield np.arange(256, dtype=np.uint8)
    yield np.array([True, False] * 37)


@pytest.mark.parametrize("to", [*NUMBERS, np.float16, np.bool_])
def test_casts(to):
    for x in sources():
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            whole = np.issubdtype(x.dtype, np.floating) and np.issubdtype(to, np.integer)
            expected = saturated(x, to) if whole else x.astype(to)
        got = fn.from_numpy(x).to(getattr(fn, np.dtype(to).name)).numpy()
        assert got.dtype == expected.dtype
        np.testing.assert_array_equal(got, expected, err_msg=str(x.dtype))


def test_bfloat16():
    for x in sources():
        with np.errstate(invalid="ignore"):
            got = fn.from_numpy(x).to(fn.bfloat16).to(fn.float32).numpy()
            np.testing.assert_array_equal(got, as_bfloat16(x), err_msg=str(x.dtype))


def test_every_float16_widens():
    x = np.arange(65536, dtype=np.uint16).view(np.float16)
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(fn.from_numpy(x).to(fn.float32).numpy(), x.astype(np.float32))


@pytest.mark.parametrize("dtype", [fn.float32, fn.float64, fn.int64, fn.int32, fn.uint8, fn.bool], ids=str)
def test_fill(dtype):
    x = fn.zeros((7, 9), dtype=dtype)
    x.transpose(0, 1).fill_(1)
    np.testing.assert_array_equal(x.numpy(), np.ones((7, 9), x.numpy().dtype))


def test_threads_give_the_same_bits():
    before = fn.get_num_threads()
    a, b = random((700, 301), np.float32, 0), random((301, 700), np.float32, 1)
    results = []
    for threads in (1, 2, 3):
        fn.set_num_threads(threads)
        x, y = fn.from_numpy(a), fn.from_numpy(b).transpose(0, 1)
        results.append([_C.tanh(x * y).numpy(), y.contiguous().numpy(), _C.exp(x).numpy()])
    fn.set_num_threads(before)
    for other in results[1:]:
        for one, two in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(one, two)


def test_where_by_a_bool_of_python():
    assert fn.where(True, fn.tensor([1.0, 2.0]), 0.0).tolist() == [1, 2]
    assert fn.where(False, fn.tensor([1.0, 2.0]), 0.0).tolist() == [0, 0]
    assert fn.where(True, fn.tensor([1, 2]), 7).tolist() == [1, 2]
    x = fn.tensor([1.0, 2.0], requires_grad=True)
    fn.where(True, x, 0.0).sum().backward()
    assert x.grad.tolist() == [1, 1]


def test_a_parameter_takes_no_tensor_that_requires_grad():
    with pytest.raises(
        TypeError, match="softplus: beta must be a number: no gradient would come to a tensor"
    ):
        fn.softplus(fn.ones(3), beta=fn.tensor(1.0, requires_grad=True))
    assert fn.softplus(fn.zeros(1), beta=fn.tensor(2.0)).item() == pytest.approx(np.log(2) / 2)


def test_power_in_place_is_power():
    x = fn.randn(10_000)
    for exponent in (2, 0.5, 1, 3.7):
        y = fn.abs(x)
        same = y
        want = y**exponent
        y **= exponent
        assert y is same
        np.testing.assert_array_equal(y.numpy(), want.numpy())
        z = fn.abs(x)
        np.testing.assert_array_equal(z.pow_(exponent).numpy(), want.numpy())


def test_in_place_forms_are_named():
    with pytest.raises(
        TypeError, match="div_: the result is float32 and cannot be written into a tensor of int64"
    ):
        fn.tensor([4, 9]).div_(2)
    with pytest.raises(TypeError, match="add_: not defined for float16"):
        fn.ones(3, dtype=fn.float16).add_(fn.ones(3, dtype=fn.float16))
