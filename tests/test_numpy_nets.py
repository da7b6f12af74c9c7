"""The NumPy peers of the benchmark, against finite differences in float64 and, where installed, PyTorch."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
from bench import numpy_nets as nets
from bench import numpy_ops as nn

RNG = np.random.default_rng(7)


def numeric_gradient(f, x, eps=1e-6):
    """df/dx by central differences; f() reads x, which is changed in place."""
    grad = np.empty(x.shape)
    for i in np.ndindex(x.shape):
        old = x[i]
        x[i] = old + eps
        up = f()
        x[i] = old - eps
        grad[i] = (up - f()) / (2 * eps)
        x[i] = old
    return grad


def close(a, b, tolerance=1e-7):
    np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


def apart(shape):
    """Distinct values, 0.02 apart and never 0, so that no kink lies within a finite difference."""
    n = int(np.prod(shape))
    return RNG.permutation((np.arange(n) - n // 2 + 0.5) * 0.02).reshape(shape)


ACTIVATIONS = {
    "relu": (nn.relu, nn.relu_backward),
    "tanh": (nn.tanh, nn.tanh_backward),
    "sigmoid": (nn.sigmoid, nn.sigmoid_backward),
    "softmax": (nn.softmax, nn.softmax_backward),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation_gradient(name):
    forward, backward = ACTIVATIONS[name]
    x = apart((4, 7))
    dy = RNG.standard_normal(x.shape)
    close(backward(dy, forward(x)), numeric_gradient(lambda: np.sum(forward(x) * dy), x))


@pytest.mark.parametrize("name", ["sigmoid", "softmax", "tanh"])
def test_large_inputs_stay_finite(name):
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        y = ACTIVATIONS[name][0](np.array([[-1e4, 0, 1e4]], np.float32))
    assert np.isfinite(y).all()
    assert y.dtype == np.float32


def test_cross_entropy_gradient():
    logits, labels = RNG.standard_normal((5, 4)) * 3, np.array([0, 3, 1, 1, 2])
    loss, grad = nn.cross_entropy(logits, labels)
    close(loss, -np.log(nn.softmax(logits))[np.arange(5), labels].mean())
    close(grad, numeric_gradient(lambda: nn.cross_entropy(logits, labels)[0], logits))


def test_dropout_keeps_the_mean_and_its_mask_is_the_gradient():
    x = np.ones((400, 500), np.float32)
    y, mask = nn.dropout(x, 0.3, np.random.default_rng(0))
    assert y.dtype == np.float32
    assert abs(y.mean() - 1) < 0.01
    assert abs((y == 0).mean() - 0.3) < 0.01
    np.testing.assert_array_equal(nn.dropout_backward(x, mask), y)


def test_linear_gradients():
    x, w, b = RNG.standard_normal((5, 4)), RNG.standard_normal((3, 4)), RNG.standard_normal(3)
    dy = RNG.standard_normal((5, 3))
    for gradient, argument in zip(nn.linear_backward(dy, x, w), (x, w, b), strict=True):
        close(gradient, numeric_gradient(lambda: np.sum(nn.linear(x, w, b) * dy), argument))


# C, H, W, N, K, R, S, stride, padding, groups
CONVOLUTIONS = [
    (2, 5, 6, 3, 4, 3, 2, (1, 1), (0, 0), 1),
    (3, 7, 5, 2, 2, 3, 3, (2, 1), (1, 1), 1),
    (4, 6, 6, 1, 6, 2, 3, (1, 2), (0, 2), 2),
    (3, 5, 5, 2, 3, 3, 3, (1, 1), (1, 1), 3),
    (2, 4, 4, 3, 5, 1, 1, (2, 2), (0, 0), 1),
    (3, 4, 5, 2, 4, 1, 1, (1, 1), (0, 0), 1),
]


@pytest.mark.parametrize("case", CONVOLUTIONS, ids=str)
def test_convolution_gradients(case):
    c, h, w, n, k, r, s, stride, padding, groups = case
    x, weight, b = (
        RNG.standard_normal((c, h, w, n)),
        RNG.standard_normal((k, c // groups, r, s)),
        RNG.standard_normal(k),
    )
    y, cols = nn.conv2d(x, weight, b, stride, padding, groups)
    dy = RNG.standard_normal(y.shape)

    def loss():
        return np.sum(nn.conv2d(x, weight, b, stride, padding, groups)[0] * dy)

    close(nn.conv2d_grad_weight(dy, cols, weight, groups), numeric_gradient(loss, weight))
    close(nn.conv2d_grad_input(dy, weight, x.shape, stride, padding, groups, cols), numeric_gradient(loss, x))


@pytest.mark.parametrize("case", CONVOLUTIONS, ids=str)
def test_convolution_against_torch(case):
    torch = pytest.importorskip("torch")
    c, h, w, n, k, r, s, stride, padding, groups = case
    x, weight, b = (
        RNG.standard_normal((n, c, h, w)),
        RNG.standard_normal((k, c // groups, r, s)),
        RNG.standard_normal(k),
    )
    want = torch.nn.functional.conv2d(*map(torch.tensor, (x, weight, b)), stride, padding, 1, groups)
    got, _ = nn.conv2d(nn.batch_last(x), weight, b, stride, padding, groups)
    close(nn.batch_first(got), want.numpy(), 1e-12)


@pytest.mark.parametrize(("size", "kernel", "stride"), [(6, 2, 2), (7, 3, 2), (5, 3, 1), (7, 2, 3)])
def test_pool_gradients(size, kernel, stride):
    x = apart((2, size, size, 3))
    y = nn.max_pool2d(x, kernel, stride)
    dy = RNG.standard_normal(y.shape)
    expected = numeric_gradient(lambda: np.sum(nn.max_pool2d(x, kernel, stride) * dy), x)
    close(nn.max_pool2d_backward(dy, x, y, kernel, stride), expected)
    expected = numeric_gradient(lambda: np.sum(nn.avg_pool2d(x, kernel, stride) * dy), x)
    close(nn.avg_pool2d_backward(dy, x.shape, kernel, stride), expected)


@pytest.mark.parametrize(("kernel", "stride"), [(2, 2), (3, 2)])
def test_pool_against_torch_with_ties(kernel, stride):
    torch = pytest.importorskip("torch")
    x = RNG.integers(0, 3, (2, 3, 9, 9)).astype(
        np.float64
    )  # many equal maxima: the first of each window gets dy
    xt = torch.tensor(x, requires_grad=True)
    yt = torch.nn.functional.max_pool2d(xt, kernel, stride)
    dy = RNG.standard_normal(tuple(yt.shape))
    yt.backward(torch.tensor(dy))
    xl = nn.batch_last(x)
    y = nn.max_pool2d(xl, kernel, stride)
    close(nn.batch_first(y), yt.detach().numpy(), 0)
    close(
        nn.batch_first(nn.max_pool2d_backward(nn.batch_last(dy), xl, y, kernel, stride)),
        xt.grad.numpy(),
        1e-12,
    )
    average = torch.nn.functional.avg_pool2d(torch.tensor(x), kernel, stride)
    close(nn.batch_first(nn.avg_pool2d(xl, kernel, stride)), average.numpy(), 1e-12)


def test_optimisers_against_torch():
    torch = pytest.importorskip("torch")
    start = [RNG.standard_normal(shape) for shape in [(3, 4), (70_001,)]]
    steps = [[RNG.standard_normal(w.shape) for w in start] for _ in range(3)]

    def by_torch(make):
        parameters = [torch.nn.Parameter(torch.tensor(w)) for w in start]
        optimiser = make(parameters)
        for gradients in steps:
            for p, g in zip(parameters, gradients, strict=True):
                p.grad = torch.tensor(g)
            optimiser.step()
        return [p.detach().numpy() for p in parameters]

    plain, heavy, adaptive = ([w.copy() for w in start] for _ in range(3))
    velocities, means, squares = ([np.zeros_like(w) for w in start] for _ in range(3))
    for t, gradients in enumerate(steps, 1):
        nn.adam(adaptive, gradients, means, squares, t, lr=0.01)
        nn.sgd(heavy, [g.copy() for g in gradients], 0.1, 0.9, velocities)
        nn.sgd(plain, [g.copy() for g in gradients], 0.1)
    for got, make in (
        (plain, lambda p: torch.optim.SGD(p, lr=0.1)),
        (heavy, lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9)),
        (adaptive, lambda p: torch.optim.Adam(p, lr=0.01)),
    ):
        for a, b in zip(got, by_torch(make), strict=True):
            close(a, b, 1e-12)


def torch_lenet(torch):
    t = torch.nn
    convolutions = [
        t.Conv2d(1, 20, 5),
        t.ReLU(),
        t.MaxPool2d(2),
        t.Conv2d(20, 50, 5),
        t.ReLU(),
        t.MaxPool2d(2),
    ]
    return t.Sequential(*convolutions, t.Flatten(), t.Linear(800, 500), t.ReLU(), t.Linear(500, 10))


def torch_lenet5(torch):
    t = torch.nn
    convolutions = [
        t.Conv2d(1, 6, 5, padding=2),
        t.ReLU(),
        t.MaxPool2d(2),
        t.Conv2d(6, 16, 5),
        t.ReLU(),
        t.MaxPool2d(2),
    ]
    head = [t.Linear(400, 120), t.ReLU(), t.Linear(120, 84), t.ReLU(), t.Linear(84, 10)]
    return t.Sequential(*convolutions, t.Flatten(), *head)


@pytest.mark.parametrize("name", ["lenet", "lenet5", "mlp"])
def test_three_steps_of_a_net_against_torch(name):
    torch = pytest.importorskip("torch")
    if name == "mlp":
        net = nets.mlp((12, 9, 7, 3), RNG, np.float64)
        t = torch.nn
        model = t.Sequential(t.Linear(12, 9), t.ReLU(), t.Linear(9, 7), t.ReLU(), t.Linear(7, 3))
    else:
        net = {"lenet": nets.lenet, "lenet5": nets.lenet5}[name](RNG, np.float64)
        model = {"lenet": torch_lenet, "lenet5": torch_lenet5}[name](torch)
    model = model.double()
    with torch.no_grad():
        for p, w in zip(model.parameters(), net.parameters, strict=True):
            p.copy_(torch.tensor(w))
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(3):
        x = RNG.standard_normal((6, 12) if name == "mlp" else (6, 1, 28, 28))
        labels = RNG.integers(0, net.parameters[-1].size, 6)
        optimiser.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(torch.tensor(x)), torch.tensor(labels))
        loss.backward()
        optimiser.step()
        close(net.step(x, labels, 0.1), loss.item(), 1e-10)
    for p, w in zip(model.parameters(), net.parameters, strict=True):
        close(w, p.detach().numpy(), 1e-10)


def test_whole_net_by_finite_differences():
    net = nets.Net(
        [
            nets.Conv2d(2, 3, 3, RNG, dtype=np.float64),
            nets.ReLU(),
            nets.MaxPool2d(2),
            nets.Flatten(),
            nets.Linear(12, 5, RNG, np.float64),
        ]
    )
    x, labels = RNG.standard_normal((4, 2, 6, 6)), np.array([0, 4, 2, 2])
    net.loss_and_gradients(x, labels)
    gradients = [g.copy() for g in net.gradients]
    for parameter, gradient in zip(net.parameters, gradients, strict=True):
        close(
            gradient, numeric_gradient(lambda: nn.cross_entropy(net.forward(x), labels)[0], parameter), 1e-6
        )


def test_float32_stays_float32_and_learns():
    net = nets.lenet(np.random.default_rng(0))
    x = RNG.standard_normal((8, 1, 28, 28)).astype(np.float32)
    labels = np.arange(8)
    losses = [net.step(x, labels, 0.05) for _ in range(60)]
    assert losses[-1] < losses[0] / 10
    assert {p.dtype for p in net.parameters} == {np.dtype(np.float32)}
