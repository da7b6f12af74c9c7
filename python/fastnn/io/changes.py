"""What of an object its constructor would not make again."""

from __future__ import annotations

import types
from collections.abc import Iterator
from typing import Any

import numpy as np

from fastnn import Tensor, bfloat16
from fastnn.registry import Describable, arguments_of

__all__ = ["changed_attributes", "tied"]

_SET_BY_LOADING = ("preprocessing", "classes")
_MISSING = object()


def changed_attributes(ours: Any, theirs: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """(path, value, value when built anew) of public attributes of a module or transform, and of what is below it.

    What was added later and no class knows counts for nothing: a note. The device is that of the machine.
    """
    kinds = getattr(ours, "_kinds", {})
    device = arguments_of(ours).get("device", _MISSING)
    for name in dict.fromkeys((*vars(ours), *vars(theirs))):
        if name.startswith("_") or name == "training" or name in kinds:
            continue
        if not path and hasattr(ours, "_kinds") and name in _SET_BY_LOADING:
            continue
        mine, other = getattr(ours, name, _MISSING), getattr(theirs, name, _MISSING)
        if other is not _MISSING and not _same(mine, other, device):
            yield (f"{path}.{name}" if path else name), mine, other
    others = dict(theirs.named_children()) if kinds else {}
    for name, child in ours.named_children() if kinds else ():
        if name in others:
            yield from changed_attributes(child, others[name], f"{path}.{name}" if path else name)


def _same(a: Any, b: Any, device: Any) -> bool:
    if a is b or (device is not _MISSING and type(a) is type(device) and a == device):
        return True
    if isinstance(a, types.FunctionType) and isinstance(b, types.FunctionType):
        return a.__code__ is b.__code__  # a lambda that the constructor makes
    if isinstance(a, types.MethodType) and isinstance(b, types.MethodType):
        return a.__func__ is b.__func__
    if type(a) is not type(b):
        return isinstance(a, int | float) and isinstance(b, int | float) and a == b
    if isinstance(a, Tensor):
        return a.dtype is b.dtype and _same(_values(a), _values(b), device)
    if isinstance(a, np.ndarray):
        return np.array_equal(a, b, equal_nan=a.dtype.kind in "fc" and b.dtype.kind in "fc")
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(_same(x, y, device) for x, y in zip(a, b, strict=True))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_same(value, b[key], device) for key, value in a.items())
    if isinstance(a, Describable):
        return next(changed_attributes(a, b, "."), None) is None
    if isinstance(
        a, int | float | complex | str | bytes | set | frozenset | np.generic | types.BuiltinFunctionType
    ):
        return bool(a == b or (a != a and b != b))
    return True  # nothing is known of how it is compared


def _values(tensor: Tensor) -> Any:
    return (tensor.float() if tensor.dtype is bfloat16 else tensor).detach().cpu().tolist()


def tied(module: Any) -> list[list[str]]:
    """Names in the state that stand for one parameter."""
    names: dict[int, list[str]] = {}
    for name, value in module._state():
        names.setdefault(id(value), []).append(name)
    return [group for group in names.values() if len(group) > 1]
