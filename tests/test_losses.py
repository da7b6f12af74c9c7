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
