"""A manager's core in a folder of its own, for tests that ask it directly.

`Core` keeps a desk open, closes it and audits the queue when the test leaves; times pass only
when the test says so.  What is not here: faults, sockets, threads.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import Any

from crash_scenarios import MEMORY, Desk, Room, prepare, signature

from sqlqueue import protocol
from sqlqueue.disk import Disk
from sqlqueue.protocol import Error, Reply, Request, TaskReply
from sqlqueue.store.audit import verify
from sqlqueue.store.summary import foretell


@dataclass
class Core:
    """`desk` is open between `begin` and `end`."""

    room: Room
    desk: Desk

    @classmethod
    def begin(cls, room: Room, disk: Disk | None = None) -> Core:
        room.root.mkdir(exist_ok=True)
        room.home.create()
        core = cls(room, Desk(room.home, disk))
        core.desk.committer.open()
        return core

    def end(self) -> None:
        self.desk.committer.close()
        assert list(verify(self.room.home)) == []

    def restart(self) -> None:
        """The manager stops and another begins; its clock is another's."""
        self.end()
        self.desk = Desk(self.room.home)
        self.desk.committer.open()

    @property
    def now(self) -> float:
        return self.desk.clock.now

    def figures(self) -> dict[str, Any]:
        """Those of `status` with nobody at work but those who run something."""
        found = self.desk.committer.figures()
        tasks = [task for each in found["workers"] for task in each["tasks"]]
        foretell(found, [], {each["task_id"]: each["left_seconds"] for each in tasks})
        return found

    def ask(self, request: Request) -> Any:
        (reply,) = self.desk.say(request)
        return reply

    def ok(self, request: Request) -> Any:
        reply = self.ask(request)
        assert not isinstance(reply, Error), reply
        return reply

    def refused(self, request: Request, code: str) -> str:
        reply = self.ask(request)
        assert isinstance(reply, Error), reply
        assert reply.code == code
        return reply.message

    def add(self, *tasks: protocol.NewTask) -> Any:
        folders = list(dict.fromkeys(each.output_dir for each in tasks))
        self.ok(prepare(*folders))
        return self.ok(protocol.AddTasks(tasks=list(tasks), experiments=[MEMORY]))

    def request(self, worker: str = "w", **fields: Any) -> Reply:
        return self.ok(protocol.RequestTask(worker_id=worker, **fields))

    def take(self, worker: str = "w", **fields: Any) -> TaskReply:
        reply = self.request(worker, **fields)
        assert isinstance(reply, TaskReply), reply
        return reply

    def submit(self, task: TaskReply | str, worker: str = "w", **fields: Any) -> Reply:
        name = task if isinstance(task, str) else task.task_id
        data = fields.pop("data", {"value": 1})
        return self.ok(
            protocol.SubmitResult(task_id=name, worker_id=worker, result_data=data, **fields)
        )

    def fail(self, task: TaskReply, worker: str = "w", **fields: Any) -> Reply:
        return self.ok(
            protocol.TaskFailed(task_id=task.task_id, worker_id=worker, error="no", **fields)
        )

    def beat(self, *tasks: Any, worker: str = "w") -> Any:
        return self.ok(protocol.Heartbeat(worker_id=worker, tasks=list(tasks)))

    def pass_time(self, seconds: float) -> None:
        """In steps in which a manager that listens looks at its leases."""
        while seconds > 0:
            self.desk.later(min(4.0, seconds))
            seconds -= 4.0

    def sql(self, text: str) -> list[tuple[Any, ...]]:
        base = sqlite3.connect(f"file:{self.room.home.database}?mode=ro", uri=True)
        try:
            return base.execute(text).fetchall()
        finally:
            base.close()

    def states(self) -> dict[str, str]:
        return dict(self.sql("SELECT task_id, state FROM tasks ORDER BY id"))

    def outcomes(self) -> list[tuple[str, int, str | None]]:
        return self.sql("SELECT worker_id, number, outcome FROM attempts ORDER BY attempts.id")  # type: ignore[return-value]

    def rows(self, folder: str = "a") -> list[bytes]:
        file = self.room.csv(folder)
        return file.read_bytes().splitlines() if file.exists() else []


def task(number: int, phase: str = "p", folder: str = "a", **fields: Any) -> protocol.NewTask:
    values: dict[str, Any] = {
        "signature": signature(number),
        "phase": phase,
        "experiment": "m:f",
        "parameters": {"seed": number},
        "seed": number,
        "output_dir": folder,
    }
    return protocol.NewTask(**(values | fields))
