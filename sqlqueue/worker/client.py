"""A blocking client of the manager, for workers and for the command line.

Promises: connects when first needed and anew when the connection turns out dead, sending
once more what was not answered (every request may be repeated: a request for a task bears
an id); an error that the manager answers is raised as the exception it means; nothing
waits longer than the time limit and what the request itself asked to wait.  One client
belongs to one thread.  What is not here: repeating for ever (`wait_for_manager` is the
only loop, and an event ends it), saving results, knowing what they mean.
"""

from __future__ import annotations

import threading
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import msgspec

from sqlqueue import protocol
from sqlqueue.errors import (
    EpochLost,
    ManagerUnreachable,
    MessageTooLarge,
    ProtocolError,
    QueueError,
    from_wire,
)
from sqlqueue.home import Home
from sqlqueue.protocol import Message, Reply
from sqlqueue.worker.dial import Wire, dial_home, dial_remote, remote

TRIES: Final = 2
MAX_AHEAD: Final = 64
MAX_AHEAD_BYTES: Final = 64 * 1024
"""Sent and not yet answered, beyond the first: it fits into the kernel's buffers, so that
sending cannot wait for a manager that waits for us to read."""
FIRST_PAUSE_SECONDS: Final = 0.05
LONGEST_PAUSE_SECONDS: Final = 2.0

Wanted = TypeVar("Wanted", bound=Message)


@dataclass(slots=True)
class _Question:
    """One message of a pipeline, and what came of it."""

    data: bytes
    wait_seconds: float
    answer: Reply | QueueError | None = None


class Client:
    """Asks the manager of a home, or the one at an address."""

    def __init__(
        self,
        home: Home | None = None,
        *,
        address: str | None = None,
        token: str | None = None,
        timeout_seconds: float = 30.0,
    ) -> None:
        if (home is None) == (address is None):
            raise ValueError("a client needs a home or an address")
        self._home = home
        self._remote = remote(address, token) if address is not None else None
        self._timeout_seconds = timeout_seconds
        self._wire: Wire | None = None

    def connect(self) -> None:
        """Connects now, if it is not connected; raises `ManagerUnreachable`."""
        if self._wire is None:
            self._wire = self._dial()

    def request(self, message: Message) -> Reply:
        """The answer; an error reply is raised as the exception that it means."""
        (answer,) = self.pipeline([message])
        if isinstance(answer, QueueError):
            raise answer
        return answer

    def pipeline(self, messages: Sequence[Message]) -> list[Reply | QueueError]:
        """Sends all, reads all; one answer or error for each message, in their order."""
        questions = [_question(each) for each in messages]
        try:
            self._ask(questions)
        except QueueError as error:
            for each in _open(questions):
                each.answer = error
        return [each.answer for each in questions if each.answer is not None]

    def close(self) -> None:
        """Hangs up.  The next request connects anew."""
        if self._wire is not None:
            self._wire.close()
            self._wire = None

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def request_task(
        self, message: protocol.RequestTask
    ) -> protocol.TaskReply | protocol.TasksReply | protocol.NoTask:
        reply = self.request(message)
        if isinstance(reply, protocol.TaskReply | protocol.TasksReply | protocol.NoTask):
            return reply
        raise _unexpected(reply)

    def submit(self, message: protocol.SubmitResult) -> protocol.Ack:
        return self._expect(message, protocol.Ack)

    def fail(self, message: protocol.TaskFailed) -> protocol.Ack:
        return self._expect(message, protocol.Ack)

    def release(self, message: protocol.Release) -> protocol.Ack:
        return self._expect(message, protocol.Ack)

    def heartbeat(self, message: protocol.Heartbeat) -> protocol.Ack:
        return self._expect(message, protocol.Ack)

    def announce(self, message: protocol.Announce) -> protocol.Ack:
        return self._expect(message, protocol.Ack)

    def status(self) -> dict[str, Any]:
        """The figures that `sqlqueue status --json` prints."""
        return self._expect(protocol.StatusRequest(), protocol.StatusReply).status

    def _expect(self, message: Message, kind: type[Wanted]) -> Wanted:
        reply = self.request(message)
        if isinstance(reply, kind):
            return reply
        raise _unexpected(reply)

    def _dial(self) -> Wire:
        if self._home is not None:
            return dial_home(self._home, self._timeout_seconds)
        assert self._remote is not None
        return dial_remote(self._remote, self._timeout_seconds)

    def _ask(self, questions: Sequence[_Question]) -> None:
        """Answers all, over a second connection if the first one breaks."""
        for tries_left in reversed(range(TRIES)):
            if not (rest := _open(questions)):
                return
            self.connect()
            try:
                self._exchange(rest)
            except BaseException as error:
                self.close()
                if not isinstance(error, OSError):
                    raise
                if isinstance(error, TimeoutError) or not tries_left:
                    raise self._gave_up(error) from None

    def _exchange(self, questions: Sequence[_Question]) -> None:
        """Sends ahead as far as cannot block, and reads the answers in order."""
        ahead: deque[_Question] = deque()
        for each in questions:
            while ahead and not _has_room(ahead, each):
                self._read_answer(ahead)
            self._send(each, ahead)
            ahead.append(each)
        while ahead:
            self._read_answer(ahead)

    def _send(self, question: _Question, ahead: deque[_Question]) -> None:
        assert self._wire is not None
        try:
            self._wire.send(question.data, self._timeout_seconds)
        except ConnectionError:
            while ahead:  # what was answered before the connection broke counts
                self._read_answer(ahead)
            raise

    def _read_answer(self, ahead: deque[_Question]) -> None:
        assert self._wire is not None
        reply = self._wire.receive(self._timeout_seconds + ahead[0].wait_seconds)
        answer = _meaning(reply)
        if isinstance(answer, EpochLost):  # it is about to hang up: another one is there now
            raise ConnectionResetError(answer.message)
        ahead.popleft().answer = answer

    def _gave_up(self, error: OSError) -> ManagerUnreachable:
        where = self._remote or (self._home and self._home.path)
        if isinstance(error, TimeoutError):
            return ManagerUnreachable(
                f"the manager of {where} took the request and did not answer within "
                f"{self._timeout_seconds:g} s; look at what `sqlqueue serve` says"
            )
        return ManagerUnreachable(
            f"the manager of {where} hung up {TRIES} times ({error}); "
            "look at what `sqlqueue serve` says"
        )


