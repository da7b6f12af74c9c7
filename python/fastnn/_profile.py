"""Where the time goes: ``with fn.profile() as p: ...; print(p)``."""

from __future__ import annotations

from dataclasses import dataclass

from fastnn import _C

__all__ = ["OpProfile", "profile"]


@dataclass(frozen=True)
class OpProfile:
    """One op's share of a profile. ``seconds`` leaves out the ops that it is made of; ``bytes`` and ``flops`` are what
    its kernels move and compute by their parameters."""

    op: str
    backward: bool
    calls: int
    kernels: int
    seconds: float
    kernel_seconds: float
    bytes: float
    flops: float


class profile:
    """Counts and times the ops of the calling thread, forward and backward, while it is open.

    Per op: calls, kernels launched, seconds of its own and of these in kernels, bytes moved and floating-point
    operations. On a CUDA device every kernel is waited for, so that its time is its own. May be opened again: it adds
    up. Errors: RuntimeError if this thread is being profiled already.

    >>> import fastnn as fn
    >>> with fn.profile() as p:
    ...     x = fn.ones(3, requires_grad=True)
    ...     (x * x).sum().backward()
    >>> {row.op: row.calls for row in p.rows if row.backward}["mul"]
    1
    """

    def __init__(self) -> None:
        self._profile = _C._Profile()

    def __enter__(self) -> profile:
        self._profile.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._profile.stop()

    @property
    def seconds(self) -> float:
        """From beginning to end, Python included."""
        return float(self._profile.seconds)

    @property
    def rows(self) -> list[OpProfile]:
        """The ops, the one that took longest first."""
        rows = [OpProfile(**row) for row in _C._profile_rows(self._profile)]
        return sorted(rows, key=lambda row: -row.seconds)

    def table(self, limit: int | None = None) -> str:
        """The rows as text, at most ``limit`` of them."""
        head = ("op", "calls", "kernels", "ms", "%", "ms in kernels", "MB", "GB/s", "MFLOP", "GFLOP/s")
        lines = [head]
        for row in self.rows[:limit]:
            busy = row.kernel_seconds or float("nan")
            lines.append((
                row.op + (" (backward)" if row.backward else ""), str(row.calls), str(row.kernels),
                f"{row.seconds * 1e3:.3f}", f"{100 * row.seconds / self.seconds:.1f}", f"{row.kernel_seconds * 1e3:.3f}",
                f"{row.bytes / 1e6:.2f}", f"{row.bytes / busy / 1e9:.1f}", f"{row.flops / 1e6:.2f}",
                f"{row.flops / busy / 1e9:.1f}",
            ))  # fmt: skip
        widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
        text = ["  ".join(c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True)))
                for line in lines]  # fmt: skip
        inside = sum(row.seconds for row in self.rows)
        text.append(f"{self.seconds * 1e3:.3f} ms in all, {inside * 1e3:.3f} ms of them in ops")
        return "\n".join(text)

    def __str__(self) -> str:
        return self.table()
