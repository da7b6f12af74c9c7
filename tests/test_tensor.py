"""Tensors: making, types, views, printing, exchange with NumPy, PyTorch and DLPack."""

from __future__ import annotations

import copy
import gc
import itertools
import pickle
import weakref

import fastnn as fn
import numpy as np
import pytest

DTYPES = [fn.float32, fn.float64, fn.bfloat16, fn.float16, fn.int64, fn.int32, fn.uint8, fn.bool]
IN_NUMPY = [d for d in DTYPES if d is not fn.bfloat16]
by_name = {"ids": lambda d: d.name}


def named(torch, dtype):
    return getattr(torch, dtype.name)


# ---- making -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [1, 2.5, True, [1, 2], [1.0, 2], [True, False], [[1, 2], [3, 4]], [], [[], []], (1, (2)), [1, True], [2.0, False],
     np.float32(3), np.int32(3), np.ones(2), np.ones((2, 0), np.uint8), np.float16([1, 2]), 2**40],
    ids=repr,
)  # fmt: skip
def test_tensor_infers_what_torch_infers(data, torch):
    ours, theirs = fn.tensor(data), torch.tensor(data)
    assert (tuple(ours.shape), ours.dtype.name) == (
        tuple(theirs.shape),
        str(theirs.dtype).removeprefix("torch."),
    )
    np.testing.assert_array_equal(ours.numpy(), theirs.numpy())


def test_tensor_copies():
    array = np.arange(3.0)
    t = fn.tensor(array)
    array[0] = 9
    assert t.tolist() == [0, 1, 2]
    u = fn.tensor(t)
    u[0] = 5
    assert t.tolist() == [0, 1, 2]


@pytest.mark.parametrize("bad", [[[1, 2], [3]], ["a"], [None], object(), [1j], {"a": 1}], ids=repr)
def test_tensor_refuses(bad):
    with pytest.raises((TypeError, ValueError)):
        fn.tensor(bad)


@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 3), (2, 3, 4)])
@pytest.mark.parametrize("dtype", IN_NUMPY, **by_name)
def test_filled(shape, dtype):
    for ours, theirs in [
        (fn.zeros(shape, dtype=dtype), np.zeros(shape, dtype.name)),
        (fn.ones(shape, dtype=dtype), np.ones(shape, dtype.name)),
        (fn.full(shape, 3, dtype=dtype), np.full(shape, 3, dtype.name)),
        (fn.zeros_like(fn.ones(shape, dtype=dtype)), np.zeros(shape, dtype.name)),
        (fn.ones_like(fn.zeros(shape, dtype=dtype)), np.ones(shape, dtype.name)),
    ]:
        assert ours.dtype is dtype
        np.testing.assert_array_equal(ours.numpy(), theirs, strict=True)


@pytest.mark.parametrize(
    "args", [(5,), (2, 7), (2, 7, 2), (7, 2, -2), (0.5, 3), (0, 1, 0.1), (3, 3), (5, 2), (1e9, 1e9 + 3)]
)
def test_arange(args):
    want = np.arange(*args)
    got = fn.arange(*args)
    assert got.dtype is (fn.int64 if want.dtype == np.int64 else fn.float32)
    np.testing.assert_allclose(got.numpy(), want, rtol=1e-6)
    assert fn.linspace(0, 1, 5).tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert fn.eye(2, 3).tolist() == [[1, 0, 0], [0, 1, 0]]


def test_int64_extremes_survive():
    values = [2**63 - 1, -(2**63), 2**53 + 1]
    assert fn.tensor(values).tolist() == values
    assert (fn.tensor(values) + 0).tolist() == values
    assert fn.full((2,), 2**53 + 1).tolist() == [2**53 + 1] * 2


# ---- types --------------------------------------------------------------------------------------------------------------


