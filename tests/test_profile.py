"""fn.profile: what it counts, held against numbers worked out by hand, and that it is off when it is off."""

from __future__ import annotations

import math
import threading
import time

import fastnn as fn
import numpy as np
import pytest

FLOAT, DOUBLE, LONG = 4, 8, 8  # bytes


def profiled(call) -> dict[tuple[str, bool], fn.OpProfile]:
    with fn.profile() as p:
        call()
    return {(row.op, row.backward): row for row in p.rows}


def check(
    call, op: str, flops: float, nbytes: float, calls: int = 1, kernels: int = 1, backward: bool = False
) -> None:
    row = profiled(call)[op, backward]
    assert (row.calls, row.kernels) == (calls, kernels)
    assert (row.flops, row.bytes) == (flops, nbytes)
    assert 0 < row.kernel_seconds <= row.seconds


# ---- counts by hand ---------------------------------------------------------------------------------------------------


def test_matmul():
    m, k, n = 33, 65, 17
    a, b = fn.randn(m, k), fn.randn(k, n)
    check(lambda: a @ b, "matmul", 2 * m * k * n, FLOAT * (m * k + k * n + m * n))
    check(lambda: a.double() @ b.double(), "matmul", 2 * m * k * n, DOUBLE * (m * k + k * n + m * n))
    batch = fn.randn(5, k, n)  # a is read once for all
    check(lambda: a @ batch, "matmul", 5 * 2 * m * k * n, FLOAT * (m * k + 5 * k * n + 5 * m * n))


def test_linear():
    x, w, bias = fn.randn(6, 10), fn.randn(4, 10), fn.randn(4)
    check(lambda: fn.nn.functional.linear(x, w, bias), "linear", 2 * 6 * 10 * 4, FLOAT * (60 + 40 + 4 + 24))


def test_conv2d():
    n, c, h, w, k, r, s = 2, 3, 9, 8, 4, 3, 2
    x, weight, bias = fn.randn(n, c, h, w), fn.randn(k, c, r, s), fn.randn(k)
    p, q = (h + 2 - r) // 2 + 1, (w + 2 - s) // 2 + 1  # stride 2, padding 1
    flops, result = 2 * n * k * p * q * c * r * s, n * k * p * q
    operands = n * c * h * w + k * c * r * s

    def forward() -> fn.Tensor:
        return fn.nn.functional.conv2d(x, weight, bias, stride=2, padding=1)

    check(forward, "conv2d", flops, FLOAT * (operands + k + result))
    x.requires_grad = weight.requires_grad = True
    y = forward()
    rows = profiled(lambda: y.backward(fn.ones(n, k, p, q)))
    for op in (
        "conv2d_grad_input",
        "conv2d_grad_weight",
    ):  # each reads one operand and dy, and writes the other's
        assert (rows[op, False].flops, rows[op, False].bytes) == (flops, FLOAT * (operands + result))
    assert rows["conv2d", True].kernels == 0  # they are the ops within


def test_elementwise():
    n = 1009
    x, y = fn.randn(n), fn.randn(n)
    check(lambda: x + y, "add", n, FLOAT * 3 * n)
    check(lambda: x + 1, "add", n, FLOAT * 2 * n)  # a number is no memory
    check(lambda: fn.randn(3, n) + y, "add", 3 * n, FLOAT * (3 * n + n + 3 * n))  # what repeats moves once
    check(lambda: x.relu(), "relu", n, FLOAT * 2 * n)
    check(lambda: x < y, "lt", n, FLOAT * 2 * n + n)
    check(lambda: x.exp(), "exp", n, FLOAT * 2 * n)  # a function counts as one operation
    check(lambda: x.clone(), "clone", 0, FLOAT * 2 * n)


def test_backward_of_an_elementwise_op():
    n = 1009
    x = fn.randn(n, requires_grad=True)
    y = x.relu()
    dy = fn.ones(n)
    check(lambda: y.backward(dy), "relu", 2 * n, FLOAT * 3 * n, backward=True)  # dy and y in, dx out


