"""What may happen between epochs: stop, save, lower the learning rate, or what a derived class does."""

from __future__ import annotations

import math
import weakref
from collections.abc import Iterable
from os import PathLike, fsdecode
from typing import TYPE_CHECKING, Any

import fastnn as fn

from .checks import called
from .metrics import direction

if TYPE_CHECKING:
    from .trainer import Trainer

__all__ = ["Callback", "EarlyStopping", "ModelCheckpoint", "ReduceLROnPlateau"]

Logs = dict[str, float]


class Callback:
    """Base class: override what you need. ``trainer.stop("why")`` ends training after the epoch.

    ``logs`` holds the epoch's numbers, as the history will, or the batch's loss.

    Example:
        >>> from fastnn.train import Callback
        >>> class StopWhenGood(Callback):
        ...     def on_epoch_end(self, trainer, epoch, logs):
        ...         if logs["val_accuracy"] > 0.99:
        ...             trainer.stop("good enough")
    """

    def on_fit_begin(self, trainer: Trainer) -> None:
        """Before the first epoch."""

    def on_epoch_begin(self, trainer: Trainer, epoch: int) -> None:
        """Before an epoch, counted from 0."""

    def on_batch_end(self, trainer: Trainer, batch: int, logs: Logs) -> None:
        """After a step; ``logs`` holds the batch's loss."""

    def on_epoch_end(self, trainer: Trainer, epoch: int, logs: Logs) -> None:
        """After an epoch; ``logs`` holds what the history gets: loss, metrics, those of ``val`` with ``val_``."""

    def on_fit_end(self, trainer: Trainer) -> None:
        """Also called when training was interrupted from the keyboard, or ended by an error."""


def check_callbacks(callbacks: Any) -> list[Callback]:
    """TypeError for what is no callback, which would be noticed after an epoch or not at all."""
    if not isinstance(callbacks, Iterable):
        raise TypeError(f"Trainer: callbacks must be a list of them, not {called(callbacks)}")
    callbacks = list(callbacks)
    for number, callback in enumerate(callbacks):
        if not isinstance(callback, Callback):
            raise TypeError(f"Trainer: callbacks[{number}] must be a Callback, not {called(callback)}")
    return callbacks


class _Monitor(Callback):
    """Follows one number of the logs: knows when it is better by ``min_delta`` than ever before, and counts the epochs
    since.
    """

    def __init__(self, monitor: str, mode: str, min_delta: float) -> None:
        if mode not in ("auto", "min", "max"):
            raise ValueError(f"{type(self).__name__}: mode must be 'auto', 'min' or 'max', not {mode!r}")
        if min_delta < 0:
            raise ValueError(f"{type(self).__name__}: min_delta={min_delta} must not be negative")
        self.monitor = monitor
        self.min_delta = min_delta
        self.mode = mode

    def on_fit_begin(self, trainer: Trainer) -> None:
        self._begin(trainer)
        self.best = math.inf

    def _begin(self, trainer: Trainer) -> None:
        mode = direction(self.monitor, trainer.metrics) if self.mode == "auto" else self.mode
        if mode is None:
            raise ValueError(
                f"{type(self).__name__}: whether {self.monitor!r} shall rise or fall is not known: give mode='max' or "
                "mode='min', or put @fastnn.train.metric('max') above the metric"
            )
        self._sign = -1.0 if mode == "max" else 1.0
        self._waited = 0
        if _all_known(trainer):
            self._check_monitor(trainer._logged)

    def _check_monitor(self, logged: Iterable[str]) -> None:
        if self.monitor not in logged:
            missing = " (give fit a validation set: val=...)" if self.monitor.startswith("val_") else ""
            raise ValueError(
                f"{type(self).__name__}: there is no {self.monitor!r} to monitor{missing}; there is: {', '.join(logged)}"
            )

    def improved(self, logs: Logs) -> bool:
        """Whether the monitored number is the best so far, by more than ``min_delta``; then it is the one to beat."""
        self._check_monitor(logs)
        value = self._sign * logs[self.monitor]
        if value < self.best - self.min_delta:
            self.best = value
            self._waited = 0
            return True
        self._waited += 1
        return False


def _all_known(trainer: Trainer) -> bool:
    """Whether it is known before training what the logs will hold: a callback of somebody's own may add to them."""
    return all(type(callback).__module__ == __name__ for callback in trainer.callbacks)


