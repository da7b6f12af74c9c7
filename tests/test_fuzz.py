"""The inputs that the fuzzers found, run again without a fuzzer: each took a way through the code that no other did."""

from __future__ import annotations

import importlib
from base64 import b64encode

import numpy as np
import pytest
from fuzz import corpus
from fuzz.choices import Choices


def run_all(target):
    run = importlib.import_module(f"fuzz.{target}").run
    inputs = corpus.read(target)
    assert len(inputs) > 100
    for data in inputs:
        try:
            run(data)
        except BaseException as error:
            error.add_note(f"fuzz target {target}, input {b64encode(data).decode()}")
            raise


@pytest.mark.filterwarnings("ignore")  # of NumPy, about the numbers in the inputs
@pytest.mark.parametrize("target", corpus.TARGETS)
def test_what_was_found_once(target):
    run_all(target)


WRONG = {
    "indexing": ("indexing.take", lambda x, key: np.asarray(x[key]) + 1, AssertionError),
    "files": ("files.fn.load", lambda path: {}["no"], KeyError),
    "ops": ("ops.CALLABLES", [lambda *_, **__: {}["no"]], KeyError),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("target", WRONG)
def test_a_fault_would_be_noticed(target, monkeypatch):
    place, wrong, error = WRONG[target]
    monkeypatch.setattr(f"fuzz.{place}", wrong)
    with pytest.raises(error):
        run_all(target)


def test_choices():
    choices = Choices(bytes([7, 200, 3]))
    assert [choices.below(5), choices.between(-1, 1), choices.pick("abc"), choices.byte()] == [2, 1, "a", 0]
    assert not choices
    assert choices.rest() == b""
