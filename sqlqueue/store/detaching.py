"""A database taken over from another host: copied, so that the host's process cannot reach it.

Where hosts share a filesystem, a lock may be known to one of them only; a manager that was
paused there, or cut off, may wake up with the database open, believing that it owns it alone,
and write.  So whoever takes over goes on with a copy under the old name: what the other
writes goes into a file that nobody sees, and it acks nothing, since it looks at the lock
between its commit and the ack (`home_lock.py`).

Promises: the name stands at every instant for the whole database; one that is being written
to is not copied.  What is not here: the lock, the CSVs.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import Final

from sqlqueue.disk import Disk
from sqlqueue.errors import DatabaseError, ManagerRunning
from sqlqueue.home import Home

TRIES: Final = 10
PAUSE_SECONDS: Final = 1.0
JOURNAL: Final = "-journal"
_CHUNK_BYTES: Final = 1 << 20

log = logging.getLogger("sqlqueue.manager")


def detach(home: Home, disk: Disk) -> None:
    """Puts a copy of the database in its place; raises `ManagerRunning` while it is written."""
    if not home.database.exists():
        return
    copy = home.database.with_name(f".{home.database.name}.taken-over")
    for _ in range(TRIES):
        if copy_at_rest(home.database, copy, disk) and _whole(copy):
            _take_place(home, copy, disk)
            log.info("%s was copied: nobody else has it open now", home.database)
            return
        time.sleep(PAUSE_SECONDS)
    raise ManagerRunning(
        f"{home.database} is still being written to by whoever had this queue: "
        "end that process first (its host and pid stand in manager.json)"
    )


def copy_home(home: Home, view: Home) -> None:
    """What a look at the database needs, somewhere else; raises `DatabaseError` when that is
    impossible.  A database that is never whole is copied as it is: whoever looks will say so."""
    copy_at_rest(home.identity_file, view.identity_file, Disk())
    at_rest = False
    for _ in range(TRIES):
        at_rest = copy_at_rest(home.database, view.database, Disk())
        if at_rest and _whole(view.database):
            return
        time.sleep(PAUSE_SECONDS / TRIES)
    if not at_rest:
        raise DatabaseError(
            f"{home.database}: is being written to by a manager that does not answer here: "
            "ask on its host"
        )


def copy_at_rest(database: Path, copy: Path, disk: Disk) -> bool:
    """Copies the database and its journal; False when they changed meanwhile."""
    pairs = [(database, copy), (_journal(database), _journal(copy))]
    before = [_look(source) for source, _ in pairs]
    for source, target in pairs:
        target.unlink(missing_ok=True)
        with suppress(FileNotFoundError):
            _copy(source, target, disk)
    return before == [_look(source) for source, _ in pairs]


def _copy(source: Path, target: Path, disk: Disk) -> None:
    with source.open("rb") as whole:
        fd = disk.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        try:
            while piece := whole.read(_CHUNK_BYTES):
                disk.append(fd, piece)
        finally:
            os.close(fd)


def _look(path: Path) -> tuple[int, ...]:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return ()
    try:
        found = os.fstat(fd)
    finally:
        os.close(fd)
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _whole(copy: Path) -> bool:
    """Whether SQLite finds nothing wrong; what was not committed is rolled back meanwhile."""
    try:
        with closing(sqlite3.connect(copy)) as connection:
            connection.execute("PRAGMA journal_mode = DELETE")
            return connection.execute("PRAGMA quick_check").fetchall() == [("ok",)]
    except sqlite3.DatabaseError:
        return False


def _take_place(home: Home, copy: Path, disk: Disk) -> None:
    """The journal goes last: what it undoes is undone in the copy, and once more is no harm.

    Not before the copy stands there for good: the old database is nothing without its journal.
    """
    fd = os.open(copy, os.O_RDWR | os.O_CLOEXEC)
    try:
        disk.fsync(fd)
    finally:
        os.close(fd)
    disk.replace(copy, home.database)
    disk.fsync_dir(home.path)
    with suppress(FileNotFoundError):
        disk.unlink(_journal(home.database))
    disk.fsync_dir(home.path)


def _journal(database: Path) -> Path:
    return database.with_name(database.name + JOURNAL)
