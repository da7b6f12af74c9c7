"""Fashion-MNIST, from the system's package or from the network."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from .dataset import ArrayDataset
from .idx import read_idx

__all__ = ["load_fashion_mnist"]

_SYSTEM = Path("/usr/share/datasets/fashion-mnist")  # of Debian's package dataset-fashion-mnist
_URL = "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/"
_SHA256 = {
    "train-images-idx3-ubyte.gz": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
    "train-labels-idx1-ubyte.gz": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
    "t10k-images-idx3-ubyte.gz": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
    "t10k-labels-idx1-ubyte.gz": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
}
_CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip


def load_fashion_mnist() -> tuple[ArrayDataset, ArrayDataset]:
    """70,000 pictures of clothes in ten classes: the training set of 60,000 and the test set of 10,000.

    Both hold images, float32 of shape (n, 1, 28, 28) in 0..1, and labels, int64 0..9. The files are looked
    for in ``$FASTNN_DATA`` (or its folder ``fashion-mnist``), then where Debian's package
    ``dataset-fashion-mnist`` puts them, and else downloaded once, if the package ``pooch`` is installed, and
    compared with their checksums.

    Errors: FileNotFoundError saying what to install if they are nowhere, ValueError if a file is damaged.

    Source: H. Xiao, K. Rasul, R. Vollgraf, Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine
    Learning Algorithms, arXiv:1708.07747, 2017; MIT licence.

    Example:
        >>> from fastnn.data import load_fashion_mnist
        >>> train, test = load_fashion_mnist()                 # doctest: +SKIP
        >>> train.classes[int(train[0][1])]                    # doctest: +SKIP
        'Ankle boot'
    """
    return _load("train", 60_000), _load("t10k", 10_000)


def _load(part: str, count: int) -> ArrayDataset:
    paths = [_find(f"{part}-images-idx3-ubyte.gz"), _find(f"{part}-labels-idx1-ubyte.gz")]
    images, labels = map(read_idx, paths)
    for path, array, shape in zip(paths, (images, labels), ((count, 28, 28), (count,)), strict=True):
        if array.dtype != np.uint8 or array.shape != shape:
            raise ValueError(
                f"{path}: holds {array.dtype} of shape {array.shape}, Fashion-MNIST uint8 of shape {shape}"
            )
    if labels.max() >= len(_CLASSES):
        raise ValueError(f"{paths[1]}: label {labels.max()} is not in 0..{len(_CLASSES) - 1}")
    x = images[:, None].astype(np.float32)
    x /= 255
    return ArrayDataset(x, labels.astype(np.int64), classes=_CLASSES)


def _find(name: str) -> Path:
    own = os.environ.get("FASTNN_DATA")
    folders = [Path(own), Path(own) / "fashion-mnist", _SYSTEM] if own else [_SYSTEM]
    for folder in folders:
        for path in (folder / name, folder / name.removesuffix(".gz")):
            if path.is_file():
                return path
    try:
        import pooch
    except ImportError:
        raise FileNotFoundError(
            f"Fashion-MNIST ({name}) is not in {', '.join(map(str, folders))}. Any of these helps: "
            "install Debian's package dataset-fashion-mnist (apt install dataset-fashion-mnist); "
            "let fastnn download it (pip install pooch); or set FASTNN_DATA to a folder that holds the files"
        ) from None
    cache = Path(own) / "fashion-mnist" if own else pooch.os_cache("fastnn") / "fashion-mnist"
    try:
        return Path(
            pooch.retrieve(_URL + name, f"sha256:{_SHA256[name]}", fname=name, path=cache, progressbar=False)
        )
    except OSError as error:
        raise FileNotFoundError(
            f"Fashion-MNIST ({name}) could not be downloaded from {_URL}: {error}. Without a network, "
            "install Debian's package dataset-fashion-mnist or set FASTNN_DATA to a folder with the files"
        ) from error
