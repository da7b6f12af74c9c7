"""What happens between epochs: interruption, callbacks, history, printing."""

import json
import math
import sys
import types

import fastnn as fn
import pytest
from fastnn import nn, optim
from fastnn.models import MLP
from fastnn.train import Callback, EarlyStopping, History, ModelCheckpoint, ReduceLROnPlateau, Trainer
from test_train import made, xor


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


def test_a_second_fit_keeps_the_best_file(tmp_path):
    best = tmp_path / "best.safetensors"
    script, checkpoint = Script([3, 1, 2]), ModelCheckpoint(best)
    model = MLP([2, 2])
    trainer = Trainer(model, optim.SGD(model.parameters(), lr=0.1), callbacks=[script, checkpoint])
    trainer.fit(xor(8), 3, verbose=0)
    for losses, bias in (([9, 8, 7], 1), ([9, 8, 0.5], 2)):  # worse; at last better
        script.losses = losses
        trainer.fit(xor(8), 3, verbose=0)
        assert fn.load(best)["0.bias"].tolist() == [bias, bias]
    other = MLP([2, 2])
    script.losses = [5]
    Trainer(other, optim.SGD(other.parameters()), callbacks=[script, checkpoint]).fit(xor(8), verbose=0)
    assert fn.load(best)["0.bias"].tolist() == [0, 0], "the first of another model is its best"


def test_a_checkpoint_remembers_the_best_of_every_model(tmp_path):
    checkpoint = ModelCheckpoint(tmp_path / "best.safetensors")
    models = [MLP([2, 2]), MLP([2, 2])]
    saved = []
    for number, loss in ((0, 1), (1, 5), (0, 9), (1, 4)):
        (tmp_path / "best.safetensors").unlink(missing_ok=True)
        opt = optim.SGD(models[number].parameters())
        Trainer(models[number], opt, callbacks=[Script([loss]), checkpoint]).fit(xor(8), verbose=0)
        saved.append((tmp_path / "best.safetensors").exists())
    assert saved == [True, True, False, True]


class Fail(Callback):
    def __init__(self, event, epoch=None):
        def fail(trainer, number=None, logs=None):
            if number == epoch:
                raise RuntimeError(f"in {event}")

        setattr(self, event, fail)


def test_an_error_ends_training_as_an_interruption_does():
    stopping = EarlyStopping(patience=9)
    callbacks = [Script([5, 2, 3, 4]), Fail("on_epoch_end", 2), Fail("on_fit_end"), stopping]
    model = MLP([2, 2])
    trainer = Trainer(model, optim.SGD(model.parameters(), lr=0.1), callbacks=callbacks)
    with pytest.raises(RuntimeError, match="in on_fit_end") as caught:
        trainer.fit(xor(8), 4, verbose=0)
    assert "in on_epoch_end" in str(caught.value.__context__)
    assert trainer.history.stopped == "RuntimeError: in on_epoch_end"
    assert (stopping.best_epoch, model[0].bias.tolist()) == (1, [1, 1]), "the best weights are back"
    assert all(parameter.grad is None for parameter in model.parameters())


class Own(Callback):
    pass


@pytest.mark.parametrize(
    ("callback", "message"),
    [
        (EarlyStopping(), r"no 'val_loss' to monitor.*val=.*there is: loss, accuracy, lr"),
        (ReduceLROnPlateau("val_accuracy"), "no 'val_accuracy' to monitor"),
        (ModelCheckpoint("c-{foo}.st", "loss"), r"path='c-\{foo\}\.st': there is no 'foo'; .*epoch, loss, accuracy, lr"),
        (ModelCheckpoint("c-{val_loss}.st", save_best_only=False), "there is no 'val_loss'"),
        (ModelCheckpoint("c-{loss:d}.st", "loss"), "Unknown format code 'd'"),
        (ModelCheckpoint("c-{loss.st", "loss"), r"expected '\}'"),
        (ModelCheckpoint("c-{}.st", "loss"), "ModelCheckpoint: path="),
    ],
)  # fmt: skip
def test_names_that_are_not_there_are_refused_before_training(callback, message):
    trainer = made(callbacks=[callback])
    before = trainer.model[0].weight.tolist()
    with pytest.raises(ValueError, match=message):
        trainer.fit(xor(), verbose=0)
    assert trainer.model[0].weight.tolist() == before
    trainer = made(callbacks=[Own(), callback])  # which may add numbers of its own
    with pytest.raises(ValueError, match=message.partition(";")[0]):
        trainer.fit(xor(), verbose=0)
    assert trainer.history.epochs == 1


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
