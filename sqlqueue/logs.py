"""What sqlqueue's own parts log, as lines for a person on standard error.

What is not here: what is logged, and the captured output of attempts.
"""

from __future__ import annotations

import logging

from sqlqueue.visible import CONTINUED, printable_lines


class Lines(logging.Formatter):
    """Log lines for a person: the time, the level where it matters, the message.

    Messages quote what peers say: what they say cannot begin a line or steer the terminal.
    """

    def format(self, record: logging.LogRecord) -> str:
        level = "" if record.levelno <= logging.INFO else f"{record.levelname.lower()}: "
        text = printable_lines(super().format(record), CONTINUED)
        return f"{self.formatTime(record, '%H:%M:%S')} {level}{text}"


def to_stderr(level: int) -> None:
    """Sends the log of sqlqueue's own parts to standard error."""
    handler = logging.StreamHandler()
    handler.setFormatter(Lines())
    logging.raiseExceptions = False
    root = logging.getLogger("sqlqueue")
    root.handlers[:] = [handler]
    root.setLevel(level)
    root.propagate = False
