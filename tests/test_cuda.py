"""CUDA devices as a user meets them: moving tensors, memory, streams, exchange with other libraries, errors.

Without a GPU the device is the emulator, of which there are two.
"""

from __future__ import annotations

import gc
import threading

import fastnn as fn
import fastnn.nn.functional as F
import numpy as np
import pytest
from conftest import EMULATED, EMULATOR, needs_cuda
from fastnn import nn

two_devices = pytest.mark.skipif(fn.cuda.device_count() < 2, reason="one CUDA device")
on_emulator = pytest.mark.skipif(
    not (EMULATED and EMULATOR), reason="the emulator of CUDA is not the device here"
)


# ---- devices --------------------------------------------------------------------------------------------------------------


@needs_cuda
def test_properties():
    p = fn.cuda.get_device_properties("cuda:0")
    assert p.name == fn.cuda.get_device_name(0)
    assert fn.cuda.get_device_capability() == (p.major, p.minor)
    assert p.major >= 7
    assert p.multi_processor_count > 0
    assert 0 < p.free_memory <= p.total_memory


@needs_cuda
def test_there_and_back():
    a = np.arange(6, dtype=np.float32).reshape(2, 3)
    x = fn.tensor(a)
    y = x.to("cuda")
    assert y.is_cuda
    assert not x.is_cuda
    assert (y.device, str(y.device), y.device.index) == ("cuda", "cuda:0", 0)
    assert y.to("cuda:0") is y
    np.testing.assert_array_equal(y.cpu().numpy(), a)
    np.testing.assert_array_equal(y.T.cpu().numpy(), a.T)
    assert y.tolist() == a.tolist()
    assert y[1, 2].item() == 5.0
    assert float(y.sum()) == 15.0
    assert bool((y >= 0).all())
    assert "device='cuda:0'" in repr(y)
    assert repr(y).startswith("tensor([[0., 1., 2.],")
    assert x.cuda().device == y.device
    for dtype in (fn.bfloat16, fn.float16, fn.uint8, fn.bool, fn.int32, fn.float64):
        assert y.to(dtype).cpu().to(fn.float32).tolist() == x.to(dtype).to(fn.float32).tolist()
    with pytest.raises(RuntimeError, match=r"numpy\(\): the tensor is not on the CPU; use .cpu\(\)"):
        y.numpy()


@needs_cuda
def test_new_tensors_on_the_device():
    for y, want in [
        (fn.zeros(2, 3, device="cuda"), np.zeros((2, 3))),
        (fn.ones(3, device="cuda"), np.ones(3)),
        (fn.full((2,), 7, device="cuda"), [7, 7]),
        (fn.arange(1, 4, device="cuda"), [1, 2, 3]),
        (fn.eye(2, device="cuda"), np.eye(2)),
        (fn.linspace(0, 1, 3, device="cuda"), [0, 0.5, 1]),
        (fn.tensor([1.5, 2.5], device="cuda"), [1.5, 2.5]),
        (fn.zeros_like(fn.ones(2, device="cuda")), [0, 0]),
        (fn.empty(0, device="cuda"), []),
    ]:
        assert y.is_cuda
        np.testing.assert_array_equal(y.cpu().numpy(), want)
    x = fn.rand(5, device="cuda", requires_grad=True)
    assert x.requires_grad
    assert x.is_leaf
    assert sorted(fn.randperm(9, device="cuda").tolist()) == list(range(9))
    assert fn.randint(0, 5, 3, device="cuda").is_cuda


@needs_cuda
def test_the_same_seed_draws_the_same_numbers_on_every_device():
    for draw, tolerance in [
        (lambda d: fn.rand(1001, device=d), 0),
        (lambda d: fn.randn(1001, device=d), 4e-6),
        (lambda d: fn.randint(-5, 100, (1001,), device=d), 0),
        (lambda d: F.dropout(fn.ones(1001, device=d), 0.3, True), 0),
    ]:
        fn.manual_seed(3)
        want = draw("cpu").numpy()
        fn.manual_seed(3)
        np.testing.assert_allclose(draw("cuda").cpu().numpy(), want, rtol=tolerance, atol=tolerance)


