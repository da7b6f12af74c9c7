"""Runs one fuzz target under Atheris (libFuzzer): ``make fuzz``, or ``run.py TARGET FOLDER [libFuzzer's options]``.

The extension has to be built by clang with ``-fsanitize=fuzzer-no-link``, so that the fuzzer sees which branches an
input takes; of Python's code it sees the readers of files. The folder gets the committed corpus, and what is found.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["fastnn.io", "fastnn.data.idx", "fastnn.registry"]):
    sys.path.insert(0, str(Path(__file__).parents[1]))
    target = importlib.import_module(f"fuzz.{sys.argv[1]}")

from fuzz.corpus import unpack

if not any(option.startswith("-merge") for option in sys.argv):
    unpack(sys.argv[1], Path(sys.argv[2]))
words = Path(__file__).with_name(f"{sys.argv[1]}.dict")
again = f"{sys.executable} {__file__} {sys.argv[1]}"  # what -merge calls through a shell
atheris.Setup([again, *sys.argv[2:], *([f"-dict={words}"] if words.exists() else [])], target.run)
atheris.Fuzz()
