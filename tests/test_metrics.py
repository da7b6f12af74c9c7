"""Losses and metrics are means over what counts, however the data is cut into batches; a metric states its direction."""

import functools
import math

import fastnn as fn
import fastnn.nn.functional as F
import numpy as np
import pytest
from fastnn import nn, optim
from fastnn.train import Callback, EarlyStopping, ModelCheckpoint, Trainer, accuracy, metric
from fastnn.train.metrics import direction

CLASS_WEIGHTS = (1.0, 10.0, 100.0)


def trainer_of(loss=F.cross_entropy, metrics=(), outputs=3, **settings):
    _ = fn.manual_seed(0)
    model = nn.Linear(4, outputs)
    return Trainer(model, optim.SGD(model.parameters(), lr=0.1), loss, metrics, **settings)


def data(ignored=0, value=-100):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(65, 4)).astype(np.float32), rng.integers(0, 3, 65)
    y[:ignored] = value
    return x, y


def weights():
    return fn.tensor(CLASS_WEIGHTS)


LOSSES = {
    "ignored": (lambda: F.cross_entropy, -100),
    "ignored by a module": (lambda: nn.CrossEntropyLoss(ignore_index=7), 7),
    "ignored by a partial": (lambda: functools.partial(F.cross_entropy, ignore_index=7), 7),
    "ignored by a lambda": (lambda: lambda output, y: F.cross_entropy(output, y), -100),
    "weighted": (lambda: nn.CrossEntropyLoss(weights()), -100),
    "weighted by a partial": (lambda: functools.partial(F.cross_entropy, weight=weights()), -100),
    "smoothed": (lambda: nn.CrossEntropyLoss(weights(), label_smoothing=0.2), -100),
    "nll": (lambda: nn.NLLLoss(weights()), -100),
    "nll function": (lambda: F.nll_loss, -100),
}


@pytest.mark.parametrize("name", LOSSES)
def test_the_loss_is_the_same_for_any_batch(name):
    loss, ignored = LOSSES[name][0](), LOSSES[name][1]
    x, y = data(30, ignored)
    trainer = trainer_of(loss, ["accuracy"])
    expected = loss(trainer.model(fn.tensor(x)), fn.tensor(y)).item()
    right = (trainer.predict(x).numpy().argmax(1) == y)[30:].mean()
    for batch_size in (65, 16, 1):
        result = trainer.evaluate((x, y), batch_size)
        assert result["loss"] == pytest.approx(expected, rel=1e-5)
        assert result["accuracy"] == pytest.approx(right)


@pytest.mark.parametrize("loss", [nn.CrossEntropyLoss(reduction="sum"), nn.MSELoss("sum")])
def test_a_sum_is_told_per_sample(loss):
    x, y = data()
    y = y if isinstance(loss, nn.CrossEntropyLoss) else x[:, :3]
    trainer = trainer_of(loss)
    expected = loss(trainer.model(fn.tensor(x)), fn.tensor(y)).item() / 65
    for batch_size in (65, 16, 1):
        assert trainer.evaluate((x, y), batch_size)["loss"] == pytest.approx(expected, rel=1e-5)


def test_own_losses_and_metrics_may_say_what_they_are_means_of():
    x, y = data()
    sample_weights = fn.tensor(np.linspace(0.0, 2.0, 3).astype(np.float32))

    def weighted(output, target):
        w = sample_weights[target]
        losses = F.cross_entropy(output, target, reduction="none")
        return (losses * w).sum() / w.sum(), w.sum().item()

    trainer = trainer_of(weighted, {"same": weighted})
    expected = trainer.evaluate((x, y), 65)
    for batch_size in (16, 5):
        assert trainer.evaluate((x, y), batch_size) == pytest.approx(expected, rel=1e-5)
    assert expected["same"] == pytest.approx(expected["loss"], rel=1e-5)


def test_a_batch_without_a_label_that_counts_is_no_divergence():
    trainer = trainer_of(metrics=["accuracy"])
    history = trainer.fit(data(30), batch_size=10, shuffle=False, verbose=0)
    assert history.stopped is None
    assert math.isfinite(history["loss"][0])
    before = trainer.model.weight.tolist()
    with pytest.raises(ValueError, match=r"nothing can be learned in epoch 1: .*ignores \(-100\)"):
        trainer.fit(data(65), batch_size=10, verbose=0)
    assert trainer.model.weight.tolist() == before