def _question(message: Message) -> _Question:
    """A message ready to be sent, twice if need be; one that is too long is answered here."""
    if isinstance(message, protocol.RequestTask) and message.request_id is None:
        message = msgspec.structs.replace(message, request_id=uuid.uuid4().hex)
    wait_seconds = message.wait if isinstance(message, protocol.RequestTask) else 0.0
    question = _Question(protocol.encode(message), wait_seconds)
    if len(question.data) > protocol.MAX_MESSAGE_BYTES:
        question.answer = MessageTooLarge(
            f"the {type(message).__name__} message has {len(question.data):,} bytes; "
            f"at most {protocol.MAX_MESSAGE_BYTES:,} are allowed, so it was not sent"
        )
    return question


def _open(questions: Sequence[_Question]) -> list[_Question]:
    return [each for each in questions if each.answer is None]


def _has_room(ahead: deque[_Question], question: _Question) -> bool:
    behind_the_first = sum(len(each.data) for each in ahead) - len(ahead[0].data)
    room_bytes = MAX_AHEAD_BYTES - behind_the_first
    return len(ahead) < MAX_AHEAD and len(question.data) <= room_bytes


def _meaning(reply: Reply) -> Reply | QueueError:
    if isinstance(reply, protocol.Error):
        return from_wire(reply.code, reply.message, reply.retryable)
    return reply


def _unexpected(reply: Reply) -> ProtocolError:
    return ProtocolError(f"the manager answered with an unexpected {type(reply).__name__}")


def wait_for_manager(
    where: Home | Client, stop: threading.Event, notify: Callable[[str], None]
) -> bool:
    """Waits until a manager takes a connection: True; or until `stop` is set: False.

    `notify` hears once why there is none, and again when the reason changes.  What waiting
    does not mend (a wrong token, say) is raised.
    """
    if isinstance(where, Home):
        with Client(where, timeout_seconds=5.0) as client:
            return wait_for_manager(client, stop, notify)
    pause_seconds, told = FIRST_PAUSE_SECONDS, ""
    while not stop.is_set():
        try:
            where.connect()
            return True
        except ManagerUnreachable as error:
            if error.message != told:
                told = error.message
                notify(told)
        stop.wait(pause_seconds)
        pause_seconds = min(2 * pause_seconds, LONGEST_PAUSE_SECONDS)
    return False
