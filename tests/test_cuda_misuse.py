"""CUDA devices in the hands of somebody who makes mistakes: wrong devices, memory that is elsewhere, forked processes."""

from __future__ import annotations

import subprocess
import sys

import fastnn as fn
import numpy as np
import pytest
from conftest import needs_cuda
from fastnn import nn

pytestmark = needs_cuda

two_devices = pytest.mark.skipif(fn.cuda.device_count() < 2, reason="one CUDA device")


class Array:
    """An object with ``__cuda_array_interface__``: that of a tensor, with changes."""

    def __init__(self, tensor, **changes):
        self.tensor = tensor
        self.__cuda_array_interface__ = {**tensor.__cuda_array_interface__, **changes}


# ---- streams ------------------------------------------------------------------------------------------------------------


def test_memory_that_the_last_stream_used_is_freed():
    streams = [fn.cuda.Stream() for _ in range(64)]
    x = fn.ones(3, device="cuda")
    for stream in streams:
        x.record_stream(stream)
    assert max(stream.number for stream in streams) == 31
    del x
    assert fn.ones(3, device="cuda").tolist() == [1, 1, 1]


def test_streams_compare_with_anything():
    stream = fn.cuda.Stream("cuda:0")
    assert stream != None  # noqa: E711
    assert stream != 3
    assert stream in {stream: 1}
    assert fn.cuda.Event(device="cuda:0").query()
    with pytest.raises(ValueError, match="expected a CUDA device, got cpu"):
        fn.cuda.Stream("cpu")


def test_contexts_entered_twice_go_back_to_where_they_began():
    chosen, again = fn.precision("tf32"), fn.cuda.stream(fn.cuda.Stream())
    with chosen, again:
        with chosen, again:
            assert fn.get_precision() == "tf32"
        assert fn.get_precision() == "tf32"
        assert fn.cuda.current_stream().number != 0
    assert fn.get_precision() == "fp32"
    assert fn.cuda.current_stream() == fn.cuda.default_stream()


def test_devices_by_number():
    x = fn.ones(2)
    assert x.to(0).device == x.cuda(0).device == x.to(device=0).device == "cuda:0"
    assert x.to(0, fn.float64).dtype is fn.float64
    assert nn.Linear(2, 2).to(0).weight.is_cuda


# ---- other libraries' memory ----------------------------------------------------------------------------------------------


def test_foreign_arrays_that_cannot_be_taken():
    x = fn.ones(2, 2, device="cuda")
    address = x.__cuda_array_interface__["data"][0]
    host = np.ones((2, 2), np.float32)
    for changes, error, message in [
        ({"strides": (8, 4, 4)}, ValueError, "3 strides for 2 dimensions"),
        ({"strides": (8,)}, ValueError, "1 strides for 2 dimensions"),
        ({"typestr": ">f4"}, TypeError, "foreign byte order"),
        ({"data": (0, False)}, ValueError, "elements at address 0"),
        ({"data": (address + 1, False)}, ValueError, "not aligned to its elements of 4 bytes"),
        ({"data": (host.ctypes.data, False)}, RuntimeError, "is of no CUDA device"),
        ({"stream": -1}, ValueError, "there is no stream -1"),
        ({"stream": "1"}, TypeError, "stream must be an integer or None, not str"),
    ]:
        with pytest.raises(error, match=message):
            fn.cuda.from_array(Array(x, **changes))
    with pytest.raises(TypeError, match="expected an object with __cuda_array_interface__, got numpy"):
        fn.cuda.from_array(host)
    assert fn.cuda.from_array(Array(x, data=(0, False), shape=(0, 2), strides=None)).shape == (0, 2)


def test_read_only_arrays_say_so_to_the_next():
    x = fn.ones(2, device="cuda")
    lent = fn.cuda.from_array(Array(x, data=(x.__cuda_array_interface__["data"][0], True)))
    assert lent.__cuda_array_interface__["data"][1]
    with pytest.raises(ValueError, match="read-only"):
        lent += 1


@two_devices
def test_foreign_arrays_are_where_their_memory_is():
    x = fn.tensor([1.0, 2.0], device="cuda:1")
    assert fn.cuda.from_array(x).device == "cuda:1"
    with pytest.raises(RuntimeError, match="is on cuda:1, not on cuda:0"):
        fn.cuda.from_array(x, "cuda:0")


