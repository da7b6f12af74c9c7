"""From whatever the user has to batches that the model takes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import fastnn as fn
from fastnn import Tensor, nn
from fastnn.data import DataLoader
from fastnn.data.loader import batch_tensor

__all__ = ["Placement", "loader_of"]


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


class Placement:
    """Where a model takes its batches: on its parameters' device, floating numbers in their dtype.

    Inputs of bytes (images) become floating too; integer targets become int64, as losses want labels.
    """

    def __init__(self, model: nn.Module) -> None:
        parameter = next(model.parameters(), None)
        self.dtype = parameter.dtype if parameter is not None else fn.float32
        self.device = parameter.device if parameter is not None else None

    def inputs(self, values: Any) -> Tensor:
        tensor = _tensor(values)
        return self._put(tensor, tensor.dtype == fn.uint8)

    def target(self, values: Any) -> Tensor:
        tensor = _tensor(values)
        if not tensor.dtype.is_floating_point and tensor.dtype != fn.int64:
            tensor = tensor.to(fn.int64)
        return self._put(tensor, False)

    def pair(self, what: str, batch: Any) -> tuple[list[Tensor], Tensor]:
        """Inputs (one or more) and target of a batch. ValueError if it has none."""
        if not isinstance(batch, tuple | list) or len(batch) < 2:
            got = "inputs alone" if isinstance(batch, tuple | list) else f"a {type(batch).__name__}"
            raise ValueError(f"{what}: expected batches of inputs and targets (x, y), not {got}")
        return [self.inputs(values) for values in batch[:-1]], self.target(batch[-1])

    def _put(self, tensor: Tensor, to_floating: bool) -> Tensor:
        if (to_floating or tensor.dtype.is_floating_point) and tensor.dtype != self.dtype:
            tensor = tensor.to(self.dtype)
        if self.device is not None and tensor.device != self.device:
            tensor = tensor.to(self.device)
        return tensor


def _tensor(values: Any) -> Tensor:
    return values if isinstance(values, Tensor) else batch_tensor(values)
