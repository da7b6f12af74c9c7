"""Normalisation: running statistics, modes, numerical soundness, layers; values and gradients are in the table."""

from __future__ import annotations

import re

import fastnn as fn
import fastnn.nn.functional as F
import numpy as np
import pytest
from fastnn import nn

SHAPES = [(7, 5), (2, 5, 6), (3, 5, 4, 4), (2, 5, 70, 70), (1, 40, 9, 9), (2, 1, 90, 100), (200, 130)]


def arrays(shape, dtype=np.float32):
    rng = np.random.default_rng(sum(shape))
    c = shape[1]
    x = (2 * rng.standard_normal(shape) + 5).astype(dtype)
    return x, *(rng.uniform(0.5, 2, c).astype(dtype) for _ in range(4))


def close(got, want, units=64):
    got, want = np.asarray(got), np.asarray(want)
    assert got.shape == want.shape
    assert got.dtype == want.dtype
    eps = np.finfo(got.dtype).eps
    np.testing.assert_allclose(got, want, rtol=units * eps, atol=units * eps * np.abs(want).max(initial=0))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("momentum", [0.1, 1.0, 0.0])
def test_running_statistics_of_batch_norm(shape, dtype, momentum, torch):
    x, mean, variance, w, b = arrays(shape, dtype)
    ours, theirs = ([f(a) for a in (mean, variance)] for f in (fn.tensor, torch.tensor))
    y = F.batch_norm(fn.tensor(x), *ours, fn.tensor(w), fn.tensor(b), True, momentum, 1e-3)
    want = torch.nn.functional.batch_norm(
        torch.tensor(x), *theirs, torch.tensor(w), torch.tensor(b), True, momentum, 1e-3
    )
    close(y.numpy(), want.numpy())
    for a, b in zip(ours, theirs, strict=True):
        close(a.numpy(), b.numpy())
    y = F.batch_norm(fn.tensor(x), *ours, fn.tensor(w), None)
    close(y.numpy(), torch.nn.functional.batch_norm(torch.tensor(x), *theirs, torch.tensor(w), None).numpy())


@pytest.mark.parametrize("momentum", [0.1, None])
@pytest.mark.parametrize("track", [True, False])
@pytest.mark.parametrize("affine", [True, False])
def test_layer_against_torch(momentum, track, affine, torch):
    ours = nn.BatchNorm2d(3, momentum=momentum, affine=affine, track_running_stats=track)
    theirs = torch.nn.BatchNorm2d(3, momentum=momentum, affine=affine, track_running_stats=track)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    rng = np.random.default_rng(0)
    for step in range(4):
        x = rng.standard_normal((4, 3, 5, 6)).astype(np.float32) * (step + 1) + step
        a, b = fn.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
        ya, yb = ours(a), theirs(b)
        (ya * ya * ya).sum().backward()
        (yb * yb * yb).sum().backward()
        close(ya.detach().numpy(), yb.detach().numpy())
        close(a.grad.numpy(), b.grad.numpy(), 512)
    for key, value in theirs.state_dict().items():
        mine = ours.state_dict()[key]
        assert mine.dtype.name == str(value.dtype).removeprefix("torch.")
        assert mine.shape == tuple(value.shape)
        np.testing.assert_allclose(mine.numpy(), value.numpy(), rtol=1e-5, atol=1e-6)
    ours.eval(), theirs.eval()
    close(ours(fn.tensor(x)).detach().numpy(), theirs(torch.tensor(x)).detach().numpy())


def test_state_from_torch(torch):
    ours, theirs = nn.BatchNorm1d(4), torch.nn.BatchNorm1d(4)
    theirs(torch.randn(9, 4))
    ours.load_state_dict({key: value.numpy() for key, value in theirs.state_dict().items()})
    assert int(ours.num_batches_tracked) == 1
    close(ours.running_var.numpy(), theirs.running_var.numpy())
    ours.reset_running_stats()
    assert ours.running_mean.tolist() == [0] * 4
    assert ours.running_var.tolist() == [1] * 4
    assert int(ours.num_batches_tracked) == 0


