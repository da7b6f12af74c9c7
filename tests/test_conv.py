"""Convolution beyond the op table: geometries of every kind against plain sums in float64, bits, layouts, bad input."""

import itertools
import os
import re
import subprocess
import sys

import fastnn as fn
import fastnn.nn.functional as F
import numpy as np
import pytest
from fastnn import _C

# n, c, h, w, k, r, s, options. What each is there for:
SHAPES = [
    (2, 1, 28, 28, 20, 5, 5, {}),  # one channel; pixels of several rows in a panel
    (5, 20, 12, 12, 50, 5, 5, {}),  # rows of 8 outputs; the input gradient is folded
    (3, 6, 14, 14, 16, 5, 5, {}),  # the same with 10 outputs a row: panels of whole rows leave lanes empty
    (2, 64, 9, 9, 70, 3, 3, {"padding": 1}),  # depth beyond a block, filters beyond a vector panel
    (2, 5, 11, 13, 7, 3, 3, {"stride": 2, "padding": 1}),  # phases, the last ones shorter
    (2, 4, 11, 12, 6, 2, 3, {"stride": (3, 2), "padding": (1, 2), "dilation": (2, 1)}),  # phases without taps
    (1, 3, 17, 19, 4, 3, 4, {"stride": (1, 4), "dilation": (1, 3)}),  # stride and dilation coprime
    (2, 2, 9, 12, 3, 2, 2, {"stride": (2, 4), "dilation": (2, 2)}),  # and with a common factor
    (3, 6, 7, 9, 33, 1, 1, {}),  # 1x1: rows of pixels run on
    (9, 64, 9, 11, 70, 1, 1, {}),  # ... with more filters than channels
    (9, 128, 9, 11, 160, 1, 1, {"groups": 2}),
    (3, 5, 8, 8, 9, 1, 1, {"stride": 2}),  # pixels that nothing reaches
    (4, 8, 6, 6, 12, 3, 3, {"padding": 1, "groups": 4}),
    (3, 21, 17, 9, 1, 1, 1, {}),  # 1x1 where the image lies: to one filter, to some, from one channel
    (2, 33, 13, 11, 37, 1, 1, {}),
    (2, 1, 13, 11, 5, 1, 1, {}),
    (2, 9, 10, 10, 9, 3, 3, {"padding": 1, "groups": 9}),  # depthwise
    (2, 5, 13, 11, 5, 7, 7, {"padding": 3, "groups": 5}),  # of many taps, from a padded copy
    (2, 5, 13, 19, 5, 5, 4, {"padding": (1, 5), "dilation": (2, 3), "groups": 5}),
    (1, 3, 40, 300, 3, 6, 3, {"padding": 2, "groups": 3}),  # in planes too large for a copy
    (1, 34, 14, 9, 40, 4, 4, {"padding": 1}),  # many taps, channels and filters
    (2, 4, 11, 21, 4, 5, 5, {"padding": 2, "groups": 4}),
    (2, 3, 9, 20, 3, 3, 3, {"dilation": 2, "groups": 3}),  # ... with lines two apart
    (2, 3, 9, 39, 3, 3, 2, {"stride": 2, "padding": 1, "groups": 3}),  # ... with columns two apart
    (2, 3, 9, 39, 3, 2, 3, {"stride": 3, "dilation": 2, "groups": 3}),
    (17, 3, 4, 5, 6, 4, 5, {}),  # filters as large as the image
    (3, 2, 1, 1, 4, 3, 3, {"padding": 1}),  # an image smaller than its filters
    (2, 2, 5, 5, 3, 3, 3, {"padding": 6}),  # outputs that see nothing but padding
    (1, 1, 3, 400, 2, 1, 33, {"padding": (0, 16)}),  # more taps in a row than are packed at a time
    (1, 1, 9, 20, 3, 5, 13, {}),  # one tap more than a task of the gradient's last pass
    # 1x1 with one output in a row of two pixels: rows do not run on.
    (2, 11, 8, 2, 3, 1, 1, {"stride": (1, 3)}),
    (40, 2, 9, 8, 7, 3, 3, {}),  # few channels: blocks of several images, each with some pixels left over
    (2, 1, 60, 41, 6, 5, 5, {"stride": (2, 1), "padding": 2}),  # ... blocks of rows, rows in two phases
    (2, 3, 9, 300, 5, 2, 3, {"dilation": 2, "stride": (1, 2)}),  # ... and rows of many vectors
    (17, 70, 17, 16, 72, 3, 3, {"padding": 1}),  # direct both ways, some channels at a time
    (17, 10, 19, 18, 6, 3, 2, {"padding": (3, 1), "dilation": (2, 1), "groups": 2}),  # ... dilated, in groups
    (3, 40, 4, 4, 50, 3, 3, {"padding": 1}),  # few pixels of several images
    (2, 70, 5, 4, 36, 3, 2, {"stride": 2, "padding": 1, "groups": 2}),  # ... in groups, two apart
    (1, 300, 3, 3, 5, 3, 3, {"padding": 1}),  # few pixels: filters are shared out
]
# Winograd's algorithm, in tiles of 2 x 2 and, where more rounding is allowed, of 4 x 4.
WINOGRAD = [
    # Tiles over the edges; channels and filters beyond whole vectors.
    (2, 40, 13, 35, 70, 3, 3, {"padding": 1}),
    (1, 33, 11, 90, 96, 3, 3, {}),  # blocks of some columns
    (3, 64, 60, 21, 64, 3, 3, {"padding": (2, 0)}),  # blocks of some rows
    (21, 70, 7, 6, 40, 3, 3, {"padding": 1}),  # blocks of several images, the last with fewer
    (4, 64, 14, 14, 140, 3, 3, {"padding": 1, "groups": 2}),
    (9, 264, 8, 8, 130, 3, 3, {"padding": 1}),  # several parts of filters and of channels
    (5, 520, 12, 9, 32, 3, 3, {"padding": 2}),  # more channels than a block of the product's depth
]
SHAPES += WINOGRAD


