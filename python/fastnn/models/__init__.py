"""Whole models, ready to train."""

import sys

from fastnn import registry

from .lenet import LeNet, LeNet5
from .mlp import MLP

__all__ = ["MLP", "LeNet", "LeNet5"]

registry.register_all(sys.modules[__name__])
