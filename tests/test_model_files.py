"""Model files describe themselves, and loading one runs no code."""

import json
import re

import fastnn as fn
import numpy as np
import pytest
from fastnn import nn
from fastnn.data import Compose, Log1p, Reshape, Resize, Standardize, ToFloat, ToImages
from fastnn.io.format import read, write
from fastnn.models import MLP, LeNet
from fastnn.registry import build, describe


@fn.register_model("tests.Scaled")
class Scaled(nn.Module):
    """A model with every kind of argument that a file can hold."""

    def __init__(self, inner, scale=1.0, *extra, names=(), options=None, dtype=fn.float32, device="cpu"):
        super().__init__()
        self.inner = inner
        self.start = fn.rand(1).item()  # draws a number by itself
        self.seen = (scale, extra, names, options, dtype, device)

    def forward(self, x):
        return self.inner(x) * self.seen[0]


@fn.register_model("tests.Tied")
class Tied(nn.Module):
    temperature = 1.0

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(3, 3), nn.Linear(3, 3)
        self.b.weight = self.a.weight
        self.act = lambda x: x.tanh()

    def forward(self, x):
        return self.act(self.b(self.a(x))) * self.temperature


@pytest.fixture
def path(tmp_path):
    return tmp_path / "m.safetensors"


def change(path, edit):
    """Rewrites a model file with another description, checksum and all."""
    arrays, metadata = read(path)
    description = json.loads(metadata["fastnn.model"])
    description = edit(description) or description
    text = description if isinstance(description, str) else json.dumps(description)
    write(path, arrays, {"fastnn.model": text})


