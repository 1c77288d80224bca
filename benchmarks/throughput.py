"""How many results per second, beside other ways to store them, in rounds that take turns.

What is not here: how the other ways work (`ways.py`), and the page.
"""

from __future__ import annotations

import os
import shutil
import statistics
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import ways
from benchmarks.bench_queue import DIRECTORIES, BenchQueue, bench_queue
from benchmarks.clients import submit_all
from benchmarks.measure import Series

CLIENTS = 64


@dataclass(frozen=True)
class Size:
    """How much is done: rows that are there before, rounds, and results per round and way."""

    rows: int = 10_000
    rounds: int = 9
    many: int = CLIENTS * 30
    alone: int = 400
    naive: int = 4
    bare: int = 400


@dataclass
class Throughput:
    """Results per second of each way, by round, and how long acks took with many clients."""

    size: Size
    rates: dict[str, Series] = field(default_factory=lambda: defaultdict(Series))
    waits_ms: list[float] = field(default_factory=list)

    def wait_ms(self, share: float) -> float:
        """So many of the acks came within so many milliseconds."""
        return sorted(self.waits_ms)[int(share * (len(self.waits_ms) - 1))]

    @property
    def typical_wait_ms(self) -> float:
        return statistics.median(self.waits_ms)


def measure(folder: Path, size: Size) -> Throughput:
    """All ways, one after the other, again and again."""
    found = Throughput(size)
    with bench_queue(folder) as queue:
        queue.init(size.rows + size.rounds * (size.many + size.alone))
        queue.start()
        submit(queue, CLIENTS, size.rows)
        files = _copies(queue, "naive"), _copies(queue, "bare")
        for _ in range(size.rounds):
            _round(queue, size, *files, found)
        queue.run("verify")
    return found


def _round(
    queue: BenchQueue, size: Size, naive: Sequence[Path], bare: Sequence[Path], found: Throughput
) -> None:
    def many() -> float:
        rate, waits = submit(queue, CLIENTS, size.many)
        found.waits_ms += [1000 * each for each in waits]
        return rate

    measures: dict[str, Callable[[], float]] = {
        "many": many,
        "naive": lambda: ways.naive(naive, size.naive),
        "bare": lambda: ways.bare(queue.root, bare, size.bare, 1),
        "alone": lambda: submit(queue, 1, size.alone)[0],
        "batched": lambda: ways.bare(queue.root, bare, size.many, CLIENTS),
    }
    for way, rate in measures.items():
        os.sync()  # what one leaves unwritten must not burden the next
        found.rates[way].values.append(rate())


def submit(queue: BenchQueue, clients: int, results: int) -> tuple[float, list[float]]:
    """Claims beforehand; only the submitting is measured."""
    share = results // clients
    return submit_all(queue, {f"c{n}": queue.claim(f"c{n}", share) for n in range(clients)})


def _copies(queue: BenchQueue, way: str) -> list[Path]:
    """The CSVs as they are now, for another way to go on with."""
    copies = [queue.root / f"{way}_{directory}.csv" for directory in DIRECTORIES]
    for directory, copy in zip(DIRECTORIES, copies, strict=True):
        shutil.copy(queue.csv(directory), copy)
    return copies
