"""Turns the JSON of a run into the tables of README.md and docs/performance.md.

A table stands between `<!-- bench:NAME -->` and `<!-- /bench -->`; the text around it is written by hand.
NAME is `headlines`, `summary`, `machine`, `probes`, `kernels` or another subject.
"""

from __future__ import annotations

import json
import math
import re
import statistics
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from .harness import PEERS
from .process import ROOT

Report = dict[str, Any]
BLOCK = re.compile(r"(<!-- bench:([\w-]+) -->\n).*?(<!-- /bench -->)", re.S)
DOCUMENTS = ("README.md", "docs/performance.md")
IN_CACHE = 4e6  # bytes below which a row does not reach memory, so that STREAM is no ceiling for it


def duration(seconds: float) -> str:
    """Three digits and a unit: 12.3 ms."""
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= scale:
            return f"{digits(seconds / scale)} {unit}"
    return f"{digits(seconds * 1e9)} ns"


def digits(x: float) -> str:
    """x with three significant digits and no exponent."""
    if x == 0 or not math.isfinite(x):
        return str(x)
    return f"{x:.{max(0, 2 - math.floor(math.log10(abs(x))))}f}"


def size(count: float) -> str:
    return f"{digits(count / 2**20)} MiB"


def ratio_to_best_peer(row: dict[str, Any]) -> float | None:
    """How many times as fast as the fastest peer; below 1, a loss."""
    results = row["results"]
    peers = [results[name]["median"] for name in PEERS if "median" in results.get(name, {})]
    if not peers or "median" not in results.get("fastnn", {}):
        return None
    return float(min(peers) / results["fastnn"]["median"])


def share_of_ceiling(row: dict[str, Any], report: Report, library: str = "fastnn") -> float | None:
    """The roofline: the time that arithmetic or memory needs at best, the longer of them, over that taken."""
    ceiling = report["ceilings"][str(row["threads"])]
    found = row["results"].get(library, {})
    least = []
    if row["flops"] and ceiling["flops"]:
        least.append(row["flops"] / ceiling["flops"])
    if row["bytes"] > IN_CACHE and ceiling["bytes"]:
        least.append(row["bytes"] / ceiling["bytes"])
    if "median" not in found or not least:
        return None
    return float(max(least) / found["median"])


