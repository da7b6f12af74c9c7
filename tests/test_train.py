"""Trainer, history and callbacks."""

import json
import math
import sys
import types
from itertools import chain

import fastnn as fn
import fastnn.nn.functional as F
import numpy as np
import pytest
from fastnn import nn, optim
from fastnn.data import ArrayDataset, DataLoader
from fastnn.models import MLP, LeNet, LeNet5
from fastnn.train import Callback, EarlyStopping, History, ModelCheckpoint, ReduceLROnPlateau, Trainer


def xor(n=400, seed=0):
    x = np.random.default_rng(seed).normal(size=(n, 2)).astype(np.float32)
    return x, (x[:, 0] * x[:, 1] > 0).astype(np.int64)


def made(seed=0, lr=0.02, callbacks=(), dropout=0.0, metrics=("accuracy",)):
    _ = fn.manual_seed(seed)
    model = MLP([2, 16, 2], dropout=dropout)
    return Trainer(model, optim.Adam(model.parameters(), lr=lr), metrics=metrics, callbacks=callbacks)


# ---- fit, evaluate, predict --------------------------------------------------------------------------------


def test_learns_and_reports():
    trainer = made()
    history = trainer.fit(xor(), epochs=40, val=xor(100, 1), batch_size=32, verbose=0)
    assert list(history) == ["loss", "accuracy", "val_loss", "val_accuracy", "lr"]
    assert history is trainer.history
    assert history.epochs == len(history["loss"]) == 40
    assert history["loss"][-1] < history["loss"][0] / 3
    assert history["val_accuracy"][-1] > 0.9
    assert history.stopped is None
    result = trainer.evaluate(xor(100, 1))
    assert result["accuracy"] == pytest.approx(history["val_accuracy"][-1])
    assert result["loss"] == pytest.approx(history["val_loss"][-1], rel=1e-5)


def test_evaluate_is_the_mean_over_samples_whatever_the_batch():
    trainer, (x, y) = made(), xor(101)
    logits = trainer.model(fn.tensor(x)).detach().numpy().astype(np.float64)
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    expected = {"loss": -log_p[np.arange(101), y].mean(), "accuracy": (logits.argmax(1) == y).mean()}
    for batch_size in (7, 101, 1000):
        assert trainer.evaluate((x, y), batch_size) == pytest.approx(expected, rel=1e-5)


def test_predict():
    trainer, (x, y) = made(dropout=0.5), xor(50)
    expected = trainer.model.eval()(fn.tensor(x)).tolist()
    trainer.model.train()
    for data in (x, fn.tensor(x), x.astype(np.float64), (x, y), ArrayDataset(x, y), DataLoader((x, y), 7)):
        y_hat = trainer.predict(data, batch_size=8)
        np.testing.assert_allclose(y_hat.numpy(), expected, rtol=1e-6, atol=1e-6)
        assert not y_hat.requires_grad
    assert trainer.model.training


def test_modes_and_gradients_are_left_alone():
    trainer = made(dropout=0.5)
    frozen = trainer.model[2].eval()
    modes = lambda: [module.training for module in trainer.model.modules()]  # noqa: E731
    before = modes()
    trainer.evaluate(xor())
    trainer.fit(xor(), verbose=0, val=xor())
    assert modes() == before
    assert not frozen.training
    with pytest.raises(ValueError, match="empty"):
        trainer.predict(np.zeros((0, 2), np.float32))
    assert modes() == before
    trainer.model.zero_grad()
    trainer.evaluate(xor())
    assert all(p.grad is None for p in trainer.model.parameters())


def test_dropout_is_on_in_training_and_off_in_validation():
    seen = set()

    class Watch(nn.Module):
        def forward(self, x):
            seen.add((self.training, fn.is_grad_enabled()))
            return x

    model = nn.Sequential(nn.Linear(2, 2), Watch())
    trainer = Trainer(model.eval(), optim.SGD(model.parameters(), lr=0.1))
    trainer.fit(DataLoader(xor(), 50), val=DataLoader(xor(), 50), verbose=0)
    assert seen == {(True, True), (False, False)}


