"""What ops must announce to a tracer: a line per op that a user can call and that is no row. See test_trace.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import fastnn as fn


def normal(*shape: int) -> fn.Tensor:
    return fn.randn(*shape)


X, IMAGES, VECTOR = normal(5, 7), normal(2, 3, 8, 9), normal(7)
FILTERS = normal(4, 3, 3, 2)
CLASSES = fn.tensor([1, 0, 6, 3, 2])
PLACES = fn.tensor([[0, 1], [2, 6], [1, 1], [0, 5], [3, 3]])
FLAGS = fn.tensor([True, False, True])
DEVICE = fn.device("cpu")
LIKE = {"dtype": fn.float32, "device": DEVICE}


def conv2d(padding: Any) -> fn.Tensor:
    return fn._C.conv2d(IMAGES, FILTERS, normal(4), (2, 1), padding, 1, 1, "relu")


def sgd() -> None:
    fn._C.sgd_step([normal(3), normal(2)], [normal(3), normal(2)], [normal(3), normal(2)],
                   0.1, 0.9, 0.25, 0.01, False, True, False)  # fmt: skip


def adam() -> None:
    fn._C.adam_step([normal(3)], [normal(3)], [normal(3)], [fn.ones(3)],
                    0.1, 0.9, 0.99, 1e-8, 0.01, True, False, 3)  # fmt: skip


# Each with the call, the parameters as given and the shapes of inputs and outputs. A method that is no function ends
# the same way as Tensor's.
ANNOUNCED: dict[str, tuple[Callable[[], Any], dict[str, Any], list[Any], list[Any]]] = {
    # views
    "reshape": (lambda: fn.reshape(X, (7, -1)), {"shape": (7, -1)}, [(5, 7)], [(7, 5)]),
    "permute": (lambda: fn.permute(X, (1, 0)), {"dims": (1, 0)}, [(5, 7)], [(7, 5)]),
    "transpose": (lambda: fn.transpose(X, 0, -1), {"dim0": 0, "dim1": -1}, [(5, 7)], [(7, 5)]),
    "expand": (lambda: VECTOR.expand(3, -1), {"shape": (3, -1)}, [(7,)], [(3, 7)]),
    "squeeze": (lambda: fn.squeeze(normal(1, 3)), {"dim": None}, [(1, 3)], [(3,)]),
    "unsqueeze": (lambda: fn.unsqueeze(X, -1), {"dim": -1}, [(5, 7)], [(5, 7, 1)]),
    "flatten": (lambda: fn.flatten(IMAGES, 1), {"start_dim": 1, "end_dim": -1}, [(2, 3, 8, 9)], [(2, 216)]),
    "narrow": (lambda: fn.narrow(X, 1, 2, 4), {"dim": 1, "start": 2, "length": 4}, [(5, 7)], [(5, 4)]),
    "detach": (lambda: X.detach(), {}, [(5, 7)], [(5, 7)]),
    # copies and new tensors
    "clone": (lambda: fn.clone(X), {}, [(5, 7)], [(5, 7)]),
    "contiguous": (lambda: TRANSPOSED.contiguous(), {}, [(7, 5)], [(7, 5)]),
    "copy_": (lambda: normal(5, 7).copy_(VECTOR), {}, [(5, 7), (7,)], [(5, 7)]),
    "fill_": (lambda: normal(2).fill_(3), {}, [(2,), None], [(2,)]),
    "zeros_like": (lambda: fn.zeros_like(X), {}, [(5, 7)], [(5, 7)]),
    "ones_like": (lambda: fn.ones_like(X), {}, [(5, 7)], [(5, 7)]),
    "empty_like": (lambda: fn.empty_like(X), {}, [(5, 7)], [(5, 7)]),
    "zeros": (lambda: fn.zeros(2, 3), {"shape": (2, 3), **LIKE}, [], [(2, 3)]),
    "empty": (lambda: fn.empty(2, 3), {"shape": (2, 3), **LIKE}, [], [(2, 3)]),
    "full": (lambda: fn.full((2,), 0.5), {"shape": (2,), **LIKE}, [None], [(2,)]),
    "arange": (lambda: fn.arange(1, 7, 2.0), {"start": 1.0, "end": 7.0, "step": 2.0, **LIKE}, [], [(3,)]),
    "to": (lambda: X.to(fn.float64), {"dtype": fn.float64}, [(5, 7)], [(5, 7)]),
    "cat": (lambda: fn.cat([X, X[:2], X], -2), {"dim": -2}, [(5, 7), (2, 7), (5, 7)], [(12, 7)]),
    "item": (lambda: X[1, 2].item(), {}, [()], []),
    # products, layers
    "matmul": (lambda: fn.matmul(X, VECTOR), {}, [(5, 7), (7,)], [(5,)]),
    "linear": (
        lambda: fn._C.linear(X, normal(2, 7), None, "relu"),
        {"activation": "relu"},
        [(5, 7), (2, 7), None],
        [(5, 2)],
    ),
    "conv2d": (
        lambda: conv2d((1, 0)),
        {"stride": (2, 1), "padding": (1, 0), "dilation": (1, 1), "groups": 1, "activation": "relu"},
        [(2, 3, 8, 9), (4, 3, 3, 2), (4,)],
        [(2, 4, 4, 8)],
    ),
    "max_pool2d": (
        lambda: fn._C.max_pool2d(IMAGES, 2, None, 1, 1, True),
        {"kernel_size": (2, 2), "stride": (2, 2), "padding": (1, 1), "dilation": (1, 1), "ceil_mode": True},
        [(2, 3, 8, 9)],
        [(2, 3, 5, 5)],
    ),
    "avg_pool2d": (
        lambda: fn._C.avg_pool2d(IMAGES, (3, 2), 1, 0, False),
        {
            "kernel_size": (3, 2),
            "stride": (1, 1),
            "padding": (0, 0),
            "count_include_pad": False,
            "ceil_mode": False,
        },
        [(2, 3, 8, 9)],
        [(2, 3, 6, 8)],
    ),
    "layer_norm": (
        lambda: fn._C.layer_norm(X, 7, VECTOR, None, 0.5),
        {"normalized_shape": (7,), "eps": 0.5},
        [(5, 7), (7,), None],
        [(5, 7)],
    ),
    "batch_norm": (
        lambda: fn._C.batch_norm(IMAGES, fn.zeros(3), fn.ones(3), None, normal(3), True, 0.25, 0.5, "relu"),
        {"training": True, "momentum": 0.25, "eps": 0.5, "activation": "relu"},
        [(2, 3, 8, 9), (3,), (3,), None, (3,)],
        [(2, 3, 8, 9), (3,), (3,)],
    ),
    "dropout": (lambda: fn._C.dropout(X, 0.25), {"p": 0.25, "training": True}, [(5, 7)], [(5, 7)]),
    # reductions
    **{
        name: (lambda name=name: getattr(fn, name)(X), {"dim": None, "keepdim": False}, [(5, 7)], [()])
        for name in ("sum", "mean", "argmax", "argmin", "all", "any")
    },
    **{
        name: (
            lambda name=name: getattr(fn, name)(IMAGES, (1, -1), True),
            {"dim": (1, -1), "keepdim": True},
            [(2, 3, 8, 9)],
            [(2, 1, 8, 1), (2, 1, 8, 1)],
        )
        for name in ("max", "min")
    },
    # softmax and losses
    **{
        name: (lambda name=name: getattr(fn, name)(X, -1), {"dim": -1}, [(5, 7)], [(5, 7)])
        for name in ("softmax", "log_softmax")
    },
    "cross_entropy": (
        lambda: fn._C.cross_entropy(X, CLASSES, 3, "sum", 0.25),
        {"ignore_index": 3, "reduction": "sum", "label_smoothing": 0.25},
        [(5, 7), (5,), None],
        [()],
    ),
    "nll_loss": (
        lambda: fn._C.nll_loss(X, CLASSES, -1, "none", VECTOR),
        {"ignore_index": -1, "reduction": "none"},
        [(5, 7), (5,), (7,)],
        [(5,)],
    ),
    "mse_loss": (lambda: fn._C.mse_loss(X, X, "sum"), {"reduction": "sum"}, [(5, 7), (5, 7)], [()]),
    # indices
    "where": (lambda: fn.where(FLAGS, 2.5, normal(3)), {}, [(3,), None, (3,)], [(3,)]),
    "gather": (lambda: fn.gather(X, 1, PLACES), {"dim": 1}, [(5, 7), (5, 2)], [(5, 2)]),
    "nonzero": (lambda: fn.nonzero(FLAGS), {}, [(3,)], [(2, 1)]),
    # random numbers
    "uniform_": (lambda: fn.empty(3).uniform_(-1, 2), {"low": -1.0, "high": 2.0}, [(3,)], [(3,)]),
    "normal_": (lambda: fn.empty(3).normal_(1, 2), {"mean": 1.0, "std": 2.0}, [(3,)], [(3,)]),
    "randint": (
        lambda: fn.randint(2, 9, (4,)),
        {"low": 2, "high": 9, "shape": (4,), "dtype": fn.int64, "device": DEVICE},
        [],
        [(4,)],
    ),
    # steps of optimisers
    "sgd_step": (
        sgd,
        {"lr": 0.1, "momentum": 0.9, "dampening": 0.25, "weight_decay": 0.01}
        | {"nesterov": False, "maximize": True, "first_step": False},
        [(3,), (2,)] * 3,
        [(3,), (2,)] * 2,
    ),
    "adam_step": (
        adam,
        {"lr": 0.1, "beta1": 0.9, "beta2": 0.99, "eps": 1e-8, "weight_decay": 0.01}
        | {"decoupled": True, "maximize": False, "step": 3},
        [(3,)] * 4,
        [(3,)] * 3,
    ),
}
TRANSPOSED = X.detach().T

# Ops that operators call.
INDEXED = {
    "select": (lambda: X[-2], {"dim": 0, "index": -2}, [(5, 7)], [(7,)]),
    "slice": (
        lambda: X[1:4:2, 3],
        {"start": (1, 3), "step": (2, 1), "length": (2, 1), "dropped": (1,)},
        [(5, 7)],
        [(2,)],
    ),
    "index": (lambda: X[CLASSES[:2]], {}, [(5, 7), (2,), None], [(2, 7)]),
}

# What is no op, and why; and what is one under another name.
NO_OPS = {
    "backward grad": "run the tape, whose nodes announce themselves",
    "register_hook retain_grad is_grad_enabled": "the tape's",
    "stride storage_offset is_contiguous data_ptr": "how a tensor lies in memory",
    "from_numpy from_dlpack numpy tolist": "memory of others",
    "result_type": "no tensor",
    "get_num_threads set_num_threads empty_cache": "the process's",
}
ELSEWHERE = {"view", "zero_", "gelu"}

VIEWS = {"reshape", "permute", "transpose", "expand", "squeeze", "unsqueeze", "flatten", "narrow", "detach"}

# What cases announce outermost, where it is not the op that their names begin with.
MADE_OF: dict[str, list[str]] = {
    "operators": ["mul", "div", "sub", "add", "neg", "mul"],
    "powers of a number": ["pow", "pow", "add", "pow", "add", "pow", "add", "pow", "add"],
    "contiguous of transposed": ["transpose", "contiguous"],
    "to": ["mul", "to", "to", "to"],
    "gelu approximate=tanh": ["gelu_tanh"],
    "matmul of transposed": ["transpose", "transpose", "matmul"],
    "rows by index": ["slice", "index"],
    "columns by index": ["slice", "index"],
    "pairs of indices": ["slice", "index"],
    "where a mask holds": ["slice", "index"],
    "assigned by index": ["mul", "index_put"],
    "sgd_step": ["clone", "clone", "sgd_step"],
    "adam_step": ["clone", "clone", "clone", "adam_step"],
    "sum keepdim": ["sum", "mul"],
    "reshape of transposed": ["permute", "reshape"],
    "squeeze, unsqueeze": ["unsqueeze", "unsqueeze", "squeeze"],
    "slice": ["slice", "slice", "mul"],
    "select": ["select", "slice", "add"],
    "stack": ["unsqueeze", "unsqueeze", "cat"],
}
