"""Modes for a while: what a model was before, it is again afterwards."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import fastnn as fn
from fastnn import Tensor

from .module import Module

__all__ = ["evaluating", "frozen", "restored", "training"]


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


def frozen(model: Module) -> list[Module]:
    """The modules that shall stay in evaluation mode while the model is trained.

    They were put into it one by one; where the whole model was, those whose parameters are all frozen, with all that
    is in them.
    """
    if model.training:
        return [module for module in model.modules() if not module.training]
    found: dict[int, Module] = {}
    for module in model.modules():
        if _all_frozen(module.parameters(recurse=False)):
            found[id(module)] = module
        if _all_frozen(module.parameters()):
            found |= {id(part): part for part in module.modules()}
    return list(found.values())


def training(model: Module, but: list[Module]) -> None:
    """The model in training mode but for some modules."""
    model.train()
    for module in but:
        module.training = False


def _all_frozen(parameters: Iterable[Tensor]) -> bool:
    flags = [parameter.requires_grad for parameter in parameters]
    return bool(flags) and not any(flags)
