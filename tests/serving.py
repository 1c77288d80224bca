"""A real server on real sockets, with a writer in memory where a test needs a knob.

`Running` runs a `Server` in a thread with its own loop; `Echo` is a writer that answers from
a function, in batches, and can be held.  Promises: what a test started is stopped when it
leaves.  What is not here: the real writer, and the command line (`support.py`).
"""

from __future__ import annotations

import asyncio
import json
import os
import queue
import socket
import ssl
import threading
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, cast

from sqlqueue import keys, protocol
from sqlqueue.errors import ManagerStopping, QueueError
from sqlqueue.home import Home
from sqlqueue.home_lock import HomeLock
from sqlqueue.manager.limits import DEFAULT, Limits
from sqlqueue.manager.process import new_loop as fast_loop
from sqlqueue.manager.server import Options, Server
from sqlqueue.manager.writer import Job
from support import connect, wait_until

SECONDS = 10.0
QUICK = replace(
    DEFAULT,
    patience_seconds=0.005,
    tick_seconds=0.02,
    goodbye_seconds=SECONDS,
    parting_seconds=SECONDS,
    linger_seconds=2.0,
    tls_close_seconds=0.05,
)
Handler = Callable[[protocol.Request], protocol.Reply]


def acknowledge(request: protocol.Request) -> protocol.Reply:
    """What most tests need: `no_task` for those who ask for one, else an ack with the name."""
    if isinstance(request, protocol.RequestTask):
        return protocol.NoTask(done=False)
    return protocol.Ack(cancel=[str(getattr(request, "worker_id", ""))])


def a_task(task_id: str = "t") -> protocol.TaskReply:
    return protocol.TaskReply(
        task_id=task_id, attempt=1, phase="p", experiment="e", config={}, seed=None,
        output_dir="d", output_dirs=["d"], lease_seconds=60.0, signature="0" * 32,
        timeout_seconds=None,
    )  # fmt: skip


class Echo:
    """A writer in memory: one thread, batches of what arrived, answers from `handler`."""

    def __init__(self, home: Home, *, answered: Callable[[list[Any]], None]) -> None:
        self.home = home
        self.handler: Handler = acknowledge
        self.figures: Callable[[], dict[str, Any]] = lambda: {"queue": "echo"}
        self.batches: list[list[Job]] = []
        self.open = threading.Event()
        self.open.set()
        self.ticks = 0
        self.fatal: QueueError | None = None
        self.refusal: QueueError = ManagerStopping()
        self.failing_start: QueueError | None = None
        self.done = False
        self.grown = 0
        self._answered = answered
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._serve)
        self._stopping = False

    def start(self) -> None:
        if self.failing_start:
            raise self.failing_start
        self._thread.start()

    def put(self, jobs: Iterable[Job]) -> None:
        for each in jobs:
            self._jobs.put(each)

    def tick(self) -> None:
        self.ticks += 1

    def stop(self) -> None:
        self._stopping = True
        self._jobs.put(None)
        self._thread.join()
        late = []
        while not self._jobs.empty():
            late.append(self._jobs.get())
        error = protocol.error_reply(ManagerStopping())
        self._answered([(job, error) for job in late if job is not None])

    def status(self) -> dict[str, Any]:
        return self.figures()

    def generation(self) -> int:
        return self.grown

    def all_done(self) -> bool:
        return self.done

    def told(self) -> str:
        return "every task is finished"

    @property
    def heard(self) -> list[protocol.Request]:
        return [job.request for batch in self.batches for job in batch]

    def _serve(self) -> None:
        while True:
            batch = [self._jobs.get()]
            self.open.wait()
            while not self._jobs.empty():
                batch.append(self._jobs.get())
            jobs = [job for job in batch if job is not None]
            if jobs:
                self.batches.append(jobs)
                self._answered([(job, self.handler(job.request)) for job in jobs])
            if None in batch:
                return


class Running:
    """A server in a thread.  `with Running(home) as running:`."""

    def __init__(
        self,
        home: Home,
        *,
        limits: Limits = QUICK,
        new_loop: Callable[[], asyncio.AbstractEventLoop] = fast_loop,
        **options: Any,
    ) -> None:
        self.home = home
        keys.create(home)
        self.keys = keys.load(home)
        self.status: int | None = None
        self.error: BaseException | None = None
        self.writer = cast(Echo, None)
        self._options = Options(limits=limits, writer=options.pop("writer", Echo), **options)
        self._new_loop = new_loop
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Running:
        self._thread.start()
        assert self._ready.wait(SECONDS)
        wait_until(lambda: self._listens() or not self._thread.is_alive(), SECONDS)
        if self.error:
            self._thread.join()
            raise self.error
        return self

    def __exit__(self, *_: object) -> None:
        self.writer.open.set()
        self.stop()

    def stop(self) -> int | None:
        """Stops as a first signal does; the exit status."""
        self.ask_to_stop()
        return self.wait()

    def ask_to_stop(self) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._server.stop, "the test asked for it")

    def wait(self) -> int | None:
        """The exit status, once it has ended."""
        self._thread.join(SECONDS / 2)
        assert not self._thread.is_alive(), "the server did not stop soon"
        if self.error:
            raise self.error
        return self.status

    def unix(self) -> socket.socket:
        found = self.home.manager()
        assert found
        return connect(self.home.path / found["unix_socket"], SECONDS)

    def tcp(self, context: ssl.SSLContext | None = None) -> ssl.SSLSocket:
        """A TLS connection that has not said hello."""
        context = context or ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context.wrap_socket(self.plain_tcp())

    def plain_tcp(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), SECONDS)

    @property
    def port(self) -> int:
        found = self.home.manager()
        assert found
        return int(found["port"])

    @property
    def connections(self) -> int:
        return len(self._server._desk.connections)

    def _listens(self) -> bool:
        found = self.home.manager() or {}
        return found.get("pid") == os.getpid() and "version" in found

    def _run(self) -> None:
        try:
            with HomeLock(self.home, "test"), asyncio.Runner(loop_factory=self._new_loop) as runner:
                self.status = runner.run(self._serve())
        except BaseException as error:
            self.error = error
        finally:
            self._ready.set()

    async def _serve(self) -> int:
        self._loop = asyncio.get_running_loop()
        self._server = Server(self.home, self._options)
        self.writer = cast(Echo, self._server._writer)
        self._ready.set()
        return await self._server.run()


def send(connection: socket.socket, *messages: dict[str, Any] | bytes, end: bytes = b"\n") -> None:
    """All in one write."""
    texts = [each if isinstance(each, bytes) else json.dumps(each).encode() for each in messages]
    connection.sendall(b"".join(text + end for text in texts))


def receive(connection: socket.socket, count: int) -> list[dict[str, Any]]:
    """So many answers."""
    text = b""
    while text.count(b"\n") < count:
        piece = connection.recv(65536)
        assert piece, f"hung up after {text!r}"
        text += piece
    answers = [json.loads(line) for line in text.splitlines()]
    assert len(answers) == count, answers
    return answers


def ask(
    connection: socket.socket, message: dict[str, Any] | bytes, end: bytes = b"\n"
) -> dict[str, Any]:
    send(connection, message, end=end)
    (answer,) = receive(connection, 1)
    return answer


def at_end(connection: socket.socket) -> bool:
    """Whether the other side has hung up, having said nothing more."""
    try:
        return connection.recv(65536) == b""
    except ConnectionError:
        return True


def heartbeat(worker: str = "w") -> dict[str, Any]:
    return {"type": "heartbeat", "worker_id": worker, "tasks": []}
