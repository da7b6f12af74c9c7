"""Where learning starts: statistics of the random weights, against what the papers and PyTorch say."""

import math

import fastnn as fn
import numpy as np
import pytest
from fastnn import nn
from fastnn.nn import init


@pytest.fixture(autouse=True)
def _seed():
    _ = fn.manual_seed(1)


def check_uniform(tensor, bound):
    x = tensor.detach().numpy().ravel()
    n = x.size
    assert np.abs(x).max() <= bound
    assert np.abs(x).max() > bound * (1 - 20 / n), "reaches towards the bound"
    assert abs(x.mean()) < 5 * bound / math.sqrt(3 * n)
    assert x.std() == pytest.approx(bound / math.sqrt(3), rel=5 / math.sqrt(n))


def check_normal(tensor, std, mean=0.0):
    x = (tensor.detach().numpy().ravel() - mean) / std
    n = x.size
    assert abs(x.mean()) < 5 / math.sqrt(n)
    assert x.std() == pytest.approx(1, rel=5 / math.sqrt(2 * n))
    assert np.mean(np.abs(x) < 1) == pytest.approx(0.6827, abs=2.5 / math.sqrt(n)), "bell-shaped"
    assert np.mean(x**4) == pytest.approx(3, abs=50 / math.sqrt(n))


@pytest.mark.parametrize(
    ("layer", "fan_in"),
    [(nn.Linear(400, 300), 400), (nn.Conv2d(16, 64, (5, 3)), 240), (nn.Conv2d(16, 64, 5, groups=4), 100)],
    ids=["linear", "conv", "grouped"],
)
def test_default_is_pytorchs(layer, fan_in):
    check_uniform(layer.weight, 1 / math.sqrt(fan_in))
    check_uniform(layer.bias, 1 / math.sqrt(fan_in))


def test_default_equals_kaiming_with_sqrt_5():
    weight = fn.empty(100, 300)
    check_uniform(init.kaiming_uniform_(weight, a=math.sqrt(5)), 1 / math.sqrt(300))


@pytest.mark.parametrize(
    ("word", "std"),
    [("0.02", 0.02), ("scaled", 1 / 20), ("scaled:0.1", 0.1 / 20)],
    ids=["lazy", "scaled", "0.1"],
)
@pytest.mark.parametrize("kind", ["linear", "conv"])
def test_the_lectures_two(word, std, kind):
    layer = nn.Linear(400, 300, init=word) if kind == "linear" else nn.Conv2d(16, 100, 5, init=word)
    check_normal(layer.weight, std)
    assert float(layer.bias.abs().max()) == 0


def test_generic_fills():
    x = fn.empty(300, 200)
    check_uniform(init.uniform_(x, -0.3, 0.3), 0.3)
    check_normal(init.normal_(x, 2.0, 0.5), 0.5, 2.0)
    assert init.constant_(x, 1.5) is x
    assert set(x.numpy().ravel()) == {1.5}
    assert float(init.ones_(x).sum()) == 60_000
    assert float(init.zeros_(x).sum()) == 0
    check_uniform(init.uniform_(fn.empty(300, 200, dtype=fn.float64), -1, 1), 1)


def test_scaled_fills():
    x = fn.empty(300, 20, 5, 2)  # fan 200 in, 3000 out
    check_uniform(init.xavier_uniform_(x, gain=2), 2 * math.sqrt(6 / 3200))
    check_normal(init.xavier_normal_(x), math.sqrt(2 / 3200))
    check_uniform(init.kaiming_uniform_(x, nonlinearity="relu"), math.sqrt(6 / 200))
    check_normal(init.kaiming_normal_(x, mode="fan_out", nonlinearity="relu"), math.sqrt(2 / 3000))
    check_normal(init.kaiming_normal_(x, a=0.5), math.sqrt(2 / 1.25 / 200))


def test_gains_are_torchs():
    torch = pytest.importorskip("torch")
    for name in ("linear", "conv2d", "sigmoid", "tanh", "relu", "selu", "leaky_relu"):
        assert init.calculate_gain(name) == pytest.approx(torch.nn.init.calculate_gain(name))
    assert init.calculate_gain("leaky_relu", 0.2) == pytest.approx(
        torch.nn.init.calculate_gain("leaky_relu", 0.2)
    )


def test_no_history_on_parameters():
    layer = nn.Linear(3, 3)
    init.normal_(layer.weight)
    assert layer.weight.is_leaf
    assert layer.weight.requires_grad


def test_the_seed_decides():
    def weights(seed):
        _ = fn.manual_seed(seed)
        return nn.Linear(5, 5).weight.tolist()

    assert weights(1) == weights(1)
    assert weights(1) != weights(2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: init.uniform_(x, 1, 0), "must not exceed"),
        (lambda x: init.normal_(x, 0, -1), "at least 0"),
        (lambda x: init.kaiming_normal_(x, mode="fan"), "fan_in"),
        (lambda x: init.calculate_gain("gelu!"), "unknown nonlinearity"),
        (lambda x: init.xavier_normal_(x[0]), "at least two dimensions"),
    ],
)
def test_bad_settings(call, message):
    with pytest.raises(ValueError, match=message):
        call(fn.zeros(3, 3))
