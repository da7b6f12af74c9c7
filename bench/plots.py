"""Pictures of a run, from its JSON, in docs/images: roofline, ratios to the best peer, time to accuracy.

python -m bench plots        needs Matplotlib (the extra `docs`)
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .process import ROOT
from .table import IN_CACHE, Report, ratio_to_best_peer

FOLDER = ROOT / "docs" / "images"
COLOURS = {
    "gemm": "#1b6ca8",
    "conv": "#d1495b",
    "nets": "#30638e",
    "elementwise": "#66a182",
    "reduce": "#edae49",
    "norm": "#9b5de5",
    "overhead": "#8d96a3",
}
LIBRARY_COLOURS = {"fastnn": "#d1495b", "torch": "#30638e"}


def _axes(width: float, height: float) -> tuple[Any, Any]:
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.hashsalt": "fastnn", "font.size": 9})  # the same bytes every time
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(width, height), layout="constrained")
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _save(figure: Any, name: str) -> Path:
    FOLDER.mkdir(parents=True, exist_ok=True)
    path = FOLDER / name
    figure.savefig(path, metadata={"Date": None})
    path.write_text("\n".join(line.rstrip() for line in path.read_text().splitlines()) + "\n")
    return path


def roofline(report: Report) -> Path:
    """Each row with arithmetic: operations per byte that it must move, and operations a second."""
    figure, axes = _axes(7, 4)
    for threads, ceiling in report["ceilings"].items():
        if not ceiling["flops"]:
            continue
        edge = ceiling["flops"] / ceiling["bytes"]
        xs = [0.05, edge, 2000]
        axes.plot(
            xs, [x * ceiling["bytes"] / 1e9 if x < edge else ceiling["flops"] / 1e9 for x in xs], "k-", lw=0.8
        )
        axes.annotate(
            f"{threads} threads" if threads != "1" else "1 thread", (900, ceiling["flops"] / 1e9 * 1.05)
        )
    for subject, colour in COLOURS.items():
        rows = [
            row
            for row in report["rows"]
            if row["subject"] == subject
            and row["flops"]
            and row["bytes"] > IN_CACHE
            and "median" in row["results"].get("fastnn", {})
        ]
        if rows:
            axes.scatter(
                [row["flops"] / row["bytes"] for row in rows],
                [row["flops"] / row["results"]["fastnn"]["median"] / 1e9 for row in rows],
                color=colour,
                s=[16 if row["threads"] == 1 else 34 for row in rows],
                alpha=0.8,
                label=subject,
            )
    axes.set(xscale="log", yscale="log", xlabel="operations per byte", ylabel="GFLOP/s")
    axes.legend(frameon=False, loc="lower right", title="small: one thread")
    return _save(figure, "roofline.svg")


def ratios(report: Report) -> Path:
    """Every row's ratio to the best peer, sorted."""
    found = [(ratio_to_best_peer(row), row) for row in report["rows"]]
    ordered = sorted(((r, row) for r, row in found if r), key=lambda pair: pair[0])
    figure, axes = _axes(7, 3.2)
    axes.bar(
        range(len(ordered)),
        [r for r, _ in ordered],
        width=1.0,
        color=[COLOURS[row["subject"]] for _, row in ordered],
    )
    axes.axhline(1, color="k", lw=0.8)
    axes.set(
        yscale="log",
        xlabel=f"{len(ordered)} rows, both thread counts",
        ylabel="fastest peer's time / fastnn's",
    )
    axes.set_yticks([0.5, 1, 2, 5, 10, 50], ["0.5", "1", "2", "5", "10", "50"])
    handles = [axes.bar(0, 0, color=colour, label=name) for name, colour in COLOURS.items()]
    axes.legend(handles=handles, frameon=False, ncols=3, loc="upper left")
    return _save(figure, "ratios.svg")


def accuracy(record: dict[str, Any]) -> Path:
    """Test accuracy over training time, each library's epochs."""
    figure, axes = _axes(7, 3.2)
    for name, found in record["libraries"].items():
        axes.plot(
            found["seconds"],
            [100 * a for a in found["accuracy"]],
            "o-",
            ms=3,
            color=LIBRARY_COLOURS[name],
            label=name,
        )
    axes.set(xlabel="seconds of training", ylabel="test accuracy, %", title=record["task"])
    axes.legend(frameon=False, loc="lower right")
    return _save(figure, "accuracy.svg")


def main(report: Path | None) -> int:
    if report is None:
        print("no results: run `python -m bench run` first")
        return 1
    found: Report = json.loads(report.read_text())
    paths = [roofline(found), ratios(found)]
    trained = ROOT / "bench" / "results" / "accuracy.json"
    if trained.exists():
        paths.append(accuracy(json.loads(trained.read_text())))
    print(*paths, sep="\n")
    return 0
