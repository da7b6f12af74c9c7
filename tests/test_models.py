"""The models that come with the package."""

import fastnn as fn
import pytest
from fastnn.models import MLP, LeNet, LeNet5


@pytest.mark.parametrize("make", [LeNet, LeNet5])
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (1, 17, 20), (2, 12, 15)])
def test_lenet_takes_what_it_was_made_for(make, shape):
    model = make(classes=7, input_shape=shape)
    assert model(fn.zeros(2, *shape)).shape == (2, 7)


def test_lenet_sizes():
    assert [tuple(p.shape) for p in LeNet().parameters()][::2] == [
        (20, 1, 5, 5),
        (50, 20, 5, 5),
        (500, 800),
        (10, 500),
    ]
    assert LeNet(input_shape=(1, 8, 8))(fn.zeros(1, 1, 8, 8)).shape == (1, 10)
    with pytest.raises(ValueError, match="at least 4 x 4, not 3 x 9"):
        LeNet(input_shape=(1, 3, 9))
    with pytest.raises(ValueError, match="channels, height, width"):
        LeNet5(input_shape=(28, 28))


def test_mlp():
    model = MLP([3, 5, 4, 2], activation="tanh", dropout=0.5, init="0.02")
    names = ["Linear", "Tanh", "Dropout", "Linear", "Tanh", "Dropout", "Linear"]
    assert [type(layer).__name__ for layer in model] == names
    assert float(model[0].bias.abs().sum()) == 0
    with pytest.raises(ValueError, match="activation must be one of relu"):
        MLP([2, 2], activation="step")
    with pytest.raises(ValueError, match="at least an input and an output"):
        MLP([2])
