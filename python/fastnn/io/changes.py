"""What of an object its constructor would not make again."""

from __future__ import annotations

import enum
import functools
import types
from collections.abc import Iterator
from typing import Any

import numpy as np

from fastnn import Tensor, bfloat16, device, dtype
from fastnn.nn.module import TRANSIENT
from fastnn.registry import Describable, arguments_of

__all__ = ["changed_attributes", "plain_attributes"]

_SET_BY_LOADING = ("preprocessing", "classes")
# The description knows the arguments; what a Sequential planned follows from its layers.
_MACHINERY = ("_arguments", "_hooks", "_kinds", "_steps", "_steps_version", "training")
_MISSING = object()


def changed_attributes(ours: Any, theirs: Any) -> Iterator[tuple[str, Any, Any]]:
    """(path, value, value when built anew) of attributes of a module or transform, and of what is below it.

    What was added later and no class knows counts for nothing: a note. The device is that of the machine.
    """
    return _Comparison(ours, theirs).changed(ours, theirs, "")


def plain_attributes(module: Any) -> Iterator[tuple[str, Any]]:
    """Those that are no layer, parameter or buffer of it."""
    for name, value in vars(module).items():
        if name not in _MACHINERY and module._kinds.get(name, TRANSIENT) == TRANSIENT:
            yield name, value


class _Comparison:
    """Of two objects part by part. Two that are being compared count as the same where they refer to themselves."""

    def __init__(self, ours: Any, theirs: Any) -> None:
        self._met = {(id(ours), id(theirs))}
        if hasattr(ours, "_state"):  # the values are in the file
            others = dict(theirs._state())
            self._met |= {(id(value), id(others.get(name))) for name, value in ours._state()}

    def changed(self, ours: Any, theirs: Any, path: str) -> Iterator[tuple[str, Any, Any]]:
        dot = f"{path}." if path else ""
        kinds = getattr(ours, "_kinds", {})
        others = dict(theirs.named_children()) if kinds else {}
        for name, child in ours.named_children() if kinds else ():
            if name in others:
                yield from self.changed(child, others[name], dot + name)
        where = arguments_of(ours).get("device", _MISSING)
        for name in dict.fromkeys((*vars(ours), *vars(theirs))):
            if name in _MACHINERY or kinds.get(name, TRANSIENT) != TRANSIENT:
                continue
            if not path and hasattr(ours, "_kinds") and name in _SET_BY_LOADING:
                continue
            mine, other = getattr(ours, name, _MISSING), getattr(theirs, name, _MISSING)
            if other is not _MISSING and not self._same(mine, other, where):
                yield dot + name, mine, other
        mine, other = _hooks(ours), _hooks(theirs)
        if not self._same(mine, other, where):
            yield dot + "forward hooks", mine, other

    def _same(self, a: Any, b: Any, where: Any) -> bool:
        pair = id(a), id(b)
        if a is b or pair in self._met or (type(a) is type(where) and a == where):
            return True
        self._met.add(pair)
        try:
            return self._equal(a, b, where)
        finally:
            self._met.discard(pair)

    def _equal(self, a: Any, b: Any, where: Any) -> bool:
        if type(a) is not type(b):
            return isinstance(a, int | float) and isinstance(b, int | float) and a == b
        if isinstance(a, Tensor):
            return a.dtype is b.dtype and _equal_arrays(_values(a), _values(b))
        if isinstance(a, np.ndarray):
            return _equal_arrays(a, b)
        if isinstance(a, list | tuple):
            return len(a) == len(b) and all(self._same(x, y, where) for x, y in zip(a, b, strict=True))
        if isinstance(a, dict):
            return a.keys() == b.keys() and all(self._same(value, b[key], where) for key, value in a.items())
        if isinstance(a, Describable):
            return next(self.changed(a, b, "."), None) is None
        if isinstance(a, type | enum.Enum | dtype | device):
            return isinstance(a, device)
        if type(a).__eq__ is not object.__eq__:
            try:
                return bool(a == b or (a != a and b != b))
            except Exception:  # what it holds is not compared by ==, as arrays are
                pass
        return self._same(_parts(a), _parts(b), where)


def _parts(thing: Any) -> Any:
    """What an object without an == is made of; of an opaque one None."""
    if isinstance(thing, types.FunctionType):  # one that the constructor makes anew has the same code
        cells = [_content(cell) for cell in thing.__closure__ or ()]
        return id(thing.__code__), cells, thing.__defaults__, thing.__kwdefaults__, vars(thing)
    if isinstance(thing, types.MethodType):
        return thing.__func__, thing.__self__
    if isinstance(thing, functools.partial):
        return thing.func, thing.args, thing.keywords, vars(thing)
    return object.__getstate__(thing)


def _content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not filled yet
        return _MISSING


def _hooks(thing: Any) -> list[Any]:
    hooks = getattr(thing, "_hooks", None)
    return [*hooks.before.values(), *hooks.after.values()] if hooks is not None else []


def _equal_arrays(a: Any, b: Any) -> bool:
    return np.array_equal(a, b, equal_nan=a.dtype.kind in "fc" and b.dtype.kind in "fc")


def _values(tensor: Tensor) -> Any:
    return (tensor.float() if tensor.dtype is bfloat16 else tensor).detach().cpu().numpy()
