"""What becomes of a request: who may say it, where it goes, when its answer leaves.

Promises: what needs the database goes to the writer and blocks nobody here; a request for
a task that wants to wait does, and is asked again when there may be one; what a worker may
not say is refused here.  What is not here: bytes (`connection.py`), SQL, sockets.
Lives in the loop's thread, `answered` apart.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from sqlqueue import protocol
from sqlqueue.errors import ManagerStopping, NotAuthorised, QueueError, StorageFailure
from sqlqueue.keys import Keys
from sqlqueue.manager.connection import Connection
from sqlqueue.manager.limits import Limits
from sqlqueue.manager.question import STRANGER, Question
from sqlqueue.manager.scales import Scales
from sqlqueue.manager.waiting import WaitingRoom, may_wait
from sqlqueue.manager.writer import Job, Writer

log = logging.getLogger(__name__)

READING_SECONDS: Final = 20.0
"""How long reading the figures may take: less than whoever asks waits."""

_NO_NEWS: Final = (
    *(protocol.RequestTask, protocol.Heartbeat, protocol.StatusRequest),
    *(protocol.DescribeExperiments, protocol.DescribeTasks, protocol.RememberFiles),
)
"""Requests after which no task can have become available."""


class Desk:
    """Takes the questions of all connections."""

    def __init__(self, keys: Keys, limits: Limits, changed: Callable[[], None]) -> None:
        self.connections: set[Connection] = set()
        self._keys = keys
        self._limits = limits
        self._changed = changed
        self._loop = asyncio.get_running_loop()
        self._in_flight = 0
        self._outbox: list[Job] = []
        """Asked for in this round of the loop."""
        self._generation = 0
        self._news = 0
        self._acted_on = 0
        self._patient = True
        self._scales = Scales(limits.total_bytes)
        self._room = WaitingRoom(self._give_up_waiting)
        self._known: list[Callable[[Connection], None]] = []
        self._writer: Writer
        self._figures: Figures

    def attach(self, writer: Writer) -> None:
        """The writer that does the work; before `opened` is called."""
        self._writer = writer
        self._figures = Figures(writer.status)

    def on_known(self, act: Callable[[Connection], None]) -> None:
        """Calls `act` when a connection has said hello, or is gone."""
        self._known.append(act)

    @property
    def is_idle(self) -> bool:
        """Whether nothing that was taken is without its answer."""
        return self._in_flight == 0 and not len(self._room)

    # --- what connections say -----------------------------------------------------------

    def opened(self, connection: Connection) -> None:
        self.connections.add(connection)
        if not self._patient:
            connection.stop_taking()

    def closed(self, connection: Connection) -> None:
        self.connections.discard(connection)
        self._scales.weigh(connection)
        self._tell_known(connection)
        self._changed()

    def weigh(self, connection: Connection) -> None:
        self._scales.weigh(connection)

    def ask(self, question: Question) -> None:
        try:
            self._route(question)
        except QueueError as error:
            question.refuse(error)

    def is_next(self, question: Question) -> None:
        """The figures show what was asked before them, so they come when it is done."""
        if isinstance(question.request, protocol.StatusRequest):
            self._show(question)

    def _route(self, question: Question) -> None:
        request, connection = question.request, question.connection
        if isinstance(request, protocol.Hello):
            self._greet(question, request)
        elif connection.role is None:
            connection.stop_taking(linger=True)
            raise NotAuthorised(STRANGER)
        elif connection.role == "worker" and isinstance(request, protocol.OWNER_ONLY):
            raise NotAuthorised(
                f"a worker may not say {_tag(request)!r}; use the Unix socket, or the owner's token"
            )
        elif not isinstance(request, protocol.StatusRequest):
            self._begin(question)
        elif connection.is_first(question):
            self._show(question)

    def _show(self, question: Question) -> None:
        if self._patient:
            self._figures.ask(question)
        else:
            question.refuse(ManagerStopping())

    def _greet(self, question: Question, hello: protocol.Hello) -> None:
        connection = question.connection
        role = connection.role or self._keys.role_of(hello.token)
        if role is None:
            peer, of = connection.peer, connection.stranger
            log.warning("%s said hello with a wrong token: refused", peer, extra=of)
            connection.stop_taking(linger=True)
            raise NotAuthorised(STRANGER)
        if connection.role is None:
            connection.welcome(role)
            self._tell_known(connection)
        question.answer(protocol.Welcome(role=role))

    def _tell_known(self, connection: Connection) -> None:
        for act in self._known:
            act(connection)

    # --- to the writer and back ---------------------------------------------------------

    def _begin(self, question: Question) -> None:
        if isinstance(question.request, protocol.RequestTask) and question.request.wait:
            question.deadline = self._loop.time() + question.request.wait
        self._put(question)

    def _put(self, question: Question) -> None:
        connection, request = question.connection, question.request
        role = connection.role
        assert request is not None
        assert role is not None
        if self._writer.fatal is not None:
            raise self._writer.refusal
        question.news = self._news
        self._in_flight += 1
        self._outbox.append(Job(request, role, question, connection, question.units))
        if len(self._outbox) == 1:
            self._loop.call_soon(self.hand_over)

    def hand_over(self) -> None:
        """Leaves with the writer what was read in this round of the loop.

        All at once: woken by the first, it would commit that one alone, and hold up the reading of
        the others meanwhile.
        """
        jobs, self._outbox = self._outbox, []
        if jobs and self._writer.fatal is None:
            self._writer.put(jobs)
        elif jobs:
            refused = protocol.error_reply(self._writer.refusal)
            self._answered([(each, refused) for each in jobs])

    def answered(self, pairs: list[tuple[Job, protocol.Reply]]) -> None:
        """Called by the writer's thread, once for each batch that it committed."""
        self._loop.call_soon_threadsafe(self._answered, pairs)

    def _answered(self, pairs: list[tuple[Job, protocol.Reply]]) -> None:
        self._in_flight -= len(pairs)
        if any(not isinstance(job.request, _NO_NEWS) for job, _ in pairs):
            self._news += 1
        if any(isinstance(job.request, protocol.Drain) for job, _ in pairs):
            self._call(len(self._room))  # whoever waits and is to end hears it at once
        settled = [job.answer for job, reply in pairs if self._settle(job.answer, reply)]
        for connection in {each.connection for each in settled}:
            connection.pump()
        self._changed()

    def _settle(self, question: Question, reply: protocol.Reply) -> bool:
        """Whether this is the answer; if not, the question waits for a better one."""
        if not (self._patient and may_wait(question, reply, self._loop.time())):
            question.answer(reply)
            waited = question.deadline and not isinstance(reply, protocol.NoTask)
            self._call(1 if waited else 0)
            return True
        question.waits = reply.waits if isinstance(reply, protocol.NoTask) else ""
        self._room.enter(question)
        self._acted_on = min(self._acted_on, question.news)
        return False

    # --- waiting for a task -------------------------------------------------------------

    def look(self) -> None:
        """After a batch: asks again for those who wait and were answered before it."""
        if len(self._room) and self._writer.all_done():
            self._end_waiting()
        elif self._acted_on < self._news:
            self._acted_on = self._news
            self._call(self._limits.waking)

    def tick(self) -> None:
        """What becomes free by time alone, lapsed leases above all, shows in the generation."""
        if self._generation != (now := self._writer.generation()):
            self._generation = now
            self._news += 1

    def stop_taking(self) -> None:
        """Answers all who wait, and takes no further request from anybody."""
        self._patient = False
        self._end_waiting()
        for connection in tuple(self.connections):
            connection.stop_taking()
            connection.pump()
        self.hand_over()

    def _end_waiting(self) -> None:
        for question in self._room.call(len(self._room)):
            self._give_up_waiting(question)

    def _call(self, count: int) -> None:
        for question in self._room.call(count):
            self._put(question)

    def _give_up_waiting(self, question: Question) -> None:
        question.answer(protocol.NoTask(done=self._writer.all_done(), waits=question.waits))
        question.connection.pump()

    def close(self) -> None:
        """No further figures are read; those on their way still leave."""
        self._figures.close()


