"""Every op of the table in tests/cases: values, gradients, layouts, threads, instruction sets, special values."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import time
from pathlib import Path

import fastnn as fn
import numpy as np
import pytest
from cases import CASES, Arg, Case
from gradcheck import numeric_gradients

DTYPES = {
    "float32": fn.float32,
    "float64": fn.float64,
    "int64": fn.int64,
    "int32": fn.int32,
    "uint8": fn.uint8,
    "bool": fn.bool,
}


def by_case(keep=lambda case: True, dtypes=None):
    """Parametrizes a test over the rows to keep, and over their dtypes or only those given."""
    rows = [(c, d) for c in CASES if keep(c) for d in dtypes or c.dtypes]
    return pytest.mark.parametrize(
        ("case", "dtype"), rows, ids=[f"{c.name}-{d}".replace(" ", "_") for c, d in rows]
    )


differentiable = by_case(lambda c: c.gradient >= 1, ["float32", "float64"])


# ---- drawing, calling, comparing --------------------------------------------------------------------------------------


def draw(args: tuple[Arg, ...], dtype: str) -> list[np.ndarray]:
    rng = np.random.default_rng(sum(a.size for a in args) + 1)
    return [np.asarray(a.draw(rng, a.shape)).astype(a.dtype or dtype) for a in args]


def as_tuple(y) -> tuple:
    return tuple(y) if isinstance(y, (tuple, list)) else (y,)


def floating(ys) -> list:
    """The outputs that have gradients (positions of a maximum have none)."""
    return [y for y in as_tuple(ys) if y.dtype.is_floating_point]


def leaves(args: tuple[Arg, ...], tensors: list[fn.Tensor]) -> list[fn.Tensor]:
    """Those of the tensors that a gradient is wanted for, now requiring it."""
    wanted = [t for a, t in zip(args, tensors, strict=True) if a.differentiable]
    for t in wanted:
        t.requires_grad = True
    return wanted


def output_gradients(ys) -> list[np.ndarray]:
    rng = np.random.default_rng(5)
    return [rng.standard_normal(tuple(y.shape)).astype(y.dtype.name) for y in floating(ys)]


def run(
    case: Case, args: tuple[Arg, ...], tensors: list[fn.Tensor], layout=fn.tensor
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Outputs and, where the op has them, gradients of random multiples of the outputs."""
    xs = leaves(args, tensors) if case.gradient else []
    ys = as_tuple(case.call(*tensors))
    outputs = [y.detach().cpu().numpy() for y in ys]
    if not xs:
        return outputs, []
    dys = [layout(dy) for dy in output_gradients(ys)]
    return outputs, [dx.cpu().numpy() for dx in fn.grad(floating(ys), xs, dys)]


def assert_close(
    case: Case, got: np.ndarray, want: np.ndarray, error: float | None = None, spread: float | None = None
) -> None:
    assert got.shape == want.shape
    with np.errstate(over="ignore"):
        want = want.astype(got.dtype)
    if case.exact or got.dtype.kind != "f":
        np.testing.assert_array_equal(got, want)
        return
    largest = np.max(np.abs(want), initial=0, where=np.isfinite(want))
    unit = float(np.finfo(got.dtype).eps)
    np.testing.assert_allclose(
        got,
        want,
        rtol=(error or case.error) * unit,
        atol=(spread or case.spread) * unit * largest + float(np.finfo(got.dtype).smallest_subnormal),
    )