def test_same_seed_same_run():
    def run(seed, init=0, draws=0):
        trainer = made(init, dropout=0.3)
        for _ in range(draws):
            F.dropout(fn.ones(10))
        history = trainer.fit(xor(), epochs=3, seed=seed, batch_size=32, verbose=0)
        return dict(history), [p.tolist() for p in trainer.model.parameters()]

    assert run(5) == run(5, draws=3), "whatever was drawn before"
    assert run(5) != run(6)
    assert run(5, 0) != run(5, 1)
    assert run(None) == run(None), "the global generator was seeded"
    assert run(None) != run(None, draws=3), "and goes on"


def test_same_bits_on_any_number_of_threads():
    def run(threads):
        fn.set_num_threads(threads)
        _ = fn.manual_seed(0)
        model = LeNet()
        trainer = Trainer(model, optim.Adam(model.parameters()))
        images = np.random.default_rng(0).normal(size=(150, 1, 28, 28)).astype(np.float32)
        history = trainer.fit((images, np.arange(150) % 10), 2, batch_size=100, seed=1, verbose=0)
        return history["loss"], [p.detach().numpy().tobytes() for p in model.parameters()]

    before = fn.get_num_threads()
    try:
        assert run(1) == run(2) == run(3)
    finally:
        fn.set_num_threads(before)


def test_order_of_samples():
    class Recorder(nn.Linear):
        def forward(self, x):
            if self.training:
                seen.append(x.numpy()[:, 0].tolist())
            return super().forward(x)

    def order(**kwargs):
        seen.clear()
        model = Recorder(1, 2)
        data = (np.arange(10, dtype=np.float32).reshape(10, 1), np.zeros(10, int))
        Trainer(model, optim.SGD(model.parameters())).fit(data, 2, batch_size=4, verbose=0, **kwargs)
        assert [len(batch) for batch in seen] == [4, 4, 2] * 2
        return [*chain(*seen[:3])], [*chain(*seen[3:])]

    seen = []
    assert order(shuffle=False) == ([*range(10)], [*range(10)])
    first, second = order(seed=1)
    assert sorted(first) == sorted(second) == list(range(10))
    assert first != second
    assert first != list(range(10))
    assert order(seed=2)[0] != first


@pytest.mark.parametrize("kind", ["arrays", "lists", "dataset", "loader", "batches"])
def test_kinds_of_data(kind):
    x, y = xor(64)
    data = {
        "arrays": (x.astype(np.float64), y.astype(np.int32)),
        "lists": (x.tolist(), y.tolist()),
        "dataset": ArrayDataset(x, y),
        "loader": DataLoader((x, y), 32),
        "batches": _Batches(x, y),
    }[kind]
    trainer = made()
    history = trainer.fit(data, 2, val=data, batch_size=32, shuffle=False, verbose=0)
    expected = made().fit((x, y), 2, val=(x, y), batch_size=32, shuffle=False, verbose=0)
    assert history == expected


class _Batches:
    """Somebody else's loader: nothing but an iterable."""

    def __init__(self, x, y):
        self.x, self.y = x, y

    def __iter__(self):
        return iter([(self.x[:32], self.y[:32]), (self.x[32:], self.y[32:])])


def test_regression_with_bytes_and_own_metrics():
    x = np.random.default_rng(0).integers(0, 2, (200, 3)).astype(np.uint8)
    t = x.astype(np.float64) @ np.array([[1.0], [2.0], [-1.0]])
    model = nn.Linear(3, 1)
    worst = lambda output, target: (output - target).abs().max()  # noqa: E731
    trainer = Trainer(model, optim.SGD(model.parameters(), lr=0.2), F.mse_loss, {"mae": _mae, "worst": worst})
    history = trainer.fit((x, t), epochs=30, batch_size=20, verbose=0)
    assert history["loss"][-1] < 1e-3
    assert history["worst"][-1] < 0.1
    assert list(history) == ["loss", "mae", "worst", "lr"]
    np.testing.assert_allclose(model.weight.detach().numpy(), [[1, 2, -1]], atol=0.05)


