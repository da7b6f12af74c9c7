"""What a step of training may spoil, seen before it is taken, and brought back where that is too late."""

from __future__ import annotations

import math
from typing import Any

import fastnn as fn
from fastnn import Tensor, nn
from fastnn.optim import Optimizer

__all__ = ["Guard"]


class Guard:
    """Sees that numbers stopped to be finite, and keeps what was there before.

    Buffers change in the forward pass, before anything is known of the loss: they are copied before every step. A step of
    finite gradients may itself overflow, which shows one step later, or in the optimizer's state alone: the model is copied
    before every epoch, and all of it looked at after.
    """

    def __init__(self, model: nn.Module, opt: Optimizer) -> None:
        self.model, self.opt = model, opt
        self.names = {id(parameter): name for name, parameter in model.named_parameters()}

    def begin_epoch(self) -> None:
        self._learned = [parameter for group in self.opt.param_groups for parameter in group["params"]]
        self._start = _copies(self.model.state_dict())
        self._buffers = [(buffer, buffer.clone()) for buffer in self.model.buffers()]
        self._sound = [buffer for buffer, _ in self._buffers if _finite(buffer)]  # a mask may be infinite

    def begin_step(self) -> None:
        if self._buffers:
            with fn.no_grad():
                for buffer, copy in self._buffers:
                    copy.copy_(buffer)

    def spoilt_gradient(self) -> str | None:
        """The first parameter whose gradient is not finite."""
        learned = [parameter for parameter in self._learned if parameter.grad is not None]
        if learned and learned[0].is_cuda and len({parameter.dtype for parameter in learned}) == 1:
            sums = fn.stack([parameter.grad.detach().sum() for parameter in learned])
            if _finite(sums):  # one number to wait for, not one per parameter
                return None
        for number, parameter in enumerate(learned):
            if not _finite(parameter.grad):
                return repr(self.names.get(id(parameter), f"parameter {number}"))
        return None

    def spoilt_state(self) -> str | None:
        """What is finite no more of parameters that are learned, of buffers that were, and of the optimizer's state."""
        if not all(_finite(tensor.detach()) for tensor in self._learned + self._sound):
            return "weights or running statistics"
        states = [
            value for own in self.opt.state.values() for value in own.values() if isinstance(value, Tensor)
        ]
        # Of squares that overflowed Adam takes steps of 0, for ever, and the weights look sound.
        return None if all(map(_finite, states)) else "the optimizer's state"

    def restore(self) -> str:
        """Undoes the step that was begun, or the whole epoch if what was before it is not finite; says which."""
        with fn.no_grad():
            for buffer, copy in self._buffers:
                buffer.copy_(copy)
        self.opt.zero_grad()
        if not self.spoilt_state():
            return "before that step"
        self.model.load_state_dict(self._start)
        self.opt.state.clear()  # it led there
        return "before that epoch"


def _copies(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in state.items()}


def _finite(tensor: Any) -> bool:
    """Whether all elements are finite. A finite sum has finite terms; others are looked at one by one."""
    dtype = tensor.dtype
    if dtype is not fn.float32 and dtype is not fn.float64:
        if not dtype.is_floating_point:
            return True
        tensor = tensor.to(fn.float32)
    return (
        math.isfinite(tensor.sum().item()) or not tensor.numel() or math.isfinite(tensor.abs().max().item())
    )
