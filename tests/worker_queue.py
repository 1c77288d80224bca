"""A queue of test experiments with real workers on it, for tests that signal and kill them.

Promises: every worker started here is ended here, by its own process id.  What is not
here: the manager, which the test starts and stops itself.
"""

from __future__ import annotations

import csv
import json
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil

from sqlqueue.home import Home
from support import Cli, ManagerProcess, wait_until

EXPERIMENTS = Path(__file__).with_name("experiments_for_tests.py")
SECONDS = 30.0

SCRIPT = """
import logging, sys
from pathlib import Path
from sqlqueue.home import Home
from sqlqueue.worker.supervisor import WorkOptions, work
logging.basicConfig(level=logging.INFO, format="%(message)s")
sys.exit(work(WorkOptions(home=Home(Path({home!r})), {options})))
"""


class Queue:
    """A queue of test experiments, and the workers started on it."""

    def __init__(self, home: Home, cli: Cli, manager: ManagerProcess) -> None:
        self.home = home
        self.root = home.root
        self.cli = cli
        self.manager = manager
        self.workers: list[subprocess.Popen[bytes]] = []
        self.output = self.root / "worker.output"
        for each in (EXPERIMENTS, EXPERIMENTS.with_name("misbehaving.py")):
            shutil.copy(each, self.root)

    def init(self, function: str, seeds: list[int], **settings: Any) -> None:
        phase = {
            "experiment": f"experiments_for_tests:{function}",
            "output_dir": "results",
            "combinations": [{"seed": seeds}, *settings.pop("more", [])],
            **settings,
        }
        (self.root / "sweep.yaml").write_text(json.dumps({"exp": phase}))
        self.cli.set_up("init", "sweep.yaml")

    def worker(self, options: str = "cpu=True, grace_seconds=5.0") -> subprocess.Popen[bytes]:
        script = SCRIPT.format(home=str(self.home.path), options=options)
        with self.output.open("ab") as sink:
            process = subprocess.Popen(
                [sys.executable, "-c", script], cwd=self.root, env=self.cli.environment,
                stdin=subprocess.DEVNULL, stdout=sink, stderr=sink,
            )  # fmt: skip
        self.workers.append(process)
        return process

    def work(self, options: str = "cpu=True") -> int:
        return self.worker(options).wait(SECONDS)

    @property
    def said(self) -> str:
        return self.output.read_text() if self.output.exists() else ""

    def says(self, text: str) -> None:
        wait_until(lambda: text in self.said, SECONDS, f"{text!r} in\n{self.said}")

    def rows(self) -> list[dict[str, str]]:
        path = self.root / "results" / "final_results.csv"
        return list(csv.DictReader(path.open())) if path.exists() else []

    def status(self) -> dict[str, Any]:
        found = json.loads(self.cli.ok("status", "--json"))
        assert isinstance(found, dict)
        return found

    def attempts(self) -> list[tuple[str, int, str]]:
        """(task, attempt, outcome), as the database has them."""
        base = sqlite3.connect(f"file:{self.home.database}?mode=ro", uri=True)
        sql = (
            "SELECT task_id, number, coalesce(outcome, 'RUNNING') FROM attempts "
            "JOIN tasks USING (signature) ORDER BY 1, 2"
        )
        try:
            return [(str(a), int(b), str(c)) for a, b, c in base.execute(sql)]
        finally:
            base.close()

    def started(self, seed: int = 1) -> list[int]:
        """The process ids that an experiment wrote when it began."""
        path = self.root / f"started-{seed}"
        wait_until(lambda: path.exists() and path.read_text(), SECONDS, f"{path.name}\n{self.said}")
        return list(map(int, path.read_text().split()))

    def go(self) -> None:
        (self.root / "go").touch()

    def unsubmitted(self) -> list[Path]:
        return sorted((self.root / "results" / "unsubmitted").glob("*.json"))

    def end(self) -> None:
        for process in self.workers:
            if process.poll() is None:
                process.kill()
            process.wait()


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
