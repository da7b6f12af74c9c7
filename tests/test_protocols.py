"""What Python and other libraries ask of tensors and modules: copies, formats, NumPy's names, plots."""

import copy

import fastnn as fn
import numpy as np
import pytest
from fastnn import nn


class TestCopies:
    def test_a_copy_of_a_tensor_shares_its_memory(self):
        for x in (fn.ones(3), fn.ones(2, 3).T, fn.tensor([1, 2, 3]), fn.ones(3).to(fn.bfloat16)):
            y = copy.copy(x)
            assert y is not x
            assert type(y) is type(x)
            assert (y.dtype, y.shape) == (x.dtype, x.shape)
            assert y.data_ptr() == x.data_ptr()

    def test_of_what_requires_grad(self):
        x = fn.ones(2, 3, requires_grad=True)
        leaf, result = copy.copy(x), copy.copy((x * 2).T)
        assert leaf.is_leaf
        assert leaf.requires_grad
        leaf.sum().backward()
        assert x.grad is None
        result.sum().backward()
        assert x.grad.tolist() == [[2, 2, 2]] * 2
        parameter = copy.copy(nn.Parameter(fn.ones(3), requires_grad=False))
        assert type(parameter) is nn.Parameter
        assert not parameter.requires_grad

    @pytest.mark.parametrize("how", [copy.copy, copy.deepcopy])
    def test_a_copy_of_a_module_has_children_of_its_own(self, how):
        model = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
        x = fn.ones(1, 2)
        before = model(x).tolist()
        other = how(model)
        assert other(x).tolist() == before
        other.append(nn.Linear(2, 1))
        other.register_buffer("mask", fn.ones(1))
        del other[0]
        assert (len(model), len(other)) == (2, 2)
        assert model(x).tolist() == before
        assert list(model.state_dict()) == ["0.weight", "0.bias"]

    def test_a_shallow_copy_shares_children_and_not_hooks(self):
        model = nn.ModuleDict({"a": nn.Linear(2, 2)})
        assert copy.copy(model)["a"] is model["a"]
        layer, calls = nn.Linear(2, 2), []
        handle = layer.register_forward_hook(lambda *_: calls.append(1))
        other = copy.copy(layer)
        assert other.weight is layer.weight
        with other.register_forward_hook(lambda *_: calls.append(2)):
            layer(fn.ones(1, 2))
            assert calls == [1]
            handle.remove()
            layer(fn.ones(1, 2))
            assert calls == [1]
            other(fn.ones(1, 2))
            assert calls == [1, 1, 2]


class TestFormats:
    def test_one_number_has_formats(self):
        assert f"{fn.tensor(1.5):.3f}" == "1.500"
        assert f"{fn.tensor(7):>4d}|{fn.tensor(255):x}" == "   7|ff"
        assert f"{fn.tensor(0.25, requires_grad=True):.0%}" == "25%"
        assert f"{fn.tensor(1.5)} {fn.ones(2)}" == "tensor(1.5) tensor([1., 1.])"

    def test_several_have_none(self):
        with pytest.raises(TypeError, match=r"'\.3f' is of a number; this tensor has the shape \(2,\)"):
            f"{fn.ones(2):.3f}"


class TestNamesOfNumPy:
    @pytest.mark.parametrize("name", ["sum", "mean", "max", "min", "argmax", "argmin"])
    def test_axis_is_dim(self, name):
        x = fn.tensor(np.random.default_rng(0).normal(size=(2, 3)).astype(np.float32))
        reduce = getattr(x, name)
        for dim in (0, -1):
            expected, result = reduce(dim=dim), reduce(axis=dim)
            first = lambda r: r[0] if isinstance(r, tuple) else r  # noqa: E731
            assert first(result).tolist() == first(expected).tolist()
        kept = reduce(axis=1, keepdims=True)
        assert tuple((kept[0] if isinstance(kept, tuple) else kept).shape) == (2, 1)

    def test_others(self):
        x = fn.ones(2, 3)
        assert fn.softmax(x, axis=1).tolist() == fn.softmax(x, dim=1).tolist()
        assert tuple(fn.cat([x, x], axis=1).shape) == (2, 6)
        assert tuple(fn.stack([x, x], axis=2).shape) == (2, 3, 2)
        with pytest.raises(TypeError, match="'axis' is given twice"):
            x.sum(0, axis=0)
        with pytest.raises(TypeError, match="no argument 'axis'"):
            fn.relu(x, axis=0)


def test_plots():
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots()
    (line,) = axes.plot(fn.arange(3), fn.tensor([1.0, 4.0, 9.0]))
    assert line.get_ydata().tolist() == [1, 4, 9]
    (line,) = axes.plot(fn.ones(3))
    assert line.get_xdata().tolist() == [0, 1, 2]
    axes.scatter(fn.ones(3), fn.ones(3))
    axes.hist(fn.ones(3))
    axes.imshow(fn.ones(3, 3))
    axes.bar(fn.arange(3), fn.ones(3))
    pyplot.close(figure)