class Figures:
    """Answers `status`, beside the writer: one reading at a time, shared by who waits for it.

    A reading never began before the request that it answers, so it shows what was acked.  One
    that hangs on a disk is given up on, and said to.
    """

    def __init__(self, read: Callable[[], dict[str, Any]]) -> None:
        self._read = read
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="figures")
        self._waiting: list[Question] = []
        self._task: asyncio.Task[None] | None = None
        self._reading: asyncio.Future[dict[str, Any]] | None = None

    def ask(self, question: Question) -> None:
        self._waiting.append(question)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._answer_all())

    def close(self) -> None:
        self._executor.shutdown(wait=False)

    async def _answer_all(self) -> None:
        while self._waiting:
            questions, self._waiting = self._waiting, []
            reply = await self._reply()
            for each in questions:
                each.answer(reply)
                each.connection.pump()
        self._task = None

    async def _reply(self) -> protocol.Reply:
        try:
            async with asyncio.timeout(READING_SECONDS):
                return protocol.StatusReply(status=await self._figures())
        except TimeoutError:
            error: QueueError = StorageFailure(
                f"the figures could not be read within {READING_SECONDS:g} s: "
                "does the disk of the home not answer?"
            )
        except QueueError as said:
            error = said
        except Exception as broken:
            log.exception("the figures could not be read")
            return protocol.Error(code="error", message=f"the figures: {broken}", retryable=True)
        return protocol.error_reply(error)

    async def _figures(self) -> dict[str, Any]:
        """A new reading; one that was given up on is waited for first, and never piled up on."""
        if self._reading is not None:
            await asyncio.wait([self._reading])
        loop = asyncio.get_running_loop()
        self._reading = loop.run_in_executor(self._executor, self._read)
        return await asyncio.shield(self._reading)


def _tag(request: protocol.Request) -> str:
    return str(request.__struct_config__.tag)
