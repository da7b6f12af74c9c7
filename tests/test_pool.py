"""Pooling beyond the op table: NaN, infinities, dilation, windows past the edge, huge kernels, against PyTorch."""

from __future__ import annotations

import fastnn as fn
import fastnn.nn.functional as F
import numpy as np
import pytest
from conftest import needs_cuda

WINDOWS = [  # kernel, stride, padding, dilation
    (2, 2, 0, 1), (3, 2, 1, 1), (3, 1, 1, 1), ((2, 3), (1, 2), (1, 1), 1), (2, 3, 0, 1), (3, (1, 2), (1, 0), (2, 1)),
    (17, 1, 8, 1), ((5, 4), (2, 3), 2, 1), (70, 1, 35, 1),
]  # fmt: skip
SIZES = [(1, 1), (1, 9), (2, 2), (5, 5), (6, 7), (9, 33), (12, 64), (3, 131), (70, 71)]


def images(h: int, w: int, kind: str) -> np.ndarray:
    x = np.random.default_rng(h * w).integers(-5, 6, (2, 3, h, w)).astype(np.float64)
    if kind == "nan":
        x.reshape(-1)[::7] = np.nan
    if kind == "-inf":
        x[:, 1:] = -np.inf
    return x


@pytest.mark.parametrize("kind", ["ties", "nan", "-inf"])
@pytest.mark.parametrize("window", WINDOWS, ids=str)
@pytest.mark.parametrize("ceil", [False, True])
def test_max_pool2d(window, kind, ceil, torch):
    for h, w in SIZES:
        x = images(h, w, kind)
        theirs = torch.tensor(x, requires_grad=True)
        try:
            want = torch.nn.functional.max_pool2d(theirs, *window, ceil)
        except RuntimeError:  # the window does not fit
            with pytest.raises(ValueError, match="max_pool2d"):
                fn._C.max_pool2d(fn.tensor(x), *window, ceil)
            continue
        ours = fn.tensor(x, requires_grad=True)
        y = fn._C.max_pool2d(ours, *window, ceil)
        np.testing.assert_array_equal(y.detach().numpy(), want.detach().numpy())
        dy = np.random.default_rng(0).standard_normal(want.shape)
        want.backward(torch.tensor(dy))
        y.backward(fn.tensor(dy))
        np.testing.assert_allclose(ours.grad.numpy(), theirs.grad.numpy(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("window", [w for w in WINDOWS if w[3] == 1], ids=str)
@pytest.mark.parametrize("ceil", [False, True])
@pytest.mark.parametrize("padding_counts", [False, True])
def test_avg_pool2d(window, ceil, padding_counts, torch):
    for h, w in SIZES:
        x = images(h, w, "ties")
        theirs = torch.tensor(x, requires_grad=True)
        try:
            want = torch.nn.functional.avg_pool2d(theirs, *window[:3], ceil, padding_counts)
        except RuntimeError:
            with pytest.raises(ValueError, match="avg_pool2d"):
                fn._C.avg_pool2d(fn.tensor(x), *window[:3], padding_counts, ceil)
            continue
        ours = fn.tensor(x, requires_grad=True)
        y = fn._C.avg_pool2d(ours, *window[:3], padding_counts, ceil)
        np.testing.assert_allclose(y.detach().numpy(), want.detach().numpy(), rtol=1e-12, atol=1e-12)
        dy = np.random.default_rng(0).standard_normal(want.shape)
        want.backward(torch.tensor(dy))
        y.backward(fn.tensor(dy))
        np.testing.assert_allclose(ours.grad.numpy(), theirs.grad.numpy(), rtol=1e-12, atol=1e-12)


def test_windows_of_padding_alone_are_refused():
    with pytest.raises(ValueError, match="nothing but padding"):
        fn._C.max_pool2d(fn.zeros(1, 1, 2, 2), 2, 1, 1, 3)


DEVICES = ["cpu", pytest.param("cuda", marks=needs_cuda)]
NO_PIXELS = [(1, 2, 0, 4), (1, 2, 4, 0), (3, 2, 0, 0)]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("shape", NO_PIXELS, ids=str)
@pytest.mark.parametrize("pool", [F.max_pool2d, F.avg_pool2d])
@pytest.mark.parametrize("ceil", [False, True])
def test_images_without_pixels_are_refused(device, shape, pool, ceil):
    x = fn.zeros(shape, device=device, requires_grad=True)
    for kernel, stride, padding in [(2, 1, 1), (2, 2, 1), (3, 2, 1), (1, 1, 0), (1, 3, 0), (5, 1, 2)]:
        with pytest.raises(ValueError, match=r"nothing but padding|does not fit"):
            pool(x, kernel, stride, padding, ceil_mode=ceil).sum().backward()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("shape", [*NO_PIXELS, (0, 2, 4, 4)], ids=str)
@pytest.mark.parametrize("groups", [1, 2])
def test_convolution_of_images_without_pixels(device, shape, groups):
    x = fn.zeros(shape, device=device, requires_grad=True)
    w = fn.ones(2, 2 // groups, 2, 2, device=device, requires_grad=True)
    b = fn.tensor([1.0, 2.0], device=device, requires_grad=True)
    y = F.conv2d(x, w, b, padding=1, groups=groups)
    n, _, h, wide = y.shape
    np.testing.assert_array_equal(
        y.detach().cpu().numpy(), np.broadcast_to(np.array([1.0, 2.0])[:, None, None], y.shape)
    )
    dx, dw, db = fn.grad(y.sum(), [x, w, b], create_graph=True)
    assert (dx.shape, dw.abs().sum().item(), db.tolist()) == (shape, 0, [n * h * wide] * 2)
    (dx.sum() + dw.sum()).backward()
    assert w.grad.abs().sum().item() == 0