def ids(shape):
    return "-".join(map(str, shape[:7])) + "".join(f" {k}={v}" for k, v in shape[7].items())


def pair(x):
    return x if isinstance(x, tuple) else (x, x)


def make(shape, dtype=np.float64, seed=0):
    n, c, h, w, k, r, s, options = shape
    rng = np.random.default_rng(seed)

    def draw(*dims):
        return rng.standard_normal(dims).astype(dtype)

    return draw(n, c, h, w), draw(k, c // options.get("groups", 1), r, s), draw(k)


def taps(x, weight, stride=1, padding=0, dilation=1, groups=1):
    """For every tap (r, s): its view of the padded input, (N, C, P, Q), where no two elements share memory."""
    (sh, sw), (ph, pw), (dh, dw) = pair(stride), pair(padding), pair(dilation)
    padded = np.pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw)))
    r, s = weight.shape[2:]
    p = (padded.shape[2] - (r - 1) * dh - 1) // sh + 1
    q = (padded.shape[3] - (s - 1) * dw - 1) // sw + 1
    views = {
        (i, j): padded[:, :, i * dh : i * dh + (p - 1) * sh + 1 : sh, j * dw : j * dw + (q - 1) * sw + 1 : sw]
        for i, j in itertools.product(range(r), range(s))
    }
    inner = (slice(None), slice(None), slice(ph, ph + x.shape[2]), slice(pw, pw + x.shape[3]))
    return padded, views, inner


