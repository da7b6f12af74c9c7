"""CUDA devices: whether they can be used and, if not, why; memory, streams, events, other libraries' arrays.

Work on a device is queued and runs in the order of its stream; Python goes on meanwhile. What reads a value
(``item()``, ``numpy()``, ``cpu()``) waits. ``FASTNN_SYNC=1`` makes every op wait, so that an error on the device
is reported by the op that caused it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from fastnn import _C
from fastnn._C import Tensor, device
from fastnn._scope import Scope

__all__ = [
    "DeviceProperties",
    "Event",
    "Stream",
    "current_stream",
    "default_stream",
    "device_count",
    "empty_cache",
    "from_array",
    "get_device_capability",
    "get_device_name",
    "get_device_properties",
    "is_available",
    "max_memory_allocated",
    "memory_allocated",
    "memory_reserved",
    "reset_peak_memory_stats",
    "stream",
    "synchronize",
    "why_not",
]

Stream = _C.CudaStream
Event = _C.CudaEvent

empty_cache = _C.empty_cache


def is_available() -> bool:
    """True if tensors can be moved to a CUDA device.

    >>> import fastnn as fn
    >>> fn.cuda.is_available() == (fn.cuda.why_not() is None)
    True
    """
    return _C._cuda_why_not() is None


def why_not() -> str | None:
    """Why CUDA cannot be used, in a sentence; None if it can.

    The causes told apart: fastnn was built without CUDA; its library cannot be loaded; there is no driver, or it
    is too old for this build; there is no device; no device is supported.
    """
    return _C._cuda_why_not()


def device_count() -> int:
    """How many CUDA devices can be used; 0 where CUDA cannot."""
    return _C._cuda_device_count()


def _index(which: device | str | int | None) -> int:
    if which is None:
        return 0
    if isinstance(which, int):
        return which
    found = which if isinstance(which, device) else device(which)
    if found.type != "cuda":
        raise ValueError(f"expected a CUDA device, got {found}")
    return found.index


class DeviceProperties(NamedTuple):
    """What ``get_device_properties`` returns; memory in bytes."""

    name: str
    major: int
    minor: int
    multi_processor_count: int
    total_memory: int
    free_memory: int


def get_device_properties(device: device | str | int | None = None) -> DeviceProperties:
    """Name, compute capability, multiprocessors and memory of a device, ``cuda:0`` unless given.

    Errors: RuntimeError if there is no such device, or CUDA cannot be used.
    """
    p = _C._cuda_properties(_index(device))
    major, minor = divmod(p["capability"], 10)
    return DeviceProperties(
        p["name"], major, minor, p["multiprocessors"], p["total_memory"], p["free_memory"]
    )


def get_device_name(device: device | str | int | None = None) -> str:
    """The device's name as its driver gives it."""
    return get_device_properties(device).name


def get_device_capability(device: device | str | int | None = None) -> tuple[int, int]:
    """The compute capability, for example (9, 0)."""
    p = get_device_properties(device)
    return p.major, p.minor


def synchronize(device: device | str | int | None = None) -> None:
    """Waits until everything queued on a device is done.

    Errors: RuntimeError if some of it failed.
    """
    _C._cuda_synchronize(_index(device))


# ---- memory -----------------------------------------------------------------------------------------------------------


def _stats(which: device | str | int | None) -> dict[str, int]:
    return _C._memory_stats(device(f"cuda:{_index(which)}"))


def memory_allocated(device: device | str | int | None = None) -> int:
    """Bytes in tensors on a device."""
    return _stats(device)["used"]


def max_memory_allocated(device: device | str | int | None = None) -> int:
    """The most bytes in tensors at one time since the start or ``reset_peak_memory_stats``."""
    return _stats(device)["peak"]


def memory_reserved(device: device | str | int | None = None) -> int:
    """Bytes taken from the device: in tensors, and kept for the next ones until ``empty_cache``."""
    stats = _stats(device)
    return stats["used"] + stats["cached"]


def reset_peak_memory_stats(which: device | str | int | None = None) -> None:
    """Starts ``max_memory_allocated`` anew."""
    _C._reset_peak_memory(device(f"cuda:{_index(which)}"))


# ---- streams ------------------------------------------------------------------------------------------------------------


def current_stream(device: device | str | int | None = None) -> Stream:
    """The stream that this thread queues its work on."""
    return _C._cuda_current_stream(_index(device))


def default_stream(device: device | str | int | None = None) -> Stream:
    """The stream that work is queued on unless ``stream`` says otherwise: CUDA's legacy default stream."""
    return _C._cuda_default_stream(_index(device))


class stream(Scope):
    """Queues this thread's work on another stream while it lasts; decorates functions, too.

    Memory belongs to the stream it was made on. Before another stream reads it, that one must wait
    (``other.wait_stream(first)``); and if the tensor may be dropped before the other stream is done with it,
    ``tensor.record_stream(other)`` keeps its memory from being reused too early.

    >>> import fastnn as fn
    >>> if fn.cuda.is_available():
    ...     side = fn.cuda.Stream()
    ...     with fn.cuda.stream(side):
    ...         y = fn.ones(3, device="cuda") * 2
    ...     fn.cuda.default_stream().wait_stream(side)
    """

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._before: list[Stream] = []  # one may be entered again while it lasts

    def __enter__(self) -> Stream:
        self._before.append(current_stream(self._stream.device))
        _C._cuda_select_stream(self._stream)
        return self._stream

    def __exit__(self, *_: object) -> None:
        _C._cuda_select_stream(self._before.pop())

    def _fresh(self) -> stream:
        return stream(self._stream)


# ---- other libraries' arrays ----------------------------------------------------------------------------------------------


def from_array(source: Any, device: device | str | int | None = None) -> Tensor:
    """A tensor that shares the memory of an object with ``__cuda_array_interface__`` (Numba, CuPy, PyTorch).

    The interface does not say on which device that memory is; the driver knows. ``device`` insists on one.

    Errors: RuntimeError if the device cannot be used or the memory is not there; TypeError for elements of an unknown
    type; ValueError for strides or an address that do not fit the elements.
    """
    return _C._from_cuda_array(source, None if device is None else _C.device(f"cuda:{_index(device)}"))
