"""Batches of a data set, in an order that can be repeated and resumed."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .dataset import Dataset, as_dataset
from .order import permutation

if TYPE_CHECKING:
    from fastnn import Tensor

__all__ = ["DataLoader"]

_OTHER_INTEGERS = (np.int8, np.int16, np.uint16, np.uint32, np.uint64)


def batch_tensor(values: ArrayLike) -> Tensor:
    """An array as a tensor, of native byte order; integers of a width that tensors lack as int64."""
    from fastnn import from_numpy

    array = np.ascontiguousarray(values)
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    lacking = array.dtype in _OTHER_INTEGERS and not (array.dtype == np.uint64 and array.max(initial=0) >> 63)
    return from_numpy(array.astype(np.int64) if lacking else array)


class DataLoader:
    """Iterates over batches of a data set, as tuples of tensors.

    Parameters:
        dataset: a ``Dataset``, an array, or a tuple of arrays of equal length.
        batch_size: samples per batch, 128 by default: large enough to run efficiently, small enough to learn
        fast. shuffle: a new order in every epoch, else the order of the data set. drop_last: leaves out the
        last batch if it is smaller than the others. seed: of the orders. That of epoch e depends on (seed, e)
        alone, so a run can be repeated exactly.

    Batches keep the dtypes of the data set, except that integers of a width that tensors lack become int64.
    ``len(loader)`` is the number of batches. Each ``for`` loop over the loader is one epoch. ``state_dict()``
    in the middle of one and ``load_state_dict()`` in another process continue with the very batch that would
    have come next.

    Errors: ValueError for a batch size below 1 or arrays of different lengths.

    Example:
        >>> import numpy as np
        >>> from fastnn.data import DataLoader
        >>> loader = DataLoader((np.zeros((300, 8)), np.arange(300)), shuffle=True, seed=1)
        >>> [len(y) for x, y in loader]
        [128, 128, 44]
    """

    def __init__(
        self,
        dataset: Dataset | ArrayLike | tuple[ArrayLike, ...],
        batch_size: int = 128,
        shuffle: bool = False,
        drop_last: bool = False,
        seed: int = 0,
    ) -> None:
        try:
            batch_size = operator.index(batch_size)
        except TypeError:
            raise TypeError(
                f"DataLoader: batch_size must be a whole number, not a {type(batch_size).__name__}; "
                "inputs and targets are one argument: (x, y)"
            ) from None
        if batch_size < 1:
            raise ValueError(f"DataLoader: batch_size must be at least 1, not {batch_size}")
        self.dataset = as_dataset(dataset)
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.drop_last = drop_last
        self.seed = seed
        self._epoch = 0  # of the batch that comes next
        self._batch = 0
        self._resume = False

    def __len__(self) -> int:
        n = len(self.dataset)
        return n // self.batch_size if self.drop_last else -(-n // self.batch_size)

    def order(self, epoch: int) -> NDArray[np.int64]:
        """The indices of the samples in the order in which an epoch visits them."""
        n = len(self.dataset)
        return permutation(n, self.seed, epoch) if self.shuffle else np.arange(n)

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        if not self._resume and self._batch:  # the last loop was left early: that epoch is over
            self._epoch, self._batch = self._epoch + 1, 0
        self._resume = False
        epoch, batches, order = self._epoch, len(self), self.order(self._epoch)
        for batch in range(self._batch, batches):
            indices = order[batch * self.batch_size : (batch + 1) * self.batch_size]
            arrays = self.dataset.take(indices)
            # Moved on before the batch is handed out: a state taken while it is in use says what comes after
            # it.
            self._epoch, self._batch = (epoch, batch + 1) if batch + 1 < batches else (epoch + 1, 0)
            yield tuple(batch_tensor(array) for array in arrays)

    def state_dict(self) -> dict[str, int]:
        """Where the loader stands: the epoch and batch that come next, and what the order depends on."""
        return {"seed": self.seed, "epoch": self._epoch, "batch": self._batch, "batch_size": self.batch_size}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues at a state of ``state_dict()``. Errors: ValueError if it is of another batch size."""
        if state["batch_size"] != self.batch_size or not 0 <= state["batch"] < max(len(self), 1):
            raise ValueError(
                f"DataLoader: {state} is no state of a loader of {len(self)} batches of {self.batch_size}"
            )
        self.seed, self._epoch, self._batch = state["seed"], state["epoch"], state["batch"]
        self._resume = True

    def __repr__(self) -> str:
        return (
            f"DataLoader({self.dataset!r}, batch_size={self.batch_size}, shuffle={self.shuffle}, "
            f"drop_last={self.drop_last}, seed={self.seed})"
        )
