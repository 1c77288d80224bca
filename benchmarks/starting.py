"""How long whole processes take from their start to their end.

Promises: what is compared takes turns, so that a busy moment falls on all of it alike.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from benchmarks.bench_queue import bench_queue, command, environment
from benchmarks.measure import Figures, seconds_of

PYTHON = [sys.executable, "-c", "pass"]
SQLALCHEMY = [sys.executable, "-c", "import sqlalchemy"]


def measure(folder: Path, quick: bool) -> Figures:
    """Milliseconds of `--help`, of `status` with and without a manager, and of two that do
    nothing but start: Python, and Python with the library that reads the database."""
    tasks, runs = (100, 1) if quick else (2_000, 10)
    found = Figures()
    found.add("start/tasks", tasks)
    with bench_queue(folder) as queue:
        queue.init(tasks)
        bare = {"python": PYTHON, "sqlalchemy": SQLALCHEMY}
        for turns in ({"help": command("--help"), "down": command("status")},
                      {"up": command("status")}):  # fmt: skip
            if "up" in turns:
                queue.start()
            for _ in range(runs):
                for name, arguments in (bare | turns).items():
                    kind = f"{name}_up" if name in bare and "up" in turns else name
                    found.add(f"start/{kind}", process_ms(arguments, queue.root))
    return found


def process_ms(arguments: list[str], folder: Path) -> float:
    def run() -> None:
        subprocess.run(
            arguments, cwd=folder, env=environment(), stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, check=True,
        )  # fmt: skip

    return 1000 * seconds_of(run)
