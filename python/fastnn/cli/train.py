"""Train a network on real images, say how good it is, and save it.

Without arguments: a convolutional network on the handwritten digits inside the package, saved to
digits.safetensors.
"""

from __future__ import annotations

import argparse
import math
import os
import shutil
import sys
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from ..data import ArrayDataset, Transform
    from ..nn import Module
    from ..train import Trainer

__all__ = ["add_arguments", "run"]

Shape = tuple[int, int, int]


class Recipe(NamedTuple):
    """How a data set is learned when the command line says nothing else."""

    epochs: int
    batch_size: int


RECIPES = {"digits": Recipe(epochs=30, batch_size=64), "fashion-mnist": Recipe(epochs=6, batch_size=128)}
MODELS = ("lenet", "mlp", "linear")
RATES = {"sgd": 0.05, "adam": 0.002}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--data", choices=RECIPES, default="digits", help="data set (default digits)")
    add("--model", choices=MODELS, default="lenet", help="network (default lenet)")
    add(
        "--epochs", type=count, metavar="N", help="passes over the training set (default 30; fashion-mnist 6)"
    )
    add("--batch-size", type=count, metavar="N", help="images per step (default 64; fashion-mnist 128)")
    add("--lr", type=_rate, metavar="RATE", help="first learning rate (default 0.05 for sgd, 0.002 for adam)")
    add("--optimizer", choices=RATES, default="sgd", help="sgd with momentum 0.9, or adam (default sgd)")
    add("--seed", type=int, default=0, metavar="N", help="of weights, order and dropout (default 0)")
    add("--threads", type=count, metavar="N", help="threads (default: all cores)")
    add("--out", metavar="FILE", help="where to save the model (default DATA.safetensors)")


def count(text: str) -> int:
    """An argument that must be a whole number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, not {text}")
    return int(text)


def _rate(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number above 0, not {text}")
    return value


def run(args: argparse.Namespace) -> None:
    import fastnn as fn

    from ..io.atomic import replaceable

    out = Path(args.out or f"{args.data}.safetensors")
    if not out.parent.is_dir() or out.is_dir() or not os.access(out.parent, os.W_OK) or not replaceable(out):
        raise ValueError(f"cannot save to {out}")  # said now, not after the training
    if args.threads:
        fn.set_num_threads(args.threads)
    train, test = _load(args.data)
    fn.manual_seed(args.seed)
    preprocessing = _preprocessing(train)
    model = _network(args.model, train.arrays[0].shape[1:], len(train.classes or ()))
    print(f"{args.data}: {len(train)} images to learn from, {len(test)} to test on")
    print(f"{args.model}: {sum(p.numel() for p in model.parameters())} parameters, seed {args.seed}")

    start = time.perf_counter()
    trainer = _fit(args, model, preprocessing(train.arrays[0]), train.arrays[1])
    seconds = time.perf_counter() - start
    if trainer.history.diverged:
        raise RuntimeError(f"{trainer.history.stopped}; nothing was saved. Try a smaller --lr")
    predicted = trainer.predict(preprocessing(test.arrays[0])).numpy().argmax(axis=1)
    print("\n" + confusion_table(test.arrays[1], predicted, test.classes or ()))
    right = int((predicted == test.arrays[1]).sum())
    print(f"\ntest accuracy {right / len(test):.4f} ({right} of {len(test)}), trained in {seconds:.1f} s")

    fn.save_model(model, out, preprocessing=preprocessing, classes=train.classes)
    print(f"saved {out}; classify images of your own: {_command()} predict {out} FILE...")


def _command() -> str:
    """How this program is called from here: by its name where the shell finds it."""
    if shutil.which("fastnn"):
        return "fastnn"
    called = sys.argv[0]
    return os.path.relpath(called) if os.path.basename(called) == "fastnn" else "python -m fastnn"


def _load(name: str) -> tuple[ArrayDataset, ArrayDataset]:
    from ..data import load_digits, load_fashion_mnist

    return load_digits() if name == "digits" else load_fashion_mnist()


def _preprocessing(train: ArrayDataset) -> Transform:
    """From any picture to what the network learned from: mean 0 and variance 1 over the training set."""
    from ..data import Compose, Standardize, ToImages

    images = train.arrays[0]
    return Compose(ToImages(images.shape[1:], ink=True), Standardize.fit(images))


def _network(name: str, shape: Shape, classes: int) -> Module:
    from .. import nn
    from ..models import MLP, LeNet

    size = math.prod(shape)
    if name == "linear":
        return nn.Sequential(nn.Flatten(), nn.Linear(size, classes))
    if name == "mlp":
        return nn.Sequential(nn.Flatten(), MLP([size, 256, classes], dropout=0.5))
    if shape[1] >= 16:
        return LeNet(classes, shape)
    channels, height, width = shape  # too small for two poolings: smaller filters, one pooling
    return nn.Sequential(
        nn.Conv2d(channels, 32, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, 64, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.25),
        nn.Linear(64 * (height // 2) * (width // 2), 256),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(256, classes),
    )


def _fit(args: argparse.Namespace, model: Module, x: NDArray[Any], y: NDArray[Any]) -> Trainer:
    from .. import optim
    from ..train import Callback, Trainer

    recipe = RECIPES[args.data]
    epochs, batch_size = args.epochs or recipe.epochs, args.batch_size or recipe.batch_size
    rate = args.lr or RATES[args.optimizer]

    class Cosine(Callback):
        """The learning rate falls along half a cosine to nearly 0. Loshchilov and Hutter 2017, SGDR."""

        def on_epoch_begin(self, trainer: Trainer, epoch: int) -> None:
            for group in trainer.opt.param_groups:
                group["lr"] = rate * (1 + math.cos(math.pi * epoch / epochs)) / 2

    opt: optim.Optimizer
    if args.optimizer == "sgd":
        opt = optim.SGD(model.parameters(), lr=rate, momentum=0.9, weight_decay=1e-3)
    else:
        opt = optim.Adam(model.parameters(), lr=rate)
    trainer = Trainer(model, opt, metrics=["accuracy"], callbacks=[Cosine()])
    with warnings.catch_warnings(action="ignore", category=RuntimeWarning):  # divergence is told by run()
        trainer.fit((x, y), epochs=epochs, batch_size=batch_size, seed=args.seed)
    return trainer


def confusion_table(labels: NDArray[Any], predicted: NDArray[Any], classes: tuple[str, ...]) -> str:
    """How many of each class (rows) were taken for which (columns), with a dot for none."""
    n = len(classes)
    counts = np.zeros((n, n), np.int64)
    np.add.at(counts, (labels, predicted), 1)
    numbers = [[str(value) if value else "." for value in row] for row in counts]
    width = max(len(cell) for row in [*numbers, [str(n - 1)]] for cell in row) + 1
    left = max(map(len, classes)) + 1
    heads = list(classes) if left <= 2 else [str(i) for i in range(n)]
    names = [name if left <= 2 else f"{i} {name}" for i, name in enumerate(classes)]
    left = max(map(len, names))
    lines = [f"{'':{left}} taken for", f"{'':{left}}" + "".join(f"{head:>{width}}" for head in heads)]
    lines += [
        f"{name:{left}}" + "".join(f"{cell:>{width}}" for cell in row)
        for name, row in zip(names, numbers, strict=True)
    ]
    return "\n".join(lines)
