"""Tensors that share memory, history or an object: writes through one are neither lost nor seen too early by another."""

from __future__ import annotations

import gc
import weakref

import fastnn as fn
import numpy as np
import pytest


def leaf(*shape: int) -> fn.Tensor:
    return fn.ones(shape, requires_grad=True)


@pytest.mark.parametrize("n", [9, 100, 317])
@pytest.mark.parametrize("op", ["add_", "sub_", "mul_"])
def test_in_place_from_overlapping_memory(n, op):
    """Sizes beyond a vector and a tile: each element is read before any write reaches it."""
    f = {"add_": np.add, "sub_": np.subtract, "mul_": np.multiply}[op]
    a = np.random.default_rng(n).standard_normal((n, n)).astype(np.float32)
    others = [
        lambda x: x.T if isinstance(x, np.ndarray) else x.transpose(0, 1),
        lambda x: x[0],
        lambda x: x[1, 1],
        lambda x: x[::-1],
        lambda x: x,
    ]
    for other in others:
        x = fn.tensor(a)
        getattr(x, op)(other(x))
        np.testing.assert_array_equal(x.numpy(), f(a, other(a)))
    x = fn.tensor(a)
    getattr(x[1:], op)(x[:-1])
    np.testing.assert_array_equal(x.numpy()[1:], f(a[1:], a[:-1]))


def test_in_place_by_itself_holds_nothing_alive():
    def once():
        y = leaf(1000) * 2
        y.mul_(y)

    once()
    used = fn._C._memory_stats("cpu")["used"]
    for _ in range(20):
        once()
    assert fn._C._memory_stats("cpu")["used"] == used


def test_view_taken_before_a_recorded_write_is_refused():
    """It shows the new values but would carry the old history: a gradient that is wrong and says nothing."""
    x, w = leaf(2, 3), leaf(2, 3)
    y = x * 2
    row = y[0]
    y.mul_(3)
    with pytest.raises(RuntimeError, match="take the view again"):
        row.sum()
    y[0].sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), [[6, 6, 6], [0, 0, 0]])

    z = fn.zeros((2, 3))
    column = z[:, 0]  # without history when it was taken
    z.copy_(w)
    with pytest.raises(RuntimeError, match="take the view again"):
        _ = column * w[:, 0]
    with pytest.raises(RuntimeError, match="take the view again"):
        column.reshape(2, 1).sum()  # also where nothing else wants a gradient


def test_detached_view_shows_later_writes():
    y = leaf(2, 3) * 2
    whole, row = y.detach(), y[0].detach()
    part = whole[1]
    y.mul_(3)
    assert (row.sum().item(), part.sum().item(), whole.sum().item()) == (18, 18, 36)


def test_view_outlives_a_write_that_is_not_recorded():
    """What an optimiser does to a parameter whose transpose is kept."""
    w = leaf(2, 3)
    t = w.transpose(0, 1)
    with fn.no_grad():
        w.mul_(2)
    (t * 3).sum().backward()
    np.testing.assert_array_equal(w.grad.numpy(), np.full((2, 3), 3))


def test_fill_with_a_tensor_that_wants_a_gradient():
    w = fn.tensor([2.0], requires_grad=True)
    x = fn.zeros(())
    x.fill_(w)
    y = fn.zeros((2, 3))
    y.fill_(w)
    (x + y.sum()).backward()
    assert w.grad.tolist() == [7.0]


def test_kept_gradient_follows_an_in_place_write():
    x = leaf(3)
    y = x * 2
    y.retain_grad()
    y.mul_(3)
    (y * 5).sum().backward()
    np.testing.assert_array_equal(y.grad.numpy(), np.full(3, 5))


@pytest.mark.parametrize("write", [lambda y: y.mul_(2), lambda y: y.zero_(), lambda y: y.uniform_()])
def test_kept_gradient_of_a_tensor_that_is_gone(write):
    """The node that made y first must not write to y's memory, where another tensor may live by now."""
    x = leaf(5)
    y = x * 2
    y.retain_grad()
    z = (y * 1).sum()
    write(y)
    del y
    others = [fn.zeros(5) for _ in range(100)]
    z.backward()
    assert all(t.grad is None for t in others)


def test_weak_reference_callback_meets_the_tensor():
    x = leaf(3)
    (x * 2).sum().backward()
    met = []
    g = x.grad
    _ref = weakref.ref(g, lambda _: met.append(x.grad))
    del g
    gc.collect()
    assert met[0].tolist() == [2, 2, 2]
    met.clear()
    assert x.grad.tolist() == [2, 2, 2]


def test_backward_through_nodes_of_the_running_pass():
    """A hook that differentiates the graph it stands in; the outer pass keeps what had arrived."""
    x = leaf(3)
    y = x * 2
    z = y * y
    loss = z.sum() + (y * 3).sum()
    inner = []

    def hook(grad):
        if not inner:
            inner.append(None)
            inner[0] = fn.autograd.grad(loss, [x], retain_graph=True)[0]

    z.register_hook(hook)
    loss.backward(retain_graph=True)
    np.testing.assert_array_equal(inner[0].numpy(), np.full(3, 14))
    np.testing.assert_array_equal(x.grad.numpy(), np.full(3, 14))


def test_gather_from_a_0d_tensor():
    x = fn.tensor(5.0, requires_grad=True)
    y = x.gather(0, fn.tensor(0))
    y.backward()
    assert (y.item(), x.grad.item()) == (5.0, 1.0)
    with pytest.raises(IndexError):
        x.gather(0, fn.tensor(7))


def test_read_only_memory_is_not_lent_on():
    t = fn.from_numpy(np.frombuffer(bytes(16), dtype=np.float32))
    with pytest.raises(ValueError, match="read-only"):
        t.__dlpack__()
    assert not t.numpy().flags.writeable


def test_none_and_strangers_instead_of_a_tensor():
    x = fn.ones(2)
    for f in (
        fn.sqrt,
        fn.exp,
        fn._C.sum,
        fn.zeros_like,
        fn._C.nonzero,
        fn.Tensor.numpy,
        fn.Tensor.tolist,
        x.copy_,
        x.fill_,
    ):
        with pytest.raises(TypeError, match=r"argument '(x|self|source|value)' must be a Tensor.*, got None"):
            f(None)
    for f in (fn.Tensor.numpy, fn.Tensor.__array__, fn.Tensor.tolist):
        with pytest.raises(TypeError):
            f("x")
    with pytest.raises(TypeError):
        fn.cat([x, None])
    with pytest.raises(TypeError):
        fn.where(None, x, x)
