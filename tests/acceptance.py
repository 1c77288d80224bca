"""What the acceptance tests share: a study in a folder, worked on by real commands.

`Study` writes sweep files, runs commands, starts workers and reads what they leave: rows,
figures, how often each cell ran.  Promises: what a study started has ended when its test
leaves.  What is not here: what is to be true (`test_acceptance_*.py`), and anything that
stands in for a real part.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from sqlqueue.home import Home
from support import Cli, ManagerProcess, wait_until

EXPERIMENTS = Path(__file__).with_name("acceptance_experiments.py")
MODULE = "trial"
SECONDS = 40.0


@dataclass
class Study:
    """A folder with sweep files, experiments (`trial.py`) and the queue of both."""

    cli: Cli
    manager: ManagerProcess
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        shutil.copy(EXPERIMENTS, self.root / f"{MODULE}.py")

    @property
    def root(self) -> Path:
        return self.cli.root

    @property
    def home(self) -> Home:
        return self.manager.home

    # --- what a person does -------------------------------------------------------------

    def write(
        self, name: str, output_dir: str, function: str = "measure", phase: str = "grid",
        **settings: Any,
    ) -> str:  # fmt: skip
        """A sweep file with one phase; returns the file's name."""
        defaults = {"output_dir": output_dir, "experiment": f"{MODULE}:{function}"}
        text = json.dumps({"defaults": defaults, phase: settings})  # JSON is YAML
        (self.root / name).write_text(text)
        return name

    def init(self, *files: str) -> str:
        return self.cli.ok("init", *files)

    def set_up(self, *files: str) -> None:
        """`init` where the test is about what comes after it."""
        self.cli.set_up("init", *files)

    def run(self, *files: str) -> str:
        return self.cli.ok("run", *files, seconds=SECONDS)

    def work(self, *options: str) -> None:
        """A worker, from its start to its end."""
        self.worker(*options)
        assert self.worker_ends() == 0, self.said

    def worker(self, *options: str) -> subprocess.Popen[bytes]:
        """A worker left running."""
        process = self.cli.start("work", "--cpu", *options, output=self.output)
        self.workers.append(process)
        return process

    def worker_ends(self) -> int:
        """The exit status of the last worker."""
        return self.workers[-1].wait(SECONDS)

    def go(self, name: str = "go") -> None:
        """Lets the experiments that wait for this file end."""
        (self.root / name).touch()

    # --- what is there afterwards -------------------------------------------------------

    @property
    def output(self) -> Path:
        return self.root / "worker.output"

    @property
    def said(self) -> str:
        """What the workers have written so far."""
        return self.output.read_text(errors="replace") if self.output.exists() else ""

    def says(self, text: str) -> None:
        """Waits until the workers have said it."""
        wait_until(lambda: text in self.said, SECONDS, f"{text!r} from the workers")

    def rows(self, directory: str) -> list[dict[str, str]]:
        return rows_of(self.root / directory / "final_results.csv")

    def widths(self, directory: str) -> list[int]:
        """Of which widths there are rows."""
        return sorted(int(row["width_factor"]) for row in self.rows(directory))

    def runs(self) -> list[str]:
        """What the experiments left behind: a line whenever one of them was called."""
        path = self.root / "runs.txt"
        return path.read_text().split() if path.exists() else []

    def figures(self) -> dict[str, Any]:
        found = json.loads(self.cli.ok("status", "--json"))
        assert isinstance(found, dict)
        return found

    def totals(self) -> dict[str, int]:
        """The counts that are not zero, `total` left out."""
        counts: Mapping[str, int] = self.figures()["totals"]
        return {key: count for key, count in counts.items() if count and key != "total"}

    def attempts(self) -> list[str]:
        """The outcomes of all attempts in the order in which they began."""
        with closing(sqlite3.connect(f"file:{self.home.database}?mode=ro", uri=True)) as base:
            sql = "SELECT coalesce(outcome, 'RUNNING') FROM attempts ORDER BY id"
            return [str(outcome) for (outcome,) in base.execute(sql)]

    def unsubmitted(self, directory: str = "results") -> list[str]:
        return sorted(path.name for path in (self.root / directory / "unsubmitted").glob("*"))

    def started(self, seed: int) -> list[int]:
        """Waits until the experiment with this seed runs; the processes that it told of."""
        path = self.root / f"started-{seed}"
        wait_until(lambda: path.exists() and path.read_text(), SECONDS, f"the start of {seed}")
        return [int(pid) for pid in path.read_text().split()]

    def end(self) -> None:
        for process in self.workers:
            if process.poll() is None:
                process.kill()
            process.wait()


def rows_of(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV; none when there is no file."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def is_gone(pid: int) -> bool:
    """Whether a process has ended, reaped or not."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def snapshot(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """Every name below a folder, the folder included: mode, modification time, content."""
    return {
        str(each.relative_to(folder)): (*_look(each), _content(each))
        for each in [folder, *sorted(folder.rglob("*"))]
    }


def _look(path: Path) -> tuple[int, int]:
    found = path.stat(follow_symlinks=False)
    return found.st_mode, found.st_mtime_ns


def _content(path: Path) -> bytes:
    if path.is_symlink():
        return os.fsencode(path.readlink())
    return path.read_bytes() if path.is_file() else b""


def heeding_ctrl_c() -> Iterator[None]:
    """While this lasts, what is started heeds Ctrl-C, although we may have been told not to.

    A program started in the background of a script ignores it, and so do its children; a
    handler of our own becomes the default in them.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