class TestRoundTrip:
    @pytest.mark.parametrize(
        "make",
        [
            lambda: nn.Linear(3, 2),
            lambda: nn.Linear(3, 2, bias=False),
            lambda: nn.Linear(3, 2, dtype=fn.float64),
            lambda: nn.Sequential(),
            lambda: nn.Sequential(
                nn.Linear(3, 4), nn.ReLU(), nn.Sequential(nn.Dropout(0.25), nn.Linear(4, 2))
            ),
            lambda: nn.Sequential({"hidden": nn.Linear(3, 4), "out": nn.Linear(4, 2)}),
            lambda: nn.ModuleList([nn.Linear(1, 1), nn.Tanh()]),
            lambda: nn.ModuleDict({"a": nn.Conv2d(3, 6, (3, 5), stride=2, padding=1, groups=3)}),
            lambda: LeNet(7, (1, 16, 16)),
            lambda: MLP([3, 5, 2], dropout=0.5),
            lambda: Scaled(nn.Linear(3, 2), 0.5, 1, None, names=("a", "b"), options={"k": [True, {"x": 1}]}),
        ],
    )
    def test_architecture_and_weights(self, path, make):
        model = make()
        fn.save_model(model, path)
        loaded = fn.load_model(path)
        assert type(loaded) is type(model)
        assert repr(loaded) == repr(model.eval())
        ours, theirs = model.state_dict(), loaded.state_dict()
        assert list(ours) == list(theirs)
        for key, tensor in ours.items():
            assert tensor.dtype is theirs[key].dtype
            np.testing.assert_array_equal(tensor.detach().numpy(), theirs[key].detach().numpy())

    def test_arguments_keep_their_types(self, path):
        seen = (float("inf"), (1, None), ("a", ["b"]), {"k": (True, {"x": 1})}, fn.float16)
        model = Scaled(nn.ReLU(), seen[0], *seen[1], names=seen[2], options=seen[3], dtype=seen[4])
        fn.save_model(model, path)
        assert fn.load_model(path).seen[:-1] == seen

    def test_a_device_does_not_travel(self, path):
        fn.save_model(Scaled(nn.ReLU(), device="cuda:3"), path)
        assert fn.load_model(path).seen[-1] == "cpu"

    def test_outputs_are_the_same_bits(self, path):
        model = nn.Sequential(nn.Linear(3, 64), nn.ReLU(), nn.Dropout(0.5), nn.Linear(64, 5)).eval()
        x = fn.tensor(np.random.default_rng(0).normal(size=(9, 3)).astype(np.float32))
        fn.save_model(model, path)
        loaded = fn.load_model(path)
        assert not loaded.training
        assert loaded(x).tolist() == model(x).tolist()
        assert all(parameter.requires_grad for parameter in loaded.parameters())

    def test_layers_added_later_are_saved(self, path):
        model = nn.Sequential(nn.Linear(3, 4))
        model.append(nn.ReLU())
        model[0] = nn.Linear(2, 4)
        fn.save_model(model, path)
        assert repr(fn.load_model(path)) == repr(model)

    @pytest.mark.parametrize(
        "transform",
        [
            Standardize([1.0, 2.0], [0.5, 0.25]),
            Compose(ToFloat(), Reshape(2, 1), Log1p(), Reshape(2), Standardize(3, 0)),
            Compose(ToImages((1, 4, 4), ink=True), Resize(1, 2), Reshape(2)),
        ],
    )
    def test_preprocessing_and_classes(self, path, transform):
        fn.save_model(nn.Linear(2, 2), path, preprocessing=transform, classes=["no", "yes"])
        model = fn.load_model(path)
        x = np.random.default_rng(1).random(
            (8, 2, 4, 4) if "Images" in repr(transform) else (8, 2), np.float32
        )
        x = x[:, :1] if x.ndim == 4 else x
        assert repr(model.preprocessing) == repr(transform)
        np.testing.assert_array_equal(model.preprocessing(x), transform(x))
        assert model.classes == ("no", "yes")

    @pytest.mark.parametrize("dtype", [fn.float64, fn.bfloat16])
    def test_dtypes_come_back(self, path, dtype):
        model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3)).to(dtype)
        fn.save_model(model, path)
        loaded = fn.load_model(path)
        expected = [(name, value.dtype) for name, value in model.state_dict().items()]
        assert [(name, value.dtype) for name, value in loaded.state_dict().items()] == expected
        assert loaded[1].running_mean.dtype is dtype
        assert loaded[0].weight.float().tolist() == model[0].weight.float().tolist()

    def test_tied_and_frozen_weights_come_back(self, path):
        model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 3))
        model[2].weight = model[0].weight
        model[1].requires_grad_(False)
        fn.save_model(model, path)
        loaded = fn.load_model(path)
        assert len(list(loaded.parameters())) == len(list(model.parameters())) == 5
        assert loaded[2].weight is loaded[0].weight
        assert [p.requires_grad for p in loaded.parameters()] == [p.requires_grad for p in model.parameters()]
        fn.save_model(Tied(), path)  # its constructor ties them
        loaded = fn.load_model(path)
        assert loaded.b.weight is loaded.a.weight

    def test_what_a_model_came_with_is_saved_again(self, path):
        fn.save_model(nn.Linear(2, 2), path, preprocessing=Standardize(1.0, 2.0), classes=["no", "yes"])
        model = fn.load_model(path)
        fn.save_model(model, path)
        again = fn.load_model(path)
        assert repr(again.preprocessing) == repr(model.preprocessing)
        assert again.classes == ("no", "yes")
        fn.save_model(model, path, classes=["a", "b"])
        assert fn.load_model(path).classes == ("a", "b")
        model.preprocessing = model.classes = None
        fn.save_model(model, path)
        assert (fn.load_model(path).preprocessing, fn.load_model(path).classes) == (None, None)

    def test_saving_and_loading_leave_the_generator_alone(self, path):
        def draw(work):
            fn.manual_seed(3)
            work()
            return nn.Linear(4, 4).weight.tolist()

        model = Scaled(nn.Linear(3, 3))
        expected = draw(lambda: None)
        assert draw(lambda: fn.save_model(model, path)) == expected
        assert draw(lambda: fn.load_model(path)) == expected

    def test_other_programs_read_the_weights(self, path):
        safetensors = pytest.importorskip("safetensors.numpy")
        model = nn.Linear(3, 2)
        fn.save_model(model, path)
        np.testing.assert_array_equal(safetensors.load_file(path)["weight"], model.weight.detach().numpy())
        assert list(fn.load(path)) == ["weight", "bias"]


