"""The one transaction: whatever waits is handled, appended, synced and committed together.

Promises: a reply leaves only after the commit that it speaks of; one bad message fails alone;
a directory that cannot be written fails only the messages that need it; after a failed COMMIT
nothing is assumed: the database is opened anew and every file just written is recovered.
Used from one thread only.  What is not here: threads, sockets, what a message means.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection

from sqlqueue import protocol
from sqlqueue.disk import Disk
from sqlqueue.errors import (
    DatabaseDamaged,
    DirectoryUnavailable,
    ManagerStopping,
    NotAuthorised,
    QueueError,
    StorageFailure,
)
from sqlqueue.home import Home
from sqlqueue.home_lock import HomeLock
from sqlqueue.lifecycle import State
from sqlqueue.manager import batch, handing_out, keeping_touch, mending, service
from sqlqueue.manager.batch import Apart, Job, Refused
from sqlqueue.manager.notebook import Context, Notebook
from sqlqueue.manager.session import Session
from sqlqueue.protocol import Reply
from sqlqueue.store import copies, pace, proving, queue, records, summary, wishing
from sqlqueue.store.directories import Claims
from sqlqueue.store.lanes import Lanes
from sqlqueue.store.outputs import Outputs, Redo

__all__ = ["Committer", "Job"]

MOST_TRIES: Final = 50
"""A batch is done again at most so often; each time a directory was mended or suspended."""

log = logging.getLogger("sqlqueue.manager")


class Committer:
    """Owns the database connection and the CSVs of one home, whose lock the caller holds."""

    def __init__(
        self,
        home: Home,
        *,
        disk: Disk | None = None,
        lanes: Lanes | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        lock: HomeLock | None = None,
        breaker_cells: int = 0,
    ) -> None:
        self.home = home
        self._lock = lock or HomeLock(home)
        self._disk = disk or Disk()
        self._lanes = lanes or Lanes()
        self._clock = clock
        self._wall = wall
        self._session = Session(home, self._lock, self._disk, self._take_up)
        self.outputs = Outputs(home, disk=self._disk, lanes=self._lanes, clock=clock)
        self.claims = Claims(home, self._disk, self._lanes)
        self.book = Notebook(self.outputs, self.claims, breaker_cells)
        self.stopping: Callable[[], bool] = lambda: False
        """Whether what looks at every directory is to be left half done."""
        self.trouble = ""
        """Why the last commit failed, if it did."""
        self.done = False
        """Whether every task is finished, and there is one; as of the last commit."""

    # --- opening and closing ----------------------------------------------------------

    def open(self) -> None:
        """Opens and migrates the database, begins an epoch, recovers every CSV."""
        with self._lock.turn():
            self._session.open()
            copies.settle(self.transaction, self.claims, mine=self._lock.takes_over)
            with self.transaction() as connection:
                queue.know_queue(connection, self.home.queue_id())
                self.done = handing_out.done(connection)
            self.home.note_database(self._disk)
            taken = bool(self._lock.taken_from)
            self.outputs.recover_all(self.transaction, self._session.epoch, anew=taken)
        self._lock.settled()

    def close(self) -> None:
        """Closes the database; nothing is under way any more."""
        self._session.close()
        self._lanes.close()

    @property
    def transaction(self) -> Callable[[], AbstractContextManager[Connection]]:
        """Begins a transaction: `Session.transaction`."""
        return self._session.transaction

    @property
    def damage(self) -> DatabaseDamaged | None:
        """Why nothing more is acked."""
        return self._session.damage

    def _take_up(self, connection: Connection) -> None:
        service.begin(self.book, connection, self._clock())

    # --- work -----------------------------------------------------------------------------

    def process(self, jobs: Sequence[Job]) -> list[tuple[Job, Reply]]:
        """Handles the jobs in one transaction; returns when what the replies say is durable.

        One turn: nobody takes the home over between an epoch that was looked at and a write.
        """
        with self._lock.turn():
            return self._process(jobs)

    def _process(self, jobs: Sequence[Job]) -> list[tuple[Job, Reply]]:
        if len(jobs) == 1 and isinstance(jobs[0].request, protocol.Repair | protocol.Audit):
            return [(jobs[0], self._whole(jobs[0]))]
        together = True
        for _ in range(MOST_TRIES):
            try:
                return self._batch(jobs, together)
            except Apart:
                self.claims.forget()
                together = False
                continue
            except Refused as refused:
                self.claims.forget()
                return [(jobs[0], refused.reply)]
            except Redo:
                self.claims.forget()
                self.outputs.undo()
            except StorageFailure as error:
                self.claims.forget()
                self.outputs.unknown()
                self.trouble = error.message
                log.error("%s", error.message)
                return self._refused(jobs, error)
            try:
                self.outputs.mend(self.transaction)
            except StorageFailure as error:
                return self._refused(jobs, error)
        return self._refused(jobs, DirectoryUnavailable("the output directories keep changing"))

    def _batch(self, jobs: Sequence[Job], together: bool) -> list[tuple[Job, Reply]]:
        now, wall = self._clock(), self._wall()
        with self.transaction() as connection:
            whole = Context(connection, now, wall)
            replies = batch.handle(self.book, jobs, whole, together)
            self.outputs.deliver(connection, whole.rows, whole.again)
            done = handing_out.done(connection)
        self._lock.check()  # what was committed to a file that another has replaced is no promise
        self.outputs.committed()
        self.trouble, self.done = "", done
        for each in whole.after:
            each()
        return [(job, replies[id(job)]) for job in jobs]

    @staticmethod
    def _refused(jobs: Sequence[Job], error: QueueError) -> list[tuple[Job, Reply]]:
        return [(job, protocol.error_reply(error)) for job in jobs]

    def tick(self) -> bool:
        """Judges leases, tries suspended directories again; whether work may have appeared."""
        with self._lock.turn():
            back = self.outputs.retry_suspended(self.transaction)
            with self.transaction() as connection:
                context = Context(connection, self._clock(), self._wall())
                ended = keeping_touch.expire(self.book, context)
                settled = wishing.is_settling(connection)
                wishing.settle_some(connection)
                done = handing_out.done(connection)
        self.trouble, self.done = "", done
        for each in context.after:
            each()
        return back or settled or ended > 0

    def figures(self) -> dict[str, Any]:
        """What `status` tells of the database, read through the writer's own connection."""
        with self._session.begun() as connection:
            return summary.from_database(connection, self._wall())

    def folders(self) -> list[Path]:
        """Every output directory."""
        with self._session.begun() as connection:
            return [self.home.absolute(path) for path, _ in records.load(connection).values()]

    def counts(self) -> dict[State, int]:
        """How many tasks stand in each state."""
        with self._session.begun() as connection:
            return pace.states(connection)

    def _whole(self, job: Job) -> Reply:
        """What looks at every CSV: has a place of its own between two transactions."""
        try:
            if job.role != "owner":
                name = type(job.request).__name__
                raise NotAuthorised(f"only the queue's owner may say {name}")
            return self._audit() if isinstance(job.request, protocol.Audit) else self._repair()
        except (NotAuthorised, DirectoryUnavailable, StorageFailure, ManagerStopping) as error:
            return protocol.error_reply(error)

    def _repair(self) -> Reply:
        actions = mending.repair(self.outputs, self.claims, self.transaction, self._go_on)
        return protocol.RepairedReply(actions=actions)

    def _audit(self) -> Reply:
        """Proves that database and CSVs agree, while nothing is being written."""
        with self.transaction() as connection:
            proof = proving.Proof(connection, self.home, self._disk, self._lanes, self._go_on)
            return proving.answer(proof)

    def _go_on(self) -> None:
        if self.stopping():
            raise ManagerStopping
