"""What fit shows: a line per epoch, and a bar where tqdm is installed and a person watches."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import Any

__all__ = ["batches_with_bar", "print_epoch"]


def batches_with_bar(batches: Iterable[Any], total: int | None, title: str, verbose: int) -> Iterator[Any]:
    """The batches, behind a bar if ``verbose`` is 1, tqdm is there and output goes to a terminal."""
    if verbose == 1 and sys.stderr.isatty():
        try:
            from tqdm import tqdm  # type: ignore[import-untyped]
        except ImportError:
            pass
        else:
            # leave=False: the bar gives way to the epoch's line
            yield from tqdm(batches, total=total, desc=title, leave=False, unit="batch")
            return
    yield from batches


def print_epoch(epoch: int, epochs: int, logs: dict[str, float], seconds: float) -> None:
    numbers = "  ".join(f"{key} {value:.4g}" for key, value in logs.items())
    print(f"epoch {epoch + 1:>{len(str(epochs))}}/{epochs}  {numbers}  {seconds:.1f} s", flush=True)
