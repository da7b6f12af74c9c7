"""Show versions, the machine, and what fastnn uses of it."""

from __future__ import annotations

import argparse
from typing import Any

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> None:
    import fastnn as fn

    facts = fn.info()
    if args.json:
        import json

        print(json.dumps(facts, indent=1))
        return
    width = max(map(len, facts)) + 2
    for name, value in facts.items():
        print(f"{name:{width}}{_text(value)}")


def _text(value: Any) -> str:
    if isinstance(value, dict):  # what there is, and whether this processor has it
        return ", ".join(
            name if known is True else f"{name} ({'no' if known is False else known})"
            for name, known in value.items()
        )
    return str(value)
