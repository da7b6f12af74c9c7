"""python -m tools.gpu_check [first | second] [--no-build] [--dry-run] ..., or tree, or golden FILE"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from pathlib import Path

from . import __doc__ as description
from . import check, tree

GOLDEN = tree.ROOT / "tests" / "golden" / "ptx_probe.json"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m tools.gpu_check",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("what", nargs="*", help="first, second (default: both); tree; golden FILE")
    parser.add_argument("--no-build", action="store_true", help="use build/gpu-tree as it lies")
    parser.add_argument(
        "--dry-run", action="store_true", help="on the emulator, small, with planted mistakes"
    )
    parser.add_argument("--only", default="", metavar="TEXT", help="phases whose name holds this text")
    parser.add_argument(
        "--output",
        type=Path,
        default=Path(os.environ.get("OUT") or tree.ROOT / "build" / "gpu-check"),
        help="folder for rows and reports (default: $OUT, or build/gpu-check)",
    )
    parser.add_argument(
        "--architectures", default="", help="of tree: as FASTNN_CUDA_ARCHS (default: 90a-real)"
    )
    parser.add_argument(
        "--variant", action="append", default=[], metavar="NAME=OPTIONS", help="of tree: for nvcc"
    )
    return parser.parse_args()


def golden(path: Path) -> int:
    """Takes the tables of a run on hardware for those that the emulator is compared with."""
    try:
        tables = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise SystemExit(f"{path} cannot be read: {error}") from None
    if tables["device"].startswith("emulated"):
        raise SystemExit(f"{path} is the emulator's: it would be compared with itself")
    GOLDEN.parent.mkdir(exist_ok=True)
    shutil.copy(path, GOLDEN)
    print(f"{GOLDEN}: {len(tables['tables'])} tables from {tables['device']}")
    return 0


def main() -> int:
    options = arguments()
    what = options.what or ["first", "second"]
    if what == ["tree"]:
        tree.make(options.variant, options.architectures or "90a-real")
        return 0
    if what[0] == "golden" and len(what) == 2:
        return golden(Path(what[1]))
    if unknown := [name for name in what if name not in ("first", "second")]:
        raise SystemExit(f"unknown: {', '.join(unknown)}; there are first, second, tree, golden FILE")
    from . import calls  # needs NumPy, which making a tree does not

    if options.no_build:
        place = tree.checked()
    elif options.dry_run:
        place = tree.Tree(None)
    else:
        place = tree.make(options.variant, options.architectures or "native")
    print(f"{place.folder or 'the installed fastnn'}, rows in {options.output}", flush=True)
    phases = {"first": calls.first, "second": calls.second}
    return max(check.run(name, phases[name](options.dry_run), place, options) for name in what)


if __name__ == "__main__":
    sys.exit(main())
