"""The process around the library: forks, Ctrl-C, many Python threads."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import fastnn as fn
import fastnn.nn.functional as F
import numpy as np
import pytest
from fastnn import nn

posix = pytest.mark.skipif(os.name != "posix", reason="fork and SIGINT are POSIX")

FORK = """
import os, sys, warnings
warnings.simplefilter("ignore")  # Python 3.12 and later warn of any fork beside threads
import fastnn as fn
fn.set_num_threads(2)
a = fn.ones(700, 700)
want = (a @ a).sum().item()
x = fn.ones(3, requires_grad=True)
for _ in range(5):
    pid = os.fork()
    if pid == 0:
        try:
            same = (a @ a).sum().item() == want        # the parent's threads do not exist here
            (x * 2).sum().backward()
            grandchild = os.fork()
            if grandchild == 0:
                os._exit(0 if (a @ a).sum().item() == want else 1)
            nested = os.waitstatus_to_exitcode(os.waitpid(grandchild, 0)[1])
            os._exit(0 if same and nested == 0 and x.grad.tolist() == [2, 2, 2] else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert (a @ a).sum().item() == want
import multiprocessing
with multiprocessing.get_context("fork").Pool(2) as pool:
    assert pool.map(lambda_like := abs, [-1, -2]) == [1, 2]
print("fine")
"""


@posix
def test_fork_after_threads_have_started():
    done = subprocess.run(
        [sys.executable, "-c", FORK], capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stdout) == (0, "fine\n"), done.stderr


FORK_BUSY = """
import os, threading, warnings
warnings.simplefilter("ignore")
import fastnn as fn
fn.set_num_threads(2)
a = fn.ones(300, 300)
stop = False
def work():
    while not stop:
        (a @ a).sum()
threads = [threading.Thread(target=work) for _ in range(3)]
for t in threads: t.start()
for _ in range(30):
    pid = os.fork()
    if pid == 0:
        os._exit(0 if (a @ a)[0, 0].item() == 300 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
stop = True
for t in threads: t.join()
print("fine")
"""


@posix
def test_fork_while_other_threads_compute():
    """The child must find every lock of the library free, whoever held it in the parent."""
    done = subprocess.run(
        [sys.executable, "-c", FORK_BUSY], capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stdout) == (0, "fine\n"), done.stderr


# The slowest instruction set makes the product long without taking much memory: some 20 seconds if nobody stops it.
INTERRUPTED = """
import sys, time
import fastnn as fn
fn.set_num_threads({threads})
{setup}
print("ready", flush=True)
try:
    {work}
except KeyboardInterrupt:
    print("interrupted", flush=True)
else:
    print("not interrupted", flush=True)
b = fn.ones(300, 300)
assert (b @ b)[0, 0].item() == 300
x = fn.ones(3, requires_grad=True)
(x * x).sum().backward()
assert x.grad.tolist() == [2, 2, 2]
print("usable", flush=True)
"""
LONG = {
    "matmul": ("a = fn.ones(6144, 6144)", "a @ a"),
    "conv2d": ("a, w = fn.ones(64, 128, 64, 64), fn.ones(256, 128, 5, 5)", "fn._C.conv2d(a, w)"),
    "backward": ("a = fn.ones(1, 6144, requires_grad=True); w = fn.ones(6144, 6144, requires_grad=True)",
                 "(w @ w).backward(fn.ones(6144, 6144))"),
    "long rows": ("a, b = fn.ones(64, 4_000_000), fn.ones(4_000_000, 64)", "for _ in range(40): a @ b"),
    "random": ("", "fn.randn(250_000_000, dtype=fn.float64)"),
    "random integers": ("", "fn.randint(0, 10, 250_000_000); fn.randint(0, 10, 250_000_000)"),
    "dropout": ("a = fn.ones(200_000_000)", "for _ in range(8): fn.nn.functional.dropout(a, 0.5)"),
    "softmax": ("a = fn.ones(20_000, 8000)", "for _ in range(8): fn.softmax(a, 1)"),
    "softmax of columns": ("a = fn.ones(8000, 20_000)", "for _ in range(8): fn.log_softmax(a, 0)"),
    "power": ("a = fn.ones(100_000_000, dtype=fn.float64)", "fn.pow(a, 1.7); fn.pow(a, 1.7)"),
    "pooling": ("a = fn.ones(64, 32, 128, 128)", "fn.nn.functional.avg_pool2d(a, 41, 1, 20)"),
    "layer_norm": ("a = fn.ones(20_000, 8000)", "for _ in range(8): fn.nn.functional.layer_norm(a, (8000,))"),
    "reduction": ("a = fn.ones(20_000, 8000)", "for _ in range(20): a.sum(0); a.max(1)"),
    "permutation": ("", "for _ in range(9): fn.randperm(5_000_000)"),
    "lists": ("a = fn.ones(2, 5_000_000)", "for _ in range(30): a.tolist()"),
    "copy": ("a = fn.ones(15_000, 15_000).T", "for _ in range(30): a.contiguous()"),
}  # fmt: skip


@posix
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", LONG)
def test_ctrl_c_ends_a_long_kernel(name, threads):
    setup, work = LONG[name]
    code = INTERRUPTED.format(threads=threads, setup=setup, work=work)
    with subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "FASTNN_ISA": "baseline"}, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True) as child:  # fmt: skip
        try:
            assert child.stdout.readline() == "ready\n"
            time.sleep(0.5)
            child.send_signal(signal.SIGINT)
            begin = time.monotonic()
            line = child.stdout.readline()
            waited = time.monotonic() - begin
            # not communicate(): it would miss what readline() has taken into its buffer
            rest, errors = child.stdout.read(), child.stderr.read()
        finally:
            child.kill()
    assert line == "interrupted\n", errors
    assert rest == "usable\n", errors
    assert waited < 2  # 0.2 s on an idle machine; the rest is for one that is not


@posix
def test_a_handler_that_swallows_the_signal_lets_the_product_finish():
    code = """
import os, signal, threading
import fastnn as fn
seen = []
signal.signal(signal.SIGINT, lambda *a: seen.append(1))
a = fn.ones(2500, 2500)
threading.Timer(0.15, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
y = a @ a
z = (y == 2500).all().item()
import time
time.sleep(0.3)
print(z, seen)
"""
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, "FASTNN_ISA": "baseline", "FASTNN_NUM_THREADS": "1"},
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert done.stdout == "True [1]\n", done.stderr


def test_the_environment_gives_no_more_threads_than_may_be_set():
    code = "import fastnn as fn; n = fn.get_num_threads(); fn.set_num_threads(n); print(n, (fn.ones(300, 300) @ fn.ones(300, 300))[7, 9].item())"
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, "FASTNN_NUM_THREADS": "123457"},
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert done.stdout == "1024 300.0\n", done.stderr


def in_threads(count, work):
    """work(i) in `count` threads; raises what one of them raised."""
    errors = []

    def guarded(i):
        try:
            work(i)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(i,)) for i in range(count)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    if errors:
        raise errors[0]


def test_sixteen_threads_on_one_model():
    fn.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(8 * 13 * 13, 32),
        nn.ReLU(),
        nn.Linear(32, 10),
    )
    rng = np.random.default_rng(0)
    batches = [fn.tensor(rng.standard_normal((8, 1, 28, 28)).astype(np.float32)) for _ in range(16)]
    with fn.no_grad():
        want = [model(x).numpy() for x in batches]
    labels = fn.tensor(rng.integers(0, 10, 8))
    parameters = list(model.parameters())
    gradients = [[g.numpy() for g in fn.grad(F.cross_entropy(model(x), labels), parameters)] for x in batches]

    def work(i):
        for _ in range(20):
            with fn.no_grad():
                np.testing.assert_array_equal(model(batches[i]).numpy(), want[i])
            for got, expected in zip(
                fn.grad(F.cross_entropy(model(batches[i]), labels), parameters), gradients[i], strict=True
            ):
                np.testing.assert_array_equal(got.numpy(), expected)

    in_threads(16, work)


def test_threads_that_change_the_number_of_threads():
    a = fn.ones(300, 300)

    def work(i):
        for j in range(50):
            fn.set_num_threads(1 + (i + j) % 5)
            assert (a @ a)[5, 5].item() == 300

    in_threads(8, work)


def test_tensors_made_in_one_thread_and_freed_in_another():
    box = [None] * 64

    def work(i):
        for j in range(300):
            x = fn.ones(64 * (j % 7 + 1), requires_grad=True)
            box[(i * 7 + j) % 64] = (x * i).exp()  # frees what another thread put there

    used = fn._C._memory_stats("cpu")["used"]
    in_threads(8, work)
    box.clear()
    assert fn._C._memory_stats("cpu")["used"] == used


# ---- the end of the process, other interpreters -----------------------------------------------------------------------------

AT_EXIT = """
import threading, time
import fastnn as fn
a = fn.randn(400, 400, requires_grad=True)
def busy(*_):
    for _ in range(100_000): pass
class Slow(fn.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        busy()
        return x * 1
    @staticmethod
    def backward(ctx, dy):
        busy()
        return dy
def hooked():
    y = a * 1
    y.register_hook(busy)
    y.sum().backward()
def work():
    while True:
        {work}
for _ in range(3): threading.Thread(target=work, daemon=True).start()
time.sleep(0.3)
"""
AT_WORK = {
    "kernel": "a.detach() @ a.detach()",
    "backward": "(a @ a).sum().backward()",
    "function": "Slow.apply(a).sum().backward()",
    "hook": "hooked()",
}


@pytest.mark.parametrize("name", AT_WORK)
def test_the_process_may_end_while_threads_compute(name):
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", AT_EXIT.format(work=AT_WORK[name])], capture_output=True,
                              text=True, timeout=60)  # fmt: skip
        assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="the module of the test has another name there")
@pytest.mark.parametrize("first", ["import fastnn", ""])
def test_a_subinterpreter_cannot_import_the_library(first):
    code = f"""
{first}
import _xxsubinterpreters as interpreters
other = interpreters.create()
for _ in range(2):
    try:
        interpreters.run_string(other, "import fastnn._C")
    except interpreters.RunFailedError as error:
        assert "ImportError" in str(error) and "subinterpreter" in str(error), error
    else:
        print("imported")
import fastnn
assert fastnn.ones(3).sum().item() == 3
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
