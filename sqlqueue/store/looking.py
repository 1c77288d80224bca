"""The database opened for a look that writes nothing, not even beside it.

Promises: beside a running manager too, and while one begins or ends; what was committed is seen.
What is not here: what is looked at, and whether the file is a database of ours (`condition.py`).
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

T = TypeVar("T")

BUSY_MILLISECONDS: Final = 10_000
LOG_HEAD_BYTES: Final = 32
LOG_MAGIC: Final = b"\x37\x7f\x06"
"""What a write-ahead log begins with, and how long that is (SQLite's file format)."""

LOOKS: Final = 5
AGAIN_SECONDS: Final = 0.1


def steady(path: Path, read: Callable[[], T]) -> T:
    """What `read` finds, from a file under which nobody wrote meanwhile.

    Where no log lay the file was taken for unchanging; a manager that began then, and brought what
    it committed into the file, leaves what was read half of before, half of after: it may seem
    damaged, or merely be wrong.  So it is read once more.
    """
    while True:
        before = _unchanging(path)
        try:
            found = read()
        except Exception:
            if before is None or _unchanging(path) == before:
                raise
        else:
            if before is None or _unchanging(path) == before:
                return found


def _unchanging(path: Path) -> tuple[int, ...] | None:
    """How the file looks that will be taken for unchanging; None where its log is followed."""
    if _is_followed(path):
        return None
    try:
        found = path.stat()
    except OSError:
        return ()
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def look(path: Path) -> sqlite3.Connection:
    """An open connection for looks that write nothing; the caller closes it.

    Whoever closes the database last removes its log: one who opens it just then finds it half
    gone, and looks again.  While it is open its log stays.
    """
    for _ in range(LOOKS - 1):
        try:
            return _opened(path)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_CANTOPEN:
                raise
        time.sleep(AGAIN_SECONDS)
    return _opened(path)


def _opened(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(reading(path), uri=True, check_same_thread=False)
    try:
        connection.execute(f"PRAGMA busy_timeout = {BUSY_MILLISECONDS}")
        connection.execute("PRAGMA schema_version")  # opens the file: nothing before does
    except BaseException:
        connection.close()
        raise
    return connection


def reading(path: Path) -> str:
    """How to open the database for a look that writes nothing, not even beside it.

    Left to itself SQLite makes the two files of its write-ahead log where a clean stop removed
    them, and tidies them after a crash.  With no log there, or nothing in it, the file is taken
    for unchanging: chosen anew for each connection, since a manager may start meanwhile (`steady`).
    """
    how = "&immutable=1"
    if _is_followed(path):
        how = "&readonly_shm=1" if path.with_name(f"{path.name}-shm").exists() else ""
    return f"{path.absolute().as_uri()}?mode=ro{how}"


def _is_followed(path: Path) -> bool:
    """Whether there is a log that whoever reads must take into account."""
    log = path.with_name(f"{path.name}-wal")
    return log.exists() and not _is_barren(log)


def _is_barren(log: Path) -> bool:
    """Whether a log has a head and no page, as a writer leaves it that dies in its first commit,
    or a head that is none: nobody can have committed to it.

    SQLite, when it may not write the log's index, finds such a head changed behind its back
    each time that it looks, and gives up after ten seconds ("locking protocol").
    """
    try:
        with log.open("rb") as file:
            head = file.read(LOG_HEAD_BYTES + 1)
    except OSError:
        return False
    return len(head) == LOG_HEAD_BYTES or (bool(head) and not head.startswith(LOG_MAGIC))
