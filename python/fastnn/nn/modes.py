"""Modes for a while: what a model was before, it is again afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import fastnn as fn

from .module import Module

__all__ = ["evaluating", "restored"]


@contextmanager
def restored(model: Module) -> Iterator[None]:
    """Puts every module back into the mode, training or not, that it had before."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


@contextmanager
def evaluating(model: Module) -> Iterator[None]:
    """The model in evaluation mode and no graph recorded, for a while."""
    with restored(model), fn.no_grad():
        model.eval()
        yield
