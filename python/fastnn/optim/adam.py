"""Adam, and AdamW, which decouples weight decay from the gradient."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import fastnn as fn
from fastnn import _C

from .optimizer import Group, Optimizer, check_range

__all__ = ["Adam", "AdamW"]


class Adam(Optimizer):
    """w -= lr * m / (sqrt(v) + eps), of running means m of the gradient and v of its square.

    Both means are corrected for starting at 0. Parameters: ``lr``; ``betas``, how much of m and v stays at
    each step, in [0, 1); ``eps``, which keeps the division finite; ``weight_decay`` adds that multiple of w
    to the gradient; ``maximize`` goes uphill.

    Errors: ValueError for settings out of range.

    Source: Kingma and Ba 2015, algorithm 1.

    Example:
        >>> import fastnn as fn
        >>> from fastnn import optim
        >>> w = fn.tensor([1.0], requires_grad=True)
        >>> opt = optim.Adam([w], lr=0.5)
        >>> (w * w).sum().backward()
        >>> opt.step()
        >>> round(w.item(), 6)  # the first step is lr long, whatever the gradient
        0.5
    """

    _decoupled = False
    _kept = frozenset({"step", "exp_avg", "exp_avg_sq"})

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
    ) -> None:
        settings = {"lr": lr, "betas": tuple(betas), "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, {**settings, "maximize": maximize})

    def _check(self, group: Group) -> None:
        name = type(self).__name__
        for setting in ("lr", "eps", "weight_decay"):
            check_range(name, setting, group[setting], 0.0)
        if len(group["betas"]) != 2:
            raise ValueError(f"{name}: betas={group['betas']} must be two numbers")
        for number, beta in enumerate(group["betas"]):
            check_range(name, f"betas[{number}]", beta, 0.0, 1.0)

    def _update(self, group: Group) -> None:
        state = self.state
        # One call for all parameters of an age; they differ only where some had no gradient at times.
        ages: dict[int, list[Any]] = defaultdict(list)
        for parameter in group["params"]:
            if parameter.grad is not None:
                own = state.get(parameter)
                if own is None:
                    zeros = fn.zeros_like(parameter.detach())
                    own = state[parameter] = {"step": 0, "exp_avg": zeros, "exp_avg_sq": fn.zeros_like(zeros)}
                own["step"] += 1
                ages[int(own["step"])].append(parameter)
        for step, params in ages.items():
            self._launch(group, params, step)

    def _call(self, group: Group, params: list[Any], *rest: Any) -> None:
        (step,) = rest
        state, (beta1, beta2) = self.state, group["betas"]
        _C.adam_step(
            params,
            [parameter.grad for parameter in params],
            [state[parameter]["exp_avg"] for parameter in params],
            [state[parameter]["exp_avg_sq"] for parameter in params],
            group["lr"],
            beta1,
            beta2,
            group["eps"],
            group["weight_decay"],
            self._decoupled,
            group["maximize"],
            step,
        )


class AdamW(Adam):
    """Adam whose weight decay shrinks w by lr * weight_decay at each step and leaves the gradient alone.

    Errors: ValueError for settings out of range. Source: Loshchilov and Hutter 2019, algorithm 2.

    Example:
        >>> import fastnn as fn
        >>> from fastnn import optim
        >>> w = fn.tensor([2.0], requires_grad=True)
        >>> opt = optim.AdamW([w], lr=0.1, weight_decay=0.5)
        >>> (w * 0).sum().backward()
        >>> opt.step()
        >>> round(w.item(), 6)
        1.9
    """

    _decoupled = True

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, maximize=maximize)