def operands(library, dtype_of):
    """Every kind of operand: tensors with dimensions and without, Python numbers."""
    for dtype in DTYPES:
        yield library.ones(2, dtype=dtype_of(dtype))
        yield library.ones((), dtype=dtype_of(dtype))
    yield from (True, 3, 2.5)


def test_promotion_is_that_of_torch(torch):
    ours = list(operands(fn, lambda d: d))
    theirs = list(operands(torch, lambda d: named(torch, d)))
    for (a, x), (b, y) in itertools.product(zip(ours, theirs, strict=True), repeat=2):
        want = str(torch.result_type(x, y)).removeprefix("torch.")
        assert fn.result_type(a, b).name == want, f"{x!r} with {y!r}"
        if isinstance(x, torch.Tensor) and want in ("float32", "float64", "int64", "int32", "uint8"):
            assert (a + b).dtype.name == str((x + y).dtype).removeprefix("torch.")
            assert (a / b).dtype.name == str((x / y).dtype).removeprefix("torch.")


def test_in_place_keeps_its_type():
    x = fn.ones(3, dtype=fn.int64)
    with pytest.raises(
        TypeError, match=r"add_: the result is float32 and cannot be written into a tensor of int64"
    ):
        x += 0.5
    assert x.tolist() == [1, 1, 1]
    y = fn.ones(3)
    y += fn.ones(3, dtype=fn.int64)
    assert (y.dtype, y.tolist()) == (fn.float32, [2, 2, 2])


@pytest.mark.parametrize("to", DTYPES, **by_name)
@pytest.mark.parametrize("of", DTYPES, **by_name)
def test_cast_as_torch(of, to, torch):
    values = [0, 1, 2, 3, 100, 17, 1.0009765625, 2.5] if of.is_floating_point else [0, 1, 2, 3, 100, 17, 1, 1]
    for repeat in (1, 9):  # shorter and longer than a vector
        ours, theirs = (
            fn.tensor(values * repeat).to(of).to(to),
            torch.tensor(values * repeat).to(named(torch, of)).to(named(torch, to)),
        )
        assert ours.dtype is to
        assert ours.to(fn.float64).tolist() == theirs.to(torch.float64).tolist()


def test_dtype_and_device_attributes(torch):
    for d in DTYPES:
        assert (d.itemsize, d.is_floating_point) == (
            named(torch, d).itemsize,
            named(torch, d).is_floating_point,
        )
        assert repr(d) == f"fastnn.{d.name}"
    x = fn.zeros(2, 3, dtype=np.float64)
    assert (x.dtype, x.nbytes, x.itemsize, x.ndim, x.dim(), x.numel()) == (fn.float64, 48, 8, 2, 2, 6)
    assert x.device == "cpu"
    assert x.size() == (2, 3)
    assert x.size(-1) == 3
    with pytest.raises(ValueError, match=r'device: expected "cpu", "cuda" or "cuda:N", got "tpu"'):
        fn.zeros(2, device="tpu")
    with pytest.raises(RuntimeError, match=r"cuda:7 cannot be used|there is no cuda:7"):
        x.to("cuda:7")


# ---- views --------------------------------------------------------------------------------------------------------------


def same_view(t, a):
    assert tuple(t.shape) == a.shape
    assert t.numpy().ctypes.data == a.ctypes.data or a.size == 0
    if a.size > 1:
        large = [i for i in range(a.ndim) if a.shape[i] > 1]
        assert [t.stride()[i] * a.itemsize for i in large] == [a.strides[i] for i in large]


def test_stride_of_one_dimension():
    x = fn.ones(2, 3, 4)
    assert [x.stride(d) for d in (0, 1, 2, -1)] == [12, 4, 1, 1]
    assert x.stride() == (12, 4, 1)
    for t, dim in ((x, 3), (x, -4), (fn.ones(()), 0)):
        with pytest.raises(IndexError, match="stride: "):
            t.stride(dim)


