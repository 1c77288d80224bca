"""A queue for two directories, `ill` and `well`, one of whose disks breaks and is cured.

The pattern (`works`): what needs the broken disk gets no ack and is kept by the worker, the rest
goes on; when the disk is well again everything arrives with nobody's help: the same manager, the
same worker, and `verify` is clean.  Promises: what a `site` started has ended, and is audited,
before its disks are taken away.  What is not here: how a disk breaks.
"""

from __future__ import annotations

import csv
import json
import subprocess
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from child_bench import MARK, marked
from tally import count
from worker_queue import Queue

from conftest import Audits
from sqlqueue.home import NAME, Home
from support import Cli, ManagerProcess, environment, wait_until

SECONDS = 45.0
SEEDS = [1, 2]
QUICK = "grace_seconds=2.0, lease_seconds=5.0"


@dataclass
class Site:
    """A root with the directories `ill` and `well`; disks are mounted before there is a queue."""

    root: Path
    audits: Audits
    disks: ExitStack
    mark: str
    queue: Queue = field(init=False)
    worker: subprocess.Popen[bytes] = field(init=False)
    before: int = 0

    @property
    def home(self) -> Path:
        return self.root / NAME

    @property
    def state(self) -> Path:
        return self.root / "state"

    def begin(self, rows: bool = True) -> None:
        """A queue whose tasks all run and wait; by default each CSV has a row already."""
        home = self.audits(Home(self.home))
        home.create()
        cli = Cli(self.root, environment(self.state, {MARK: self.mark}))
        manager = ManagerProcess(home, cli, self.root / "manager.output", afresh=True)
        self.queue = Queue(home, cli, manager)
        self.queue.manager.start()
        self.before = int(rows)
        if rows:
            self.init(SEEDS[:1])
            self.queue.go()
            assert self.queue.work("cpu=True, slots=2") == 0
            (self.root / "go").unlink()
        self.init(SEEDS)
        left = len(SEEDS) - self.before
        self.worker = self.queue.worker(f"cpu=True, slots={2 * left}, {QUICK}")
        wait_until(lambda: len(list(self.root.glob("started-*"))) == 2 * len(SEEDS), SECONDS)

    def init(self, seeds: list[int]) -> None:
        phases = {
            name: {
                "experiment": "misbehaving:gated",
                "output_dir": f"{name}/results",
                "combinations": [{"seed": seeds}, {"where": [name]}],
            }
            for name in ("ill", "well")
        }
        (self.root / "sweep.yaml").write_text(json.dumps(phases))
        self.queue.cli.set_up("init", "sweep.yaml")

    def rows(self, name: str) -> int:
        path = self.root / name / "results" / "final_results.csv"
        try:
            with path.open() as file:
                return len(list(csv.DictReader(file)))
        except OSError:
            return 0

    def acked(self, name: str) -> int:
        """A row may stand in a CSV before it is real, until it is cut off: the database tells."""
        outcomes = [(task, outcome) for task, _, outcome in self.queue.attempts()]
        return sum(task.startswith(name) and how == "COMPLETED" for task, how in outcomes)

    def kept(self) -> list[Path]:
        """Results of `ill` that are kept as files, wherever that is."""
        return sorted(self.root.glob("**/ill_*.json")) + sorted(self.home.glob("**/ill_*.json"))

    def trouble(self, name: str) -> str | None:
        """What `status` says of the directory."""
        found = {each["output_dir"]: each for each in self.queue.status()["directories"]}
        told = found[f"{name}/results"]["trouble"]
        return None if told is None else str(told)

    def arrives(self, name: str) -> None:
        wait_until(lambda: self.rows(name) == len(SEEDS), SECONDS, f"{name}\n{self.said}")

    def says(self, text: str, times: int = 1) -> None:
        wait_until(lambda: self.said.count(text) >= times, SECONDS, f"{text!r} in\n{self.said}")

    @property
    def said(self) -> str:
        return f"{self.queue.said}\n-- manager\n{self.queue.manager.said}"

    def end(self) -> None:
        if not hasattr(self, "queue"):
            return  # it never began
        self.queue.end()
        if self.queue.manager.process is not None:
            self.queue.manager.stop()


@pytest.fixture
def site(tmp_path: Path, audit_on_exit: Audits) -> Iterator[Site]:
    with ExitStack() as disks:
        made = Site(tmp_path, audit_on_exit, disks, uuid.uuid4().hex)
        try:
            yield made
        finally:
            made.end()
        wait_until(lambda: not marked(made.mark), SECONDS, "the end of all that was started")
        audit_on_exit.run()
        audit_on_exit.homes.clear()  # they are about to be unmounted


def works(
    site: Site, broken: Callable[[], Any], cured: Callable[[], Any], *, well: bool,
    unknown: bool = False,
) -> None:  # fmt: skip
    """The pattern.  `well`: the other directory must go on meanwhile.

    `unknown`: what has no ack may have been committed all the same.
    """
    broken()
    site.queue.go()
    if well:
        site.arrives("well")
    site.says("Saved locally", (len(SEEDS) - site.before) * (1 if well else 2))
    assert len(site.kept()) >= len(SEEDS) - site.before, site.said
    assert unknown or site.acked("ill") == site.before, site.said
    assert site.worker.poll() is None, site.said
    cured()
    site.arrives("ill")
    site.arrives("well")
    assert site.worker.wait(SECONDS) == 0, site.said
    assert site.kept() == [], site.said
    totals = site.queue.status()["totals"]
    assert totals["completed"] == 2 * len(SEEDS), totals
    assert site.queue.manager.stop() == 0, site.said  # it may have the database to itself
    assert {outcome for *_, outcome in site.queue.attempts()} == {"COMPLETED"}
    assert "Traceback" not in site.said
    count("recoveries")
