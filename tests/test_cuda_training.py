"""Training on a CUDA device goes as on the CPU; lower precision rounds operands of products and nothing else.

Without a GPU the device is the emulator.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable

import fastnn as fn
import fastnn.nn.functional as F
import numpy as np
import pytest
from conftest import EMULATED, EMULATOR, emulator_seed, needs_cuda
from fastnn import nn, optim

# ---- training ------------------------------------------------------------------------------------------------------------------------


class Convolutional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 3, 3, padding=1)
        self.head = nn.Linear(3 * 3 * 3, 4)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv(x)), 2)
        return self.head(F.dropout(x.flatten(1), 0.2, self.training))


def train(device: str, make_optimizer) -> tuple[list[float], list[np.ndarray]]:
    fn.manual_seed(5)
    model = Convolutional()
    model.to(device)
    optimizer = make_optimizer(model.parameters())
    rng = np.random.default_rng(0)
    x = fn.tensor(rng.standard_normal((8, 1, 6, 6)).astype(np.float32), device=device)
    labels = fn.tensor(rng.integers(0, 4, 8), device=device)
    losses = []
    for _ in range(4):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses, [p.detach().cpu().numpy() for p in model.parameters()]


OPTIMIZERS = {
    "SGD": lambda p: optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=1e-3, nesterov=True),
    "Adam": lambda p: optim.Adam(p, lr=0.01),
    "AdamW": lambda p: optim.AdamW(p, lr=0.01, weight_decay=0.1),
}


@needs_cuda
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_training_goes_as_on_the_cpu(name):
    want = train("cpu", OPTIMIZERS[name])
    assert want[0][-1] < want[0][0]
    runs = []
    for seed in (1, 2):
        emulator_seed(seed)
        got = train("cuda", OPTIMIZERS[name])
        np.testing.assert_allclose(got[0], want[0], rtol=1e-4)
        for a, b in zip(got[1], want[1], strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=2e-5)
        runs.append(got)
    assert runs[0][0] == runs[1][0]
    for a, b in zip(runs[0][1], runs[1][1], strict=True):
        assert a.tobytes() == b.tobytes()


@needs_cuda
@pytest.mark.parametrize(("name", "settings"), [("SGD", {"momentum": 0.9}), ("Adam", {})])
def test_what_an_optimiser_keeps_follows_the_model(name, settings):
    ways = []
    for place in ("cpu", "cuda"):
        weight = nn.Parameter(fn.tensor([1.0, -2.0]))
        opt = getattr(optim, name)([weight], lr=0.1, **settings)
        for moved in (False, True):
            if moved:
                weight.data = weight.data.to(place)
                weight.grad = None
            opt.zero_grad()
            (weight * weight).sum().backward()
            opt.step()
        kept = [value for value in opt.state[weight].values() if isinstance(value, fn.Tensor)]
        assert {str(value.device) for value in kept} == {str(weight.device)}
        ways.append(weight.tolist())
    np.testing.assert_allclose(*ways, rtol=1e-6)


@needs_cuda
def test_a_stream_decorates():
    side, usual = fn.cuda.Stream(), fn.cuda.current_stream()

    @fn.cuda.stream(side)
    def queued():
        return fn.cuda.current_stream()

    assert queued() == side
    assert fn.cuda.current_stream() == usual
    event = fn.cuda.Event(enable_timing=True)
    event.record(stream=side)
    event.wait()
    event.synchronize()
    assert event.query()
    with pytest.raises(
        TypeError, match=r"record\(\): argument 'stream' must be a CudaStream, or None, got int"
    ):
        event.record(3)
    with pytest.raises(
        TypeError, match=r"CudaEvent\(\): argument 'device' must be a device, its name or its number, got"
    ):
        fn.cuda.Event(device=[])
    assert np.shape(fn.ones(2, 3, device="cuda")) == (2, 3)
    with pytest.raises(RuntimeError, match=r"not on the CPU; use \.cpu\(\)"):
        np.std(fn.ones(2, device="cuda"))


@needs_cuda
def test_trainer_saves_and_resumes_on_the_device(tmp_path):
    rng = np.random.default_rng(1)
    x = rng.standard_normal((24, 4)).astype(np.float32)
    y = (x[:, 0] > 0).astype(np.int64)
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2)).to("cuda")
    opt = optim.Adam(model.parameters(), lr=0.05)
    trainer = fn.Trainer(model, opt, loss=F.cross_entropy, metrics=["accuracy"])
    history = trainer.fit((x, y), epochs=3, batch_size=8, verbose=0)
    assert history["loss"][-1] < history["loss"][0]
    out = trainer.predict(x)
    assert out.is_cuda
    fn.save({"model": model.state_dict(), "opt": opt.state_dict()}, tmp_path / "c.safetensors")
    state = fn.load(tmp_path / "c.safetensors", device="cuda")
    again = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2)).to("cuda")
    again.load_state_dict(state["model"])
    np.testing.assert_array_equal(
        again(fn.tensor(x, device="cuda")).detach().cpu().numpy(), out.cpu().numpy()
    )
    resumed = optim.Adam(again.parameters(), lr=0.05)
    resumed.load_state_dict(state["opt"])
    assert all(v["exp_avg"].is_cuda for v in resumed.state.values())


# ---- precision ----------------------------------------------------------------------------------------------------------------------


@needs_cuda
@pytest.mark.parametrize(("precision", "bits"), [("tf32", 10), ("bf16", 7), ("fp16", 10)])
def test_precision_rounds_operands_and_nothing_else(precision, bits):
    rng = np.random.default_rng(2)
    a, b = (rng.standard_normal((96, 96)).astype(np.float32) for _ in range(2))
    x = fn.tensor(a, device="cuda")
    w = fn.tensor(b, device="cuda")
    exact = a.astype(np.float64) @ b.astype(np.float64)
    scale = np.abs(a).astype(np.float64) @ np.abs(b).astype(np.float64)
    full = np.max(np.abs((x @ w).cpu().numpy() - exact) / scale)
    with fn.precision(precision):
        loose = np.max(np.abs((x @ w).cpu().numpy() - exact) / scale)
        wide = (x.double() @ w.double()).cpu().numpy()
    assert full < 2.0**-20
    assert 2.0 ** -(bits + 8) < loose < 2.0**-bits
    np.testing.assert_allclose(wide, exact, rtol=1e-11, atol=1e-11)


def test_precision_is_refused_by_name():
    with pytest.raises(
        ValueError, match='precision: expected "fp32", "fp32_fast", "tf32", "bf16" or "fp16", got "fp8"'
    ):
        fn.set_precision("fp8")


# ---- launches --------------------------------------------------------------------------------------------------------------


def launches_of(call: Callable[[], object]) -> int:
    """Kernels that a call puts into the stream when it is made again."""
    library = ctypes.CDLL(str(EMULATOR))
    library.fastnn_emulator_launches.restype = ctypes.c_uint64
    call()
    before = library.fastnn_emulator_launches()
    call()
    return library.fastnn_emulator_launches() - before


def launches_of_a_step(model, shape: tuple[int, ...], make_optimizer) -> int:
    """Those of a step of training."""
    model.to("cuda")
    optimizer = make_optimizer(model.parameters())
    x, labels = fn.rand(*shape).to("cuda"), fn.randint(0, 10, (shape[0],)).to("cuda")

    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(model(x), labels).backward()
        optimizer.step()

    return launches_of(step)


needs_a_count = pytest.mark.skipif(not EMULATED, reason="the emulator counts launches; a GPU does not say")


@needs_cuda
@needs_a_count
def test_norms_are_few_launches():
    """What blocks leave for each other is brought together by the last of them, not by a launch more."""

    def forward_and_backward(call: Callable[..., fn.Tensor], *shapes: tuple[int, ...]) -> tuple[int, int]:
        xs = [fn.rand(*s).to("cuda") for s in shapes]
        for x in xs:
            x.requires_grad = True
        y = call(*xs)
        dy = fn.ones_like(y.detach())
        return launches_of(lambda: call(*xs)), launches_of(lambda: fn.grad(call(*xs), xs, dy))

    def batch_norm(x, w, b, training=True):
        mean, variance = (fn.zeros(w.shape[0]), fn.ones(w.shape[0])) if not training else (None, None)
        given = [None if t is None else t.to("cuda") for t in (mean, variance)]
        return F.batch_norm(x, *given, w, b, training)

    def layer_norm(x, w, b):
        return F.layer_norm(x, w.shape, w, b)

    for shape in [(150, 33), (40, 2, 8, 8), (1, 2, 5000)]:
        forward, both = forward_and_backward(batch_norm, shape, shape[1:2], shape[1:2])
        assert (forward, both) == (2, 4), shape
    running = forward_and_backward(lambda *a: batch_norm(*a, training=False), (150, 33), (33,), (33,))
    assert running == (1, 3)
    assert forward_and_backward(layer_norm, (70, 600), (600,), (600,)) == (1, 2)
    assert forward_and_backward(layer_norm, (203, 516), (516,), (516,)) == (1, 3)


@needs_cuda
@needs_a_count
@pytest.mark.parametrize(("shape", "dim"), [((5001,), None), ((3, 5001), 1), ((5001, 3), 0), ((2100, 40), 0)])
def test_a_sum_in_chunks_is_one_launch(shape, dim):
    x = fn.rand(*shape).to("cuda")
    assert launches_of(lambda: x.sum(dim)) == 1


@needs_cuda
@needs_a_count
@pytest.mark.parametrize("name", ["SGD", "Adam"])
def test_a_step_of_a_small_net_is_few_launches(name):
    """A launch costs some microseconds, a step of such a net hardly more: it is they that count."""
    mlp = nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 10))
    assert launches_of_a_step(mlp, (128, 784), OPTIMIZERS[name]) <= 11
    lenet = nn.Sequential(
        *(nn.Conv2d(1, 6, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(256, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10)),
    )
    assert launches_of_a_step(lenet, (4, 1, 28, 28), OPTIMIZERS[name]) <= 32
