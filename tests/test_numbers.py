"""Numbers at the ends of their ranges, and where rounding would show: exact, finite, or refused."""

from __future__ import annotations

import operator

import fastnn as fn
import fastnn.nn.functional as F
import numpy as np
import pytest
from conftest import needs_cuda

DEVICES = ["cpu", pytest.param("cuda", marks=needs_cuda)]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    "bounds",
    [
        (2**53 + 1, 2**53 + 4, 1),
        (-612533883919500149, -612533883919500139, 2),
        (2**62, 2**62 + 3, 1),
        (2**63 - 3, 2**63 - 1, 1),
        (-(2**63), 2**63 - 1, 2**62),
        (5, 0, -2),
        (0, 5, -1),
        (3, 3, 1),
        (0, 10, 3),
    ],
    ids=str,
)
def test_arange_of_integers_is_exact(device, bounds):
    y = fn.arange(*bounds, device=device)
    assert y.dtype == fn.int64
    assert y.tolist() == list(range(*bounds))
    assert fn.arange(*map(np.int64, bounds), device=device).tolist() == list(range(*bounds))
    assert fn.arange(*bounds, dtype=fn.float64, device=device).shape == y.shape


def test_arange_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="step must not be 0"):
        fn.arange(0, 3, 0)
    for bounds in ((2**31 - 1, 2**31 + 1), (-(2**31), -(2**31) - 2, -1), (2**40, 2**40 + 2)):
        with pytest.raises(ValueError, match="does not fit"):
            fn.arange(*bounds, dtype=fn.int32)
    assert fn.arange(2**31 - 2, 2**31, dtype=fn.int32).tolist() == [2**31 - 2, 2**31 - 1]
    with pytest.raises(ValueError, match="do not fit int64"):
        fn.arange(1e30, 1e30, 1.0, dtype=fn.int64)


@pytest.mark.parametrize(
    "value", [np.int64(2**53 + 1), 2**63 - 1, -(2**63), True, np.bool_(True), np.int32(3)]
)
def test_full_keeps_integers(value):
    y = fn.full((2,), value)
    assert y.dtype == (fn.bool if isinstance(value, (bool, np.bool_)) else fn.int64)
    assert y.tolist() == [value, value]


COMPARISONS = [operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge]
INTEGERS = {
    fn.uint8: [0, 1, 7, 254, 255],
    fn.int32: [-(2**31), -1, 0, 5, 2**31 - 1],
    fn.int64: [-(2**63), -1, 0, 2**24 + 1, 2**53 + 1, 2**63 - 1],
    fn.bool: [False, True],
}
NUMBERS = [-1, 0, 1, 2, 255, 256, 2**24, 2**31, 2**32, -(2**31) - 1, 2**53, 2**63 - 1, -(2**63)]
NUMBERS += [2**63, 2**63 + 1, 2**64, -(2**63) - 1, -(2**64), 10**400, -(10**400)]
NUMBERS += [
    2.0**62,
    2.0**63,
    -(2.0**63),
    -1.0,
    0.5,
    7.0,
    2.0**24,
    2.0**24 + 0.5,
    2.0**53,
    1e30,
    -1e30,
    float("inf"),
    float("-inf"),
    float("nan"),
]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
@pytest.mark.parametrize("compare", COMPARISONS)
def test_integers_compare_with_numbers_beyond_their_range(device, dtype, compare):
    values = INTEGERS[dtype]
    x = fn.tensor(values, dtype=dtype, device=device)
    for number in NUMBERS:
        assert compare(x, number).tolist() == [compare(v, number) for v in values], number
        assert compare(number, x).tolist() == [compare(number, v) for v in values], number
        if isinstance(number, int) and -(2**63) <= number < 2**63:
            y = fn.tensor(number, device=device)
            assert compare(x, y).tolist() == [compare(v, number) for v in values], number


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("dtype", "most"), [(fn.float32, 3e38), (fn.float64, 1.7e308)])
def test_uniform_numbers_of_the_whole_range(device, dtype, most):
    x = fn.empty(2000, dtype=dtype, device=device).uniform_(-most, most).cpu().numpy() / most
    assert np.isfinite(x).all()
    assert len(np.unique(x)) > 1900
    assert abs(x.mean()) < 0.1
    assert x.min() < -0.9
    assert x.max() > 0.9


