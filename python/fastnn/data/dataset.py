"""Data sets: something with a length that gives samples, one or many at a time."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .order import permutation, shares

__all__ = ["ArrayDataset", "Dataset", "Subset", "random_split", "train_test_split"]

Batch = tuple[NDArray[Any], ...]

_LENGTHS = "lengths are a list, such as [0.8, 0.2], and arrays one argument: random_split((x, y), [0.8, 0.2])"


class Dataset:
    """Base class: define ``__len__`` and ``__getitem__``, which returns one sample: a tuple of arrays, or one array (also as
    a list of numbers).

    ``take`` gathers a batch; define it too where many samples come faster than one by one.

    Example:
        >>> import numpy as np
        >>> from fastnn.data import Dataset, DataLoader
        >>> class Squares(Dataset):
        ...     def __len__(self):
        ...         return 10
        ...     def __getitem__(self, index):
        ...         return np.float32(index), np.float32(index * index)
        >>> x, y = next(iter(DataLoader(Squares(), batch_size=3)))
        >>> y.numpy()
        array([0., 1., 4.], dtype=float32)
    """

    classes: tuple[str, ...] | None = None

    def __len__(self) -> int:
        raise NotImplementedError(f"{type(self).__name__} must define __len__")

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        raise NotImplementedError(f"{type(self).__name__} must define __getitem__")

    def take(self, indices: NDArray[np.int64]) -> Batch:
        """The samples at these indices, stacked: a tuple of arrays whose first dimension is the batch."""
        samples = [_columns(self[int(index)]) for index in indices]
        for value in samples[0] if samples else ():
            if isinstance(value, Mapping):
                name = type(value).__name__
                raise TypeError(
                    f"a sample must be a tuple of arrays, such as (x, y), or one array, not a {name}"
                )
        return tuple(
            np.stack([np.asarray(value) for value in column]) for column in zip(*samples, strict=True)
        )


class ArrayDataset(Dataset):
    """Samples along the first dimension of arrays of equal length: ``ArrayDataset(images, labels)``.

    Parameters: ``arrays``, NumPy arrays or CPU tensors, not copied. ``transform`` is called with the first
    array of every batch (of shape (batch, ...)) and returns what takes its place: a ``Compose``, an
    augmentation. ``classes``: names of the classes, where the last array holds their indices.

    Errors: ValueError if there is no array, one has no dimension, or the lengths differ.

    Example:
        >>> import numpy as np
        >>> from fastnn.data import ArrayDataset
        >>> data = ArrayDataset(np.arange(6.0).reshape(3, 2), np.array([0, 1, 1]))
        >>> len(data), data[1]
        (3, (array([2., 3.]), np.int64(1)))
    """

    def __init__(
        self,
        *arrays: ArrayLike,
        transform: Callable[[NDArray[Any]], NDArray[Any]] | None = None,
        classes: Sequence[str] | None = None,
    ) -> None:
        if len(arrays) == 1 and isinstance(arrays[0], tuple):  # ArrayDataset((x, y))
            arrays = arrays[0]
        if not arrays:
            raise ValueError("ArrayDataset: give at least one array")
        self.arrays = tuple(as_array(array) for array in arrays)
        lengths = [array.shape[:1] for array in self.arrays]
        if () in lengths or len(set(lengths)) != 1:
            shapes = ", ".join(str(array.shape) for array in self.arrays)
            raise ValueError(
                f"ArrayDataset: the arrays must have the same first dimension, not the shapes {shapes}"
            )
        self.transform = transform
        self.classes = tuple(classes) if classes is not None else None

    def __len__(self) -> int:
        return len(self.arrays[0])

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        if not -len(self) <= index < len(self):
            raise IndexError(f"sample {index} of a data set of {len(self)}")
        return tuple(array[0] for array in self.take(np.array([index % len(self)])))

    def take(self, indices: NDArray[np.int64]) -> Batch:
        batch = tuple(array.take(indices, axis=0) for array in self.arrays)
        return batch if self.transform is None else (self.transform(batch[0]), *batch[1:])

    def __repr__(self) -> str:
        return f"ArrayDataset({', '.join(f'{array.dtype}{array.shape}' for array in self.arrays)})"


class Subset(Dataset):
    """The samples of a data set at given indices, in that order, or where a mask of all samples holds.

    Errors: IndexError for an index out of range or a mask of another length, TypeError for numbers that are no integers.
    """

    def __init__(self, dataset: Any, indices: ArrayLike) -> None:
        self.dataset = dataset = as_dataset(dataset)
        given = np.asarray(indices).reshape(-1)
        if given.dtype == bool:
            if len(given) != len(dataset):
                raise IndexError(f"Subset: a mask of {len(given)} for a data set of {len(dataset)} samples")
            given = np.flatnonzero(given)
        elif given.size and given.dtype.kind not in "iu":
            raise TypeError(f"Subset: indices must be integers or a mask, not {given.dtype}")
        self.indices = given.astype(np.int64)  # a copy
        self.classes = dataset.classes
        if ((self.indices < 0) | (self.indices >= len(dataset))).any():
            raise IndexError(f"Subset: indices must lie in 0..{len(dataset) - 1}")

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        return self.dataset[int(self.indices[index])]

    def take(self, indices: NDArray[np.int64]) -> Batch:
        return self.dataset.take(self.indices[indices])


class _Samples(Dataset):
    """Somebody else's data set: only ``len`` and indexing are asked of it."""

    def __init__(self, samples: Any) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        return _columns(self.samples[index])