@needs_cuda
def test_default_device():
    fn.set_default_device("cuda")
    assert fn.get_default_device() == "cuda:0"
    layer = nn.Linear(3, 2)
    assert layer.weight.is_cuda
    assert fn.tensor([1.0]).is_cuda
    assert fn.rand(2).is_cuda
    assert fn.from_numpy(np.ones(2)).device == "cpu"  # shares memory, so it stays
    assert fn.tensor([1.0], device="cpu").device == "cpu"
    fn.set_default_device("cpu")
    assert fn.zeros(1).device == "cpu"
    with pytest.raises(RuntimeError, match="there is no cuda:7"):
        fn.set_default_device("cuda:7")
    assert fn.get_default_device() == "cpu"


@needs_cuda
def test_a_device_that_does_not_exist():
    count = fn.cuda.device_count()
    for act in (
        lambda: fn.ones(2).to("cuda:7"),
        lambda: fn.zeros(2, device="cuda:7"),
        lambda: fn.cuda.synchronize(7),
        lambda: fn.cuda.Stream(7),
        lambda: fn.cuda.get_device_name("cuda:7"),
    ):
        with pytest.raises(RuntimeError, match=f"there is no cuda:7: CUDA sees {count} device"):
            act()
    with pytest.raises(ValueError, match="expected a CUDA device, got cpu"):
        fn.cuda.synchronize("cpu")
    with pytest.raises(ValueError, match="numbered from 0 to 7, got -1"):
        fn.cuda.synchronize(-1)


@needs_cuda
def test_operands_on_different_devices_are_refused_by_name():
    here, there = fn.ones(2, 2), fn.ones(2, 2, device="cuda")
    image, filters = fn.ones(1, 2, 4, 4), fn.ones(3, 2, 3, 3, device="cuda")
    model = nn.Linear(2, 2).to("cuda")
    for op, act in {
        "add": lambda: here + there,
        "matmul": lambda: there @ here,
        "where": lambda: fn.where(there > 0, here, there),
        "cat": lambda: fn.cat([here, there]),
        "conv2d": lambda: F.conv2d(image, filters),
        "linear": lambda: model(here),
        "cross_entropy": lambda: F.cross_entropy(there, fn.tensor([0, 1])),
        "mul_": lambda: fn.ones(2, 2).mul_(there) if hasattr(here, "mul_") else here.__imul__(there),
        "gather": lambda: there.gather(0, fn.zeros(2, 2, dtype=fn.int64)),
    }.items():
        with pytest.raises(RuntimeError, match=rf"{op.rstrip('_')}.*cuda:0|cuda:0.*{op.rstrip('_')}"):
            act()


@needs_cuda
def test_numbers_and_indices_come_along():
    x = fn.tensor([[1.0, 2.0], [3.0, 4.0]], device="cuda", requires_grad=True)
    y = (2 * x + 1 - x / 4) ** 2
    np.testing.assert_allclose(y.detach().cpu().numpy(), (1.75 * np.array([[1, 2], [3, 4]]) + 1) ** 2)
    half = fn.tensor(0.5, requires_grad=True)  # 0-d, on the CPU
    (x * half).sum().backward()
    assert half.grad.item() == 10.0
    assert half.grad.device == "cpu"
    assert x.grad.tolist() == [[0.5, 0.5], [0.5, 0.5]]
    d = x.detach()
    assert d[fn.tensor([1, 0])].tolist() == [[3.0, 4.0], [1.0, 2.0]]
    assert d[[1], [0]].tolist() == [3.0]
    assert d[np.array([False, True])].tolist() == [[3.0, 4.0]]
    assert d[d > 2].tolist() == [3.0, 4.0]
    d[0] = 9
    d[fn.tensor([1]), 0] = 8.0
    assert d.tolist() == [[9.0, 9.0], [8.0, 4.0]]
    d.copy_(fn.zeros(2, 2))
    assert d.tolist() == [[0.0, 0.0], [0.0, 0.0]]
    d.fill_(fn.tensor(3.0, device="cuda"))
    assert d.tolist() == [[3.0, 3.0], [3.0, 3.0]]


@needs_cuda
def test_gradients_cross_devices():
    x = fn.tensor([1.0, 2.0], requires_grad=True)
    (x.to("cuda") * 3).sum().backward()
    assert x.grad.tolist() == [3.0, 3.0]
    assert x.grad.device == "cpu"