@pytest.mark.parametrize("bounds", [(-1e39, 0), (0, 1e39), (0, float("inf")), (float("nan"), 1)])
def test_uniform_refuses_bounds_that_are_no_float32(bounds):
    with pytest.raises(ValueError, match="finite interval of float32"):
        fn.empty(2).uniform_(*bounds)


@pytest.mark.parametrize("device", DEVICES)
def test_derivatives_of_powers_at_zero(device):
    def derivatives(y, n):
        found = []
        for _ in range(n):
            (y,) = fn.grad(y, [x], create_graph=True)
            found.append(y.item())
        return found

    x = fn.tensor(0.0, dtype=fn.float64, requires_grad=True, device=device)
    exponents = fn.tensor([0.0, 1.0, 2.0, 3.0], dtype=fn.float64, device=device)
    assert derivatives((x**exponents).sum(), 4) == [1, 2, 6, 0]
    assert derivatives(fn.pow(x, 3.0), 3) == [0, 0, 6]
    assert derivatives(fn.pow(x, 4), 3) == [0, 0, 0]


@pytest.mark.parametrize("exponent", [1.7, -1.3, 3, 0.1])
def test_gradient_of_a_power_keeps_the_exponent(exponent):
    x = fn.tensor([0.3], dtype=fn.float64, requires_grad=True)
    (x**exponent).sum().backward()
    np.testing.assert_allclose(x.grad.item(), exponent * 0.3 ** (exponent - 1), rtol=1e-14)
    x.grad = None
    (exponent**x if exponent > 0 else x).sum().backward()
    if exponent > 0:
        np.testing.assert_allclose(x.grad.item(), exponent**0.3 * np.log(exponent), rtol=1e-14)


IN_PLACE = {
    "add_": (lambda x, y: x.add_(y), np.add),
    "mul_": (lambda x, y: x.mul_(y), np.multiply),
    "copy_": (lambda x, y: x.copy_(y), lambda x, y: y),
    "slice": (lambda x, y: x.__setitem__(slice(None), y), lambda x, y: y),
    "operator": (lambda x, y: x.__iadd__(y), np.add),
}


@pytest.mark.parametrize("name", IN_PLACE)
@pytest.mark.parametrize("borrow", [fn.from_numpy, fn.from_dlpack])
@pytest.mark.parametrize(
    "views", [lambda a: (a[1:], a[:-1]), lambda a: (a[:-1], a[1:]), lambda a: (a[::-1], a), lambda a: (a, a)]
)
def test_overlapping_views_of_one_array(name, borrow, views):
    ours, numpys = IN_PLACE[name]
    a = np.arange(3.0, 503.0)
    want = a.copy()
    x, y = views(want)
    x[...] = numpys(x.copy(), y.copy())
    x, y = views(a)
    ours(borrow(x), fn.from_numpy(y))
    np.testing.assert_array_equal(a, want)


@pytest.mark.parametrize("shape", [(2**17, 3), (2**17, 70), (16, 3, 64, 64), (2**15, 40, 2)], ids=str)
@pytest.mark.parametrize("value", [1e4, 1e8, -3.3])
def test_batch_norm_of_constant_columns(shape, value):
    channels = shape[1]
    columns = np.float32(value) * (1 + 0.37 * np.arange(channels, dtype=np.float32))
    x = fn.zeros(shape) + fn.tensor(columns.reshape(-1, *[1] * (len(shape) - 2)))
    mean, variance = fn.zeros(channels), fn.ones(channels)
    y = F.batch_norm(x, mean, variance, training=True, momentum=1.0)
    np.testing.assert_array_equal(mean.numpy(), columns)
    assert (variance == 0).all().item()
    assert (y == 0).all().item()


def test_batch_norm_of_columns_that_hardly_differ():
    rng = np.random.default_rng(0)
    x = (1e4 + rng.choice([0.0, 0.001], (2**17, 20))).astype(np.float32)
    mean, variance = fn.zeros(20), fn.ones(20)
    y = F.batch_norm(fn.tensor(x), mean, variance, training=True, momentum=1.0, eps=0.0)
    wide = x.astype(np.float64)
    np.testing.assert_allclose(variance.numpy(), wide.var(0, ddof=1), rtol=1e-4)
    np.testing.assert_allclose(mean.numpy(), wide.mean(0), rtol=1e-7)
    assert np.isfinite(y.numpy()).all()