def convolution(x, weight, dy=None, groups=1, **options):
    """y, or (dx, dw) for a given dy: sums over taps of products over channels, group by group."""
    padded, views, inner = taps(x, weight, groups=groups, **options)
    k, c = weight.shape[0] // groups, weight.shape[1]
    ks = [slice(g * k, (g + 1) * k) for g in range(groups)]
    cs = [slice(g * c, (g + 1) * c) for g in range(groups)]
    if dy is None:

        def y(g):
            return sum(
                np.einsum("ncpq,kc->nkpq", v[:, cs[g]], weight[ks[g], :, i, j]) for (i, j), v in views.items()
            )

        return np.concatenate([y(g) for g in range(groups)], axis=1)
    dw = np.zeros_like(weight)
    for (i, j), v in views.items():
        for g in range(groups):
            dw[ks[g], :, i, j] = np.einsum("nkpq,ncpq->kc", dy[:, ks[g]], v[:, cs[g]])
    padded[...] = 0
    for (i, j), v in views.items():
        for g in range(groups):
            v[:, cs[g]] += np.einsum("nkpq,kc->ncpq", dy[:, ks[g]], weight[ks[g], :, i, j])
    return padded[inner], dw


def run(x, weight, bias, options, activation="none", dy=None):
    args = [fn.from_numpy(a).requires_grad_() for a in (x, weight, bias)]
    y = _C.conv2d(*args, activation=activation, **options)
    dy = np.random.default_rng(9).standard_normal(y.shape).astype(x.dtype) if dy is None else dy
    grads = fn.grad(y, args, fn.from_numpy(dy))
    return y.detach().numpy(), dy, [g.numpy() for g in grads]


def close(got, want, depth):
    eps = np.finfo(got.dtype).eps
    np.testing.assert_allclose(
        got, want, rtol=0, atol=8 * eps * (depth + 1) ** 0.5 * (1 + np.abs(want).max(initial=0))
    )


