"""The tree that travels to a machine with a GPU: everything that is compiled, and the Python that uses it.

build/gpu-tree holds
    site/fastnn              the package: extension for one Python, libfastnn_cuda.so for sm_90a
    libfastnn_cuda_probe.so  what the probe and the ceilings run
    variants/NAME/           libraries with other options of nvcc, to be compared
    tests, bench, tools/gpu_check, pyproject.toml
    stamp.json               what it was made from and for
and works as it lies, in the checkout that it was made in or carried elsewhere alone.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
STAMP = "stamp.json"
BUILD = ROOT / "build" / "gpu"
SUFFIX = sysconfig.get_config_var("EXT_SUFFIX")
PROBE, BACKEND = "libfastnn_cuda_probe.so", "libfastnn_cuda.so"


@dataclass
class Tree:
    """Where things are. In a dry run libraries of the emulator stand in for the device's."""

    folder: Path | None  # None: fastnn is what this Python imports

    def site(self) -> Path | None:
        return self.folder and self.folder / "site"

    def environment(self, dry: bool) -> dict[str, str]:
        path = os.pathsep.join(
            filter(None, [str(self.site() or ""), str(ROOT), os.environ.get("PYTHONPATH")])
        )
        env = {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
        if dry:
            emulator = env.get("FASTNN_CUDA_LIBRARY") or built("libfastnn_cuda_emulator.so")
            if not emulator:
                raise SystemExit("a dry run needs the emulator, of a build folder with FASTNN_TESTS=ON in it")
            env["FASTNN_CUDA_LIBRARY"] = str(emulator)
            env |= {
                "FASTNN_TEST_LARGEST": "100",
                "FASTNN_EMULATOR_DEVICES": env.get("FASTNN_EMULATOR_DEVICES", "1"),
            }
        else:
            env["FASTNN_TEST_DEVICE"] = "cuda"
        return env

    def probe(self, dry: bool) -> Path | None:
        if dry:
            return built("libfastnn_cuda_probe_emulator.so")
        return self.folder and self.folder / PROBE

    def variants(self) -> dict[str, Path]:
        folders = sorted((self.folder / "variants").glob("*/")) if self.folder else []
        return {folder.name: folder / BACKEND for folder in folders}


def built(name: str) -> Path | None:
    """Of the newest build folder."""
    found = [p for depth in ("*", "*/*") for p in ROOT.glob(f"build*/{depth}/cuda/emulator/{name}")]
    found += ROOT.glob(f"build*/cuda/emulator/{name}")
    return max(found, key=lambda p: p.stat().st_mtime, default=None)


# ---- what a tree was made from


def sources() -> dict[str, str]:
    """Hashes of what is compiled or copied into the package, by path."""
    paths = [ROOT / "CMakeLists.txt", *(ROOT / "cmake").glob("*.cmake")]
    for folder in ("csrc", "cuda", "python/fastnn"):
        paths += [p for p in (ROOT / folder).rglob("*") if p.is_file() and _matters(p)]
    return {str(p.relative_to(ROOT)): hashlib.sha256(p.read_bytes()).hexdigest()[:12] for p in sorted(paths)}


def _matters(path: Path) -> bool:
    name = str(path.relative_to(ROOT))
    elsewhere = name.startswith("cuda/emulator/") or name == "cuda/budget.json"
    return "__pycache__" not in name and not elsewhere and path.suffix != ".so"


def folder() -> Path:
    return ROOT if (ROOT / STAMP).exists() else ROOT / "build" / "gpu-tree"


def checked() -> Tree:
    """The tree as it lies; SystemExit with words where it does not fit this Python or these sources."""
    place = folder()
    again = "`make gpu-tree` on a machine with nvcc makes it"
    try:
        stamp = json.loads((place / STAMP).read_text())
    except (OSError, ValueError):
        raise SystemExit(f"there is no tree in {place}: {again}") from None
    if stamp["extension"] != SUFFIX:
        raise SystemExit(
            f"{place} holds an extension {stamp['extension']}; this Python takes {SUFFIX}: {again}, "
            f"with PYTHON=python{sys.version_info.major}.{sys.version_info.minor}"
        )
    if place != ROOT:
        now, then = sources(), stamp["sources"]
        changed = sorted(path for path in now.keys() | then.keys() if now.get(path) != then.get(path))
        if changed:
            more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
            raise SystemExit(f"{place} was made from other sources ({', '.join(changed[:3])}{more}): {again}")
    return Tree(place)


# ---- making one


def make(variants: list[str], architectures: str) -> Tree:
    """Compiles for this Python and puts the tree together. variants: NAME=OPTIONS of nvcc."""
    stamp = {"extension": SUFFIX, "architectures": architectures, "sources": sources()}
    compiled = BUILD / f"cmake{SUFFIX.removesuffix('.so')}"
    hopper = architectures == "90a-real"
    backend = "fastnn_cuda_sm90a" if hopper else "fastnn_cuda"
    _cmake(compiled, ["_C", backend, "fastnn_cuda_probe"], architectures)
    fresh = folder().with_name("gpu-tree.new")
    shutil.rmtree(fresh, ignore_errors=True)
    package = fresh / "site" / "fastnn"
    leave = shutil.ignore_patterns("__pycache__", "*.so", "results")
    shutil.copytree(ROOT / "python" / "fastnn", package, ignore=leave)
    shutil.copy(compiled / f"_C{SUFFIX}", package)
    shutil.copy(compiled / ("hopper" if hopper else "") / BACKEND, package)
    shutil.copy(compiled / PROBE, fresh)
    for folder_name in ("tests", "bench", "tools/gpu_check"):
        shutil.copytree(ROOT / folder_name, fresh / folder_name, ignore=leave)
    shutil.copytree(ROOT / "bench", package / "_bench", ignore=leave)
    shutil.copy(ROOT / "pyproject.toml", fresh)
    for variant in variants:
        name, _, options = variant.partition("=")
        of_variant = BUILD / f"variant-{name}"
        _cmake(of_variant, [backend], architectures, f"-DFASTNN_CUDA_FLAGS={options}")
        (fresh / "variants" / name).mkdir(parents=True)
        shutil.copy(of_variant / ("hopper" if hopper else "") / BACKEND, fresh / "variants" / name)
    (fresh / STAMP).write_text(json.dumps(stamp, indent=0) + "\n")
    shutil.rmtree(folder(), ignore_errors=True)
    fresh.rename(folder())
    size = sum(p.stat().st_size for p in folder().rglob("*") if p.is_file())
    print(f"{folder()}: {size / 1e6:.1f} MB for {SUFFIX}, {architectures}")
    return Tree(folder())


def _cmake(to: Path, targets: list[str], architectures: str, *more: str) -> None:
    pybind = importlib.util.find_spec("pybind11")
    if pybind is None or pybind.origin is None:
        raise SystemExit("building needs pybind11, cmake and ninja for this Python")
    tools = [str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath), "/usr/local/cuda/bin"]
    env: dict[str, Any] = {**os.environ, "PATH": os.pathsep.join(tools)}
    options = [
        *("-G", "Ninja", "-S", str(ROOT), "-B", str(to)),
        *("-DFASTNN_CUDA=on", f"-DFASTNN_CUDA_ARCHS={architectures}", "-DFASTNN_ISAS=all"),
        f"-DPython_EXECUTABLE={sys.executable}",
        f"-Dpybind11_DIR={Path(pybind.origin).parent / 'share' / 'cmake' / 'pybind11'}",
    ]
    for command in (
        ["cmake", *options, *more],
        ["cmake", "--build", str(to), "--target", *targets, "-j", str(os.cpu_count() or 2)],
    ):
        found = shutil.which("cmake", path=env["PATH"])
        if found is None:
            raise SystemExit("building needs cmake")
        done = subprocess.run([found, *command[1:]], env=env, check=False)
        if done.returncode:
            raise SystemExit(f"cmake failed in {to}")
