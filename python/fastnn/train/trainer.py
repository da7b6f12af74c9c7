"""The loop over epochs and batches."""

from __future__ import annotations

import math
import operator
import time
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

import fastnn as fn
import fastnn.nn.functional as F
from fastnn import Tensor, nn
from fastnn.data.dataset import ArrayDataset
from fastnn.optim import Optimizer

from ..nn.modes import evaluating, frozen, restored, training
from .batches import Placement, loader_of
from .callbacks import Callback, check_callbacks
from .checks import called, check_classes, check_finite, check_labels, check_optimizer
from .divergence import Guard
from .history import History
from .metrics import Metric, accuracy, ignored_by, metric_functions, unwrapped
from .progress import batches_with_bar, print_epoch
from .weights import LossWeight, Means, counted, split

__all__ = ["Trainer"]


class Trainer:
    """Trains a model: ``fit``, ``evaluate``, ``predict``.

    Parameters: ``model``; ``opt``, an optimiser of its parameters; ``loss``, a function or module (output,
    target) -> mean; ``metrics``, names ("accuracy", "mse", "mae"), functions (output, target) -> mean, or a
    dict of functions; ``callbacks``, called in this order.

    The numbers reported are means over samples, whatever the batches. Labels that the loss ignores (of -100, unless it says
    otherwise) do not count, and the weights of its classes do. Where your own loss or metric weighs otherwise, let it return
    (mean, what it is the mean of); numbers that are no means, such as F1, are those of the batches' means.

    Errors: ValueError for an optimiser of another model and metrics of one name.

    Data is given as ``(x, y)`` arrays or tensors, a ``Dataset``, or a ``DataLoader`` (also any other iterable
    of batches (x, y)). Floating inputs, and images of bytes, are cast to the dtype of the model; labels to
    int64. ``history`` is that of the last ``fit``, kept also when it was interrupted.

    Example:
        >>> import numpy as np, fastnn as fn
        >>> from fastnn import nn, optim
        >>> _ = fn.manual_seed(0)
        >>> x = np.random.default_rng(0).normal(size=(512, 2)).astype(np.float32)
        >>> y = (x[:, 0] * x[:, 1] > 0).astype(np.int64)  # XOR of the signs
        >>> model = nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 2))
        >>> trainer = fn.Trainer(model, optim.Adam(model.parameters(), lr=0.01), metrics=["accuracy"])
        >>> history = trainer.fit((x, y), epochs=40, batch_size=32, verbose=0)
        >>> history["accuracy"][-1] > 0.9
        True
        >>> tuple(trainer.predict(x[:5]).shape)
        (5, 2)
    """

    def __init__(
        self,
        model: nn.Module,
        opt: Optimizer,
        loss: Callable[[Any, Any], Any] = F.cross_entropy,
        metrics: Metric | Iterable[str | Metric] | Mapping[str, Metric] = (),
        callbacks: Iterable[Callback] = (),
    ) -> None:
        if not isinstance(model, nn.Module):
            raise TypeError(f"Trainer: model must be an nn.Module, not {called(model)}")
        if not isinstance(opt, Optimizer):
            raise TypeError(f"Trainer: opt must be an optimizer, not {called(opt)}")
        if not callable(loss) or isinstance(loss, type):
            raise TypeError(f"Trainer: loss must be a function of output and target, not {called(loss)}")
        check_optimizer("Trainer", model, loss, opt)
        self.model = model
        self.opt = opt
        self.loss = loss
        self.metrics = metric_functions(metrics)
        self.callbacks = check_callbacks(callbacks)
        self.history = History()

    def stop(self, why: str = "stop() was called") -> None:
        """Ends ``fit`` after the current epoch; for callbacks."""
        self.history.stopped = why

    def fit(
        self,
        train: Any,
        epochs: int = 1,
        val: Any = None,
        batch_size: int = 128,
        shuffle: bool = True,
        seed: int | None = None,
        verbose: int = 1,
    ) -> History:
        """Trains for ``epochs`` passes over ``train`` and evaluates ``val`` after each.

        ``batch_size`` and ``shuffle`` apply to arrays and data sets; loaders bring their own. ``seed`` fixes
        the order of the samples and, by ``fn.manual_seed``, dropout: the same model, data and seed give the
        same run; without it the order is that of seed 0 and the global generator goes on. ``verbose``: 1 a
        bar (with tqdm, on a terminal) and a line per epoch, 2 only the lines, 0 nothing.

        The data is checked first: something in it, no NaN or infinity, labels that fit the model's outputs.
        (What comes from a loader is checked while the first epoch runs.) Training stops with a warning,
        before the weights are spoilt, when the loss or a gradient becomes NaN or infinite;
        ``history.diverged`` is then true. Ctrl-C raises KeyboardInterrupt with weights, optimiser and
        ``trainer.history`` as the last step left them; after it, and any other error, callbacks get their ``on_fit_end``.

        Modules that were put into evaluation mode one by one stay in it, as a frozen ``BatchNorm`` should; a
        model that is in it as a whole is trained, but for modules whose parameters are all frozen. Afterwards
        every module is in the mode that it had before.

        Errors: ValueError for data that cannot be right; those of model and loss, naming the layer.
        """
        try:
            epochs = operator.index(epochs)
        except TypeError:
            raise TypeError(
                f"fit: epochs must be a whole number, not a {type(epochs).__name__}; "
                "inputs and targets are one argument: fit((x, y), epochs=...)"
            ) from None
        if epochs < 0:
            raise ValueError(f"fit: epochs={epochs} must not be negative")
        check_optimizer("fit", self.model, self.loss, self.opt)
        check_callbacks(self.callbacks)
        if seed is not None:
            fn.manual_seed(seed)
        self.history = History()
        loader = self._checked("train", train, batch_size, shuffle, seed or 0)
        val_loader = None if val is None else self._checked("val", val, batch_size, False, 0)
        stay, guard = frozen(self.model), Guard(self.model, self.opt)
        names = ["loss", *self.metrics]
        self._logged = [*names, *(f"val_{name}" for name in names if val is not None), "lr"]  # for callbacks
        with restored(self.model):
            training(self.model, stay)
            self._call("on_fit_begin")
            try:
                for epoch in range(epochs):
                    self._call("on_epoch_begin", epoch)
                    if not self.model.training:  # a callback's doing; what it froze by itself stays frozen
                        training(self.model, stay)
                    self._epoch(epoch, epochs, loader, val_loader, guard, verbose)
                    if self.history.stopped:
                        break
            except BaseException as error:
                interrupted = isinstance(error, KeyboardInterrupt)
                why = "interrupted from the keyboard" if interrupted else f"{type(error).__name__}: {error}"
                self.history.stopped = why
                self.opt.zero_grad()
                raise
            finally:
                self._end(self.callbacks)
        if verbose and self.history.stopped:
            print(f"stopped: {self.history.stopped}", flush=True)
        return self.history

    def evaluate(self, data: Any, batch_size: int = 128) -> dict[str, float]:
        """The mean loss and metrics over the data: ``{"loss": ..., "accuracy": ...}``.

        The model's mode and gradients are left alone. Errors: ValueError if there is no data.
        """
        return self._evaluate(loader_of(data, batch_size), "evaluate", False)

    def predict(self, x: Any, batch_size: int = 128) -> Tensor:
        """The outputs for all of ``x``, in order.

        ``x`` is an array, a tensor, or a data set or loader, whose targets are left out. Errors: ValueError
        if there is no data.
        """
        bare = hasattr(x, "__array__") or isinstance(x, Tensor)
        outputs = []
        placement = Placement(self.model)
        with evaluating(self.model):
            for batch in loader_of((x,) if bare else x, batch_size):
                inputs = batch if bare or not isinstance(batch, tuple | list) else batch[:-1] or batch
                inputs = inputs if isinstance(inputs, tuple | list) else (inputs,)
                outputs.append(self._run([placement.inputs(values) for values in inputs]))
        if not outputs:
            raise ValueError("predict: the loader gave no batches")
        return outputs[0] if len(outputs) == 1 else fn.cat(outputs, 0)

    # ---- one epoch

    def _epoch(
        self, epoch: int, epochs: int, loader: Any, val_loader: Any, guard: Guard, verbose: int
    ) -> None:
        start = time.perf_counter()
        total = len(loader) if hasattr(loader, "__len__") else None
        means, placement, number = Means(), Placement(self.model), -1
        weigh = LossWeight(self.loss)
        on_batch_end = [
            c.on_batch_end for c in self.callbacks if type(c).on_batch_end is not Callback.on_batch_end
        ]
        guard.begin_epoch()
        for number, batch in enumerate(
            batches_with_bar(loader, total, f"epoch {epoch + 1}/{epochs}", 0 if verbose > 1 else verbose)
        ):
            inputs, target = placement.pair("train", batch)
            guard.begin_step()
            output, loss, weight = self._losses("train", inputs, target, weigh, epoch == 0)
            if not weight:  # no label of the batch counts: nothing to learn
                continue
            value = loss.item()
            spoilt = self._step(loss, value, guard)
            means.add("loss", weigh.mean(value, weight), weight)
            if spoilt:
                self._diverged(f"{spoilt} in epoch {epoch + 1}, batch {number + 1}", guard, means, start)
                return
            self._measure(means, output, target, weigh, weight)
            for call in on_batch_end:
                call(self, number, {"loss": value})
        if number < 0:
            raise ValueError(f"fit: the training data gave no batches in epoch {epoch + 1}")
        if not means.sums:
            raise ValueError(
                f"fit: nothing can be learned in epoch {epoch + 1}: every label is one that the loss ignores "
                f"({weigh.ignored}), or weighs 0"
            )
        overflown = guard.spoilt_state()
        if overflown:
            self._diverged(f"{overflown} became infinite in epoch {epoch + 1}", guard, means, start)
            return
        logs = means.result()
        if val_loader is not None:
            results = self._evaluate(val_loader, "val", epoch == 0)
            logs.update({f"val_{key}": value for key, value in results.items()})
        logs["lr"] = self.opt.param_groups[0]["lr"]
        seconds = time.perf_counter() - start
        self.history.append(logs, seconds)
        if verbose:
            print_epoch(epoch, epochs, logs, seconds)
        self._call("on_epoch_end", epoch, logs)

    def _step(self, loss: Tensor, value: float, guard: Guard) -> str | None:
        """One step of the optimiser; or none, and what stopped to be finite."""
        if not math.isfinite(value):
            return f"the loss became {'NaN' if math.isnan(value) else 'infinite'}"
        self.opt.zero_grad()
        loss.backward()
        name = guard.spoilt_gradient()
        if name is not None:
            return f"the gradient of {name} became NaN or infinite"
        self.opt.step()
        return None

    def _evaluate(self, loader: Any, what: str, check: bool) -> dict[str, float]:
        means, placement, batches = Means(), Placement(self.model), 0
        weigh = LossWeight(self.loss)
        with evaluating(self.model):
            for batch in loader:
                batches += 1
                inputs, target = placement.pair(what, batch)
                output, loss, weight = self._losses(what, inputs, target, weigh, check)
                means.add("loss", weigh.mean(loss.item(), weight), weight)
                self._measure(means, output, target, weigh, weight)
        if not batches:
            raise ValueError(f"{what}: the data gave no batches")
        return means.result()

    def _losses(
        self,
        what: str,
        inputs: list[Tensor],
        target: Tensor,
        weigh: LossWeight,
        check: bool,
    ) -> tuple[Any, Tensor, float]:
        """The model's output, its loss, and what that is the mean of."""
        if check:
            check_finite(what, tuple(tensor.cpu().numpy() for tensor in (*inputs, target)))
        output = self._run(inputs)
        if check and isinstance(output, Tensor):
            self._check_output(what, output, target.cpu().numpy())
        loss, weight = weigh(self.loss(output, target), output, target)
        if not isinstance(loss, Tensor) or loss.numel() != 1:
            shape = (
                f"the shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else f"a {type(loss).__name__}"
            )
            raise ValueError(f"{what}: the loss must be one number in a tensor, not {shape}")
        return output, loss, weight

    def _measure(
        self, means: Means, output: Any, target: Tensor, weigh: LossWeight, loss_weight: float
    ) -> None:
        if self.metrics:
            with fn.no_grad():
                for name, metric in self.metrics.items():
                    if unwrapped(metric) is accuracy:
                        own = ignored_by(metric)
                        ignored = weigh.ignored if own is None else own
                        known = own is None and weigh.counts_labels and not target.dtype.is_floating_point
                        weight = loss_weight if known else float(counted(target, ignored))
                        value: Any = accuracy(output, target, ignored, weight)
                    else:
                        value, weight = split(metric(output, target), len(target))
                    means.add(name, float(value), weight)

    def _diverged(self, why: str, guard: Guard, means: Means, start: float) -> None:
        rate = self.opt.param_groups[0]["lr"]
        logs = means.result()
        nothing = dict.fromkeys(self.metrics, math.nan)
        self.history.append(
            {"loss": logs.pop("loss"), **nothing, **logs, "lr": rate}, time.perf_counter() - start
        )
        self.history.diverged = True
        self.stop(why)
        warnings.warn(
            f"fit: {why}; training ends with the weights {guard.restore()}. "
            f"The learning rate ({rate:g}) may be too large: try a tenth of it",
            RuntimeWarning,
            stacklevel=4,
        )

    # ---- data

    def _checked(self, what: str, data: Any, batch_size: int, shuffle: bool, seed: int) -> Any:
        """A loader over the data. Arrays are looked through: it takes milliseconds and may save hours."""
        try:
            loader = loader_of(data, batch_size, shuffle, seed)
        except (TypeError, ValueError) as error:
            raise type(error)(f"{what}: {error}") from None
        dataset = getattr(loader, "dataset", None)
        if isinstance(dataset, ArrayDataset):
            check_finite(what, dataset.arrays)
            with evaluating(self.model):
                inputs, _ = Placement(self.model).pair(what, dataset.take(np.array([0])))
                output = self._run(inputs)
            if isinstance(output, Tensor):
                self._check_output(what, output, dataset.arrays[-1])
        return loader

    def _run(self, inputs: list[Tensor]) -> Any:
        try:
            return self.model(*inputs)
        except TypeError as error:
            whole = [str(x.dtype) for x in inputs if not x.dtype.is_floating_point]
            if whole:  # as they are for an Embedding, and nothing else
                error.add_note(
                    f"the inputs are {', '.join(whole)}: if they are no indices, give x.astype(np.float32)"
                )
            raise

    def _check_output(self, what: str, output: Tensor, targets: NDArray[Any]) -> None:
        shape = tuple(output.shape)
        check_classes(what, self.loss, shape)
        check_labels(what, targets, shape, LossWeight(self.loss).ignored)

    def _call(self, event: str, *args: Any) -> None:
        for callback in self.callbacks:
            getattr(callback, event)(self, *args)

    def _end(self, callbacks: list[Callback]) -> None:
        """``on_fit_end`` of all of them, also where that of one raises."""
        if callbacks:
            try:
                callbacks[0].on_fit_end(self)
            finally:
                self._end(callbacks[1:])
