"""What `import fastnn` brings in, opens and starts. Counted, not timed."""

from __future__ import annotations

import copy
import inspect
import json
import pydoc
import subprocess
import sys

import numpy as np
import pytest


def in_process(code: str) -> dict:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


MODULES = """
import json, sys
import numpy
before = set(sys.modules)
import fastnn
print(json.dumps(sorted(set(sys.modules) - before)))
"""


def test_modules_beyond_numpy():
    new = in_process(MODULES)
    found = {name.partition(".")[0] for name in new} | set(new)
    heavy = {
        "torch",
        "safetensors",
        "PIL",
        "tqdm",
        "pooch",
        "matplotlib",
        "pandas",
        "scipy",
        "sklearn",
        "multiprocessing",
        "concurrent",
        "asyncio",
        "urllib.request",
        "http",
        "ssl",
        "socket",
        "subprocess",
        "argparse",
        "unittest",
        "logging",
        "pickle",
    }
    assert found & heavy == set()
    ours = [name for name in new if name.startswith("fastnn")]
    assert len(new) - len(ours) <= 30, [n for n in new if n not in ours]
    assert len(ours) <= 80, ours


AUDIT = """
import json, sys
import numpy
seen = []
watched = ("socket.", "subprocess.", "os.system", "os.exec", "os.posix_spawn", "urllib.", "http.", "shutil.", "os.mkdir", "os.remove")
def hook(event, args):
    if event.startswith(watched):
        seen.append([event, repr(args)])
    if event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+"):
        seen.append([event, repr(args)])
sys.dont_write_bytecode = True
sys.addaudithook(hook)
import fastnn
fastnn.cuda.is_available()
fastnn.info()
print(json.dumps(seen))
"""


def test_import_touches_neither_network_nor_files_nor_processes():
    assert in_process(AUDIT) == []


STATE = """
import json, os
before = len(os.listdir("/proc/self/task"))
import numpy
with_numpy = len(os.listdir("/proc/self/task"))
import fastnn
print(json.dumps([len(os.listdir("/proc/self/task")) - with_numpy, fastnn._C._memory_stats("cpu")["used"]]))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc is Linux's")
def test_import_starts_no_thread_and_holds_no_tensor():
    assert in_process(STATE) == [0, 0]


PUBLIC = """
    OpProfile Tensor Trainer __version__ abs add all any arange argmax argmin autograd bfloat16 bool cat clone cuda
    data device div dtype empty empty_cache empty_like enable_grad eq erf exp eye flatten float16 float32
    float64 from_dlpack from_numpy full gather ge get_default_device get_num_threads get_precision
    get_rng_state grad gt info int32 int64 is_grad_enabled le linspace load load_model log log_softmax
    logical_and logical_not logical_or lt manual_seed matmul max maximum mean min minimum models mul
    narrow ne neg nn no_grad nonzero ones ones_like optim permute pow precision profile rand randint randn
    randperm register_model relu reshape result_type save save_model set_default_device set_grad_enabled
    set_num_threads set_precision set_rng_state sigmoid sign softmax sqrt squeeze stack sub sum tanh
    tensor train transpose uint8 unsqueeze where zeros zeros_like
