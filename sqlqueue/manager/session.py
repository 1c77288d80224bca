"""The manager's connection to its database: one transaction at a time, under the home's lock.

Promises: a transaction begins only in a turn of the lock, and only while no newer manager has
taken over; after a failure the connection is never used again, and what was committed is
not assumed: it is opened anew, and what is then read is durable before a transaction ends.
A damaged database ends all of it.  Used from one thread only.
What is not here: what is in a transaction (`committer.py`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from sqlqueue.disk import Disk
from sqlqueue.errors import DatabaseDamaged, DatabaseError, EpochLost, StorageFailure
from sqlqueue.home import Home
from sqlqueue.home_lock import HomeLock
from sqlqueue.store import condition, detaching, queue, reading
from sqlqueue.store import engine as database
from sqlqueue.store.sealing import Seal

log = logging.getLogger("sqlqueue.manager")


class Session:
    """Owns the connection.  `begin`: what is to be noted when it was opened, in that transaction.

    `damage`: why nothing more is acked, once the database turned out to be damaged.
    """

    def __init__(
        self, home: Home, lock: HomeLock, disk: Disk, begin: Callable[[Connection], None]
    ) -> None:
        self._home = home
        self._lock = lock
        self._disk = disk
        self._begin = begin
        self._seal = Seal(home, disk)
        self._engine: Engine | None = None
        self._connection: Connection | None = None
        self._reread = False
        """What was read back after a failure may not be durable until something is committed."""
        self.epoch = 0
        self.damage: DatabaseDamaged | None = None

    def open(self) -> None:
        """Opens and migrates the database and begins an epoch; the caller has the turn."""
        if self._lock.from_elsewhere:
            detaching.detach(self._home, self._disk)
        self._connect()
        with self.begun() as connection:
            self.epoch = queue.advance_epoch(connection)
            self._begin(connection)

    def close(self) -> None:
        """Closes the database; what was not committed is gone."""
        for each in (self._connection, self._engine):
            try:
                if isinstance(each, Connection):
                    each.close()
                elif each is not None:
                    each.dispose()
            except SQLAlchemyError:
                log.debug("closing the database", exc_info=True)
        self._connection = self._engine = None

    @contextmanager
    def begun(self) -> Iterator[Connection]:
        """A transaction that commits at the end; raises `StorageFailure` when it cannot.

        After that the connection is never used again.
        """
        with self._lock.turn():
            self._lock.check()
            if self._connection is None:
                self._reopen()
            assert self._connection is not None
            try:
                with self._connection.begin():
                    self._refuse_piecemeal()
                    yield self._connection
                self._seal.note()
            except DBAPIError as error:
                self._seal.drop()
                self.close()
                if condition.is_damage(error.orig):
                    self._look_for_damage()
                why = condition.why_failed(self._home.database, error.orig)
                raise StorageFailure(why) from error

    def _refuse_piecemeal(self) -> None:
        """That a transaction begins hangs on a listener.  Without one each statement would be
        committed by itself, which nobody would see before a crash."""
        assert self._connection is not None
        driver = self._connection.connection.driver_connection
        if driver is None or not driver.in_transaction:
            self.close()
            raise StorageFailure("the database began no transaction")

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """As `begun`, and only while no newer manager has taken over."""
        with self.begun() as connection:
            if reading.epoch(connection) != self.epoch:
                raise EpochLost
            if self._reread:
                queue.note_reopening(connection)
            yield connection
        self._reread = False

    def _connect(self) -> None:
        try:
            self._engine = database.open_writer(self._home, self._disk)
            self._connection = self._engine.connect()
        except (SQLAlchemyError, OSError) as error:
            self.close()
            reason = getattr(error, "orig", None) or error
            raise StorageFailure(
                f"{self._home.database}: cannot be opened: {reason}; is the disk full or gone?"
            ) from error

    def _reopen(self) -> None:
        """After a failure: what was begun or ended by a commit that failed is not known.

        While nobody could be heard, no lease may lapse.
        """
        try:
            self._connect()
        except condition.Damaged as error:
            self._give_up(error)
        except (DatabaseError, OSError) as error:
            raise StorageFailure(f"the database cannot be opened: {error}") from None
        self._reread = True
        with self.begun() as connection:
            self._begin(connection)
        log.warning("The database was opened anew")

    def _look_for_damage(self) -> None:
        """Whether the file itself is damaged, or was only read wrongly once."""
        try:
            condition.check(self._home, surely=True)
        except condition.Damaged as error:
            self._give_up(error)
        except DatabaseError:
            log.debug("looking for damage", exc_info=True)

    def _give_up(self, error: DatabaseError) -> NoReturn:
        """Nothing more is acked; whoever runs the committer ends."""
        self.damage = DatabaseDamaged(error.message)
        raise self.damage from None
