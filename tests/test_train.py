"""Trainer: fit, evaluate, predict, and checks of the data."""

from itertools import chain

import fastnn as fn
import fastnn.nn.functional as F
import numpy as np
import pytest
from fastnn import nn, optim
from fastnn.data import ArrayDataset, DataLoader
from fastnn.models import MLP, LeNet
from fastnn.train import Callback, Trainer


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


def test_modules_in_evaluation_mode_stay_in_it():
    x = np.random.default_rng(0).normal(size=(64, 4)).astype(np.float32)
    seen = []

    class Watch(nn.Module):
        def forward(self, x):
            seen.append(self.training)
            return x

    def run(prepare):
        seen.clear()
        model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), Watch(), nn.Linear(8, 3))
        prepare(model)
        before = [module.training for module in model.modules()]
        Trainer(model, optim.SGD(model.parameters(), lr=0.1)).fit(
            (x, np.zeros(64, int)), 2, val=(x, np.zeros(64, int)), batch_size=32, verbose=0
        )
        assert [module.training for module in model.modules()] == before
        return model[1].num_batches_tracked.item(), seen[-2], True in seen

    frozen = lambda model: model[1].eval().requires_grad_(False)  # noqa: E731
    assert run(lambda model: None) == (4, False, True)
    assert run(frozen) == (0, False, True)
    assert run(lambda model: model[1].eval()) == (0, False, True)
    assert run(lambda model: model.eval()) == (4, False, True), "as load_model gives it"
    assert run(lambda model: frozen(model.eval())) == (0, False, True)


@pytest.mark.parametrize("event", ["on_fit_begin", "on_epoch_begin"])
def test_a_callback_may_freeze_modules(event):
    class Freeze(Callback):
        pass

    setattr(Freeze, event, lambda self, trainer, *_: trainer.model[1].eval())
    model = nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8), nn.Linear(8, 2))
    trainer = Trainer(model, optim.SGD(model.parameters(), lr=0.1), callbacks=[Freeze()])
    trainer.fit(xor(64), 2, val=xor(64), verbose=0)
    assert model[1].num_batches_tracked.item() == 0


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


@pytest.mark.parametrize("dtype", ["int8", "int16", "uint16", "uint32", "int32", "uint8"])
def test_labels_of_any_integers(dtype):
    x, y = xor()
    results = []
    for labels in (y, y.astype(dtype)):
        trainer = made()
        history = trainer.fit((x, labels), epochs=1, val=(x, labels), verbose=0)
        results.append(
            (history["loss"], history["val_accuracy"], trainer.evaluate(batch for batch in [(x, labels)]))
        )
    assert results[0] == results[1]


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


def test_whole_numbers_as_inputs_are_told():
    """They may be indices, so they are not converted; a layer that wants others does not know where they come from."""
    trainer, (x, y) = made(), xor(8)
    whole = x.astype(int)
    loader = _Batches(whole, y)
    for call in (
        lambda: trainer.fit((whole, y), verbose=0),
        lambda: trainer.fit(loader, verbose=0),
        lambda: trainer.evaluate((whole, y)),
        lambda: trainer.predict(whole),
    ):
        with pytest.raises(TypeError, match="got int64") as caught:
            call()
        assert caught.value.__notes__[-1].endswith("if they are no indices, give x.astype(np.float32)")
        assert len(caught.value.__notes__) == 1


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
    assert history.epochs == 1, "the epoch is told as far as it went"
    assert np.isnan(history["loss"][0])


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
    with pytest.raises(
        TypeError, match=r"loss must be .* not the class MSELoss; give an object of it, MSELoss\("
    ):
        Trainer(model, opt, nn.MSELoss)
    with pytest.raises(TypeError, match="opt must be an optimizer, not the class SGD"):
        Trainer(model, optim.SGD)
    with pytest.raises(TypeError, match=r"model must be .* not the class MLP"):
        Trainer(MLP, opt)
    with pytest.raises(TypeError, match="the metric 'MSELoss' must be a function, not the class MSELoss"):
        Trainer(model, opt, metrics=[nn.MSELoss])
    with pytest.raises(TypeError, match=r"callbacks\[1\] must be a Callback, not the class Callback"):
        Trainer(model, opt, callbacks=[Callback(), Callback])
    with pytest.raises(TypeError, match=r"callbacks\[0\] must be a Callback, not a builtin_function"):
        Trainer(model, opt, callbacks=[print])
    with pytest.raises(TypeError, match="callbacks must be a list of them, not a Callback"):
        Trainer(model, opt, callbacks=Callback())
    trainer = Trainer(model, opt)
    trainer.callbacks.append(print)
    with pytest.raises(TypeError, match=r"callbacks\[0\] must be a Callback"):
        trainer.fit(xor(), verbose=0)
    with pytest.raises(TypeError, match=r"train: .*not dict; give its arrays as a tuple: \(x, y\)"):
        Trainer(model, opt).fit({"x": xor()[0], "y": xor()[1]})
    with pytest.raises(TypeError, match=r"epochs must be a whole number, not a ndarray; .*fit\(\(x, y\)"):
        Trainer(model, opt).fit(*xor())
    with pytest.raises(TypeError, match="epochs must be"):
        Trainer(model, opt).fit(xor(), 1.5)
    with pytest.raises(ValueError, match="one number"):
        Trainer(model, opt, lambda output, target: output).fit(xor(), verbose=0)
    with pytest.raises(TypeError, match="train: expected arrays"):
        Trainer(model, opt).fit(5)


