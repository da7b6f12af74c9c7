"""Classify images with a model file.

FILE is a picture (PNG, JPEG and what else Pillow reads), or a NumPy .npy file with one image or a batch of
them. The preprocessing and the names of the classes come from the model file.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data.pictures import read_picture
from .train import count

__all__ = ["add_arguments", "run"]

BATCH = 256


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="file written by fastnn train or fastnn.save_model")
    parser.add_argument("files", metavar="FILE", nargs="+", help="picture or .npy file")
    parser.add_argument(
        "--top", type=count, default=1, metavar="K", help="print the K likeliest classes (default 1)"
    )


def run(args: argparse.Namespace) -> None:
    import fastnn as fn

    model = fn.load_model(args.model)
    for file in args.files:
        try:
            probabilities = classify(model, read(file))
        except ValueError as error:
            message = str(error)
            if model.preprocessing is None:
                message += (
                    " (the model file holds no preprocessing: save_model(..., preprocessing=...) adds it)"
                )
            raise ValueError(message if message.startswith(file) else f"{file}: {message}") from error
        for row, values in enumerate(probabilities):
            name = file if len(probabilities) == 1 else f"{file}[{row}]"
            best = np.argsort(-values, kind="stable")[: args.top]
            print(f"{name}: " + ", ".join(f"{label(model, index)} {values[index]:.1%}" for index in best))


def label(model: Any, index: int) -> str:
    return str(model.classes[index]) if model.classes and index < len(model.classes) else str(index)


def classify(model: Any, images: NDArray[Any]) -> NDArray[np.float32]:
    """Class probabilities (n, classes) of raw images, which the model's preprocessing makes fit."""
    import fastnn as fn
    from fastnn.nn import functional as F

    x = images if model.preprocessing is None else model.preprocessing(images)
    x = np.ascontiguousarray(x, np.float32)
    with fn.no_grad():
        batches = [
            F.softmax(model(fn.from_numpy(x[i : i + BATCH])), 1).numpy() for i in range(0, len(x), BATCH)
        ]
    return np.concatenate(batches) if batches else np.empty((0, 0), np.float32)


def read(file: str) -> NDArray[Any]:
    """The array in a .npy file, or the pixels of a picture: (1, H, W, 3 or 4)."""
    if Path(file).suffix.lower() == ".npy":
        # Mapped, so that a header that declares more than the file holds is refused before memory is asked
        # for.
        return np.array(np.load(file, mmap_mode="r", allow_pickle=False))
    return read_picture(file)[None]
