"""What ``Sequential`` runs together: runs of layers, by their classes, and the calls that take their place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from .activation import ReLU
from .conv import Conv2d
from .linear import Linear
from .module import Module
from .norm import BatchNorm1d, BatchNorm2d
from .pool import MaxPool2d

__all__ = ["FUSIONS", "Fusion", "plan"]

Step = Callable[[Any], Any]


class Fusion(NamedTuple):
    """Neighbours of exactly these classes, and the steps to run instead, made from the modules."""

    layers: tuple[type[Module], ...]
    steps: Callable[..., tuple[Step, ...]]

    def fits(self, modules: Sequence[Module]) -> bool:
        return len(modules) == len(self.layers) and all(
            type(module) is layer and _plain(module) and layer.forward is _FORWARDS[layer]
            for module, layer in zip(modules, self.layers, strict=True)
        )


# The first that fits is taken. Each gives the same values and gradients as its layers one by one.
FUSIONS = (
    # The largest of some numbers, or 0, is the same in either order, and behind the pooling there is less to do.
    Fusion((Conv2d, ReLU, MaxPool2d), lambda conv, relu, pool: (conv.forward, pool.forward, relu.forward)),
    Fusion((Conv2d, ReLU), lambda conv, relu: (conv.forward_relu,)),
    Fusion((Linear, ReLU), lambda linear, relu: (linear.forward_relu,)),
    Fusion((BatchNorm1d, ReLU), lambda norm, relu: (norm.forward_relu,)),
    Fusion((BatchNorm2d, ReLU), lambda norm, relu: (norm.forward_relu,)),
)


# Classes as they were defined: a program may put something else into them, which must then be called.
_CALL = Module.__call__
_FORWARDS = {layer: layer.forward for fusion in FUSIONS for layer in fusion.layers}


def plan(modules: Sequence[Module]) -> tuple[Step, ...]:
    """What to call, one after the other, to run the modules.

    A module's own call adds nothing but hooks and the place of an error, which ``Sequential`` tells itself: where there
    are no hooks its forward is called, for nets of a few units would spend as long there as in their kernels.
    """
    steps: list[Step] = []
    at = 0
    while at < len(modules):
        for fusion in FUSIONS:
            run = modules[at : at + len(fusion.layers)]
            if fusion.fits(run):
                steps += fusion.steps(*run)
                at += len(run)
                break
        else:
            module = modules[at]
            steps.append(module.forward if _plain(module) else module)
            at += 1
    return tuple(steps)


def _plain(module: Module) -> bool:
    """Calling the module is calling its class's forward: no hooks, no forward of its own, no other call."""
    return module._hooks is None and "forward" not in module.__dict__ and type(module).__call__ is _CALL
