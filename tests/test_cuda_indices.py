"""Indices and labels out of range on a CUDA device: passed over, and told of by the next call that waits for the device.

Without a GPU the device is the emulator.
"""

from __future__ import annotations

import os
import subprocess
import sys

import fastnn as fn
import fastnn.nn.functional as F
import numpy as np
import pytest
from conftest import needs_cuda


def told(match: str):
    return pytest.raises(IndexError, match=match)


BAD_INDICES = {
    "index": (lambda x, i: x[i], "index: index 5 is out of range for dimension 0 of size 3"),
    "gather": (
        lambda x, i: fn.gather(x, 0, i.unsqueeze(1)),
        "gather: index 5 is out of range for dimension 0 of size 3",
    ),
    "index_put": (
        lambda x, i: x.__setitem__(i, 7.0),
        "index_put: index 5 is out of range for dimension 0 of size 3",
    ),
    "cross_entropy": (
        lambda x, i: F.cross_entropy(x, i[:3]),
        "cross_entropy: label 5 is out of range for 2 classes",
    ),
    "nll_loss": (lambda x, i: F.nll_loss(x, i[:3]), "nll_loss: label 5 is out of range for 2 classes"),
}


@needs_cuda
@pytest.mark.parametrize("name", BAD_INDICES)
@pytest.mark.parametrize("wait", ["item", "synchronize", "stream", "event"])
def test_an_index_out_of_range_is_told_of_by_the_next_wait(name, wait):
    call, message = BAD_INDICES[name]
    x = fn.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], device="cuda")
    one = fn.tensor(1.0, device="cuda")
    call(x, fn.tensor([1, 5, 0], device="cuda"))
    event = fn.cuda.Event()
    event.record()
    waits = {
        "item": one.item,
        "synchronize": fn.cuda.synchronize,
        "stream": fn.cuda.current_stream().synchronize,
        "event": event.synchronize,
    }
    with told(message):
        waits[wait]()
    waits[wait]()  # told of once
    want = [[1, 2], [3, 4], [5, 6]]
    if name == "index_put":
        want[0] = want[1] = [7, 7]
    assert x.tolist() == want


@needs_cuda
def test_what_an_index_out_of_range_reads_and_writes():
    x = fn.tensor([1.0, 2.0, 3.0], device="cuda", requires_grad=True)
    y = x[fn.tensor([2, 9, 0, -4, -3], device="cuda")]
    y.sum().backward()
    with told("index: index (9|-4) is out of range for dimension 0 of size 3"):
        y.tolist()
    assert y.tolist() == [3, 0, 1, 0, 1]
    assert x.grad.tolist() == [2, 0, 1]
    logits = fn.tensor([[1.0, 2.0], [3.0, 4.0], [0.0, 0.0]], device="cuda", requires_grad=True)
    F.cross_entropy(logits, fn.tensor([0, -1, 1], device="cuda"), reduction="sum").backward()
    with told("label -1 is out of range for 2 classes"):
        fn.cuda.synchronize()
    assert logits.grad[1].tolist() == [0, 0]
    np.testing.assert_allclose(logits.grad[2].tolist(), [0.5, -0.5])


@needs_cuda
def test_long_lists_with_indices_out_of_range():
    """Beyond the short list that order.cuh counts out: sorted by digits, with the bad ones behind all others."""
    rng = np.random.default_rng(3)
    n, rows = 5000, 300
    index = rng.integers(-rows, rows, n)
    bad = rng.random(n) < 0.1
    values = rng.integers(-9, 9, (n, 3)).astype(np.float32)  # sums are exact
    x = fn.zeros(rows, 3, device="cuda", requires_grad=True)
    given = fn.tensor(np.where(bad, rows + 2**40, index), device="cuda")
    (x[given] * fn.tensor(values, device="cuda")).sum().backward()
    with told(f"index {rows + 2**40} is out of range"):
        fn.cuda.synchronize()
    want = np.zeros((rows, 3), np.float32)
    np.add.at(want, index[~bad], values[~bad])
    np.testing.assert_array_equal(x.grad.cpu().numpy(), want)


@needs_cuda
def test_writes_by_index_into_a_view_that_runs_backwards():
    rng = np.random.default_rng(4)
    for n in (6, 9000):
        x, index = np.zeros(n, np.float32), rng.integers(0, n, n)
        values = rng.standard_normal(n).astype(np.float32)
        ours = fn.tensor(x, device="cuda")
        ours[::-1][fn.tensor(index, device="cuda")] = fn.tensor(values, device="cuda")
        x[::-1][index] = values
        np.testing.assert_array_equal(ours.cpu().numpy(), x)


@needs_cuda
def test_at_once_where_every_launch_is_waited_for():
    code = """
import fastnn as fn
x = fn.zeros(3, device="cuda")
try:
    x[fn.tensor([5], device="cuda")]
except IndexError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "FASTNN_SYNC": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "index 5 is out of range for dimension 0 of size 3", done.stderr
