"""The manager without a socket: for commands that find none running.

The same messages, the same transaction, the same lock; in the command's own thread.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlqueue import protocol
from sqlqueue.disk import Disk
from sqlqueue.errors import from_wire
from sqlqueue.home import Home
from sqlqueue.home_lock import HomeLock
from sqlqueue.manager.committer import Committer, Job
from sqlqueue.protocol import Reply, Request


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


@contextmanager
def open_local(home: Home, disk: Disk | None = None) -> Iterator[Local]:
    """Owns the home inside the block; raises `ManagerRunning` when another does."""
    with HomeLock(home, "a command") as lock:
        committer = Committer(home, disk=disk, lock=lock)
        committer.open()
        try:
            yield Local(committer)
        finally:
            committer.close()
