"""The base class of layers and models."""

from __future__ import annotations

from abc import ABCMeta
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import fastnn as fn
from fastnn import Tensor
from fastnn.registry import Describable

from .hooks import Hooks, RemovableHandle
from .locate import locate
from .parameter import Parameter
from .state import LoadResult, check_state

if TYPE_CHECKING:
    from .summary import Summary

__all__ = ["Module"]

_Self = TypeVar("_Self", bound="Module")

# What an attribute is. A buffer belongs to the state without being learned; a transient one is not saved
# either.
PARAMETER, BUFFER, TRANSIENT, MODULE = "parameter", "buffer", "transient buffer", "module"

# Grows whenever a module gets or loses a child, a hook or a forward of its own: what a container worked out
# about its children holds as long as the number stays. (In a list, since reading one costs less than a call.)
structure_version = [0]


def _structure_changed() -> None:
    structure_version[0] += 1


class _ModuleClass(ABCMeta):
    """A forward put into a class counts like one put into a module. (An ABCMeta, for classes that derive from ABC too.)"""

    def __setattr__(cls, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        _structure_changed()

    def __delattr__(cls, name: str) -> None:
        super().__delattr__(name)
        _structure_changed()


class Module(Describable, metaclass=_ModuleClass):
    """A function with parameters, built of smaller ones. Derive from it and define ``forward``.

    Parameters, modules and (by ``register_buffer``) other tensors assigned to attributes become part of it:
    they are moved, saved, trained and printed with it, under the attribute's name. ``module(x)`` calls
    ``forward(x)``. An exception raised inside tells the path of the layer.

    Example:
        >>> import fastnn as fn
        >>> from fastnn import nn
        >>> class Net(nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.hidden = nn.Linear(2, 16)
        ...         self.out = nn.Linear(16, 2)
        ...     def forward(self, x):
        ...         return self.out(self.hidden(x).relu())
        >>> net = Net()
        >>> tuple(net(fn.zeros(5, 2)).shape)
        (5, 2)
        >>> [name for name, _ in net.named_parameters()]
        ['hidden.weight', 'hidden.bias', 'out.weight', 'out.bias']
        >>> net
        Net(
          (hidden): Linear(in_features=2, out_features=16, bias=True)
          (out): Linear(in_features=16, out_features=2, bias=True)
        )
    """

    training: bool
    # Values live in the instance's own dict, so reading self.weight costs what any attribute costs; this says
    # which of them are parameters, buffers and modules, in order of registration.
    _kinds: dict[str, str]
    _hooks: Hooks | None

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        self = super().__new__(cls, *args, **kwargs)
        self.__dict__.update(_kinds={}, _hooks=None, training=True)
        return self

    def __init__(self) -> None:
        pass

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the module computes; each class defines its own, and ``module(x)`` calls it."""
        raise NotImplementedError(f"{type(self).__name__} must define forward")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self._hooks is not None:
            return self._call_with_hooks(self._hooks, args, kwargs)
        try:
            return self.forward(*args, **kwargs)
        except Exception as error:
            locate(error, self)
            raise

    def _call_with_hooks(self, hooks: Hooks, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        for before in tuple(hooks.before.values()):
            changed = before(self, args)
            if changed is not None:
                args = changed if isinstance(changed, tuple) else (changed,)
        try:
            output = self.forward(*args, **kwargs)
        except Exception as error:
            locate(error, self)
            raise
        for after in tuple(hooks.after.values()):
            changed = after(self, args, output)
            if changed is not None:
                output = changed
        return output

    def register_forward_hook(self, hook: Callable[[Any, tuple[Any, ...], Any], Any]) -> RemovableHandle:
        """Calls ``hook(module, args, output)`` after every forward; what it returns replaces the output.

        Example:
            >>> import fastnn as fn
            >>> from fastnn import nn
            >>> layer = nn.ReLU()
            >>> with layer.register_forward_hook(lambda module, args, output: print(output.tolist())):
            ...     y = layer(fn.tensor([-1.0, 1.0]))
            [0.0, 1.0]
        """
        return self._add_hook("after", hook)

    def register_forward_pre_hook(self, hook: Callable[[Any, tuple[Any, ...]], Any]) -> RemovableHandle:
        """Calls ``hook(module, args)`` before every forward; what it returns, if not None, replaces args."""
        return self._add_hook("before", hook)

    def _add_hook(self, when: str, hook: Callable[..., Any]) -> RemovableHandle:
        if self._hooks is None:
            self._hooks = Hooks()
        hooks = self._hooks
        handle = RemovableHandle(getattr(hooks, when), self._hook_removed)
        getattr(hooks, when)[handle] = hook
        _structure_changed()
        return handle

    def _hook_removed(self) -> None:
        if self._hooks is not None and not self._hooks.before and not self._hooks.after:
            self._hooks = None
        _structure_changed()

    def __copy__(self: _Self) -> _Self:
        """The same children and tensors in another module, to which others can be added."""
        copy = type(self).__new__(type(self))
        copy.__dict__.update(self.__dict__, _kinds=dict(self._kinds))
        if self._hooks is not None:
            copy.__dict__["_hooks"] = self._hooks.copied()
        return copy

    # ---- attributes

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, Parameter):
            self._place(name, PARAMETER, value)
        elif isinstance(value, Module):
            self._place(name, MODULE, value)
        elif name in self._kinds:
            kind = self._kinds[name]
            if value is not None and not (kind in (BUFFER, TRANSIENT) and isinstance(value, Tensor)):
                expected = {PARAMETER: "nn.Parameter", MODULE: "nn.Module"}.get(kind, "Tensor")
                raise TypeError(
                    f"{type(self).__name__}.{name} is a {kind}: assign a {expected} or None, "
                    f"not a {type(value).__name__}"
                )
            self._place(name, kind, value)
        else:
            object.__setattr__(self, name, value)
            if name == "forward":
                _structure_changed()

    def __delattr__(self, name: str) -> None:
        object.__delattr__(self, name)
        if self._kinds.pop(name, None) == MODULE or name == "forward":
            _structure_changed()

    def _place(self, name: str, kind: str, value: Any) -> None:
        object.__setattr__(self, name, value)
        self._kinds[name] = kind
        if kind == MODULE:
            _structure_changed()

    def _register(self, name: str, kind: str, value: Any, expected: type) -> None:
        if not isinstance(name, str) or not name or "." in name:
            raise KeyError(f"the name of a {kind} must be a non-empty string without dots, not {name!r}")
        if hasattr(self, name) and name not in self._kinds:
            raise KeyError(f"{type(self).__name__} already has an attribute {name!r}")
        if value is not None and not isinstance(value, expected):
            raise TypeError(
                f"{name}: a {kind} must be a {expected.__name__} or None, not a {type(value).__name__}"
            )
        self._place(name, kind, value)

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Same as assigning it, and says that an absent (None) parameter is meant to be there."""
        self._register(name, PARAMETER, param, Parameter)

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """A tensor that belongs to the module without being learned; saved with it if ``persistent``."""
        self._register(name, BUFFER if persistent else TRANSIENT, tensor, Tensor)

    def add_module(self, name: str, module: Module | None) -> None:
        """Same as assigning it to the attribute ``name``, which may be any string without a dot."""
        self._register(name, MODULE, module, Module)

    def _members(self, *kinds: str) -> Iterator[tuple[str, Any]]:
        fields = self.__dict__
        return ((name, fields[name]) for name, kind in self._kinds.items() if kind in kinds)

    # ---- walking

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The modules directly below, with their names."""
        return ((name, child) for name, child in self._members(MODULE) if child is not None)

    def children(self) -> Iterator[Module]:
        """The modules directly below."""
        return (child for _, child in self.named_children())

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """This module (under the name ``prefix``) and all below it, parents first, each once."""
        return self._walk(prefix, set())

    def _walk(self, path: str, seen: set[int]) -> Iterator[tuple[str, Module]]:
        if id(self) not in seen:
            seen.add(id(self))
            yield path, self
            for name, child in self.named_children():
                yield from child._walk(f"{path}.{name}" if path else name, seen)

    def modules(self) -> Iterator[Module]:
        """This module and all below it, each once."""
        return (module for _, module in self.named_modules())

    def _named_tensors(self, prefix: str, recurse: bool, *kinds: str) -> Iterator[tuple[str, Any]]:
        seen: set[int] = set()
        for path, module in self.named_modules(prefix) if recurse else [(prefix, self)]:
            for name, tensor in module._members(*kinds):
                if tensor is not None and id(tensor) not in seen:
                    seen.add(id(tensor))
                    yield (f"{path}.{name}" if path else name), tensor

    def named_parameters(self, prefix: str = "", recurse: bool = True) -> Iterator[tuple[str, Parameter]]:
        """Every parameter once, with its path. A shared one has the path where it is met first."""
        return self._named_tensors(prefix, recurse, PARAMETER)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """All parameters, each once: what an optimiser takes."""
        return (parameter for _, parameter in self.named_parameters(recurse=recurse))

    def named_buffers(self, prefix: str = "", recurse: bool = True) -> Iterator[tuple[str, Tensor]]:
        """All buffers by path: tensors that are saved and moved, and not trained."""
        return self._named_tensors(prefix, recurse, BUFFER, TRANSIENT)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """All buffers."""
        return (buffer for _, buffer in self.named_buffers(recurse=recurse))

    def get_submodule(self, target: str) -> Module:
        """The module at a path such as "features.0"; "" is this one.

        Errors: AttributeError naming what is missing.
        """
        module = self
        for name in target.split(".") if target else []:
            if module._kinds.get(name) != MODULE:
                raise AttributeError(
                    f"{type(module).__name__} has no submodule {name!r} (in the path {target!r})"
                )
            module = getattr(module, name)
        return module

    def apply(self: _Self, fn: Callable[[Module], Any]) -> _Self:
        """Calls ``fn`` on every module below this one, children first, and then on this one."""
        for child in self.children():
            child.apply(fn)
        fn(self)
        return self

    # ---- modes

    def train(self: _Self, mode: bool = True) -> _Self:
        """Training mode for this module and all below: dropout drops, batch norm uses the batch."""
        for module in self.modules():
            module.__dict__["training"] = bool(mode)
        return self

    def eval(self: _Self) -> _Self:
        """Evaluation mode: dropout passes its input on, batch norm uses what it saw in training."""
        return self.train(False)

    def requires_grad_(self: _Self, requires_grad: bool = True) -> _Self:
        """Whether gradients are computed for the parameters; False freezes them."""
        for parameter in self.parameters():
            parameter.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forgets the gradients of all parameters, or sets them to zero."""
        for parameter in self.parameters():
            if set_to_none:
                parameter.grad = None
            elif parameter.grad is not None:
                parameter.grad.zero_()

    def to(self: _Self, *args: Any, device: Any = None, dtype: Any = None) -> _Self:
        """Moves parameters and buffers: ``to("cuda")``, ``to(fn.float64)``, ``to(device, dtype)``. In place.

        The dtype must be a floating one and applies to floating tensors only. Parameters keep their identity,
        so optimisers made before stay valid; what they have gathered in steps taken already follows at the next one.
        """
        for arg in args:
            if isinstance(arg, fn.dtype):
                dtype = arg
            else:
                device = arg
        if dtype is not None and not dtype.is_floating_point:
            raise TypeError(
                f"{type(self).__name__}.to: modules hold floating numbers, {dtype} is no floating dtype"
            )
        device = {} if device is None else {"device": device}

        def move(tensor: Any) -> Any:
            cast = {"dtype": dtype} if dtype is not None and tensor.is_floating_point() else {}
            return tensor.to(**device, **cast) if device or cast else tensor

        for parameter in self.parameters():
            parameter.data = move(parameter.data)
            if parameter.grad is not None:
                parameter.grad = move(parameter.grad)
        for module in self.modules():
            for name, buffer in module._members(BUFFER, TRANSIENT):
                if buffer is not None:
                    module.__dict__[name] = move(buffer)
        return self

    def float(self: _Self) -> _Self:
        """Floating parameters and buffers become float32."""
        return self.to(fn.float32)

    def double(self: _Self) -> _Self:
        """Floating parameters and buffers become float64."""
        return self.to(fn.float64)

    def cpu(self: _Self) -> _Self:
        """Parameters and buffers move to the CPU."""
        return self.to("cpu")

    def cuda(self: _Self) -> _Self:
        """Parameters and buffers move to the GPU. Errors: RuntimeError saying why there is none."""
        return self.to("cuda")

    # ---- state

    def _state(self, prefix: str = "") -> Iterator[tuple[str, Any]]:
        for name, tensor in (*self._members(PARAMETER), *self._members(BUFFER)):
            if tensor is not None:
                yield prefix + name, tensor
        for name, child in self.named_children():
            yield from child._state(f"{prefix}{name}.")

    def state_dict(self, prefix: str = "") -> dict[str, Tensor]:
        """Parameters and persistent buffers by path, as detached tensors that share the module's memory."""
        return {key: tensor.detach() for key, tensor in self._state(prefix)}

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> LoadResult:
        """Copies values into parameters and buffers, all of them or, if anything is wrong, none.

        Values are tensors or arrays; they take on the dtype and device of their place. With ``strict=False``
        keys may be missing or left over; the result lists them. Shapes must fit in any case.

        Errors: RuntimeError listing the missing and unexpected keys and the shapes that do not fit.

        Example:
            >>> from fastnn import nn
            >>> net = nn.Linear(2, 3)
            >>> net.load_state_dict({"weight": net.weight}, strict=False).missing_keys
            ['bias']
        """
        values, result = check_state(type(self).__name__, dict(self._state()), state_dict, strict)
        with fn.no_grad():
            for place, value in values:
                place.copy_(value)
        return result

    # ---- printing

    def extra_repr(self) -> str:
        """The settings to print in ``Linear(...)``."""
        return ""

    def __repr__(self) -> str:
        lines = [f"({name}): {child!r}".replace("\n", "\n  ") for name, child in self.named_children()]
        if not lines:
            return f"{type(self).__name__}({self.extra_repr()})"
        return "\n  ".join([f"{type(self).__name__}({self.extra_repr()}", *lines]) + "\n)"

    def summary(self, input_shape: tuple[int, ...], dtype: Any = None) -> Summary:
        """A table of layers, output shapes and parameter counts; see ``nn.summary``."""
        from .summary import summary

        return summary(self, input_shape, dtype)
