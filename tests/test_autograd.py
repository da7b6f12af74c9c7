"""Backward passes: values, freed graphs, modes, deep and wide graphs, threads."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import weakref

import fastnn as fn
import numpy as np
import pytest

RNG = np.random.default_rng(2)


def leaf(*shape, dtype=np.float64):
    return fn.tensor(RNG.standard_normal(shape).astype(dtype), requires_grad=True)


def close(t, want, rtol=1e-9):
    np.testing.assert_allclose(t.detach().numpy(), want, rtol=rtol, atol=1e-12)


# ---- backward and grad ----------------------------------------------------------------------------------------------------


def test_gradients_accumulate():
    x = leaf(5)
    (x * x).sum().backward()
    close(x.grad, 2 * x.detach().numpy())
    (3 * x).sum().backward()
    close(x.grad, 2 * x.detach().numpy() + 3)
    x.grad = None
    x.sum().backward()
    close(x.grad, np.ones(5))


def test_a_gradient_is_not_shared_with_the_caller():
    x, y, seed = leaf(3), leaf(3), fn.ones(3, dtype=fn.float64)
    (x + y).backward(seed)
    x.grad.mul_(10)
    close(y.grad, np.ones(3))
    close(seed, np.ones(3))
    z = leaf(3)
    z.sum().backward()  # the gradient is one number, expanded
    z.grad.add_(1)
    close(z.grad, np.full(3, 2.0))


def test_a_result_used_often():
    x = leaf(4)
    y = x * 2
    (y * y + y.sum() + y.sum() * y).sum().backward()
    v = 2 * x.detach().numpy()
    close(x.grad, 2 * (2 * v + 4 + 2 * v.sum()), rtol=1e-8)
    a = leaf(3)
    b = a.exp()
    (b * b).sum().add(b.sum()).add(b.sum()).backward()  # expanded gradients meet others of b
    e = np.exp(a.detach().numpy())
    close(a.grad, 2 * e * e + 2 * e)


def test_gradients_do_not_depend_on_the_order_of_parents():
    x = leaf(3)
    early = x * 2
    late = early * 3
    (late * early).sum().backward()
    close(x.grad, 24 * x.detach().numpy())


def test_backward_needs_a_gradient_for_more_than_one_element():
    x = leaf(2, 3)
    with pytest.raises(RuntimeError, match=r"output of shape \(2, 3\)"):
        (x * 2).backward()
    with pytest.raises(ValueError, match=r"gradient of shape \(3,\) given for an output of shape \(2, 3\)"):
        (x * 2).backward(fn.ones(3, dtype=fn.float64))
    with pytest.raises(TypeError, match="float32 given for an output of float64"):
        (x * 2).backward(fn.ones(2, 3))
    with pytest.raises(RuntimeError, match="does not require grad"):
        fn.ones(1).backward()
    assert x.grad is None
    (x[:1, :1] * 2).backward()
    assert x.grad.tolist() == [[2, 0, 0], [0, 0, 0]]


def test_freed_graph():
    x = leaf(3)
    y = (x * x).sum()
    y.backward()
    with pytest.raises(RuntimeError, match="retain_graph=True"):
        y.backward()
    z = (x * x).sum()
    z.backward(retain_graph=True)
    z.backward()
    close(x.grad, 6 * x.detach().numpy())


def test_grad_returns_and_leaves_dot_grad_alone():
    x, y = leaf(3), leaf(3)
    middle = x * y
    out = (middle * middle).sum()
    dx, dmiddle = fn.grad(out, [x, middle], retain_graph=True)
    a, b = x.detach().numpy(), y.detach().numpy()
    close(dx, 2 * a * b * b)
    close(dmiddle, 2 * a * b)
    assert x.grad is None
    assert y.grad is None
    (dy,) = fn.grad([out], y)
    close(dy, 2 * a * a * b)


def test_grad_of_several_outputs():
    x = leaf(3)
    a, b = x * 2, x * x
    va, vb = fn.tensor(RNG.standard_normal(3)), fn.tensor(RNG.standard_normal(3))
    (dx,) = fn.grad([a, b], [x], [va, vb])
    close(dx, 2 * va.numpy() + 2 * x.detach().numpy() * vb.numpy())


def test_grad_of_an_unused_input():
    x, y = leaf(3), leaf(3)
    with pytest.raises(RuntimeError, match="input 1 took no part"):
        fn.grad((x * x).sum(), [x, y])
    dx, dy = fn.grad((x * x).sum(), [x, y], allow_unused=True)
    assert dy is None
    close(dx, 2 * x.detach().numpy())
    with pytest.raises(RuntimeError, match="does not require grad"):
        fn.grad(x.sum(), [fn.ones(3)])


def test_grad_neither_runs_nor_frees_what_does_not_lead_to_the_inputs():
    x, w = leaf(3), leaf(3)
    foreign = w * w
    calls = []
    foreign.register_hook(lambda g: calls.append(1))
    y = (x * x * foreign).sum()
    fn.grad(y, [x])
    assert calls == []
    foreign.sum().backward()  # still there
    close(w.grad, 2 * w.detach().numpy())


def test_create_graph():
    x = leaf(4)
    (first,) = fn.grad((x**4).sum(), [x], create_graph=True)
    (second,) = fn.grad(first.sum(), [x], create_graph=True)
    (third,) = fn.grad(second.sum(), [x], create_graph=True)
    (fourth,) = fn.grad(third.sum(), [x])
    close(first, 4 * x.detach().numpy() ** 3)
    close(third, 24 * x.detach().numpy())
    close(fourth, np.full(4, 24.0))
    y = leaf(4)
    (y**3).sum().backward(create_graph=True)
    assert y.grad.requires_grad
    (dy,) = fn.grad(y.grad.sum(), [y])
    close(dy, 6 * y.detach().numpy())


def test_gradient_penalty_as_torch(torch):
    w, x = RNG.standard_normal((4, 3)), RNG.standard_normal((5, 4))

    def penalty(library, w, x):
        y = library.tanh(x @ w).sum()
        (dx,) = library.autograd.grad(y, [x], create_graph=True)
        ((dx * dx).sum() + y).backward()
        return w.grad.numpy()

    make = lambda library: [library.tensor(a, requires_grad=True) for a in (w, x)]  # noqa: E731
    np.testing.assert_allclose(penalty(fn, *make(fn)), penalty(torch, *make(torch)), rtol=1e-10)


def test_gradients_that_are_not_contiguous():
    x, w = leaf(3, 4), leaf(4, 3)
    y = x @ w.T.T
    seed = fn.tensor(RNG.standard_normal((6, 6)))[::2, ::-2]
    y.T.backward(seed)
    dy = seed.numpy().T
    close(x.grad, dy @ w.detach().numpy().T)
    close(w.grad, x.detach().numpy().T @ dy)
    z = leaf(3, 4)
    z.T.backward(fn.tensor(RNG.standard_normal(())).expand(4, 3))
    assert z.grad.tolist() == [[z.grad[0, 0].item()] * 4] * 3
    z.grad.add_(1)  # it has memory of its own


# ---- modes and leaves --------------------------------------------------------------------------------------------------------


def test_no_grad():
    x = leaf(2)
    with fn.no_grad():
        assert not (x * 2).requires_grad
        with fn.enable_grad():
            assert (x * 2).requires_grad
        assert not fn.is_grad_enabled()
    assert (x * 2).requires_grad

    @fn.no_grad()
    def off():
        return x * 2

    assert not off().requires_grad
    with fn.autograd.set_grad_enabled(False):
        assert not (x * 2).requires_grad
    with pytest.raises(ZeroDivisionError), fn.no_grad():
        1 / 0  # noqa: B018
    assert fn.is_grad_enabled()


def test_grad_mode_is_of_the_thread():
    seen = []
    with fn.no_grad():
        thread = threading.Thread(target=lambda: seen.append(fn.is_grad_enabled()))
        thread.start()
        thread.join()
    assert seen == [True]


def test_leaves():
    x = leaf(2)
    y = x * 2
    assert (x.is_leaf, y.is_leaf, x.grad_fn, y.grad_fn.name) == (True, False, None, "mul")
    assert y.grad_fn.next_functions[0] is x
    with pytest.raises(RuntimeError, match="only a leaf"):
        y.requires_grad = False
    with pytest.raises(RuntimeError, match="only floating tensors"):
        fn.ones(2, dtype=fn.int64).requires_grad = True
    with pytest.raises(RuntimeError, match="floating"):
        fn.zeros(2, dtype=fn.bool, requires_grad=True)
    with pytest.raises(ValueError, match="cannot be the gradient"):
        x.grad = fn.ones(3)
    with pytest.raises(TypeError, match="Tensor or None"):
        x.grad = 1
    d = y.detach()
    assert not d.requires_grad
    assert d.data_ptr() == y.data_ptr()
    assert not (fn.ones(2, requires_grad=True) > 0).requires_grad


# ---- size, threads ---------------------------------------------------------------------------------------------------------------

DEEP = """
import resource, fastnn as fn
resource.setrlimit(resource.RLIMIT_STACK, (1 << 20, 1 << 20))
import threading
threading.stack_size(256 * 1024)
def chain():
    x = fn.ones(1, requires_grad=True)
    y = x
    for _ in range(200_000):
        y = y * 1.0
    y.backward()
    assert x.grad.item() == 1
    z = x
    for _ in range(200_000):
        z = z + 0
    fn.grad(z, [x])
    z = x
    for _ in range(200_000):
        z = z + 0
    del z, y  # freed without having run
