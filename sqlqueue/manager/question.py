"""One request on its way through the manager, from its line to its answer.

What is not here: the connection that writes the answers, the desk that finds them.
"""

from __future__ import annotations

import logging
from collections import deque
from typing import TYPE_CHECKING, Final

from sqlqueue import protocol
from sqlqueue.errors import MessageTooLarge, QueueError
from sqlqueue.manager.limits import Limits
from sqlqueue.manager.turns import units

if TYPE_CHECKING:
    from sqlqueue.manager.connection import Connection

log = logging.getLogger(__name__)

STRANGER: Final = 'say {"type": "hello", "token": "..."} first, with a token of this queue'
"""All that is ever told to whoever has not said hello, whatever they said instead."""


class Question:
    """One request on its way, and its place in the order of its connection."""

    __slots__ = (
        *("answer_bytes", "connection", "deadline", "news", "request", "size_bytes", "units"),
        "waits",
    )

    def __init__(self, connection: Connection, size_bytes: int) -> None:
        self.connection = connection
        self.size_bytes = size_bytes
        self.units = 0
        """What answering it may cost: see `turns.py`."""
        self.request: protocol.Request | None = None
        self.answer_bytes: bytes | None = None
        self.deadline = 0.0
        """When a request that waits for a task is answered at the latest (loop's clock)."""
        self.news = 0
        """How many reasons to ask again there had been when it was last asked."""
        self.waits = ""
        """What was paused when it was last asked, if that was why there was no task."""

    def answer(self, reply: protocol.Reply) -> None:
        """Settles it; it leaves with the connection's next `pump`."""
        self.answer_bytes = _encode(reply)

    def refuse(self, error: QueueError) -> None:
        self.answer(protocol.error_reply(error))


class Line:
    """The questions of one connection on their way, in the order in which they are answered."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._waiting: deque[Question] = deque()
        self.size_bytes = 0
        self._units = 0

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def first(self) -> Question | None:
        return self._waiting[0] if self._waiting else None

    def has_room(self) -> bool:
        """Whether another may be taken: few, short and cheap as those are that wait."""
        few = len(self._waiting) < self._limits.open_questions
        short = self.size_bytes < self._limits.open_bytes
        return few and short and self._units < self._limits.open_units

    def add(self, question: Question) -> None:
        self._waiting.append(question)
        self.size_bytes += question.size_bytes

    def understood(self, question: Question, request: protocol.Request) -> None:
        """It says what it asks, and so what that may cost."""
        question.request, question.units = request, units(request, question.size_bytes)
        self._units += question.units

    def due(self) -> list[bytes]:
        """The answers that may leave: their questions are in the line no more."""
        answers = []
        while (first := self.first) is not None and first.answer_bytes is not None:
            self._waiting.popleft()
            self.size_bytes -= first.size_bytes
            self._units -= first.units
            answers.append(first.answer_bytes)
        return answers

    def clear(self) -> None:
        self._waiting.clear()


def _encode(reply: protocol.Reply) -> bytes:
    """The reply as a line; one that does not fit becomes an error that says so."""
    try:
        data = protocol.encode(reply)
    except (TypeError, ValueError, RecursionError) as error:
        log.exception("a %s could not be encoded", type(reply).__name__)
        return protocol.encode(protocol.Error(code=QueueError.code, message=str(error)))
    if len(data) <= protocol.MAX_MESSAGE_BYTES:
        return data
    large = MessageTooLarge(f"the answer has {len(data):,} bytes; ask for less at once")
    return protocol.encode(protocol.error_reply(large))
