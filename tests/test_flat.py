"""What one act costs is the same in a queue of a thousand tasks and of a hundred thousand.

Counted, not timed: statements, rows visited, syncs, bytes.  `MOST` says what each may cost; a
figure that a change makes smaller is to be made smaller here too.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import statements
from crash_scenarios import Desk
from large_queue import Size, make
from spending import CountingDisk, Spent, cost_of

from sqlqueue.home import NAME, Home
from sqlqueue.protocol import Ack, Request, RequestTask, SubmitResult, TaskReply
from sqlqueue.store import summary
from sqlqueue.store.audit import verify
from support import later

SMALL = 1_000
LARGE = 100_000
LARGEST = 1_000_000
MANY = 64
RUNNING = 200

MOST: dict[str, Spent] = {
    "status": Spent(0),
}
"""What each act costs at most, at any size."""
EVEN = {"statements", "commits", "file_syncs", "folder_syncs"}
"""What is the very same at any size."""
ROUGHLY = 1.3
"""So many times more the rest may be: numbers and names are longer, pages lie differently."""


@dataclass
class Queue:
    """A queue of so many tasks, its manager's core open."""

    home: Home
    disk: CountingDisk
    desk: Desk
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
        return cls(home, disk, desk, iter(runs))

    def say(self, kind: type, *requests: Request) -> None:
        replies = self.desk.say(*requests)
        assert {type(each) for each in replies} == {kind}, replies

    # --- acts -----------------------------------------------------------------------------

    def status(self) -> None:
        found = summary.figures(self.home, self.reader, 0.0)
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
