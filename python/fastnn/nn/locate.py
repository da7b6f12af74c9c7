"""Tells in an exception which layer of the model raised it. Runs only once something has gone wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from .module import Module

__all__ = ["locate"]


class _Trace(NamedTuple):
    message: str  # as first raised
    layer: str  # the innermost module, printed
    path: str  # from `reached` to that module
    reached: Module  # the outermost module that the exception has passed so far
    where: str  # as last told


def locate(error: Exception, module: Module) -> None:
    """Called by every module that an exception leaves, inside out: adds the path of the layer that raised it.

    ``str(error)`` changes only where it is a plain message; for other exceptions the path becomes a note.
    """
    known: _Trace | None = getattr(error, "_fastnn_trace", None)
    if known is None:
        trace = _Trace(str(error), _headline(module), "", module, "")
    else:
        name = next((name for name, child in module.named_modules() if child is known.reached), "")
        trace = known._replace(path=".".join(filter(None, (name, known.path))), reached=module)
    owner = type(module).__name__
    where = f"in layer '{trace.path}' of {owner}: {trace.layer}" if trace.path else f"in {trace.layer}"
    error._fastnn_trace = trace._replace(where=where)  # type: ignore[attr-defined]
    if (
        type(error).__str__ is BaseException.__str__
        and len(error.args) == 1
        and isinstance(error.args[0], str)
    ):
        error.args = (f"{trace.message}\n  {where}",)
    else:
        notes = [note for note in getattr(error, "__notes__", []) if note != trace.where]
        error.__notes__ = [*notes, where]


def _headline(module: Module) -> str:
    """One line for the module: its class and settings, without its children."""
    return f"{type(module).__name__}({module.extra_repr()})"