class TestRefusals:
    def test_classes_that_are_not_registered(self, path):
        class Mine(nn.Module):
            pass

        with pytest.raises(TypeError, match=r"Mine is not registered.*register_model"):
            fn.save_model(nn.Sequential(Mine()), path)
        assert not path.exists()

    def test_arguments_that_json_cannot_hold(self, path):
        with pytest.raises(TypeError, match=r"Scaled\(scale=\.\.\.\).*ndarray"):
            fn.save_model(Scaled(nn.ReLU(), np.zeros(2)), path)

    def test_a_model_changed_after_construction(self, path):
        model = MLP([3, 4, 2])
        model[0].bias = None
        with pytest.raises(ValueError, match=r"weights.*'0\.bias' is not there"):
            fn.save_model(model, path)
        model = MLP([3, 4, 2])
        model[1] = nn.Tanh()
        with pytest.raises(ValueError, match=r"layers.*'1' is Tanh, would be ReLU"):
            fn.save_model(model, path)

    @pytest.mark.parametrize(
        ("make", "name", "value"),
        [
            (lambda: nn.Sequential(nn.Conv2d(1, 1, 3, padding=1)), "0.dilation", (2, 2)),
            (lambda: nn.Sequential(nn.Dropout(0.5)), "0.p", 0.25),
            (lambda: nn.Sequential(nn.Sequential(nn.BatchNorm2d(3))), "0.0.eps", 1e-3),
            (lambda: nn.BatchNorm2d(3), "momentum", None),
            (lambda: nn.LayerNorm(3), "normalized_shape", (3, 1)),
            (lambda: LeNet(), "2.ceil_mode", True),
            (lambda: nn.GELU(), "approximate", "tanh"),
            (lambda: Tied(), "temperature", 2.0),
            (lambda: Tied(), "act", lambda x: x),
            (lambda: nn.Sequential(nn.Linear(1, 1)), "0.forward", lambda x: x),
            (lambda: Scaled(nn.ReLU()), "seen", (2.0,)),
        ],
    )
    def test_attributes_changed_after_construction(self, path, make, name, value):
        model = make()
        fn.save_model(model, path)
        path.unlink()
        owner, _, attribute = name.rpartition(".")
        setattr(model.get_submodule(owner), attribute, value)
        with pytest.raises(ValueError, match=rf"attributes of this .*'{re.escape(name)}' is .*, would be "):
            fn.save_model(model, path)
        assert not path.exists()

    def test_notes_added_later_do_not_matter(self, path):
        model = nn.Sequential(nn.Linear(2, 2))
        model.note = model[0].best = "a note"
        fn.save_model(model, path)
        loaded = fn.load_model(path)
        fn.save_model(loaded, path, classes=["a", "b"])  # which has preprocessing and classes

    def test_preprocessing_changed_after_construction(self, path):
        inner = ToFloat(scale=0.5)
        transform = Compose(inner, Standardize(1.0, 2.0))
        transform.transforms[1].mean = np.float32([3.0])  # the description knows
        fn.save_model(nn.Linear(1, 1), path, preprocessing=transform)
        assert fn.load_model(path).preprocessing.transforms[1].mean == 3
        inner.scale = 2.0
        with pytest.raises(ValueError, match="attributes of this Compose"):
            fn.save_model(nn.Linear(1, 1), path, preprocessing=transform)

    def test_weights_untied_after_construction(self, path):
        model = Tied()
        model.b.weight = nn.Parameter(model.a.weight.detach().clone())
        with pytest.raises(ValueError, match=r"'b\.weight' is one of its own, would be 'a\.weight'"):
            fn.save_model(model, path)

    def test_weights_without_model(self, path):
        fn.save(nn.Linear(2, 2).state_dict(), path)
        with pytest.raises(ValueError, match="holds weights but no model"):
            fn.load_model(path)

    def test_two_classes_of_one_name(self):
        with pytest.raises(ValueError, match="belongs to fastnn"):

            @fn.register_model
            class Linear(nn.Module):
                pass

        with pytest.raises(TypeError, match=r"nn\.Module"):
            fn.register_model(dict)

    def test_a_class_defined_again_replaces_itself(self):
        def define():
            @fn.register_model
            class Again(nn.Module):
                pass

            return Again

        define()
        second = define()
        assert type(build(describe(second()))) is second