def _mae(output, target):
    return (output - target).abs().mean()


# ---- checks of the data ------------------------------------------------------------------------------------


def with_nan(value):
    x, y = xor()
    x[[17, 50]] = value
    return x, y


def with_label(label):
    x, y = xor()
    y[7] = label
    return x, y


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (with_nan(np.nan), "the inputs of 2 of 400 samples hold NaN or infinity; the first is sample 17"),
        (with_nan(np.inf), "the inputs of 2 of 400"),
        (with_label(2), r"1 labels do not fit a model with 2 outputs: sample 7 has the label 2"),
        (with_label(-1), r"sample 7 has the label -1, but labels must lie in 0\.\.1"),
        ((xor()[0], xor()[1] + 1), "labels count from 0"),
        ((np.zeros((0, 2)), np.zeros(0, int)), "empty"),
        ((np.zeros((3, 2)), np.zeros(4, int)), "same first dimension"),
        ((np.zeros((3, 2)),), "inputs and targets"),
    ],
    ids=["nan", "inf", "large", "negative", "from 1", "empty", "lengths", "no target"],
)
@pytest.mark.parametrize("what", ["train", "val"])
def test_bad_data_is_refused_before_training(data, message, what):
    trainer = made()
    before = trainer.model.state_dict()["0.weight"].tolist()
    with pytest.raises(ValueError, match=f"{what}: .*{message}"):
        trainer.fit(**({"train": xor()} | {what: data}), verbose=0)
    assert trainer.model.state_dict()["0.weight"].tolist() == before


@pytest.mark.parametrize("data", [with_nan(np.nan), with_label(2)], ids=["nan", "label"])
def test_bad_data_in_a_loader_is_found_in_the_first_epoch(data):
    with pytest.raises(ValueError, match="train: "):
        made().fit(_Batches(*data), verbose=0)


def test_ignored_labels_are_no_mistake():
    made().fit(with_label(-100), verbose=0)


def test_wrong_input_names_the_layer():
    with pytest.raises(Exception, match="in layer '0' of MLP"):
        made().fit((np.zeros((3, 5)), np.zeros(3, int)), verbose=0)


def test_an_exhausted_loader_is_noticed():
    batches = iter([xor(32)])
    with pytest.raises(ValueError, match="no batches in epoch 2"):
        made().fit(batches, 2, verbose=0)


def test_loss_that_becomes_nan_stops_training_with_sound_weights():
    model = MLP([2, 4, 2])
    trainer = Trainer(model, optim.SGD(model.parameters(), lr=1e38))
    with pytest.warns(RuntimeWarning, match="loss became NaN in epoch 1, batch .*learning rate"):
        history = trainer.fit(xor(), 5, batch_size=8, verbose=0)
    assert "NaN" in history.stopped
    assert history.epochs == 0


def test_bad_arguments():
    model = MLP([2, 2])
    opt = optim.SGD(model.parameters())
    with pytest.raises(ValueError, match="unknown metric 'acuracy'; known: accuracy"):
        Trainer(model, opt, metrics=["acuracy"])
    with pytest.raises(TypeError, match=r"model must be an nn\.Module"):
        Trainer(opt, model)
    with pytest.raises(TypeError, match="opt must be an optimizer"):
        Trainer(model, model)
    with pytest.raises(TypeError, match="loss must be a function"):
        Trainer(model, opt, "mse")
    with pytest.raises(ValueError, match="one number"):
        Trainer(model, opt, lambda output, target: output).fit(xor(), verbose=0)
    with pytest.raises(TypeError, match="train: expected arrays"):
        Trainer(model, opt).fit(5)


