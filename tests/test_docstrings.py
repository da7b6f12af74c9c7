"""Every example in a docstring, and in a page of docs, runs and prints what it says."""

import doctest
import importlib
import inspect
import pkgutil
import re
import types
from pathlib import Path

import fastnn
import pytest

SKIPPED = ("fastnn._bench", "fastnn._C", "fastnn.__main__", "fastnn.libfastnn_cuda")
MODULES = [
    "fastnn",
    *(
        module.name
        for module in pkgutil.walk_packages(fastnn.__path__, "fastnn.")
        if not module.name.startswith(SKIPPED)
    ),
]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    state = fastnn.get_rng_state()
    failures, _ = doctest.testmod(importlib.import_module(name))
    fastnn.set_rng_state(state)
    assert failures == 0


@pytest.mark.parametrize(
    "page", sorted((Path(__file__).parents[1] / "docs").glob("*.md")), ids=lambda p: p.stem
)
def test_pages(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    state = fastnn.get_rng_state()
    failures, _ = doctest.testfile(str(page), module_relative=False)
    fastnn.set_rng_state(state)
    assert failures == 0


def test_classes_show_their_own_arguments():
    """What the documentation, help() and editors show in place of (*args, **kwargs)."""
    public = {
        f"{module.__name__}.{name}": getattr(module, name)
        for module in (fastnn.nn, fastnn.optim, fastnn.data, fastnn.models, fastnn.train)
        for name in module.__all__
    }
    classes = {name: value for name, value in public.items() if isinstance(value, type)}
    assert len(classes) > 40
    for name, cls in classes.items():
        kinds = {p.kind for p in inspect.signature(cls).parameters.values()}
        takes_anything = {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD} <= kinds
        assert takes_anything == (cls is fastnn.nn.Identity), name
    assert list(inspect.signature(fastnn.nn.Dropout).parameters) == ["p"]


PUBLIC = (
    fastnn, fastnn.nn, fastnn.nn.functional, fastnn.nn.init, fastnn.optim, fastnn.data, fastnn.train, fastnn.models, fastnn.io,
    fastnn.autograd, fastnn.cuda,
)  # fmt: skip
# What takes any arguments, on purpose: it hands them on, or they are shapes and what `to` converts to.
ANY_ARGUMENTS = re.compile(r"Identity|Function\.(forward|backward|apply)|\.forward$|\.to$|\.__call__$")


def walk():
    """Every public class, function and method, and attributes that are computed: name -> object."""
    found = {}
    for module in PUBLIC:
        for name in module.__all__:
            value = getattr(module, name)
            if isinstance(value, (types.ModuleType, str)) or not callable(value):
                continue
            path = f"{module.__name__}.{name}"
            found[path] = value
            for base in value.__mro__[:-1] if isinstance(value, type) else ():
                if base.__module__.startswith("fastnn"):
                    for key, member in vars(base).items():
                        if not key.startswith("_"):
                            found[f"{path}.{key}"] = getattr(member, "__func__", member)
    return found


def test_all_that_is_public_is_documented_and_has_a_signature():
    undocumented, unsigned = [], []
    found = walk()
    assert len(found) > 1000
    for name, value in found.items():
        computed = isinstance(value, (property, types.GetSetDescriptorType))
        if not (callable(value) or computed):
            continue
        owner, _, attribute = name.rpartition(".")
        doc = inspect.getdoc(value)
        if not doc and owner in found:  # as of the method that it overrides
            doc = next((inspect.getdoc(vars(base)[attribute]) for base in found[owner].__mro__[1:]
                        if attribute in vars(base)), None)  # fmt: skip
        if not doc:
            undocumented.append(name)
        if computed:
            continue
        try:
            parameters = inspect.signature(value).parameters.values()
        except (ValueError, TypeError):
            unsigned.append(name)
            continue
        bare = {p.name for p in parameters if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD)} & {
            "args",
            "kwargs",
        }
        if any(re.fullmatch(r"arg\d+", p.name) for p in parameters) or (
            bare and not ANY_ARGUMENTS.search(name)
        ):
            unsigned.append(name)
    assert (undocumented, unsigned) == ([], [])


def test_signatures_of_compiled_classes():
    for value, expected in (
        (fastnn.device, "(name: 'str')"),
        (fastnn.Tensor, "(tensor)"),
        (fastnn.dtype, "()"),
        (fastnn.cuda.Stream, "(device: 'int | device | str' = 0)"),
        (fastnn.cuda.Event, "(enable_timing: 'bool' = False, device: 'int | device | str' = 0)"),
        (fastnn.cuda.Event.__init__, "(self: 'CudaEvent', enable_timing: 'bool' = False, device: 'int | device | str' = 0) -> 'None'"),
        (fastnn.cuda.Event.elapsed_time, "(self: 'CudaEvent', end: 'CudaEvent') -> 'float'"),
        (fastnn.cuda.Stream.wait_stream, "(self: 'CudaStream', other: 'CudaStream') -> 'None'"),
        (fastnn.device.__eq__, "(self: 'device', other: 'object') -> 'bool'"),
        (fastnn.nn.Parameter, "(data: 'Tensor', requires_grad: 'bool' = True)"),
    ):  # fmt: skip
        assert str(inspect.signature(value)).removesuffix(" -> 'Any'") == expected
    assert inspect.getdoc(fastnn.Tensor).startswith("A typed, strided array")
    assert inspect.signature(fastnn.Tensor.cuda).parameters["non_blocking"].default is False


def test_there_are_examples():
    finder = doctest.DocTestFinder(exclude_empty=True)
    assert (
        sum(bool(test.examples) for name in MODULES for test in finder.find(importlib.import_module(name)))
        > 50
    )
