"""Objects that say how they were made, as plain JSON, and are made again from it.

A model file holds a description such as

    {"class": "Conv2d", "arguments": {"in_channels": 1, "out_channels": 20, "kernel_size": 5}}

and never code: ``build`` looks the name up among the registered classes and calls that class with those
arguments. Layers, models and data transforms derive from ``Describable``, which records the arguments; a
layer needs no line of its own for it.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from types import ModuleType
from typing import Any, TypeVar, overload

import numpy as np

from fastnn import _C
from fastnn._C import dtype

__all__ = ["Describable", "build", "describe", "register_all", "register_model"]

_Class = TypeVar("_Class", bound=type)
_classes: dict[str, type] = {}
_DTYPES = {value.name: value for value in vars(_C).values() if isinstance(value, dtype)}


class _ConstructorSignature:
    """What documents a class asks it for its signature, and would find that of ``Describable.__new__``."""

    def __get__(self, instance: object, owner: type) -> inspect.Signature:
        if instance is not None:  # calling an instance is something else
            raise AttributeError("__signature__")
        constructor: Any = owner.__init__  # type: ignore[misc]
        if constructor is object.__init__:
            return inspect.Signature()
        _, *parameters = inspect.signature(constructor).parameters.values()
        return inspect.Signature(parameters)


class Describable:
    """Remembers the arguments of its constructor, so that ``describe`` can write them down."""

    __signature__ = _ConstructorSignature()

    _arguments: tuple[tuple[Any, ...], dict[str, Any]]

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        self = super().__new__(cls)
        object.__setattr__(self, "_arguments", (args, kwargs))
        return self

    def constructor_arguments(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The call that makes an equal object: positional and keyword arguments.

        Containers whose contents change after construction override it.
        """
        return self._arguments


@overload
def register_model(cls: _Class) -> _Class: ...
@overload
def register_model(cls: str) -> Callable[[_Class], _Class]: ...


def register_model(cls: _Class | str) -> _Class | Callable[[_Class], _Class]:
    """Class decorator: lets ``fn.load_model`` build this class when a model file names it.

    The name in the file is the class's own, or the one given: ``@fn.register_model("zoo.LeNet")``. Files name
    classes but hold no code, so the program that loads one has to import the class first. Constructor
    arguments may be None, bool, int, float, str, dtypes, lists, tuples, dicts with str keys, and other
    registered objects.

    Errors: TypeError if the class is no ``nn.Module`` (or transform), ValueError if another class has the
    name.

    Example:
        >>> import fastnn as fn
        >>> from fastnn import nn
        >>> @fn.register_model
        ... class Doubler(nn.Module):
        ...     def __init__(self, factor=2.0):
        ...         super().__init__()
        ...         self.factor = factor
        ...     def forward(self, x):
        ...         return x * self.factor
    """
    if isinstance(cls, str):
        name = cls
        return lambda named: _register(named, name)
    return _register(cls, getattr(cls, "__name__", repr(cls)))


def register_all(module: ModuleType) -> None:
    """Registers every describable class that the module lists in ``__all__``."""
    for name in module.__all__:
        member = getattr(module, name)
        if isinstance(member, type) and issubclass(member, Describable):
            _register(member, name)


def _register(cls: _Class, name: str) -> _Class:
    if not (isinstance(cls, type) and issubclass(cls, Describable)):
        raise TypeError(f"register_model: {name} must be a class derived from nn.Module or a data transform")
    known = _classes.get(name)
    # A class defined again (a notebook cell run twice) takes the place of its former self.
    if known is not None and (known.__module__, known.__qualname__) != (cls.__module__, cls.__qualname__):
        raise ValueError(
            f"register_model: the name {name!r} belongs to {known.__module__}.{known.__qualname__}; "
            f'choose another one: @fn.register_model("my.{name}")'
        )
    _classes[name] = cls
    return cls


def arguments_of(thing: Describable) -> dict[str, Any]:
    """The arguments that make an equal object, by name."""
    args, kwargs = thing.constructor_arguments()
    return _constructor(type(thing)).bind(*args, **kwargs).arguments


def _constructor(cls: type) -> inspect.Signature:
    """The signature of the class's constructor, without self."""
    signature = inspect.signature(cls.__init__)  # type: ignore[misc]
    return signature.replace(parameters=list(signature.parameters.values())[1:])


def describe(thing: Describable) -> dict[str, Any]:
    """The class and constructor arguments of a registered object, as values that JSON can hold.

    Errors: TypeError naming the class that is not registered, or the argument that JSON cannot hold.
    """
    name = next((name for name, cls in _classes.items() if cls is type(thing)), None)
    if name is None:
        raise TypeError(
            f"{type(thing).__module__}.{type(thing).__qualname__} is not registered, so no file can describe "
            "it: put @fn.register_model above the class, or save the weights alone: "
            "fn.save(model.state_dict(), path)"
        )
    arguments = arguments_of(thing)
    arguments.pop("device", None)  # of the machine that saved it, not of the one that loads
    return {
        "class": name,
        "arguments": {key: _encode(value, f"{name}({key}=...)") for key, value in arguments.items()},
    }


def build(description: Any) -> Any:
    """The object that ``describe`` described.

    Errors: ValueError if the description is malformed, names an unknown class, or its arguments do not fit.
    """
    if not (isinstance(description, dict) and set(description) == {"class", "arguments"}):
        raise ValueError(f"a description has the keys 'class' and 'arguments', not {_short(description)}")
    name, arguments = description["class"], description["arguments"]
    cls = _classes.get(name) if isinstance(name, str) else None
    if cls is None:
        raise ValueError(
            f"the class {_short(name)} is unknown here: import the module that defines it "
            "and registers it with @fn.register_model"
        )
    signature = _constructor(cls)
    if not isinstance(arguments, dict) or not set(arguments) <= set(signature.parameters):
        raise ValueError(f"{name} takes the arguments {signature}, not {_short(arguments)}")
    decoded = {key: _decode(value) for key, value in arguments.items()}
    try:
        bound = inspect.BoundArguments(signature, decoded)
        return cls(*bound.args, **bound.kwargs)
    except Exception as error:  # whatever a constructor raises for arguments that it was not written for
        raise ValueError(f"{name}: {error}") from error


def _encode(value: Any, where: str) -> Any:
    if isinstance(value, np.generic):  # a size taken from an array
        value = value.item()
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"float": repr(value)}
    if isinstance(value, list):
        return [_encode(item, where) for item in value]
    if isinstance(value, tuple):
        return {"tuple": [_encode(item, where) for item in value]}
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {"dict": {key: _encode(item, where) for key, item in value.items()}}
    if isinstance(value, Describable):
        return describe(value)
    if isinstance(value, dtype):
        return {"dtype": value.name}
    raise TypeError(f"{where}: a model file cannot hold a {type(value).__name__}")


def _decode(value: Any) -> Any:
    if isinstance(value, list):
        return [_decode(item) for item in value]
    if not isinstance(value, dict):
        return value
    match value:
        case {"float": "nan" | "inf" | "-inf" as text}:
            return float(text)
        case {"dtype": str(name)} if name in _DTYPES:
            return _DTYPES[name]
        case {"tuple": list(items)}:
            return tuple(_decode(item) for item in items)
        case {"dict": dict(items)}:
            return {key: _decode(item) for key, item in items.items()}
    return build(value)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
