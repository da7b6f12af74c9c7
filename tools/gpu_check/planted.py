"""Tests for a dry run, which has to come through them: one hangs, one loses the device, one ends its process."""

from __future__ import annotations

import os
import time

import fastnn as fn
import pytest


def test_before():
    assert fn.ones(2, device="cuda").sum().item() == 2.0


def test_that_hangs():
    time.sleep(3600)


def test_that_loses_the_device(monkeypatch):
    def fail(*_):
        raise RuntimeError("cudaErrorIllegalAddress: an illegal memory access was encountered")

    fn.cuda.synchronize = fail
    pytest.fail("an illegal memory access was encountered")


def test_that_ends_the_process():
    os._exit(3)


def test_after():
    assert fn.ones(3, device="cuda").sum().item() == 3.0
