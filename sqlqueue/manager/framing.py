"""Bytes in, messages out: one JSON object per line, or one object and no line end.

Promises: a line is handed out once and whole, however it arrives; blank lines are none;
a message without its line end is handed out as soon as it is a whole JSON object, its
late line end being a blank line then; the cost is linear in what arrived, times a small
logarithm.  Pure: no sockets, no clock.  What is not here: what a message means.

Whether an object is whole is found by parsing it, so that is not done on every piece of a
long one: only when it ends like an object and has doubled since the last vain try.
`undecided` says that a try was put off; who holds the clock forces one after a while.
"""

from __future__ import annotations

from typing import Final

from sqlqueue.errors import MessageTooLarge
from sqlqueue.protocol import is_complete

SMALL_BYTES: Final = 4096
"""Up to here trying costs less than a system call."""
_BLANKS: Final = b" \t\r\n"
_TAIL_BYTES: Final = 64


class Framer:
    """The bytes of one connection that are not messages yet."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self._buffer = bytearray()
        self._scanned = 0
        self._tried = 0

    def __len__(self) -> int:
        return len(self._buffer)

    def feed(self, data: bytes) -> None:
        self._buffer += data

    def next_line(self) -> bytes | None:
        """The next line that is not blank; raises `MessageTooLarge`, after which no more."""
        while (end := self._buffer.find(b"\n", self._scanned)) >= 0:
            line = self._cut(end, end + 1)
            if line.strip(_BLANKS):
                return line
        self._scanned = len(self._buffer)
        self._check(self._scanned)
        return None

    def whole_object(self, *, force: bool = False) -> bytes | None:
        """What is left, if it is a whole object although no line end came."""
        if not (self._looks_whole() and (force or self._is_due())):
            return None
        if not is_complete(self._buffer):
            self._tried = len(self._buffer)
            return None
        return self._cut(len(self._buffer), len(self._buffer))

    @property
    def undecided(self) -> bool:
        """Whether what is left may be a whole object and was not tried."""
        return len(self._buffer) != self._tried and self._looks_whole()

    def rest(self) -> bytes | None:
        """What is left when no more will come; None when that is nothing."""
        text = self._cut(len(self._buffer), len(self._buffer))
        return text if text.strip(_BLANKS) else None

    def _cut(self, end: int, resume: int) -> bytes:
        """Takes the bytes before `end` out, and drops those up to `resume`."""
        self._check(end)
        text = bytes(memoryview(self._buffer)[:end])
        del self._buffer[:resume]
        self._scanned = self._tried = 0
        return text

    def _check(self, size_bytes: int) -> None:
        if size_bytes > self.limit_bytes:
            raise MessageTooLarge(
                f"the message is longer than the {self.limit_bytes:,} bytes allowed here; "
                "nothing of it was read; send it in smaller parts over a new connection"
            )

    def _looks_whole(self) -> bool:
        return self._buffer[-_TAIL_BYTES:].rstrip(_BLANKS).endswith(b"}")

    def _is_due(self) -> bool:
        return len(self._buffer) <= SMALL_BYTES or len(self._buffer) >= 2 * self._tried
