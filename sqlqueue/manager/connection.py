"""One connection: bytes to requests, answers to bytes, in the order of the requests.

Promises: whatever a client sends, only its own connection feels it; answers leave in the
order of the requests, those that are due in one write; a client that sends faster than it
is answered, or does not read, is first not read from and then dropped; what was received
whole before the client shut its side down is answered.  What is not here: what a request
does (`server.py`), who may connect (`listen.py`).  Lives in the loop's thread.
"""

from __future__ import annotations

import asyncio
import logging
import select
from collections.abc import Callable
from typing import Final, Protocol, cast

from sqlqueue import protocol
from sqlqueue.errors import MessageTooLarge, NotAuthorised, ProtocolError, QueueError
from sqlqueue.keys import Role
from sqlqueue.manager.framing import Framer
from sqlqueue.manager.limits import Limits
from sqlqueue.manager.question import STRANGER, Line, Question

log = logging.getLogger(__name__)

_TRIED_PER_SECOND_BYTES: Final = 16 * 1024 * 1024
"""How much of objects without a line end is parsed in vain per second, at most."""


class Desk(Protocol):
    """Where a connection takes its requests.  None of these calls `pump`."""

    def ask(self, question: Question) -> None:
        """Settles the question now or later; later, `pump` must be called."""

    def is_next(self, question: Question) -> None:
        """All earlier questions of the connection are answered, and this one is not."""

    def opened(self, connection: Connection) -> None: ...

    def closed(self, connection: Connection) -> None: ...

    def weigh(self, connection: Connection) -> None:
        """What the connection holds in memory may have changed."""


