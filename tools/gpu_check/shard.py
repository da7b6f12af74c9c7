"""A plugin of pytest for one of several processes that share the tests: `-p tools.gpu_check.shard`.

The environment says which share this process has and what is done already; it tells of every test, in lines of JSON that it
adds to a file, when it begins and how it ends. Where the device is lost the process ends at once: no test after that could pass.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.worker import device_lost

NUMBER, SHARDS = (int(n) for n in os.environ.get("FASTNN_SHARD", "0/1").split("/"))
EVENTS = os.environ.get("FASTNN_SHARD_EVENTS", os.devnull)
DONE = os.environ.get("FASTNN_SHARD_DONE", "")
LOST = 86  # exit status


def tell(**event: Any) -> None:
    with Path(EVENTS).open("a") as file:  # also under a tool that closes what it does not know
        file.write(json.dumps(event) + "\n")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    done = set(Path(DONE).read_text().splitlines()) if DONE else set()
    items[:] = [item for i, item in enumerate(items) if i % SHARDS == NUMBER and item.nodeid not in done]
    tell(tests=len(items))


def pytest_runtest_logstart(nodeid: str) -> None:
    tell(begins=nodeid)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report: Any = yield
    if report.when == "call" or report.outcome != "passed":
        message = str(report.longrepr).strip().splitlines() if report.failed else []
        tell(test=item.nodeid, outcome=report.outcome, seconds=round(report.duration, 4), last=message[-3:])
    if report.failed:
        import fastnn

        if device_lost(fastnn):
            tell(lost=item.nodeid)
            os._exit(LOST)
    return report