@pytest.mark.parametrize("value", [1e8, 3.3])
def test_layer_norm_of_constant_rows(value):
    assert (F.layer_norm(fn.full((3, 70_000), value), (70_000,)) == 0).all().item()


@pytest.mark.parametrize("dim", range(-3, 3))
def test_unbind_along_any_dimension(dim):
    x = fn.arange(24).reshape(2, 3, 4)
    want = [np.take(x.numpy(), i, dim).tolist() for i in range(x.shape[dim])]
    assert [t.tolist() for t in x.unbind(dim)] == want
    y = fn.ones(2, 3, 4, requires_grad=True)
    y.unbind(dim)[1].sum().backward()
    assert y.grad.sum().item() == 24 / x.shape[dim]


@pytest.mark.parametrize("dtype", [fn.uint8, fn.int32, fn.int64])
def test_numbers_that_an_integer_dtype_does_not_hold(dtype):
    """PyTorch and NumPy refuse them, too; another number would take their place."""
    low, high = (int(f(np.iinfo(str(dtype).rpartition(".")[2]))) for f in (lambda i: i.min, lambda i: i.max))
    x = fn.tensor([1, 2], dtype=dtype)
    writes = {
        "full": lambda v: fn.full((1,), v, dtype=dtype),
        "fill_": x.fill_,
        "setitem": lambda v: x.__setitem__(0, v),
        "index_put": lambda v: x.__setitem__([1], v),
    }
    if dtype is not fn.int64:
        writes |= {
            "tensor": lambda v: fn.tensor([v], dtype=dtype),
            "maximum": lambda v: fn.maximum(x, v),
            "where": lambda v: fn.where(fn.tensor([True, True]), v, x),
            "add_": x.add_,
        }
    for value in (high + 1, low - 1, float(high) * 4, float("nan"), float("inf")):
        for name, write in writes.items():
            if isinstance(value, float) and name not in ("full", "fill_", "setitem", "index_put"):
                continue
            with pytest.raises((ValueError, OverflowError), match=r"fit|too large"):
                write(value)
    assert x.tolist() == [1, 2]
    assert fn.full((1,), high, dtype=dtype).tolist() == [high]
    x[0] = low
    assert x.tolist() == [low, 2]


@pytest.mark.parametrize("bytes_", [[1, 2, 3, 255, 0], [2] * 1000, [255] * 70])
def test_bools_that_others_stored_as_other_bytes(bytes_):
    array = np.array(bytes_, np.uint8).view(bool)
    with pytest.raises(ValueError, match="stored as 0 or 1"):
        fn.from_numpy(array)
    assert fn.tensor(array).sum().item() == np.count_nonzero(bytes_)
    shared = np.zeros(len(bytes_), np.uint8)
    mask = fn.from_numpy(shared.view(bool))
    shared[:] = bytes_  # what NumPy shares it may write
    x = fn.arange(len(bytes_))
    assert x[mask].tolist() == np.flatnonzero(bytes_).tolist()
    assert fn.nonzero(mask).flatten().tolist() == np.flatnonzero(bytes_).tolist()
    x[mask] = -1
    assert (x == -1).sum().item() == np.count_nonzero(bytes_)


def test_normal_refuses_what_is_not_finite():
    for mean, deviation in ((0, 1e39), (1e39, 1), (float("nan"), 1), (0, float("inf")), (0, float("nan"))):
        with pytest.raises(ValueError, match="normal_"):
            fn.empty(3).normal_(mean, deviation)
    assert np.isfinite(fn.empty(3, dtype=fn.float64).normal_(1e39, 1e300).numpy()).all()


