"""Memory that cannot be had: an error, nothing changed, nothing leaked. Memory that can: asked for once, then reused."""

from __future__ import annotations

import gc
import subprocess
import sys

import fastnn as fn
import fastnn.nn.functional as F
import numpy as np
import pytest
from conftest import built
from fastnn import nn, optim

RNG = np.random.default_rng(8)
IMAGES = fn.tensor(RNG.standard_normal((6, 1, 12, 12)).astype(np.float32))
LABELS = fn.tensor(RNG.integers(0, 5, 6))


def net() -> nn.Module:
    fn.manual_seed(3)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(100, 20), nn.Tanh(), nn.Dropout(0.2),
                         nn.Linear(20, 5))  # fmt: skip


def train_step(model, optimizer) -> None:
    optimizer.zero_grad()
    F.cross_entropy(model(IMAGES), LABELS).backward()
    optimizer.step()


def weights(model) -> list[bytes]:
    return [p.detach().numpy().tobytes() for p in model.parameters()]


OPTIMIZERS = {
    "SGD": lambda model: optim.SGD(model.parameters(), lr=0.1, momentum=0.9),
    "Adam": lambda model: optim.Adam(model.parameters(), lr=0.1),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_any_allocation_of_a_training_step_may_fail(name):
    reference = net()
    train_step(reference, OPTIMIZERS[name](reference))
    failures = 0
    for n in range(1, 1000):
        model = net()
        optimizer = OPTIMIZERS[name](model)
        before = weights(model)
        gc.collect()
        used = fn._C._memory_stats("cpu")["used"]
        fn._C._fail_allocation_after(n)
        try:
            train_step(model, optimizer)
        except MemoryError as error:
            message = str(error)
        else:
            break
        finally:
            fn._C._fail_allocation_after(0)
        failures += 1
        assert "out of memory" in message
        assert weights(model) == before
        optimizer.zero_grad()
        optimizer = OPTIMIZERS[name](model)
        gc.collect()
        assert fn._C._memory_stats("cpu")["used"] == used, f"allocation {n} left memory behind"
        fn.manual_seed(3)
        net()  # the random state that the reference had
        train_step(model, optimizer)
        assert weights(model) == weights(reference), f"after allocation {n} had failed"
    assert failures > 30


@pytest.mark.parametrize(
    "f",
    [lambda x, v: x.add_(v), lambda x, v: x.__setitem__(slice(1, None), v[1:]), lambda x, v: x.__setitem__([0, 2], v[:2]),
     lambda x, v: x.copy_(v.to(fn.float64)), lambda x, v: x.mul_(v.T.contiguous().T)],
    ids=["add_", "setitem", "index_put", "copy_", "mul_"],
)  # fmt: skip
def test_writes_in_place_happen_whole_or_not_at_all(f):
    for recorded in (False, True):
        for n in range(1, 50):
            leaf = fn.tensor(RNG.standard_normal((3, 4)).astype(np.float32), requires_grad=recorded)
            x, v = leaf * 1, fn.tensor(RNG.standard_normal((3, 4)).astype(np.float32), requires_grad=recorded)
            before = x.tolist()
            fn._C._fail_allocation_after(n)
            try:
                f(x, v)
            except MemoryError:
                fn._C._fail_allocation_after(0)
                assert x.tolist() == before
                x.sum().backward() if recorded else x.sum()
                assert not recorded or leaf.grad.tolist() == [[1.0] * 4] * 3
            else:
                fn._C._fail_allocation_after(0)
                break
        else:
            pytest.fail("it never succeeded")


LIMITED = """
import resource, sys
import fastnn as fn
fn.set_num_threads(2)
w = fn.ones(64, 64)
(w @ w).sum()
pages = int(open("/proc/self/statm").read().split()[0])
limit = pages * resource.getpagesize() + (300 << 20)
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
def refused(f):
    try:
        f()
    except MemoryError as error:
        assert "out of memory" in str(error), error
        return True
    return False
for f in (lambda: fn.zeros(1 << 30), lambda: fn.ones(1 << 15, 1) * fn.ones(1, 1 << 15), lambda: fn.ones(1, 1).expand(1 << 15, 1 << 14).contiguous(),
          lambda: fn.tensor([1.0]).expand(1 << 29).exp()):
    assert refused(f)
    assert (w @ w)[0, 0].item() == 64
big = fn.zeros(40 << 20)          # 160 MiB
del big
other = fn.zeros(50 << 20)        # 200 MiB: only once the cached block has been given back
del other
kept = []
assert refused(lambda: [kept.append(fn.ones(1 << 20)) for _ in range(1000)])
assert all(k[-1].item() == 1 for k in kept)
kept.clear()
fn.set_num_threads(64)            # stacks that do not fit: fewer threads do the work
x = fn.ones(2000, 2000)
assert (x + x)[-1, -1].item() == 2
assert (w @ w)[0, 0].item() == 64
print("fine")
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc is Linux's")
def test_address_space_limit():
    done = subprocess.run([sys.executable, "-c", LIMITED], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "fine\n"), done.stderr[-3000:]


def test_a_training_loop_asks_the_system_for_nothing_after_warm_up():
    model = net()
    optimizer = OPTIMIZERS["Adam"](model)
    for _ in range(5):
        train_step(model, optimizer)
    gc.collect()
    before = fn._C._memory_stats("cpu")
    for _ in range(20):
        train_step(model, optimizer)
    after = fn._C._memory_stats("cpu")
    assert after["system_calls"] == before["system_calls"]
    assert after["used"] == before["used"]


def test_statistics():
    fn.empty_cache()
    before = fn._C._memory_stats("cpu")
    assert before["cached"] == 0
    x = fn.zeros(1 << 20)
    held = fn._C._memory_stats("cpu")
    assert 4 << 20 <= held["used"] - before["used"] <= 5 << 20
    assert held["system_calls"] > before["system_calls"]
    del x
    kept = fn._C._memory_stats("cpu")
    assert kept["used"] == before["used"]
    assert kept["cached"] == held["used"] - before["used"]
    x = fn.zeros(1 << 20)
    assert fn._C._memory_stats("cpu")["system_calls"] == kept["system_calls"]
    del x
    fn.empty_cache()
    assert fn._C._memory_stats("cpu")["cached"] == 0


TRAINING_LOOP = built("training_loop")


@pytest.mark.skipif(
    TRAINING_LOOP is None, reason="the build folder with the program training_loop is not here"
)
@pytest.mark.parametrize("threads", [1, 2])
def test_no_heap_allocation_below_the_binding_after_warm_up(threads):
    """A LeNet trained from C++, without Python: every malloc and operator new of the process is counted."""
    done = subprocess.run([TRAINING_LOOP, str(threads)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    counts = dict(line.split() for line in done.stdout.splitlines())
    assert int(counts["warm_up"]) > 50  # the counter counts
    assert int(counts["after"]) == 0, done.stdout + done.stderr


CONSUMERS = {
    "np.from_dlpack": np.from_dlpack,
    "from_dlpack": lambda t: fn.from_dlpack(t).numpy(),
    "numpy": lambda t: t.numpy(),
    "asarray": np.asarray,
}


@pytest.mark.parametrize("name", CONSUMERS)
def test_a_consumer_keeps_the_memory_that_a_tensor_gave_up(name):
    layer = nn.Linear(1000, 1000)
    layer.weight.requires_grad = False
    shown = CONSUMERS[name](layer.weight)
    want = shown.copy()
    layer.to(fn.float64)
    fn.empty_cache()
    junk = [fn.full((1000, 1000), 7.0) for _ in range(3)]
    assert (shown == want).all()
    x = fn.ones(1000, 1000)
    shown = CONSUMERS[name](x)
    x.data = fn.zeros(1000, 1000)
    junk += [fn.full((1000, 1000), 7.0) for _ in range(2)]
    assert (shown == 1).all()


CHAINS = {
    "grad": "b = fn.zeros(1); b.grad = a; a = b",
    "dlpack": "a = fn.from_dlpack(a)",
    "numpy": "a = fn.from_numpy(a.numpy())",
    "hooks": "b = fn.ones(1, requires_grad=True); b.register_hook(a.mul); a = b",
    "tape": "w = fn.ones(1, requires_grad=True); a = a * w",
    "tape and grad": "w = fn.ones(1, requires_grad=True); w.grad = a; a = fn.zeros(1); a.grad = w * 1",
}


@pytest.mark.parametrize("name", CHAINS)
def test_a_chain_of_owners_of_any_length_can_be_freed(name):
    code = f"""
import fastnn as fn
a = fn.zeros(1)
for _ in range(200_000):
    {CHAINS[name]}
a = b = w = None
print("freed")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "freed\n"), done.stderr[-500:]
