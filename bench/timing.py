"""How a call is timed: samples of at least a fixed length, so that the clock's resolution does not matter."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable

from .rows import Call, Repeat

SAMPLE = 200e-6  # seconds that one sample lasts at least
MOST_SAMPLES = 200  # per round
LONG = 0.05  # seconds above which a call does not need warm caches to be typical


class Timer:
    """One call, warmed up, and the number of repetitions that make a sample."""

    def __init__(self, call: Call | Repeat) -> None:
        self.run: Callable[[int], None] = call.run if isinstance(call, Repeat) else _looped(call)
        sample = call.sample if isinstance(call, Repeat) else SAMPLE
        self.run(1)
        times, seconds = 1, self._measure(1)
        while seconds * times < sample / 2 and times < 1 << 20:
            times *= 4
            seconds = self._measure(times)
        self.times = max(1, math.ceil(sample / max(seconds, 1e-9)))
        self.seconds = min(seconds, self._measure(self.times))

    def _measure(self, times: int) -> float:
        start = time.perf_counter()
        self.run(times)
        return (time.perf_counter() - start) / times

    def samples(self, budget: float) -> list[float]:
        """Seconds per call, one figure per sample: as many as fit into `budget` seconds, at least one."""
        collects = gc.isenabled()
        gc.disable()
        try:
            if self.seconds < LONG:
                self.run(1)  # other processes ran meanwhile: bring data and code back into the caches
            end = time.perf_counter() + budget
            found = [self._measure(self.times)]
            while time.perf_counter() < end and len(found) < MOST_SAMPLES:
                found.append(self._measure(self.times))
            return found
        finally:
            if collects:
                gc.enable()


def _looped(call: Call) -> Callable[[int], None]:
    def run(times: int) -> None:
        for _ in range(times):
            call()

    return run


def fastest(calls: dict[str, Call]) -> tuple[str, Timer]:
    """The best of several ways to do the same."""
    timers = {name: Timer(call) for name, call in calls.items()}
    if len(timers) > 1:
        for timer in timers.values():
            timer.seconds = min(timer.seconds, *timer.samples(0.05))
    name = min(timers, key=lambda name: timers[name].seconds)
    return name, timers[name]