@pytest.mark.parametrize("args", [((4, 3),), ((4, 3), 1e-3, False), (5, 1e-5, True, False)])
def test_layer_norm_layer(args, torch):
    ours, theirs = nn.LayerNorm(*args), torch.nn.LayerNorm(*args)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    x = np.random.default_rng(1).standard_normal((2, 7, *ours.normalized_shape)).astype(np.float32)
    close(ours(fn.tensor(x)).detach().numpy(), theirs(torch.tensor(x)).detach().numpy())


def test_layers_print_as_in_torch(torch):
    for make in (
        lambda m: m.BatchNorm1d(3),
        lambda m: m.BatchNorm2d(3, momentum=None, affine=False),
        lambda m: m.LayerNorm((3, 4)),
        lambda m: m.GELU("tanh"),
        lambda m: m.GELU(),
    ):
        assert repr(make(nn)) == re.sub(r", bias=\w+", "", repr(make(torch.nn)))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(6, 5000), (3, 70000)])
def test_variance_beside_a_large_mean(dtype, shape):
    """The variance of x^2 - mean^2 would be all rounding error here."""
    rng = np.random.default_rng(3)
    large = 1e4 if dtype == np.float32 else 1e8
    x = (rng.standard_normal(shape) + large).astype(dtype)
    exact = x.astype(np.longdouble)
    want = (exact - exact.mean(1, keepdims=True)) / exact.std(1, keepdims=True)
    tolerance = 4 * large * np.finfo(dtype).eps  # of the mean, in deviations
    got = F.layer_norm(fn.tensor(x), shape[1], eps=0.0).numpy()
    np.testing.assert_allclose(got, want, atol=tolerance, rtol=1e-5)
    for batch in (x.T.copy(), x.reshape(1, *shape), x.reshape(1, shape[0], -1, 10)):
        mean, variance = (
            fn.zeros(shape[0], dtype=fn.tensor(x).dtype),
            fn.zeros(shape[0], dtype=fn.tensor(x).dtype),
        )
        F.batch_norm(fn.tensor(batch), mean, variance, training=True, momentum=1.0)
        np.testing.assert_allclose(variance.numpy(), exact.var(1, ddof=1).astype(float), rtol=1e-5)
        np.testing.assert_allclose(mean.numpy(), exact.mean(1).astype(float), rtol=2 * np.finfo(dtype).eps)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite(value, torch):
    x = np.random.default_rng(0).standard_normal((4, 3, 5)).astype(np.float32)
    x[1, 2, 3] = value
    for ours, theirs in (
        (F.layer_norm(fn.tensor(x), 5), torch.nn.functional.layer_norm(torch.tensor(x), (5,))),
        (F.batch_norm(fn.tensor(x), None, None, training=True),
         torch.nn.functional.batch_norm(torch.tensor(x), None, None, training=True)),
    ):  # fmt: skip
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-5, atol=1e-5)


def test_equal_values_have_no_deviation():
    x = fn.full((3, 1000), 0.1)
    assert abs(F.layer_norm(x, 1000).numpy()).max() < 1e-4
    assert abs(F.batch_norm(x, None, None, training=True).numpy()).max() < 1e-4


@pytest.mark.parametrize("shape", [(0, 3), (0, 3, 4, 4), (2, 3, 0)])
def test_nothing_to_normalize(shape):
    x = fn.zeros(shape)
    x.requires_grad = True
    w, b = fn.ones(3), fn.zeros(3)
    w.requires_grad = b.requires_grad = True
    mean = fn.ones(3)
    y = F.batch_norm(x, mean, fn.ones(3), w, b, True)
    assert tuple(y.shape) == shape
    assert mean.tolist() == [1, 1, 1]
    y.sum().backward()
    assert tuple(x.grad.shape) == shape
    assert w.grad.tolist() == b.grad.tolist() == [0, 0, 0]
    v = fn.ones(shape[1:])
    v.requires_grad = True
    F.layer_norm(x, shape[1:], v).sum().backward()
    assert (v.grad.numpy() == 0).all()


