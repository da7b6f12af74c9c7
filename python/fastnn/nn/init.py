"""Where learning starts: fills tensors in place with constants or random numbers, and returns them.

Random numbers come from the global generator: ``fn.manual_seed(0)`` first makes a run repeatable.

Layers call ``reset_`` with their ``init`` argument, which is one of::

    "default"      PyTorch's: weight and bias uniform in +-1/sqrt(fan_in)
    "0.02"         or any number: weight normal with that deviation, zero bias; the lecture's start for the lazy
    "scaled"       weight normal with deviation 1/sqrt(fan_in), zero bias: keeps the variance of the signal from
                   layer to layer, for deep or unusual nets
    "scaled:0.1"   the same times the lecture's init_scale
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

import fastnn as fn
from fastnn import Tensor

__all__ = [
    "calculate_gain",
    "constant_",
    "fan",
    "kaiming_normal_",
    "kaiming_uniform_",
    "normal_",
    "ones_",
    "skipped",
    "uniform_",
    "xavier_normal_",
    "xavier_uniform_",
    "zeros_",
]

_T = TypeVar("_T", bound=Tensor)
_skipping: ContextVar[bool] = ContextVar("_skipping", default=False)


@contextmanager
def skipped() -> Iterator[None]:
    """Within it, tensors are not filled: for layers that get their values from elsewhere, as from a file.

    It saves time, leaves the random generator where it is, and as memory that is not written to is not
    really there yet, a file that declares layers larger than memory does no harm.

    Example:
        >>> from fastnn import nn
        >>> with nn.init.skipped():
        ...     layer = nn.Linear(10_000, 10_000)
    """
    token = _skipping.set(True)
    try:
        yield
    finally:
        _skipping.reset(token)


def uniform_(tensor: _T, a: float = 0.0, b: float = 1.0) -> _T:
    """Uniform in [a, b). Errors: ValueError if a > b.

    Example:
        >>> import fastnn as fn
        >>> from fastnn import nn
        >>> w = nn.init.uniform_(fn.empty(3, 5), -0.1, 0.1)
        >>> bool((w.abs() <= 0.1).all())
        True
    """
    if not a <= b:
        raise ValueError(f"uniform_: a={a} must not exceed b={b}")
    if not _skipping.get():
        with fn.no_grad():
            tensor.uniform_(a, b)
    return tensor


def normal_(tensor: _T, mean: float = 0.0, std: float = 1.0) -> _T:
    """Normal with the given mean and deviation. Errors: ValueError if std < 0."""
    if not std >= 0:
        raise ValueError(f"normal_: std={std} must be at least 0")
    if not _skipping.get():
        with fn.no_grad():
            tensor.normal_(mean, std)
    return tensor


def constant_(tensor: _T, val: float) -> _T:
    """Every element becomes ``val``."""
    if not _skipping.get():
        with fn.no_grad():
            tensor.fill_(val)
    return tensor


def zeros_(tensor: _T) -> _T:
    """Fills a tensor with 0 and returns it."""
    return constant_(tensor, 0.0)


def ones_(tensor: _T) -> _T:
    """Fills a tensor with 1 and returns it."""
    return constant_(tensor, 1.0)


def fan(tensor: Tensor) -> tuple[int, int]:
    """Inputs and outputs of one unit, of a weight ``(out, in, *kernel)``: in and out times the kernel's size.

    Errors: ValueError for tensors of less than two dimensions, which have no fan.
    """
    if len(tensor.shape) < 2:
        raise ValueError(f"fan: a weight has at least two dimensions, not the shape {tuple(tensor.shape)}")
    window = math.prod(tensor.shape[2:])
    return tensor.shape[1] * window, tensor.shape[0] * window


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The factor that makes up for what a nonlinearity takes from the signal's deviation, as PyTorch has it.

    For "leaky_relu", ``param`` is the negative slope (0.01). Errors: ValueError for an unknown name.

    Example:
        >>> from fastnn import nn
        >>> round(nn.init.calculate_gain("relu") ** 2, 6)
        2.0
    """
    if nonlinearity == "leaky_relu":
        return math.sqrt(2.0 / (1.0 + (0.01 if param is None else param) ** 2))
    gains = {"linear": 1.0, "conv1d": 1.0, "conv2d": 1.0, "conv3d": 1.0, "sigmoid": 1.0}
    gains.update(tanh=5.0 / 3.0, relu=math.sqrt(2.0), selu=0.75)
    if nonlinearity not in gains:
        raise ValueError(
            f"calculate_gain: unknown nonlinearity {nonlinearity!r}; known: {', '.join(gains)}, leaky_relu"
        )
    return gains[nonlinearity]


def xavier_uniform_(tensor: _T, gain: float = 1.0) -> _T:
    """Uniform with variance 2 gain^2 / (fan_in + fan_out). Glorot and Bengio 2010, equation 16."""
    bound = gain * math.sqrt(6.0 / sum(fan(tensor)))
    return uniform_(tensor, -bound, bound)


def xavier_normal_(tensor: _T, gain: float = 1.0) -> _T:
    """Normal with variance 2 gain^2 / (fan_in + fan_out)."""
    return normal_(tensor, 0.0, gain * math.sqrt(2.0 / sum(fan(tensor))))


def _kaiming_std(tensor: Tensor, a: float, mode: str, nonlinearity: str) -> float:
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"kaiming: mode must be 'fan_in' or 'fan_out', not {mode!r}")
    return calculate_gain(nonlinearity, a) / math.sqrt(fan(tensor)[mode == "fan_out"])


def kaiming_uniform_(tensor: _T, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu") -> _T:
    """Uniform with variance gain^2 / fan. He et al. 2015. ``a`` is the negative slope of a leaky ReLU."""
    bound = math.sqrt(3.0) * _kaiming_std(tensor, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound)


def kaiming_normal_(tensor: _T, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu") -> _T:
    """Normal with variance gain^2 / fan. He et al. 2015, section 2.2."""
    return normal_(tensor, 0.0, _kaiming_std(tensor, a, mode, nonlinearity))


def reset_(weight: Tensor, bias: Tensor | None, init: str) -> None:
    """Fills a layer's weight ``(out, in, *kernel)`` and bias as its ``init`` argument says; see above.

    Errors: ValueError naming what ``init`` may be.
    """
    fan_in = fan(weight)[0]
    if init == "default":
        bound = 1.0 / math.sqrt(fan_in) if fan_in else 0.0
        uniform_(weight, -bound, bound)  # is kaiming_uniform_(a=sqrt(5))
        if bias is not None:
            uniform_(bias, -bound, bound)
        return
    name, _, number = init.partition(":")
    try:
        std = float(number or 1.0) / math.sqrt(max(fan_in, 1)) if name == "scaled" else float(init)
    except ValueError:
        std = math.nan
    if not 0.0 <= std < math.inf:
        raise ValueError(
            f"init must be 'default', a deviation such as '0.02', 'scaled' or 'scaled:0.1', not {init!r}"
        )
    normal_(weight, 0.0, std)
    if bias is not None:
        zeros_(bias)
