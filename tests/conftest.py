"""Fixtures that all tests share."""

from __future__ import annotations

import fastnn as fn
import pytest


@pytest.fixture(autouse=True)
def _settings_stay():
    """Whatever a test sets for the process or its thread is set back."""
    threads, recording = fn.get_num_threads(), fn.is_grad_enabled()
    yield
    fn.set_num_threads(threads)
    fn.autograd.set_grad_enabled(recording)
    fn._C._fail_allocation_after(0)


@pytest.fixture(scope="session")
def torch():
    """PyTorch, the second oracle; the first is NumPy, which every test of the table uses too."""
    return pytest.importorskip("torch", reason="torch is not installed (extra `peers`)")