def _columns(sample: Any) -> tuple[Any, ...]:
    """A sample as a tuple of arrays. One array is a sample of one, and so is a list of numbers, a row; other lists are
    tuples.
    """
    if isinstance(sample, tuple):
        return sample
    if isinstance(sample, list):
        row = (
            None if any(np.shape(value) and hasattr(value, "__array__") for value in sample) else _row(sample)
        )
        return tuple(sample) if row is None else (row,)
    return (sample,)


def _row(values: list[Any]) -> NDArray[Any] | None:
    """Numbers, in lists of lists or not, as one array; None of anything else."""
    try:
        row = np.asarray(values)
    except ValueError:  # lists of different lengths
        return None
    return row if row.dtype.kind in "biufc" else None


def as_dataset(data: Any) -> Dataset:
    """A data set of: a data set (also another library's), one array, a tuple of arrays, or a list of samples.

    Errors: TypeError for a list of arrays of one shape, which may be samples or columns, and for a dict of arrays.
    """
    if isinstance(data, Dataset):
        return data
    if isinstance(data, tuple):
        return ArrayDataset(*data)
    if isinstance(data, list):
        return _of_list(data)
    if hasattr(data, "__array__") or hasattr(data, "detach"):
        return ArrayDataset(data)
    if (
        hasattr(data, "__len__")
        and hasattr(data, "__getitem__")
        and not isinstance(data, Mapping | str | bytes)
    ):
        return _Samples(data)
    hint = "; give its arrays as a tuple: (x, y)" if isinstance(data, Mapping) else ""
    raise TypeError(f"expected arrays or a data set, not {type(data).__name__}{hint}")


def _of_list(items: list[Any]) -> Dataset:
    if items and all(isinstance(item, tuple) for item in items):
        return _Samples(items)
    if items and all(hasattr(item, "__array__") and np.ndim(as_array(item)) for item in items):
        if len({as_array(item).shape for item in items}) == 1:
            raise TypeError(
                "a list of arrays may be inputs and targets, or one array per sample: "
                "give a tuple (x, y), or np.stack(the list)"
            )
        return ArrayDataset(*items)
    try:
        return ArrayDataset(items)
    except ValueError:
        raise TypeError(
            "a list must hold samples, as tuples (x, y) or numbers of one shape; give arrays as a tuple: (x, y)"
        ) from None


