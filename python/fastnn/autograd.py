"""Recording of operations: switching it on and off, and functions with a backward of their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self, TypeVar, overload

from fastnn import _C
from fastnn._C import Tensor, grad
from fastnn._scope import Scope

__all__ = ["Function", "FunctionContext", "enable_grad", "grad", "no_grad", "set_grad_enabled"]


_Callable = TypeVar("_Callable", bound=Callable[..., Any])


class _GradMode(Scope):
    """What records or not for a while: ``with`` it, also within itself, or a decorator of functions and generators."""

    def __init__(self, mode: bool) -> None:
        self._mode = mode
        self._before: list[bool] = []

    def __enter__(self) -> None:
        self._before.append(_C._set_grad_enabled(self._mode))

    def __exit__(self, *exc: object) -> None:
        _C._set_grad_enabled(self._before.pop())

    def _fresh(self) -> _GradMode:
        return _GradMode(self._mode)


class _Bare(_GradMode):
    """A mode without arguments, whose brackets may be left out where it decorates: ``@fn.no_grad``."""

    _recording = False

    @overload
    def __new__(cls, function: _Callable) -> _Callable: ...  # type: ignore[misc]
    @overload
    def __new__(cls, function: None = None) -> Self: ...
    def __new__(cls, function: Any = None) -> Any:
        return super().__new__(cls) if function is None else cls()(function)

    def __init__(self, function: None = None) -> None:
        super().__init__(self._recording)


class set_grad_enabled(_GradMode):
    """Context manager, decorator or plain call that sets whether this thread records operations.

    >>> import fastnn as fn
    >>> x = fn.ones(2, requires_grad=True)
    >>> with fn.set_grad_enabled(False):
    ...     (x * 2).requires_grad
    False
    """

    def __init__(self, mode: bool) -> None:
        super().__init__(mode)
        self._called_in: bool | None = _C._set_grad_enabled(mode)

    def __enter__(self) -> None:
        before = _C._set_grad_enabled(self._mode)
        self._before.append(before if self._called_in is None else self._called_in)
        self._called_in = None

    def __call__(self, function: _Callable) -> _Callable:
        if self._called_in is not None:  # meant as a decorator: the mode here is as it was
            _C._set_grad_enabled(self._called_in)
            self._called_in = None
        return super().__call__(function)


class no_grad(_Bare):
    """Context manager and decorator, with or without brackets: operations inside are not recorded.

    Of a generator, those that it runs itself; its caller's are recorded as before.

    >>> import fastnn as fn
    >>> x = fn.ones(2, requires_grad=True)
    >>> with fn.no_grad():
    ...     y = x * 2
    >>> y.requires_grad
    False
    >>> @fn.no_grad
    ... def double(x):
    ...     return x * 2
    >>> double(x).requires_grad
    False
    """


class enable_grad(_Bare):
    """As :class:`no_grad`, but operations inside are recorded, also within that."""

    _recording = True


class FunctionContext:
    """What a :class:`Function`'s forward leaves for its backward."""

    def __init__(self) -> None:
        self.needs_input_grad: tuple[bool, ...] = ()
        self._to_save: tuple[Tensor | None, ...] = ()
        self._saved: tuple[Any, ...] = ()
        self._pass: Any = None

    def save_for_backward(self, *tensors: Tensor | None) -> None:
        """Keeps inputs or outputs for backward; a later in-place write to one of them is noticed."""
        self._to_save = tensors

    @property
    def saved_tensors(self) -> tuple[Tensor | None, ...]:
        """The tensors kept by :meth:`save_for_backward`."""
        if self._pass is None:
            return self._to_save
        return tuple(None if s is None else s.get(self._pass) for s in self._saved)

    def _seal(self, outputs: tuple[Tensor, ...]) -> None:
        def kept(t: Tensor | None) -> Any:
            if t is None:
                return None
            return _C._Saved(t, next((i for i, y in enumerate(outputs) if y is t), -1))

        self._saved = tuple(kept(t) for t in self._to_save)
        self._to_save = ()


class Function:
    """An operation whose forward and backward are written in Python.

    Subclasses define two static methods. ``forward(ctx, *args)`` computes with tensors, not recorded, and returns
    a Tensor or a tuple of them. ``backward(ctx, *grads)`` gets the gradient of each output (None for one that took
    no part) and returns one for each argument of forward, None where there is none. What backward computes from
    differentiable operations can be differentiated again.

    >>> import fastnn as fn
    >>> class Cube(fn.autograd.Function):
    ...     @staticmethod
    ...     def forward(ctx, x):
    ...         ctx.save_for_backward(x)
    ...         return x * x * x
    ...     @staticmethod
    ...     def backward(ctx, dy):
    ...         (x,) = ctx.saved_tensors
    ...         return dy * 3 * x * x
    >>> x = fn.tensor([2.0], requires_grad=True)
    >>> Cube.apply(x).backward()
    >>> x.grad
    tensor([12.])
    """

    @staticmethod
    def forward(ctx: FunctionContext, *args: Any) -> Any:
        """The outputs, a Tensor or a tuple of them; subclasses define it."""
        raise NotImplementedError("a Function needs a static method forward(ctx, *args)")

    @staticmethod
    def backward(ctx: FunctionContext, *grads: Any) -> Any:
        """The gradient of each argument of forward, from those of the outputs; subclasses define it."""
        raise NotImplementedError("a Function needs a static method backward(ctx, *grads)")

    @classmethod
    def apply(cls, *args: Any) -> Any:
        """Runs forward and records it."""
        ctx = FunctionContext()
        ctx.needs_input_grad = tuple(isinstance(a, Tensor) and a.requires_grad for a in args)
        with no_grad():
            result = _C._call_forward(cls.__name__, cls.forward, ctx, args)
        outputs = result if isinstance(result, tuple) else (result,)
        for i, y in enumerate(outputs):
            if not isinstance(y, Tensor):
                raise TypeError(
                    f"{cls.__name__}.forward: output {i} must be a Tensor, got {type(y).__name__}"
                )
        if not (_C.is_grad_enabled() and any(ctx.needs_input_grad)):
            return result
        # An output that is an input as it came needs an identity of its own to carry the new history.
        inputs = {id(a) for a in args}
        fresh = tuple(y.detach() if id(y) in inputs else y for y in outputs)
        ctx._seal(fresh)
        _C._record_function(cls.__name__, ctx, cls.backward, args, list(fresh))
        return fresh if isinstance(result, tuple) else fresh[0]
