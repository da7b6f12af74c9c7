"""fastnn: deep learning for small and medium nets, every kernel written by hand.

>>> import fastnn as fn
>>> x = fn.tensor([1.0, 2.0, 3.0], requires_grad=True)
>>> (x * x).sum().backward()
>>> x.grad
tensor([2., 4., 6.])
"""

from fastnn import _tensor, autograd, cuda
from fastnn._C import (
    Tensor,
    abs,
    add,
    all,
    any,
    argmax,
    argmin,
    bfloat16,
    bool,
    cat,
    clone,
    device,
    div,
    dtype,
    empty_cache,
    empty_like,
    eq,
    exp,
    flatten,
    float16,
    float32,
    float64,
    from_dlpack,
    from_numpy,
    gather,
    ge,
    get_num_threads,
    grad,
    gt,
    int32,
    int64,
    is_grad_enabled,
    le,
    log,
    log_softmax,
    logical_and,
    logical_not,
    logical_or,
    lt,
    matmul,
    max,
    maximum,
    mean,
    min,
    minimum,
    mul,
    narrow,
    ne,
    neg,
    nonzero,
    ones_like,
    permute,
    pow,
    relu,
    reshape,
    set_num_threads,
    sigmoid,
    sign,
    softmax,
    sqrt,
    squeeze,
    sub,
    sum,
    tanh,
    transpose,
    uint8,
    unsqueeze,
    where,
    zeros_like,
)
from fastnn._info import __version__, info
from fastnn._tensor import arange, empty, eye, full, linspace, ones, stack, tensor, zeros
from fastnn.autograd import enable_grad, no_grad, set_grad_enabled
from fastnn.io import load, load_model, save, save_model
from fastnn.registry import register_model
from fastnn.random import get_rng_state, manual_seed, rand, randint, randn, randperm, set_rng_state
from fastnn import data, models, nn, optim, train
from fastnn.train import Trainer
