"""The database opened for a look that writes nothing, not even beside it.

Promises: beside a running manager too, and while one begins or ends; what was committed is seen.
What is not here: what is looked at, and whether the file is a database of ours (`condition.py`).
"""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from typing import Final

BUSY_MILLISECONDS: Final = 10_000
LOG_HEAD_BYTES: Final = 32
LOG_MAGIC: Final = b"\x37\x7f\x06"
"""What a write-ahead log begins with, and how long that is (SQLite's file format)."""

LOOKS: Final = 5
AGAIN_SECONDS: Final = 0.1


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
    for unchanging: chosen anew for each connection, since a manager may start meanwhile.
    """
    log, index = (path.with_name(path.name + end) for end in ("-wal", "-shm"))
    followed = log.exists() and not _is_barren(log)
    how = ("&readonly_shm=1" if index.exists() else "") if followed else "&immutable=1"
    return f"{path.absolute().as_uri()}?mode=ro{how}"


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
