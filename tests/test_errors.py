"""Sizes that make no sense, through every op that takes sizes: a clear error before anything is allocated."""

from __future__ import annotations

import itertools

import fastnn as fn
import fastnn.nn.functional as F
import numpy as np
import pytest
from fastnn import nn

SIZES = (0, 1, -1, 2**31, 2**32 + 1, 2**62)
CLEAR = (ValueError, IndexError, TypeError, RuntimeError, MemoryError, OverflowError)
PLENTY = 1 << 34  # bytes; sizes that need less are not refused, and not allocated here either


def x(*shape):
    return fn.zeros(shape)


def refused_or_small(f) -> None:
    """f() raises an error with a message, or returns something small; in both cases little memory was asked for."""
    fn._C._reset_peak_memory("cpu")
    before = fn._C._memory_stats("cpu")["peak"]
    try:
        result = f()
    except CLEAR as error:
        message = str(error).strip()
    else:
        message = "none"
        for t in result if isinstance(result, tuple) else (result,):
            if isinstance(t, fn.Tensor):
                assert all(n >= 0 for n in t.shape)
    assert message
    assert not message.startswith("std::")
    assert fn._C._memory_stats("cpu")["peak"] - before < 1 << 27


def affordable(*sizes) -> bool:
    """Whether a tensor of this shape would be tried in earnest."""
    n = 4
    for s in sizes:
        n *= abs(s)
    return (1 << 26) < n < PLENTY * 4


@pytest.mark.parametrize(
    "make",
    [
        fn.zeros,
        fn.ones,
        fn.empty,
        lambda s: fn.full(s, 1.0),
        lambda s: x(1).expand(s),
        lambda s: x(0).reshape(s),
        lambda s: x(1).reshape(s),
        lambda s: fn.zeros_like(x(1).expand(s)),
    ],
    ids=["zeros", "ones", "empty", "full", "expand", "reshape empty", "reshape", "like expanded"],
)
def test_shapes(make):
    for n in (1, 2, 3):
        for shape in itertools.product(SIZES, repeat=n):
            if not affordable(*shape):
                refused_or_small(lambda shape=shape: make(shape))


def test_dimensions_of_none_excuse_no_others():
    """As with NumPy: with sizes and strides below 2^48 elements nothing that is computed of them overflows."""
    empty = x(0)
    for make in (fn.zeros, empty.reshape, lambda s: x(1, 1, 0).expand(s)):
        with pytest.raises(ValueError, match="too many elements"):
            make((2**31, 2**31, 0))
        assert make((2**20, 2**20, 0)).stride()[0] <= 2**20


@pytest.mark.parametrize("size", [2**48, 2**62, 2**63 - 1])
def test_too_many_elements(size):
    with pytest.raises(ValueError, match=r"zeros: shape .* has too many elements"):
        fn.zeros(size)
    with pytest.raises(ValueError, match="too many elements"):
        fn.zeros(size, size)
    with pytest.raises(ValueError, match="too many"):
        fn.arange(size * 1.0)
    with pytest.raises(ValueError, match="too many elements"):
        fn.zeros(size, 0)
    assert fn.zeros(2**40, 0).shape == (2**40, 0)


def test_more_than_memory():
    with pytest.raises(MemoryError, match="out of memory"):
        fn.zeros(2**43)
    with pytest.raises(ValueError, match="64 bits"):
        fn.zeros(2**63)
    with pytest.raises(ValueError, match="at most 8 dimensions"):
        fn.zeros((1,) * 9)
    with pytest.raises(ValueError, match="negative dimension"):
        fn.zeros(3, -1)