def test_chains_of_views_have_numpys_strides():
    """Views of views of ... of a shared array: shape, address and strides stay those of the same views in NumPy."""
    rng = np.random.default_rng(3)
    base = np.arange(4 * 6 * 5 * 2, dtype=np.float32).reshape(4, 6, 5, 2)
    for _ in range(300):
        a, t = base, fn.from_numpy(base)
        for _ in range(rng.integers(1, 6)):
            kind = rng.integers(6)
            if kind == 0 and a.ndim:
                order = tuple(int(i) for i in rng.permutation(a.ndim))
                a, t = a.transpose(order), t.permute(order)
            elif kind == 1 and a.ndim:
                i = int(rng.integers(a.ndim))
                n = a.shape[i]
                step = int(rng.choice([-2, -1, 1, 2, 3]))
                start, stop = (int(v) for v in rng.integers(-n - 1, n + 2, 2))
                key = (slice(None),) * i + (slice(start, stop, step),)
                a, t = a[key], t[key]
            elif kind == 2 and a.ndim > 1 and a.shape[0]:
                i = int(rng.integers(-a.shape[0], a.shape[0]))
                a, t = a[i], t[i]
            elif kind == 3 and a.ndim < 6:
                i = int(rng.integers(a.ndim + 1))
                a, t = np.expand_dims(a, i), t.unsqueeze(i)
            elif kind == 4:
                a, t = a.squeeze(), t.squeeze()
            elif kind == 5 and a.ndim > 1:
                a, t = a.swapaxes(0, -1), t.transpose(0, -1)
        same_view(t, a)
        assert t.is_contiguous() == (a.flags.c_contiguous or a.size == 0)
        np.testing.assert_array_equal(t.numpy(), a)
        # whether reshape must copy is NumPy's answer too
        flat = a.reshape(-1)
        assert (t.reshape(-1).data_ptr() == t.data_ptr()) == np.shares_memory(flat, base) or a.size <= 1
        np.testing.assert_array_equal(t.reshape(-1).numpy(), flat)


def test_reshape_keeps_memory_where_it_can():
    rng = np.random.default_rng(4)
    base = np.arange(2 * 3 * 4 * 5, dtype=np.float64).reshape(2, 3, 4, 5)
    for shape in itertools.permutations((2, 3, 4, 5)):
        for a in (
            base,
            base.transpose(1, 0, 2, 3),
            base[::-1],
            base[:, ::2],
            base[..., ::-1],
            base.transpose(rng.permutation(4)),
        ):
            if a.size != base.size:
                continue
            for target in (shape, (shape[0] * shape[1], -1), (shape[0], 1, -1, shape[3]), (-1, shape[3])):
                want = a.reshape(target)
                got = fn.from_numpy(a).reshape(target)
                np.testing.assert_array_equal(got.numpy(), want)
                assert np.shares_memory(got.numpy(), base) == np.shares_memory(want, base)


def test_views_write_through():
    x = fn.zeros(3, 4)
    x.T[1] += 5
    x[1].fill_(2)
    x.reshape(-1)[::5] = 7
    assert x.tolist() == [[7, 5, 0, 0], [2, 7, 2, 2], [0, 5, 7, 0]]
    with pytest.raises(RuntimeError, match="expanded view"):
        fn.zeros(1).expand(3).fill_(1)
    with pytest.raises(RuntimeError, match="view: the strides"):
        x.T.view(-1)


# ---- printing and numbers --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tensor", "text"),
    [
        (lambda: fn.tensor([1.0, 2.5]), "tensor([1. , 2.5])"),
        (lambda: fn.tensor(3), "tensor(3)"),
        (lambda: fn.tensor([[True], [False]]), "tensor([[ True],\n        [False]])"),
        (lambda: fn.zeros(2, dtype=fn.float64), "tensor([0., 0.], dtype=fastnn.float64)"),
        (lambda: fn.tensor([1.5]).to(fn.bfloat16), "tensor([1.5], dtype=fastnn.bfloat16)"),
        (lambda: fn.zeros(2, 0), "tensor([], size=(2, 0))"),
        (lambda: fn.ones(1, requires_grad=True), "tensor([1.], requires_grad=True)"),
        (lambda: fn.ones(1, requires_grad=True) * 2, "tensor([2.], grad_fn=<mul>)"),
    ],
)
def test_printing(tensor, text):
    assert repr(tensor()) == text


