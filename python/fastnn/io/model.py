"""``fastnn.save_model`` and ``fastnn.load_model``: files that say which model they hold, and run no code."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from ..registry import build, describe
from .bonds import reuse, reused, shared_memory, tied
from .checkpoint import path_of
from .format import PREFIX, read, write
from .tensors import to_array, to_tensor

if TYPE_CHECKING:
    from fastnn import Tensor
    from fastnn.data import Transform
    from fastnn.nn import Module

__all__ = ["load_model", "save_model"]

_MODEL = PREFIX + "model"


def save_model(
    model: Module,
    path: str | os.PathLike[str],
    preprocessing: Transform | None = None,
    classes: Sequence[str] | None = None,
) -> None:
    """Saves a model with all that is needed to use it: architecture, weights, preprocessing and class names.

    The architecture is written as class names and constructor arguments (JSON in the file's metadata). Layers
    of ``fastnn.nn`` and models of ``fastnn.models`` are known; put ``@fn.register_model`` above classes of
    your own. The weights are those of ``state_dict()``, in safetensors, so other programs can read them too;
    their dtypes, which of them (and which modules) are one, and which are frozen come back with them; modes do not, as
    ``load_model`` gives a model in evaluation mode. The file is
    replaced atomically and carries a checksum, as with ``fastnn.save``.

    Parameters: ``preprocessing``, a transform of ``fastnn.data`` that turns raw inputs into what the model
    takes. ``classes``, names of the outputs. A model of ``load_model`` keeps those that it came with unless
    others are given.

    Errors: TypeError naming a class that is not registered or an argument that JSON cannot hold, ValueError
    if the model or the preprocessing was changed after construction so that its description would build
    another one (attributes, private ones too, buffers that are not persistent, forward hooks), OSError if the file cannot be written.

    Example:
        >>> import fastnn as fn
        >>> from fastnn import nn
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> fn.save_model(model, "tiny.safetensors", classes=["no", "yes"])
        >>> fn.load_model("tiny.safetensors").classes
        ('no', 'yes')
    """
    import fastnn.models  # noqa: F401 (registers its classes)
    from fastnn.data import Transform
    from fastnn.nn import Module

    if not isinstance(model, Module):
        raise TypeError(f"save_model(model, path): model must be an nn.Module, not a {type(model).__name__}")
    path = path_of("save_model", path, "model, path")
    came_with = vars(model).get("preprocessing"), vars(model).get("classes")
    if preprocessing is None and isinstance(came_with[0], Transform):
        preprocessing = came_with[0]
    if classes is None and _are_names(came_with[1]):
        classes = came_with[1]
    architecture = describe(model)
    built = _alike(model, architecture)
    _check(architecture, model, built)
    description = {
        "architecture": architecture,
        "preprocessing": None if preprocessing is None else _described(preprocessing),
        "classes": None if classes is None else [str(name) for name in classes],
        **_bonds(model, built, architecture),
    }
    arrays = {name: to_array(tensor) for name, tensor in model.state_dict().items()}
    write(path, arrays, {_MODEL: json.dumps(description, separators=(",", ":"))})


def load_model(path: str | os.PathLike[str], device: str = "cpu") -> Any:
    """The model in a file of ``fastnn.save_model``, in evaluation mode.

    Its attributes ``preprocessing`` (a transform or None) and ``classes`` (names or None) are those it was
    saved with. Only registered classes are built, only with the arguments in the file: no code is in the
    file, none is run.

    Errors: OSError if the file cannot be opened; ValueError naming it if it is damaged, holds only weights,
    names an unknown class, or weights that do not fit the architecture.

    Example:
        >>> import fastnn as fn
        >>> from fastnn import nn
        >>> fn.save_model(nn.Linear(3, 1), "line.safetensors")
        >>> fn.load_model("line.safetensors")
        Linear(in_features=3, out_features=1, bias=True)
    """
    import fastnn.models  # noqa: F401 (registers its classes)
    from fastnn.data import Transform
    from fastnn.nn import Module

    path = path_of("load_model", path)
    arrays, metadata = read(path)
    if _MODEL not in metadata:
        raise ValueError(
            f"{os.fspath(path)}: holds weights but no model; build the model and use "
            "model.load_state_dict(fn.load(path))"
        )
    try:
        description = _parse(metadata[_MODEL])
        model = _unfilled(description["architecture"])
        preprocessing = description["preprocessing"] and build(description["preprocessing"])
        if not isinstance(model, Module) or not isinstance(preprocessing, Transform | None):
            raise ValueError("the architecture must be a module and the preprocessing a transform")
        _bind(model, description)
        weights = {name: to_tensor(array) for name, array in arrays.items()}
        _take_dtypes(model, weights)
        model.load_state_dict(weights)
    except (ValueError, KeyError, AttributeError, RuntimeError, RecursionError, MemoryError) as error:
        raise ValueError(f"{os.fspath(path)}: {error}") from error
    classes = description["classes"]
    model.preprocessing = preprocessing
    model.classes = None if classes is None else tuple(classes)
    return model.to(device).eval()


def _are_names(classes: Any) -> bool:
    return isinstance(classes, tuple) and all(isinstance(name, str) for name in classes)


def _unfilled(architecture: Any, draws: int = 0) -> Any:
    """The model without values: sizes that the weights do not have cost neither time nor memory."""
    from fastnn import get_rng_state, set_rng_state
    from fastnn.nn import init

    state = get_rng_state()
    try:
        set_rng_state((state[0], state[1] + draws))
        with init.skipped():
            return build(architecture)
    finally:
        set_rng_state(state)  # for classes that draw numbers by themselves


def _alike(model: Module, architecture: Any, draws: int = 0) -> Any:
    """What loading would make of the architecture, before it has the weights."""
    built = _unfilled(architecture, draws)
    with suppress(AttributeError, ValueError):  # of other layers, as _check will say
        reuse(built, reused(model))
    _take_dtypes(built, model.state_dict())
    return built


def _check(architecture: dict[str, Any], model: Module, built: Module) -> None:
    """Refuses a model that was changed after construction: its description would build another one."""
    from fastnn import Tensor

    from .changes import changed_attributes

    _check_registered(model)
    for what, parts in (
        ("layers", lambda module: [(path, type(part).__name__) for path, part in module.named_modules()]),
        ("weights", lambda module: [(key, tuple(value.shape)) for key, value in module.state_dict().items()]),
    ):
        ours, theirs = dict(parts(model)), dict(parts(built))
        if ours != theirs:
            path = next(path for path in {**ours, **theirs} if ours.get(path) != theirs.get(path))
            raise _changed(model, what, path, ours.get(path, "not there"), theirs.get(path, "not there"))
    changed = list(changed_attributes(model, built))
    if changed:  # what the constructor makes anew each time, such as a random number, was not changed
        again = _alike(model, architecture, draws=1)
        drawn = {path for path, _, _ in changed_attributes(built, again)}
        for path, mine, other in changed:
            if path not in drawn:
                raise _changed(model, "attributes", path, _short(mine), _short(other))
            if any(isinstance(part, Tensor | np.ndarray) for part in _within(mine)):
                raise _unknown(model, path)


def _check_registered(model: Module) -> None:
    """Refuses layers and parameters in lists and dicts, of which nobody knows: neither the file nor training."""
    from fastnn.nn import Module, Parameter

    from .changes import plain_attributes

    known = {id(part) for part in (*model.modules(), *model.parameters())}
    for path, module in model.named_modules():
        for name, value in plain_attributes(module):
            for part in _within(value):
                if isinstance(part, Module | Parameter) and id(part) not in known:
                    raise _unknown(model, f"{path}.{name}" if path else name)


def _within(value: Any) -> Iterator[Any]:
    """It, and what is in it where it is a container."""
    left, met = [value], set()
    while left:
        value = left.pop()
        if id(value) in met:
            continue
        met.add(id(value))
        yield value
        if isinstance(value, dict):
            left += value.values()
        elif isinstance(value, list | tuple | set | frozenset):
            left += value


def _unknown(model: Module, path: str) -> ValueError:
    return ValueError(
        f"save_model: {path!r} of this {type(model).__name__} is made anew by each construction and is not in its "
        "state_dict, so the file would lose it. Layers in a list or dict want nn.ModuleList or nn.ModuleDict, parameters "
        "an attribute each, other tensors register_buffer"
    )


def _changed(thing: Any, what: str, path: str, ours: Any, theirs: Any) -> ValueError:
    return ValueError(
        f"save_model: the {what} of this {type(thing).__name__} are not those its constructor makes: "
        f"{path!r} is {ours}, would be {theirs}. "
        "Build it as it shall be, or save the weights alone with fn.save(model.state_dict(), path)"
    )


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _described(preprocessing: Transform) -> dict[str, Any]:
    from .changes import changed_attributes

    description = describe(preprocessing)
    for path, mine, other in changed_attributes(preprocessing, build(description)):
        raise _changed(preprocessing, "attributes", path, _short(mine), _short(other))
    return description


def _bonds(model: Module, built: Module, architecture: Any) -> dict[str, Any]:
    """Which modules and parameters are one, and which are frozen, where the constructor does not make them so."""
    built_shared = shared_memory(built)
    for name, owner in shared_memory(model).items():
        if name not in built_shared:
            raise _changed(model, "weights", name, f"in the memory of {owner!r}", "in its own")
    ours, theirs = tied(model), tied(built)
    for group in theirs:
        if not any(set(group) <= set(other) for other in ours):
            raise _changed(model, "weights", group[1], "one of its own", f"{group[0]!r}")
    frozen = [name for name, parameter in model.named_parameters() if not parameter.requires_grad]
    built_frozen = [name for name, parameter in built.named_parameters() if not parameter.requires_grad]
    bonds: dict[str, Any] = {} if ours == theirs else {"tied": ours}
    if (groups := reused(model)) and groups != reused(_unfilled(architecture)):
        bonds["reused"] = groups
    return bonds if frozen == built_frozen else {**bonds, "frozen": frozen}


def _bind(model: Module, description: dict[str, Any]) -> None:
    reuse(model, description.get("reused", []))
    places = dict(model._state())
    for first, *others in description.get("tied", []):
        for name in others:
            if places[name].shape != places[first].shape:
                raise ValueError(f"{name!r} cannot be {first!r}: it has another shape")
            owner, _, attribute = name.rpartition(".")
            setattr(model.get_submodule(owner), attribute, places[first])
    if "frozen" in description:
        for name, parameter in model.named_parameters():
            parameter.requires_grad = name not in description["frozen"]


def _take_dtypes(model: Module, weights: dict[str, Tensor]) -> None:
    """Floating weights get the dtype they were saved with: the model was converted after construction.

    Where all of them were, so were the buffers that no file holds.
    """
    places = dict(model._state())
    floating = {value.dtype for value in weights.values() if value.is_floating_point()}
    if len(floating) == 1 and not floating & {place.dtype for place in places.values()}:
        model.to(*floating)
    for name, place in model._state():
        value = weights.get(name)
        if (
            value is not None
            and value.shape == place.shape
            and value.dtype is not place.dtype
            and value.is_floating_point()
            and place.is_floating_point()
        ):
            place.data = place.data.to(value.dtype)


def _parse(text: str) -> dict[str, Any]:
    description = json.loads(text)
    match description:
        case {"architecture": dict(), "preprocessing": dict() | None, "classes": list() | None, **rest}:
            tied, frozen, reused = (rest.pop(key, []) for key in ("tied", "frozen", "reused"))
            groups: Any = [description["classes"] or [], frozen]
            for bonds in (tied, reused):
                groups += bonds if isinstance(bonds, list) else [None]
            right = (
                not rest
                and all(isinstance(group, list) for group in groups)
                and all(isinstance(name, str) for group in groups for name in group)
                and all(len(group) > 1 for group in groups[2:])
            )
        case _:
            right = False
    if not right:
        raise ValueError("the description of the model is malformed")
    return dict(description)
