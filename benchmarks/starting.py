"""How long whole processes take from their start to their end.

Promises: what is compared takes turns, so that a busy moment falls on all of it alike.
"""

from __future__ import annotations

import subprocess
import sys
from collections import defaultdict
from pathlib import Path

from benchmarks.bench_queue import bench_queue, command, environment
from benchmarks.measure import Series, seconds_of

PYTHON = [sys.executable, "-c", "pass"]


def measure(folder: Path, tasks: int, runs: int) -> dict[str, Series]:
    """Milliseconds of `python -c pass`, `--help`, and `status` with and without a manager."""
    found: dict[str, Series] = defaultdict(Series)
    with bench_queue(folder) as queue:
        queue.init(tasks)
        for _ in range(runs):
            found["python"].values.append(process_ms(PYTHON, queue.root))
            found["help"].values.append(process_ms(command("--help"), queue.root))
            found["down"].values.append(process_ms(command("status"), queue.root))
        queue.start()
        for _ in range(runs):
            found["up"].values.append(process_ms(command("status"), queue.root))
    return found


def process_ms(arguments: list[str], folder: Path) -> float:
    def run() -> None:
        subprocess.run(
            arguments, cwd=folder, env=environment(), stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, check=True,
        )  # fmt: skip

    return 1000 * seconds_of(run)
