"""``fastnn.save`` and ``fastnn.load``: tensors, and nested containers of them, in safetensors files."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

import fastnn

from .format import PREFIX, Array, read, write
from .tensors import to_array, to_tensor

__all__ = ["load", "save"]

_TREE = PREFIX + "tree"
_DEEPEST = 100  # containers in each other: reading them back recurses, wherever that is called from
_KINDS = (bool, int, float, str, type(None))


def save(values: Any, path: str | os.PathLike[str]) -> None:
    """Saves tensors to a safetensors file, atomically and with a checksum.

    Parameters: ``values``, a dict of tensors such as ``model.state_dict()``; every program that reads
    safetensors reads the file. Or any nesting of dicts, lists and tuples that ends in tensors, numbers,
    strings, bools and None, such as ``{"model": model.state_dict(), "optimizer": opt.state_dict(), "epoch":
    3}``; what is not a tensor then travels in the file's metadata. Numbers of NumPy become Python's. Keys are
    str or int. ``path``: replaced
    only when the new file is complete and on the disk, so a full disk, Ctrl-C or a crash leaves the old file
    as it was.

    Errors: TypeError naming the value that no file can hold, ValueError naming a container that contains itself, OSError
    naming the path if it cannot be written.

    Example:
        >>> import fastnn as fn
        >>> fn.save({"weight": fn.ones(2, 3), "epoch": 7}, "state.safetensors")
        >>> state = fn.load("state.safetensors")
        >>> state["epoch"], tuple(state["weight"].shape)
        (7, (2, 3))
    """
    path = path_of("save", path, "values, path")
    arrays: dict[str, Array] = {}
    tree = _flatten(values, (), (), arrays)
    flat = isinstance(values, Mapping) and list(values) == list(arrays)
    write(path, arrays, {} if flat else {_TREE: json.dumps(tree, separators=(",", ":"))})


def load(path: str | os.PathLike[str], device: str = "cpu") -> Any:
    """What ``fastnn.save`` put into a file, or the dict of tensors in anybody's safetensors file.

    Sizes are checked before memory is asked for, and files written by fastnn against their checksum. Python
    pickles are refused, as they run code.

    Errors: OSError if the file cannot be opened, ValueError naming it if it is damaged, cut off or of another
    format.

    Example:
        >>> import fastnn as fn
        >>> fn.save({"weight": fn.zeros(3)}, "zeros.safetensors")
        >>> fn.load("zeros.safetensors")["weight"].numpy()
        array([0., 0., 0.], dtype=float32)
    """
    path = path_of("load", path, "path")
    arrays, metadata = read(path)
    tensors = {name: to_tensor(array).to(device) for name, array in arrays.items()}
    if _TREE not in metadata:
        return tensors
    try:
        return _restore(json.loads(metadata[_TREE]), tensors)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{os.fspath(path)}: {_TREE} in its metadata is malformed: {error}") from error


def path_of(op: str, path: Any, arguments: str = "path") -> str:
    """A path of any kind as text. TypeError for something else."""
    if not isinstance(path, str | bytes | os.PathLike):
        raise TypeError(f"{op}({arguments}): path must be text or a Path, not a {type(path).__name__}")
    return os.fsdecode(path)


def _flatten(value: Any, path: tuple[str, ...], around: tuple[Any, ...], arrays: dict[str, Array]) -> Any:
    """The value as JSON, its tensors moved to ``arrays`` under their dotted path; ``around`` are the containers it is in."""
    if isinstance(value, Mapping | list | tuple):
        if any(value is outer for outer in around):
            raise ValueError(f"save: {'.'.join(path)} is a {type(value).__name__} that contains itself")
        if len(around) >= _DEEPEST:
            raise ValueError(
                f"save: containers are nested more than {_DEEPEST} deep at {'.'.join(path[:3])}..."
            )
        around = (*around, value)
    if isinstance(value, fastnn.Tensor):
        name = ".".join(path).encode(errors="replace").decode() or "tensor"  # the tree holds the key itself
        while name in arrays or name == "__metadata__":  # {"a.b": x, "a": {"b": y}}
            name += "_"
        arrays[name] = to_array(value)
        return {"tensor": name}
    if isinstance(value, Mapping):
        items = [(_plain(key), item) for key, item in value.items()]
        for key, _ in items:
            if type(key) not in (str, int):
                raise TypeError(
                    f"save: keys are str or int, not {key!r} (in {'.'.join(path) or 'the outermost dict'})"
                )
        return {"dict": [[key, _flatten(item, (*path, str(key)), around, arrays)] for key, item in items]}
    if type(value) in (list, tuple):
        items = [_flatten(item, (*path, str(i)), around, arrays) for i, item in enumerate(value)]
        return {type(value).__name__: items}
    value = _plain(value)
    if type(value) in _KINDS:
        return value
    hint = ""
    if hasattr(value, "__array__"):
        hint = " (fastnn.from_numpy makes a tensor of it)"
    elif isinstance(value, fastnn.nn.Module):
        hint = " (fastnn.save_model saves a model; fastnn.save its weights, model.state_dict())"
    elif hasattr(value, "state_dict"):
        hint = " (save its state_dict())"
    raise TypeError(
        f"save: {'.'.join(path) or 'the value'} is a {type(value).__name__}, which no file can hold{hint}"
    )


def _plain(value: Any) -> Any:
    """A number or text of NumPy as Python's."""
    return value.item() if isinstance(value, np.generic) else value


def _restore(node: Any, tensors: dict[str, Any]) -> Any:
    match node:
        case {"tensor": str(name)}:
            return tensors[name]
        case {"dict": list(items)}:
            return {key: _restore(item, tensors) for key, item in items}
        case {"list": list(items)}:
            return [_restore(item, tensors) for item in items]
        case {"tuple": list(items)}:
            return tuple(_restore(item, tensors) for item in items)
    if type(node) not in _KINDS:
        raise ValueError(f"unknown entry {str(node)[:40]}")
    return node