def as_array(values: Any) -> NDArray[Any]:
    """Values as a NumPy array; a CPU tensor's own memory."""
    return np.asarray(values.detach().numpy() if hasattr(values, "detach") else values)


def random_split(dataset: Any, lengths: Sequence[float], seed: int = 0) -> list[Subset]:
    """Cuts a data set at random into parts of given sizes: counts of samples, or fractions that add up to 1.

    ``dataset`` may also be arrays, ``(x, y)``. The parts are a function of the sizes and the seed alone, on every
    machine.

    Errors: ValueError if the counts do not add up to the data set's length, or the fractions to 1; TypeError for one number.

    Example:
        >>> from fastnn.data import load_digits, random_split
        >>> train, val = random_split(load_digits()[0], [0.9, 0.1], seed=1)
        >>> len(train), len(val)
        (1294, 144)
    """
    dataset = as_dataset(dataset)
    if np.ndim(lengths) != 1:
        got = f"an array of shape {np.shape(lengths)}" if np.ndim(lengths) else f"a {type(lengths).__name__}"
        raise TypeError(f"random_split: {_LENGTHS}, not {got}")
    try:
        counts = shares(len(dataset), lengths)
    except ValueError as error:
        hint = f"; {_LENGTHS}" if len(lengths) == len(dataset) else ""
        raise ValueError(f"random_split: {error}{hint}") from None
    ends = np.cumsum(counts)
    order = permutation(len(dataset), seed)
    return [Subset(dataset, order[end - count : end]) for count, end in zip(counts, ends, strict=True)]


def _count(test_size: Any, n: int) -> int:
    if isinstance(test_size, numbers.Integral) and not isinstance(test_size, bool):
        return int(test_size)
    if isinstance(test_size, numbers.Real) and not isinstance(test_size, bool):
        return round(float(test_size) * n) if math.isfinite(test_size) else 0
    raise TypeError(
        f"train_test_split: test_size must be a fraction or a count of samples, not {test_size!r}"
    )


def train_test_split(
    *arrays: ArrayLike, test_size: float = 0.25, stratify: ArrayLike | None = None, seed: int = 0
) -> list[NDArray[Any]]:
    """Splits arrays of equal length at random: ``x_train, x_test, y_train, y_test = train_test_split(x, y)``.

    Parameters: ``test_size``, a fraction (0 < f < 1) or a count of samples. ``stratify``, labels whose
    proportions both parts keep. Rows keep their order. The split is a function of labels, sizes and seed
    alone.

    Errors: ValueError if the lengths differ or a part would be empty; TypeError if ``test_size`` is no number.

    Example:
        >>> import numpy as np
        >>> from fastnn.data import train_test_split
        >>> y = np.array([0] * 8 + [1] * 4)
        >>> y_train, y_test = train_test_split(y, test_size=0.25, stratify=y)
        >>> y_test
        array([0, 0, 1])
    """
    columns = ArrayDataset(*arrays).arrays
    n = len(columns[0])
    test = _count(test_size, n)
    if not 0 < test < n:
        raise ValueError(f"train_test_split: test_size={test_size} of {n} samples leaves one part empty")
    labels = np.zeros(n, np.int64) if stratify is None else as_array(stratify)
    if labels.shape != (n,):
        raise ValueError(f"train_test_split: stratify must have the shape ({n},), not {labels.shape}")
    _, group, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    taken = shares(test, sizes / n)
    # Within its class a sample's rank in one random order decides, so classes do not depend on each other.
    rank = np.empty(n, np.int64)
    rank[permutation(n, seed)] = np.arange(n)
    in_test = np.zeros(n, bool)
    for label, count in enumerate(taken):
        members = np.flatnonzero(group == label)
        in_test[members[np.argsort(rank[members])[:count]]] = True
    return [part for array in columns for part in (array[~in_test], array[in_test])]
