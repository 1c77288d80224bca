"""`python -m benchmarks`: measures, and writes the page.

--quick          everything once and small: only shows that it runs
--output FILE    where the page goes (default: docs/PERFORMANCE.md; `-`: the terminal)
--folder DIR     where the queues are made: its disk is what is measured (default: here)
"""

from __future__ import annotations

import argparse
import datetime
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from benchmarks import growing, machine, starting, throughput, training
from benchmarks.measure import seconds_of
from benchmarks.page import Run, page
from benchmarks.throughput import CLIENTS, Size

QUICK = Size(rows=CLIENTS, rounds=1, many=CLIENTS * 2, alone=5, naive=1, bare=5)
FULL_SIZES, QUICK_SIZES = {1_000: 5, 20_000: 3, 100_000: 1}, {100: 1}
"""How many cells, and how often each `init` is timed."""


Found = TypeVar("Found")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--output", default="docs/PERFORMANCE.md")
    parser.add_argument("--folder", type=Path, default=Path.cwd())
    return parser.parse_args()


def main() -> None:
    given = arguments()
    text = page(measured(given.folder.resolve(), given.quick))
    if given.output == "-":
        print(text)
    else:
        Path(given.output).write_text(text, encoding="utf-8")
        say(f"written: {given.output}")


def measured(folder: Path, quick: bool) -> Run:
    before = os.getloadavg()[0]
    size, sizes = (QUICK, QUICK_SIZES) if quick else (Size(), FULL_SIZES)
    tasks, runs = (100, 1) if quick else (2_000, 10)
    shapes, turns = (training.QUICK_SHAPES, 1) if quick else (training.SHAPES, 5)
    return Run(
        machine=machine.described(folder),
        command=" ".join(["python -m benchmarks", *(["--quick"] if quick else [])]),
        date=f"{datetime.date.today():%d %B %Y}",
        throughput=told("results per second", lambda: throughput.measure(folder, size)),
        starting=told("start to end", lambda: starting.measure(folder, tasks, runs)),
        tasks=tasks,
        growing=told("large queues", lambda: growing.measure(folder, sizes)),
        training=told("training", lambda: training.measure(folder, shapes, turns)),
        load=(before, os.getloadavg()[0]),
    )


def told(what: str, measure: Callable[[], Found]) -> Found:
    """What `measure` returns; says how long it took."""
    found: list[Found] = []
    say(f"{what} ...")
    seconds = seconds_of(lambda: found.append(measure()))
    say(f"{what}: {seconds:.0f} s")
    return found[0]


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