thread = threading.Thread(target=chain)
thread.start()
thread.join()
print("done")
"""


def test_deep_graphs_need_no_stack():
    done = subprocess.run([sys.executable, "-c", DEEP], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr[-2000:]


def test_wide_graph():
    x = leaf(3)
    fn.stack([x * i for i in range(500)]).sum().backward()
    close(x.grad, np.full(3, 499 * 500 / 2))


def test_backward_from_several_threads():
    """Separate graphs at once, and one graph whose gradients all add to a shared leaf."""
    shared = fn.zeros(64, dtype=fn.float64, requires_grad=True)
    results, errors = {}, []

    def work(i):
        try:
            w = fn.full((64, 64), 0.01 * i, dtype=fn.float64, requires_grad=True)
            for _ in range(50):
                (fn.tanh(w @ w) * (i + 1)).sum().backward()
                (shared * i).sum().backward()
            results[i] = w.grad.numpy()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert errors == []
    close(shared.grad, np.full(64, 50.0 * sum(range(8))))
    for i, got in results.items():
        w = fn.full((64, 64), 0.01 * i, dtype=fn.float64, requires_grad=True)
        for _ in range(50):
            (fn.tanh(w @ w) * (i + 1)).sum().backward()
        np.testing.assert_array_equal(got, w.grad.numpy())


# ---- reference cycles through the tape --------------------------------------------------------------------------------------


class _Keeps(fn.autograd.Function):
    """Its context keeps the output, or what a test puts there."""

    @staticmethod
    def forward(ctx, x):
        _Keeps.last = weakref.ref(ctx)
        ctx.y = x * 1
        return ctx.y

    @staticmethod
    def backward(ctx, dy):
        return dy * 2


def _output_in_context():
    y = _Keeps.apply(fn.ones(3, requires_grad=True))
    return y, _Keeps.last


def _result_in_context():
    y = _Keeps.apply(fn.ones(3, requires_grad=True))
    context = _Keeps.last()
    context.y = (y * 2).sum()
    return context.y, _Keeps.last


class _Marker:
    """What is freed with a hook that refers to it."""


def _hook_on_itself(y):
    marker = _Marker()
    y.register_hook(lambda g: (y, marker)[0] * 0 + g)
    return y, weakref.ref(marker)


CYCLES = {
    "output in context": _output_in_context,
    "result in context": _result_in_context,
    "hook of a leaf": lambda: _hook_on_itself(fn.ones(3, requires_grad=True)),
    "hook of a node": lambda: _hook_on_itself(fn.ones(3, requires_grad=True) * 2),
}


@pytest.mark.parametrize("name", CYCLES)
def test_the_collector_finds_cycles_through_the_tape(name):
    y, freed = CYCLES[name]()
    gc.collect()
    assert freed() is not None  # alive, and whole
    y.sum().backward()
    del y
    gc.collect()
    assert freed() is None


def test_the_collector_goes_through_long_graphs():
    x = fn.ones(1, requires_grad=True)
    y = _Keeps.apply(x)
    for _ in range(100_000):
        y = y * 1
    gc.collect()
    y.backward()
    assert x.grad.item() == 2
    del y
    gc.collect()


def test_tensors_without_history_are_no_work_for_the_collector():
    x = fn.ones(3)
    assert not gc.is_tracked(x)
    assert not gc.is_tracked(x * x)
    assert gc.is_tracked(x.requires_grad_() * x)
