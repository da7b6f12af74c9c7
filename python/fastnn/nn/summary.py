"""What a model consists of: layers, output shapes, parameters, and what sharing weights saves."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import fastnn as fn
from fastnn import Tensor

from .conv import Conv2d
from .modes import evaluating
from .module import Module

__all__ = ["Row", "Summary", "summary"]


@dataclass(frozen=True)
class Row:
    """One layer: its path in the model, class, output shape (without the batch), and numbers of parameters.

    ``unshared`` is the number of weights if no two units shared any; for a convolution, weights per unit
    times units.
    """

    path: str
    layer: str
    output_shape: tuple[int, ...]
    parameters: int
    unshared: int


@dataclass(frozen=True)
class Summary:
    """The rows, and totals over the model; a shared parameter counts once. ``print`` it for the table."""

    model: str
    input_shape: tuple[int, ...]
    rows: tuple[Row, ...]
    parameters: int
    trainable: int
    bytes: int

    @property
    def unshared(self) -> int:
        """The number of parameters the model would have without weight sharing."""
        return self.parameters + sum(row.unshared - row.parameters for row in self.rows)

    def __str__(self) -> str:
        head = ("layer", "output shape", "parameters", "without sharing")
        table = [head, ("input", _shape(self.input_shape), "", "")]
        for row in self.rows:
            unshared = f"{row.unshared:,}" if row.unshared != row.parameters else ""
            name = f"{row.path} {row.layer}".strip()
            table.append(
                (name, _shape(row.output_shape), f"{row.parameters:,}" if row.parameters else "", unshared)
            )
        total = f"{self.unshared:,}" if self.unshared != self.parameters else ""
        table.append(("total", "", f"{self.parameters:,}", total))
        widths = [max(len(line[column]) for line in table) for column in range(4)]
        lines = [
            f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c:>{widths[2]}}  {d:>{widths[3]}}".rstrip()
            for a, b, c, d in table
        ]
        rule = "-" * max(map(len, lines))
        frozen = (
            f", {self.parameters - self.trainable:,} of them frozen"
            if self.trainable < self.parameters
            else ""
        )
        end = f"{self.model}: {self.parameters:,} parameters{frozen}, {_size(self.bytes)}"
        return "\n".join([lines[0], rule, *lines[1:-1], rule, lines[-1], end])

    __repr__ = __str__


def summary(model: Module, input_shape: tuple[int, ...], dtype: Any = None) -> Summary:
    """Runs the model on zeros and tells what each layer did.

    ``input_shape`` is that of one sample, without the batch. Layers are listed in the order in which they
    run; the model's mode and hooks are left as they were. ``dtype`` is that of the input, by default the
    parameters'.

    The lecture's example of weight sharing: 30 filters of 5 x 5 on an image of 32 x 32 x 3 make 30,720 units
    with 75 weights each, over two million; shared over all places they are 2,250:

        >>> from fastnn import nn
        >>> layer = nn.Conv2d(3, 30, 5, padding=2, bias=False)
        >>> s = nn.Sequential(layer).summary((3, 32, 32))
        >>> s.rows[0].output_shape, s.rows[0].parameters, s.rows[0].unshared == 30720 * 75
        ((30, 32, 32), 2250, True)
        >>> print(s)
        layer     output shape     parameters  without sharing
        ------------------------------------------------------
        input     (N, 3, 32, 32)
        0 Conv2d  (N, 30, 32, 32)       2,250        2,304,000
        ------------------------------------------------------
        total                           2,250        2,304,000
        Sequential: 2,250 parameters, 8.789 KiB

    Errors: those of the model, for a shape that it does not take, naming the layer.
    """
    rows: list[Row] = []
    counted: set[int] = set()
    parameters = list(model.parameters())
    dtype = dtype or (parameters[0].dtype if parameters else fn.float32)
    device = parameters[0].device if parameters else "cpu"
    handles = []
    for path, module in model.named_modules():
        if _is_layer(module):
            handles.append(module.register_forward_hook(_recorder(path, rows, counted)))
    try:
        with evaluating(model):
            model(fn.zeros(1, *input_shape, dtype=dtype, device=device))
    finally:
        for handle in handles:
            handle.remove()
    return Summary(
        type(model).__name__,
        tuple(input_shape),
        tuple(rows),
        parameters=sum(parameter.numel() for parameter in parameters),
        trainable=sum(parameter.numel() for parameter in parameters if parameter.requires_grad),
        bytes=sum(parameter.nbytes for parameter in parameters),
    )


def _is_layer(module: Module) -> bool:
    """Rows are for modules without children, and those with parameters beside their children."""
    has_children = next(module.children(), None) is not None
    return not has_children or next(module.parameters(recurse=False), None) is not None


def _recorder(path: str, rows: list[Row], counted: set[int]) -> Any:
    def record(module: Module, args: tuple[Any, ...], output: Any) -> None:
        shape = tuple(output.shape[1:]) if isinstance(output, Tensor) else ()
        fresh = [parameter for parameter in module.parameters(recurse=False) if id(parameter) not in counted]
        counted.update(map(id, fresh))
        count = sum(parameter.numel() for parameter in fresh)
        unshared = count
        if isinstance(module, Conv2d) and fresh and len(shape) == 3:
            per_unit = math.prod(module.weight.shape[1:]) + (module.bias is not None)
            unshared = per_unit * math.prod(shape)
        rows.append(Row(path, type(module).__name__, shape, count, unshared))

    return record


def _shape(shape: tuple[int, ...]) -> str:
    return f"({', '.join(['N', *map(str, shape)])})"


def _size(count: float) -> str:
    for unit in ("bytes", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.4g} {unit}"
        count /= 1024
    return f"{count:.4g} GiB"