def on_gpu(report: Report) -> str:
    """The GPU's rows as a table. The ratios: against PyTorch as it launches, and replaying a graph."""
    lines = [
        "| | fastnn | PyTorch | its graph | NumPy | ratio | to its graph | of the ceiling |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in report["rows"]:
        ours = row["results"].get("fastnn", {}).get("median")
        ratios = []
        for peer in ("torch", "torch-graph"):
            theirs = row["results"].get(peer, {}).get("median")
            ratios.append(f"{digits(theirs / ours)}x" if ours and theirs else "–")
        # the arithmetic ceiling is float32's: it says nothing of rounded operands
        rounded = row["name"].endswith((" tf32", " bf16", " fp16"))
        share = None if rounded else share_of_ceiling(row, report)
        times = [_time(row, name) for name in ("fastnn", "torch", "torch-graph", "numpy")]
        name = f"{row['subject'].removeprefix('gpu-')}: {row['name']}"
        cells = [name, *times, *ratios, f"{100 * share:.0f}%" if share else "–"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _ratio(row: dict[str, Any]) -> str:
    ratio = ratio_to_best_peer(row)
    if ratio is None:
        return "–"
    text = f"{digits(ratio)}x"
    return text if ratio >= 1 else f"**{text}**"


def _time(row: dict[str, Any], library: str, p95: bool = False) -> str:
    found = row["results"].get(library)
    if found is None:
        return "–"
    if "median" not in found:
        return "failed"
    way = f" ({found['way']})" if p95 and found["way"] else ""
    return duration(found["median"]) + (f" [{duration(found['p95'])}]" if p95 else "") + way


def _share(row: dict[str, Any], report: Report) -> str:
    share = share_of_ceiling(row, report)
    return "–" if share is None else f"{100 * share:.0f} %"


def _rate(row: dict[str, Any]) -> str:
    found = row["results"].get("fastnn", {})
    if "median" not in found or not (row["flops"] or row["bytes"]):
        return "–"
    if row["flops"]:
        return f"{digits(row['flops'] / found['median'] / 1e9)} GFLOP/s"
    return f"{digits(row['bytes'] / found['median'] / 1e9)} GB/s"


def markdown(header: Iterable[str], lines: Iterable[Iterable[str]]) -> str:
    header = list(header)
    rule = ["---", *["---:"] * (len(header) - 1)]
    return "".join("| " + " | ".join(line) + " |\n" for line in [header, rule, *lines])


def headlines(report: Report) -> str:
    """The rows of the README, all threads where there is a choice, then what is measured per process."""
    rows: dict[str, dict[str, Any]] = {}  # by headline; of two thread counts the larger, which comes later
    for row in report["rows"]:
        if row["headline"]:
            rows[row["headline"]] = row
    header = ["", "fastnn", *PEERS.values(), "best peer / fastnn", "of the ceiling"]
    lines = [
        [
            row["headline"],
            *(_time(row, name) for name in ("fastnn", *PEERS)),
            _ratio(row),
            _share(row, report),
        ]
        for row in rows.values()
    ]
    return f"{_sentence(report)}\n\n" + markdown(header, [*lines, *_probe_lines(report, len(header))])


def _sentence(report: Report) -> str:
    where, versions = report["machine"], report["machine"]["versions"]
    peers = ", ".join(f"{name} {versions[key]}" for key, name in PEERS.items() if key in versions)
    return (
        f"{where['cpu']}, {where['isa']}, {where['cores']} cores and as many threads for each library, "
        f"float32; {peers}; {report['date']}, commit {where['commit'] or 'unknown'}. "
        "Medians of interleaved rounds."
    )


def _probe_lines(report: Report, columns: int) -> list[list[str]]:
    titles: list[tuple[str, str, Callable[[float], str]]] = [
        ("import_seconds", "import, over `import numpy`", duration),
        ("wheel_bytes", "wheel", size),
        ("installed_bytes", "installed", size),
        ("peak_bytes", "peak memory, LeNet training", size),
    ]
    lines = []
    for probe, title, text in titles:
        found = report["probes"].get(probe, {})
        if "fastnn" in found:
            cells = [text(found[name]) if name in found else "–" for name in ("fastnn", *PEERS)]
            peers = [found[name] for name in PEERS if name in found]
            ratio = min(peers) / found["fastnn"] if peers else None
            better = "–" if ratio is None else f"{digits(ratio)}x" if ratio >= 1 else f"**{digits(ratio)}x**"
            lines.append([title, *cells, better, "–"][:columns])
    return lines


def probes(report: Report) -> str:
    header = ["", "fastnn", *PEERS.values(), "best peer / fastnn"]
    return markdown(header, _probe_lines(report, len(header)))


def subject(name: str, report: Report) -> str:
    header = [
        "",
        "threads",
        "fastnn [p95]",
        "",
        "of the ceiling",
        *(f"{name} [p95]" for name in PEERS.values()),
        "best peer / fastnn",
    ]
    lines = [
        [
            row["name"],
            str(row["threads"]),
            _time(row, "fastnn", True),
            _rate(row),
            _share(row, report),
            *(_time(row, peer, True) for peer in PEERS),
            _ratio(row),
        ]
        for row in report["rows"]
        if row["subject"] == name
    ]
    return markdown(header, lines)


def kernels(report: Report) -> str:
    """Each kernel alone, through Python, and what that adds."""
    header = ["", "threads", "kernel alone [p95]", "through Python [p95]", "Python adds", "of the kernel"]
    lines = []
    for row in report["rows"]:
        found = row["results"]
        if row["subject"] == "kernels" and all(
            "median" in found.get(side, {}) for side in ("kernels", "fastnn")
        ):
            alone = found["kernels"]["median"]
            added = found["fastnn"]["median"] - alone
            times = [_time(row, side, True) for side in ("kernels", "fastnn")]
            sign = "−" if added < 0 else ""
            lines.append(
                [
                    row["name"],
                    str(row["threads"]),
                    *times,
                    sign + duration(abs(added)),
                    f"{round(100 * added / alone)} %",
                ]
            )
    return markdown(header, lines)


def machine(report: Report) -> str:
    where, ceilings = report["machine"], report["ceilings"]
    caches = ", ".join(f"{level} {kib}" for level, kib in where["caches"].items())
    lines = [
        [
            "processor",
            f"{where['cpu']}; {where['cores']} cores; {where['isa']}; {caches}; {where['memory_gib']} GiB",
        ],
        ["system", f"{where['system']}, Python {where['python']}"],
        ["versions", ", ".join(f"{name} {version}" for name, version in where["versions"].items())],
        ["commit, date", f"{where['commit']}, {report['date']}; the run took {report['minutes']} minutes"],
    ]
    for threads, ceiling in ceilings.items():
        flops, speed = ceiling["flops"], ceiling["bytes"]
        arithmetic = f"{digits(flops / 1e9)} GFLOP/s multiply-add" if flops else "arithmetic not measured"
        lines.append(
            [
                f"ceilings, {threads} thread{'s' * (threads != '1')}",
                f"{arithmetic}, {digits(speed / 1e9)} GB/s copy",
            ]
        )
    rule = "| | |\n| --- | --- |\n"
    return rule + "".join(f"| {key} | {value} |\n" for key, value in lines)


def summary(report: Report) -> str:
    """How many rows are won, and which are lost, by thread count."""
    lines = []
    for threads in report["ceilings"]:
        found = [(ratio_to_best_peer(row), row) for row in report["rows"] if str(row["threads"]) == threads]
        ratios = [(ratio, row) for ratio, row in found if ratio is not None]
        if not ratios:
            continue
        lost = sorted((ratio, f"{row['subject']}: {row['name']}") for ratio, row in ratios if ratio < 1)
        middle = statistics.median(ratio for ratio, _ in ratios)
        lines.append(
            f"- {threads} thread{'s' * (threads != '1')}: fastnn is ahead of the fastest peer in "
            f"{len(ratios) - len(lost)} of {len(ratios)} rows; the median ratio is {digits(middle)}."
        )
        if lost:
            lines.append("  Behind: " + ", ".join(f"{name} ({digits(ratio)})" for ratio, name in lost) + ".")
    return "".join(line + "\n" for line in lines)


def block(name: str, report: Report) -> str:
    makers = {
        "headlines": headlines,
        "summary": summary,
        "machine": machine,
        "probes": probes,
        "kernels": kernels,
    }
    return makers[name](report) if name in makers else subject(name, report)


def latest(folder: Path = Path(__file__).parent / "results") -> Path | None:
    """The most recent run among the committed ones."""
    runs = sorted(folder.glob("cpu-*.json"))
    return max(runs, key=lambda path: json.loads(path.read_text())["date"]) if runs else None


def update(path: Path, report: Report) -> bool:
    """Rewrites the blocks of one document; True if that changed it."""
    old = path.read_text()
    new = BLOCK.sub(lambda found: f"{found[1]}\n{block(found[2], report)}\n{found[3]}", old)
    if new != old:
        path.write_text(new)
    return new != old


def main(result: Path | None = None) -> int:
    result = result or latest()
    if result is None:
        print("no results: run `python -m bench run` first")
        return 1
    report = json.loads(result.read_text())
    for name in DOCUMENTS:
        if (ROOT / name).exists():
            print(f"{name}: {'updated' if update(ROOT / name, report) else 'as it was'} from {result.name}")
    return 0
