"""What Python and other libraries ask of tensors and modules: copies, formats, NumPy's names, plots."""

import copy
import operator

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


class TestFunctionsOfNumPy:
    T = np.arange(6, dtype=np.float32).reshape(2, 3)

    @pytest.mark.parametrize("name", ["sum", "mean", "max", "min", "amax", "amin", "any", "all"])
    def test_reductions_are_the_tensors(self, name):
        function, x = getattr(np, name), fn.tensor(self.T)
        for options in ({}, {"axis": 0}, {"axis": -1}, {"axis": (0, 1)}, {"axis": 1, "keepdims": True},
                        {"keepdims": True}, {"out": None}):  # fmt: skip
            result = function(x, **options)
            assert isinstance(result, fn.Tensor)
            np.testing.assert_array_equal(result.numpy(), function(self.T, **options))
        assert function(x, 1).tolist() == function(a=x, axis=1).tolist() == function(self.T, 1).tolist()
        with pytest.raises(
            TypeError, match=r"of a tensor cannot write to out=; take np\.\w+\(t\.numpy\(\), out"
        ):
            function(x, axis=0, out=np.zeros(3, np.float32))

    def test_with_a_gradient_and_dtypes(self):
        x = fn.tensor(self.T, requires_grad=True)
        (np.sum(x) + np.mean(x) * 6 + np.max(x, axis=1).sum()).backward()
        assert x.grad.tolist() == [[2, 2, 3], [2, 2, 3]]
        assert np.sum(fn.tensor(self.T), 0, np.float64).dtype is fn.float64
        assert np.mean(fn.tensor([1, 2])) == 1.5
        assert np.sum(fn.tensor(self.T), initial=1.0) == 16

    def test_others_take_tensors_as_arrays(self):
        x = fn.tensor(self.T)
        for call in (
            np.prod, np.std, np.var, np.ptp, np.median, np.argmax, np.cumsum, np.transpose, np.sort, np.nonzero, np.argwhere,
            np.flatnonzero, np.size, np.shape, np.ndim, np.isneginf, np.linalg.norm, lambda t: np.std(t, axis=0, ddof=1),
            lambda t: np.clip(t, 1, 2), lambda t: np.reshape(t, (3, 2)), lambda t: np.concatenate([t, t]),
            lambda t: np.where(t > 2, t, 0), lambda t: np.block([[t, t], [t, t]]), lambda t: np.size(t, 1),
        ):  # fmt: skip
            result, expected = call(x), call(self.T)
            assert type(result) is type(expected)
            np.testing.assert_array_equal(result, expected)
        recorded = fn.tensor(self.T, requires_grad=True)
        assert np.shape(recorded) == (2, 3)
        with pytest.raises(RuntimeError, match=r"use detach\(\)\.numpy\(\)"):
            np.std(recorded)

    def test_none_writes_to_a_tensor(self):
        x = fn.tensor(self.T)
        for call in (lambda: np.copyto(x, 1), lambda: np.put(x, 0, 1), lambda: np.fill_diagonal(x, 1)):
            with pytest.raises(TypeError, match=r"does not write to tensors; give it t\.numpy\(\)"):
                call()
        with pytest.raises(TypeError, match=r"does not write to tensors; give out=t\.numpy\(\)"):
            np.cumsum(self.T, 0, out=x)
        assert x.tolist() == self.T.tolist()

    @pytest.mark.parametrize(
        "name", ["add", "sub", "mul", "truediv", "pow", "eq", "ne", "lt", "le", "gt", "ge", "matmul"]
    )
    def test_operators_with_arrays_are_the_tensors(self, name):
        function = getattr(operator, name)
        a, b = self.T[:, :2] + 1, self.T[:, 1:] + 2
        for x, y in (
            (a, fn.tensor(b)),
            (fn.tensor(a), b),
            (np.float32(2), fn.tensor(b)),
            (np.float64(2), fn.tensor(b)),
        ):
            if name == "matmul" and np.ndim(x) == 0:
                continue
            result = function(x, y)
            assert isinstance(result, fn.Tensor)
            expected = function(np.asarray(x, np.float32), np.asarray(y))
            np.testing.assert_allclose(result.numpy(), expected, rtol=1e-6)

    def test_ufuncs_say_what_to_do(self):
        a, x = self.T.copy(), fn.tensor(self.T)
        assert isinstance(np.add(a, x), fn.Tensor)
        for call, message in (
            (
                lambda: np.exp(x),
                r"np\.exp takes no tensors; take fn\.exp\(\.\.\.\), .* or np\.exp of t\.numpy\(\)",
            ),
            (lambda: np.absolute(x), r"take fn\.abs\("),
            (lambda: np.sinh(x), r"np\.sinh takes no tensors; take np\.sinh of t\.numpy\(\)"),
            (lambda: np.add.reduce(x), r"np\.add\.reduce takes no tensors; give it t\.numpy\(\)"),
            (lambda: operator.iadd(a, x), r"for a \+= t take a \+= t\.numpy\(\)"),
            (lambda: a % x, r"np\.remainder takes no tensors"),
        ):
            with pytest.raises(TypeError, match=message):
                call()
        assert a.tolist() == self.T.tolist()
        a += x.numpy()
