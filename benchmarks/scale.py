"""What must not grow with a queue: a result, a claim, `status`, coming back after a kill.

Queues of up to a million tasks are made once (`large.py`), measured, and removed.
What is not here: making a queue with `init` (`growing.py`), and the page.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from benchmarks import bare, clients, large
from benchmarks.bench_queue import BenchQueue, bench_queue
from benchmarks.large import Plan
from benchmarks.measure import Figures, seconds_of
from benchmarks.starting import SQLALCHEMY, process_ms
from benchmarks.watched import status_beside
from sqlqueue.home import Home
from sqlqueue.home_lock import HomeLock
from sqlqueue.store import engine, reading, starting
from sqlqueue.store.queue import Report

CLIENTS = 64
WORKERS = 1_000
CLAIMS = 200
WARM = 20
BUSY_SECONDS = 1.0
SMALL = 10_000
WIDE = "million"


MILLION_TASKS = Plan(seeds=5_000, done=2_500, directories=50, widths=4)


@dataclass(frozen=True)
class Size:
    """Queues by name, rounds, and results per round."""

    wide: Plan = MILLION_TASKS
    claims: tuple[tuple[int, Plan], ...] = (
        (1_000, Plan(seeds=5, done=2, directories=50, widths=4)),
        (100_000, Plan(seeds=500, done=250, directories=50, widths=4)),
    )
    rows: tuple[int, int] = (1_000, 1_000_000)
    rounds: int = 5
    results: int = CLIENTS * 50
    alone: int = 100
    workers: int = WORKERS
    busy: int = CLIENTS * 500
    """More than is done in a second before a kill."""


QUICK = Size(
    wide=Plan(seeds=60, done=1, directories=5, widths=4), claims=(), rows=(20,), rounds=1,
    results=CLIENTS, alone=3, workers=20,
    busy=CLIENTS * 4,
)  # fmt: skip


def measure(folder: Path, quick: bool) -> Figures:
    size = QUICK if quick else Size()
    found = Figures()
    spare = size.rounds * (size.results + size.alone)
    plans = {WIDE: size.wide, **{f"claims-{count}": plan for count, plan in size.claims}}
    plans |= {f"rows-{rows}": Plan(rows + spare, rows) for rows in size.rows}
    with _made(folder, plans, found) as queues:
        _results(queues, size, found)
        _status(queues[WIDE], size, found)
        counts = {size.wide.tasks: queues[WIDE]}
        counts |= {count: queues[f"claims-{count}"] for count, _ in size.claims}
        _claims(dict(sorted(counts.items())), size, found)
        _wide(queues[WIDE], size, found)
    return found


@contextmanager
def _made(folder: Path, plans: dict[str, Plan], found: Figures) -> Iterator[dict[str, BenchQueue]]:
    """All queues, made side by side, the largest first."""
    with ExitStack() as stack:
        queues = {name: stack.enter_context(bench_queue(folder)) for name in plans}

        def make() -> None:
            largest = sorted(plans, key=lambda name: -plans[name].tasks - plans[name].done)
            given = [queues[name] for name in largest], [plans[name] for name in largest]
            if plans[largest[0]].tasks < SMALL:  # starting other processes would take longer
                list(map(large.make, *given))
                return
            with ProcessPoolExecutor(os.cpu_count(), get_context("spawn")) as pool:
                list(pool.map(large.make, *given))

        found.add("scale/made_seconds", seconds_of(make))
        os.sync()
        yield queues


# --- a result beside so many rows ---------------------------------------------------------------


def _results(queues: dict[str, BenchQueue], size: Size, found: Figures) -> None:
    """Results per second where the CSV has few rows, and where it has many."""
    beside = {rows: queues[f"rows-{rows}"] for rows in size.rows}
    for queue in beside.values():
        queue.start()
    for _ in range(size.rounds):
        for rows, queue in beside.items():
            for count, results in ((CLIENTS, size.results), (1, size.alone)):
                given = queue.claim({f"c{n}": results // count for n in range(count)})
                os.sync()
                found.add(f"rows/{count}/{rows}", clients.run("submit", queue, given).rate)
        for rows, queue in beside.items():
            found.add(f"rows/mb/{rows}", queue.memory_mb)
    for queue in beside.values():
        queue.stop()


# --- a claim among so many tasks ----------------------------------------------------------------


def _claims(queues: dict[int, BenchQueue], size: Size, found: Figures) -> None:
    """Microseconds in the database, ours and a bare one's; milliseconds over the socket."""
    for count, queue in queues.items():
        bare.insert(queue.root / "bare.db", count)
    for _ in range(size.rounds):
        for count, queue in queues.items():
            found.add(f"claim/store_us/{count}", _store_us(queue, min(CLAIMS, count // 3)))
            with bare.opened(queue.root / "bare.db") as base:
                bare.claims_us(base, WARM)
                found.add(f"claim/bare_us/{count}", bare.claims_us(base, min(CLAIMS, count // 3)))
    for queue in queues.values():
        queue.start()
    for _ in range(size.rounds):
        for count, queue in queues.items():
            found.add(f"claim/socket_ms/{count}", _socket_ms(queue, min(CLAIMS, count // 20)))
    for queue in queues.values():
        queue.stop()


def _store_us(queue: BenchQueue, count: int) -> float:
    """What the manager's thread does for a claim, one after the other; given up at the end."""
    home = Home(queue.home)
    with HomeLock(home):
        writer = engine.open_writer(home)
        with writer.connect() as connection:
            transaction = connection.begin()
            report = Report("claimer", time.time())

            def claim() -> None:
                [(key, _)] = reading.candidates(connection, False, 1)
                free = starting.by_key(connection, [key])[key]
                starting.begin(connection, [starting.Start(free, report, None, 60.0)])

            for _ in range(WARM):
                claim()
            seconds = seconds_of(lambda: [claim() for _ in range(count)])
            transaction.rollback()
        writer.dispose()
    return 1e6 * seconds / count


def _socket_ms(queue: BenchQueue, count: int) -> float:
    """From the question to the answer, the commit between them included."""
    with queue.connection() as ask:
        seconds = seconds_of(lambda: [
            ask(type="request_task", worker_id="claimer", lease_seconds=86400)
            for _ in range(count)
        ])  # fmt: skip
    return 1000 * seconds / count


# --- `status` of a million tasks ---------------------------------------------------------------


def _status(queue: BenchQueue, size: Size, found: Figures) -> None:
    """Before anything else: a task that is claimed and left would be in every answer."""
    queue.start()
    status_beside(queue, size.rounds, 2 * size.results, found)
    queue.stop()


# --- a million tasks ------------------------------------------------------------------------------


def _wide(queue: BenchQueue, size: Size, found: Figures) -> None:
    queue.start()
    found.add("million/manager_mb", queue.memory_mb)
    held = queue.claim({f"w{number}": 1 for number in range(size.workers)})
    for _ in range(size.rounds):
        _come_back(queue, held, size.busy, found)
    found.add("million/manager_mb_workers", queue.memory_mb)
    found.add("million/tasks", size.wide.tasks)
    found.add("million/workers", size.workers)
    queue.stop()


def _come_back(
    queue: BenchQueue, held: dict[str, list[clients.Given]], busy_tasks: int, found: Figures
) -> None:
    """The manager is killed while clients submit; all workers wait for the next one."""
    busy = clients.start("together", queue, clients.requests(CLIENTS, busy_tasks))
    time.sleep(BUSY_SECONDS)
    queue.kill()
    clients.end(busy)
    found.add("million/sqlalchemy_ms", process_ms(SQLALCHEMY, queue.root))
    returning = clients.start("return", queue, held)
    time.sleep(BUSY_SECONDS)
    begun = time.perf_counter()
    queue.begin_start()
    done = clients.finish(returning)
    queue.await_start()
    found.add("million/ready_seconds", min(done.waits) - begun)
    found.add("million/workers_seconds", max(done.waits) - begun)
