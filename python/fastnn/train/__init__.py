"""Training, evaluation and prediction in one call each, with checks, history and callbacks."""

from .callbacks import Callback, EarlyStopping, ModelCheckpoint, ReduceLROnPlateau
from .history import History
from .metrics import accuracy, mae, metric, mse
from .trainer import Trainer

__all__ = [
    "Callback",
    "EarlyStopping",
    "History",
    "ModelCheckpoint",
    "ReduceLROnPlateau",
    "Trainer",
    "accuracy",
    "mae",
    "metric",
    "mse",
]
