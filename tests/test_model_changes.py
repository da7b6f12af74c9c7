"""What was changed after construction is not lost without a word: save_model refuses it."""

import enum
import functools
import re
from types import SimpleNamespace

import fastnn as fn
import fastnn.nn.functional as F
import numpy as np
import pytest
from fastnn import nn
from fastnn.data import Transform


class Mode(enum.Enum):
    A = 1
    B = 2


class Slotted:
    __slots__ = ("value",)

    def __init__(self, value):
        self.value = value


def adder(n, by=0):
    return lambda x, by=by: x + n


# Made anew by each call, as a constructor makes them.
VALUES = {
    "enum": (lambda: Mode.A, lambda: Mode.B),
    "partial": (lambda: functools.partial(F.softmax, dim=1), lambda: functools.partial(F.softmax, dim=0)),
    "dtype": (lambda: fn.float32, lambda: fn.float64),
    "NumPy's dtype": (lambda: np.dtype("f4"), lambda: np.dtype("f8")),
    "slice": (lambda: slice(0, 2), lambda: slice(0, 3)),
    "range": (lambda: range(2), lambda: range(3)),
    "class": (lambda: nn.ReLU, lambda: nn.GELU),
    "namespace": (lambda: SimpleNamespace(t=fn.ones(2)), lambda: SimpleNamespace(t=fn.zeros(2))),
    "slots": (lambda: Slotted([1]), lambda: Slotted([2])),
    "cell": (lambda: adder(1), lambda: adder(2)),
    "default": (lambda: adder(1, 1), lambda: adder(1, 2)),
    "array": (lambda: np.array([1.0, np.nan]), lambda: np.array([2.0, np.nan])),
}


@fn.register_model("tests.Holder")
class Holder(nn.Module):
    """Holds a value of any kind, in public and in private, and refers to itself."""

    def __init__(self, kind="enum"):
        super().__init__()
        self.inner = nn.Linear(2, 2)
        self.register_buffer("mask", fn.ones(2), persistent=False)
        self.value, self._value = VALUES[kind][0](), [VALUES[kind][0]()]
        self.itself, self.weights = (lambda: self, self.forward), [self.inner.weight]
        self.cycle = [self.weights]
        self.cycle.append(self.cycle)

    def forward(self, x):
        return self.inner(x) * self.mask


@fn.register_model("tests.Offset")
class Offset(Transform):
    def __init__(self):
        self._by = 1

    def __call__(self, x):
        return x + self._by


@pytest.fixture
def path(tmp_path):
    return tmp_path / "m.safetensors"


def refused(model, path, name, **given):
    with pytest.raises(ValueError, match=rf"save_model: .*'{re.escape(name)}' is .*, would be "):
        fn.save_model(model, path, **given)
    assert not path.exists()


@pytest.mark.parametrize("kind", VALUES)
def test_values_of_every_kind(path, kind):
    model = nn.Sequential(Holder(kind))
    fn.save_model(model, path)
    path.unlink()
    model[0].value = VALUES[kind][1]()
    refused(model, path, "0.value")
    model[0].value = VALUES[kind][0]()
    model[0]._value = [VALUES[kind][1]()]
    refused(model, path, "0._value")


def test_preprocessing_in_private(path):
    transform = Offset()
    fn.save_model(nn.Linear(1, 1), path, preprocessing=transform)
    path.unlink()
    transform._by = 2
    refused(nn.Linear(1, 1), path, "_by", preprocessing=transform)


def test_buffers_that_no_file_holds(path):
    model = Holder()
    model.mask = fn.zeros(2)
    refused(model, path, "mask")
    for dtype in (fn.float64, fn.bfloat16):
        fn.save_model(Holder().to(dtype), path)
        assert fn.load_model(path).mask.dtype is dtype, "the whole model was converted"


def test_hooks(path):
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    for register in (model[0].register_forward_hook, model[0].register_forward_pre_hook):
        with register(lambda *_: None):
            refused(model, path, "0.forward hooks")
    fn.save_model(model, path)


def test_memory_of_another(path):
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[1].weight.data = model[0].weight.data
    with pytest.raises(ValueError, match=r"is in the memory of '[01]\.weight', would be in its own"):
        fn.save_model(model, path)
    both = fn.ones(4, 2)
    model[0].weight.data, model[1].weight.data = both[:2], both[2:]
    fn.save_model(model, path)


def test_a_module_used_twice(path):
    layer = nn.Linear(2, 2)
    inner = nn.Sequential(layer, nn.ReLU())
    model = nn.Sequential(inner, nn.Sequential(layer, inner))
    fn.save_model(model, path)
    loaded = fn.load_model(path)
    assert loaded[1][0] is loaded[0][0]
    assert loaded[1][1] is loaded[0]
    assert len(list(loaded.parameters())) == 2
    x = fn.ones(1, 2)
    assert loaded(x).tolist() == model(x).tolist()
    fn.save_model(loaded, path)


@fn.register_model
class Unregistered(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.head = nn.Linear(4, 2)
        made = {
            "list": lambda: [nn.Linear(4, 4)],
            "dict": lambda: {"a": [nn.Linear(4, 4)]},
            "parameters": lambda: (nn.Parameter(fn.randn(2)),),
            "tensor": lambda: fn.randn(2),
            "array": lambda: np.random.default_rng().random(2),
            "number": lambda: fn.rand(1).item(),
        }
        self.hidden = made[kind]()

    def forward(self, x):
        return self.head(x)


@pytest.mark.parametrize("kind", ["list", "dict", "parameters", "tensor", "array"])
def test_what_each_construction_draws_and_no_state_dict_holds_is_refused(kind, tmp_path):
    path = tmp_path / "x.safetensors"
    with pytest.raises(ValueError, match=r"'hidden' of this Unregistered is made anew.*nn\.ModuleList"):
        fn.save_model(Unregistered(kind), path)
    assert not path.exists()
    fn.save_model(Unregistered("number"), path)
    assert path.exists()
