"""Checks that a state fits a module before a single value is copied."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import fastnn as fn
from fastnn import Tensor

__all__ = ["LoadResult", "check_state"]


class LoadResult(NamedTuple):
    """Keys of the module that the state lacks, and keys of the state that the module lacks."""

    missing_keys: list[str]
    unexpected_keys: list[str]


def check_state(
    owner: str, places: dict[str, Tensor], state: Mapping[str, Any], strict: bool
) -> tuple[list[tuple[Tensor, Tensor]], LoadResult]:
    """Pairs of place and value for every key that both have.

    Errors: RuntimeError with everything that is wrong.
    """
    if not isinstance(state, Mapping):
        raise TypeError(f"{owner}.load_state_dict: expected a dict of tensors, not {type(state).__name__}")
    result = LoadResult(
        [key for key in places if key not in state], [key for key in state if key not in places]
    )
    complaints = []
    if strict and result.missing_keys:
        complaints.append("missing keys: " + ", ".join(result.missing_keys))
    if strict and result.unexpected_keys:
        complaints.append("unexpected keys: " + ", ".join(map(str, result.unexpected_keys)))
    values = []
    for key, place in places.items():
        if key in state:
            value = state[key] if isinstance(state[key], Tensor) else fn.tensor(state[key])
            if tuple(value.shape) == tuple(place.shape):
                values.append((place, value))
            else:
                complaints.append(
                    f"{key}: the state has shape {tuple(value.shape)}, the model {tuple(place.shape)}"
                )
    if complaints:
        raise RuntimeError(f"{owner}.load_state_dict:\n  " + "\n  ".join(complaints))
    return values, result