def test_sum():
    rows, columns = 31, 67
    x = fn.randn(rows, columns)
    check(lambda: x.sum(), "sum", rows * columns, FLOAT * (rows * columns + 1))
    check(lambda: x.sum(0), "sum", rows * columns, FLOAT * (rows * columns + columns))
    check(lambda: x.sum(1), "sum", rows * columns, FLOAT * (rows * columns + rows))
    check(lambda: x.T.sum(1), "sum", rows * columns, FLOAT * (rows * columns + columns))
    check(lambda: x.argmax(1), "argmax", rows * columns, FLOAT * rows * columns + LONG * rows)


def test_adam_step():
    parameters = [fn.nn.Parameter(fn.randn(5, 7)), fn.nn.Parameter(fn.randn(3))]
    optimizer = fn.optim.Adam(parameters)
    for p in parameters:
        p.grad = fn.ones_like(p)
    n = 5 * 7 + 3
    # The weight and both moments are read and written, the gradient is read.
    check(optimizer.step, "adam_step", 14 * n, FLOAT * (2 + 1 + 2 + 2) * n)


def test_sgd_step():
    parameter = fn.nn.Parameter(fn.randn(11))
    parameter.grad = fn.ones(11)
    check(fn.optim.SGD([parameter], lr=0.1).step, "sgd_step", 2 * 11, FLOAT * 3 * 11)


def test_calls_of_a_loop():
    x = fn.randn(3, requires_grad=True)
    with fn.profile() as p:
        for _ in range(4):
            (x * x).sum().backward()
    rows = {(row.op, row.backward): row for row in p.rows}
    assert (rows["mul", False].calls, rows["mul", True].calls) == (4 + 2 * 4, 4)  # and within its gradient
    assert rows["sum", False].calls == rows["sum", True].calls == 4


# ---- times ------------------------------------------------------------------------------------------------------------


def test_seconds_are_an_ops_own():
    x = fn.randn(300, 400)
    with fn.profile() as p:
        x.T.reshape(-1)
    rows = {row.op: row for row in p.rows}
    assert rows["reshape"].kernels == 0
    assert rows["contiguous"].kernels == 1
    assert rows["contiguous"].kernel_seconds > 0
    assert sum(row.seconds for row in p.rows) <= p.seconds
    assert [row.seconds for row in p.rows] == sorted((row.seconds for row in p.rows), reverse=True)


def test_it_adds_up_when_opened_again():
    x, p = fn.randn(3), fn.profile()
    for i in range(1, 4):
        with p:
            x + 1
        assert [(row.op, row.calls) for row in p.rows] == [("add", i)]
    before = p.seconds
    x + 1
    assert p.seconds == before
    assert p.rows[0].calls == 3


# ---- the table --------------------------------------------------------------------------------------------------------


def test_table():
    x = fn.randn(64, 64, requires_grad=True)
    with fn.profile() as p:
        (x @ x).relu().sum().backward()
    lines = str(p).splitlines()
    assert lines[0].split()[:3] == ["op", "calls", "kernels"]
    assert len(lines) == len(p.rows) + 2
    assert lines[-1].endswith("of them in ops")
    assert len({len(line) for line in lines[:-1]}) == 1
    (row,) = (line for line in lines if line.startswith("matmul (backward)"))
    assert row.split()[2] == "1"
    (row,) = (line for line in lines if line.startswith("relu  "))
    cells = dict(zip(lines[0].replace("ms in kernels", "ms_in_kernels").split(), row.split(), strict=True))
    assert (cells["calls"], cells["kernels"], cells["MB"]) == ("1", "1", f"{2 * FLOAT * 64 * 64 / 1e6:.2f}")
    assert [line.split() for line in p.table(1).splitlines()[1:-1]] == [lines[1].split()]


def test_table_of_nothing():
    with fn.profile() as p:
        pass
    assert p.rows == []
    assert len(str(p).splitlines()) == 2


