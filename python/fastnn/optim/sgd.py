"""Stochastic gradient descent."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import fastnn as fn
from fastnn import _C

from .optimizer import Group, Optimizer, check_range

__all__ = ["SGD"]


class SGD(Optimizer):
    """w -= lr * v, where v is the gradient, or with momentum v = momentum v + (1 - dampening) gradient.

    Parameters: ``lr``, 0.1 is a typical start; ``momentum`` in [0, 1), 0.9 where it is used; ``weight_decay``
    adds that multiple of w to the gradient; ``nesterov`` looks ahead: w -= lr * (gradient + momentum v), and
    wants momentum and no dampening; ``maximize`` goes uphill. The first v is the gradient itself, as in
    PyTorch.

    Errors: ValueError for settings out of range.

    Source: Sutskever et al. 2013 for both kinds of momentum.

    Example:
        >>> import fastnn as fn
        >>> from fastnn import optim
        >>> w = fn.tensor([1.0], requires_grad=True)
        >>> opt = optim.SGD([w], lr=0.25)
        >>> for _ in range(3):
        ...     opt.zero_grad()
        ...     (w * w).sum().backward()
        ...     opt.step()
        >>> w.item()  # halves at every step
        0.125
    """

    _kept = frozenset({"momentum_buffer"})

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        settings = {"lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay}
        super().__init__(params, {**settings, "nesterov": nesterov, "maximize": maximize})

    def _check(self, group: Group) -> None:
        for name in ("lr", "momentum", "dampening", "weight_decay"):
            check_range("SGD", name, group[name], 0.0)
        if group["nesterov"] and (group["momentum"] <= 0 or group["dampening"] != 0):
            raise ValueError("SGD: nesterov needs momentum and no dampening")

    def _update(self, group: Group) -> None:
        params = [parameter for parameter in group["params"] if parameter.grad is not None]
        if not group["momentum"]:
            self._launch(group, params, False)
            return
        state = self.state
        fresh = [parameter for parameter in params if parameter not in state]
        if fresh:  # the first step; later only where a parameter had no gradient so far
            for parameter in fresh:
                state[parameter] = {"momentum_buffer": fn.zeros_like(parameter.detach())}
            self._launch(group, fresh, True)
            new = set(map(id, fresh))
            params = [parameter for parameter in params if id(parameter) not in new]
        if params:
            self._launch(group, params, False)

    def _call(self, group: Group, params: list[Any], *rest: Any) -> None:
        (first_step,) = rest
        state = self.state
        _C.sgd_step(
            params,
            [parameter.grad for parameter in params],
            [state[parameter]["momentum_buffer"] for parameter in params] if group["momentum"] else [],
            group["lr"],
            group["momentum"],
            group["dampening"],
            group["weight_decay"],
            group["nesterov"],
            group["maximize"],
            first_step,
        )
