"""Real processes killed again and again while they work: nothing lost, doubled or torn.

Two workers run tasks that are linked to two directories each; once a second the manager is
killed and started again, now and then a worker or a child too.  Seeded: which, and when, is the
same every time; what it meets is not.
"""

from __future__ import annotations

import contextlib
import csv
import json
import random
import sqlite3
import subprocess
import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field

import psutil
import pytest

from conftest import audit
from sqlqueue.home import Home
from support import Cli, ManagerProcess

EXPERIMENT = """
import os, time

def measure(seed: int) -> dict:
    time.sleep(0.02)
    return {"value": seed / 3, "pid": os.getpid()}
"""
FOLDERS = ("one", "two")
BEAT_SECONDS = 1.0


@dataclass
class Campaign:
    """Who works, and who was killed."""

    home: Home
    cli: Cli
    manager: ManagerProcess
    tasks: int
    chance: random.Random
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)
    killed: Counter[str] = field(default_factory=Counter)

    def begin(self) -> None:
        (self.home.root / "trial.py").write_text(EXPERIMENT)
        for folder in FOLDERS:
            sweep = {
                "defaults": {"output_dir": folder, "experiment": "trial:measure"},
                folder: {"max_attempts": 50, "combinations": [{"seed": list(range(self.tasks))}]},
            }
            (self.home.root / f"{folder}.yaml").write_text(json.dumps(sweep))
        self.cli.ok("init", *(f"{folder}.yaml" for folder in FOLDERS))
        self.manager.start()
        self.workers = [self.worker() for _ in range(2)]

    def worker(self) -> subprocess.Popen[bytes]:
        output = self.home.root / "workers.output"
        return self.cli.start("work", "--cpu", "--slots", "1", output=output)

    def go(self, seconds: float) -> None:
        """Kills until both workers have ended because all is done."""
        deadline = time.monotonic() + seconds
        while not self.ended(BEAT_SECONDS):
            assert time.monotonic() < deadline, f"not done after {seconds:g} s: {self.said[-3000:]}"
            self.strike()
        assert [each.returncode for each in self.workers] == [0, 0], self.said[-3000:]

    def ended(self, seconds: float) -> bool:
        """Whether both have ended; waits for it so long."""
        deadline = time.monotonic() + seconds
        try:
            for each in self.workers:
                each.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            return False
        return True

    def strike(self) -> None:
        if self.chance.random() < 0.3:
            self.kill_a_worker()
        elif self.chance.random() < 0.5:
            self.kill_a_child()
        self.manager.kill()
        self.killed["manager"] += 1
        self.manager.start()

    def kill_a_worker(self) -> None:
        number = self.chance.randrange(2)
        if self.workers[number].poll() is None:
            self.workers[number].kill()
            self.workers[number].wait()
            self.killed["worker"] += 1
            self.workers[number] = self.worker()

    def kill_a_child(self) -> None:
        worker = self.workers[self.chance.randrange(2)]
        with contextlib.suppress(psutil.NoSuchProcess):  # it may just have ended by itself
            for process in psutil.Process(worker.pid).children(recursive=True):
                if "sqlqueue.worker.child" in " ".join(process.cmdline()):
                    process.kill()
                    self.killed["child"] += 1

    def end(self) -> None:
        for each in self.workers:
            if each.poll() is None:
                each.kill()
                each.wait()

    @property
    def said(self) -> str:
        return (self.home.root / "workers.output").read_text(errors="replace")

    # --- what must hold -----------------------------------------------------------------

    def rows(self, folder: str) -> list[dict[str, str]]:
        data = (self.home.root / folder / "final_results.csv").read_bytes()
        assert data.endswith(b"\n")
        assert data.count(b"\n") == self.tasks + 1, "one row is one line, and none is torn"
        return list(csv.DictReader(data.decode().splitlines()))

    def check(self) -> None:
        one, two = (self.rows(folder) for folder in FOLDERS)
        assert sorted(int(row["seed"]) for row in one) == list(range(self.tasks))
        assert all(float(row["value"]) == int(row["seed"]) / 3 for row in one)
        by_task = {row["task_id"]: row for row in one}
        assert {row["task_id"]: row for row in two} == by_task
        assert len(by_task) == self.tasks
        assert list(self.home.root.glob("**/unsubmitted/*.json")) == []
        assert list(self.home.root.glob("*/*set-aside*")) == []
        assert self.query("SELECT state, count(*) FROM tasks GROUP BY state") == [
            ("COMPLETED", self.tasks)
        ]
        assert audit(self.home) == []
        self.cli.ok("verify")

    def query(self, sql: str) -> list[tuple[object, ...]]:
        with closing(sqlite3.connect(f"file:{self.home.database}?mode=ro", uri=True)) as base:
            return base.execute(sql).fetchall()

    def told(self) -> str:
        outcomes = dict(self.query("SELECT outcome, count(*) FROM attempts GROUP BY outcome"))
        tails = len(list(self.home.salvage.iterdir()))
        return f"killed {dict(self.killed)}; attempts {outcomes}; {tails} torn tails cut off"


def campaign(
    home: Home, cli: Cli, manager: ManagerProcess, tasks: int, seed: int, seconds: float
) -> Campaign:
    made = Campaign(home, cli, manager, tasks, random.Random(seed))
    try:
        made.begin()
        made.go(seconds)
        made.check()
    finally:
        made.end()
    return made


def fights(home: Home, cli: Cli, manager: ManagerProcess, seed: int) -> None:
    made = campaign(home, cli, manager, tasks=200, seed=seed, seconds=800.0)
    assert made.killed["manager"] >= 3
    print(made.told())


@pytest.mark.timeout(900)
def test_two_hundred_tasks(home: Home, cli: Cli, manager_process: ManagerProcess) -> None:
    fights(home, cli, manager_process, 1)


@pytest.mark.crash
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", [2, 3, 4, 5])
def test_again_and_again(home: Home, cli: Cli, manager_process: ManagerProcess, seed: int) -> None:
    fights(home, cli, manager_process, seed)