class EarlyStopping(_Monitor):
    """Stops when ``monitor`` has not become better for ``patience`` epochs, and brings the best weights back.

    Parameters: ``min_delta``, what counts as better at least. ``mode``: "min", "max", or "auto", as the
    metric states it. ``restore_best``: at the end of training, early or not, the model gets the weights of
    its best epoch. Afterwards ``best_epoch`` says which one (from 0). Each ``fit`` counts anew, for it may be of other data.

    Errors: ValueError if the logs have no such number, or nobody said whether it shall rise or fall.

    Example:
        >>> from fastnn.train import EarlyStopping
        >>> callback = EarlyStopping("val_accuracy", patience=3)
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        patience: int = 5,
        min_delta: float = 0.0,
        mode: str = "auto",
        restore_best: bool = True,
    ) -> None:
        super().__init__(monitor, mode, min_delta)
        if patience < 0:
            raise ValueError(f"EarlyStopping: patience={patience} must not be negative")
        self.patience = patience
        self.restore_best = restore_best
        self.best_epoch: int | None = None

    def on_fit_begin(self, trainer: Trainer) -> None:
        super().on_fit_begin(trainer)
        self.best_epoch = None
        self._weights: dict[str, Any] = {}

    def on_epoch_end(self, trainer: Trainer, epoch: int, logs: Logs) -> None:
        if self.improved(logs):
            self.best_epoch = epoch
            if self.restore_best:
                self._weights = {key: value.clone() for key, value in trainer.model.state_dict().items()}
        elif self._waited >= self.patience:
            trainer.stop(f"{self.monitor} has not improved for {self._waited} epochs")

    def on_fit_end(self, trainer: Trainer) -> None:
        if self._weights:
            trainer.model.load_state_dict(self._weights)
            self._weights = {}


class ModelCheckpoint(_Monitor):
    """Saves the model's state_dict after every epoch, or only when ``monitor`` became better than ever.

    ``path`` may hold the epoch (from 1) and any number of the logs:
    ``"run-{epoch:03d}-{val_loss:.3f}.safetensors"``. Files are written whole or not at all. ``fn.load(path)``
    gives the state_dict back. "Ever" is over all calls of ``fit`` with this object and model, so a fit that goes
    on does not replace the best file by a worse one; several models want paths of their own.

    Errors: OSError if the file cannot be written; ValueError if the logs have no such number, or ``path`` is no pattern.

    Example:
        >>> from fastnn.train import ModelCheckpoint
        >>> callback = ModelCheckpoint("best.safetensors", monitor="val_accuracy")
    """

    def __init__(
        self,
        path: str | PathLike[str],
        monitor: str = "val_loss",
        save_best_only: bool = True,
        mode: str = "auto",
        min_delta: float = 0.0,
    ) -> None:
        super().__init__(monitor, mode, min_delta)
        self.path = fsdecode(path)
        self.save_best_only = save_best_only
        self._bests: weakref.WeakKeyDictionary[Any, float] = weakref.WeakKeyDictionary()

    def on_fit_begin(self, trainer: Trainer) -> None:
        if _all_known(trainer):
            self._file(0, dict.fromkeys(trainer._logged, 0.0))
        if self.save_best_only:
            self._begin(trainer)
            self.best = self._bests.get(trainer.model, math.inf)

    def on_epoch_end(self, trainer: Trainer, epoch: int, logs: Logs) -> None:
        path = self._file(epoch, logs)
        if not self.save_best_only or self.improved(logs):
            fn.save(trainer.model.state_dict(), path)
        if self.save_best_only:
            self._bests[trainer.model] = self.best

    def _file(self, epoch: int, logs: Logs) -> str:
        try:
            return self.path.format(**{**logs, "epoch": epoch + 1})
        except (LookupError, ValueError) as error:
            why = f"there is no {error}" if isinstance(error, KeyError) else str(error)
            raise ValueError(
                f"ModelCheckpoint: path={self.path!r}: {why}; there is: epoch, {', '.join(logs)}"
            ) from None


class ReduceLROnPlateau(_Monitor):
    """Multiplies the learning rate by ``factor`` when ``monitor`` has stalled for ``patience`` epochs.

    The lecture's schedule: start at a normal rate such as 0.1, divide it by 2 (``factor=0.5``) or 5 (0.2)
    whenever the validation set shows no more progress, and stop once it is very small: training ends where
    the next rate would fall below ``min_lr``.

    Errors: ValueError unless 0 < factor < 1 and patience >= 1, or if the logs have no such number.

    Example:
        >>> from fastnn.train import ReduceLROnPlateau
        >>> callback = ReduceLROnPlateau(factor=0.2, patience=3, min_lr=1e-4)
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        factor: float = 0.5,
        patience: int = 2,
        min_lr: float = 1e-5,
        min_delta: float = 0.0,
        mode: str = "auto",
    ) -> None:
        super().__init__(monitor, mode, min_delta)
        if not 0.0 < factor < 1.0 or patience < 1 or min_lr < 0:
            raise ValueError(
                f"ReduceLROnPlateau: factor={factor} must lie between 0 and 1, "
                f"patience={patience} be at least 1, min_lr={min_lr} not be negative"
            )
        self.factor = factor
        self.patience = patience
        self.min_lr = min_lr

    def on_epoch_end(self, trainer: Trainer, epoch: int, logs: Logs) -> None:
        if self.improved(logs) or self._waited < self.patience:
            return
        self._waited = 0
        groups = trainer.opt.param_groups
        if all(group["lr"] * self.factor < self.min_lr for group in groups):
            trainer.stop(
                f"{self.monitor} stalls and the learning rate has reached its minimum of {self.min_lr:g}"
            )
        for group in groups:
            if group["lr"] * self.factor >= self.min_lr:
                group["lr"] *= self.factor
