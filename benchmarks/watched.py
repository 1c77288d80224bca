"""`status` of a queue that is at work: how long it takes, and what it costs those who submit.

Promises: with and without somebody who looks take turns.  What is not here: the command as a whole
process (`starting.py`).
"""

from __future__ import annotations

import os
import threading

from benchmarks import bare, clients
from benchmarks.bench_queue import BenchQueue
from benchmarks.measure import Figures, Series, seconds_of

CLIENTS = 64
LOOK_SECONDS = 1.0
"""So often somebody looks."""


def status_beside(queue: BenchQueue, rounds: int, results: int, found: Figures) -> None:
    """Results per second, watched and not; milliseconds of an answer, of a count by hand."""
    for number in range(rounds):
        for watched in (True, False) if number % 2 else (False, True):
            given = queue.claim({f"c{n}": results // CLIENTS for n in range(CLIENTS)})
            os.sync()
            if watched:
                _watched(queue, given, found)
            else:
                found.add("status/unwatched", clients.run("submit", queue, given).rate)
        found.add("status/idle_ms", _status_ms(queue))
        found.add("status/count_ms", bare.count_ms(queue.home / "queue.db"))


def _watched(queue: BenchQueue, given: dict[str, list[clients.Given]], found: Figures) -> None:
    ended = threading.Event()
    looks = Series()

    def look() -> None:
        while not ended.wait(LOOK_SECONDS / 2 if not looks.values else LOOK_SECONDS):
            looks.values.append(_status_ms(queue))

    watcher = threading.Thread(target=look)
    watcher.start()
    found.add("status/watched", clients.run("submit", queue, given).rate)
    ended.set()
    watcher.join()
    if looks.values:
        found.add("status/busy_ms", looks.median)


def _status_ms(queue: BenchQueue) -> float:
    with queue.connection() as ask:
        return 1000 * seconds_of(lambda: ask(type="status"))