"""
SUBMODULES = {"cli", "io", "random", "registry"}


def test_public_names():
    import fastnn

    assert sorted(fastnn.__all__) == sorted(set(fastnn.__all__))
    assert set(PUBLIC.split()) <= set(fastnn.__all__)
    # What is new is an op: a function of the extension that says so and says what it does.
    for name in set(fastnn.__all__) - set(PUBLIC.split()):
        assert name in fastnn._C.__all__, name
        assert getattr(fastnn, name).__doc__, name
    seen = {name for name in dir(fastnn) if not name.startswith("_")} | {"__version__"}
    assert seen - SUBMODULES == set(fastnn.__all__)


def test_every_public_name_is_there():
    import fastnn

    for module in (fastnn, fastnn.autograd, fastnn.cuda):
        for name in getattr(module, "__all__", []):
            assert hasattr(module, name), f"{module.__name__}.{name}"


def functions_of_the_extension():
    import fastnn

    kind = type(fastnn._C.add)
    places = [fastnn._C, *(c for c in vars(fastnn._C).values() if isinstance(c, type))]
    return [(place, name, f) for place in places for name, f in vars(place).items() if isinstance(f, kind)]


def test_functions_of_the_extension_have_signatures():
    found = functions_of_the_extension()
    assert len(found) > 150
    for place, name, f in found:
        signature = inspect.signature(f)
        assert f.__text_signature__.startswith("("), name
        assert signature.return_annotation is not signature.empty, name
        for p in signature.parameters.values():
            assert p.annotation is not p.empty, (place, name, p)
            assert not p.name.startswith("arg"), (place, name, p)


def test_one_function_is_op_and_method():
    import fastnn as fn

    assert fn.Tensor.sum is fn.sum
    assert str(inspect.signature(fn.sum).replace(return_annotation=inspect.Signature.empty)) == (
        "(x: 'Tensor', dim: 'int | Sequence[int] | None' = None, keepdim: 'bool' = False)"
    )
    assert list(inspect.signature(fn.ones(2).sum).parameters) == ["dim", "keepdim"]
    assert fn.sum.__text_signature__ == "(x, dim=None, keepdim=False)"
    assert (fn.sum.__name__, fn.sum.__qualname__, fn.sum.__module__) == ("sum", "sum", "fastnn._C")
    assert fn.Tensor.add_.__qualname__ == "Tensor.add_"
    assert fn.sum.__doc__.startswith("Sum over all dimensions")
    assert "sum(x: " in pydoc.plain(pydoc.render_doc(fn.sum))
    assert copy.deepcopy({"f": fn.relu})["f"] is fn.relu


CALLS = [
    (lambda fn, x: fn.add(x), r"add\(\): argument 'b' is missing\n  add\(a: Tensor, b: Tensor\) -> Tensor"),
    (lambda fn, x: fn.add(x, x, x), r"add\(\): takes 2 positional arguments, got 3"),
    (lambda fn, x: fn.add(x, "a"), r"add\(\): argument 'b' must be a Tensor, a number or .*, got str"),
    (lambda fn, x: fn.add(x, b=x, c=x), r"add\(\): there is no argument 'c'"),
    (lambda fn, x: fn.add(x, a=x), r"add\(\): argument 'a' is given twice"),
    (lambda fn, x: x.sum("a"), r"sum\(\): argument 'dim' must be an int or a sequence of ints, or None, got str"),
    (lambda fn, x: x.sum(0, []), r"sum\(\): argument 'keepdim' must be True or False, got list"),
    (lambda fn, x: x.softmax(1.5), r"softmax\(\): argument 'dim' must be an int, got float"),
    (lambda fn, x: x.uniform_("a"), r"uniform_\(\): argument 'low' must be a number, got str"),
    (lambda fn, x: fn.cat(3), r"cat\(\): argument 'tensors' must be a sequence of Tensors, got int"),
    (lambda fn, x: fn.cat([x, None]), r"cat\(\): argument 'tensors' must be a sequence of Tensors, got None"),
    (lambda fn, x: x.reshape(1, "a"), r"reshape\(\): argument 'shape' must be ints or one sequence .*, got str"),
    (lambda fn, x: x.reshape(shape=(1,)), r"reshape\(\): there is no argument 'shape'"),
    (lambda fn, x: fn.device(3), r"device\(\): argument 'name' must be a str, got int\n  device\(self: device, name: str\)"),
    (lambda fn, x: fn._C._cast(x, 3), r"cast\(\): argument 'dtype' must be a dtype, got int"),
    (lambda fn, x: fn.Tensor.sum(), r"sum\(\): argument 'x' is missing"),
    (lambda fn, x: fn.grad(x, 3), r"grad: inputs: expected tensors, got int"),
    (lambda fn, x: fn._C.Node(), "No constructor"),
    (lambda fn, x: x.__dlpack__(1), r"__dlpack__\(\): takes 1 positional argument, got 2\n .*\(self: Tensor, \*, stream"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "message"), CALLS)
def test_a_wrong_call_says_what_would_be_right(call, message):
    import fastnn as fn

    with pytest.raises(TypeError, match=message):
        call(fn, fn.ones(2))


def test_arguments_by_position_and_name():
    import fastnn as fn

    x = fn.tensor([[1.0, 2.0], [3.0, 4.0]])
    for y in (
        x.sum(1, True),
        x.sum(dim=1, keepdim=True),
        fn.sum(x, keepdim=True, dim=(1,)),
        x.sum(1, keepdim=1),
    ):
        assert y.tolist() == [[3.0], [7.0]]
    assert fn.sum(keepdim=False, x=x).item() == x.sum(dim=None).item() == 10
    assert x.reshape(4).shape == x.reshape((4,)).shape == x.reshape([4]).shape == x.reshape(-1).shape == (4,)
    assert x.sum(dim=np.int64(1)).shape == (2,)
    assert x.sum(True).shape == (2,)
    values, positions = x.max(dim=0)
    assert values.tolist() == [3.0, 4.0]
    assert positions.tolist() == [1, 1]


def test_calls_keep_no_references():
    import fastnn as fn

    x, name, dims = fn.ones(2, 2), "".join(["no", "ne"]), (1,)
    counted = (x, name, dims, fn.sum, fn.float32, fn.device)
    before = [sys.getrefcount(o) for o in counted]
    for _ in range(100):
        x.sum(dims, keepdim=True)
        fn._C.linear(x, x, None, name)
        fn._C._cast(x, fn.float64)
        fn._C._to_device(x, fn.device("cpu"))
        fn.cat([x, x])
        x.max(1)
        for wrong in ((x, "a"), (x,), (x, x, "a"), (x, x, None, name, x)):
            with pytest.raises(TypeError):
                fn._C.linear(*wrong)
    del wrong
    assert [sys.getrefcount(o) for o in counted] == before
