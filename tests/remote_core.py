"""A core that is a manager process: asked over its real socket, killed and started again.

`trouble` says what becomes of the next question: the answer is not read, the manager dies
somewhere in between, ten connections ask at once.  Whoever asks then asks again, as a client
does, so the answer is always the last one.  What is not here: what must be true.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import time
import uuid
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from core import Core
from crash_scenarios import CSV, Room
from ledger import whole_rows
from msgspec.structs import replace
from tally import count
from zygote import Dial, Zygote

from sqlqueue import protocol, unsubmitted
from sqlqueue.plan.signature import digest
from sqlqueue.plan.task import Experiment, Parameter
from sqlqueue.protocol import Error, Reply, Request
from sqlqueue.store.audit import verify
from support import connect, wait_until

SECONDS = 30.0
LOOK_SECONDS = 15.0
"""How often a manager looks for files with results."""

FUNCTION = Experiment("m:f", (Parameter("seed", "int"),))
MEMORY = protocol.ExperimentMemory(
    name="m:f", parameters=[protocol.ParameterMemory(name="seed", original=True)]
)
MORE = 2
"""A result of this value comes with a further metric."""


class RemoteCore(Core):
    """`begin` starts a manager; `on_restart` is called when one came back after a death."""

    def __init__(self, room: Room, zygote: Zygote) -> None:
        self.room = room
        self.zygote = zygote
        self.dial = Dial(room.root / "dial")
        self.trouble: tuple[str, float] | None = None
        self.on_restart: Callable[[], None] = lambda: None
        self.counts: Counter[str] = Counter()
        self.start()

    # --- the process ---------------------------------------------------------------------

    def start(self) -> None:
        self.dial.acted_on = 0.0
        home = self.room.home
        self.pid = self.zygote.manager(home.path, self.room.root / "dial", self.output)
        wait_until(lambda: (home.manager() or {}).get("pid") == self.pid, SECONDS, "it listens")
        self.connection = self.connected()
        self.acted()
        self.next_look = self.now + LOOK_SECONDS

    def kill(self) -> None:
        self.counted("kills")
        os.kill(self.pid, signal.SIGKILL)
        assert self.zygote.wait(self.pid) == -signal.SIGKILL, self.said
        self.connection.close()

    def stop(self) -> None:
        self.connection.close()
        os.kill(self.pid, signal.SIGTERM)
        assert self.zygote.wait(self.pid) == 0, self.said

    def end(self) -> None:
        self.stop()
        assert list(verify(self.room.home)) == []
        assert "Traceback" not in self.said, self.said

    def command(self, *arguments: str) -> None:
        """A command of a person's, which must succeed; its last argument is a file."""
        folder = Path(arguments[-1]).parent
        status = self.zygote.wait(self.zygote.command(self.output, folder, *arguments))
        assert status == 0, self.said

    @property
    def output(self) -> Path:
        return self.room.root / "said"

    @property
    def said(self) -> str:
        return self.output.read_text()

    def counted(self, what: str) -> None:
        self.counts[what] += 1
        count(what)

    # --- questions -----------------------------------------------------------------------

    def connected(self) -> socket.socket:
        found = self.room.home.manager() or {}
        return connect(self.room.home.path / found["unix_socket"], SECONDS)

    def ask(self, request: Request) -> Any:
        (how, after), self.trouble = self.trouble or ("", 0.0), None
        if how:
            self.counted(f"questions {how}")
        if how == "cut off":
            return self.ask_a_dying_one(request, after)
        if how == "asked tenfold":
            return self.ask_tenfold(request)
        if how == "not read":
            return self.ask_and_leave(request)
        return exchange(self.connection, request)

    def ask_a_dying_one(self, request: Request, after: float) -> Reply:
        """It may or may not have been done when the manager died; asked again it is."""
        self.connection.sendall(protocol.encode(request))
        time.sleep(after)
        self.kill()
        self.counted("recoveries")
        self.start()
        self.on_restart()
        return exchange(self.connection, request)

    def ask_tenfold(self, request: Request) -> Reply:
        connections = [self.connected() for _ in range(10)]
        for each in connections:
            each.sendall(protocol.encode(request))
        answers = [received(each) for each in connections]
        for each in connections:
            each.close()
        if not isinstance(request, protocol.AddTasks | protocol.Steer):  # which say what was new
            assert all(each == answers[0] for each in answers), answers
        return answers[0]

    def ask_and_leave(self, request: Request) -> Reply:
        """The first answer lies unread when its connection is closed."""
        with self.connected() as first:
            first.sendall(protocol.encode(request))
            select.select([first], [], [], SECONDS)
        return exchange(self.connection, request)

    def add(self, *tasks: protocol.NewTask) -> Any:
        """With signatures as `init` makes them, and directories prepared before."""
        real = [replace(each, signature=digest(FUNCTION, each.parameters)) for each in tasks]
        folders = list(dict.fromkeys(each.output_dir for each in tasks))
        self.ok(protocol.PrepareDirectories(output_dirs=folders))
        return self.ok(protocol.AddTasks(tasks=real, experiments=[MEMORY]))

    def request(self, worker: str = "w", **fields: Any) -> Reply:
        return super().request(worker, request_id=uuid.uuid4().hex, **fields)

    def submit(self, task: Any, worker: str = "w", **fields: Any) -> Reply:
        return super().submit(task, worker, **{**fields, "data": data(fields["data"]["value"])})

    def leave(self, cell: int, task_id: str, worker: str, value: int) -> Path:
        """A result as a worker leaves it that found no manager."""
        result = protocol.SubmitResult(
            task_id=task_id,
            worker_id=worker,
            result_data=data(value),
            signature=digest(FUNCTION, {"seed": cell}),
        )
        return unsubmitted.write(self.room.home.unsubmitted, result, self.room.home.queue_id())

    def figures(self) -> dict[str, Any]:
        reply = exchange(self.connection, protocol.StatusRequest())
        assert isinstance(reply, protocol.StatusReply), reply
        return reply.status

    # --- time ----------------------------------------------------------------------------

    @property
    def now(self) -> float:
        return self.dial()

    def pass_time(self, seconds: float) -> None:
        while seconds > 0:
            self.dial.set(self.now + min(4.0, seconds))
            self.acted()
            if self.looks_within(0.0):
                self.next_look = self.now + LOOK_SECONDS
            seconds -= 4.0

    def looks_within(self, seconds: float) -> bool:
        """Whether it looks for files when so much time has passed."""
        return self.now + seconds >= self.next_look

    def acted(self) -> None:
        """Until the manager has done what is due at this time."""
        os.kill(self.pid, signal.SIGUSR1)
        wait_until(lambda: self.dial.acted_on == self.now, SECONDS, "it acts on the time")

    # --- what came out -------------------------------------------------------------------

    def rows(self, folder: str = "a") -> list[bytes]:
        """A header, and `phase,task,value` of each row."""
        found = whole_rows(self.room.root / folder / CSV)
        for row in found:
            assert row.get("more", "") == ("1" if row["value"] == str(MORE) else ""), row
            assert row["task_id"].startswith(f"{row['phase']}_")
            assert row["task_id"].endswith(f"_{row['seed']}")
        return [b"", *(f"{r['phase']},{r['task_id']},{r['value']}".encode() for r in found)]


def data(value: int) -> dict[str, int]:
    return {"value": value} | ({"more": 1} if value == MORE else {})


def exchange(connection: socket.socket, request: Request) -> Reply:
    connection.sendall(protocol.encode(request))
    return received(connection)


def received(connection: socket.socket) -> Reply:
    line = bytearray()
    while not line.endswith(b"\n"):
        piece = connection.recv(65536)
        assert piece, f"the manager hung up after {bytes(line)!r}"
        line += piece
    reply = protocol.decode_reply(line)
    assert not isinstance(reply, Error) or not reply.retryable, reply
    return reply