# ---- interruption and callbacks ----------------------------------------------------------------------------


def test_interruption_keeps_model_and_history():
    class Interrupt(Callback):
        def on_batch_end(self, trainer, batch, logs):
            if trainer.history.epochs == 2 and batch == 1:
                raise KeyboardInterrupt

    trainer = made(callbacks=[EarlyStopping("loss"), Interrupt()])
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(xor(), 10, batch_size=32, verbose=0)
    assert trainer.history.epochs == 2
    assert "interrupted" in trainer.history.stopped
    assert math.isfinite(trainer.evaluate(xor())["loss"])
    assert trainer.evaluate(xor())["loss"] < trainer.history["loss"][0]
    trainer.callbacks.clear()
    assert trainer.fit(xor(), 2, verbose=0).epochs == 2


def test_order_of_callbacks():
    calls = []

    class Watch(Callback):
        def on_fit_begin(self, trainer):
            calls.append("fit")

        def on_epoch_begin(self, trainer, epoch):
            calls.append(f"begin {epoch}")

        def on_batch_end(self, trainer, batch, logs):
            calls.append(f"batch {batch} {list(logs)}")

        def on_epoch_end(self, trainer, epoch, logs):
            calls.append(f"end {epoch} {sorted(logs)}")
            trainer.stop("enough")

        def on_fit_end(self, trainer):
            calls.append("done")

    history = made(callbacks=[Watch()]).fit(xor(64), 5, batch_size=32, verbose=0)
    logs = "['accuracy', 'loss', 'lr']"
    assert calls == ["fit", "begin 0", "batch 0 ['loss']", "batch 1 ['loss']", f"end 0 {logs}", "done"]
    assert history.stopped == "enough"


class Script(Callback):
    """Plays given validation losses, and gives each epoch its own weights."""

    def __init__(self, losses):
        self.losses = losses

    def on_epoch_end(self, trainer, epoch, logs):
        logs["val_loss"] = self.losses[epoch]
        nn.init.constant_(trainer.model[0].bias, epoch)


def scripted(losses, *callbacks, lr=0.1):
    model = MLP([2, 2])
    trainer = Trainer(model, optim.SGD(model.parameters(), lr=lr), callbacks=[Script(losses), *callbacks])
    return trainer, trainer.fit(xor(8), len(losses), verbose=0)


def test_early_stopping_restores_the_best_weights():
    stopping = EarlyStopping(patience=3)
    trainer, history = scripted([5, 6, 2, 3, 3, 1, 1, 4, 2, 0], stopping)
    assert history.epochs == 9
    assert history.stopped == "val_loss has not improved for 3 epochs"
    assert stopping.best_epoch == 5
    assert trainer.model[0].bias.tolist() == [5, 5]


def test_early_stopping_settings():
    trainer, history = scripted([5, 4, 2, 3], EarlyStopping(patience=3, restore_best=False))
    assert (history.epochs, trainer.model[0].bias.tolist()) == (4, [3, 3])
    trainer, _ = scripted([1, 2, 3], EarlyStopping(patience=2, mode="max"))
    assert trainer.model[0].bias.tolist() == [2, 2]
    trainer, history = scripted([5, 4.9, 4.8, 4.7], EarlyStopping(patience=2, min_delta=0.5))
    assert (history.epochs, trainer.model[0].bias.tolist()) == (3, [0, 0])
    with pytest.raises(ValueError, match=r"no 'val_loss' to monitor.*val=.*there is: loss, accuracy, lr"):
        made(callbacks=[EarlyStopping()]).fit(xor(), verbose=0)
    with pytest.raises(ValueError, match="mode must be"):
        EarlyStopping(mode="least")
    with pytest.raises(ValueError, match="patience"):
        EarlyStopping(patience=-1)


