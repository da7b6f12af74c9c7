"""Data sets, batches, and transforms of their inputs."""

import sys

from ..registry import register_all
from .dataset import ArrayDataset, Dataset, Subset, random_split, train_test_split
from .digits import load_digits
from .fashion_mnist import load_fashion_mnist
from .idx import read_idx
from .loader import DataLoader
from .transforms import Compose, Log1p, Reshape, Resize, Standardize, ToFloat, ToImages, Transform

__all__ = [
    "ArrayDataset",
    "Compose",
    "DataLoader",
    "Dataset",
    "Log1p",
    "Reshape",
    "Resize",
    "Standardize",
    "Subset",
    "ToFloat",
    "ToImages",
    "Transform",
    "load_digits",
    "load_fashion_mnist",
    "random_split",
    "read_idx",
    "train_test_split",
]

register_all(sys.modules[__name__])