def test_printing_a_large_tensor_is_short():
    assert len(repr(fn.zeros(1000, 1000))) < 2000


def test_numbers():
    assert type(fn.tensor(2.5).item()) is float
    assert type(fn.tensor(2).item()) is int
    assert type(fn.tensor(True).item()) is bool
    assert fn.tensor([[2]]).item() == 2
    assert (float(fn.tensor(2)), int(fn.tensor(2.9)), bool(fn.tensor(0.0))) == (2.0, 2, False)
    assert list(range(9))[fn.tensor(3)] == 3
    assert fn.tensor([[1, 2], [3, 4]]).tolist() == [[1, 2], [3, 4]]
    assert fn.tensor(1.5).tolist() == 1.5
    for f in (float, int, bool, lambda t: t.item()):
        with pytest.raises(ValueError, match=r"shape \(2,\)"):
            f(fn.zeros(2))
    with pytest.raises(TypeError, match="0-d"):
        len(fn.tensor(1))
    with pytest.raises(TypeError, match="integer"):
        [1, 2][fn.tensor(1.0)]
    assert [row.tolist() for row in fn.tensor([[1, 2], [3, 4]])] == [[1, 2], [3, 4]]


# ---- exchange -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", IN_NUMPY, **by_name)
def test_numpy_shares_memory(dtype):
    array = np.ones((4, 6), dtype.name)
    for view in (array, array.T, array[::-1], array[:, ::-2], array[1:3, 2:], array[:0]):
        t = fn.from_numpy(view)
        assert t.dtype is dtype
        same_view(t, view)
        t.fill_(0)
        assert not view.any()
        array.fill(1)
        assert all(t.reshape(-1).to(fn.bool).tolist())
    back = fn.ones(2, 3, dtype=dtype)
    back.numpy()[0, 0] = 0
    assert back.tolist()[0][0] == 0


def test_memory_outlives_either_side():
    t = fn.from_numpy(np.full(100_000, 7.0))
    array = fn.full((100_000,), 8.0).T.numpy()
    gc.collect()
    np.full(100_000, 1.0), fn.zeros(100_000)
    assert set(t.tolist()) == {7.0}
    assert set(array.tolist()) == {8.0}


def test_read_only_arrays_are_not_written():
    array = np.arange(4.0)
    array.flags.writeable = False
    t = fn.from_numpy(array)
    for write in (lambda: t.fill_(1), lambda: t.__setitem__(0, 1), lambda: t.add_(1), lambda: t[1:].zero_()):
        with pytest.raises(ValueError, match="read-only"):
            write()
    assert array.tolist() == [0, 1, 2, 3]
    assert not t.numpy().flags.writeable
    assert (t + 1).tolist() == [1, 2, 3, 4]


def test_foreign_byte_order_is_refused():
    with pytest.raises(TypeError, match="byte order"):
        fn.from_numpy(np.ones(3, ">f4"))
    with pytest.raises(TypeError, match="byte order"):
        fn.tensor(np.ones(3, ">i8"))
    for dtype in ("complex64", "uint16", "int8", "M8[s]", "U3", "V4"):
        with pytest.raises(TypeError, match=r"has no counterpart|cannot make"):
            fn.from_numpy(np.zeros(3, dtype))


