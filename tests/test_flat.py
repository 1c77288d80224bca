"""What one act costs is the same in a queue of a thousand tasks and of a hundred thousand.

Counted, not timed: statements, rows visited, syncs, bytes.  `MOST` says what each may cost; a
figure that a change makes smaller is to be made smaller here too.  The acts are those of the
manager's core in this process; what is not here: sockets and threads.
"""

from __future__ import annotations

import sqlite3
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
import statements
from crash_scenarios import Desk
from large_queue import Size, make
from spending import CountingDisk, Spent, cost_of

from sqlqueue.home import NAME, Home
from sqlqueue.protocol import Ack, Request, RequestTask, SubmitResult, TaskReply
from sqlqueue.store import summary
from sqlqueue.store.audit import verify
from sqlqueue.store.engine import Reader
from support import later

SMALL = 1_000
LARGE = 100_000
LARGEST = 1_000_000
MANY = 64
RUNNING = 200
MOST_FETCHED = 80

MOST: dict[str, Spent] = {
    "status": Spent(statements=17, steps=13_500, commits=1),
    "status, no manager": Spent(statements=19, steps=19_000, commits=1),
    "a claim": Spent(statements=11, steps=1_200, commits=1, log_bytes=90_000),
    "64 claims": Spent(statements=18, steps=35_000, commits=1, log_bytes=1_100_000),
    "a submission": Spent(
        statements=14, steps=1_150, commits=1, file_syncs=2, csv_bytes=200, log_bytes=90_000
    ),
    "64 submissions": Spent(
        statements=99, steps=53_000, commits=1, file_syncs=50, csv_bytes=6_000, log_bytes=1_100_000
    ),
    "a tick": Spent(statements=5, steps=100, commits=1),
}
"""What each act may cost, at any size.  A commit that wrote something is a sync, of the log."""
GROWING = {"log_bytes"}
"""Pages that in a small queue many rows share: bounded, and not the same at any size."""
ROUGHLY = 1.3
"""So many times more the rest may be: a small queue has less than what is looked at at most."""


FEW = {
    *("ix_tasks_rerun", "ix_attempts_running", "ix_attempts_running_worker"),
    "ix_attempts_request",
}
"""Indexes of what runs, or runs once more, alone."""


@dataclass
class Queue:
    """A queue of so many tasks, its manager's core open."""

    home: Home
    disk: CountingDisk
    desk: Desk
    reader: Reader
    runs: Iterator[tuple[str, str]]

    @classmethod
    def made(cls, root: Path, size: int) -> Queue:
        root.mkdir()
        home = Home(root / NAME)
        make(home, Size(size, running=RUNNING))
        disk = CountingDisk()
        desk = Desk(home, disk)
        desk.committer.open()
        with closing(sqlite3.connect(home.database)) as base:
            runs = base.execute(
                "SELECT tasks.task_id, attempts.worker_id FROM attempts "
                "JOIN tasks ON tasks.signature = attempts.signature WHERE outcome IS NULL"
            ).fetchall()
        return cls(home, disk, desk, Reader(home, own_writer=True), iter(runs))

    def say(self, kind: type, *requests: Request) -> None:
        replies = self.desk.say(*requests)
        assert {type(each) for each in replies} == {kind}, replies

    # --- acts -----------------------------------------------------------------------------

    def status(self) -> None:
        found = summary.figures(self.home, self.reader)
        assert found["totals"]["running"]

    def status_alone(self) -> None:
        assert summary.offline_status(self.home)["totals"]["running"]

    def claim(self, count: int = 1) -> None:
        asked = (RequestTask(worker_id=f"claims{number}") for number in range(count))
        self.say(TaskReply, *asked)

    def submit(self, count: int = 1) -> None:
        self.say(Ack, *(self._result() for _ in range(count)))

    def _result(self) -> SubmitResult:
        task_id, worker_id = next(self.runs)
        return SubmitResult(
            task_id=task_id, worker_id=worker_id, seconds=1.5,
            result_data={"score": 12, "loss": 0.5},
        )  # fmt: skip


ACTS: dict[str, Callable[[Queue], None]] = {
    "status": Queue.status,
    "status, no manager": Queue.status_alone,
    "a claim": Queue.claim,
    "64 claims": lambda queue: queue.claim(MANY),
    "a submission": Queue.submit,
    "64 submissions": lambda queue: queue.submit(MANY),
    "a tick": lambda queue: queue.desk.later(1.0),
}


def costs(root: Path, size: int) -> dict[str, Spent]:
    """What each act costs, done for the second time: the first one compiles its statements."""
    queue = Queue.made(root, size)
    try:
        found = {}
        for name, act in ACTS.items():
            act(queue)
            found[name] = cost_of(queue.home, queue.disk, lambda act=act: act(queue))
        return found
    finally:
        queue.desk.committer.close()


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Spent]:
    return costs(tmp_path_factory.mktemp("flat") / "small", SMALL)


def too_much(found: dict[str, Spent], small: dict[str, Spent]) -> list[str]:
    """What an act costs beyond what it may, or more than in a small queue."""
    wrong = []
    for name, spent in found.items():
        most, before = MOST[name].as_dict(), small[name].as_dict()
        for what, cost in spent.as_dict().items():
            if cost > most[what]:
                wrong.append(f"{name}: {what} {cost:,} of {most[what]:,}")
            elif what not in GROWING and cost > ROUGHLY * before[what]:
                wrong.append(f"{name}: {what} {cost:,}, and {before[what]:,} in a small queue")
    return wrong


@pytest.mark.parametrize("size", [LARGE, *later(LARGEST)])
@pytest.mark.timeout(900)
def test_an_act_costs_the_same_in_a_queue_of_any_size(
    size: int, small: dict[str, Spent], tmp_path: Path
) -> None:
    assert too_much(small, small) == []
    assert too_much(costs(tmp_path / "large", size), small) == []


def test_the_queues_that_are_compared_are_queues(tmp_path: Path) -> None:
    """Those made in bulk are as if thousands of commands had made them."""
    queue = Queue.made(tmp_path / "queue", SMALL)
    for act in ACTS.values():
        act(queue)
    queue.desk.committer.close()
    assert list(verify(queue.home)) == []


def test_status_fetches_few_rows_one_by_one(tmp_path: Path) -> None:
    """At each the interpreter is given up, and a busy manager does not give it back at once."""
    queue = Queue.made(tmp_path / "queue", SMALL)
    fetched = Counter[str]()

    def note(_frame: object, event: str, what: object) -> None:
        if event == "c_call":
            fetched[getattr(what, "__name__", "")] += 1

    queue.status()
    sys.setprofile(note)
    try:
        queue.status()
    finally:
        sys.setprofile(None)
    queue.desk.committer.close()
    assert 0 < fetched["fetchone"] <= MOST_FETCHED < RUNNING


def test_what_status_reads_is_found_by_an_index(tmp_path: Path) -> None:
    """A count of a whole table is one step: how it is gone about tells."""
    queue = Queue.made(tmp_path / "queue", SMALL)
    with statements.plans() as steps:
        queue.status()
    queue.desk.committer.close()
    large = ("tasks", "task_phases", "task_output_dirs", "attempts", "results")
    scans = [each for each in steps if each.startswith("SCAN") and each.split()[1] in large]
    assert [each for each in scans if not FEW & set(each.split())] == []