def assert_same_bits(got: list[np.ndarray], want: list[np.ndarray]) -> None:
    for a, b in zip(got, want, strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        if a.tobytes() != b.tobytes():
            np.testing.assert_array_equal(a, b)
            raise AssertionError("equal values, but other bits (the sign of a zero or of a NaN)")


# ---- forward ------------------------------------------------------------------------------------------------------------


@by_case(lambda c: c.numpy)
def test_forward_against_numpy(case, dtype):
    for args in case.inputs:
        arrays = draw(args, dtype)
        ys = as_tuple(case.call(*map(fn.tensor, arrays)))
        exact = [a.astype(np.float64) if a.dtype.kind == "f" else a for a in arrays]
        for y, want in zip(ys, as_tuple(case.numpy(*exact)), strict=True):
            assert_close(case, y.numpy(), np.asarray(want))


@by_case(lambda c: c.torch)
def test_forward_against_torch(case, dtype, torch):
    for args in case.inputs:
        arrays = draw(args, dtype)
        ys = as_tuple(case.call(*map(fn.tensor, arrays)))
        for y, want in zip(ys, as_tuple(case.torch(*map(torch.tensor, arrays))), strict=True):
            assert f"torch.{y.dtype.name}" == str(want.dtype)
            assert_close(case, y.numpy(), want.numpy(), case.error + 4, case.spread + 4)


@by_case(lambda c: c.special, ["float32", "float64"])
def test_special_values(case, dtype):
    grid = np.array(list(itertools.product(case.special, repeat=len(case.inputs[0])))).T
    with np.errstate(all="ignore"):
        columns = [c.astype(dtype) for c in grid]
        want = case.numpy(*(c.astype(np.float64) for c in columns))
        got = case.call(*map(fn.tensor, columns)).numpy()
        assert_close(case, got, want)
        zero = want.astype(dtype) == 0
    np.testing.assert_array_equal(np.signbit(got[zero]), np.signbit(want[zero]), "sign of zero")


# ---- gradients ----------------------------------------------------------------------------------------------------------


def on_arrays(case: Case, args: tuple[Arg, ...]):
    """The op as a function of NumPy arrays."""

    def f(*arrays: np.ndarray) -> list[np.ndarray]:
        with fn.no_grad():
            return [y.numpy() for y in floating(case.call(*map(fn.tensor, arrays)))]

    return f


@by_case(lambda c: c.gradient >= 1, ["float64"])
def test_gradient_against_differences(case, dtype):
    for args in case.small:
        arrays = draw(args, dtype)
        f = on_arrays(case, args)
        got = run(case, args, [fn.tensor(a) for a in arrays])[1]
        dys = output_gradients(case.call(*map(fn.tensor, arrays)))
        want = numeric_gradients(f, arrays, [a.differentiable for a in args], dys)
        for g, w in zip(got, (w for w in want if w is not None), strict=True):
            np.testing.assert_allclose(g, w, rtol=1e-6, atol=1e-7 * (1 + np.max(np.abs(w), initial=0)))


@by_case(lambda c: c.gradient >= 2, ["float64"])
def test_gradient_of_gradient_against_differences(case, dtype):
    """The function (x, dy) -> dx, recorded with create_graph, is differentiated in both."""
    for args in case.small:
        arrays = draw(args, dtype)
        n = len(arrays)
        dys = output_gradients(case.call(*map(fn.tensor, arrays)))

        def gradient(*tensors, args=args, n=n):
            xs = leaves(args, list(tensors[:n]))
            return fn.grad(floating(case.call(*tensors[:n])), xs, tensors[n:], create_graph=True)

        def f(*arrays, gradient=gradient):
            return [dx.detach().numpy() for dx in gradient(*map(fn.tensor, arrays))]

        points = [fn.tensor(a) for a in (*arrays, *dys)]
        wanted = [a.differentiable for a in args] + [True] * len(dys)
        for t, want in zip(points, wanted, strict=True):
            t.requires_grad = want
        dxs = [dx for dx in gradient(*points) if dx.requires_grad]
        rng = np.random.default_rng(9)
        every = [rng.standard_normal(tuple(a.shape)) for a in f(*arrays, *dys)]
        # f returns every gradient; those that do not depend on anything have none of their own
        factors = [v for v, dx in zip(every, gradient(*points), strict=True) if dx.requires_grad]
        inputs = [t for t, want in zip(points, wanted, strict=True) if want]
        got = (
            fn.grad(dxs, inputs, [fn.tensor(v) for v in factors], allow_unused=True)
            if dxs
            else [None] * len(inputs)
        )
        want = numeric_gradients(f, [*arrays, *dys], wanted, every)
        for g, w in zip(got, (w for w in want if w is not None), strict=True):
            g = np.zeros(w.shape) if g is None else g.numpy()
            np.testing.assert_allclose(g, w, rtol=1e-5, atol=1e-6 * (1 + np.max(np.abs(w), initial=0)))


@differentiable
def test_gradient_against_torch(case, dtype, torch):
    if case.torch is None:
        pytest.skip("no counterpart in torch")
    for args in case.inputs:
        arrays = draw(args, dtype)
        got = run(case, args, [fn.tensor(a) for a in arrays])[1]
        tensors = [torch.tensor(a) for a in arrays]
        xs = leaves(args, tensors)
        ys = floating(case.torch(*tensors))
        dys = [torch.tensor(dy) for dy in output_gradients(case.call(*map(fn.tensor, arrays)))]
        for g, w in zip(got, torch.autograd.grad(ys, xs, dys), strict=True):
            assert_close_gradient(case, g, w.numpy())


@by_case(lambda c: c.gradient >= 1, ["float32"])
def test_gradient_of_both_dtypes_agrees(case, dtype):
    """float32, which differences cannot resolve, against float64, which they checked."""
    for args in case.inputs:
        arrays = draw(args, dtype)
        got = run(case, args, [fn.tensor(a) for a in arrays])[1]
        wide = [fn.tensor(a.astype(np.float64) if a.dtype == np.float32 else a) for a in arrays]
        xs = leaves(args, wide)
        ys = floating(case.call(*wide))
        dys = output_gradients(case.call(*map(fn.tensor, arrays)))
        want = fn.grad(ys, xs, [fn.tensor(dy.astype(np.float64)) for dy in dys])
        for g, w in zip(got, want, strict=True):
            assert_close_gradient(case, g, w.numpy())


def assert_close_gradient(case: Case, got: np.ndarray, want: np.ndarray) -> None:
    """A gradient may sum over what was broadcast: errors count against its largest element."""
    assert got.shape == want.shape
    unit = float(np.finfo(got.dtype).eps)
    largest = np.max(np.abs(want), initial=0)
    np.testing.assert_allclose(
        got, want, rtol=(case.error + 16) * unit, atol=(case.spread + 64) * unit * largest
    )


# ---- layouts, threads, instruction sets -----------------------------------------------------------------------------------


def stepped(a: np.ndarray) -> fn.Tensor:
    """Every second element of a wider tensor."""
    wide = np.repeat(np.atleast_1d(a), 2, axis=-1)
    return fn.tensor(wide)[..., ::2].reshape(a.shape) if a.ndim == 0 else fn.tensor(wide)[..., ::2]


def transposed(a: np.ndarray) -> fn.Tensor:
    return fn.tensor(np.array(a.T, order="C")).T


def shifted(a: np.ndarray) -> fn.Tensor:
    """One element off the alignment that allocations have."""
    return fn.tensor(np.concatenate([a.ravel()[:1], a.ravel()]))[a.size > 0 :].reshape(a.shape)


def flipped(a: np.ndarray) -> fn.Tensor:
    return fn.tensor(np.flip(a).copy())[(slice(None, None, -1),) * a.ndim]


@by_case()
@pytest.mark.parametrize("layout", [stepped, transposed, shifted, flipped])
def test_same_bits_in_any_layout(case, dtype, layout):
    for args in case.inputs:
        arrays = draw(args, dtype)
        want = run(case, args, [fn.tensor(a) for a in arrays])
        got = run(case, args, [layout(a).detach() for a in arrays], layout)
        if layout is transposed and not case.transposable:
            for a, b in zip(got[0] + got[1], want[0] + want[1], strict=True):
                assert_close_gradient(case, a, b)
        else:
            assert_same_bits(got[0], want[0])
            assert_same_bits(got[1], want[1])


def worker_time() -> int:
    """Nanoseconds that all threads but this one have run."""
    main = str(os.getpid())
    tasks = Path("/proc/self/task")
    return sum(
        int((tasks / task / "schedstat").read_text().split()[0]) for task in os.listdir(tasks) if task != main
    )


def eventually(holds) -> bool:
    deadline = time.monotonic() + 5
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.001)
    return holds()