def test_fields_of_records_and_unaligned_arrays_are_copied():
    records = np.zeros(3, [("a", "u1"), ("b", "<f4")])
    records["b"] = [1, 2, 3]
    assert fn.tensor(records["b"]).tolist() == [1, 2, 3]
    unaligned = np.zeros(4 * 8 + 1, np.uint8)[1:].view("<f8")
    unaligned[:] = 5
    assert (fn.from_numpy(unaligned) * 2).tolist() == [10] * 4


def test_array_and_tensor_mix():
    a, t = np.ones(3, np.float32), fn.ones(3)
    for y in (a + t, t + a, a * t, np.float32(2) * t):
        assert isinstance(y, fn.Tensor)
        assert y.dtype is fn.float32
    assert np.asarray(t).dtype == np.float32
    assert np.asarray(t, np.float64).dtype == np.float64
    assert np.shares_memory(np.asarray(t), t.numpy())


@pytest.mark.parametrize(
    "shape", [(300_000,), (3, 300_000), (300_000, 3), (2, 1, 270_000), (0, 3), (3, 0), ()]
)
def test_long_lists_are_those_of_numpy(shape):
    x = fn.arange(int(np.prod(shape))).reshape(shape)
    assert x.tolist() == x.numpy().tolist()


@pytest.mark.parametrize("dtype", IN_NUMPY, **by_name)
def test_dlpack_with_numpy(dtype):
    t = fn.ones(3, 4, dtype=dtype)
    a = np.from_dlpack(t.T)
    assert (a.shape, a.dtype.name) == ((4, 3), dtype.name)
    assert np.shares_memory(a, t.numpy())
    array = np.ones((3, 4), dtype.name)
    u = fn.from_dlpack(array[:, ::-2])
    same_view(u, array[:, ::-2])


@pytest.mark.parametrize("dtype", DTYPES, **by_name)
def test_dlpack_with_torch(dtype, torch):
    theirs = torch.arange(12).reshape(3, 4).to(named(torch, dtype)).T
    ours = fn.from_dlpack(theirs)
    assert (ours.dtype, ours.data_ptr(), tuple(ours.shape)) == (dtype, theirs.data_ptr(), (4, 3))
    again = torch.from_dlpack(ours)
    assert again.data_ptr() == theirs.data_ptr()
    assert torch.equal(again, theirs)
    del theirs
    gc.collect()
    assert again.to(torch.float32).tolist()[0] == ours.to(fn.float32).tolist()[0]


def test_dlpack_refuses():
    t = fn.ones(3)
    capsule = t.__dlpack__()
    assert fn.from_dlpack(capsule).tolist() == [1, 1, 1]
    with pytest.raises((ValueError, RuntimeError, TypeError)):  # a capsule serves once
        fn.from_dlpack(capsule)
    with pytest.raises(RuntimeError, match="requires grad"):
        fn.ones(3, requires_grad=True).__dlpack__()
    with pytest.raises((TypeError, AttributeError)):
        fn.from_dlpack([1, 2])
    with pytest.raises(RuntimeError, match="requires grad"):
        fn.ones(3, requires_grad=True).numpy()


# ---- copies, identity ------------------------------------------------------------------------------------------------------------


def test_deepcopy():
    x = fn.ones(3, requires_grad=True)
    y = copy.deepcopy(x)
    with fn.no_grad():
        y += 1
    assert (x.tolist(), y.tolist(), y.requires_grad) == ([1, 1, 1], [2, 2, 2], True)
    twice = copy.deepcopy([x, x])
    assert twice[0] is twice[1]
    with pytest.raises(RuntimeError, match="detach"):
        copy.deepcopy(x * 2)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickle_is_refused(protocol):
    with pytest.raises(TypeError, match=r"fastnn\.save"):
        pickle.dumps(fn.ones(3), protocol)


def test_identity():
    x = fn.ones(3, requires_grad=True)
    (x * x).backward(fn.ones(3))
    assert x.grad is x.grad
    ref = weakref.ref(x)
    table = {x: 1}
    assert table[x] == 1
    del x, table
    assert ref() is None
