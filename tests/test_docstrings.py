"""Every example in a docstring, and in a page of docs, runs and prints what it says."""

import doctest
import importlib
import inspect
import pkgutil
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


def test_there_are_examples():
    finder = doctest.DocTestFinder(exclude_empty=True)
    assert (
        sum(bool(test.examples) for name in MODULES for test in finder.find(importlib.import_module(name)))
        > 50
    )
