"""Gates that the machine code of the CUDA kernels must pass, read from the built library: no GPU is needed.

    python tools/cuda_gates.py LIBRARY            checks; exit status 1 and a list of what fails
    python tools/cuda_gates.py LIBRARY --all      and the library must hold every architecture of the budget
    python tools/cuda_gates.py LIBRARY --write    writes the register budget of its architectures anew

Per architecture and kernel (all instances of a template together) ``cuda/budget.json`` says how many registers a thread
may take and how many bytes of stack; more fails, and so does a kernel that the file does not know. Stack means spilled
registers or arrays in local memory: 0 unless the file says otherwise. ``REQUIRED`` says which instructions must be there.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

BUDGET = Path(__file__).parents[1] / "cuda" / "budget.json"

# What every instance of a kernel must hold, on every architecture: asynchronous copies on the way to shared memory, and
# the units that the tile is for.
REQUIRED = {
    "product_kernel SimtTile": ["LDGSTS"],
    "product_kernel MmaTile": ["LDGSTS", "HMMA"],
}

Usage = dict[str, dict[str, dict[str, int]]]  # architecture -> kernel -> {"registers", "stack"}


def tool(name: str) -> str:
    """cuobjdump and nvdisasm: beside this Python (the wheels of the extra ``test``), or on PATH."""
    for place in (Path(p) / "nvidia/cu13/bin" / name for p in sys.path):
        if place.exists():
            return str(place)
    found = shutil.which(name)
    if not found:
        raise SystemExit(f"{name} is not here: pip install nvidia-cuda-cuobjdump nvidia-cuda-nvdisasm")
    return found


def cuobjdump(*arguments: str) -> list[str]:
    """Its lines of output."""
    path = str(Path(tool("nvdisasm")).parent)
    command = [tool("cuobjdump"), *arguments]
    done = subprocess.run(
        command, env={"PATH": f"{path}:/usr/bin:/bin"}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"cuobjdump failed: {done.stderr[-1000:]}")
    return done.stdout.splitlines()


def demangled(names: Sequence[str]) -> list[str]:
    """C++ signatures."""
    done = subprocess.run(["c++filt"], input="\n".join(names), capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def kernel_name(signature: str) -> str:
    """Without result, namespaces, template arguments and parameters; but with the tile, where it has one."""
    depth, text = 0, ""
    for c in signature.replace("(anonymous namespace)::", ""):
        depth += c == "<"
        text += c if depth == 0 else ""
        depth -= c == ">"
    tile = re.search(r"\w+Tile(?=<)", signature)
    return text.split("(")[0].split()[-1].split("::")[-1] + (f" {tile[0]}" if tile else "")


def usage(library: Path) -> tuple[Usage, dict[str, str]]:
    """What each kernel takes at most, over its instances; and the kernel of each mangled name."""
    lines = cuobjdump("--dump-resource-usage", str(library))
    mangled = sorted({found[1] for line in lines if (found := re.match(r"\s*Function (.*):$", line))})
    kernels = dict(zip(mangled, map(kernel_name, demangled(mangled)), strict=True))
    result: Usage = defaultdict(dict)
    architecture = name = ""
    for line in lines:
        if found := re.search(r"arch = (sm_\w+)", line):
            architecture = found[1]
        elif found := re.match(r"\s*Function (.*):$", line):
            name = kernels[found[1]]
        elif found := re.search(r"REG:(\d+) STACK:(\d+)", line):
            most = result[architecture].setdefault(name, {"registers": 0, "stack": 0})
            most["registers"] = max(most["registers"], int(found[1]))
            most["stack"] = max(most["stack"], int(found[2]))
    return result, kernels


def over_budget(found: Usage, budget: Usage) -> list[str]:
    """One line per kernel that takes more than it may."""
    failures = []
    for architecture, kernels in found.items():
        for name, takes in kernels.items():
            may = budget.get(architecture, {}).get(name)
            if may is None:
                failures.append(f"{architecture} {name}: not in {BUDGET.name}; takes {takes}")
                continue
            failures += [
                f"{architecture} {name}: {takes[what]} {what}, {may.get(what, 0)} allowed"
                for what in ("registers", "stack")
                if takes[what] > may.get(what, 0)
            ]
    return failures


def missing_instructions(library: Path, kernels: dict[str, str]) -> list[str]:
    """One line per instruction that REQUIRED asks for and the machine code of an instance lacks."""
    wanted = [mangled for mangled, name in kernels.items() if name in REQUIRED]
    failures = [f"there is no {name}" for name in REQUIRED if name not in kernels.values()]
    seen: dict[tuple[str, str], set[str]] = {}
    architecture = ""
    for line in cuobjdump("-sass", "-fun", ",".join(wanted), str(library)) if wanted else []:
        if found := re.search(r"arch = (sm_\w+)", line):
            architecture = found[1]
        elif found := re.match(r"\s*Function : (.*)$", line):
            instructions = seen.setdefault((architecture, found[1]), set())
        elif found := re.match(r"\s*/\*\w+\*/\s+(?:@!?\w+ )?([A-Z0-9]+)", line):
            instructions.add(found[1])
    for (architecture, mangled), instructions in seen.items():
        lacking = [i for i in REQUIRED[kernels[mangled]] if i not in instructions]
        failures += [f"{architecture} {demangled([mangled])[0]}: no {instruction}" for instruction in lacking]
    return failures


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("library", type=Path)
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    found, kernels = usage(arguments.library)
    if not found:
        raise SystemExit(f"{arguments.library} holds no machine code")
    budget = json.loads(BUDGET.read_text())
    if arguments.write:
        budget |= {
            architecture: {
                name: {what: n for what, n in takes.items() if n or what == "registers"}
                for name, takes in kernels.items()
            }
            for architecture, kernels in found.items()
        }
        BUDGET.write_text(json.dumps(budget, indent=1, sort_keys=True) + "\n")
        return 0
    failures = over_budget(found, budget) + missing_instructions(arguments.library, kernels)
    if arguments.all:
        failures += [f"{a}: not in {arguments.library.name}" for a in budget if a not in found]
    print(*failures, sep="\n", end="\n" if failures else "")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
