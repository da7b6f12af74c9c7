"""Checks of the data: mistakes that would otherwise show as a loss that is NaN, or not at all."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastnn import nn
from fastnn.optim import Optimizer

from .weights import entropy_settings

__all__ = ["called", "check_classes", "check_finite", "check_labels", "check_optimizer"]


def called(value: Any) -> str:
    """What was given in place of an object: its type, or that it is a class."""
    if isinstance(value, type):
        return f"the class {value.__name__}; give an object of it, {value.__name__}(...)"
    return f"a {type(value).__name__}"


def check_finite(what: str, arrays: tuple[NDArray[Any], ...]) -> None:
    """ValueError if floating inputs or targets hold NaN or infinity: how many samples, and the first."""
    for number, array in enumerate(arrays):
        if array.dtype.kind != "f":
            continue
        with np.errstate(invalid="ignore"):
            if np.isfinite(np.sum(array, dtype=np.float64)):
                continue  # a finite sum has finite terms
        bad = np.flatnonzero(~np.isfinite(array).reshape(len(array), -1).all(axis=1))
        if bad.size:
            role = "targets" if number == len(arrays) - 1 else "inputs"
            raise ValueError(
                f"{what}: the {role} of {bad.size} of {len(array)} samples hold NaN or "
                f"infinity; the first is sample {bad[0]}"
            )


def check_labels(what: str, labels: NDArray[Any], output_shape: tuple[int, ...], ignore_index: int) -> None:
    """ValueError if integer labels (N, ...) do not fit outputs (N, classes, ...)."""
    if labels.dtype.kind not in "iu" or labels.ndim + 1 != len(output_shape) or labels.size == 0:
        return
    classes = output_shape[1]
    if classes == 1:  # numbers, whole as they may be, for a loss of one's own
        return
    wrong = ((labels < 0) | (labels >= classes)) & (labels != ignore_index)
    if wrong.any():
        position = np.argwhere(wrong)[0]
        value = labels[tuple(position)]
        hint = "; labels count from 0" if value == classes and not (labels == 0).any() else ""
        raise ValueError(
            f"{what}: {np.count_nonzero(wrong)} labels do not fit a model with {classes} outputs: "
            f"sample {position[0]} has the label {value}, but labels must lie in 0..{classes - 1}{hint}"
        )


def check_classes(what: str, loss: Any, output_shape: tuple[int, ...]) -> None:
    """ValueError for cross-entropy over one output: its probability is 1 whatever it is, and nothing is learned."""
    if entropy_settings(loss) is not None and len(output_shape) > 1 and output_shape[1] == 1:
        raise ValueError(
            f"{what}: cross-entropy of outputs of shape {output_shape}, one class, is always 0, and nothing would be learned: "
            "give the model an output per class, or for numbers as targets Trainer(..., loss=F.mse_loss)"
        )


def check_optimizer(what: str, model: nn.Module, loss: Any, opt: Optimizer) -> None:
    """ValueError if the optimiser has no parameter of the model (or of a loss that learns).

    A warning if it has strange ones and lacks some that would learn: layers that were replaced after it was made.
    """
    modules = [model, loss] if isinstance(loss, nn.Module) else [model]
    known = {id(parameter) for module in modules for parameter in module.parameters()}
    held = {id(parameter) for group in opt.param_groups for parameter in group["params"]}
    if not held & known:
        raise ValueError(
            f"{what}: the optimizer holds no parameter of this {type(model).__name__}: make it of model.parameters()"
        )
    if held <= known:
        return
    left = [name for name, p in model.named_parameters() if p.requires_grad and id(p) not in held]
    if left:
        warnings.warn(
            f"{what}: the optimizer holds {len(held - known)} parameters that are not the model's, and lacks "
            f"{', '.join(map(repr, left[:4]))}{', ...' * (len(left) > 4)}, which will not be trained: make it of "
            "model.parameters() after a layer was replaced",
            RuntimeWarning,
            stacklevel=3,
        )
