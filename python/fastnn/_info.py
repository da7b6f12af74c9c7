"""What this installation is and what it runs on."""

from __future__ import annotations

import platform
import sys
from typing import Any

import numpy as np

from fastnn import _C, cuda

__version__: str = _C.__version__


def info() -> dict[str, Any]:
    """Versions, processor features and threads, as a dictionary.

    ``isa`` is the instruction set that the kernels run with; ``isa_supported`` says for each set built into
    this library whether the processor has it (the environment variable ``FASTNN_ISA`` chooses among those).

    >>> import fastnn as fn
    >>> fn.info()["isa"] in fn.info()["isa_supported"]
    True
    """
    return {
        "fastnn": __version__,
        "python": sys.version.split()[0],
        "numpy": np.__version__,
        "platform": " ".join([platform.system(), platform.release(), platform.machine()]),
        **_C._info(),
        "cuda": cuda.why_not() or "available",
    }
