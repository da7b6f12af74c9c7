"""Modules: registration, state, calls, containers."""

import copy
import inspect
from concurrent.futures import ThreadPoolExecutor

import fastnn as fn
import fastnn.nn.functional as F
import numpy as np
import pytest
from fastnn import nn

rng = np.random.default_rng(0)


def floats(*shape, dtype=np.float32):
    return rng.normal(size=shape).astype(dtype)


def close(actual, expected, rtol=1e-5, atol=1e-5):
    np.testing.assert_allclose(actual.detach().numpy(), expected.detach().numpy(), rtol=rtol, atol=atol)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2))
        self.scale = nn.Parameter(fn.ones(1))
        self.head = nn.Linear(4, 5)
        self.register_buffer("mean", fn.zeros(3))
        self.register_buffer("scratch", fn.zeros(2), persistent=False)

    def forward(self, x):
        return self.head(self.features(x).mean((2, 3)) * self.scale)


# ---- registration ------------------------------------------------------------------------------------------


def test_names_and_order():
    net = Net()
    names = ["scale", "features.0.weight", "features.0.bias", "head.weight", "head.bias"]
    assert [name for name, _ in net.named_parameters()] == names
    assert list(net.state_dict()) == ["scale", "mean", *names[1:]]
    assert [name for name, _ in net.named_buffers()] == ["mean", "scratch"]
    assert [name for name, _ in net.named_modules()] == [
        "",
        "features",
        *(f"features.{i}" for i in range(3)),
        "head",
    ]
    assert [name for name, _ in net.named_children()] == ["features", "head"]
    assert net.get_submodule("features.1") is net.features[1]
    with pytest.raises(AttributeError, match=r"no submodule 'x'.*features\.x"):
        net.get_submodule("features.x")


def test_shared_parameter_is_listed_once_and_saved_twice():
    net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    net[1].weight = net[0].weight
    assert [name for name, _ in net.named_parameters()] == ["0.weight", "0.bias", "1.bias"]
    assert list(net.state_dict()) == ["0.weight", "0.bias", "1.weight", "1.bias"]


def test_attributes():
    layer = nn.Linear(2, 3)
    with pytest.raises(TypeError, match=r"Linear\.weight is a parameter.*not a Tensor"):
        layer.weight = fn.zeros(3, 2)
    layer.bias = None
    assert "bias" not in layer.state_dict()
    assert layer(fn.ones(1, 2)).shape == (1, 3)
    del layer.weight
    assert list(layer.parameters()) == []
    with pytest.raises(AttributeError):
        _ = layer.weight
    with pytest.raises(KeyError, match="already has an attribute"):
        layer.register_buffer("forward", fn.zeros(1))
    with pytest.raises(KeyError, match="without dots"):
        layer.add_module("a.b", nn.ReLU())
    with pytest.raises(TypeError, match="not a Tensor"):
        layer.register_parameter("w", fn.zeros(1))
    assert nn.Linear(2, 3, bias=False).bias is None


def test_modes_freezing_and_apply():
    net = Net()
    assert not any(module.training for module in net.eval().modules())
    assert all(module.training for module in net.train().modules())
    assert not any(p.requires_grad for p in net.requires_grad_(False).parameters())
    net.requires_grad_()
    seen = []
    net.apply(lambda module: seen.append(type(module).__name__))
    assert seen == ["Conv2d", "ReLU", "MaxPool2d", "Sequential", "Linear", "Net"]
    net(fn.ones(1, 3, 6, 6)).sum().backward()
    assert all(p.grad is not None for p in net.parameters())
    net.zero_grad(set_to_none=False)
    assert all(float(p.grad.abs().sum()) == 0 for p in net.parameters())
    net.zero_grad()
    assert all(p.grad is None for p in net.parameters())


def test_double_keeps_the_parameters_identity():
    net = Net()
    before = list(net.parameters())
    net(fn.ones(1, 3, 6, 6)).sum().backward()
    assert net.double() is net
    assert all(a is b for a, b in zip(before, net.parameters(), strict=True))
    assert {p.dtype for p in net.parameters()} == {p.grad.dtype for p in net.parameters()} == {fn.float64}
    assert net.mean.dtype == fn.float64
    assert net(fn.ones(1, 3, 6, 6, dtype=fn.float64)).dtype == fn.float64
    with pytest.raises(TypeError, match="floating"):
        net.to(fn.int64)


def test_data_changed_under_a_graph_is_noticed():
    layer = nn.Linear(3, 2)
    x = fn.ones(4, 3, requires_grad=True)
    loss = layer(x).sum()
    layer.double()
    with pytest.raises(RuntimeError, match="changed in place"):
        loss.backward()


def test_deepcopy_is_independent():
    net = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    x = fn.tensor(floats(4, 2))
    y = net(x)
    twin = copy.deepcopy(net)
    close(twin(x), y, 0, 0)
    with fn.no_grad():
        twin[0].weight.fill_(0)
        twin[0].bias.fill_(0)
    close(net(x), y, 0, 0)
    assert float((twin(x) - twin[2].bias).abs().sum()) == 0


# ---- state -------------------------------------------------------------------------------------------------