@pytest.mark.parametrize("name", ["mse", "mae"])
def test_errors_of_different_shapes_are_refused(name):
    x, _ = data()
    trainer = trainer_of(lambda output, t: F.mse_loss(output.reshape(-1), t), [name], outputs=1)
    with pytest.raises(ValueError, match=rf"{name}: .*same shape, not \(65, 1\) and \(65,\)"):
        trainer.evaluate((x, x[:, 0]))


def test_accuracy_refuses_what_it_would_broadcast_or_cannot_miss():
    assert accuracy(fn.tensor([[0.0, 1.0], [1.0, 0.0], [0.0, 1.0]]), fn.tensor([1, -100, 0])) == 0.5
    with pytest.raises(ValueError, match=r"expected outputs .*not \(4, 2, 1\) and \(4, 5\)"):
        accuracy(fn.zeros(4, 2, 1), fn.zeros(4, 5, dtype=fn.int64))
    with pytest.raises(ValueError, match="one class"):
        accuracy(fn.zeros(4, 1), fn.zeros(4, dtype=fn.int64))


@pytest.mark.parametrize("loss", [F.cross_entropy, nn.CrossEntropyLoss(), functools.partial(F.cross_entropy)])
@pytest.mark.parametrize("y", [np.zeros(65, int), np.zeros((65, 1), np.float32)], ids=["labels", "numbers"])
def test_cross_entropy_of_one_output_is_refused(loss, y):
    for batches in ((data()[0], y), iter([(data()[0], y)])):
        with pytest.raises(ValueError, match=r"train: cross-entropy .* one class, is always 0.*mse_loss"):
            trainer_of(loss, outputs=1).fit(batches, verbose=0)


# ---- names -------------------------------------------------------------------------------------------------


def test_no_metric_is_lost_to_another_of_its_name():
    first, second = (lambda output, target: 1.0), (lambda output, target: 2.0)
    with pytest.raises(ValueError, match=r"two metrics are called '<lambda>'; name them"):
        trainer_of(metrics=[first, second])
    assert trainer_of(metrics={"a": first, "b": second}).evaluate(data())["b"] == 2
    assert list(trainer_of(metrics=["accuracy", accuracy]).metrics) == ["accuracy"]
    assert list(trainer_of(metrics=accuracy).metrics) == ["accuracy"]
    for name in ("loss", "lr", "val_loss"):
        with pytest.raises(ValueError, match=f"cannot be called '{name}'"):
            trainer_of(metrics={name: first})
    with pytest.raises(TypeError, match="'a' must be a function, not a int"):
        trainer_of(metrics={"a": 1})


# ---- directions --------------------------------------------------------------------------------------------

F1 = (0.1, 0.9, 0.8, 0.2)


class Clock(Callback):
    now = 0

    def on_epoch_begin(self, trainer, epoch):
        Clock.now = epoch


def played(output, target):
    return F1[Clock.now]


def best_epoch(function, name="f1", mode="auto"):
    stopping = EarlyStopping(f"val_{name}", patience=9, mode=mode)
    trainer = trainer_of(metrics={name: function}, callbacks=[Clock(), stopping])
    trainer.fit(data(), epochs=4, val=data(), verbose=0)
    return stopping.best_epoch


def test_a_metric_states_its_direction():
    assert best_epoch(metric("max")(lambda *both: played(*both))) == 1
    assert best_epoch(metric("min")(lambda *both: played(*both))) == 0
    assert best_epoch(played, mode="max") == 1
    assert best_epoch(played, "accuracy") == 1
    assert best_epoch(played, "mse") == 0
    with pytest.raises(ValueError, match="mode must be"):
        metric("up")