@by_case()
def test_same_bits_with_any_number_of_threads(case, dtype):
    arrays = draw(case.large, dtype)

    def with_threads(n):
        fn.set_num_threads(n)
        return run(case, case.large, [fn.tensor(a) for a in arrays])

    want = with_threads(1)
    for n in (2, 3):
        got = with_threads(n)
        assert_same_bits(got[0], want[0])
        assert_same_bits(got[1], want[1])


@pytest.mark.skipif(
    not Path("/proc/self/schedstat").exists(), reason="the kernel keeps no run times of threads"
)
@by_case(lambda c: c.threaded)
def test_large_input_wakes_a_second_thread(case, dtype):
    tensors = [fn.tensor(a) for a in draw(case.large, dtype)]
    fn.set_num_threads(2)
    case.call(*tensors)
    time.sleep(0.005)  # workers that spin for more work go to sleep
    before = worker_time()
    case.call(*tensors)
    assert eventually(lambda: worker_time() > before)


OTHER_ISAS = [name for name, here in fn.info()["isa_supported"].items() if here and name != fn.info()["isa"]]


@pytest.mark.skipif("FASTNN_ISA" in os.environ, reason="this is already the run of one instruction set")
@pytest.mark.parametrize("isa", OTHER_ISAS)
def test_other_instruction_set(isa):
    """The table again in a process of its own, for the set is chosen when the library is loaded."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        __file__,
        "-p",
        "no:cacheprovider",
        "-k",
        "not torch and not second_thread",
    ]
    done = subprocess.run(
        command, env={**os.environ, "FASTNN_ISA": isa}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