@needs_cuda
@two_devices
def test_two_devices():
    a = fn.tensor([1.0, 2.0], device="cuda:0")
    b = a.to("cuda:1")
    assert (str(b.device), b.tolist()) == ("cuda:1", [1.0, 2.0])
    c = (b * 2).to("cuda:0") + a
    assert c.tolist() == [3.0, 6.0]
    with pytest.raises(RuntimeError, match="different devices, cuda:0 and cuda:1"):
        a + b
    assert fn.cuda.memory_allocated(1) > 0
    model = nn.Linear(2, 2).to("cuda:1")
    model(b.reshape(1, 2)).sum().backward()
    assert model.weight.grad.device == "cuda:1"


# ---- memory ---------------------------------------------------------------------------------------------------------------


@needs_cuda
def test_memory_statistics():
    gc.collect()
    fn.cuda.empty_cache()
    before = fn.cuda.memory_allocated()
    fn.cuda.reset_peak_memory_stats()
    x = fn.zeros(1 << 18, device="cuda")
    held = fn.cuda.memory_allocated() - before
    assert 1 << 20 <= held <= 5 << 18
    del x
    assert fn.cuda.memory_allocated() == before
    assert fn.cuda.max_memory_allocated() == before + held
    assert fn.cuda.memory_reserved() >= before
    fn.cuda.empty_cache()
    assert fn.cuda.memory_reserved() == fn.cuda.memory_allocated() == before


@needs_cuda
def test_out_of_memory_is_an_error_that_one_can_go_on_after():
    x = fn.ones(3, device="cuda")
    with pytest.raises(MemoryError, match=r"out of memory: a tensor of \d+ bytes could not be had on cuda:0"):
        fn.empty(1 << 43, dtype=fn.uint8, device="cuda")
    assert (x + 1).tolist() == [2.0, 2.0, 2.0]


@needs_cuda
def test_pinned_memory():
    x = fn.arange(5).to(fn.float32)
    assert not x.is_pinned()
    p = x.pin_memory()
    assert p.is_pinned()
    assert p.pin_memory() is p
    assert p.device == "cpu"
    y = p.to("cuda", non_blocking=True)
    fn.cuda.synchronize()
    assert y.tolist() == x.tolist()
    with pytest.raises(RuntimeError, match="pin_memory: only CPU tensors can be pinned, got one on cuda:0"):
        y.pin_memory()


# ---- streams -----------------------------------------------------------------------------------------------------------------


@needs_cuda
def test_streams_and_events():
    first, side = fn.cuda.current_stream(), fn.cuda.Stream()
    assert first == fn.cuda.default_stream()
    assert side != first
    start, end = fn.cuda.Event(enable_timing=True), fn.cuda.Event(enable_timing=True)
    x = fn.ones(4, device="cuda")
    with fn.cuda.stream(side) as current:
        assert current == side == fn.cuda.current_stream()
        side.wait_stream(first)
        start.record()
        y = x * 2
        x.record_stream(side)
        end.record()
    assert fn.cuda.current_stream() == first
    first.wait_stream(side)
    end.wait()
    end.synchronize()
    assert end.query()
    assert start.elapsed_time(end) >= 0
    del x
    assert (y + 1).tolist() == [3.0] * 4
    side.synchronize()
    assert side.query()
    assert "on cuda:0" in repr(side)
    with pytest.raises(RuntimeError, match="both events must be recorded first"):
        start.elapsed_time(fn.cuda.Event(enable_timing=True))
    with pytest.raises(RuntimeError, match="enable_timing=True"):
        start.elapsed_time(fn.cuda.Event())


@needs_cuda
def test_memory_of_a_stream_serves_again_on_that_stream_only():
    side = fn.cuda.Stream()
    gc.collect()
    fn.cuda.empty_cache()
    with fn.cuda.stream(side):
        x = fn.ones(1001, device="cuda")
        address = x.data_ptr()
        del x
    y = fn.ones(1001, device="cuda")
    if not EMULATED:  # the emulator keeps nothing for reuse
        assert y.data_ptr() != address
        with fn.cuda.stream(side):
            assert fn.ones(1001, device="cuda").data_ptr() == address


