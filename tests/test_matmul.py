"""Matrix products beyond the op table: every path of the kernel, layouts read in place, threads, special values, messages."""

from __future__ import annotations

import os
import subprocess
import sys

import fastnn as fn
import numpy as np
import pytest
from fastnn import _C

# (m, k, n): tiles of every width and height, packed and unpacked, few rows, one row, one column, k cut in parts
SHAPES = [
    *[(m, 5, n) for m in (1, 2, 6, 7, 12, 13) for n in (1, 3, 15, 16, 17, 31, 33, 63, 64, 65, 129)],
    *[(m, k, 40) for m in (1, 3, 4, 5, 11, 12, 13) for k in (1, 16, 127, 128, 129, 513, 1025)],
    (1, 1100, 1000), (1000, 1100, 1), (1, 300, 3000), (1, 3000, 300), (3000, 300, 1), (300, 3000, 1), (1, 1, 1), (1, 700, 1),
    (130, 784, 257), (700, 300, 400), (700, 70, 90), (24, 9000, 20), (64, 20001, 65),
]  # fmt: skip


def matrices(rows: int, columns: int, seed: int, dtype: str, transposed: bool) -> np.ndarray:
    x = (
        np.random.default_rng(seed)
        .standard_normal((columns, rows) if transposed else (rows, columns))
        .astype(dtype)
    )
    return x.T if transposed else x