def test_load_state_dict_lists_everything_wrong_and_changes_nothing():
    net = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    before = {key: value.clone() for key, value in net.state_dict().items()}
    state = {
        "0.weight": fn.zeros(3, 2),
        "0.bias": fn.zeros(4),
        "1.weight": fn.zeros(1, 3),
        "2.bias": fn.zeros(1),
    }
    with pytest.raises(RuntimeError) as error:
        net.load_state_dict(state)
    text = str(error.value)
    assert "missing keys: 1.bias" in text
    assert "unexpected keys: 2.bias" in text
    assert "0.bias: the state has shape (4,), the model (3,)" in text
    for key, value in net.state_dict().items():
        close(value, before[key], 0, 0)
    state["0.bias"] = np.ones(3)  # arrays are welcome, too
    result = net.load_state_dict(state, strict=False)
    assert result == (["1.bias"], ["2.bias"])
    assert net[0].bias.tolist() == [1, 1, 1]
    assert net[0].bias.dtype == fn.float32
    with pytest.raises(RuntimeError, match=r"0\.bias: the state has shape"):
        net.load_state_dict({"0.bias": fn.zeros(4)}, strict=False)
    with pytest.raises(TypeError, match="expected a dict"):
        net.load_state_dict([1])


def test_state_of_torch_fits():
    torch = pytest.importorskip("torch")
    layers = lambda nn: nn.Sequential(  # noqa: E731
        nn.Conv2d(1, 4, 3, stride=2, padding=1), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(36, 7)
    )
    peer, net = layers(torch.nn), layers(nn)
    assert list(net.state_dict()) == list(peer.state_dict())
    net.load_state_dict({key: value.numpy() for key, value in peer.state_dict().items()})
    x = floats(5, 1, 11, 13)
    close(net(fn.tensor(x)), peer(torch.tensor(x)))


# ---- calls -------------------------------------------------------------------------------------------------


def test_error_names_the_layer():
    net = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Sequential(nn.Linear(4, 4)))

    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks = nn.ModuleList([net])

        def forward(self, x):
            return self.blocks[0](x)

    with pytest.raises(Exception, match=r"in layer 'blocks\.0\.2\.0' of Outer: Linear\(in_features=4, out"):
        Outer()(fn.zeros(1, 2))
    with pytest.raises(Exception, match=r"in layer '0' of Sequential: Linear\(in_features=2"):
        net(fn.zeros(1, 3))  # inside a fused call
    with pytest.raises(Exception, match=r"in Linear\(in_features=2"):
        net[0](fn.zeros(1, 3))


def test_error_without_a_plain_message_gets_a_note():
    class Reader(nn.Module):
        def forward(self, x):
            raise FileNotFoundError(2, "No such file", "x.png")

    with pytest.raises(FileNotFoundError) as error:
        nn.Sequential(nn.Identity(), Reader())(1)
    assert str(error.value) == "[Errno 2] No such file: 'x.png'"
    assert error.value.__notes__ == ["in layer '1' of Sequential: Reader()"]


def test_forward_must_be_defined():
    class Empty(nn.Module):
        pass

    with pytest.raises(NotImplementedError, match="Empty must define forward"):
        Empty()(1)


def test_hooks():
    layer, calls = nn.ReLU(), []
    before = layer.register_forward_pre_hook(lambda module, args: (args[0] * 2,))
    after = layer.register_forward_hook(lambda module, args, output: calls.append(args[0].tolist()))
    change = layer.register_forward_hook(lambda module, args, output: output + 1)
    assert layer(fn.tensor([-1.0, 1.0])).tolist() == [1, 3]
    assert calls == [[-2, 2]]
    for handle in (before, after, change):
        handle.remove()
    assert layer(fn.tensor([-1.0, 1.0])).tolist() == [0, 1]
    assert len(calls) == 1
    assert layer._hooks is None


def test_sequential_edits():
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    x = fn.tensor([[-1.0, 1.0]])
    net(x)
    net[1] = nn.Tanh()
    close(net(x), F.tanh(net[0](x)), 0, 0)
    net.append(nn.Identity()).insert(0, nn.Flatten())
    assert [type(layer).__name__ for layer in net] == ["Flatten", "Linear", "Tanh", "Identity"]
    del net[0]
    assert list(net.state_dict()) == ["0.weight", "0.bias"]
    assert isinstance(net[-1], nn.Identity)
    assert len(net[:2]) == 2
    close(net[:1](x), net[0](x), 0, 0)
    with pytest.raises(IndexError, match="no index 3"):
        net[3]
    with pytest.raises(TypeError, match="not a function"):
        nn.Sequential(lambda x: x)
    named = nn.Sequential({"a": nn.Linear(2, 3), "b": nn.ReLU()})
    assert list(named.state_dict()) == ["a.weight", "a.bias"]
    assert named(x).shape == (1, 3)


def test_module_list_and_dict():
    layers = nn.ModuleList(nn.Linear(2, 2) for _ in range(2))
    layers.append(nn.Linear(2, 1))
    assert [name for name, _ in layers.named_parameters()][-2:] == ["2.weight", "2.bias"]
    heads = nn.ModuleDict({"a": nn.Linear(2, 1)})
    heads["b"] = nn.ReLU()
    assert "b" in heads
    del heads["b"]
    assert (list(heads), len(heads), heads.items()) == (["a"], 1, [("a", heads["a"])])
    with pytest.raises(KeyError, match="already has an attribute"):
        heads["items"] = nn.ReLU()


def test_sixteen_threads_on_one_model():
    net = nn.Sequential(nn.Linear(9, 33), nn.ReLU(), nn.Linear(33, 3)).eval()
    inputs = [fn.tensor(floats(5, 9)) for _ in range(16)]
    expected = [net(x).tolist() for x in inputs]
    with ThreadPoolExecutor(16) as pool:
        for _ in range(5):
            assert [y.tolist() for y in pool.map(net, inputs)] == expected


def test_a_layer_shows_the_signature_of_its_constructor():
    class Mine(nn.Module):
        def __init__(self, a, *, b=2):
            super().__init__()

        def forward(self, x):
            return x

    assert list(nn.Linear.__signature__.parameters)[:3] == ["in_features", "out_features", "bias"]
    assert str(inspect.signature(Mine)) == str(Mine.__signature__) == "(a, *, b=2)"
    assert not hasattr(Mine(1), "__signature__")