OPTIONS = {
    "stride": lambda v: F.conv2d(x(1, 2, 8, 8), x(2, 2, 3, 3), stride=v),
    "padding": lambda v: F.conv2d(x(1, 2, 8, 8), x(2, 2, 3, 3), padding=v),
    "dilation": lambda v: F.conv2d(x(1, 2, 8, 8), x(2, 2, 3, 3), dilation=v),
    "groups": lambda v: F.conv2d(x(1, 2, 8, 8), x(2, 2, 3, 3), groups=v),
    "stride pair": lambda v: F.conv2d(x(1, 2, 8, 8), x(2, 2, 3, 3), stride=(1, v)),
    "both": lambda v: F.conv2d(x(1, 2, 8, 8), x(2, 2, 3, 3), padding=v, dilation=v, stride=v),
    "max_pool kernel": lambda v: F.max_pool2d(x(1, 2, 8, 8), v),
    "max_pool stride": lambda v: F.max_pool2d(x(1, 2, 8, 8), 2, v),
    "max_pool padding": lambda v: F.max_pool2d(x(1, 2, 8, 8), 2, 2, v),
    "max_pool dilation": lambda v: fn._C.max_pool2d(x(1, 2, 8, 8), 2, 2, 0, v),
    "avg_pool kernel": lambda v: F.avg_pool2d(x(1, 2, 8, 8), v),
    "avg_pool stride": lambda v: F.avg_pool2d(x(1, 2, 8, 8), 2, v),
    "avg_pool padding": lambda v: F.avg_pool2d(x(1, 2, 8, 8), 2, 2, v),
    "narrow start": lambda v: fn.narrow(x(3, 3), 0, v, 1),
    "narrow length": lambda v: fn.narrow(x(3, 3), 0, 0, v),
    "narrow dim": lambda v: fn.narrow(x(3, 3), v, 0, 1),
    "transpose": lambda v: x(3, 3).transpose(0, v),
    "permute": lambda v: x(3, 3).permute(0, v),
    "unsqueeze": lambda v: x(3).unsqueeze(v),
    "squeeze": lambda v: x(3, 1).squeeze(v),
    "flatten": lambda v: x(3, 1, 2).flatten(v),
    "cat": lambda v: fn.cat([x(3), x(3)], v),
    "stack": lambda v: fn.stack([x(3), x(3)], v),
    "sum": lambda v: x(3, 3).sum(v),
    "mean": lambda v: x(3, 3).mean(v),
    "max": lambda v: x(3, 3).max(v),
    "argmax": lambda v: x(3, 3).argmax(v),
    "softmax": lambda v: F.softmax(x(3, 3), v),
    "log_softmax": lambda v: F.log_softmax(x(3, 3), v),
    "select": lambda v: x(3)[v],
    "index": lambda v: x(3)[[v]],
    "slice": lambda v: x(3)[v:v:v],
    "arange": lambda v: fn.arange(0, 0, v),
    "set_num_threads": lambda v: fn.set_num_threads(v),
    "size": lambda v: x(3).size(v),
    "unbind": lambda v: x(3, 3).unbind(v),
    "cross_entropy": lambda v: F.cross_entropy(x(2, 3), fn.tensor([0, v])),
    "nll_loss": lambda v: F.nll_loss(x(2, 3), fn.tensor([0, v])),
    "gather": lambda v: fn.gather(x(3, 3), 0, fn.tensor([[v]])),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_options(name):
    for value in (*SIZES, -2, -(2**31), -(2**62), 2**63 - 1, -(2**63), 2**64):
        if name == "set_num_threads" and value == 1:
            continue
        refused_or_small(lambda value=value: OPTIONS[name](value))


@pytest.mark.parametrize("value", [0, -1, -(2**62)])
@pytest.mark.parametrize(
    "name",
    [
        "stride",
        "dilation",
        "groups",
        "max_pool kernel",
        "max_pool stride",
        "max_pool dilation",
        "avg_pool kernel",
        "avg_pool stride",
    ],
)
def test_what_must_be_positive(name, value):
    with pytest.raises(
        ValueError, match=name.split()[-1] if "pool" not in name or "kernel" not in name else "kernel"
    ):
        OPTIONS[name](value)


@pytest.mark.parametrize("value", [2**31, 2**62, 2**63 - 1])
@pytest.mark.parametrize(
    "name",
    [
        "dilation",
        "groups",
        "padding",
        "max_pool kernel",
        "max_pool dilation",
        "avg_pool kernel",
        "max_pool padding",
        "avg_pool padding",
    ],
)
def test_what_overflows(name, value):
    with pytest.raises((ValueError, MemoryError)):
        OPTIONS[name](value)


@pytest.mark.parametrize("label", [3, -1, 2**31, 2**32, 2**62, -(2**63)])
@pytest.mark.parametrize("loss", [F.cross_entropy, F.nll_loss])
def test_labels_out_of_range(loss, label):
    logits = fn.zeros(4, 3, requires_grad=True)
    with pytest.raises(IndexError, match=rf"{label}\b"):
        loss(logits, fn.tensor([0, 1, label, 2]))
    assert logits.grad is None


def test_shapes_that_do_not_fit():
    for f, message in [
        (lambda: x(2, 3) + x(3, 2), r"add: shapes \(2, 3\) and \(3, 2\) do not broadcast"),
        (lambda: x(2, 3) @ x(2, 3), r"matmul: .*\(2, 3\)"),
        (lambda: x() @ x(3), "matmul: operands need at least one dimension"),
        (
            lambda: F.linear(x(2, 3), x(4, 5)),
            r"linear: input of shape \(2, 3\) does not match a weight of shape \(4, 5\)",
        ),
        (lambda: F.linear(x(2, 3), x(4, 3), x(3)), r"linear: bias of shape \(3,\)"),
        (lambda: F.conv2d(x(1, 2, 8, 8), x(2, 3, 3, 3)), "conv2d: "),
        (lambda: F.conv2d(x(1, 2, 2, 2), x(2, 2, 3, 3)), "conv2d: "),
        (lambda: F.conv2d(x(2, 8, 8), x(2, 2, 3)), "conv2d: "),
        (lambda: F.max_pool2d(x(1, 1, 2, 2), 3), "max_pool2d: "),
        (lambda: fn.cat([x(2, 3), x(2)]), r"cat: shapes \(2, 3\) and \(2,\)"),
        (lambda: fn.cat([]), "cat: no tensors"),
        (
            lambda: x(2, 3).reshape(4),
            r"reshape: a tensor of shape \(2, 3\) \(6 elements\) cannot become \(4,\)",
        ),
        (lambda: x(2, 3).reshape(-1, -1), "only one dimension can be -1"),
        (lambda: x(2, 0).reshape(0, -1), "cannot become"),
        (lambda: x(2).expand(3, 3), "expand: "),
        (lambda: F.cross_entropy(x(2, 3), fn.tensor([1, 2, 0])), "cross_entropy: "),
        (lambda: F.mse_loss(x(2, 3), x(3, 2)), r"\(2, 3\)"),
        (lambda: x(0).max(), "max"),
        (lambda: x(0).argmax(), "argmax"),
        (lambda: fn.where(x(2) > 0, x(3), x(2)), "where: "),
    ]:
        with pytest.raises((ValueError, IndexError), match=message):
            f()


def test_types_that_do_not_fit():
    i, h = fn.ones(3, dtype=fn.int64), fn.ones(3, dtype=fn.float16)
    for f, message in [
        (lambda: h + h, "add: not defined for float16 on cpu .*storage type"),
        (lambda: i.exp(), "exp: input must be float32 or float64, got int64"),
        (lambda: i @ i, "matmul: "),
        (lambda: fn.ones(2, 2) @ fn.ones(2, 2, dtype=fn.float64), "matmul: .*float32 but .*float64"),
        (lambda: F.linear(x(2, 3), fn.ones(2, 3, dtype=fn.float64)), "linear: "),
        (lambda: F.cross_entropy(x(2, 3), x(2)), "cross_entropy: "),
        (lambda: fn.where(i, i, i), "where: condition must be bool"),
        (lambda: fn.add(i, None), r"add\(\): argument 'b' must be a Tensor, .*, got None"),
        (lambda: fn.add(i, "a"), ""),
        (lambda: i + "a", "unsupported operand"),
        (lambda: fn.cat(["a"]), "."),
        (lambda: F.relu(i), "relu: "),
    ]:
        with pytest.raises((TypeError, ValueError, RuntimeError), match=message or None):
            f()


def test_infinite_and_absurd_numbers():
    for args in [(0, float("inf")), (0, 1, 0), (0, 1, float("nan")), (float("nan"),), (0, 1e300, 1e-300)]:
        with pytest.raises(ValueError, match="arange"):
            fn.arange(*args)
    for p in (-0.1, 1.1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="dropout"):
            F.dropout(x(3), p)
    with pytest.raises(ValueError, match="set_num_threads"):
        fn.set_num_threads(0)


def test_modules_refuse_at_construction():
    for make in (lambda: nn.Linear(-1, 2), lambda: nn.Linear(2**40, 2**40), lambda: nn.Conv2d(1, 0, 3), lambda: nn.Conv2d(3, 4, 3, groups=2),
                 lambda: nn.Conv2d(1, 1, 2**62), lambda: nn.Dropout(2)):  # fmt: skip
        with pytest.raises((ValueError, MemoryError)):
            make()


def test_results_are_right_after_errors():
    for _ in range(100):
        with pytest.raises(ValueError, match="broadcast"):
            x(2) + x(3)
    a = np.arange(6.0).reshape(2, 3)
    np.testing.assert_array_equal((fn.tensor(a) @ fn.tensor(a.T)).numpy(), a @ a.T)


def test_a_keyword_that_is_no_unicode():
    with pytest.raises(TypeError, match=r"relu\(\): there is no argument '\\udc80'"):
        fn.relu(fn.ones(2), **{"\udc80": 1})


def test_public_names():
    with pytest.raises(TypeError, match=r"^zeros\(\): argument 'shape' must be"):
        fn.zeros("a")


def test_no_way_from_python_to_a_half_made_object():
    C = fn._C
    node = (fn.ones(2, requires_grad=True) * 2).grad_fn
    classes = [c for c in vars(C).values() if isinstance(c, type)] + [type(C.softmax)]
    assert {C.Node, C.HookHandle, C.Tensor, C.dtype, C.device, C._Saved} <= set(classes)
    for cls in classes:
        for base in cls.__mro__:
            with pytest.raises(TypeError):
                base.__new__(cls)
        with pytest.raises(TypeError):
            node.__class__ = cls
    with pytest.raises(TypeError):
        C.Node.__init__(node)
    assert repr(node) == "<mul>"
