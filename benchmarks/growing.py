"""`init`: of many cells, of the same again, and of a directory that is to have what is there.

What is not here: what must not grow with a queue (`scale.py`).
"""

from __future__ import annotations

from pathlib import Path

from benchmarks import bare, large
from benchmarks.bench_queue import DIRECTORIES, BenchQueue, bench_queue
from benchmarks.measure import Figures, rounds

SIZES = {1_000: 20.0, 100_000: 120.0}
"""By number of cells how many seconds may pass before no further round is begun."""
ROUNDS = 5
LATER = 100_000
LATER_SECONDS = 120.0
MILLION = 1_000_000


def measure(folder: Path, quick: bool) -> Figures:
    """Seconds and megabytes of whole processes, `init/...`; each in a new folder."""
    found = Figures()
    sizes = {100: 1.0} if quick else dict(SIZES)
    for cells, budget in sizes.items():
        for _ in rounds(1 if quick else ROUNDS, budget):
            _init(folder, cells, found)
    _later(folder, 100 if quick else LATER, 1 if quick else ROUNDS, found)
    return found


def million(folder: Path, found: Figures) -> None:
    """Once, since it takes minutes."""
    _init(folder, MILLION, found)


def _init(folder: Path, cells: int, found: Figures) -> None:
    with bench_queue(folder) as queue:
        files, tasks = _overlapping(queue, cells)
        for what in ("first", "again"):
            seconds, megabytes = queue.run("init", *files)
            found.add(f"init/{what}/{cells}", seconds)
            found.add(f"init/{what}_mb/{cells}", megabytes)
        _overlapping(queue, cells, more=1)
        seconds, _ = queue.run("init", *files)
        found.add(f"init/more/{cells}", seconds)
        found.add(f"init/bare/{cells}", bare.insert(queue.root / "bare.db", tasks))


def _overlapping(queue: BenchQueue, cells: int, more: int = 0) -> tuple[list[str], int]:
    """Two sweep files of half of the cells each, of which half again are in both; how many tasks
    that makes.  `more`: values that are added to one parameter of both."""
    seeds = max(2, cells // 200)
    sizes, shift = cells // (2 * seeds), seeds // 2
    for number, directory in enumerate(DIRECTORIES):
        combinations = {
            "seed": f"range({number * shift}, {number * shift + seeds})",
            "batch_size": f"range(1, {sizes + 1 + more})", "dataset": "digits",
        }  # fmt: skip
        phase = {"output_dir": directory, "combinations": combinations}
        queue.write({f"for_{directory}": phase}, f"{directory}.yaml")
    return [f"{each}.yaml" for each in DIRECTORIES], (seeds + shift) * sizes


def _later(folder: Path, rows: int, most: int, found: Figures) -> None:
    """Directories that are added when so many tasks have a result."""
    with bench_queue(folder) as queue:
        large.make(queue, large.Plan(rows, rows))
        found.add("later/rows", rows)
        for number in rounds(most, LATER_SECONDS):
            _one_later(queue, rows, number, found)
        if most > 1:
            queue.run("verify")


def _one_later(queue: BenchQueue, rows: int, number: int, found: Figures) -> None:
    sweep = large.Plan(rows, rows).sweep(rows)
    sweep["phase0"]["output_dir"] = f"later_{number}"
    queue.write({f"later_{number}": sweep["phase0"]}, "later.yaml")
    seconds, megabytes = queue.run("init", "later.yaml")
    found.add("later/seconds", seconds)
    found.add("later/mb", megabytes)
    to = queue.root / f"bare_{number}.csv"
    found.add("later/bare_seconds", bare.copy_rows(queue.home / "queue.db", to))