def test_one_value_per_channel_is_refused():
    for shape in [(1, 3), (1, 3, 1, 1)]:
        with pytest.raises(ValueError, match="Expected more than 1 value per channel when training"):
            F.batch_norm(fn.zeros(shape), None, None, training=True)
        F.batch_norm(fn.zeros(shape), fn.zeros(3), fn.ones(3))
    layer = nn.BatchNorm1d(3)
    with pytest.raises(ValueError, match="more than 1 value"):
        layer(fn.zeros(1, 3))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: F.layer_norm(fn.zeros(2, 3), (4,)), "normalized_shape is \\(4,\\)"),
        (lambda: F.layer_norm(fn.zeros(2, 3), ()), "at least one dimension"),
        (
            lambda: F.layer_norm(fn.zeros(2, 3), (3,), fn.ones(2)),
            "weight of shape \\(2,\\) must have shape \\(3,\\)",
        ),
        (lambda: F.batch_norm(fn.zeros(3), None, None, training=True), "\\(N, C, ...\\)"),
        (lambda: F.batch_norm(fn.zeros(2, 3), None, None), "running_mean and running_var must be given"),
        (lambda: F.batch_norm(fn.zeros(2, 3), fn.zeros(2), fn.ones(3)), "running_mean of shape"),
        (lambda: F.gelu(fn.zeros(2), "erf"), "approximate must be 'none' or 'tanh'"),
        (lambda: nn.GELU("erf"), "approximate must be 'none' or 'tanh'"),
        (lambda: nn.BatchNorm1d(0), "num_features must be at least 1"),
        (lambda: nn.LayerNorm(()), "at least one dimension"),
        (lambda: nn.BatchNorm2d(3)(fn.zeros(2, 3)), "must have shape \\(N, C, H, W\\)"),
        (lambda: nn.BatchNorm1d(3)(fn.zeros(2, 3, 4, 4)), "must have shape \\(N, C\\) or"),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_running_statistics_of_any_layout():
    wide = fn.zeros(3, 2)
    x = fn.tensor(arrays((7, 3))[0])
    mean, variance = wide[:, 0], fn.ones(3)
    F.batch_norm(x, mean, variance, training=True, momentum=1.0)
    np.testing.assert_allclose(wide.numpy()[:, 0], x.numpy().mean(0), rtol=1e-5)
    assert wide.numpy()[:, 1].tolist() == [0, 0, 0]


def test_gradient_survives_later_updates_of_running_statistics():
    x = fn.tensor(arrays((7, 3))[0], requires_grad=True)
    mean, variance = fn.zeros(3), fn.ones(3)
    y = F.batch_norm(x, mean, variance)
    F.batch_norm(x.detach(), mean, variance, training=True)
    np.testing.assert_allclose(fn.grad([y], [x], [fn.ones(7, 3)])[0].numpy(), 1, rtol=1e-4)


@pytest.mark.parametrize("training", [True, False])
def test_sequential_runs_batch_norm_and_relu_as_one(training):
    x = fn.tensor(arrays((6, 4, 5, 5))[0])
    fused, plain = (
        nn.Sequential(
            nn.Conv2d(4, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.BatchNorm1d(27), nn.ReLU()
        )
        for _ in range(2)
    )
    plain.load_state_dict(fused.state_dict())
    for module in plain:
        module.register_forward_hook(lambda *_: None)
    results = []
    for net in (fused, plain):
        net.train(training)
        y = net(x)
        results.append([y, *fn.grad([(y * y).sum()], list(net.parameters())), *net.buffers()])
    assert any(getattr(step, "__name__", "") == "forward_relu" for step in fused._steps)
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=1e-4, atol=1e-5)


def test_saved_as_a_model(tmp_path):
    net = nn.Sequential(
        nn.Linear(4, 6), nn.BatchNorm1d(6, momentum=None), nn.GELU("tanh"), nn.LayerNorm((6,), bias=False)
    )
    net(fn.tensor(arrays((9, 4))[0]))
    fn.save_model(net, tmp_path / "net.safetensors")
    again = fn.load_model(tmp_path / "net.safetensors")
    assert int(again[1].num_batches_tracked) == 1
    x = fn.tensor(arrays((5, 4))[0])
    np.testing.assert_array_equal(again(x).detach().numpy(), net.eval()(x).detach().numpy())
