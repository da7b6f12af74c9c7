"""Writing in place while gradients are recorded."""

from __future__ import annotations

import fastnn as fn
import numpy as np
import pytest
from test_autograd import RNG, close, leaf


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
