"""How exact float32 matrix products and convolutions are."""

from __future__ import annotations

from fastnn import _C
from fastnn._scope import Scope

__all__ = ["get_precision", "precision", "set_precision"]


def set_precision(precision: str) -> None:
    """Sets how exact this thread's float32 matrix products and convolutions are from now on.

    - ``"fp32"``, the default: float32 throughout, by algorithms that round no more than plain sums do, as a root mean
      square. On the CPU these include Winograd's for 3x3 filters, in tiles of 2 x 2.
    - ``"fp32_fast"``: float32 throughout, by algorithms that may round some bits more: Winograd's in tiles of 4 x 4, with
      about three times the error and up to half the time. On a GPU the same as ``"fp32"``.
    - ``"tf32"``, ``"bf16"``, ``"fp16"``: operands may be rounded to 10, 7 or 10 bits of mantissa (``"fp16"`` also
      to its range, up to 65504) on their way into tensor cores; sums stay float32.

    A looser setting permits, it does not oblige: the CPU takes each of the last three as ``"fp32_fast"``, and GPUs without
    tensor cores compute in float32. It holds for whatever runs under it, ``backward()`` included. float64 is never rounded.

    Errors: ValueError for another name.

    >>> import fastnn as fn
    >>> fn.get_precision()
    'fp32'
    """
    _C._set_precision(precision)


def get_precision() -> str:
    """What ``set_precision`` set, ``"fp32"`` at first."""
    return _C._precision()


class precision(Scope):
    """``set_precision`` for the length of a ``with`` block, or of the calls of a function that it decorates.

    >>> import fastnn as fn
    >>> with fn.precision("tf32"):
    ...     fn.get_precision()
    'tf32'
    >>> fn.get_precision()
    'fp32'
    >>> @fn.precision("fp32_fast")
    ... def predict(model, x):
    ...     return model(x)
    """

    def __init__(self, precision: str) -> None:
        if not isinstance(precision, str):
            raise TypeError(f'precision: expected a name, as in fn.precision("fp32_fast"), not {precision!r}')
        self._precision = precision
        self._before: list[str] = []  # one may be entered again while it lasts

    def __enter__(self) -> None:
        before = get_precision()
        set_precision(self._precision)
        self._before.append(before)

    def __exit__(self, *_: object) -> None:
        set_precision(self._before.pop())

    def _fresh(self) -> precision:
        return precision(self._precision)
