"""The command ``fastnn``: train, predict, info, bench.

Exit code: 0 for success, 1 for failure with one line on standard error, 2 for bad usage, 130 after Ctrl-C.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from . import bench, info, predict, train

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command with these arguments, by default the program's own, and returns its exit code."""
    args = _parser().parse_args(argv)
    try:
        code = args.run(args)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return _fail(args, "interrupted", 130)
    except BrokenPipeError:  # the reader of our output, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except (OSError, ValueError, RuntimeError, ImportError, MemoryError) as error:
        return _fail(args, _line(error), 1)
    return int(code or 0)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fastnn", description="Neural networks on hand-written kernels: train one, use it, measure it."
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for module in (train, predict, info, bench):
        name = module.__name__.rpartition(".")[2]
        about = (module.__doc__ or "").strip()
        summary = about.partition("\n")[0].rstrip(".")
        command = commands.add_parser(
            name, help=summary, description=about, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    return parser


def _line(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return " ".join(str(error).split()) or type(error).__name__


def _fail(args: argparse.Namespace, message: str, code: int) -> int:
    print(f"fastnn {args.command}: {message}", file=sys.stderr)
    return code
