"""Random tensors, from one generator for the whole process.

A generator is a seed and a count of draws; every number is a function of the two and of its position in the
tensor. So a run repeats after ``manual_seed``, whatever the number of threads, and ``get_rng_state`` is two
integers.
"""

from __future__ import annotations

from typing import Any

from fastnn import _C
from fastnn._C import Tensor, device, dtype
from fastnn._tensor import Shape, _marked, _placed, _shape, get_default_device

__all__ = ["get_rng_state", "manual_seed", "rand", "randint", "randn", "randperm", "set_rng_state"]


def manual_seed(seed: int) -> None:
    """Starts the generator anew: what follows repeats exactly. ``seed`` is taken modulo 2^64.

    >>> import fastnn as fn
    >>> fn.manual_seed(0)
    >>> x = fn.rand(3)
    >>> fn.manual_seed(0)
    >>> bool((fn.rand(3) == x).all())
    True
    """
    _C._manual_seed(int(seed) % (1 << 64))


def get_rng_state() -> tuple[int, int]:
    """The seed and the number of draws made so far."""
    return _C._rng_state()


def set_rng_state(state: tuple[int, int]) -> None:
    """Continues from a state that ``get_rng_state`` returned."""
    seed, draws = state
    _C._set_rng_state(seed, draws)


def rand(
    *shape: Any, dtype: dtype = _C.float32, device: device | str | None = None, requires_grad: bool = False
) -> Tensor:
    """Uniform numbers in [0, 1): ``rand(2, 3)`` or ``rand((2, 3))``."""
    return _marked(
        _C._fresh_uniform(_C._empty(_shape(shape), dtype, device or get_default_device())), requires_grad
    )


def randn(
    *shape: Any, dtype: dtype = _C.float32, device: device | str | None = None, requires_grad: bool = False
) -> Tensor:
    """Normal numbers of mean 0 and deviation 1: ``randn(2, 3)`` or ``randn((2, 3))``."""
    return _marked(
        _C._fresh_normal(_C._empty(_shape(shape), dtype, device or get_default_device())), requires_grad
    )


def randint(
    low: int, high: int, size: Shape, *, dtype: dtype = _C.int64, device: device | str | None = None
) -> Tensor:
    """Integers in [low, high), every one as likely.

    Errors: ValueError if low >= high or the range does not fit ``dtype``.
    """
    return _C._randint(low, high, size, dtype, device or get_default_device())


def randperm(n: int, *, device: device | str | None = None) -> Tensor:
    """The integers 0..n-1 in random order."""
    from fastnn.data.order import stable_order

    keys = _C._randint(-(1 << 63), (1 << 63) - 1, n, _C.int64, "cpu").numpy()
    return _placed(_C._tensor_from_array(stable_order(keys)), device, False)