def test_dlpack_gives_what_was_asked_for():
    x = fn.tensor([1.0, 2.0], device="cuda")
    copied = fn.from_dlpack(x.__dlpack__(copy=True))
    copied += 1
    assert x.tolist() == [1, 2]
    np.testing.assert_array_equal(np.from_dlpack(fn.ones(2)), [1, 1])
    assert fn.from_dlpack(x.__dlpack__(dl_device=(1, 0))).device == "cpu"
    with pytest.raises(BufferError, match="copy=False"):
        x.__dlpack__(dl_device=(1, 0), copy=False)
    with pytest.raises(BufferError, match=r"no DLPack device \(9, 0\)"):
        x.__dlpack__(dl_device=(9, 0))
    for stream in (None, -1, 0, 1, 2):
        assert fn.from_dlpack(x.__dlpack__(stream=stream)).tolist() == [1, 2]
    with pytest.raises(ValueError, match="there is no stream -2"):
        x.__dlpack__(stream=-2)
    with pytest.raises(TypeError, match="stream must be an integer or None, not bool"):
        x.__dlpack__(stream=True)


@pytest.mark.parametrize("index", [-1, 9, 300])
def test_dlpack_from_a_device_that_is_not_there(index):
    class Elsewhere:
        def __dlpack__(self, stream):
            raise AssertionError("the device should have been refused")

        def __dlpack_device__(self):
            return (2, index)

    with pytest.raises(RuntimeError, match=f"from_dlpack: there is no CUDA device {index}"):
        fn.from_dlpack(Elsewhere())


# ---- gradients and optimisers -----------------------------------------------------------------------------------------------


def test_gradients_from_another_device_are_refused():
    class Wrong(fn.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, dy):
            return dy.cpu()

    def leaf():
        return fn.ones(3, device="cuda", requires_grad=True)

    with pytest.raises(RuntimeError, match=r"Wrong\.backward: gradient 0 is on cpu, the input on cuda:0"):
        Wrong.apply(leaf()).sum().backward()
    with pytest.raises(RuntimeError, match="backward: gradient on cpu given for an output on cuda:0"):
        leaf().backward(fn.ones(3))
    hooked = leaf()
    hooked.register_hook(lambda g: g.cpu())
    with pytest.raises(RuntimeError, match="the hook returned a tensor on cpu for a gradient on cuda:0"):
        (hooked * 2).sum().backward()
    with pytest.raises(ValueError, match=r"on cpu cannot be the gradient of .* on cuda:0"):
        leaf().grad = fn.ones(3)


def test_pinned_memory_passes_gradients_on():
    x = fn.ones(2, requires_grad=True)
    (x.pin_memory().to("cuda") * 3).sum().backward()
    assert x.grad.tolist() == [3, 3]


OPTIMISERS = [
    lambda p: fn.optim.SGD(p, lr=0.1),
    lambda p: fn.optim.SGD(p, lr=0.1, momentum=0.9),
    lambda p: fn.optim.AdamW(p, lr=0.1),
]


@pytest.mark.parametrize("make", OPTIMISERS)
def test_one_optimiser_for_parameters_on_several_devices(make):
    def train(first, second):
        fn.manual_seed(0)
        a, b = nn.Linear(3, 4).to(first), nn.Linear(4, 2).to(second)
        optimiser = make([*b.parameters(), *a.parameters()])
        for _ in range(3):
            optimiser.zero_grad()
            y = b(a(fn.ones(2, 3, device=first)).to(second))
            (y * y).sum().backward()
            optimiser.step()
        return [p.tolist() for p in (*a.parameters(), *b.parameters())]

    want = train("cpu", "cpu")
    last = f"cuda:{fn.cuda.device_count() - 1}"
    for got in (train("cpu", "cuda"), train("cuda", last)):
        for w, g in zip(want, got, strict=True):
            np.testing.assert_allclose(g, w, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("make", OPTIMISERS[1:])
def test_an_optimiser_follows_a_model_that_moves_between_steps(make):
    model = nn.Linear(3, 2)
    optimiser = make(model.parameters())

    def step():
        optimiser.zero_grad()
        model(fn.ones(2, 3).to(model.weight.device)).sum().backward()
        optimiser.step()

    step()
    model.to("cuda")
    step()
    model.to("cpu")
    step()


# ---- processes ----------------------------------------------------------------------------------------------------------------


FORK = """
import os, sys, warnings
import fastnn as fn
warnings.simplefilter("ignore")  # Python 3.12 and later warn of any fork beside threads
x = fn.ones(2, device="cuda")
if os.fork() == 0:
    try:
        x + 1
    except RuntimeError as error:
        print(error, fn.cuda.is_available(), (fn.ones(2) + 1).tolist(), flush=True)
    os._exit(0)
assert os.wait()[1] == 0
assert (x + 1).tolist() == [2, 2]
"""


def test_a_forked_child_is_told_why_it_has_no_cuda():
    done = subprocess.run([sys.executable, "-c", FORK], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "forked from one that had used CUDA" in done.stdout
    assert done.stdout.endswith("False [2.0, 2.0]\n")
