"""What all optimisers share: groups of parameters with settings of their own, and a state to save."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

import fastnn as fn
from fastnn import Tensor

__all__ = ["Optimizer"]

Group = dict[str, Any]

_COMPUTED = (fn.float32, fn.float64)  # others are refused, and what is kept would lose its bits


class Optimizer:
    """Base class. ``params`` are tensors or groups: ``[{"params": [...], "lr": 0.01}, {"params": [...]}]``.

    What a group does not say it takes from the optimiser's arguments. ``param_groups`` may be changed between
    steps, the learning rate above all: ``opt.param_groups[0]["lr"] /= 2``.

    A rule derives from it and defines ``_update(group)``, and may name in ``_kept`` what it needs of each parameter's
    state.

    Errors: TypeError if something is no tensor of floating numbers; ValueError for an empty list, a tensor that is no
    leaf or appears twice, and settings out of range.
    """

    _kept: frozenset[str] = frozenset()

    def __init__(self, params: Iterable[Any], defaults: Group) -> None:
        if isinstance(params, Tensor):
            raise TypeError("optimizer: params must be an iterable of tensors or dicts, not one tensor")
        if hasattr(params, "parameters"):
            raise TypeError(
                f"optimizer: params are tensors, not a {type(params).__name__}: give model.parameters()"
            )
        if not isinstance(params, Iterable):
            raise TypeError(
                f"optimizer: params must be an iterable of tensors or dicts, not a {type(params).__name__}"
            )
        self.defaults = defaults
        self.state: dict[Tensor, dict[str, Any]] = {}
        self.param_groups: list[Group] = []
        groups = list(params)
        if not groups:
            raise ValueError("optimizer: the list of parameters is empty")
        if not isinstance(groups[0], dict):
            groups = [{"params": groups}]
        for group in groups:
            self.add_param_group(group)

    def add_param_group(self, group: Group) -> None:
        """More parameters, with settings of their own; they start without momentum."""
        params = group["params"]
        params = [params] if isinstance(params, Tensor) else list(params)
        known = {id(parameter) for other in self.param_groups for parameter in other["params"]}
        for parameter in params:
            if not isinstance(parameter, Tensor):
                named = isinstance(parameter, str | tuple)
                hint = ": give model.parameters(), without names" if named else ""
                raise TypeError(
                    f"optimizer: can only optimise tensors, not a {type(parameter).__name__}{hint}"
                )
            if not parameter.dtype.is_floating_point:
                raise TypeError(f"optimizer: can only optimise floating numbers, not {parameter.dtype}")
            if not parameter.is_leaf:
                raise ValueError("optimizer: can only optimise leaf tensors, not results of an operation")
            if id(parameter) in known:
                raise ValueError("optimizer: a parameter appears twice")
            known.add(id(parameter))
        group = {**self.defaults, **group, "params": params}
        self._check(group)
        self.param_groups.append(group)

    def _check(self, group: Group) -> None:
        """ValueError if a setting of the group is out of range."""

    def _update(self, group: Group) -> None:
        raise NotImplementedError(f"{type(self).__name__} must define _update")

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Changes every parameter that has a gradient.

        A ``closure`` computes the loss (and gradients) first. What is kept of a parameter follows it to another dtype or
        device, as of ``model.double()``.
        """
        loss = closure() if closure is not None else None
        for group in self.param_groups:
            self._update(group)
        return loss

    def _launch(self, group: Group, params: list[Any], *rest: Any) -> None:
        """The rule's ``_call`` of its kernel; once more where that refused and what is kept had to follow first, so that
        other steps cost nothing more.
        """
        try:
            self._call(group, params, *rest)
        except (TypeError, RuntimeError):
            if not self._follow(params):
                raise
            self._call(group, params, *rest)

    def _call(self, group: Group, params: list[Any], *rest: Any) -> None:
        """Gives a rule's kernel these parameters of a group, with what is kept of them."""
        raise NotImplementedError

    def _follow(self, params: list[Any]) -> bool:
        """Whether something kept was of another dtype or device than its parameter: the model was converted or moved
        since, and now this is, too.
        """
        followed = False
        for parameter in params:
            own = self.state.get(parameter, {})
            for key, value in own.items():
                if not isinstance(value, Tensor) or parameter.dtype not in _COMPUTED:
                    continue
                if value.dtype != parameter.dtype or value.device != parameter.device:
                    own[key] = _for_parameter(key, value, parameter)
                    followed = True
        return followed

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forgets the gradients, or sets them to zero."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if set_to_none:
                    parameter.grad = None
                elif parameter.grad is not None:
                    parameter.grad.zero_()

    def state_dict(self) -> dict[str, Any]:
        """Settings and state, parameters by number in the order of the groups; tensors share memory.

        ``fn.save`` writes it; loading it into an optimiser of the same parameters continues as if never
        stopped.
        """
        numbers: dict[int, int] = {}
        groups = []
        for group in self.param_groups:
            for parameter in group["params"]:
                numbers[id(parameter)] = len(numbers)
            settings = {key: value for key, value in group.items() if key != "params"}
            groups.append({**settings, "params": [numbers[id(parameter)] for parameter in group["params"]]})
        state = {numbers[id(parameter)]: dict(values) for parameter, values in self.state.items()}
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes over settings and (copied) state of ``state_dict()``.

        Errors: ValueError if groups, their sizes or the shapes of the state do not fit, or if it is the state of another
        kind of optimiser; nothing is changed then.
        """
        groups = state_dict["param_groups"]
        sizes, expected = [len(g["params"]) for g in groups], [len(g["params"]) for g in self.param_groups]
        if sizes != expected:
            raise ValueError(
                f"optimizer: the state has groups of {sizes} parameters, this optimizer of {expected}"
            )
        state: dict[Tensor, dict[str, Any]] = {}
        for saved, group in zip(groups, self.param_groups, strict=True):
            unknown, missing = (
                sorted(saved.keys() - group.keys()),
                sorted(self.defaults.keys() - saved.keys()),
            )
            if unknown and missing:  # one alone is another version of this kind, or PyTorch's
                raise ValueError(
                    f"optimizer: the state has {', '.join(unknown)}, which {type(self).__name__} does not, and lacks "
                    f"{', '.join(missing)}: it is the state of another kind of optimiser"
                )
            self._check({**group, **{key: value for key, value in saved.items() if key != "params"}})
            for number, parameter in zip(saved["params"], group["params"], strict=True):
                # A file of names has text for keys.
                values = state_dict["state"].get(number, state_dict["state"].get(str(number)))
                if values and any(value is not None for value in values.values()):
                    if not self._kept <= values.keys():
                        raise ValueError(
                            f"optimizer: the state keeps {', '.join(values)} of a parameter, not "
                            f"{', '.join(sorted(self._kept))} as {type(self).__name__} does: "
                            "it is the state of another kind of optimiser"
                        )
                    state[parameter] = {
                        key: _for_parameter(key, value, parameter) for key, value in values.items()
                    }
        for saved, group in zip(groups, self.param_groups, strict=True):
            group.update({key: copy.copy(value) for key, value in saved.items() if key != "params"})
        self.state = state

    def __repr__(self) -> str:
        lines = []
        for number, group in enumerate(self.param_groups):
            settings = ", ".join(f"{key}={value}" for key, value in group.items() if key != "params")
            lines.append(f"  group {number}: {len(group['params'])} parameters, {settings}")
        return "\n".join([f"{type(self).__name__}(", *lines, ")"])


def check_range(owner: str, name: str, value: Any, low: float, below: float | None = None) -> None:
    """TypeError unless value is a number, ValueError unless it is finite and low <= value (< below)."""
    if not isinstance(value, int | float | np.number):
        raise TypeError(f"{owner}: {name} must be a number, not {value!r}")
    if not low <= value < (math.inf if below is None else below):
        limits = f"finite and at least {low:g}" if below is None else f"in [{low:g}, {below:g})"
        raise ValueError(f"{owner}: {name}={value} must be {limits}")


def _for_parameter(key: str, value: Any, parameter: Tensor) -> Any:
    """A copy of a state value; of a tensor in the parameter's shape also in its dtype and on its device."""
    if not isinstance(value, Tensor):
        return value
    if key == "step":
        return int(value.item())
    if tuple(value.shape) != tuple(parameter.shape):
        raise ValueError(
            f"optimizer: {key} of shape {tuple(value.shape)} does not fit "
            f"a parameter of shape {tuple(parameter.shape)}"
        )
    with fn.no_grad():
        return fn.empty(parameter.shape, dtype=parameter.dtype, device=parameter.device).copy_(value)
