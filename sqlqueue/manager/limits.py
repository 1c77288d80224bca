"""How much one client may cost the manager, and how long it may take.

Values only; tests make their own.  What is not here: the limits that are part of the
protocol (`protocol.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sqlqueue import protocol


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds of a connection, and of all together."""

    message_bytes: int = protocol.MAX_MESSAGE_BYTES
    hello_bytes: int = protocol.MAX_HELLO_BYTES
    hello_seconds: float = protocol.HELLO_SECONDS
    """For the TLS handshake, and again for the hello."""
    strangers: int = 64
    """TCP connections that have not said hello yet."""
    strangers_of_one_host: int = 32
    stranger_seconds: float = 1.0
    """How long a stranger has its place for itself; one that goes without hello leaves it empty
    for the rest of that time."""
    backlog: int = 4096
    open_questions: int = 256
    """Requests of one connection on their way; no more is read until some are answered."""
    open_bytes: int = 2 * protocol.MAX_MESSAGE_BYTES
    open_units: int = 1000
    """What those on their way may cost; the one that reaches it is the last (`turns.py`)."""
    unread_bytes: int = 4 * protocol.MAX_MESSAGE_BYTES
    """Answers that a client has not read; one byte more and it is dropped."""
    total_bytes: int = 16 * protocol.MAX_MESSAGE_BYTES
    """Requests on their way and answers not read, of all connections together."""
    high_water_bytes: int = 1024 * 1024
    """Answers not read, above which nothing more is read from the client either."""
    stall_seconds: float = 30.0
    """How long a client may stay above the high water mark."""
    linger_seconds: float = 5.0
    """How long a connection that is given up may take to read why."""
    unheard_bytes: int = 64 * 1024
    """What a stranger may go on sending meanwhile: even to throw it away costs something."""
    patience_seconds: float = 0.02
    """Silence after which an object without a line end is tried, longer for long ones."""
    tls_close_seconds: float = 1.0
    """How long TLS waits for the other side to agree that a connection ends."""
    tick_seconds: float = 1.0
    parting_seconds: float = 5.0
    """When all is done: how long clients have to hear of it and to hang up."""
    goodbye_seconds: float = 2.0
    """At the end: how long clients have to read their last answers."""
    retry_accept_seconds: float = 0.5
    waking: int = 32
    """Waiting requests that are asked again at once when there may be a task."""


DEFAULT: Final = Limits()
