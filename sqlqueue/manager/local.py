"""The manager without a socket: for commands that find none running.

The same messages, the same transaction, the same lock; in the command's own thread.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

from sqlqueue import protocol
from sqlqueue.disk import Disk
from sqlqueue.errors import from_wire
from sqlqueue.home import Home
from sqlqueue.home_lock import HomeLock
from sqlqueue.manager.committer import Committer, Job
from sqlqueue.manager.intake import Intake
from sqlqueue.protocol import Reply, Request
from sqlqueue.store.lanes import Lanes


class Local:
    """Answers requests as a manager would."""

    def __init__(self, committer: Committer) -> None:
        self._committer = committer

    def request(self, message: Request) -> Reply:
        """Raises the `QueueError` that a manager would have answered."""
        ((_, reply),) = self._committer.process([Job(message, "owner")])
        if isinstance(reply, protocol.Error):
            raise from_wire(reply.code, reply.message, reply.retryable)
        return reply

    def take_in(self) -> int:
        """Takes in what workers left as files, as a manager does when it starts."""
        taken, acked = 0, 1
        with closing(Lanes()) as lanes:
            while acked and (jobs := self._intake(lanes).jobs(self._committer)):
                answers = self._committer.process(jobs)
                self._intake(lanes).settle(answers)
                acked = sum(isinstance(reply, protocol.Ack) for _, reply in answers)
                taken += acked
        return taken

    def _intake(self, lanes: Lanes) -> Intake:
        """A new one each time: it would wait before it looks once more."""
        return Intake(self._committer.home, clock=time.monotonic, lanes=lanes)

    def set_aside(self) -> list[str]:
        """Files of a person's that were moved, the oldest first."""
        return list(self._committer.figures()["set_aside"])


@contextmanager
def open_local(home: Home, disk: Disk | None = None) -> Iterator[Local]:
    """Owns the home inside the block; raises `ManagerRunning` when another does."""
    with HomeLock(home, "a command") as lock, opened(home, lock, disk) as local:
        yield local


@contextmanager
def opened(home: Home, lock: HomeLock, disk: Disk | None = None) -> Iterator[Local]:
    """The queue inside the block; the caller holds the home's lock."""
    committer = Committer(home, disk=disk, lock=lock)
    committer.open()
    try:
        yield Local(committer)
    finally:
        committer.close()