@needs_cuda
def test_threads():
    """Python threads launch on one device; each has settings of its own."""
    results = {}

    def work(k: int) -> None:
        with fn.precision("tf32" if k % 2 else "fp32"), fn.cuda.stream(fn.cuda.Stream()):
            x = fn.full((8, 8), float(k), device="cuda")
            results[k] = ((x @ x).sum().item(), fn.get_precision())

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert results == {k: (512.0 * k * k, "tf32" if k % 2 else "fp32") for k in range(4)}


# ---- exchange with other libraries ----------------------------------------------------------------------------------------------


class Lender:
    """Another library's array: shows memory by one of the two protocols."""

    def __init__(self, tensor: fn.Tensor, *, dlpack: bool) -> None:
        self.tensor = tensor
        self.streams: list = []
        if dlpack:
            self.__dlpack__ = self._dlpack
            self.__dlpack_device__ = tensor.__dlpack_device__
        else:
            self.__cuda_array_interface__ = tensor.__cuda_array_interface__

    def _dlpack(self, stream=None):
        self.streams.append(stream)
        return self.tensor.__dlpack__(stream=stream)


@needs_cuda
def test_dlpack_shares_device_memory():
    x = fn.arange(6, device="cuda").to(fn.float32).reshape(2, 3)
    assert x.__dlpack_device__() == (2, 0)
    lender = Lender(x.T, dlpack=True)
    y = fn.from_dlpack(lender)
    assert lender.streams == [1]  # the legacy default stream will use the memory
    assert (y.shape, y.stride(), y.data_ptr(), str(y.device)) == ((3, 2), (1, 3), x.data_ptr(), "cuda:0")
    y[0, 1] = 50
    assert x[1, 0].item() == 50
    del x, lender
    gc.collect()
    assert y[0, 1].item() == 50


@needs_cuda
def test_cuda_array_interface():
    x = fn.arange(6, device="cuda").to(fn.float32).reshape(2, 3)
    described = x[:, 1:].__cuda_array_interface__
    assert described == {
        "shape": (2, 2),
        "strides": (12, 4),
        "typestr": "<f4",
        "data": (x.data_ptr() + 4, False),
        "stream": 1,
        "version": 3,
    }
    y = fn.cuda.from_array(Lender(x[:, 1:], dlpack=False))
    assert y.tolist() == [[1.0, 2.0], [4.0, 5.0]]
    assert y.data_ptr() == x.data_ptr() + 4
    assert not hasattr(fn.ones(2), "__cuda_array_interface__")


@needs_cuda
def test_a_consumer_of_the_interface_keeps_memory_that_the_tensor_gave_up():
    x = fn.ones(1000, device="cuda")
    y = fn.cuda.from_array(x)
    x.data = fn.zeros(1000, device="cuda")
    z = fn.cuda.from_array(x)
    x.data = fn.full((1000,), 2.0, device="cuda")
    fn.empty_cache()
    junk = [fn.full((1000,), 7.0, device="cuda") for _ in range(3)]
    assert (y.tolist(), z.tolist()) == ([1.0] * 1000, [0.0] * 1000), junk


@needs_cuda
def test_another_stream_waits_for_ours():
    x = fn.ones(3, device="cuda") * 2
    side = fn.cuda.Stream()
    y = fn.from_dlpack(x.__dlpack__(stream=side.handle))
    with fn.cuda.stream(side):
        assert (y + 1).tolist() == [3.0] * 3


# ---- errors on the device ---------------------------------------------------------------------------------------------------------


class Liar:
    """Says that more memory is behind an address than there is."""

    def __init__(self, tensor: fn.Tensor, size: int) -> None:
        self.tensor = tensor
        self.__cuda_array_interface__ = {**tensor.__cuda_array_interface__, "shape": (size,), "strides": None}


@on_emulator
def test_an_error_on_the_device_names_the_op():
    x = fn.ones(100, device="cuda")
    y = fn.cuda.from_array(Liar(x, 101))
    with pytest.raises(RuntimeError, match=r"exp: failed on cuda:0: .*400 bytes"):
        fn.exp(y)
    assert (x + 1).sum().item() == 200.0  # the emulated device survives
