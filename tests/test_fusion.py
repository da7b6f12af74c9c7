"""Layers that Sequential runs as one call: nobody can tell."""

import fastnn as fn
import fastnn.nn.functional as F
import numpy as np
import pytest
from fastnn import nn
from fastnn.nn.fusion import FUSIONS
from test_nn import close, floats


@pytest.mark.parametrize("kind", ["linear", "conv"])
def test_fusion_is_invisible(kind):
    layer = nn.Linear(7, 5) if kind == "linear" else nn.Conv2d(3, 5, 2)
    x = floats(6, 7) if kind == "linear" else floats(2, 3, 5, 4)
    net = nn.Sequential(layer, nn.ReLU(), nn.Flatten())
    results = []
    for watch in (False, True):
        seen = []
        handle = net[1].register_forward_hook(lambda m, a, y, seen=seen: seen.append(a[0])) if watch else None
        input = fn.tensor(x, requires_grad=True)
        net.zero_grad()
        y = net(input)
        (y * y).sum().backward()
        assert len(seen) == watch, "a hook on the ReLU sees what the layer gave"
        if watch:
            close(seen[0], layer(input), 0, 0)
            handle.remove()
        results.append([y.detach(), input.grad, layer.weight.grad, layer.bias.grad])
    for fused, plain in zip(*results, strict=True):
        close(fused, plain, 1e-6, 1e-6)
    net(fn.tensor(x))
    assert len(net._steps) == 2, "without hooks the two layers run as one"
    layer.forward = lambda x: F.relu(x) * 0
    assert float(net(fn.tensor(x)).abs().sum()) == 0, "a forward put in from outside is called"


@pytest.mark.parametrize(
    ("size", "pool"), [((11, 9), {}), ((34, 37), {"stride": 3, "padding": 1}), ((5, 70), {})]
)
def test_relu_behind_the_pooling_is_invisible(size, pool):
    """Same bits in outputs and gradients, windows without a positive number and with NaN included."""
    net = nn.Sequential(nn.Conv2d(1, 6, 1), nn.ReLU(), nn.MaxPool2d(2, **pool))
    x = np.random.default_rng(0).standard_normal((3, 1, *size)).astype(np.float32)
    x[0, 0, 2:4, 4:8] = np.nan
    x[1, 0, :4, :4] = -50
    results, order = [], []
    for _ in range(2):
        input = fn.tensor(x, requires_grad=True)
        net.zero_grad()
        y = net(input)
        (y * y).sum().backward()
        results.append([y.detach(), input.grad, net[0].weight.grad, net[0].bias.grad])
        order.append([step.__self__ if hasattr(step, "__self__") else step for step in net._steps])
        net[1].register_forward_hook(lambda *_: None)
    for fused, plain in zip(*results, strict=True):
        np.testing.assert_array_equal(fused.numpy(), plain.numpy())
    assert order == [[net[0], net[2], net[1]], [net[0], net[1], net[2]]]


def test_subclasses_are_not_fused():
    class Doubled(nn.Linear):
        def forward(self, x):
            return super().forward(x) * 2

    net = nn.Sequential(Doubled(2, 20), nn.ReLU())
    x = fn.tensor(floats(3, 2))
    assert float(net(x).max()) > 0
    close(net(x), F.relu(F.linear(x, net[0].weight, net[0].bias) * 2), 0, 0)


LAYERS = {
    nn.Linear: (lambda: nn.Linear(7, 5), (6, 7)),
    nn.Conv2d: (lambda: nn.Conv2d(3, 5, 2), (2, 3, 5, 7)),
    nn.BatchNorm1d: (lambda: nn.BatchNorm1d(4), (6, 4)),
    nn.BatchNorm2d: (lambda: nn.BatchNorm2d(4), (3, 4, 5, 5)),
    nn.ReLU: (nn.ReLU, ()),
    nn.MaxPool2d: (lambda: nn.MaxPool2d(2), ()),
}


@pytest.mark.parametrize("fusion", FUSIONS, ids=lambda f: "-".join(layer.__name__ for layer in f.layers))
def test_every_fusion_gives_what_its_layers_give(fusion):
    net = nn.Sequential(nn.Identity(), *(LAYERS[layer][0]() for layer in fusion.layers), nn.Flatten())
    x = fn.tensor(floats(*LAYERS[fusion.layers[0]][1]), requires_grad=True)
    leaves = [x, *net.parameters()]
    fused = net(x)
    assert list(net._steps[1:-1]) == list(fusion.steps(*list(net)[1:-1]))
    with net[2].register_forward_hook(lambda *_: None):
        plain = net(x)
        assert len(net._steps) == len(net)
    close(fused, plain, 1e-6, 1e-6)
    for a, b in zip(
        fn.grad((fused * fused).sum(), leaves), fn.grad((plain * plain).sum(), leaves), strict=True
    ):
        close(a, b, 1e-5, 1e-5)


CLASSES = [nn.Linear, nn.ReLU, nn.Conv2d, nn.MaxPool2d, nn.BatchNorm1d, nn.BatchNorm2d, nn.Flatten, nn.Tanh]


def patched_net():
    return nn.Sequential(
        nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(),
        nn.Linear(8, 4), nn.ReLU(), nn.BatchNorm1d(4), nn.ReLU(), nn.Tanh(),
    ).eval()  # fmt: skip


@pytest.mark.parametrize("layer", CLASSES)
@pytest.mark.parametrize("name", ["forward", "__call__"])
def test_what_is_put_into_a_class_is_called(layer, name, monkeypatch):
    net, x = patched_net(), fn.ones(2, 1, 4, 4)
    expected = net(x).tolist()  # planned
    calls, old = [], getattr(layer, name)
    with monkeypatch.context() as patch:
        patch.setattr(layer, name, lambda self, x: (calls.append(type(self)), old(self, x))[1])
        assert net(x).tolist() == expected
        assert calls == [layer] * sum(type(module) is layer for module in net)
        assert patched_net()(x).shape == (2, 4)
    calls.clear()
    assert net(x).tolist() == expected
    assert calls == []


def test_what_is_put_into_every_module_is_called(monkeypatch):
    net, x, calls, old = patched_net(), fn.ones(2, 1, 4, 4), [], nn.Module.__call__
    net(x)
    monkeypatch.setattr(nn.Module, "__call__", lambda self, x: (calls.append(type(self)), old(self, x))[1])
    net(x)
    assert calls == [nn.Sequential, *map(type, net)]


def test_modules_may_derive_from_abstract_classes():
    import abc

    class Named(abc.ABC):
        @abc.abstractmethod
        def name(self): ...

    class Layer(nn.Linear, Named):
        def name(self):
            return "layer"

    class Half(nn.Linear, Named):
        pass

    assert isinstance(Layer(2, 2), Named)
    assert nn.Sequential(Layer(2, 2), nn.ReLU())(fn.ones(1, 2)).shape == (1, 2)
    with pytest.raises(TypeError, match="abstract"):
        Half(2, 2)
