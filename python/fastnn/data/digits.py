"""The digits data set, which is inside the package."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .dataset import ArrayDataset, train_test_split

__all__ = ["load_digits"]


def load_digits() -> tuple[ArrayDataset, ArrayDataset]:
    """1,797 handwritten digits of 13 people: a training set of 1,438 and a test set of 359.

    Both hold images, float32 of shape (n, 1, 8, 8) in 0..1 (ink is 1), and labels, int64 0..9. The split is
    fixed: a fifth of every digit, drawn once with seed 0, is the test set.

    Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning
    Repository, 1998, https://doi.org/10.24432/C50P49, licensed CC BY 4.0; the part that scikit-learn ships.

    Example:
        >>> from fastnn.data import load_digits
        >>> train, test = load_digits()
        >>> train
        ArrayDataset(float32(1438, 1, 8, 8), int64(1438,))
    """
    with np.load(Path(__file__).with_name("digits.npz"), allow_pickle=False) as file:
        images = file["images"][:, None].astype(np.float32) / 16
        labels = file["labels"].astype(np.int64)
    x_train, x_test, y_train, y_test = train_test_split(
        images, labels, test_size=0.2, stratify=labels, seed=0
    )
    classes = "0123456789"
    return ArrayDataset(x_train, y_train, classes=classes), ArrayDataset(x_test, y_test, classes=classes)
