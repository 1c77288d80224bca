"""One request on its way through the manager, from its line to its answer.

What is not here: the connection that keeps the order, the desk that finds the answer.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from sqlqueue import protocol
from sqlqueue.errors import MessageTooLarge, QueueError

if TYPE_CHECKING:
    from sqlqueue.manager.connection import Connection

log = logging.getLogger(__name__)

STRANGER: Final = 'say {"type": "hello", "token": "..."} first, with a token of this queue'
"""All that is ever told to whoever has not said hello, whatever they said instead."""


class Question:
    """One request on its way, and its place in the order of its connection."""

    __slots__ = ("answer_bytes", "connection", "deadline", "news", "request", "size_bytes")

    def __init__(self, connection: Connection, size_bytes: int) -> None:
        self.connection = connection
        self.size_bytes = size_bytes
        self.request: protocol.Request | None = None
        self.answer_bytes: bytes | None = None
        self.deadline = 0.0
        """When a request that waits for a task is answered at the latest (loop's clock)."""
        self.news = 0
        """How many reasons to ask again there had been when it was last asked."""

    def answer(self, reply: protocol.Reply) -> None:
        """Settles it; it leaves with the connection's next `pump`."""
        self.answer_bytes = _encode(reply)

    def refuse(self, error: QueueError) -> None:
        self.answer(protocol.error_reply(error))


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
