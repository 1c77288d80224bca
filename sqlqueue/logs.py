"""What sqlqueue's own parts log, as lines for a person on standard error.

Promises: what peers say cannot begin a line or steer the terminal; peers that nobody knows
cannot fill a disk with lines about themselves.  What is not here: what is logged, and the
captured output of attempts.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from math import inf
from typing import Final

from sqlqueue.visible import CONTINUED, printable_lines

SELDOM_SECONDS: Final = 60.0
MOST_STRANGERS: Final = 256
"""Of so many it is known when they were last spoken of; further ones count as one."""


class Seldom(logging.Filter):
    """A line about a stranger, told by `extra={"stranger": host}`: one a minute of each kind.

    The next one says how many there were in between.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._told: dict[tuple[str, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        host = getattr(record, "stranger", None)
        return host is None or self._is_due(str(host), record)

    def _is_due(self, host: str, record: logging.LogRecord) -> bool:
        now, key = self._clock(), (host, record.msg)
        if key not in self._told:
            key = self._room(key, now)
        since, withheld = self._told.get(key, (-inf, 0))
        if now - since < SELDOM_SECONDS:
            self._told[key] = (since, withheld + 1)
            return False
        self._told[key] = (now, 0)
        if withheld:
            record.msg = f"{record.msg} (and {withheld} like it before)"
        return True

    def _room(self, key: tuple[str, str], now: float) -> tuple[str, str]:
        if len(self._told) >= MOST_STRANGERS:
            since = now - SELDOM_SECONDS
            self._told = {each: told for each, told in self._told.items() if told[0] > since}
        return key if len(self._told) < MOST_STRANGERS else ("", key[1])


def together(log: logging.Logger, texts: Sequence[str]) -> None:
    """Logs lines of one moment, each as one of its own, for the price of one."""
    if texts and log.isEnabledFor(logging.INFO):
        log.info("%s", "\n".join(texts), extra={"told": texts})


class Lines(logging.Formatter):
    """Log lines for a person: the time, the level where it matters, the message.

    Messages quote what peers say: what they say cannot begin a line or steer the terminal.
    """

    def format(self, record: logging.LogRecord) -> str:
        level = "" if record.levelno <= logging.INFO else f"{record.levelname.lower()}: "
        begin = f"{self.formatTime(record, '%H:%M:%S')} {level}"
        texts: Sequence[str] = getattr(record, "told", ()) or [super().format(record)]
        return "\n".join([begin + printable_lines(text, CONTINUED) for text in texts])


def to_stderr(level: int) -> None:
    """Sends the log of sqlqueue's own parts to standard error."""
    handler = logging.StreamHandler()
    handler.setFormatter(Lines())
    handler.addFilter(Seldom())
    logging.raiseExceptions = False
    root = logging.getLogger("sqlqueue")
    root.handlers[:] = [handler]
    root.setLevel(level)
    root.propagate = False