class Connection(asyncio.Protocol):
    """The protocol object of one transport.  `role` None: it must say hello first."""

    def __init__(self, desk: Desk, role: Role | None, limits: Limits, peer: str) -> None:
        self.role = role
        self.peer = peer
        self._desk = desk
        self._limits = limits
        self._framer = Framer(limits.hello_bytes if role is None else limits.message_bytes)
        self._questions = Line(limits)
        self._unheard_bytes = 0
        self._transport: asyncio.Transport | None = None
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._deaf = False
        self._lingers = False
        self._ended = False
        self._clogged = False

    # --- what the desk may do -----------------------------------------------------------

    @property
    def is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    @property
    def stranger(self) -> dict[str, str]:
        """For lines about a client that nobody knows: see `logs.Seldom`."""
        return {"stranger": self.peer.rpartition(":")[0]}

    def welcome(self, role: Role) -> None:
        """From now on the client may say what that role may."""
        self.role = role
        self._framer.limit_bytes = self._limits.message_bytes
        self._cancel("hello")

    def stop_taking(self, *, linger: bool = False) -> None:
        """No further request is taken; once those taken are answered, the client is let go.

        `linger`: it may still be sending and did nothing to deserve a reset: it gets time
        to read why.
        """
        self._deaf = True
        self._lingers = linger
        self._cancel("patience")
        self._cancel("hello")

    def is_first(self, question: Question) -> bool:
        """Whether all earlier questions are answered and written."""
        return self._questions.first is question

    def pump(self) -> None:
        """Takes requests and writes answers until neither gets any further."""
        progress = True
        while progress and self._transport is not None:
            progress = self._take()
            progress |= self._write_due()
        self._settle()
        self._desk.weigh(self)

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    @property
    def held_bytes(self) -> int:
        """What it makes the manager keep: requests whole and in part, answers not yet read."""
        if self._transport is None or self._transport.is_closing():
            return 0
        unread: int = self._transport.get_write_buffer_size()
        return len(self._framer) + self._questions.size_bytes + unread

    def hung_up(self) -> bool:
        """Whether nobody is there to hear an answer.

        A client that shut its side down may still read: a Unix socket tells one from the
        other; TLS has no such half-closed state and is closed altogether by then.
        """
        if self._transport is None or self._transport.is_closing():
            return True
        if not self._ended:
            return False
        poll = select.poll()
        poll.register(self._transport.get_extra_info("socket").fileno(), 0)
        return bool(poll.poll(0))

    # --- what the transport says --------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=self._limits.high_water_bytes)
        if self.role is None:
            self._later("hello", self._limits.hello_seconds, self._silent)
        self._desk.opened(self)
        self.pump()

    def connection_lost(self, _error: Exception | None) -> None:
        self._transport = None
        for name in tuple(self._timers):
            self._cancel(name)
        self._questions.clear()
        self._desk.closed(self)

    def data_received(self, data: bytes) -> None:
        if not self._deaf:
            self._cancel("patience")
            self._framer.feed(data)
            self.pump()
        elif self.role is None:
            self._unheard_bytes += len(data)
            if self._unheard_bytes > self._limits.unheard_bytes:
                self.abort()

    def eof_received(self) -> bool:
        """Answers what is on its way before closing; TLS closes at once."""
        self._ended = True
        self.pump()
        assert self._transport is not None
        return self._transport.get_extra_info("sslcontext") is None

    def pause_writing(self) -> None:
        self._clogged = True
        self._later("stall", self._limits.stall_seconds, self._stalled)

    def resume_writing(self) -> None:
        self._clogged = False
        self._cancel("stall")
        self.pump()

    # --- taking requests ----------------------------------------------------------------

    def _may_take(self) -> bool:
        return self._questions.has_room() and not (self._deaf or self._clogged)

    def _take(self) -> bool:
        """Whether there was a request."""
        before = len(self._questions)
        try:
            while self._may_take() and (text := self._next_text()):
                self._open(text)
        except MessageTooLarge as error:
            self._open_refused(error)
            self.stop_taking(linger=True)
        return len(self._questions) > before

    def _next_text(self) -> bytes | None:
        framer = self._framer
        rest = framer.rest if self._ended else lambda: None
        return framer.next_line() or framer.whole_object() or rest()

    def _open(self, text: bytes) -> None:
        question = self._enqueue(len(text))
        try:
            request = protocol.decode_request(text)
        except ProtocolError as error:
            question.refuse(self._told(error))
            if self.role is None:
                self.stop_taking(linger=True)
        else:
            self._questions.understood(question, request)
            self._desk.ask(question)

    def _open_refused(self, error: QueueError) -> None:
        self._enqueue(0).refuse(self._told(error))

    def _told(self, error: QueueError) -> QueueError:
        """What the client may know of it."""
        return NotAuthorised(STRANGER) if self.role is None else error

    def _enqueue(self, size_bytes: int) -> Question:
        question = Question(self, size_bytes)
        self._questions.add(question)
        return question

    # --- writing answers ----------------------------------------------------------------

    def _write_due(self) -> bool:
        """Whether an answer left."""
        answers = self._questions.due()
        if answers and (following := self._questions.first):
            self._desk.is_next(following)
        if answers and self.is_open:
            self._write(b"".join(answers))
        return bool(answers)

    def _write(self, data: bytes) -> None:
        assert self._transport is not None
        self._transport.write(data)
        if self._transport.get_write_buffer_size() > self._limits.unread_bytes:
            log.warning("%s does not read its answers: dropped", self.peer)
            self.abort()

    # --- in between -----------------------------------------------------------------------

    def _settle(self) -> None:
        """Reads on or not, tries again later or not, closes or not."""
        if not self.is_open:
            return
        if (self._deaf or self._ended) and not self._questions:
            self._let_go()
        elif not self._ended:
            self._set_reading(self._deaf or self._may_take())
            if self._may_take() and self._framer.undecided:
                patience = self._limits.patience_seconds
                patience += len(self._framer) / _TRIED_PER_SECOND_BYTES
                self._later("patience", patience, self._try_whole)

    def _set_reading(self, wanted: bool) -> None:
        assert self._transport is not None
        if wanted and not self._transport.is_reading():
            self._transport.resume_reading()
        elif not wanted and self._transport.is_reading():
            self._transport.pause_reading()

    def _try_whole(self) -> None:
        if text := self._framer.whole_object(force=True):
            self._open(text)
            self.pump()

    def _let_go(self) -> None:
        assert self._transport is not None
        if not self._lingers or self._ended:
            self._transport.close()
        elif "linger" not in self._timers:
            if self._transport.can_write_eof():
                self._transport.write_eof()
            self._later("linger", self._limits.linger_seconds, self._transport.close)

    def _silent(self) -> None:
        log.warning("%s said no hello in time: refused", self.peer, extra=self.stranger)
        self._open_refused(NotAuthorised(STRANGER))
        self.stop_taking(linger=True)
        self.pump()

    def _stalled(self) -> None:
        seconds = self._limits.stall_seconds
        log.warning("%s did not read its answers for %g s: dropped", self.peer, seconds)
        self.abort()

    def _later(self, name: str, seconds: float, act: Callable[[], object]) -> None:
        self._cancel(name)
        self._timers[name] = asyncio.get_running_loop().call_later(seconds, act)

    def _cancel(self, name: str) -> None:
        if timer := self._timers.pop(name, None):
            timer.cancel()