def linear(**arguments):
    return lambda d: d.update(architecture={"class": "Linear", "arguments": arguments})


HOSTILE = {
    "unknown class": lambda d: d.update(architecture={"class": "os.system", "arguments": {}}),
    "a class of Python": lambda d: d.update(architecture={"class": "builtins.eval", "arguments": {}}),
    "a base class": lambda d: d.update(architecture={"class": "Module", "arguments": {}}),
    "no class": lambda d: d.update(architecture={"arguments": {}}),
    "a class of another type": lambda d: d.update(architecture={"class": ["Linear"], "arguments": {}}),
    "a transform for a model": lambda d: d.update(architecture={"class": "Log1p", "arguments": {}}),
    "a model for a transform": lambda d: d.update(preprocessing=d["architecture"]),
    "missing arguments": linear(in_features=3),
    "unknown arguments": linear(in_features=3, out_features=2, evil=1),
    "self": linear(self=1, in_features=3, out_features=2),
    "arguments that are a list": lambda d: d["architecture"].update(arguments=[3, 2]),
    "arguments of other types": linear(in_features="3", out_features=[2]),
    "null arguments": linear(in_features=None, out_features=2),
    "fractions": linear(in_features=3.5, out_features=2),
    "negative": linear(in_features=-3, out_features=2),
    "2^62": linear(in_features=2**62, out_features=4),
    "2^31 x 2^31": linear(in_features=2**31, out_features=2**31),
    "2^40 zeros": linear(in_features=10**40, out_features=2),
    "16 GB": linear(in_features=2**16, out_features=2**16),
    "other sizes": linear(in_features=2, out_features=3),
    "no such dtype": linear(in_features=3, out_features=2, dtype={"dtype": "complex64"}),
    "unknown value": linear(in_features=3, out_features=2, bias={"eval": "1"}),
    "classes that are numbers": lambda d: d.update(classes=[1]),
    "ties of nothing": lambda d: d.update(tied=[["weight", "wait"]]),
    "ties of other shapes": lambda d: d.update(tied=[["weight", "bias"]]),
    "a tie of one": lambda d: d.update(tied=[["weight"]]),
    "ties that are no lists": lambda d: d.update(tied=["weight"]),
    "ties of numbers": lambda d: d.update(tied=[[1, 2]]),
    "modules reused that are not there": lambda d: d.update(reused=[["a", "b"]]),
    "a model that is part of itself": lambda d: d.update(
        architecture={"class": "Sequential", "arguments": {"modules": {"tuple": [d["architecture"]]}}},
        reused=[["", "0"]],
    ),
    "reused that are no lists": lambda d: d.update(reused=1),
    "frozen that is no list": lambda d: d.update(frozen=1),
    "more fields": lambda d: d.update(code="print()"),
    "no JSON": lambda d: "{",
    "no object": lambda d: "[]",
    "nested without end": lambda d: '{"architecture":' + "[" * 100_000,
    "modules nested without end": lambda d: (
        '{"architecture":'
        + '{"class":"Sequential","arguments":{"modules":{"tuple":[' * 400
        + "]}}}" * 400
        + ',"preprocessing":null,"classes":null}'
    ),
}


class TestHostileDescriptions:
    @pytest.mark.parametrize("name", HOSTILE)
    def test_are_refused(self, path, name):
        fn.save_model(nn.Linear(3, 2), path)
        change(path, HOSTILE[name])
        with pytest.raises(ValueError, match=str(path)):
            fn.load_model(path)

    def test_an_unchanged_description_loads(self, path):
        fn.save_model(nn.Linear(3, 2), path)
        change(path, lambda d: None)
        assert fn.load_model(path).in_features == 3
