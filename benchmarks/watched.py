"""`status` of a queue that is at work: how long it takes, and what it costs those who work.

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
            os.sync()
            if watched:
                _watched(queue, results, found)
            else:
                found.add("status/unwatched", _work(queue, results))
        found.add("status/idle_ms", _status_ms(queue))
        found.add("status/count_ms", bare.count_ms(queue.home / "queue.db"))


def _work(queue: BenchQueue, results: int) -> float:
    """Each client submits a result and requests the next task: it has one at a time."""
    return clients.run("together", queue, clients.requests(CLIENTS, results)).rate


def _watched(queue: BenchQueue, results: int, found: Figures) -> None:
    ended = threading.Event()
    looks = Series()

    def look() -> None:
        while not ended.wait(LOOK_SECONDS / 2 if not looks.values else LOOK_SECONDS):
            looks.values.append(_status_ms(queue))

    watcher = threading.Thread(target=look)
    watcher.start()
    found.add("status/watched", _work(queue, results))
    ended.set()
    watcher.join()
    if looks.values:
        found.add("status/busy_ms", looks.median)


def _status_ms(queue: BenchQueue) -> float:
    with queue.connection() as ask:
        return 1000 * seconds_of(lambda: ask(type="status"))
