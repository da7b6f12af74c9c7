"""Gates that the machine code of the CUDA kernels must pass, read from the built library: no GPU is needed.

    python tools/cuda_gates.py LIBRARY            checks; exit status 1 and a list of what fails
    python tools/cuda_gates.py LIBRARY --all      and the library must hold every architecture of the budget
    python tools/cuda_gates.py LIBRARY --write    writes the register budget of its architectures anew

``cuda/budget.json`` has a line per instance of a kernel: the registers a thread may take, per architecture, where
``[registers, stack]`` also allows bytes of stack (spilled registers, or arrays in local memory), else none; and what share of
the instructions of a product's main loop must be multiply-adds, in percent. More registers fail, a smaller share does, and so
does an instance that the file does not know. ``REQUIRED`` says which instructions must be there.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path

BUDGET = Path(__file__).parents[1] / "cuda" / "budget.json"

# What the instances that a pattern matches must hold, on every architecture: asynchronous copies on the way to shared
# memory and the units that the tile is for; loads of 128 bits where memory is the bound. A template argument, behind
# the type, says that as many elements as fill 16 bytes go at a time (that of windows is their size).
WIDE = r"LDG\.E\.128"
LAST = r"(, \d{3,4})?(, true|, false)?>$"  # behind it: the largest block, a choice
REQUIRED = {
    r"^product_kernel<\w+, SimtTile<": [r"LDGSTS"],
    r"^product_kernel<\w+, MmaTile<": [r"LDGSTS", r"HMMA"],
    r"^(?!\w+_pool_forward)\w+<(float|int|unsigned int)(, \w+)*, 4" + LAST: [WIDE],
    r"^(?!\w+_pool_forward)\w+<(double|long|unsigned long)(, \w+)*, 2" + LAST: [WIDE],
    r"<unsigned short, 8>$": [WIDE],
    r"<unsigned char, 16>$": [WIDE],
    r"^(reduce_rows|update_kernel|dropout_kernel|gemv_rows_kernel)<": [WIDE],
    r"^map_kernel<(Forward|Gradient)<.*, (float|double)>$": [WIDE],
}
# The instructions whose share of a main loop is in the budget.
MULTIPLY_ADDS = {"FFMA", "DFMA", "HMMA"}
LOOPS = r"^product_kernel<"
SLACK = 0.9  # of the share in the budget: the compiler's whims

Usage = dict[str, dict[str, dict[str, int]]]  # architecture -> instance -> {"registers", "stack"}
# (architecture, instance) -> address, instruction, where a branch goes
Code = dict[tuple[str, str], list[tuple[int, str, str]]]


def tool(name: str) -> str:
    """cuobjdump and nvdisasm: beside this Python (the wheels of the extra ``test``), or on PATH."""
    for place in (Path(p) / "nvidia/cu13/bin" / name for p in sys.path):
        if place.exists():
            return str(place)
    found = shutil.which(name)
    if not found:
        raise SystemExit(f"{name} is not here: pip install nvidia-cuda-cuobjdump nvidia-cuda-nvdisasm")
    return found


def cuobjdump(*arguments: str) -> Iterator[str]:
    """Its lines of output, of which there may be millions."""
    path = str(Path(tool("nvdisasm")).parent)
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            [tool("cuobjdump"), *arguments],
            env={"PATH": f"{path}:/usr/bin:/bin"},
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        with process:
            assert process.stdout is not None
            yield from process.stdout
        if process.returncode:
            errors.seek(0)
            raise SystemExit(f"cuobjdump failed: {errors.read()[-1000:]}")


def demangled(names: Sequence[str]) -> list[str]:
    """C++ signatures."""
    done = subprocess.run(["c++filt"], input="\n".join(names), capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def instance_name(signature: str) -> str:
    """The kernel with its template arguments: without result, namespaces and parameters."""
    text = re.sub(r"\(anonymous namespace\)::|\bfastnn::(cuda::)?|^void ", "", signature)
    depth = 0
    for at, c in enumerate(text):
        depth += (c == "<") - (c == ">")
        if c == "(" and depth == 0:
            return text[:at].removesuffix(" ").replace("> >", ">>")
    return text


def usage(library: Path) -> tuple[Usage, dict[str, str]]:
    """What each instance takes; and the instance of each mangled name."""
    lines = list(cuobjdump("--dump-resource-usage", str(library)))
    mangled = sorted({found[1] for line in lines if (found := re.match(r"\s*Function (.*):$", line))})
    instances = dict(zip(mangled, map(instance_name, demangled(mangled)), strict=True))
    result: Usage = defaultdict(dict)
    architecture = name = ""
    for line in lines:
        if found := re.search(r"arch = (sm_\w+)", line):
            architecture = found[1]
        elif found := re.match(r"\s*Function (.*):$", line):
            name = instances[found[1]]
        elif found := re.search(r"REG:(\d+) STACK:(\d+)", line):
            result[architecture][name] = {"registers": int(found[1]), "stack": int(found[2])}
    return result, instances


def disassembled(library: Path, instances: dict[str, str]) -> Code:
    """The machine code of the instances that anything is asked of."""
    wanted = {m for m, name in instances.items() if any(re.search(p, name) for p in (*REQUIRED, LOOPS))}
    instruction = re.compile(r"\s*/\*([0-9a-f]{4,})\*/\s+(?:@!?U?P\w+ )?([A-Z0-9][A-Z0-9_.]*)(.*)")
    code: Code = {}
    own: list[tuple[int, str, str]] | None = None
    architecture = ""
    for line in cuobjdump("-sass", str(library)):
        if own is not None and (found := instruction.match(line)):
            opcode = sys.intern(found[2])
            own.append((int(found[1], 16), opcode, found[3] if opcode.startswith("BRA") else ""))
        elif found := re.match(r"\s*Function : (.*)$", line):
            own = code.setdefault((architecture, instances[found[1]]), []) if found[1] in wanted else None
        elif found := re.match(r"\s*arch = (sm_\w+)", line):
            architecture = found[1]
    return code


def allowed(budget: dict, name: str, architecture: str) -> dict[str, int] | None:
    may = budget.get(name, {}).get(architecture)
    if isinstance(may, list):
        return dict(zip(("registers", "stack"), may, strict=True))
    return None if may is None else {"registers": may, "stack": 0}


def over_budget(found: Usage, budget: dict) -> list[str]:
    """One line per instance that takes more than it may."""
    failures = []
    for architecture, instances in found.items():
        for name, takes in instances.items():
            may = allowed(budget, name, architecture)
            if may is None:
                failures.append(f"{architecture} {name}: not in {BUDGET.name}; takes {takes}")
                continue
            failures += [
                f"{architecture} {name}: {takes[what]} {what}, {may[what]} allowed"
                for what in ("registers", "stack")
                if takes[what] > may[what]
            ]
    return failures


def missing_instructions(code: Code) -> list[str]:
    """One line per instruction that REQUIRED asks for and an instance lacks."""
    failures = []
    for pattern, instructions in REQUIRED.items():
        asked = [key for key in code if re.search(pattern, key[1])]
        if not asked:
            failures.append(f"there is no {pattern}")
        for architecture, name in asked:
            failures += [
                f"{architecture} {name}: no {instruction}"
                for instruction in instructions
                if not any(re.match(instruction, opcode) for _, opcode, _ in code[architecture, name])
            ]
    return failures


def share_of_main_loop(lines: list[tuple[int, str, str]]) -> float:
    """Of multiply-adds, in percent, in the loop that holds most of them."""
    at = {address: i for i, (address, _, _) in enumerate(lines)}
    before = [0, *accumulate(opcode.split(".")[0] in MULTIPLY_ADDS for _, opcode, _ in lines)]
    best, length = 0, 1
    for i, (_, opcode, operands) in enumerate(lines):
        target = re.search(r"0x([0-9a-f]+)", operands) if opcode.startswith("BRA") else None
        first = at.get(int(target[1], 16), i) if target else i
        if first < i and before[i] - before[first] > best:
            best, length = before[i] - before[first], i - first + 1
    return round(100 * best / length, 1)


def shares(code: Code) -> dict[tuple[str, str], float]:
    return {key: share_of_main_loop(lines) for key, lines in code.items() if re.search(LOOPS, key[1])}


def thin_loops(found: dict[tuple[str, str], float], budget: dict) -> list[str]:
    """One line per main loop with a smaller share of multiply-adds than it had."""
    failures = []
    for (architecture, name), share in found.items():
        expected = budget.get(name, {}).get(f"{architecture} share", 0)
        if share < SLACK * expected:
            failures.append(
                f"{architecture} {name}: {share} % of the main loop are multiply-adds, {expected} % expected"
            )
    return failures


def written(budget: dict, found: Usage, loops: dict[tuple[str, str], float]) -> dict:
    """The budget with these architectures anew; an instance that none of them has is gone."""
    names = {name for instances in found.values() for name in instances}
    result: dict[str, dict] = {name: dict(row) for name, row in budget.items() if name in names}
    for architecture, instances in found.items():
        for row in result.values():
            row.pop(architecture, None), row.pop(f"{architecture} share", None)
        for name, takes in instances.items():
            may = [takes["registers"], takes["stack"]]
            result.setdefault(name, {})[architecture] = may if may[1] else may[0]
    for (architecture, name), share in loops.items():
        result[name][f"{architecture} share"] = share
    return result


def text(budget: dict) -> str:
    """A line per instance."""
    rows = [f" {json.dumps(name)}: {json.dumps(budget[name], sort_keys=True)}" for name in sorted(budget)]
    return "{\n" + ",\n".join(rows) + "\n}\n"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("library", type=Path)
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    found, instances = usage(arguments.library)
    if not found:
        raise SystemExit(f"{arguments.library} holds no machine code")
    budget = json.loads(BUDGET.read_text())
    code = disassembled(arguments.library, instances)
    if arguments.write:
        BUDGET.write_text(text(written(budget, found, shares(code))))
        return 0
    failures = over_budget(found, budget) + missing_instructions(code) + thin_loops(shares(code), budget)
    if arguments.all:
        known = {key.split()[0] for row in budget.values() for key in row}
        failures += [f"{a}: not in {arguments.library.name}" for a in sorted(known) if a not in found]
    print(*failures, sep="\n", end="\n" if failures else "")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
