"""Functions called around a module's forward."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["Hooks", "RemovableHandle"]


class Hooks:
    """The hooks of one module, in the order of registration."""

    def __init__(self) -> None:
        self.before: dict[RemovableHandle, Callable[..., Any]] = {}
        self.after: dict[RemovableHandle, Callable[..., Any]] = {}

    def copied(self) -> Hooks:
        """The same hooks for another module; the handles remove them from the first alone."""
        copy = Hooks()
        copy.before, copy.after = dict(self.before), dict(self.after)
        return copy


class RemovableHandle:
    """Removes its hook: ``handle.remove()``, or at the end of ``with module.register_forward_hook(f):``."""

    def __init__(self, hooks: dict[RemovableHandle, Callable[..., Any]], removed: Callable[[], None]) -> None:
        self._hooks = hooks
        self._removed = removed

    def remove(self) -> None:
        """Takes the hook away; again does nothing."""
        self._hooks.pop(self, None)
        self._removed()

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *exception: object) -> None:
        self.remove()
