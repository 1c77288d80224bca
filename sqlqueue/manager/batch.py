"""What is in the one transaction: its messages, handled together where that can be, else each by
itself.

Promises: one bad message fails alone, and leaves nothing behind.  What is not here: what a message
means (`service.py`), committing (`committer.py`).
"""

from __future__ import annotations

import logging
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from sqlalchemy.exc import (
    DataError,
    DBAPIError,
    IntegrityError,
    InterfaceError,
    ProgrammingError,
)

from sqlqueue import protocol
from sqlqueue.errors import QueueError
from sqlqueue.manager import service
from sqlqueue.manager.gathering import gathered
from sqlqueue.manager.notebook import Context, Notebook
from sqlqueue.protocol import Reply, Request
from sqlqueue.store.outputs import Redo

Role = Literal["owner", "worker"]

_REFUSED: Final = (IntegrityError, DataError, InterfaceError, ProgrammingError)
"""What one message's content can cause; any other failure of the database concerns all."""

log = logging.getLogger("sqlqueue.manager")


class Refused(Exception):
    """The only message of a batch could not be handled: nothing is left of it."""

    def __init__(self, reply: Reply) -> None:
        super().__init__()
        self.reply = reply


class Apart(Exception):
    """Something in what was handled together cannot be stored: each is to be handled by itself."""


@dataclass(slots=True)
class Job:
    """A request, who asks, and whatever the asker needs to find its answer again.

    `asker`, `units`: who waits its turn with it, and what it may cost (`turns.py`).
    """

    request: Request
    role: Role
    answer: Any = None
    asker: Hashable = None
    units: int = 1


def handle(book: Notebook, jobs: Sequence[Job], whole: Context, together: bool) -> dict[int, Reply]:
    """Handles the jobs; the replies by `id`.  Raises `Refused` or `Apart`, after which all of it
    is to be rolled back."""
    replies: dict[int, Reply] = {}
    handle_one = _handle_alone if len(jobs) == 1 else _handle_one
    for group in gathered(jobs):
        rest = _handle_together(book, group, whole, replies) if together else group
        for job in rest:
            replies[id(job)] = handle_one(book, job, whole)
    return replies


def _handle_together(
    book: Notebook, group: Sequence[Job], whole: Context, replies: dict[int, Reply]
) -> Sequence[Job]:
    """Handles what can be handled in few statements; returns the rest."""
    try:
        found = service.handle_together(book, [each.request for each in group], whole)
    except Exception as error:
        if _concerns_all(error):
            raise
        raise Apart from error
    replies |= {id(job): found[i] for i, job in enumerate(group) if i in found}
    return [job for job in group if id(job) not in replies]


def _handle_alone(book: Notebook, job: Job, whole: Context) -> Reply:
    """The only message needs no savepoint, within which SQLite keeps what each statement may
    have to undo: adding many tasks takes several times as long there."""
    try:
        return service.handle(book, job.request, job.role, whole)
    except Exception as error:
        if _concerns_all(error):
            raise
        raise Refused(_refusal(error)) from error


def _handle_one(book: Notebook, job: Job, whole: Context) -> Reply:
    """One message in a savepoint of its own: what fails leaves nothing behind."""
    part = Context(whole.connection, whole.now, whole.wall)
    whole.connection.exec_driver_sql("SAVEPOINT message")
    try:
        reply = service.handle(book, job.request, job.role, part)
    except Exception as error:
        if _concerns_all(error):
            raise
        whole.connection.exec_driver_sql("ROLLBACK TO message")
        reply = _refusal(error)
    else:
        for key, rows in part.rows.items():
            whole.rows.setdefault(key, {}).update(rows)
        whole.again |= part.again
        whole.after += part.after
    whole.connection.exec_driver_sql("RELEASE message")
    return reply


def _concerns_all(error: Exception) -> bool:
    """Whether it ends the whole transaction, not one message."""
    failed = isinstance(error, DBAPIError) and not isinstance(error, _REFUSED)
    return failed or isinstance(error, Redo)


def _refusal(error: Exception) -> Reply:
    """The answer to the one message that could not be handled."""
    if isinstance(error, QueueError):
        return protocol.error_reply(error)
    log.error("A message could not be handled", exc_info=error)
    reason = error.orig if isinstance(error, DBAPIError) else error
    return protocol.Error(code="refused", message=f"cannot be stored: {reason}")
