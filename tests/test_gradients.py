"""Gradients where they are easily wrong: numbers in place of tensors, infinities, tails."""

from __future__ import annotations

import fastnn as fn
import numpy as np
import pytest


@pytest.mark.parametrize("dtype", [fn.float32, fn.float64], ids=str)
@pytest.mark.parametrize(
    ("call", "slope"),
    [
        (lambda x: x.tanh(), 1 - np.tanh(1.5) ** 2),
        (lambda x: x + 1, 1),
        (lambda x: -x.sum(), -1),
        (lambda x: fn.maximum(x.sum(), 1.0), 1),
        (lambda x: x * x, 3),
    ],
    ids=["tanh", "add", "neg", "maximum", "mul"],
)
def test_a_number_as_the_gradient(call, slope, dtype):
    for number in (2, 2.0, np.float64(2)):
        x = fn.tensor(1.5, dtype=dtype, requires_grad=True)
        call(x).backward(number)
        assert x.grad.dtype == dtype
        np.testing.assert_allclose(x.grad.item(), 2 * slope, rtol=1e-6)
        assert (x.grad + fn.ones(3, dtype=fn.float32)).dtype == fn.float32  # a 0-d tensor, no number
    x = fn.tensor([1.5], dtype=dtype, requires_grad=True)
    with pytest.raises(ValueError, match=r"gradient of shape \(\) given for an output of shape \(1,\)"):
        x.tanh().backward(2.0)


def test_extrema_and_signs_select():
    """Where the gradient is infinite 0 times it would be NaN."""
    infinite = fn.tensor([np.inf, np.inf, np.inf])
    a = fn.tensor([1.0, 2.0, 3.0], requires_grad=True)
    b = fn.tensor([2.0, 1.0, 3.0], requires_grad=True)
    fn.maximum(a, b).backward(infinite)
    assert a.grad.tolist() == [0, np.inf, np.inf]
    assert b.grad.tolist() == [np.inf, 0, np.inf]
    a.grad = b.grad = None
    fn.minimum(a, b).backward(infinite)
    assert a.grad.tolist() == [np.inf, 0, np.inf]
    assert b.grad.tolist() == [0, np.inf, np.inf]
    a.grad = None
    fn.sign(a).backward(infinite)
    assert a.grad.tolist() == [0, 0, 0]
    nan = fn.tensor([np.nan], requires_grad=True)
    one = fn.tensor([1.0], requires_grad=True)
    fn.maximum(nan, one).backward(fn.tensor([3.0]))
    assert (nan.grad.item(), one.grad.item()) == (3, 3)  # as in PyTorch


@pytest.mark.parametrize("dtype", [fn.float32, fn.float64], ids=str)
@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_both_gradients_of_gelu_hold_in_the_tails(approximate, dtype):
    gelu = lambda x: fn.nn.functional.gelu(x, approximate=approximate)  # noqa: E731
    values = np.array([-8, -6, -3, -1.0001, -1, -0.9999, -0.5, 0, 0.5, 3, 8, 1e20, 1e30])
    x = fn.tensor(values, dtype=dtype, requires_grad=True)
    (fused,) = fn.grad([gelu(x).sum()], [x])
    (composed,) = fn.grad([gelu(x).sum()], [x], create_graph=True)
    rtol = 1e-5 if dtype == fn.float32 else 1e-12
    np.testing.assert_allclose(composed.detach().numpy(), fused.numpy(), rtol=rtol)
