"""What grows with the queue, and what must not: `init` of many cells, a claim among many.

What is not here: throughput of results (`throughput.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.bench_queue import BenchQueue, bench_queue
from benchmarks.measure import Series, seconds_of

KINDS = ("gpu", "cpu")
CLAIMS = 200


@dataclass
class Growing:
    """By number of cells: seconds of `init`, the first and again; milliseconds of a claim."""

    first: dict[int, Series] = field(default_factory=dict)
    again: dict[int, Series] = field(default_factory=dict)
    claim: dict[tuple[int, str], Series] = field(default_factory=dict)


def measure(folder: Path, sizes: Mapping[int, int]) -> Growing:
    """By size how many rounds: each `init` in a new folder; the claims in the last one."""
    found = Growing()
    for cells, rounds in sizes.items():
        found.first[cells], found.again[cells] = Series(), Series()
        for number in range(rounds):
            with bench_queue(folder) as queue:
                _time_init(queue, cells, found)
                if number == rounds - 1:
                    _time_claims(queue, cells, found)
    return found


def _time_init(queue: BenchQueue, cells: int, found: Growing) -> None:
    for series in (found.first, found.again):
        series[cells].values.append(seconds_of(lambda: queue.init(cells)))


def _time_claims(queue: BenchQueue, cells: int, found: Growing) -> None:
    queue.start()
    with queue.connection() as ask:
        for kind in KINDS:
            found.claim[cells, kind] = Series(
                [1000 * _claim(ask, kind) for _ in range(min(CLAIMS, cells // 4))]
            )


def _claim(ask: Any, kind: str) -> float:
    """Seconds from the request to the task, the commit between them included."""
    answers: list[dict[str, Any]] = []
    request = {"type": "request_task", "worker_id": f"claimer-{kind}", "worker_type": kind}
    seconds = seconds_of(lambda: answers.append(ask(**request)))
    assert answers[0]["type"] == "task"
    return seconds