def test_an_optimizer_of_another_model_is_refused():
    model, other = MLP([2, 2]), MLP([2, 2])
    with pytest.raises(ValueError, match="Trainer: the optimizer holds no parameter of this MLP"):
        Trainer(model, optim.SGD(other.parameters()))
    trainer = Trainer(model, optim.SGD([model[0].bias]))  # a part of it will do
    trainer.model = other
    with pytest.raises(ValueError, match="fit: the optimizer holds no parameter"):
        trainer.fit(xor(), verbose=0)


def test_a_layer_that_was_replaced_is_told():
    model = MLP([2, 8, 2])
    trainer = Trainer(model, optim.SGD(model.parameters(), lr=0.1))
    model[2] = nn.Linear(8, 2)
    match = (
        r"fit: the optimizer holds 2 parameters that are not the model's, and lacks '2\.weight', '2\.bias'"
    )
    with pytest.warns(RuntimeWarning, match=match):
        trainer.fit(xor(8), verbose=0)
    model[2].requires_grad_(False)
    trainer.fit(xor(8), verbose=0)  # not meant to be trained
    head, scale = optim.SGD(model[0].parameters(), lr=0.1), fn.ones(1, requires_grad=True)
    model[2].requires_grad_(True)
    Trainer(model, head).fit(xor(8), verbose=0)  # a part of it will do
    every = optim.SGD([*model.parameters(), scale], lr=0.1)
    Trainer(model, every, lambda output, y: F.cross_entropy(output * scale, y)).fit(xor(8), verbose=0)


def test_predict_takes_lists():
    model = nn.Linear(2, 3)
    trainer = Trainer(model, optim.SGD(model.parameters()))
    rows = [[1.0, 2.0], [3.0, 4.0]]
    expected = trainer.predict(np.array(rows, np.float32)).tolist()
    assert trainer.predict(rows).tolist() == expected
    assert trainer.predict([(rows[0], 0), (rows[1], 1)]).tolist() == expected, "targets are left out"
    with pytest.raises(TypeError, match=r"np\.stack"):
        trainer.predict([np.array(row) for row in rows])


def test_a_frozen_part_is_frozen_with_all_that_is_in_it():
    """As of a model that was loaded, which is in evaluation mode: its backbone frozen, its head trained."""
    backbone = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8, affine=False), nn.Dropout(0.5))
    model = nn.Sequential(backbone, nn.Linear(8, 3), nn.BatchNorm1d(3, affine=False)).eval()
    backbone.requires_grad_(False)
    x, y = np.random.default_rng(0).random((16, 4), np.float32), np.arange(16) % 3
    fn.Trainer(model, optim.SGD(model[1].parameters(), lr=0.1)).fit((x, y), verbose=0)
    assert backbone[1].num_batches_tracked.item() == 0
    assert model[2].num_batches_tracked.item() > 0
