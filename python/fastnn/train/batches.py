"""From whatever the user has to batches that the model takes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

import fastnn as fn
from fastnn import Tensor, nn
from fastnn.data import DataLoader

__all__ = ["evaluating", "loader_of", "place", "restored"]

Batch = tuple[Tensor, ...]


def loader_of(data: Any, batch_size: int, shuffle: bool = False, seed: int = 0) -> Any:
    """A loader: the one given, or one over arrays or a data set.

    Errors: ValueError if there is nothing in it.
    """
    is_set = isinstance(data, tuple | list) or hasattr(data, "__getitem__") or hasattr(data, "__array__")
    if is_set:
        data = DataLoader(data, batch_size, shuffle=shuffle, seed=seed)
    elif not isinstance(data, Iterable):
        raise TypeError(f"expected arrays (x, y), a Dataset or a DataLoader, not a {type(data).__name__}")
    if hasattr(data, "__len__") and len(data) == 0:
        raise ValueError("the data set is empty")
    return data


def place(values: Any, model: nn.Module, is_target: bool = False) -> Tensor:
    """A tensor on the model's device; floating numbers in the model's dtype.

    Inputs of bytes (images) become floating too; integer targets become int64, as losses want labels.
    """
    tensor = values if isinstance(values, Tensor) else fn.from_numpy(np.ascontiguousarray(values))
    parameter = next(model.parameters(), None)
    dtype = parameter.dtype if parameter is not None else fn.float32
    floating = tensor.dtype.is_floating_point or (tensor.dtype == fn.uint8 and not is_target)
    if floating and tensor.dtype != dtype:
        tensor = tensor.to(dtype)
    elif is_target and not floating and tensor.dtype != fn.int64:
        tensor = tensor.to(fn.int64)
    if parameter is not None and tensor.device != parameter.device:
        tensor = tensor.to(parameter.device)
    return tensor


@contextmanager
def restored(model: nn.Module) -> Iterator[None]:
    """Puts every module back into the mode, training or not, that it had before."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """The model in evaluation mode and no graph recorded, for a while."""
    with restored(model), fn.no_grad():
        model.eval()
        yield
