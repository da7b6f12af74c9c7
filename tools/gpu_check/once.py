"""One row of the benchmarks, fastnn's side, called a few times: what a profiler looks at.

python -m tools.gpu_check.once KEY
"""

from __future__ import annotations

import sys

from bench.rows import Repeat
from bench.subjects import by_key
from bench.worker import load

if __name__ == "__main__":
    timed = by_key(sys.argv[1]).sides["fastnn"](load("fastnn", 0))
    assert isinstance(timed, Repeat)
    timed.run(2)