def assert_product(y: np.ndarray, a: np.ndarray, b: np.ndarray, expected: np.ndarray) -> None:
    """Each element within a few roundings of the sum of |a| |b| that went into it."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    bound = 8 * np.finfo(y.dtype).eps * (np.abs(a) @ np.abs(b) + 1)
    assert y.shape == expected.shape
    assert (np.abs(y - expected) <= bound * np.sqrt(a.shape[-1] / 64 + 1)).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("layout", ["NN", "NT", "TN", "TT"])
def test_every_path(layout, dtype):
    for m, k, n in SHAPES:
        a, b = matrices(m, k, 1, dtype, layout[0] == "T"), matrices(k, n, 2, dtype, layout[1] == "T")
        y = fn.matmul(fn.from_numpy(a), fn.from_numpy(b)).numpy()
        assert_product(y, a, b, a.astype(np.float64) @ b.astype(np.float64))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_bias_and_relu_on_every_path(dtype):
    for m, k, n in SHAPES:
        x, w = matrices(m, k, 1, dtype, False), matrices(n, k, 2, dtype, False)
        bias = matrices(1, n, 3, dtype, False)[0]
        y = _C.linear(fn.from_numpy(x), fn.from_numpy(w), fn.from_numpy(bias), "relu").numpy()
        exact = x.astype(np.float64) @ w.T.astype(np.float64) + bias
        assert_product(y, x, w.T, np.maximum(exact, 0))
        assert (y >= 0).all()


@pytest.mark.parametrize("layout", ["NN", "NT", "TN"])
def test_threads_do_not_change_a_bit(layout):
    for m, k, n in [
        (700, 300, 400),
        (128, 784, 256),
        (24, 9000, 20),
        (64, 20001, 65),
        (8, 1000, 900),
        (1, 2000, 2000),
    ]:
        a, b = (
            fn.from_numpy(matrices(*s, 1, "float32", t == "T"))
            for s, t in zip([(m, k), (k, n)], layout, strict=True)
        )
        results = []
        for threads in (1, 2, 5):
            fn.set_num_threads(threads)
            results.append(fn.matmul(a, b).numpy())
        assert all(np.array_equal(results[0], r) for r in results)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_layouts_do_not_change_a_bit(dtype):
    for m, k, n in SHAPES:
        a, b = matrices(m, k, 1, dtype, False), matrices(k, n, 2, dtype, False)
        gaps_a, gaps_b = np.ones((m + 1, k + 3), dtype), np.ones((k + 1, n + 5), dtype)
        gaps_a[:m, 1 : k + 1], gaps_b[1:, 2 : n + 2] = a, b
        dense = fn.from_numpy(a) @ fn.from_numpy(b)
        others = [
            fn.from_numpy(np.asfortranarray(a)) @ fn.from_numpy(b),
            fn.from_numpy(a) @ fn.from_numpy(np.asfortranarray(b)),
            fn.from_numpy(np.asfortranarray(a)) @ fn.from_numpy(np.asfortranarray(b)),
            fn.from_numpy(gaps_a)[:m, 1 : k + 1] @ fn.from_numpy(gaps_b)[1:, 2 : n + 2],
        ]
        assert all(np.array_equal(dense.numpy(), y.numpy()) for y in others), (m, k, n)


@pytest.mark.parametrize(
    ("a", "b"),
    [((5, 1, 7, 9), (3, 9, 4)), ((6, 7, 9), (9, 4)), ((7, 9), (6, 9, 4)), ((40, 3, 5), (40, 5, 2)), ((3, 300, 200), (3, 200, 310)),
     ((2, 3, 4, 9), (9,)), ((9,), (2, 3, 9, 4)), ((4, 1, 1, 9), (1, 3, 9, 1))],
)  # fmt: skip
def test_batches(a, b):
    rng = np.random.default_rng(3)
    x, y = rng.standard_normal(a), rng.standard_normal(b)
    np.testing.assert_allclose(fn.matmul(fn.from_numpy(x), fn.from_numpy(y)).numpy(), x @ y, atol=1e-11)


def test_permuted_and_repeated_batches():
    x = np.random.default_rng(3).standard_normal((4, 5, 6, 7))
    for order in [(1, 0, 2, 3), (2, 0, 3, 1), (3, 2, 1, 0), (0, 3, 1, 2)]:
        left = fn.from_numpy(x).permute(*order)
        y = left @ left.transpose(-1, -2)
        expected = x.transpose(order)
        np.testing.assert_allclose(y.numpy(), expected @ expected.swapaxes(-1, -2), atol=1e-11)
    row = fn.from_numpy(x[0, 0, :1]).expand(6, 7)  # one row, six times, through a stride of 0
    np.testing.assert_allclose(
        (row @ fn.from_numpy(x[0, 0]).transpose(0, 1)).numpy(), x[0, 0, [0] * 6] @ x[0, 0].T
    )


def test_nothing_to_add_up():
    y = _C.linear(fn.zeros((3, 0)), fn.zeros((2, 0)), fn.tensor([1.0, -1.0]), "relu")
    assert y.tolist() == [[1.0, 0.0]] * 3
    assert fn.matmul(fn.zeros((3, 0)), fn.zeros((0, 4))).tolist() == [[0.0] * 4] * 3
    assert fn.matmul(fn.zeros((0, 3)), fn.zeros((3, 4))).shape == (0, 4)
    assert fn.matmul(fn.zeros((2, 0, 3)), fn.zeros((3, 4))).shape == (2, 0, 4)


@pytest.mark.parametrize(("m", "k", "n"), [(1, 200, 100), (5, 200, 70), (40, 30, 50), (70, 9000, 20)])
def test_nan_and_infinity_reach_their_row_only(m, k, n):
    x, w = matrices(m, k, 1, "float32", False).copy(), matrices(n, k, 2, "float32", False)
    x[0, k // 2] = np.nan
    if m > 1:
        x[1, k - 1] = np.inf
    y = _C.linear(fn.from_numpy(x), fn.from_numpy(w), None, "relu").numpy()
    assert np.isnan(y[0]).all()
    if m > 1:
        assert np.array_equal(y[1] == np.inf, w[:, k - 1] > 0)
        assert np.isfinite(y[2:]).all()


def test_gradients_of_linear_through_relu():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(4)
    for shape in [(6, 9), (9,), (2, 3, 9), (0, 9)]:
        arrays = [rng.standard_normal(s) for s in (shape, (5, 9), (5,))]
        ours = [fn.tensor(v, requires_grad=True) for v in arrays]
        theirs = [torch.tensor(v, requires_grad=True) for v in arrays]
        y, z = _C.linear(*ours, "relu"), torch.nn.functional.linear(*theirs).relu()
        seed = rng.standard_normal(tuple(z.shape))
        y.backward(fn.tensor(seed))
        z.backward(torch.tensor(seed))
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), atol=1e-12)


def test_second_gradient_of_linear_through_relu():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(5)
    arrays = [rng.standard_normal(s) for s in ((4, 3), (5, 3), (5,))]

    def second(x, w, b, linear, grad):
        y = linear(x, w, b)
        (dx,) = grad((y * y).sum(), [x], create_graph=True)
        return grad((dx * dx).sum(), [x, w, b])

    ours = second(
        *[fn.tensor(v, requires_grad=True) for v in arrays], lambda *a: _C.linear(*a, "relu"), fn.grad
    )
    leaves = [torch.tensor(v, requires_grad=True) for v in arrays]
    theirs = second(*leaves, lambda *a: torch.nn.functional.linear(*a).relu(), torch.autograd.grad)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), atol=1e-10)


@pytest.mark.parametrize(
    ("a", "b", "error", "message"),
    [
        (fn.zeros((3, 4)), fn.zeros((5, 6)), ValueError, r"matmul: shapes \(3, 4\) and \(5, 6\)"),
        (fn.zeros((2, 3, 4)), fn.zeros((3, 4, 5)), ValueError, r"matmul: shapes \(2, 3, 4\) and \(3, 4, 5\)"),
        (fn.zeros(()), fn.zeros((3,)), ValueError, "at least one dimension"),
        (fn.zeros((3, 4)), fn.zeros((4, 5), dtype=fn.float64), TypeError, "float32 but .* float64"),
        (
            fn.zeros((3, 4), dtype=fn.int64),
            fn.zeros((4, 5), dtype=fn.int64),
            TypeError,
            "must be float32 or float64",
        ),
    ],
)
def test_messages_of_matmul(a, b, error, message):
    with pytest.raises(error, match=message):
        fn.matmul(a, b)


def test_messages_of_linear():
    x, w = fn.zeros((3, 4)), fn.zeros((5, 4))
    with pytest.raises(
        ValueError, match=r"linear: input of shape \(3, 4\) .* \(5, 6\): its last dimension must be 6"
    ):
        _C.linear(x, fn.zeros((5, 6)))
    with pytest.raises(ValueError, match=r"linear: bias of shape \(4,\) .* must be \(5,\)"):
        _C.linear(x, w, fn.zeros(4))
    with pytest.raises(ValueError, match="linear: weight must have shape"):
        _C.linear(x, fn.zeros(4))
    with pytest.raises(ValueError, match="activation must be 'none' or 'relu', got 'gelu'"):
        _C.linear(x, w, None, "gelu")


@pytest.mark.skipif("FASTNN_ISA" in os.environ, reason="this is already the run of one instruction set")
@pytest.mark.parametrize("isa", ["baseline", "avx2"])
def test_other_instruction_sets(isa):
    if not fn.info()["isa_supported"].get(isa):
        pytest.skip(f"{isa} is not supported here")
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", __file__]
    done = subprocess.run(
        command, env={**os.environ, "FASTNN_ISA": isa}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:]


IN_BLOCKS = """
import hashlib
import itertools
import fastnn as fn
import numpy as np
rng = np.random.default_rng(0)
digest = hashlib.sha256()
for m, n, k in [(61, 205, 67), (200, 600, 257), (257, 700, 100), (384, 201, 511), (24, 1030, 1027), (1030, 24, 1027), (700, 333, 5)]:
    for a_transposed, b_transposed, dtype in itertools.product((0, 1), (0, 1), ("float32", "float64")):
        a = rng.standard_normal((k, m) if a_transposed else (m, k)).astype(dtype)
        b = rng.standard_normal((n, k) if b_transposed else (k, n)).astype(dtype)
        c = fn.tensor(a).T if a_transposed else fn.tensor(a)
        c = (c @ (fn.tensor(b).T if b_transposed else fn.tensor(b))).numpy()
        a, b = (x.T if turned else x for x, turned in ((a, a_transposed), (b, b_transposed)))
        # k roundings of each sum at most, ours and, in float64, NumPy's.
        bound = k * np.finfo(dtype).eps * (abs(a) @ abs(b))
        assert (abs(c - a.astype(np.float64) @ b) <= bound).all(), (m, n, k)
        digest.update(c.tobytes())
print(digest.hexdigest())
"""


def with_l2(l2: str, threads: int) -> str:
    environment = {**os.environ, "FASTNN_L2": l2, "FASTNN_NUM_THREADS": str(threads)}
    done = subprocess.run(
        [sys.executable, "-c", IN_BLOCKS], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_cache_chooses_blocks_and_copies_but_no_bits():
    bits = with_l2("", 1)
    assert with_l2("64K", 1) == bits  # blocks of a few rows
    assert with_l2("64K", 2) == bits  # A packed by both
    assert with_l2("512K", 2) == bits
    assert with_l2("64M", 3) == bits  # all of it one block