def test_integers_beyond_64_bits_as_operands():
    """Of floats they are numbers like any other; in integers they do not fit."""
    x, i = fn.tensor([1.0, -2.0], dtype=fn.float64), fn.tensor([1, 2])
    assert (x * 2**64).tolist() == [2.0**64, -(2.0**65)]
    assert (2**63 - x).tolist() == [2.0**63, 2.0**63]
    assert (x.float() < 2**64).tolist() == [True, True]
    assert (i / 2**64).dtype is fn.float32
    y = x.clone()
    y.add_(2**64)
    assert y.tolist() == [2.0**64, 2.0**64]
    for call in (
        lambda: i + 2**64,
        lambda: -(2**63) - 1 - i,
        lambda: fn.maximum(i, 2**64),
        lambda: i.add_(2**70),
    ):
        with pytest.raises(ValueError, match=r"the number -?\d.*e\+\d+ does not fit int64"):
            call()
    for call in (lambda: x + 10**400, lambda: x < 10**400):
        with pytest.raises(ValueError, match="does not fit float64"):
            call()
    for call in (lambda: fn.full((2,), 2**64), lambda: fn.arange(2**64, 2**64 + 3), lambda: i.fill_(2**64)):
        with pytest.raises(ValueError, match=r"an integer .*does not fit 64 bits"):
            call()
    for value in (2**63, 2**64, [1, 2**64]):
        with pytest.raises(ValueError, match="tensor: an integer does not fit 64 bits"):
            fn.tensor(value)
    assert fn.tensor([2**63, 2**70], dtype=fn.float64).tolist() == [2.0**63, 2.0**70]
    with pytest.raises(TypeError, match="uint64 has no counterpart"):
        fn.tensor(np.uint64(3))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("value", [1e20, float("inf"), float("-inf"), 3e38, -1e300])
def test_floats_are_filled_with_numbers_beyond_the_integers(device, value):
    for dtype in (fn.float32, fn.float64):
        expected = fn.tensor([value] * 2, dtype=dtype).tolist()
        assert fn.full((2,), value, dtype=dtype, device=device).tolist() == expected
        assert fn.zeros(2, dtype=dtype, device=device).fill_(value).tolist() == expected
    assert fn.full((2,), 0.5, dtype=fn.bool, device=device).tolist() == [True, True]
    assert np.isnan(fn.full((), float("nan")).item())


def test_numbers_may_be_tensors_or_arrays_of_one_element():
    assert fn.full((2,), fn.tensor(3)).dtype is fn.int64
    assert fn.full((2,), fn.tensor(0.1, dtype=fn.float64)).tolist() == [0.1, 0.1]
    assert fn.full((2,), fn.tensor(True)).dtype is fn.bool
    assert fn.full((2,), np.array(2**53 + 1)).tolist() == [2**53 + 1] * 2
    assert fn.full((2,), fn.tensor(2.5), dtype=fn.int64).tolist() == [2, 2]
    for three in (fn.tensor(3), np.array(3), np.int8(3), fn.tensor([3])):
        y = fn.arange(three)
        assert (y.dtype, y.tolist()) == (fn.int64, [0, 1, 2])
    y = fn.arange(fn.tensor(0.0), np.float32(1), fn.tensor(0.25, dtype=fn.float64))
    assert (y.dtype, y.tolist()) == (fn.float32, [0, 0.25, 0.5, 0.75])
    assert fn.linspace(fn.tensor(0), fn.tensor(1.0), fn.tensor(3)).tolist() == [0, 0.5, 1]
    assert fn.eye(fn.tensor(2)).shape == (2, 2)
    for wrong in ("3", None, 3j, [1]):
        with pytest.raises(TypeError, match="arange: expected a number, not"):
            fn.arange(wrong)
    with pytest.raises(TypeError, match="no gradient would come to a tensor that requires one"):
        fn.linspace(fn.tensor(0.0, requires_grad=True), 1, 3)


def test_linspace_between_numbers_that_are_far_apart():
    for kind in (float, np.float32, fn.tensor):
        y = fn.linspace(kind(-3e38), kind(3e38), 5)
        np.testing.assert_allclose(y.numpy(), [-3e38, -1.5e38, 0, 1.5e38, 3e38], rtol=1e-6)
    y = fn.linspace(-1.7e308, 1.7e308, 3, dtype=fn.float64)
    assert y.tolist() == [-1.7e308, 0, 1.7e308]
    assert fn.linspace(0, 1, 7, dtype=fn.float64).tolist() == np.linspace(0, 1, 7).tolist()
    for wrong in (float("inf"), float("nan")):
        with pytest.raises(ValueError, match="linspace: start and end must be finite"):
            fn.linspace(0, wrong, 3)
