"""``fastnn.save_model`` and ``fastnn.load_model``: files that say which model they hold, and run no code."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..registry import build, describe
from .format import PREFIX, read, write
from .tensors import to_array, to_tensor

if TYPE_CHECKING:
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
    your own. The weights are those of ``state_dict()``, in safetensors, so other programs can read them too.
    The file is replaced atomically and carries a checksum, as with ``fastnn.save``.

    Parameters: ``preprocessing``, a transform of ``fastnn.data`` that turns raw inputs into what the model
    takes. ``classes``, names of the outputs.

    Errors: TypeError naming a class that is not registered or an argument that JSON cannot hold, ValueError
    if the model was changed after construction so that its description would build another one, OSError if
    the file cannot be written.

    Example:
        >>> import fastnn as fn
        >>> from fastnn import nn
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> fn.save_model(model, "tiny.safetensors", classes=["no", "yes"])
        >>> fn.load_model("tiny.safetensors").classes
        ('no', 'yes')
    """
    import fastnn.models  # noqa: F401 (registers its classes)

    architecture = describe(model)
    _check(architecture, model)
    description = {
        "architecture": architecture,
        "preprocessing": None if preprocessing is None else describe(preprocessing),
        "classes": None if classes is None else [str(name) for name in classes],
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
        model.load_state_dict({name: to_tensor(array) for name, array in arrays.items()})
    except (ValueError, KeyError, RuntimeError, RecursionError, MemoryError) as error:
        raise ValueError(f"{os.fspath(path)}: {error}") from error
    classes = description["classes"]
    model.preprocessing = preprocessing
    model.classes = None if classes is None else tuple(classes)
    return model.to(device).eval()


def _unfilled(architecture: Any) -> Any:
    """The model without values: sizes that the weights do not have cost neither time nor memory."""
    from fastnn import get_rng_state, set_rng_state
    from fastnn.nn import init

    state = get_rng_state()
    try:
        with init.skipped():
            return build(architecture)
    finally:
        set_rng_state(state)  # for classes that draw numbers by themselves


def _check(architecture: dict[str, Any], model: Module) -> None:
    """Refuses a model that was changed after construction: its description would build another one."""
    built = _unfilled(architecture)
    for what, parts in (
        ("layers", lambda module: [(path, type(part).__name__) for path, part in module.named_modules()]),
        ("weights", lambda module: [(key, tuple(value.shape)) for key, value in module.state_dict().items()]),
    ):
        ours, theirs = dict(parts(model)), dict(parts(built))
        if ours != theirs:
            path = next(path for path in {**ours, **theirs} if ours.get(path) != theirs.get(path))
            raise ValueError(
                f"save_model: the {what} of this {type(model).__name__} are not those its constructor makes: "
                f"{path!r} is {ours.get(path, 'not there')}, would be {theirs.get(path, 'not there')}. "
                "Build it as it shall be, or save the weights alone with fn.save(model.state_dict(), path)"
            )


def _parse(text: str) -> dict[str, Any]:
    description = json.loads(text)
    match description:
        case {"architecture": dict(), "preprocessing": dict() | None, "classes": list(classes), **rest}:
            right = not rest and all(isinstance(name, str) for name in classes)
        case {"architecture": dict(), "preprocessing": dict() | None, "classes": None, **rest}:
            right = not rest
        case _:
            right = False
    if not right:
        raise ValueError("the description of the model is malformed")
    return dict(description)
