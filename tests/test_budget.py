"""The budget of compile time and size: that more than the budget is noticed, and that rows are of sources there are."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest
from conftest import ROOT


@pytest.fixture(scope="module")
def budget():
    spec = importlib.util.spec_from_file_location("budget", ROOT / "tools" / "budget.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["budget"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["budget"]


def test_more_bytes_than_the_budget_fail(budget):
    rows = {"_C csrc/x.cpp": {"time": 1, "bytes": 100_000}}

    def failures(size: int, source: str = "csrc/x.cpp") -> list[str]:
        return budget.over_bytes([budget.Unit("_C", source, (), Path(), size, 0)], rows, 1.15)

    assert failures(100_000) == []
    assert failures(115_000) == []
    assert "130,000 bytes, 119,096 allowed" in failures(130_000)[0]
    assert "--write" in failures(1, "csrc/new.cpp")[0]


def test_more_time_than_the_budget_fails(budget, monkeypatch):
    rows = {"_C csrc/x.cpp": {"time": 10, "bytes": 1}}
    programs, units = [], []
    monkeypatch.setattr(budget, "calibration", lambda compiler: programs.pop(0))
    monkeypatch.setattr(budget, "processor_time", lambda command, folder: units.pop(0))

    def failures(wall: float) -> list[str]:
        return budget.over_time([budget.Unit("_C", "csrc/x.cpp", (), Path(), 1, wall)], rows, "c++")

    programs[:] = [0.5]
    assert failures(7.9) == []  # 10 x 0.5 s x 1.6; nothing is compiled to know it
    programs[:], units[:] = [0.5, 0.5], [3.0]
    assert failures(100.0) == []
    # A machine that got slower between the program and the unit.
    programs[:], units[:] = [0.5, 0.5, 1.0], [9.0, 9.0]
    assert failures(100.0) == []
    programs[:], units[:] = [0.5, 0.5, 0.5], [9.0, 9.0]
    assert "9.0 s of processor time to compile, 8.0 allowed" in failures(100.0)[0]


def test_rows_are_of_sources_that_are_there(budget):
    rows = json.loads(budget.BUDGET.read_text())["units"]
    assert budget.gone(rows) == []
    assert budget.gone({"_C csrc/gone.cpp": {}, "_C cmake_pch.hxx.cxx": {}}) == ["_C csrc/gone.cpp"]
    assert all(set(row) == {"time", "bytes"} for row in rows.values())


def test_processor_time_is_that_of_the_compiler(budget, tmp_path):
    source = tmp_path / "x.py"
    source.write_text("sum(range(3_000_000))\n")
    command = (sys.executable, str(source), "-o", "")
    assert 0.01 < budget.processor_time(command, tmp_path) < 10
    source.write_text("raise SystemExit(3)\n")
    with pytest.raises(SystemExit):
        budget.processor_time(command, tmp_path)
