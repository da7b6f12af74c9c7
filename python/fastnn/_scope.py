"""Settings that hold for a while: ``with`` blocks that decorate functions and generators, too."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager
from typing import Any, TypeVar, cast

__all__ = ["Scope"]

_Callable = TypeVar("_Callable", bound=Callable[..., Any])
_Fresh = Callable[[], AbstractContextManager[Any]]


class Scope:
    """A context manager that also decorates: every call runs in a fresh one, whatever thread it is on.

    A subclass defines ``__enter__``, ``__exit__`` and ``_fresh``.
    """

    def _fresh(self) -> AbstractContextManager[Any]:
        """Another one of the same settings."""
        raise NotImplementedError

    def __call__(self, function: _Callable) -> _Callable:
        """The function or generator, which runs in this scope."""
        name = type(self).__name__
        if not callable(function):
            raise TypeError(f"{name}: decorates functions and generators, not {function!r}")
        if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
            raise TypeError(
                f"{name}: {function.__name__} is asynchronous, and others run while it waits; "
                "use `with` inside it where it computes"
            )
        fresh = self._fresh
        if inspect.isgeneratorfunction(function):

            @functools.wraps(function)
            def generating(*args: Any, **kwargs: Any) -> Any:
                return (yield from _resumed(fresh, function(*args, **kwargs)))

            return cast(_Callable, generating)

        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            with fresh():
                return function(*args, **kwargs)

        return cast(_Callable, wrapped)


def _resumed(fresh: _Fresh, generator: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
    """The generator, in the scope while it runs and in its caller's in between."""
    resume: Callable[[], Any] = functools.partial(next, generator)
    while True:
        try:
            with fresh():
                value = resume()
        except StopIteration as end:
            return end.value
        try:
            sent = yield value
        except GeneratorExit:
            with fresh():
                generator.close()
            raise
        except BaseException as error:
            resume = functools.partial(generator.throw, error)
        else:
            resume = functools.partial(generator.send, sent)