@pytest.mark.parametrize("name", ["f1", "inaccuracy", "r2"])
def test_an_unknown_direction_is_asked_for_before_training(name):
    with pytest.raises(ValueError, match=f"'val_{name}' shall rise or fall is not known: give mode='max'"):
        best_epoch(played, name)
    trainer = trainer_of(metrics={name: played}, callbacks=[ModelCheckpoint("x", f"val_{name}")])
    before = trainer.model.weight.tolist()
    with pytest.raises(ValueError, match="mode='max'"):
        trainer.fit(data(), val=data(), verbose=0)
    assert trainer.model.weight.tolist() == before


class Heavier(nn.CrossEntropyLoss):
    def forward(self, output, target):
        return 2 * super().forward(output, target)


def masked(output, target):
    counts = (target >= 0).to(fn.float32)
    return ((output[:, 0] - target.to(fn.float32)) ** 2 * counts).sum() / counts.sum()


@pytest.mark.parametrize(
    ("loss", "outputs"),
    [
        (Heavier(fn.tensor([1.0, 10.0, 100.0])), 3),
        (nn.CrossEntropyLoss(fn.tensor([1.0, 10.0, 100.0])).forward, 3),
        (nn.CrossEntropyLoss(reduction="sum").forward, 3),
        (lambda output, target: F.mse_loss(output.reshape(-1), target.to(fn.float32)), 1),
        (lambda output, target: F.mse_loss(output.sum(1), target.to(fn.float32)), 3),
        (lambda output, target: masked(output, target), 3),
    ],
    ids=[
        "a loss derived from ours",
        "a bound method",
        "a bound method that adds up",
        "numbers that look like labels",
        "numbers of several outputs",
        "a mask of its own",
    ],
)
def test_the_loss_is_the_same_for_any_batch_size_however_it_is_given(loss, outputs):
    rng = np.random.default_rng(0)
    x, y = rng.random((65, 4), np.float32), rng.integers(0, 3, 65)
    y[30:] = -100
    trainer = trainer_of(loss, outputs=outputs)
    n = 30 if "sum" in str(getattr(loss, "__self__", "")) else 1
    losses = [trainer.evaluate((x, y), batch)["loss"] for batch in (65, 16, 1)]
    np.testing.assert_allclose(losses, losses[0], rtol=1e-5)
    assert losses[0] == pytest.approx(trainer.loss(trainer.model(fn.tensor(x)), fn.tensor(y)).item() / n)


def test_whether_a_loss_ignores_labels_is_found_out_without_a_trace():
    """Labels of a sequence, classes last; the loss draws random numbers."""
    rng = np.random.default_rng(0)
    x, y = rng.random((16, 5, 4), np.float32), rng.integers(0, 3, (16, 5))
    y[3, 2:] = y[9] = -100

    def loss(output, target):
        return F.cross_entropy(output.reshape(-1, 3), target.reshape(-1)) + 0 * fn.rand(1).sum()

    trainer = trainer_of(loss)
    _, before = fn.get_rng_state()
    losses = [trainer.evaluate((x, y), batch)["loss"] for batch in (16, 1)]
    assert fn.get_rng_state()[1] - before == 16 + 1, "a draw per batch"
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_whole_numbers_are_a_target_of_ones_own_loss():
    loss = lambda output, target: F.mse_loss(output.reshape(-1), target.to(fn.float32))  # noqa: E731
    trainer = trainer_of(loss, outputs=1)
    x, y = data()
    assert math.isfinite(trainer.fit((x, y + 5), verbose=0)["loss"][0])
    assert math.isfinite(trainer.fit((x, y * 0 - 100), verbose=0)["loss"][0])


def test_a_partial_of_a_metric():
    rng = np.random.default_rng(0)
    x, y = rng.random((65, 4), np.float32), rng.integers(0, 3, 65)
    model = nn.Linear(4, 3)
    partial = functools.partial(accuracy, ignore_index=0)
    trainer = Trainer(model, optim.SGD(model.parameters(), lr=0.1), metrics=[partial])
    hits = model(fn.tensor(x)).argmax(1).numpy()[y != 0] == y[y != 0]
    for batch in (65, 16, 1):
        assert trainer.evaluate((x, y), batch)["accuracy"] == pytest.approx(hits.mean())
    assert direction("val_accuracy", trainer.metrics) == "max"
