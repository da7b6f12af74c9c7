"""The inputs that a fuzz target has found to be different: a line of base64 each, in ``corpus/TARGET.txt``.

``python tests/fuzz/corpus.py TARGET FOLDER`` writes that file anew from a folder that the fuzzer has minimised
(``run.py TARGET EMPTY_FOLDER FOLDER -merge=1``).
"""

from __future__ import annotations

import sys
from base64 import b64decode, b64encode
from pathlib import Path

TARGETS = ("files", "indexing", "ops")
HERE = Path(__file__).parent


def read(target: str) -> list[bytes]:
    return [b64decode(line) for line in (HERE / "corpus" / f"{target}.txt").read_text().split()]


def unpack(target: str, folder: Path) -> None:
    """One file for each input, as the fuzzer wants them; what it found since stays."""
    folder.mkdir(parents=True, exist_ok=True)
    for i, data in enumerate(read(target)):
        (folder / f"corpus-{i}").write_bytes(data)


def pack(target: str, folder: Path, most: int = 2000) -> None:
    """The shortest ``most`` of them: a corpus is a start, which the fuzzer soon makes longer."""
    lines = {b64encode(path.read_bytes()).decode() for path in folder.iterdir()}
    kept = sorted(lines, key=lambda line: (len(line), line))[:most]
    (HERE / "corpus" / f"{target}.txt").write_text("".join(line + "\n" for line in kept))


if __name__ == "__main__":
    pack(sys.argv[1], Path(sys.argv[2]))
