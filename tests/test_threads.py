"""Backward passes on several threads, in one another's hooks, and in the children of forks."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import fastnn as fn
import numpy as np
import pytest
from fastnn import nn

posix = pytest.mark.skipif(os.name != "posix", reason="fork is POSIX")


def in_thread(f) -> None:
    """Runs f on another thread and waits for it; its error is this thread's."""
    errors = []

    def run():
        try:
            f()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(60)
    assert not thread.is_alive(), "it hangs"
    if errors:
        raise errors[0]


def test_a_hook_may_wait_for_another_threads_backward():
    w = fn.ones(3, requires_grad=True)
    shared = w * 2

    def other():
        fn.ones(3, requires_grad=True).sum().backward()  # a graph of its own
        shared.sum().backward(retain_graph=True)  # one that the pass of the hook has in hand

    x = fn.ones(3, requires_grad=True)
    x.register_hook(lambda g: in_thread(other))
    y = x * 1
    y.register_hook(lambda g: in_thread(other))

    class F(fn.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * 1

        @staticmethod
        def backward(ctx, dy):
            in_thread(other)
            (x,) = ctx.saved_tensors
            return dy * x

    (F.apply(y) * shared).sum().backward(retain_graph=True)
    assert w.grad.tolist() == [2 * 3 + 2] * 3
    assert x.grad.tolist() == [2.0] * 3


def test_two_passes_in_one_functions_backward():
    inside, go = threading.Event(), threading.Event()

    class F(fn.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        def backward(ctx, dy):
            if not inside.is_set():
                inside.set()
                go.wait(60)  # the other pass comes and goes
            (x,) = ctx.saved_tensors
            return dy * 2 * x

    x = fn.tensor([3.0], requires_grad=True)
    y = F.apply(x)
    first = threading.Thread(target=lambda: y.backward(retain_graph=True))
    first.start()
    assert inside.wait(60)
    in_thread(lambda: y.backward())  # frees the graph, but not what the first still reads
    go.set()
    first.join(60)
    assert x.grad.tolist() == [12.0]
    with pytest.raises(RuntimeError, match="freed already"):
        y.backward()


def test_a_pass_inside_a_functions_backward_may_end_the_graph():
    depth = []

    class F(fn.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        def backward(ctx, dy):
            if not depth:
                depth.append(1)
                y.backward()
            (x,) = ctx.saved_tensors
            return dy * 2 * x

    x = fn.tensor([3.0], requires_grad=True)
    y = F.apply(x)
    y.backward(retain_graph=True)
    assert x.grad.tolist() == [12.0]


def test_threads_add_to_one_gradient():
    fn.set_num_threads(2)
    w = fn.ones(100_000, requires_grad=True)
    kept = w * 2
    kept.retain_grad()
    shared = (kept * 3).sum()
    passes, threads = 30, 4

    def work():
        for _ in range(passes):
            shared.backward(retain_graph=True)
            (w * 5).sum().backward()

    running = [threading.Thread(target=work) for _ in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    n = passes * threads
    assert (w.grad == n * 11).all().item()
    assert (kept.grad == n * 3).all().item()


def test_threads_train_models_of_their_own():
    def train(seed, out):
        x = fn.tensor(np.random.default_rng(seed).standard_normal((64, 30)).astype(np.float32))
        model = nn.Sequential(nn.Linear(30, 200), nn.Tanh(), nn.Linear(200, 1))
        for i, p in enumerate(model.parameters()):
            p.data = fn.tensor(
                np.random.default_rng(i).standard_normal(tuple(p.shape)).astype(np.float32) * 0.1
            )
        optimizer = fn.optim.SGD(model.parameters(), lr=0.01)
        for _ in range(30):
            optimizer.zero_grad()
            (model(x) ** 2).mean().backward()
            optimizer.step()
        out[seed] = [p.detach().numpy().tobytes() for p in model.parameters()]

    alone, together = {}, {}
    for seed in range(4):
        train(seed, alone)
    running = [threading.Thread(target=train, args=(seed, together)) for seed in range(4)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    assert alone == together


FORK_IN_BACKWARD = """
import os, sys, threading, time, warnings
warnings.simplefilter("ignore")
import fastnn as fn
w, a = fn.randn(300, 300, requires_grad=True), fn.ones(3, requires_grad=True)
def train():
    while True:
        ((w @ w @ w).sum() + fn.rand(1000).sum() * a.sum()).backward()
for _ in range(3):
    threading.Thread(target=train, daemon=True).start()
time.sleep(0.2)
for _ in range(40):
    pid = os.fork()
    if pid == 0:
        (fn.rand(3) * a + a).sum().backward()
        (w * 1).sum().backward()
        os._exit(0)
    deadline = time.time() + 20
    while not os.waitpid(pid, os.WNOHANG)[0]:
        if time.time() > deadline:
            os.kill(pid, 9)
            print("a child hangs")
            sys.stdout.flush()
            os._exit(1)
        time.sleep(0.001)
os._exit(0)
"""


@posix
def test_a_child_forked_during_backward_passes():
    done = subprocess.run(
        [sys.executable, "-c", FORK_IN_BACKWARD], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr[-500:]
