"""Modules: registration, state, hooks, error paths, fusion, and every layer against torch."""

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


# ---- layers against torch ----------------------------------------------------------------------------------

LAYERS = [
    ("Linear", (7, 5), {}, (3, 7)),
    ("Linear", (7, 5), {"bias": False}, (2, 3, 7)),
    ("Conv2d", (2, 3, 3), {}, (2, 2, 7, 6)),
    ("Conv2d", (4, 6, (3, 2)), {"stride": (2, 1), "padding": (1, 0), "groups": 2}, (2, 4, 9, 5)),
    ("Conv2d", (2, 3, 3), {"padding": 2, "dilation": 2, "bias": False}, (1, 2, 6, 7)),
    ("Conv2d", (2, 3, (4, 3)), {"padding": "same"}, (1, 2, 5, 6)),
    ("Conv2d", (2, 3, 2), {"padding": "same", "dilation": 3}, (1, 2, 5, 6)),
    ("Conv2d", (2, 3, 2), {"padding": "valid"}, (1, 2, 5, 6)),
    ("MaxPool2d", (2,), {}, (2, 3, 7, 6)),
    ("MaxPool2d", (3, 2, 1), {"dilation": 2}, (2, 3, 9, 8)),
    ("MaxPool2d", (2,), {"ceil_mode": True}, (2, 3, 7, 5)),
    ("AvgPool2d", (2,), {}, (2, 3, 7, 6)),
    ("AvgPool2d", (3, 2, 1, True), {}, (2, 3, 7, 6)),
    ("AvgPool2d", ((3, 2), 2, 1), {"count_include_pad": False}, (2, 3, 7, 6)),
    ("ReLU", (), {}, (4, 5)),
    ("ReLU", (), {"inplace": True}, (4, 5)),
    ("Sigmoid", (), {}, (4, 5)),
    ("Tanh", (), {}, (4, 5)),
    ("Softmax", (1,), {}, (4, 5)),
    ("LogSoftmax", (-1,), {}, (4, 5)),
    ("Flatten", (), {}, (2, 3, 4)),
    ("Flatten", (0, 1), {}, (2, 3, 4)),
    ("Identity", (), {}, (2, 3)),
]


@pytest.mark.filterwarnings("ignore:Using padding")
@pytest.mark.parametrize(("name", "args", "kwargs", "shape"), LAYERS, ids=lambda v: str(v))
def test_layer_against_torch(name, args, kwargs, shape):
    torch = pytest.importorskip("torch")
    layer, peer = getattr(nn, name)(*args, **kwargs), getattr(torch.nn, name)(*args, **kwargs)
    peer.load_state_dict({key: torch.tensor(value.numpy()) for key, value in layer.state_dict().items()})
    x = floats(*shape)
    a, b = fn.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    y, z = layer(a * 1), peer(b * 1)
    dy = floats(*z.shape)
    (y * fn.tensor(dy)).sum().backward()
    (z * torch.tensor(dy)).sum().backward()
    close(y, z)
    close(a.grad, b.grad)
    for p, q in zip(layer.parameters(), peer.parameters(), strict=True):
        close(p.grad, q.grad, 1e-5, 1e-4)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("name", ["CrossEntropyLoss", "NLLLoss"])
def test_losses_of_labels_against_torch(name, reduction):
    torch = pytest.importorskip("torch")
    x, labels = floats(9, 4) * 5, rng.integers(0, 4, 9)
    labels[[2, 5]] = -100
    a, b = fn.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    y = getattr(nn, name)(reduction=reduction)(a, fn.tensor(labels))
    z = getattr(torch.nn, name)(reduction=reduction)(b, torch.tensor(labels))
    (y * y).sum().backward()
    (z * z).sum().backward()
    close(y, z)
    close(a.grad, b.grad, 1e-4, 1e-5)


def test_weighted_and_smoothed_loss_against_torch():
    torch = pytest.importorskip("torch")
    x, labels, weight = floats(9, 4), rng.integers(0, 4, 9), np.array([1, 2, 0.5, 0], np.float32)
    loss = nn.CrossEntropyLoss(fn.tensor(weight), label_smoothing=0.1, ignore_index=2)
    peer = torch.nn.CrossEntropyLoss(torch.tensor(weight), label_smoothing=0.1, ignore_index=2)
    close(loss(fn.tensor(x), fn.tensor(labels)), peer(torch.tensor(x), torch.tensor(labels)))
    assert list(loss.state_dict()) == list(peer.state_dict()) == ["weight"]


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_mse_against_torch(reduction):
    torch = pytest.importorskip("torch")
    x, t = floats(5, 3), floats(5, 3)
    a, b = fn.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    y = nn.MSELoss(reduction)(a, fn.tensor(t))
    z = torch.nn.MSELoss(reduction=reduction)(b, torch.tensor(t))
    (y * y).sum().backward()
    (z * z).sum().backward()
    close(y, z)
    close(a.grad, b.grad)


def test_losses_refuse_what_does_not_fit():
    with pytest.raises(ValueError, match=r"\(4, 1\).*\(4,\)"):
        F.mse_loss(fn.zeros(4, 1), fn.zeros(4))
    with pytest.raises(ValueError, match="reduction must be"):
        nn.CrossEntropyLoss(reduction="median")
    for loss in (F.nll_loss, F.cross_entropy):
        with pytest.raises(IndexError, match="label 3 is out of range for 3 classes"):
            loss(fn.zeros(2, 3), fn.tensor([0, 3]))
        with pytest.raises(IndexError, match="label -1 is out of range"):
            loss(fn.zeros(2, 3), fn.tensor([0, -1]))
        with pytest.raises(ValueError, match="target of shape"):
            loss(fn.zeros(2, 3), fn.tensor([0]))


