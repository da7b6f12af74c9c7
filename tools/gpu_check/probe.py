"""The probe's library (cuda/probe), and the file of what hardware answered.

tests/golden/ptx_probe.json: {"device": ..., "tables": {EXPERIMENT: 32-bit words, little-endian, deflated, in base64}}, or
{"error": ...} in place of words. What the words of an experiment mean is said beside its kernel. The emulator's twins
answer the same experiments, those that it has twins for; tests/test_ptx_probe.py compares. Names that end in "not
compared" are there to be read: tensor cores do not promise how they round sums.
"""

from __future__ import annotations

import base64
import ctypes
import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint32]
NOT_COMPARED = "not compared"


class ProbeError(Exception):
    pass


class Library:
    def __init__(self, path: str) -> None:
        self.library = ctypes.CDLL(path)
        for name in ("probe_name", "probe_run", "ceiling_name", "ceiling_unit", "ceiling_run"):
            getattr(self.library, f"fastnn_{name}").restype = ctypes.c_char_p
        count = self.library.fastnn_probe_count()
        self.experiments: list[str] = [self.library.fastnn_probe_name(i).decode() for i in range(count)]
        count = self.library.fastnn_ceiling_count()
        self.ceilings: list[str] = [self.library.fastnn_ceiling_name(i).decode() for i in range(count)]

    def run(self, name: str) -> Words:
        i = self.experiments.index(name)
        words = np.zeros(self.library.fastnn_probe_words(i), np.uint32)
        wrong = self.library.fastnn_probe_run(i, words.ctypes.data_as(ctypes.c_void_p)).decode()
        if wrong:
            raise ProbeError(wrong)
        return words

    def ceiling(self, name: str, blocks: int, repeats: int, samples: int, memory: int) -> tuple[float, str]:
        """Units of work a second, and the unit."""
        i, rate = self.ceilings.index(name), ctypes.c_double()
        wrong = self.library.fastnn_ceiling_run(
            i, blocks, repeats, samples, ctypes.c_size_t(memory), ctypes.byref(rate)
        ).decode()
        if wrong:
            raise ProbeError(wrong)
        return rate.value, self.library.fastnn_ceiling_unit(i).decode()


def pack(words: Words) -> str:
    return base64.b64encode(zlib.compress(words.astype("<u4").tobytes(), 9)).decode()


def unpack(text: str) -> Words:
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), "<u4").astype(np.uint32)


def text(device: str, tables: dict[str, Any]) -> str:
    return json.dumps({"device": device, "tables": tables}, indent=0) + "\n"


def differences(golden: dict[str, Any], mine: dict[str, Words]) -> list[str]:
    """One line per experiment of `mine` whose words are not those of the hardware's."""
    found = []
    for name, words in mine.items():
        if name.endswith(NOT_COMPARED):
            continue
        hardware = golden["tables"].get(name)
        if hardware is None or isinstance(hardware, dict):
            why = hardware["error"] if hardware else "the experiment is newer than the file"
            found.append(f"{name}: not known from hardware: {why}")
            continue
        theirs = unpack(hardware)
        if theirs.shape != words.shape:
            found.append(f"{name}: {words.size} words here, {theirs.size} on {golden['device']}")
        elif differ := np.flatnonzero(theirs != words).tolist():
            at = differ[0]
            found.append(
                f"{name}: {len(differ)} of {words.size} words differ from {golden['device']}, first at {at}: "
                f"{words[at]:#010x} here, {theirs[at]:#010x} there"
            )
    return found


def load(path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(path.read_text())
    return loaded