def test_an_op_without_kernels_has_no_rate():
    with fn.profile() as p:
        fn.ones(2, 3).T.unsqueeze(0)
    row = next(row for row in p.rows if row.op == "unsqueeze")
    assert (row.kernels, row.bytes, row.flops, row.kernel_seconds) == (0, 0, 0, 0)
    assert "nan" in p.table()
    assert not any(math.isnan(value) for value in (row.seconds, row.bytes))


# ---- on and off -------------------------------------------------------------------------------------------------------


def test_no_profile_within_another():
    with fn.profile() as outer:
        with pytest.raises(RuntimeError, match="another profile of this thread is running"), fn.profile():
            pass
        with pytest.raises(RuntimeError, match="running already"), outer:
            pass
        fn.ones(2) + 1
    assert [row.op for row in outer.rows if row.op == "add"] == ["add"]
    assert fn._C._tracers() == 0


def test_an_error_ends_it():
    with pytest.raises(ZeroDivisionError), fn.profile():
        fn.ones(2).add(1 / 0)
    with pytest.raises(ValueError, match="broadcast"), fn.profile():
        fn.ones(2) + fn.ones(3)
    assert fn._C._tracers() == 0


def test_an_op_that_failed_is_counted_and_over():
    with fn.profile() as p:
        with pytest.raises(ValueError, match="broadcast"):
            fn.ones(2) + fn.ones(3)
        fn.ones(2) * 2
    rows = {row.op: row for row in p.rows}
    assert (rows["add"].calls, rows["add"].kernels, rows["mul"].calls) == (1, 0, 1)


def test_the_same_bits():
    x = fn.randn(33, 65)
    want = fn.nn.functional.softmax(x @ x.T, 1).numpy()
    with fn.profile():
        got = fn.nn.functional.softmax(x @ x.T, 1).numpy()
    np.testing.assert_array_equal(got, want)


def test_of_one_thread():
    counted = {}

    def work(name: str, times: int) -> None:
        with fn.profile() as p:
            for _ in range(times):
                fn.ones(3) + 1
        counted[name] = {row.op: row.calls for row in p.rows}["add"]

    with fn.profile() as mine:
        threads = [threading.Thread(target=work, args=(str(n), n)) for n in (3, 5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert mine.rows == []
    assert counted == {"3": 3, "5": 5}
    assert fn._C._tracers() == 0


# ---- threads -----------------------------------------------------------------------------------------------------------


def in_a_thread(call):
    thread = threading.Thread(target=call)
    thread.start()
    thread.join()


def calls_of(profile, op: str) -> int:
    return sum(row.calls for row in profile.rows if row.op == op)


def test_a_profile_that_another_thread_ends():
    x, profile = fn.ones(3), fn.profile()
    profile.__enter__()
    x.relu()
    in_a_thread(profile.__exit__)
    x.relu()
    assert calls_of(profile, "relu") == 1
    assert fn._C._tracers() == 0


def test_a_profile_that_another_thread_gives_up():
    def listen():
        with fn.profile() as profile:
            yield profile

    held = [listen()]
    next(held[0])
    in_a_thread(lambda: held.clear())
    assert (fn.ones(3) + 1).tolist() == [2, 2, 2]
    with fn.profile() as profile:
        fn.ones(3).relu()
    assert calls_of(profile, "relu") == 1


def test_a_profile_whose_thread_has_ended():
    profile = fn.profile()
    in_a_thread(lambda: (profile.__enter__(), fn.ones(3)))
    until = time.monotonic() + 20
    while fn._C._tracers() and time.monotonic() < until:  # join() returns a little before the thread is gone
        time.sleep(0.001)
    assert fn._C._tracers() == 0  # other threads' ops do not ask any more
    seconds = profile.seconds
    assert seconds == profile.seconds
    profile.__exit__(None, None, None)
    with profile:
        fn.ones(3)
    assert fn._C._tracers() == 0
