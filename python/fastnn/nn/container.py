"""Modules made of modules: one after another, in a list, in a dict."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from .fusion import plan
from .locate import locate
from .module import Module, structure_version

__all__ = ["ModuleDict", "ModuleList", "Sequential"]


class _Numbered(Module):
    """Children named 0, 1, 2, ... and reached by index."""

    def _extend(self, modules: Iterable[Module]) -> None:
        for module in modules:
            if not isinstance(module, Module):
                raise TypeError(f"{type(self).__name__}: expected modules, not a {type(module).__name__}")
            self.add_module(str(len(self)), module)

    def _replace_all(self, modules: list[Module]) -> None:
        for name, _ in list(self.named_children()):
            delattr(self, name)
        self._extend(modules)

    def _name(self, index: int) -> str:
        names = [name for name, _ in self.named_children()]
        if not -len(names) <= index < len(names):
            raise IndexError(f"{type(self).__name__} has {len(names)} modules, there is no index {index}")
        return names[index]

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return self._of(list(self.children())[index])
        return getattr(self, self._name(index))

    def _of(self, modules: list[Module]) -> Module:
        raise NotImplementedError

    def __setitem__(self, index: int, module: Module) -> None:
        setattr(self, self._name(index), module)

    def __delitem__(self, index: int | slice) -> None:
        modules = list(self.children())
        del modules[index]
        self._replace_all(modules)

    def __len__(self) -> int:
        return sum(1 for _ in self.named_children())

    def __iter__(self) -> Iterator[Any]:
        return self.children()

    def append(self, module: Module) -> Any:
        """Adds one module at the end."""
        self._extend([module])
        return self

    def extend(self, modules: Iterable[Module]) -> Any:
        """Adds modules at the end."""
        self._extend(list(modules))
        return self

    def insert(self, index: int, module: Module) -> Any:
        """Puts a module before the one at ``index``."""
        modules = list(self.children())
        modules.insert(index, module)
        self._replace_all(modules)
        return self


class Sequential(_Numbered):
    """Modules that run one after another: ``Sequential(a, b)(x)`` is ``b(a(x))``. A dict gives them names.

    A Linear, Conv2d or BatchNorm followed by a ReLU runs as one call, and a ReLU between a Conv2d and a MaxPool2d behind
    the pooling, where there is less to do; results are the same. Where one of them has hooks, they run one by one.

    Errors: TypeError if something is no module.

    Example:
        >>> import fastnn as fn
        >>> from fastnn import nn
        >>> net = nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 2))
        >>> tuple(net(fn.zeros(32, 2)).shape), len(net), list(net.state_dict())
        ((32, 2), 3, ['0.weight', '0.bias', '2.weight', '2.bias'])
    """

    def __init__(self, *modules: Module | Mapping[str, Module]) -> None:
        super().__init__()
        self._steps: tuple[Callable[[Any], Any], ...] = ()
        self._steps_version = -1
        if len(modules) == 1 and isinstance(modules[0], Mapping):
            for name, module in modules[0].items():
                self.add_module(name, module)
        else:
            self._extend(modules)  # type: ignore[arg-type]

    def constructor_arguments(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if type(self).__init__ is not Sequential.__init__:  # a model that builds its own layers
            return super().constructor_arguments()
        children = dict(self.named_children())
        numbered = list(children) == [str(i) for i in range(len(children))]
        return (tuple(children.values()) if numbered else (children,)), {}

    def _of(self, modules: list[Module]) -> Module:
        return Sequential(*modules)

    def forward(self, x: Any) -> Any:
        if self._steps_version != structure_version[0]:
            self._plan()
        try:
            for step in self._steps:
                x = step(x)
        except Exception as error:
            failed: Any = getattr(step, "__self__", step)
            locate(error, failed)
            raise
        return x

    def _plan(self) -> None:
        version = structure_version[0]
        # Straight into the dict: planning changes nothing that __setattr__ watches. The version goes last, so that
        # another thread never takes old steps for new ones.
        self.__dict__["_steps"] = plan(list(self.children()))
        self.__dict__["_steps_version"] = version


class ModuleList(_Numbered):
    """A list of modules whose parameters count as its owner's. It has no forward: call its elements.

    Example:
        >>> from fastnn import nn
        >>> layers = nn.ModuleList([nn.Linear(4, 4) for _ in range(3)])
        >>> len(layers), layers[-1].out_features, sum(1 for _ in layers.parameters())
        (3, 4, 6)
    """

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        super().__init__()
        self._extend(modules)

    def constructor_arguments(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return (list(self.children()),), {}

    def _of(self, modules: list[Module]) -> Module:
        return ModuleList(modules)


class ModuleDict(Module):
    """A dict of modules whose parameters count as its owner's. It has no forward: call its values.

    Example:
        >>> from fastnn import nn
        >>> heads = nn.ModuleDict({"class": nn.Linear(8, 10), "box": nn.Linear(8, 4)})
        >>> list(heads), heads["box"].out_features
        (['class', 'box'], 4)
    """

    def __init__(self, modules: Mapping[str, Module] | None = None) -> None:
        super().__init__()
        self.update(modules or {})

    def update(self, modules: Mapping[str, Module]) -> None:
        """Adds or replaces modules.

        Errors: KeyError for a name with a dot, or of a method such as "items".
        """
        for name, module in modules.items():
            self[name] = module

    def constructor_arguments(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return (dict(self.items()),), {}

    def __getitem__(self, name: str) -> Any:
        return dict(self.items())[name]

    def __setitem__(self, name: str, module: Module) -> None:
        self.add_module(name, module)

    def __delitem__(self, name: str) -> None:
        delattr(self, name)

    def __len__(self) -> int:
        return len(self.keys())

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __contains__(self, name: object) -> bool:
        return name in self.keys()

    def keys(self) -> list[str]:
        """The names."""
        return [name for name, _ in self.named_children()]

    def values(self) -> list[Module]:
        """The modules."""
        return list(self.children())

    def items(self) -> list[tuple[str, Module]]:
        """Names with their modules."""
        return list(self.named_children())
