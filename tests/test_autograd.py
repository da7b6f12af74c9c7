"""The tape: what backward() and grad() compute, when they refuse, what they free, and from which threads."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import weakref

import fastnn as fn
import numpy as np
import pytest
from fastnn import autograd

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


# ---- writing in place ---------------------------------------------------------------------------------------------------------


def test_in_place_on_a_leaf():
    x = leaf(3)
    for write in (lambda: x.add_(1), lambda: x.__setitem__(0, 1.0), lambda: x.zero_()):
        with pytest.raises(RuntimeError, match="leaf that requires grad"):
            write()
    with fn.no_grad():
        x += 1
        x[0] = 5
    assert x[0].item() == 5


def test_stale_saved_tensor_is_noticed():
    x, w = leaf(3), leaf(3)
    y = x * w
    with fn.no_grad():
        w += 1
    with pytest.raises(
        RuntimeError, match=r"mul: a tensor of shape \(3,\) .* changed in place .* \(version 1, saved at 0\)"
    ):
        y.sum().backward()
    z = x.exp()
    z.add_(1)  # exp saved its output
    with pytest.raises(RuntimeError, match=r"exp: .* changed in place"):
        z.sum().backward()
    v = leaf(4)
    u = v * 1
    product = u * u
    u[1:3].detach().fill_(0)  # through a view of the same memory
    with pytest.raises(RuntimeError, match="changed in place"):
        product.sum().backward()


def test_in_place_where_nothing_is_stale():
    x = leaf(3)
    y = x * 2
    y += x
    y *= 3
    y.sub_(x).div_(4)
    y.sum().backward()
    close(x.grad, np.full(3, (3 * 3 - 1) / 4))


def test_setitem_gradients():
    x, v = leaf(4, 3), leaf(3)
    y = x * 1
    y[1] = v
    y[:, 0] = 7.0
    y[fn.tensor([3, 2]), fn.tensor([1, 2])] = v[:2] * 2
    seed = RNG.standard_normal((4, 3))
    y.backward(fn.tensor(seed))
    dx = seed.copy()
    dx[1] = dx[:, 0] = 0
    dx[3, 1] = dx[2, 2] = 0
    dv = np.array([0, seed[1, 1], seed[1, 2]]) + np.array([2 * seed[3, 1], 2 * seed[2, 2], 0])
    close(x.grad, dx)
    close(v.grad, dv)


def test_index_gradients_add_where_indices_repeat():
    x = leaf(3, 2)
    x[fn.tensor([0, 2, 0, 0])].sum().backward()
    assert x.grad.tolist() == [[3, 3], [0, 0], [1, 1]]
    y = leaf(5)
    (y[y.detach() > 0] * 2).sum().backward()
    close(y.grad, 2.0 * (y.detach().numpy() > 0))


def test_a_view_is_not_written_while_recording():
    x = leaf(3)
    y = x * 1
    with pytest.raises(RuntimeError, match="view"):
        y[1:].mul_(2)


def test_fill_ends_the_history():
    x = leaf(3)
    y = x * 2
    y.zero_()
    assert not y.requires_grad


# ---- functions written in Python ------------------------------------------------------------------------------------------------


class Cube(autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x * x

    @staticmethod
    def backward(ctx, dy):
        (x,) = ctx.saved_tensors
        return 3 * x * x * dy


class Exp(autograd.Function):  # keeps its output, as the built-in one does
    @staticmethod
    def forward(ctx, x):
        y = x.exp()
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx, dy):
        (y,) = ctx.saved_tensors
        return dy * y


@pytest.mark.parametrize(
    ("f", "derivatives"), [(Cube, [lambda x: 3 * x**2, lambda x: 6 * x]), (Exp, [np.exp, np.exp])]
)
def test_function(f, derivatives):
    x = leaf(4)
    y = f.apply(x)
    assert y.grad_fn.name == f.__name__
    (first,) = fn.grad(y.sum(), [x], create_graph=True)
    (second,) = fn.grad(first.sum(), [x])
    close(first, derivatives[0](x.detach().numpy()))
    close(second, derivatives[1](x.detach().numpy()))


def test_function_of_many_inputs_and_outputs():
    class Both(autograd.Function):
        @staticmethod
        def forward(ctx, a, factor, b):
            assert ctx.needs_input_grad == (True, False, False)
            ctx.factor = factor
            return a * factor, a + b, (a > 0)

        @staticmethod
        def backward(ctx, d_first, d_second, d_third):
            assert d_third is None
            assert d_second is None
            return d_first * ctx.factor, None, None

    a = leaf(3)
    first, second, third = Both.apply(a, 5, fn.ones(3, dtype=fn.float64))
    assert third.dtype is fn.bool
    assert not third.requires_grad
    first.sum().backward()
    close(a.grad, np.full(3, 5.0))
    assert second.requires_grad


def test_function_errors():
    def make(result, grads):
        class F(autograd.Function):
            @staticmethod
            def forward(ctx, x):
                ctx.save_for_backward(x)
                return result(x)

            @staticmethod
            def backward(ctx, dy):
                return grads(ctx, dy)

        return F

    x = leaf(3)
    with pytest.raises(TypeError, match="output 0 must be a Tensor, got int"):
        make(lambda x: 1, None).apply(x)
    for grads, error, message in [
        (lambda ctx, dy: (dy, dy), RuntimeError, "returned 2 gradients for 1 inputs"),
        (lambda ctx, dy: 3, TypeError, "gradient 0 must be a Tensor or None"),
        (lambda ctx, dy: 1 / 0, ZeroDivisionError, None),
        (lambda ctx, dy: dy[:2], (ValueError, RuntimeError), r"\(2,\)"),
    ]:
        y = make(lambda x: x * 2, grads).apply(x)
        with pytest.raises(error, match=message):
            y.sum().backward()
        assert x.grad is None
    y = make(lambda x: x * 2, lambda ctx, dy: dy * ctx.saved_tensors[0]).apply(x)
    with fn.no_grad():
        x += 1
    with pytest.raises(RuntimeError, match="changed in place"):
        y.sum().backward()
    (x * 2).sum().backward()  # the tape is as good as new
    close(x.grad, np.full(3, 2.0))


def test_saved_tensors_are_for_the_backward_only():
    kept = []

    class Failing(Cube):
        @staticmethod
        def backward(ctx, dy):
            kept.append(ctx)
            return 1 / 0

    x = leaf(3)
    with pytest.raises(ZeroDivisionError):
        Failing.apply(x).sum().backward()
    kept[0].saved_tensors  # noqa: B018  the pass is over: nothing of it may be read


def test_identity_function():
    class Same(autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x

        @staticmethod
        def backward(ctx, dy):
            return dy * 2

    x = leaf(3)
    y = Same.apply(x)
    assert y is not x
    assert x.is_leaf
    y.sum().backward()
    close(x.grad, np.full(3, 2.0))


def test_function_frees_what_it_holds():
    class Holder(autograd.Function):
        @staticmethod
        def forward(ctx, x):
            y = x * 2
            ctx.save_for_backward(x, y)
            return y

        @staticmethod
        def backward(ctx, dy):
            return dy

    x = leaf(3)
    ref = weakref.ref(x)
    y = Holder.apply(x)
    y.sum().backward()
    del x, y
    gc.collect()
    assert ref() is None
    z = leaf(3)
    ref = weakref.ref(z)
    out = Holder.apply(z)
    del z, out  # never differentiated: no cycle may keep it
    gc.collect()
    assert ref() is None


def test_backward_within_backward():
    class Inner(autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        def backward(ctx, dy):
            (x,) = ctx.saved_tensors
            with fn.enable_grad():
                y = x.detach().requires_grad_()
                (y * y).sum().backward()
            return dy * y.grad

    x = leaf(3)
    (Inner.apply(x) + Inner.apply(x * 1)).sum().backward()
    close(x.grad, 4 * x.detach().numpy())


# ---- hooks --------------------------------------------------------------------------------------------------------------------


def test_hooks():
    x = leaf(3)
    y = x * 2
    seen = []
    handle = y.register_hook(lambda g: seen.append(g.tolist()))
    y.register_hook(lambda g: g * 10)
    x.register_hook(lambda g: g + 1)
    y.retain_grad()
    (y.sum() + y.sum()).backward()
    assert seen == [[2, 2, 2]]  # the whole gradient, once
    assert y.grad.tolist() == [20] * 3
    assert x.grad.tolist() == [41] * 3
    handle.remove()
    (x * 2).sum().backward()
    assert x.grad.tolist() == [44] * 3
    shorter, failing = x * 2, x * 2
    shorter.register_hook(lambda g: g[:1])
    failing.register_hook(lambda g: 1 / 0)
    with pytest.raises(ValueError, match="hook returned"):
        shorter.sum().backward()
    with pytest.raises(ZeroDivisionError):
        failing.sum().backward()
    with pytest.raises(RuntimeError, match="does not require grad"):
        fn.ones(1).register_hook(print)


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
