"""What happened in training, epoch by epoch."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

__all__ = ["History"]


class History(dict[str, list[float]]):
    """A dict of lists, one number per epoch; ``print`` shows a table.

    Its keys are "loss", the metrics, the same with ``val_`` in front, and "lr". ``seconds`` holds how long each epoch
    took; ``stopped`` says why training ended before its time, or is None; ``diverged`` whether that was because numbers
    stopped to be finite. The epoch in which they did is in the history as far as it went.

    Example:
        >>> from fastnn.train import History
        >>> history = History()
        >>> history.append({"loss": 0.5, "val_loss": 0.625}, seconds=1.5)
        >>> history["val_loss"]
        [0.625]
        >>> print(history)
        epoch  loss  val_loss  seconds
            1   0.5     0.625      1.5
    """

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []
        self.stopped: str | None = None
        self.diverged = False

    @property
    def epochs(self) -> int:
        """The number of epochs."""
        return len(self.seconds)

    def append(self, logs: dict[str, float], seconds: float) -> None:
        """The numbers of one more epoch; those not known before start with NaN."""
        for key, value in logs.items():
            self.setdefault(key, [math.nan] * self.epochs).append(float(value))
        self.seconds.append(seconds)
        for values in self.values():
            values.extend([math.nan] * (self.epochs - len(values)))

    def to_json(self, path: str | Path | None = None) -> str:
        """The history as JSON, written to ``path`` too if one is given. NaN and infinity become null."""
        fields: dict[str, Any] = {**self, "seconds": self.seconds}
        plain = {
            key: [value if math.isfinite(value) else None for value in values]
            for key, values in fields.items()
        }
        text = json.dumps({"epochs": self.epochs, "stopped": self.stopped, "history": plain}, indent=1)
        if path is not None:
            Path(path).write_text(text + "\n", encoding="utf-8")
        return text

    def __str__(self) -> str:
        columns = {"epoch": [str(epoch + 1) for epoch in range(self.epochs)]}
        columns.update({key: [f"{value:.4g}" for value in values] for key, values in self.items()})
        columns["seconds"] = [f"{value:.2g}" if value < 10 else f"{value:.0f}" for value in self.seconds]
        padded = []
        for key, cells in columns.items():
            width = max(map(len, [key, *cells]))
            padded.append([f"{cell:>{width}}" for cell in [key, *cells]])
        lines = ["  ".join(line) for line in zip(*padded, strict=True)]
        if self.stopped:
            lines.append(f"stopped: {self.stopped}")
        return "\n".join(lines)
