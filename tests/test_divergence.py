"""When numbers stop to be finite, training stops with the state that was there before."""

import math

import fastnn as fn
import fastnn.nn.functional as F
import numpy as np
import pytest
from fastnn import nn, optim
from fastnn.cli import main
from fastnn.models import MLP
from fastnn.train import Trainer
from test_train import xor


def finite(model):
    return all(np.isfinite(value.numpy()).all() for value in model.state_dict().values())


def fit(trainer, data, match, **settings):
    with pytest.warns(RuntimeWarning, match=match):
        history = trainer.fit(data, verbose=0, **settings)
    assert history.diverged
    assert finite(trainer.model)
    return history


class Norm(nn.Module):
    """Its value is finite at 0, its gradient is not."""

    def __init__(self):
        super().__init__()
        self.l = nn.Linear(4, 3, bias=False)

    def forward(self, x):
        return (self.l(x) ** 2).sqrt()


@pytest.mark.parametrize("optimizer", [optim.SGD, optim.Adam])
def test_a_gradient_of_nan_spoils_nothing(optimizer):
    model = Norm()
    x = np.random.default_rng(0).normal(size=(64, 4)).astype(np.float32)
    x[40] = 0
    trainer = Trainer(model, optimizer(model.parameters(), lr=0.05), metrics=["accuracy"])
    kept = []
    trainer.callbacks.append(_Watch(lambda: kept.append(model.l.weight.tolist())))
    history = fit(
        trainer, (x, np.zeros(64, int)), r"gradient of 'l\.weight' became NaN or infinite in epoch 1, batch 3",
        epochs=2, batch_size=16, shuffle=False,
    )  # fmt: skip
    assert model.l.weight.tolist() == kept[-1], "the weights before that step"
    assert len(kept) == 2
    assert history.epochs == len(history["loss"]) == len(history["accuracy"]) == 1
    assert math.isfinite(history["loss"][0])


class _Watch(fn.train.Callback):
    def __init__(self, call):
        self.call = call

    def on_batch_end(self, trainer, batch, logs):
        self.call()


def test_an_infinite_loss_stops_before_the_step():
    model = nn.Linear(2, 1)
    before = model.state_dict()["weight"].tolist()
    x = np.full((8, 2), 1e30, np.float32)
    trainer = Trainer(model, optim.SGD(model.parameters(), lr=0.1), F.mse_loss)
    history = fit(trainer, (x, np.zeros((8, 1), np.float32)), "loss became infinite in epoch 1, batch 1")
    assert model.weight.tolist() == before
    assert history["loss"] == [math.inf]


def test_running_statistics_are_those_before_the_step():
    model = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    trainer = Trainer(model, optim.SGD(model.parameters(), lr=0.1), _nan_at(3))
    fit(trainer, xor(64), "NaN", batch_size=16, shuffle=False)
    assert model[1].num_batches_tracked.item() == 2


def _nan_at(batch):
    batches = iter(range(1, 100))
    return lambda output, y: F.cross_entropy(output, y) * (math.nan if next(batches) == batch else 1.0)


def test_running_statistics_that_overflow_are_noticed():
    model = nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, 2))
    x, y = xor(64)
    x[40] = 1e38  # normalised it is finite, its variance is not
    trainer = Trainer(model, optim.SGD(model.parameters(), lr=0.1))
    fit(trainer, (x, y), "running statistics became infinite", batch_size=16, shuffle=False)
    assert model[0].num_batches_tracked.item() == 0


def test_a_step_that_overflows_is_undone():
    """lr times gradient: infinite, though the loss and its gradient were not."""
    model = nn.Linear(2, 1)
    before = model.weight.tolist()
    trainer = Trainer(model, optim.SGD(model.parameters(), lr=1e38), F.mse_loss)
    data = (np.full((8, 2), 100, np.float32), np.zeros((8, 1), np.float32))
    fit(
        trainer,
        data,
        "weights or running statistics became infinite in epoch 1; training ends with the weights before that epoch",
    )
    assert model.weight.tolist() == before
    fit(trainer, data, "before that epoch", batch_size=4, epochs=3)
    assert model.weight.tolist() == before


def test_a_state_of_the_optimizer_that_overflows_is_undone():
    """Squares of a gradient: infinite, though the gradient and all weights are finite, and stay as they are for ever."""
    model = nn.Linear(2, 1)
    before = model.weight.tolist()
    x = np.ones((8, 2), np.float32)
    y = np.ones((8, 1), np.float32)
    trainer = Trainer(model, optim.Adam(model.parameters(), lr=0.1), lambda output, target: output.mean())
    x[3] = 1e25
    fit(
        trainer,
        (x, y),
        "the optimizer's state became infinite in epoch 1; .* before that epoch",
        batch_size=1,
    )
    assert model.weight.tolist() == before
    x[3] = 1
    history = trainer.fit((x, y), verbose=0)
    assert not history.diverged
    assert model.weight.tolist() != before


def test_sound_training_is_no_divergence():
    model = MLP([2, 4, 2])
    model.register_buffer("mask", fn.tensor([-math.inf, 0.0]))  # meant to be infinite
    history = Trainer(model, optim.SGD(model.parameters(), lr=0.1)).fit(xor(), 2, verbose=0)
    assert (history.diverged, history.stopped, history.epochs) == (False, None, 2)


def test_the_command_fails_and_keeps_the_old_file(tmp_path, capsys):
    out = tmp_path / "digits.safetensors"
    out.write_bytes(b"a good model")
    options = ["--model", "mlp", "--epochs", "3", "--lr", "1e30", "--out", str(out)]
    assert main(["train", *options]) == 1
    errors = capsys.readouterr().err
    assert errors.count("\n") == 1
    assert "became" in errors
    assert "nothing was saved" in errors
    assert out.read_bytes() == b"a good model"
