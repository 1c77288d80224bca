"""How many results per second, beside other ways to store them, in rounds that take turns.

What is not here: how the other ways work (`ways.py`), whole tasks (`whole.py`), and the page.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import clients, large, ways
from benchmarks.bench_queue import DIRECTORIES, BenchQueue, bench_queue
from benchmarks.measure import Figures, Series

CLIENTS = 64


@dataclass(frozen=True)
class Size:
    """How much is done: rows that are there before, rounds, and per round and way how much:
    results by number of clients, and those of the other ways."""

    rows: int = 10_000
    rounds: int = 5
    results: tuple[tuple[int, int], ...] = (
        (1, 200), (8, 600), (64, 3_200), (256, 3_072), (1000, 3_000)
    )  # fmt: skip
    naive: int = 2
    bare: int = 300
    batched: int = 64 * 150


QUICK = Size(rows=64, rounds=1, results=((1, 5), (64, 128), (100, 100)), naive=1, bare=5,
             batched=128)  # fmt: skip


def measure(folder: Path, quick: bool) -> Figures:
    """All ways, one after the other, again and again: results per second, `submit/...`."""
    size = QUICK if quick else Size()
    found = Figures()
    found.add("submit/rows", size.rows)
    with bench_queue(folder) as queue:
        tasks = size.rows + size.rounds * sum(each for _, each in size.results)
        large.make(queue, large.Plan(tasks, size.rows, len(DIRECTORIES), same=True))
        queue.start()
        files = _copies(queue, "naive"), _copies(queue, "bare")
        for _ in range(size.rounds):
            _round(queue, size, *files, found)
        queue.run("verify")
    return found


def _round(
    queue: BenchQueue, size: Size, naive: Sequence[Path], bare: Sequence[Path], found: Figures
) -> None:
    ways_: dict[str, Callable[[], float]] = {
        "naive": lambda: ways.naive(naive, size.naive),
        "bare": lambda: ways.bare(queue.root, bare, size.bare, 1),
        "batched": lambda: ways.bare(queue.root, bare, size.batched, CLIENTS),
    }
    for count, results in size.results:
        ways_[str(count)] = lambda count=count, results=results: _submit(
            queue, count, results, found
        )
    for way, rate in ways_.items():
        os.sync()  # what one leaves unwritten must not burden the next
        found.add(f"submit/{way}", rate())


def _submit(queue: BenchQueue, count: int, results: int, found: Figures) -> float:
    done = submit(queue, count, results)
    acks = Series([1000 * each for each in done.waits])
    found.add(f"submit/ack_ms/{count}", acks.median)
    found.add(f"submit/ack_p99_ms/{count}", acks.share(0.99))
    return done.rate


def submit(queue: BenchQueue, count: int, results: int) -> clients.Done:
    """Claims beforehand; only the submitting is measured."""
    wanted = {f"c{number}": results // count for number in range(count)}
    return clients.run("submit", queue, queue.claim(wanted))


def _copies(queue: BenchQueue, way: str) -> list[Path]:
    """The CSVs as they are now, for another way to go on with."""
    copies = [queue.root / f"{way}_{directory}.csv" for directory in DIRECTORIES]
    for directory, copy in zip(DIRECTORIES, copies, strict=True):
        shutil.copy(queue.csv(directory), copy)
    return copies