def test_dropout():
    _ = fn.manual_seed(3)
    layer = nn.Dropout(0.25)
    x = fn.ones(40_000)
    y = layer(x).numpy()
    assert set(np.unique(y)) == {np.float32(0), np.float32(1) / np.float32(0.75)}
    assert abs(y.mean() - 1) < 0.015  # five deviations
    assert not np.array_equal(y, layer(x).numpy())
    np.testing.assert_array_equal(layer.eval()(x).numpy(), x.numpy())
    with pytest.raises(ValueError, match="between 0 and 1"):
        nn.Dropout(1.5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.Linear(-1, 2), "in_features must be at least 0, not -1"),
        (lambda: nn.Conv2d(3, 4, 3, groups=2), "multiples of groups=2"),
        (lambda: nn.Conv2d(3, 4, 0), "kernel_size must be at least 1"),
        (lambda: nn.Conv2d(3, 4, 3, stride=0), "stride must be at least 1"),
        (lambda: nn.Conv2d(3, 4, 3, padding=-1), "padding must be at least 0"),
        (lambda: nn.Conv2d(3, 4, 3, stride=2, padding="same"), "needs stride 1"),
        (lambda: nn.Conv2d(3, 4, 3, padding_mode="reflect"), "padding_mode"),
        (lambda: nn.MaxPool2d(0), "kernel_size must be at least 1"),
        (lambda: nn.Linear(2, 2, init="good"), "init must be"),
        (lambda: nn.Linear(2, 2, init="scaled:-1"), "init must be"),
    ],
)
def test_layers_refuse_bad_settings(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.Conv2d(3, 4, 2.5), r"kernel_size must be an integer or a pair of integers, not 2\.5"),
        (lambda: nn.Conv2d(3, 4, 3, padding="some"), "padding must be an integer or a pair"),
        (lambda: nn.Conv2d(3, 4, (3, 3, 3)), "kernel_size"),
        (lambda: nn.Conv2d("3", 4, 3), "in_channels must be an integer, not '3'"),
        (lambda: nn.Linear(2.5, 3), r"in_features must be an integer, not 2\.5"),
        (lambda: nn.Dropout("0.5"), "p must be a number, not '0.5'"),
        (lambda: nn.Parameter([1.0]), "expected a tensor, not a list"),
    ],
)
def test_arguments_of_the_wrong_type(make, message):
    with pytest.raises(TypeError, match=message):
        make()


def test_sizes_of_numpy_are_integers():
    layer = nn.Sequential(
        nn.Conv2d(np.int64(1), np.int32(2), (np.int64(3), 1)), nn.Flatten(), nn.Linear(np.int64(8), 3)
    )
    assert fn.registry.build(fn.registry.describe(layer))(fn.zeros(1, 1, 4, 2)).shape == (1, 3)


# ---- printing ----------------------------------------------------------------------------------------------


def test_repr_is_torchs():
    torch = pytest.importorskip("torch")
    layers = lambda nn: nn.Sequential(  # noqa: E731
        nn.Conv2d(1, 4, 3, padding=1, bias=False),
        nn.ModuleDict({"a": nn.ReLU(), "b": nn.Sequential(nn.Tanh(), nn.Dropout(0.1))}),
        nn.Linear(2, 3),
    )
    assert repr(layers(nn)) == repr(layers(torch.nn)).replace(", inplace=False", "")


def test_summary():
    net = nn.Sequential(
        nn.Conv2d(1, 20, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Dropout(0.9), nn.Linear(2880, 10)
    )
    net[5].bias.requires_grad_(False)
    net[0].eval()
    s = net.summary((1, 28, 28))
    assert [row.output_shape for row in s.rows] == [
        (20, 24, 24),
        (20, 24, 24),
        (20, 12, 12),
        (2880,),
        (2880,),
        (10,),
    ]
    assert [row.parameters for row in s.rows] == [520, 0, 0, 0, 0, 28810]
    assert (s.parameters, s.trainable, s.bytes) == (29330, 29320, 4 * 29330)
    assert s.unshared == 20 * 24 * 24 * 26 + 28810
    assert "5 Linear" in str(s)
    assert "10 of them frozen" in str(s)
    assert net.training
    assert not net[0].training
    assert all(module._hooks is None for module in net.modules())
    with pytest.raises(Exception, match="in layer '5'"):
        net.summary((1, 20, 20))
    assert all(module._hooks is None for module in net.modules())


def test_summary_counts_a_shared_parameter_once():
    net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    net[1].weight = net[0].weight
    s = net.summary((3,))
    assert ([row.parameters for row in s.rows], s.parameters, s.unshared) == ([12, 3], 15, 15)


def test_a_layer_shows_the_signature_of_its_constructor():
    class Mine(nn.Module):
        def __init__(self, a, *, b=2):
            super().__init__()

        def forward(self, x):
            return x

    assert list(nn.Linear.__signature__.parameters)[:3] == ["in_features", "out_features", "bias"]
    assert str(inspect.signature(Mine)) == str(Mine.__signature__) == "(a, *, b=2)"
    assert not hasattr(Mine(1), "__signature__")
