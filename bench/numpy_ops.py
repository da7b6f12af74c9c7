"""The operations of neural networks in plain NumPy: what fastnn's kernels compute, readable enough to teach.

They are also the peer that fastnn is timed against, so they are as fast as vectorised NumPy reasonably
gets: every product is one BLAS call over the whole batch, convolution included, buffers are reused, and
what can be done in place is. `numpy_nets.py` builds nets from them.

Symbols: N images of C channels, H x W pixels; K filters of R x S; P x Q output pixels; dx, dw, db, dy are the
gradients of the loss with respect to x, w, b, y.

Layout: images are (C, H, W, N), **the batch last**. Then a run of N (or W * N) neighbours in memory shares
every index of a window, and NumPy's copies and sums go along it at full width: on 5 x 5 windows, gathering
them is ten times as fast as from (N, C, H, W), and adding them back four times. `batch_last` converts.
Weights are laid out as in PyTorch: (K, C / groups, R, S) and (out, in). Flattening is free too: (C, H, W,
N) -> (C * H * W, N), whose transpose is the (N, features) of the linear layers. All functions keep the
dtype they are given.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Array = NDArray[Any]
Pair = tuple[int, int]

# ---- activations -------------------------------------------------------------------------------------------


def relu(x: Array, out: Array | None = None) -> Array:
    """max(x, 0). `out=x` does it in place."""
    return np.maximum(x, 0, out=out)


def relu_backward(dy: Array, y: Array, out: Array | None = None) -> Array:
    """The slope is 1 where the output is positive. Multiplying by a mask beats writing by it 20 times."""
    return np.multiply(dy, y > 0, out=out, dtype=dy.dtype)


def _erf(x: Array) -> Array:
    """To 1.5e-7 (Abramowitz and Stegun, 7.1.26): NumPy has none."""
    size = np.abs(x)
    t = 1 / (1 + np.float32(0.3275911) * size)
    y = t * np.float32(1.061405429)
    for c in (-1.453152027, 1.421413741, -0.284496736, 0.254829592):
        y += np.float32(c)
        y *= t
    y *= np.exp(-np.square(size))
    return np.copysign(1 - y, x)


def gelu(x: Array, out: Array | None = None) -> Array:
    """x times the probability that a standard normal variable is below x."""
    return np.multiply(x, (1 + _erf(x * np.float32(0.5**0.5))) * np.float32(0.5), out=out)


def gelu_backward(dy: Array, x: Array) -> Array:
    density = np.exp(np.square(x) * np.float32(-0.5)) * np.float32(0.3989422804014327)
    return dy * ((1 + _erf(x * np.float32(0.5**0.5))) * np.float32(0.5) + x * density)


def tanh(x: Array, out: Array | None = None) -> Array:
    return np.tanh(x, out=out)


def tanh_backward(dy: Array, y: Array) -> Array:
    """d tanh / dx = 1 - y^2."""
    dx = np.square(y)
    np.subtract(1, dx, out=dx)
    return np.multiply(dx, dy, out=dx)


def sigmoid(x: Array, out: Array | None = None) -> Array:
    """1 / (1 + e^-x), written as (1 + tanh(x / 2)) / 2, which cannot overflow."""
    y = np.multiply(x, 0.5, out=out)
    np.tanh(y, out=y)
    y += 1
    y *= 0.5
    return y


def sigmoid_backward(dy: Array, y: Array) -> Array:
    """d sigmoid / dx = y (1 - y)."""
    dx = np.subtract(1, y)
    dx *= y
    return np.multiply(dx, dy, out=dx)


# ---- softmax, cross-entropy, dropout -----------------------------------------------------------------------


def softmax(x: Array, out: Array | None = None) -> Array:
    """e^x / sum(e^x) over the last axis; the maximum is subtracted first, so nothing overflows."""
    y: Array = np.subtract(x, x.max(axis=-1, keepdims=True), out=out)
    np.exp(y, out=y)
    y /= y.sum(axis=-1, keepdims=True)
    return y


def softmax_backward(dy: Array, y: Array) -> Array:
    """dx = y (dy - sum(dy y)), row by row."""
    dx: Array = dy - np.einsum("...i,...i->...", dy, y)[..., None]
    dx *= y
    return dx


def cross_entropy(logits: Array, labels: Array) -> tuple[float, Array]:
    """Mean of -log softmax(logits)[label] and its gradient, (softmax - one-hot) / N.

    logits (N, classes), labels (N,) integers.
    """
    n = len(labels)
    rows = np.arange(n)
    z = logits - logits.max(axis=1, keepdims=True)
    picked = z[rows, labels]
    np.exp(z, out=z)
    total = z.sum(axis=1, keepdims=True)
    loss = float(np.log(total).mean() - picked.mean())
    total *= n
    z /= total
    z[rows, labels] -= 1 / n
    return loss, z


def dropout(x: Array, p: float, rng: np.random.Generator) -> tuple[Array, Array]:
    """Zeroes elements with probability p, scales the others by 1 / (1 - p). Returns y and the mask y / x."""
    mask = np.multiply(rng.random(x.shape, np.float32) >= p, 1 / (1 - p), dtype=x.dtype)
    return x * mask, mask


def dropout_backward(dy: Array, mask: Array) -> Array:
    return dy * mask


# ---- linear ------------------------------------------------------------------------------------------------


def linear(x: Array, w: Array, b: Array | None = None) -> Array:
    """y = x w^T + b. x (N, in), w (out, in), b (out,), y (N, out)."""
    y = x @ w.T
    if b is not None:
        y += b
    return y


def linear_backward(dy: Array, x: Array, w: Array) -> tuple[Array, Array, Array]:
    """dx = dy w, dw = dy^T x, db = sum of dy over N. BLAS reads the transposed operand where it lies."""
    return dy @ w, dy.T @ x, dy.sum(axis=0)


# ---- convolution: gather the windows, then one matrix product over the whole batch -------------------------


def batch_last(x: Array) -> Array:
    """(N, C, H, W) -> (C, H, W, N)."""
    return np.ascontiguousarray(x.transpose(1, 2, 3, 0))


def batch_first(x: Array) -> Array:
    """(C, H, W, N) -> (N, C, H, W)."""
    return np.ascontiguousarray(x.transpose(3, 0, 1, 2))


def pad(x: Array, padding: Pair, value: float = 0) -> Array:
    """Adds a border of `value` around the H x W pixels of x (C, H, W, N)."""
    ph, pw = padding
    if not ph and not pw:
        return x
    c, h, w, n = x.shape
    out = np.full((c, h + 2 * ph, w + 2 * pw, n), value, x.dtype)
    out[:, ph : ph + h, pw : pw + w] = x
    return out


def im2col(
    x: Array, kernel: Pair, stride: Pair = (1, 1), padding: Pair = (0, 0), out: Array | None = None
) -> Array:
    """The windows of x (C, H, W, N) as columns: (C, R, S, P, Q, N), a matrix of C R S rows and P Q N columns.

    The view costs nothing; making it dense is the one copy that turns convolution into a matrix product.
    Where the view is dense already (1 x 1 kernels) the result is x itself, read-only. `out` offers a
    buffer.
    """
    windows = sliding_window_view(pad(x, padding), kernel, axis=(1, 2))[:, :: stride[0], :: stride[1]]
    view = windows.transpose(0, 4, 5, 1, 2, 3)  # from (C, P, Q, N, R, S)
    if out is None or out.shape != view.shape or not out.flags.writeable:
        return np.ascontiguousarray(view)
    np.copyto(out, view)
    return out


def col2im(cols: Array, shape: tuple[int, ...], stride: Pair = (1, 1), padding: Pair = (0, 0)) -> Array:
    """The transpose of im2col: adds each window back to the pixels of x (C, H, W, N) that it came from."""
    c, h, w, n = shape
    _, r, s, p, q, _ = cols.shape
    (sh, sw), (ph, pw) = stride, padding
    x = np.zeros((c, h + 2 * ph, w + 2 * pw, n), cols.dtype)
    for i in range(r):
        for j in range(s):
            x[:, i : i + sh * p : sh, j : j + sw * q : sw] += cols[:, i, j]
    return x[:, ph : ph + h, pw : pw + w]


def conv2d(
    x: Array,
    w: Array,
    b: Array | None = None,
    stride: Pair = (1, 1),
    padding: Pair = (0, 0),
    groups: int = 1,
    cols: Array | None = None,
) -> tuple[Array, Array]:
    """y[k, p, q, n] = b[k] + sum over c, r, s of w[k, c, r, s] x[c, p + r, q + s, n], as one product W cols.

    Returns y (K, P, Q, N) and the columns, which the backward pass needs; `cols` offers a buffer for them.
    """
    k = w.shape[0]
    cols = im2col(x, w.shape[2:], stride, padding, cols)
    y = np.matmul(w.reshape(groups, k // groups, -1), _by_group(cols, groups))
    y = y.reshape(k, *cols.shape[3:])
    if b is not None:
        y += b[:, None, None, None]
    return y, cols


def conv2d_grad_weight(dy: Array, cols: Array, w: Array, groups: int = 1) -> Array:
    """dW = dy cols^T."""
    dw: Array = np.matmul(dy.reshape(groups, len(dy) // groups, -1), _by_group(cols, groups).swapaxes(1, 2))
    return dw.reshape(w.shape)


def conv2d_grad_input(
    dy: Array,
    w: Array,
    shape: tuple[int, ...],
    stride: Pair = (1, 1),
    padding: Pair = (0, 0),
    groups: int = 1,
    cols: Array | None = None,
) -> Array:
    """dx = the columns W^T dy, added back. `shape` is that of x; `cols`, if given, takes them."""
    k = len(dy)
    if cols is None or not cols.flags.writeable:
        cols = np.empty((shape[0], *w.shape[2:], *dy.shape[1:]), dy.dtype)
    dy = dy.reshape(groups, k // groups, -1)
    np.matmul(w.reshape(groups, k // groups, -1).swapaxes(1, 2), dy, out=_by_group(cols, groups))
    return col2im(cols, shape, stride, padding)


def _by_group(cols: Array, groups: int) -> Array:
    return cols.reshape(groups, -1, int(np.prod(cols.shape[3:])))


# ---- pooling -----------------------------------------------------------------------------------------------


def _taps(x: Array, kernel: int, stride: int) -> list[Array]:
    """The kernel * kernel views of x (C, H, W, N) that hold the first, second, ... pixel of every window."""
    p, q = ((size - kernel) // stride + 1 for size in x.shape[1:3])
    return [
        x[:, i : i + stride * (p - 1) + 1 : stride, j : j + stride * (q - 1) + 1 : stride]
        for i in range(kernel)
        for j in range(kernel)
    ]


def max_pool2d(x: Array, kernel: int, stride: int | None = None) -> Array:
    """The largest pixel of each window. x (C, H, W, N), y (C, P, Q, N)."""
    first, *others = _taps(x, kernel, stride or kernel)
    y = first.copy()
    for tap in others:
        np.maximum(y, tap, out=y)
    return y


def max_pool2d_backward(dy: Array, x: Array, y: Array, kernel: int, stride: int | None = None) -> Array:
    """Each dy goes to the first pixel of its window that equals the maximum, and leaves 0 for the others."""
    stride = stride or kernel
    dx = np.zeros_like(x)
    left = dy.copy()
    for tap, dtap in zip(_taps(x, kernel, stride), _taps(dx, kernel, stride), strict=True):
        if stride >= kernel:  # no pixel is in two windows
            taken = np.multiply(left, tap == y, out=dtap)
        else:
            taken = np.multiply(left, tap == y, dtype=dy.dtype)
            dtap += taken
        left -= taken
    return dx


def avg_pool2d(x: Array, kernel: int, stride: int | None = None) -> Array:
    """The mean of each window. x (C, H, W, N), y (C, P, Q, N)."""
    first, *others = _taps(x, kernel, stride or kernel)
    y = first.copy()
    for tap in others:
        y += tap
    y *= 1 / kernel**2
    return y


def avg_pool2d_backward(dy: Array, shape: tuple[int, ...], kernel: int, stride: int | None = None) -> Array:
    """Every pixel of a window gets an equal share of dy. `shape` is that of x."""
    dx = np.zeros(shape, dy.dtype)
    share = dy * (1 / kernel**2)
    for dtap in _taps(dx, kernel, stride or kernel):
        dtap += share
    return dx


# ---- optimisers --------------------------------------------------------------------------------------------

BLOCK = 1 << 16  # elements that stay in the second-level cache while several passes run over them


def sgd(
    parameters: Sequence[Array],
    gradients: Sequence[Array],
    lr: float,
    momentum: float = 0,
    velocities: Sequence[Array] = (),
) -> None:
    """w -= lr g, or with momentum v = momentum v + g; w -= lr v. In place; overwrites the gradients."""
    for i, (w, g) in enumerate(zip(parameters, gradients, strict=True)):
        if momentum:
            v = velocities[i]
            v *= momentum
            v += g
            np.multiply(v, lr, out=g)
        else:
            g *= lr
        w -= g


def adam(
    parameters: Sequence[Array],
    gradients: Sequence[Array],
    means: Sequence[Array],
    squares: Sequence[Array],
    step: int,
    lr: float = 1e-3,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
) -> None:
    """m = beta1 m + (1 - beta1) g; v = beta2 v + (1 - beta2) g^2; w -= lr m' / (sqrt(v') + eps).

    m' and v' are m and v freed of their bias towards zero (Kingma and Ba, 2015); `step` counts from 1. In
    place, a block at a time, so that the block stays in cache.
    """
    rate = lr / (1 - beta1**step)
    root = (1 - beta2**step) ** -0.5
    for whole in zip(parameters, gradients, means, squares, strict=True):
        flat = [a.reshape(-1) for a in whole]
        for start in range(0, flat[0].size, BLOCK):
            w, g, m, v = (a[start : start + BLOCK] for a in flat)
            t = np.multiply(g, 1 - beta1)
            m *= beta1
            m += t
            np.square(g, out=t)
            t *= 1 - beta2
            v *= beta2
            v += t
            np.sqrt(v, out=t)
            t *= root
            t += eps
            np.divide(m, t, out=t)
            t *= rate
            w -= t
