"""Runs one fuzz target under Atheris (libFuzzer): ``make fuzz``, or ``python tests/fuzz/run.py TARGET [FOLDER ...]``.

The extension has to be built by clang with ``-fsanitize=fuzzer-no-link``, so that the fuzzer sees which branches an
input takes; of Python's code it sees the readers of files.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["fastnn.io", "fastnn.data.idx", "fastnn.registry"]):
    sys.path.insert(0, str(Path(__file__).parents[1]))
    target = importlib.import_module(f"fuzz.{sys.argv[1]}")

atheris.Setup([sys.argv[0], *sys.argv[2:]], target.run)
atheris.Fuzz()
