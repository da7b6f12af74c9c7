"""The structure of the sources, as docs/architecture.md draws it: a folder per family, who may include whom, and what
stands in one place only."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

import cases
import pytest
from conftest import ROOT

FAMILIES = {"conv", "elementwise", "gemm", "index", "norm", "optim", "pool", "random", "reduce", "softmax"}
WITHOUT_KERNELS = {"view"}  # ops that move nothing, or copy by elementwise kernels
MOST_LINES = 450

# Which folders the files of a folder may include from, besides their own; the first pattern that fits counts. From the
# ground up: every arrow points to a line above its own, so none can point uphill.
MAY_INCLUDE = {
    "csrc/backend/elementwise": ("csrc/backend",),
    "csrc/backend": ("csrc/backend/elementwise",),  # rows and their table: one room
    "csrc/cpu/simd": ("csrc/backend",),
    "csrc/cpu/host": ("csrc/backend",),
    "csrc/cpu/gemm": ("csrc/backend", "csrc/cpu/simd"),
    "csrc/cpu/conv": ("csrc/backend", "csrc/cpu/simd", "csrc/cpu/gemm"),
    "csrc/cpu/*": ("csrc/backend", "csrc/cpu/simd"),
    "csrc/cpu": ("csrc/backend",),  # the table of kernels
    "cuda/emulator": ("csrc/backend",),
    "cuda/common": ("csrc/backend", "cuda/emulator"),
    "cuda/probe": ("csrc/backend", "cuda/common"),
    "cuda/softmax": ("csrc/backend", "cuda/common"),
    "cuda/gemm": ("csrc/backend", "cuda/common"),
    "cuda/conv": ("csrc/backend", "cuda/common", "cuda/gemm"),
    "cuda/norm": ("csrc/backend", "cuda/common", "cuda/softmax"),  # teams of threads that share a row
    "cuda/*": ("csrc/backend", "cuda/common"),
    "csrc/core": ("csrc/backend",),
    "csrc/ops": ("csrc/backend", "csrc/core"),
    "csrc/ops/*": (
        "csrc/backend",
        "csrc/core",
        "csrc/ops",
        "csrc/ops/*",
    ),  # ops call each other as plain functions
    "csrc/python/ops": ("csrc/backend", "csrc/core", "csrc/ops/*", "csrc/python"),
    "csrc/python": (
        "csrc/python/ops",
        "csrc/backend",
        "csrc/core",
        "csrc/ops",
        "csrc/ops/*",
        "csrc/cpu/host",
    ),
}

# Instruction sets outside csrc/cpu/simd, and why.
INTRINSICS = {
    "csrc/cpu/host/thread_pool.cpp": "the pause of a spinning thread",
}


def sources(*folders: str) -> Iterator[tuple[str, str]]:
    """(path, text) of every file of C++ or CUDA."""
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in (".h", ".cpp", ".cu", ".cuh", ".def"):
                yield str(path.relative_to(ROOT)), path.read_text()


def code(text: str) -> str:
    """Without comments; line numbers stay."""
    without = re.sub(r"/\*.*?\*/", lambda found: "\n" * found[0].count("\n"), text, flags=re.S)
    return re.sub(r"//[^\n]*", "", without)


def lines_with(pattern: str, path: str, text: str) -> list[str]:
    return [
        f"{path}:{number}: {line.strip()}"
        for number, line in enumerate(code(text).splitlines(), 1)
        if re.search(pattern, line)
    ]


def folder_of(included: str, path: str) -> str | None:
    """Where an include in quotes leads: relative to the file, to csrc or to the root."""
    for base in (Path(path).parent, Path("csrc"), Path()):
        if (ROOT / base / included).exists():
            return str((base / included).parent)
    return None


def forbidden_includes(path: str, text: str) -> list[str]:
    own = str(Path(path).parent)
    allowed = next((to for pattern, to in MAY_INCLUDE.items() if fnmatchcase(own, pattern)), None)
    assert allowed is not None, f"{path}: MAY_INCLUDE has no line for this folder"
    found = []
    for included in re.findall(r'^\s*#\s*include\s+"([^"]+)"', text, re.M):
        folder = folder_of(included, path)
        if folder is None:
            found.append(f"{path}: there is no {included}")
        elif folder != own and not any(fnmatchcase(folder, pattern) for pattern in allowed):
            found.append(f"{path}: may not include {included}")
    return found


# ---- folders ----------------------------------------------------------------------------------------------------------


def subfolders(folder: str) -> set[str]:
    return {path.name for path in (ROOT / folder).iterdir() if path.is_dir() and path.name != "__pycache__"}


@pytest.mark.parametrize(
    ("folder", "others"),
    [
        ("csrc/ops", WITHOUT_KERNELS),
        ("csrc/cpu", {"simd", "host"}),
        ("cuda", {"common", "host", "emulator", "probe"}),
    ],
)
def test_a_folder_per_family(folder, others):
    assert subfolders(folder) == FAMILIES | others


def test_a_file_of_cases_per_family():
    assert set(cases.FAMILIES) == FAMILIES | WITHOUT_KERNELS


def test_a_header_per_family_declares_its_kernels():
    assert {path.stem for path in (ROOT / "csrc/backend").glob("*.h")} >= FAMILIES
    listed = re.search(
        r"#define FASTNN_FAMILIES\(F\)(.*?)\n\n", (ROOT / "csrc/backend/kernel.h").read_text(), re.S
    )
    assert set(re.findall(r"F\((\w+)\)", listed[1])) == FAMILIES


def test_a_binding_per_family():
    assert {path.stem for path in (ROOT / "csrc/python/ops").glob("*.h")} == FAMILIES | WITHOUT_KERNELS


def test_the_documentation_knows_the_families():
    """README.md and docs/architecture.md name each, and every file that they name is there."""
    for page in ("README.md", "docs/architecture.md"):
        text = (ROOT / page).read_text()
        assert [family for family in sorted(FAMILIES) if not re.search(rf"\b{family}\b", text)] == []
        named = set(re.findall(r"`((?:csrc|cuda|python|tests|tools|bench|cmake|docs)/[\w./-]+)`", text))
        there = {name for name in named if (ROOT / name).exists() or Path(name).stem == "F"}  # F: any
        assert sorted(named - there) == []


# ---- who knows whom ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("folder", ["csrc", "cuda"])
def test_includes_follow_the_table(folder):
    assert [line for path, text in sources(folder) for line in forbidden_includes(path, text)] == []


def test_no_arrow_of_the_table_points_uphill():
    order = list(MAY_INCLUDE)
    for folder, allowed in MAY_INCLUDE.items():
        for target in allowed:
            one_room = target.startswith(f"{folder}/") or folder.startswith(f"{target}/")
            assert one_room or order.index(target) <= order.index(folder), f"{folder} may not know {target}"


def test_a_forbidden_include_is_noticed():
    assert forbidden_includes("csrc/cpu/pool/x.cpp", '#include "cpu/simd/simd.h"\n') == []
    assert len(forbidden_includes("csrc/cpu/pool/x.cpp", '#include "core/tensor.h"\n')) == 1
    assert len(forbidden_includes("csrc/cpu/simd/x.h", '#include "cpu/gemm/tile.h"\n')) == 1
    assert len(forbidden_includes("cuda/pool/x.cu", '#include "gone.cuh"\n')) == 1


def test_python_is_known_to_the_binding_alone():
    pattern = r"#\s*include\s*<(Python\.h|structmember\.h|pybind11/)"
    below = [(path, text) for path, text in sources("csrc", "cuda") if not path.startswith("csrc/python/")]
    assert [line for path, text in below for line in lines_with(pattern, path, text)] == []


def test_kernels_include_nothing_of_the_standard_library_that_runs():
    """A function template that two instruction sets shared would be merged by the linker."""
    kernels = [(path, text) for path, text in sources("csrc/cpu") if not path.startswith("csrc/cpu/host/")]
    assert [
        line
        for path, text in kernels
        for line in lines_with(r"#\s*include\s*<(?!type_traits)\w+>", path, text)
    ] == []


# ---- what stands in one place -----------------------------------------------------------------------------------------

INTRINSIC = r"\b_mm\d*_\w|\b__AVX|\b__SSE|\b__ARM_NEON|\bimmintrin\.h|__builtin_ia32_"


def test_instruction_sets_are_wrapped_in_simd():
    found = {
        path
        for path, text in sources("csrc", "cuda")
        if not path.startswith("csrc/cpu/simd/") and lines_with(INTRINSIC, path, text)
    }
    assert found == set(INTRINSICS)


PTX = ("cuda/common/ptx.cuh", "cuda/common/ptx_hopper.cuh")


def test_inline_assembly_is_in_ptx_cuh():
    kernels = [
        (path, text)
        for path, text in sources("cuda")
        if path not in PTX and not path.startswith("cuda/emulator/")
    ]
    assert [line for path, text in kernels for line in lines_with(r"\basm\b|__asm", path, text)] == []


def test_kernels_do_not_ask_for_the_architecture():
    """Tags that the launcher passes choose between architectures, so that the emulator runs what a GPU runs."""
    kernels = [(path, text) for path, text in sources("cuda") if path != "cuda/common/ptx.cuh"]
    assert [line for path, text in kernels for line in lines_with("__CUDA_ARCH__", path, text)] == []


def test_what_is_forbidden_is_noticed():
    assert lines_with(INTRINSIC, "x.h", "// _mm_add_ps\ny = _mm256_add_ps(a, b);\n") == [
        "x.h:2: y = _mm256_add_ps(a, b);"
    ]
    assert lines_with(r"\basm\b", "x.cu", '/* asm\nasm */\nasm volatile("nop");') == [
        'x.cu:3: asm volatile("nop");'
    ]


def test_no_file_holds_several_rooms():
    texts = dict(sources("csrc", "cuda"))
    for folder in ("python", "tests", "tools", "bench"):
        texts |= {str(p.relative_to(ROOT)): p.read_text() for p in (ROOT / folder).rglob("*.py")}
    assert [path for path, text in texts.items() if text.count("\n") > MOST_LINES] == []
