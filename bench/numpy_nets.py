"""Nets in plain NumPy: layers that know their backward pass, and the training step of plain SGD.

The operations, the symbols and the layout of images, (C, H, W, N), are those of `numpy_ops.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Protocol

import numpy as np

from .numpy_ops import (
    Array,
    batch_last,
    conv2d,
    conv2d_grad_input,
    conv2d_grad_weight,
    cross_entropy,
    linear,
    linear_backward,
    max_pool2d,
    max_pool2d_backward,
    relu,
    relu_backward,
    sgd,
)


class Layer(Protocol):
    """A layer keeps what its backward pass needs; after it, `gradients` runs parallel to `parameters`."""

    parameters: list[Array]
    gradients: list[Array]

    def forward(self, x: Array) -> Array: ...

    def backward(self, dy: Array) -> Array: ...


def _uniform(rng: np.random.Generator, shape: tuple[int, ...], fan_in: int, dtype: Any) -> Array:
    bound = fan_in**-0.5
    return rng.uniform(-bound, bound, shape).astype(dtype)


class Linear:
    def __init__(self, n_in: int, n_out: int, rng: np.random.Generator, dtype: Any = np.float32) -> None:
        self.parameters = [_uniform(rng, (n_out, n_in), n_in, dtype), _uniform(rng, (n_out,), n_in, dtype)]
        self.gradients: list[Array] = []

    def forward(self, x: Array) -> Array:
        self.x = x
        w, b = self.parameters
        return linear(x, w, b)

    def backward(self, dy: Array) -> Array:
        dx, *self.gradients = linear_backward(dy, self.x, self.parameters[0])
        return dx


class Conv2d:
    def __init__(
        self, c: int, k: int, kernel: int, rng: np.random.Generator, padding: int = 0, dtype: Any = np.float32
    ) -> None:
        fan_in = c * kernel * kernel
        self.parameters = [
            _uniform(rng, (k, c, kernel, kernel), fan_in, dtype),
            _uniform(rng, (k,), fan_in, dtype),
        ]
        self.gradients: list[Array] = []
        self.padding = (padding, padding)
        self.cols: Array | None = None
        self.needs_dx = True  # False in the first layer of a net

    def forward(self, x: Array) -> Array:
        self.shape = x.shape
        w, b = self.parameters
        y, self.cols = conv2d(x, w, b, padding=self.padding, cols=self.cols)
        return y

    def backward(self, dy: Array) -> Array:
        assert self.cols is not None
        w = self.parameters[0]
        self.gradients = [conv2d_grad_weight(dy, self.cols, w), dy.reshape(len(dy), -1).sum(axis=1)]
        if not self.needs_dx:
            return dy
        return conv2d_grad_input(dy, w, self.shape, padding=self.padding, cols=self.cols)


class ReLU:
    """In place, both ways: the layer before it has no use for its own output."""

    def __init__(self) -> None:
        self.parameters: list[Array] = []
        self.gradients: list[Array] = []

    def forward(self, x: Array) -> Array:
        self.y = relu(x, out=x)
        return self.y

    def backward(self, dy: Array) -> Array:
        return relu_backward(dy, self.y, out=dy)


class MaxPool2d:
    def __init__(self, kernel: int) -> None:
        self.kernel = kernel
        self.parameters: list[Array] = []
        self.gradients: list[Array] = []

    def forward(self, x: Array) -> Array:
        self.x, self.y = x, max_pool2d(x, self.kernel)
        return self.y

    def backward(self, dy: Array) -> Array:
        return max_pool2d_backward(dy, self.x, self.y, self.kernel)


class Flatten:
    """(C, H, W, N) -> (N, C * H * W), a view."""

    def __init__(self) -> None:
        self.parameters: list[Array] = []
        self.gradients: list[Array] = []

    def forward(self, x: Array) -> Array:
        self.shape = x.shape
        return x.reshape(-1, x.shape[3]).T

    def backward(self, dy: Array) -> Array:
        return np.ascontiguousarray(dy.T).reshape(self.shape)


class Net:
    """Layers in a row, trained by plain SGD on the mean cross-entropy."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        self.layers = layers
        if isinstance(layers[0], Conv2d):
            layers[0].needs_dx = False

    @property
    def parameters(self) -> list[Array]:
        return [p for layer in self.layers for p in layer.parameters]

    @property
    def gradients(self) -> list[Array]:
        return [g for layer in self.layers for g in layer.gradients]

    def forward(self, x: Array) -> Array:
        """Logits (N, classes). x: (N, features), or (N, C, H, W) for a net that begins with a convolution."""
        if x.ndim == 4:
            x = batch_last(x)
        for layer in self.layers:
            x = layer.forward(x)
        return x

    def loss_and_gradients(self, x: Array, labels: Array) -> float:
        """One forward and one backward pass; the gradients are left in the layers."""
        loss, dy = cross_entropy(self.forward(x), labels)
        for layer in reversed(self.layers):
            dy = layer.backward(dy)
        return loss

    def step(self, x: Array, labels: Array, lr: float) -> float:
        """One step of SGD on one batch. Returns the loss before it."""
        loss = self.loss_and_gradients(x, labels)
        sgd(self.parameters, self.gradients, lr)
        return loss


def mlp(sizes: Sequence[int], rng: np.random.Generator, dtype: Any = np.float32) -> Net:
    """Linear layers of these sizes with ReLU between them."""
    layers: list[Layer] = []
    for n_in, n_out in pairwise(sizes):
        layers += [Linear(n_in, n_out, rng, dtype), ReLU()]
    return Net(layers[:-1])


def lenet(rng: np.random.Generator, dtype: Any = np.float32) -> Net:
    """LeNet with 20 and 50 filters and 500 hidden units, for 1 x 28 x 28 images and 10 classes."""
    layers: list[Layer] = [
        Conv2d(1, 20, 5, rng, dtype=dtype),
        ReLU(),
        MaxPool2d(2),
        Conv2d(20, 50, 5, rng, dtype=dtype),
        ReLU(),
        MaxPool2d(2),
        Flatten(),
        Linear(800, 500, rng, dtype),
        ReLU(),
        Linear(500, 10, rng, dtype),
    ]
    return Net(layers)


def lenet5(rng: np.random.Generator, dtype: Any = np.float32) -> Net:
    """LeNet-5 (LeCun et al., 1998) with ReLU and max-pooling, for 1 x 28 x 28 images and 10 classes."""
    layers: list[Layer] = [
        Conv2d(1, 6, 5, rng, padding=2, dtype=dtype),
        ReLU(),
        MaxPool2d(2),
        Conv2d(6, 16, 5, rng, dtype=dtype),
        ReLU(),
        MaxPool2d(2),
        Flatten(),
        Linear(400, 120, rng, dtype),
        ReLU(),
        Linear(120, 84, rng, dtype),
        ReLU(),
        Linear(84, 10, rng, dtype),
    ]
    return Net(layers)
