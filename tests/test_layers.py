"""Layers and losses against PyTorch, and how models are printed."""

import fastnn as fn
import fastnn.nn.functional as F
import numpy as np
import pytest
from fastnn import nn
from test_nn import close, floats, rng

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
