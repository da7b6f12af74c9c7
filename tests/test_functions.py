"""Functions written in Python, and hooks of tensors."""

from __future__ import annotations

import gc
import weakref

import fastnn as fn
import numpy as np
import pytest
from fastnn import autograd
from test_autograd import close, leaf


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


# ---- objects of the extension ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["CudaEvent", "CudaStream", "HookHandle", "Node", "_Profile", "_Saved", "device", "dtype"]
)
def test_no_object_without_a_value(name):
    c = getattr(fn._C, name)
    for new in (c.__new__, object.__new__, c.__base__.__new__):
        with pytest.raises(TypeError, match="not safe"):
            new(c)
    with pytest.raises(TypeError, match="not an acceptable base type"):
        type("Derived", (c,), {})


@pytest.mark.parametrize("name", ["HookHandle", "Node", "dtype"])
def test_what_only_the_library_makes(name):
    with pytest.raises(TypeError, match="No constructor"):
        getattr(fn._C, name)()


def test_errors_of_methods():
    """Those of classes are called by pybind11, which must translate our errors."""
    with pytest.raises(ValueError, match='expected "cpu", "cuda" or "cuda:N", got "gpu"'):
        fn.device("gpu")
    p = fn._C._Profile()
    p.start()
    with pytest.raises(RuntimeError, match="profile"):
        p.start()
    p.stop()
    with pytest.raises(ValueError, match="PyCapsule"):
        fn._C._Saved(fn.ones(1), -1).get(None)


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
