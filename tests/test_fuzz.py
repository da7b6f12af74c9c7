"""The inputs that the fuzzers found, run again without a fuzzer: each took a way through the code that no other did."""

from __future__ import annotations

import importlib
from base64 import b64encode

import numpy as np
import pytest
from fuzz import corpus
from fuzz.choices import Choices


@pytest.mark.filterwarnings("ignore")  # of NumPy, about the numbers in the inputs
@pytest.mark.parametrize("target", corpus.TARGETS)
def test_what_was_found_once(target):
    run = importlib.import_module(f"fuzz.{target}").run
    inputs = corpus.read(target)
    assert len(inputs) > 100
    for data in inputs:
        try:
            run(data)
        except BaseException as error:
            error.add_note(f"fuzz target {target}, input {b64encode(data).decode()}")
            raise


def test_a_fault_would_be_noticed(monkeypatch):
    """Each target, given an extension that is wrong."""
    from fuzz import files, indexing, ops

    monkeypatch.setattr(indexing, "take", lambda x, key: np.asarray(x[key]) + 1)
    with pytest.raises(AssertionError):
        for data in corpus.read("indexing"):
            indexing.run(data)
    monkeypatch.setattr(files.fn, "load", lambda path: {}["no"])
    with pytest.raises(KeyError):
        for data in corpus.read("files"):
            files.run(data)
    monkeypatch.setattr(ops, "CALLABLES", [lambda *_, **__: {}["no"]])
    with pytest.raises(KeyError):
        for data in corpus.read("ops"):
            ops.run(data)


def test_choices():
    choices = Choices(bytes([7, 200, 3]))
    assert [choices.below(5), choices.between(-1, 1), choices.pick("abc"), choices.byte()] == [2, 1, "a", 0]
    assert not choices
    assert choices.rest() == b""
