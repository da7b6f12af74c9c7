"""Losses beyond the op table, against PyTorch: ignored rows, class weights, smoothing, soft targets, images."""

from __future__ import annotations

import fastnn as fn
import numpy as np
import pytest

SHAPES = [((6, 4), (6,)), ((4,), ()), ((3, 4, 5), (3, 5)), ((2, 4, 3, 2), (2, 3, 2))]
REDUCTIONS = ["mean", "sum", "none"]


def same(ours, theirs, x: np.ndarray, torch) -> None:
    """Values, gradients and gradients of gradients."""
    a, b = fn.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    y, want = ours(a), theirs(b)
    np.testing.assert_allclose(y.detach().numpy(), want.detach().numpy(), rtol=1e-12)
    rng = np.random.default_rng(1)
    dy, v = rng.standard_normal(want.shape), rng.standard_normal(x.shape)
    (dx,) = fn.grad([y], [a], [fn.tensor(dy)], retain_graph=True)
    (graph,) = fn.grad([y], [a], [fn.tensor(dy)], create_graph=True)
    (want_dx,) = torch.autograd.grad(want, b, torch.tensor(dy), create_graph=True)
    for g in (dx, graph):
        np.testing.assert_allclose(g.detach().numpy(), want_dx.detach().numpy(), rtol=1e-10, atol=1e-14)
    (ddx,) = fn.grad([(graph * fn.tensor(v)).sum()], [a])
    (want_ddx,) = torch.autograd.grad((want_dx * torch.tensor(v)).sum(), b)
    np.testing.assert_allclose(ddx.numpy(), want_ddx.numpy(), rtol=1e-8, atol=1e-13)


@pytest.mark.parametrize("shapes", SHAPES, ids=str)
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("ignored", [-100, 1])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weighted", [False, True])
def test_cross_entropy_of_classes(shapes, reduction, ignored, smoothing, weighted, torch):
    rng = np.random.default_rng(0)
    x, labels, weight = (
        rng.standard_normal(shapes[0]),
        np.asarray(rng.integers(0, 4, shapes[1])),
        rng.random(4),
    )
    labels.reshape(-1)[0] = ignored
    labels.reshape(-1)[-1] = 2
    options = {"ignore_index": ignored, "reduction": reduction, "label_smoothing": smoothing}
    same(
        lambda a: fn._C.cross_entropy(
            a, fn.tensor(labels), weight=fn.tensor(weight) if weighted else None, **options
        ),
        lambda b: torch.nn.functional.cross_entropy(
            b, torch.tensor(labels), weight=torch.tensor(weight) if weighted else None, **options
        ),
        x,
        torch,
    )


@pytest.mark.parametrize("shapes", SHAPES, ids=str)
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_cross_entropy_of_distributions(shapes, reduction, torch):
    rng = np.random.default_rng(0)
    x, target, weight = rng.standard_normal(shapes[0]), rng.random(shapes[0]), rng.random(4)
    same(
        lambda a: fn._C.cross_entropy(a, fn.tensor(target), -100, reduction, 0.1, fn.tensor(weight)),
        lambda b: torch.nn.functional.cross_entropy(
            b, torch.tensor(target), torch.tensor(weight), reduction=reduction, label_smoothing=0.1
        ),
        x,
        torch,
    )


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_nll_loss(reduction, torch):
    rng = np.random.default_rng(0)
    x, labels, weight = rng.standard_normal((3, 4, 5)), rng.integers(0, 4, (3, 5)), rng.random(4)
    labels[0, 0] = -100
    same(
        lambda a: fn._C.nll_loss(a * a, fn.tensor(labels), -100, reduction, fn.tensor(weight)),
        lambda b: torch.nn.functional.nll_loss(
            b * b, torch.tensor(labels), torch.tensor(weight), reduction=reduction
        ),
        x,
        torch,
    )


def test_nothing_but_ignored_rows():
    x = fn.zeros(2, 3)
    assert np.isnan(fn._C.cross_entropy(x, fn.tensor([-100, -100])).item())
    assert fn._C.cross_entropy(x, fn.tensor([-100, -100]), reduction="sum").item() == 0


def test_large_logits_keep_their_accuracy():
    x = fn.tensor(np.array([[1e6, 1e6 - 1, 0]], np.float32), requires_grad=True)
    loss = fn._C.cross_entropy(x, fn.tensor([0]))
    loss.backward()
    p = 1 / (1 + np.exp(-1.0))
    assert loss.item() == pytest.approx(-np.log(p), rel=1e-6)
    np.testing.assert_allclose(x.grad.numpy(), [[p - 1, 1 - p, 0]], rtol=1e-6)


@pytest.mark.parametrize("bad", [3, -1, 2**40])
def test_labels_out_of_range(bad):
    for loss in (fn._C.cross_entropy, fn._C.nll_loss):
        with pytest.raises(IndexError, match=f"label {bad} is out of range for 3 classes"):
            loss(fn.zeros(2, 3), fn.tensor([0, bad]))


# ---- labels ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", [fn.nn.functional.cross_entropy, fn.nn.functional.nll_loss])
@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.uint8])
def test_labels_that_change_before_backward(loss, dtype):
    """The gradient is that of the labels as they were: written here, or by NumPy, which shares their memory."""
    array = np.array([0, 1], dtype)
    gradients = []
    for write in (None, lambda t: t.fill_(0), lambda t: array.fill(200)):
        array[:] = [0, 1]
        x, labels = fn.zeros(2, 2, requires_grad=True), fn.from_numpy(array)
        y = loss(x, labels)
        if write:
            write(labels)
        y.backward()
        gradients.append(x.grad.tolist())
    assert gradients[0] == gradients[1] == gradients[2]
    assert np.trace(gradients[0]) < 0


def test_the_first_label_that_is_none_is_named():
    x = fn.zeros(5, 3)
    for labels, named in [([0, 3, -1, 2, 7], 3), ([0, 1, -1, 2, 7], -1), ([0, -100, 2, 2, 4], 4)]:
        for reduction in REDUCTIONS:
            for loss in (fn.nn.functional.cross_entropy, fn.nn.functional.nll_loss):
                with pytest.raises(
                    IndexError,
                    match=rf"label {named} is out of range for 3 classes \(0 to 2, or ignore_index -100\)",
                ):
                    loss(x, fn.tensor(labels), reduction=reduction)
            with pytest.raises(IndexError, match=rf"label {named} is out of range"):
                fn.nn.functional.cross_entropy(x, fn.tensor(labels), label_smoothing=0.1, reduction=reduction)


@pytest.mark.parametrize("rows", [0, 1, 7, 1023, 1024, 1025, 5000])
def test_the_mean_is_of_the_rows_that_count(rows):
    rng = np.random.default_rng(rows)
    x, labels = rng.standard_normal((rows, 3)).astype(np.float32), rng.integers(0, 3, rows)
    labels[rng.random(rows) < 0.3] = -100
    losses = fn.nn.functional.cross_entropy(fn.tensor(x), fn.tensor(labels), reduction="none")
    total = fn.nn.functional.cross_entropy(fn.tensor(x), fn.tensor(labels), reduction="sum")
    mean = fn.nn.functional.cross_entropy(fn.tensor(x), fn.tensor(labels))
    assert total.item() == losses.sum().item()  # one tree
    counted = int((labels != -100).sum())
    if counted == 0:
        assert np.isnan(mean.item())
    else:
        np.testing.assert_allclose(mean.item(), losses.numpy().sum(dtype=np.float64) / counted, rtol=1e-6)