def test_reduce_lr_divides_then_stops():
    losses = [3, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1]
    _, history = scripted(losses, ReduceLROnPlateau(factor=0.2, patience=2, min_lr=0.003))
    rates = [0.1] * 4 + [0.02] * 3 + [0.004] * 2
    assert history["lr"] == pytest.approx(rates)
    assert history.epochs == 9
    assert "learning rate has reached its minimum" in history.stopped
    for bad in ({"factor": 1.0}, {"factor": 0.0}, {"patience": 0}, {"min_lr": -1}):
        with pytest.raises(ValueError, match="ReduceLROnPlateau"):
            ReduceLROnPlateau(**bad)


def test_checkpoint(tmp_path):
    best, every = tmp_path / "best.safetensors", tmp_path / "at-{epoch:02d}-{val_loss:.1f}.safetensors"
    scripted([3, 1, 2], ModelCheckpoint(best), ModelCheckpoint(every, save_best_only=False))
    assert fn.load(str(best))["0.bias"].tolist() == [1, 1]
    names = ["at-01-3.0.safetensors", "at-02-1.0.safetensors", "at-03-2.0.safetensors"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [*names, "best.safetensors"]
    assert fn.load(str(tmp_path / names[2]))["0.bias"].tolist() == [2, 2]


# ---- history and printing ----------------------------------------------------------------------------------


def test_history(tmp_path):
    history = History()
    history.append({"loss": 0.25, "lr": 0.1}, 0.5)
    history.append({"loss": math.inf, "val_loss": 2, "lr": 0.05}, 12.6)
    assert history["loss"] == [0.25, math.inf]
    assert math.isnan(history["val_loss"][0])
    assert history["val_loss"][1] == 2
    history.stopped = "why"
    text = history.to_json(tmp_path / "history.json")
    read = json.loads((tmp_path / "history.json").read_text(), parse_constant=pytest.fail)
    assert read == json.loads(text)
    assert read["history"]["loss"] == [0.25, None]
    assert (read["epochs"], read["stopped"]) == (2, "why")
    lines = str(history).splitlines()
    assert lines[0].split() == ["epoch", "loss", "lr", "val_loss", "seconds"]
    assert lines[2].split() == ["2", "inf", "0.05", "2", "13"]
    assert lines[3] == "stopped: why"
    assert len({len(line) for line in lines[:3]}) == 1


def test_printing(capsys):
    made().fit(xor(), 2, verbose=0)
    assert capsys.readouterr() == ("", "")
    made().fit(xor(), 2, val=xor(), verbose=1)
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert len(lines) == 2
    assert lines[1].startswith("epoch 2/2  loss 0.")
    assert all(word in lines[1] for word in ("accuracy", "val_loss", "val_accuracy", "lr 0.02", " s"))
    assert err == ""


def test_bar_where_somebody_watches(monkeypatch, capsys):
    bars = []

    class tqdm:
        def __init__(self, batches, **settings):
            bars.append(settings | {"batches": len(batches)})
            self.batches = batches

        def __iter__(self):
            return iter(self.batches)

    monkeypatch.setitem(sys.modules, "tqdm", types.SimpleNamespace(tqdm=tqdm))
    made().fit(xor(), 1, verbose=1)
    assert bars == [], "nobody watches a pipe"
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    made().fit(xor(), 2, verbose=1)
    assert [(bar["desc"], bar["total"], bar["batches"]) for bar in bars] == [
        ("epoch 1/2", 4, 4),
        ("epoch 2/2", 4, 4),
    ]
    made().fit(xor(), 1, verbose=2)
    made().fit(xor(), 1, verbose=0)
    assert len(bars) == 2
    monkeypatch.setitem(sys.modules, "tqdm", None)  # not installed
    assert made().fit(xor(), 1, verbose=1).epochs == 1
    assert capsys.readouterr().out.count("epoch") == 5


# ---- models ------------------------------------------------------------------------------------------------


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
