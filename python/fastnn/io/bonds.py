"""What of a model is one and the same: modules, parameters, memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastnn.nn import Module

__all__ = ["reuse", "reused", "shared_memory", "tied"]


def reused(model: Module) -> list[list[str]]:
    """Paths that lead to one module, such as that of ``Sequential(a, b, a)``; nothing of what is below its first."""
    paths: dict[int, list[str]] = {}

    def visit(module: Module, path: str) -> None:
        paths.setdefault(id(module), []).append(path)
        if len(paths[id(module)]) == 1:
            for name, child in module.named_children():
                visit(child, f"{path}.{name}" if path else name)

    visit(model, "")
    return [group for group in paths.values() if len(group) > 1]


def reuse(model: Module, groups: list[list[str]]) -> None:
    """Puts the first module of each group in the places of the others.

    Errors: ValueError if another is not made of the same modules, so that no file can make a module part of itself, or
    have more paths than its description has; AttributeError if there is none.
    """
    for first, *others in groups:
        module = model.get_submodule(first)
        for path in others:
            if _outline(model.get_submodule(path)) != _outline(module):
                raise ValueError(f"{path!r} cannot be {first!r}: it is made of other modules")
            owner, _, name = path.rpartition(".")
            setattr(model.get_submodule(owner), name, module)


def _outline(module: Module) -> list[Any]:
    return [type(module), *((name, _outline(child)) for name, child in module.named_children())]


def tied(module: Any) -> list[list[str]]:
    """Names in the state that stand for one parameter."""
    names: dict[int, list[str]] = {}
    for name, value in module._state():
        names.setdefault(id(value), []).append(name)
    return [group for group in names.values() if len(group) > 1]


def shared_memory(module: Any) -> dict[str, str]:
    """Names in the state whose values lie in the memory of another, though they are not one parameter."""
    spans = sorted(
        {
            id(value): (value.data_ptr(), value.nbytes if value.is_contiguous() else 1, name)
            for name, value in module._state()
            if value.numel()
        }.values()
    )
    shared, end, owner = {}, 0, ""
    for start, size, name in spans:
        if start < end:
            shared[name] = owner
        if start + size > end:
            end, owner = start + size, name
    return shared