@pytest.mark.parametrize("r", [1, 3], ids=["panels", "direct"])
@pytest.mark.parametrize("w", [256, 259], ids=["streamed", "unaligned"])
def test_an_output_larger_than_the_caches(r, w):
    x, weight, bias = make((2, 2, 256, w, 64, r, 1, {}), np.float32)
    padding = (r // 2, 0)
    y = _C.conv2d(*map(fn.from_numpy, (x, weight, bias)), padding=padding, activation="relu").numpy()
    z = convolution(x, weight, padding=padding) + bias[:, None, None]
    close(y, np.maximum(z, 0), weight[0].size)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", SHAPES, ids=ids)
def test_forward_and_gradients(shape, dtype):
    x, weight, bias = make(shape, dtype)
    for activation in ("none", "relu"):
        y, dy, (dx, dw, db) = run(x, weight, bias, shape[7], activation)
        wide = [a.astype(np.float64) for a in (x, weight)]
        z = convolution(*wide, **shape[7]) + bias.astype(np.float64)[:, None, None]
        close(y, np.maximum(z, 0) if activation == "relu" else z, weight[0].size)
        dz = dy * (y > 0) if activation == "relu" else dy
        want_dx, want_dw = convolution(*wide, dy=dz.astype(np.float64), **shape[7])
        close(dx, want_dx, weight.size // weight.shape[1])
        close(dw, want_dw, dy.size // dy.shape[1])
        close(db, dz.astype(np.float64).sum((0, 2, 3)), dy.size // dy.shape[1])


def rms(x):
    return np.sqrt((x * x).mean())


@pytest.mark.parametrize("shape", WINOGRAD, ids=ids)
@pytest.mark.parametrize(("precision", "factor"), [("fp32", 0.35), ("fp32_fast", 1.2)])
def test_error_of_winograd(shape, precision, factor):
    """Root mean square error over root mean square, in eps times the root of the terms: as docs/performance.md says."""
    x, weight, bias = make(shape, np.float32)
    with fn.precision(precision):
        y, dy, (dx, dw, _) = run(x, weight, bias, shape[7])
    wide = [a.astype(np.float64) for a in (x, weight)]
    want = [convolution(*wide, **shape[7]) + bias.astype(np.float64)[:, None, None]]
    want += convolution(*wide, dy=dy.astype(np.float64), **shape[7])
    eps, depth = np.finfo(np.float32).eps, max(weight.shape[:2])
    for got, exact in zip((y, dx, dw), want, strict=True):
        assert rms(got - exact) < factor * eps * depth**0.5 * rms(exact)


def test_choice_depends_on_precision():
    """FASTNN_LOG=conv says what runs; float64 and loose precisions included."""
    code = """
import fastnn as fn, fastnn.nn.functional as F
for precision in ("fp32", "fp32_fast", "bf16"):
    with fn.precision(precision):
        x = fn.ones(4, 64, 28, 28, requires_grad=True)
        F.conv2d(x, fn.ones(64, 64, 3, 3, requires_grad=True), padding=1).sum().backward()
with fn.precision("fp32_fast"):
    F.conv2d(fn.ones(4, 64, 28, 28, dtype=fn.float64), fn.ones(64, 64, 3, 3, dtype=fn.float64), padding=1)
"""
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "FASTNN_LOG": "conv"},
        capture_output=True,
        text=True,
        check=True,
    )
    chosen = [line.rpartition(": ")[2] for line in result.stderr.splitlines() if "conv2d" in line]
    assert chosen[:9] == ["winograd 2x2"] * 3 + ["winograd 4x4"] * 6
    assert len(chosen) == 10
    assert "winograd" not in chosen[9]


@pytest.mark.parametrize(("precision", "tile"), [("fp32", 2), ("fp32_fast", 4)])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_and_infinity_stay_within_their_tiles(precision, tile, value):
    x, weight, bias = make((1, 64, 30, 30, 64, 3, 3, {"padding": 1}), np.float32)
    with fn.precision(precision):
        clean = run(x, weight, bias, {"padding": 1})[0]
        x[0, 5, 13, 14] = value
        y = run(x, weight, bias, {"padding": 1})[0]
    reached = np.zeros((30, 30), bool)
    reached[12:15, 13:16] = True  # outputs whose sums have it
    assert not np.isfinite(y[0, :, reached]).any()
    near = np.zeros((30, 30), bool)  # tiles that have such outputs
    near[12 // tile * tile : 14 // tile * tile + tile, 13 // tile * tile : 15 // tile * tile + tile] = True
    np.testing.assert_array_equal(y[0, :, ~near], clean[0, :, ~near])
    assert np.isfinite(y[0, :, ~near]).all()


@pytest.mark.parametrize("shape", SHAPES, ids=ids)
def test_bits_do_not_depend_on_threads_alignment_or_layout(shape):
    check_bits(shape)


@pytest.mark.parametrize("shape", WINOGRAD, ids=ids)
def test_nor_do_they_where_more_rounding_is_allowed(shape):
    with fn.precision("fp32_fast"):
        check_bits(shape)


def check_bits(shape):
    x, weight, bias = make(shape, np.float32)
    fn.set_num_threads(1)
    want = run(x, weight, bias, shape[7])
    spread = np.zeros((*x.shape[:3], 2 * x.shape[3] + 1), np.float32)[..., 1::2]
    spread[...] = x
    shifted = np.zeros(x.size + 1, np.float32)[1:].reshape(x.shape)
    shifted[...] = x
    for threads, other in ((2, x), (1, spread), (2, shifted), (1, np.asfortranarray(x))):
        fn.set_num_threads(threads)
        got = run(other, weight, bias, shape[7], dy=want[1])
        np.testing.assert_array_equal(got[0], want[0])
        for a, b in zip(got[2], want[2], strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.filterwarnings("ignore:Using padding:UserWarning")
@pytest.mark.parametrize(("kernel", "dilation"), [((3, 3), 1), ((2, 4), 1), ((1, 5), (2, 3)), ((6, 6), 1)])
def test_same_keeps_the_size(kernel, dilation, torch):
    rng = np.random.default_rng(0)
    x, weight = rng.standard_normal((2, 3, 7, 8)), rng.standard_normal((4, 3, *kernel))
    y = F.conv2d(fn.from_numpy(x), fn.from_numpy(weight), padding="same", dilation=dilation)
    want = torch.nn.functional.conv2d(
        torch.tensor(x), torch.tensor(weight), padding="same", dilation=dilation
    )
    np.testing.assert_allclose(y.numpy(), want.numpy(), rtol=1e-12, atol=1e-12)
    valid = F.conv2d(fn.from_numpy(x), fn.from_numpy(weight), padding="valid")
    np.testing.assert_array_equal(valid.numpy(), F.conv2d(fn.from_numpy(x), fn.from_numpy(weight)).numpy())


def test_single_image():
    x, weight, bias = map(fn.from_numpy, make(SHAPES[4]))
    y = F.conv2d(x[1], weight, bias, stride=2, padding=1)
    np.testing.assert_array_equal(y.numpy(), F.conv2d(x, weight, bias, stride=2, padding=1)[1].numpy())


def test_third_derivatives(torch):
    """Gradients of gradients of gradients with respect to input and weight, against PyTorch."""

    def third(lib, x, weight, grad):
        y = lib.conv2d(x, weight, stride=2, padding=1)
        for _ in range(2):
            dx, dw = grad((y * y).sum(), [x, weight])
            y = (dx * dx).sum() + (dw * dw * dw).sum()
        return grad(y, [x, weight])

    rng = np.random.default_rng(3)
    x, weight = 0.1 * rng.standard_normal((2, 2, 5, 4)), 0.1 * rng.standard_normal((3, 2, 3, 2))
    ours = [fn.tensor(a, requires_grad=True) for a in (x, weight)]
    theirs = [torch.tensor(a, requires_grad=True) for a in (x, weight)]
    got = third(F, *ours, lambda y, xs: fn.grad(y, xs, create_graph=True))
    want = third(torch.nn.functional, *theirs, lambda y, xs: torch.autograd.grad(y, xs, create_graph=True))
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize(
    ("x", "weight", "options"),
    [((0, 3, 5, 5), (4, 3, 2, 2), {}), ((2, 0, 5, 5), (4, 0, 2, 2), {}), ((2, 3, 5, 5), (0, 3, 2, 2), {})],
)
def test_nothing(x, weight, options):
    args = [fn.ones(*shape, requires_grad=True) for shape in (x, weight, weight[:1])]
    y = F.conv2d(*args, **options)
    assert y.shape == (x[0], weight[0], 4, 4)
    np.testing.assert_array_equal(y.detach().numpy(), 1)  # the bias, where there is anything
    for a, g in zip(args, fn.grad(y, args, fn.ones_like(y)), strict=True):
        assert g.shape == a.shape
        np.testing.assert_array_equal(g.numpy(), x[0] * 16 if a is args[2] else 0)


BAD = [
    ((2, 4, 9, 8), (6, 4, 3, 3), {"dilation": 2**62}, "overflows 64 bits"),
    ((2, 4, 9, 8), (6, 4, 3, 3), {"padding": 2**62}, "overflows 64 bits"),
    ((2, 4, 9, 8), (6, 4, 3, 3), {"padding": 2**63}, "64 bits"),
    ((2, 4, 9, 8), (6, 4, 3, 3), {"padding": 2**40}, "too many elements"),
    ((1, 2, 5, 6), (3, 2, 3, 3), {"padding": 2**61, "stride": 2**62}, "too many elements"),
    ((1, 2, 5, 6), (3, 2, 3, 3), {"padding": (2**59, 0), "stride": (2**60, 1)}, "too many elements"),
    ((1, 2, 5, 6), (3, 2, 3, 3), {"padding": "same", "dilation": 2**61}, "too many elements"),
    ((2, 4, 9, 8), (6, 4, 3, 3), {"stride": 0}, r"stride must be at least 1, got \(0, 0\)"),
    ((2, 4, 9, 8), (6, 4, 3, 3), {"stride": (1, -1)}, r"stride must be at least 1, got \(1, -1\)"),
    ((2, 4, 9, 8), (6, 4, 3, 3), {"stride": (1, 2, 3)}, "one or two integers"),
    ((2, 4, 9, 8), (6, 4, 3, 3), {"dilation": 0}, "dilation must be at least 1"),
    ((2, 4, 9, 8), (6, 4, 3, 3), {"padding": -1}, "padding must not be negative"),
    ((2, 4, 9, 8), (6, 4, 3, 3), {"padding": "full"}, "'same' or 'valid'"),
    ((2, 4, 9, 8), (6, 4, 3, 3), {"padding": "same", "stride": 2}, "needs stride 1"),
    ((2, 4, 9, 8), (6, 4, 3, 3), {"groups": 0}, "groups must be at least 1"),
    ((2, 4, 9, 8), (6, 4, 3, 3), {"groups": 3}, "4 channels, not a multiple of groups = 3"),
    ((2, 4, 9, 8), (6, 3, 3, 3), {}, r"input .* has 4 channels, but a weight .* with groups = 1 takes 3$"),
    ((2, 4, 9, 8), (6, 3, 3, 3), {"groups": 2}, "with groups = 2 takes 6$"),
    ((2, 9, 8, 3), (6, 3, 3, 3), {}, r"channels last must be turned: x\.permute\(0, 3, 1, 2\)"),
    ((9, 8, 3), (6, 3, 3, 3), {}, r"channels last must be turned: x\.permute\(2, 0, 1\)"),
    ((5, 9, 8), (6, 1, 3, 3), {}, r"without channels needs one: x\.unsqueeze\(1\)"),
    ((2, 4, 9, 8), (7, 2, 3, 3), {"groups": 2}, "7 filters, not a multiple of groups = 2"),
    ((2, 4, 9, 8), (6, 4, 10, 3), {}, "height of 10 taps with dilation 1 covers 10 pixels, more than"),
    ((2, 4, 9, 8), (6, 4, 3, 3), {"dilation": (1, 4)}, "width of 3 taps with dilation 4 covers 9 pixels"),
    ((2, 4, 0, 8), (6, 4, 1, 1), {}, "more than the input's 0"),
    ((2, 4, 9, 8), (6, 4, 0, 3), {}, "kernel height of 0"),
    ((9, 8), (6, 4, 3, 3), {}, r"input must have shape .* got \(9, 8\)"),
    ((2, 4, 9, 8), (6, 4, 3), {}, "weight must have shape"),
]


@pytest.mark.parametrize(
    ("x", "weight", "options", "message"), BAD, ids=lambda v: re.sub(r"\W+", "-", str(v))
)
def test_bad_input(x, weight, options, message):
    with pytest.raises(ValueError, match=message):
        F.conv2d(fn.zeros(*x), fn.zeros(*weight), **options)


def test_bad_bias_and_types():
    x, weight = fn.zeros(1, 2, 4, 4), fn.zeros(3, 2, 2, 2)
    with pytest.raises(ValueError, match=r"bias of shape \(2,\).*it must be \(3,\)"):
        F.conv2d(x, weight, fn.zeros(2))
    with pytest.raises(TypeError, match="input is float32 but weight is float64"):
        F.conv2d(x, weight.to(fn.float64))
    with pytest.raises(TypeError, match="must be float32 or float64, got int64"):
        F.conv2d(x.to(fn.int64), weight.to(fn.int64))
    with pytest.raises(TypeError, match=r"conv2d\(\): argument 'weight' must be a Tensor, .*, got None"):
        F.conv2d(x, None)
