"""Whether CUDA can be used, and if not, why."""

from __future__ import annotations

from fastnn import _C


def is_available() -> bool:
    """True if tensors can be moved to a CUDA device.

    >>> import fastnn as fn
    >>> fn.cuda.is_available() == (fn.cuda.why_not() is None)
    True
    """
    return _C._cuda_why_not() is None


def why_not() -> str | None:
    """Why CUDA cannot be used, in a sentence; None if it can."""
    return _C._cuda_why_not()
