"""The database: can it be used, is it whole, is it as large as what is in it.

What is not here: SQL (`store/health.py`), whether the CSVs agree (`sqlqueue verify`).
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from sqlqueue.doctor.finding import NOTE, PROBLEM, WARNING, Finding, kind
from sqlqueue.errors import DatabaseError
from sqlqueue.home import Home

if TYPE_CHECKING:
    from sqlqueue.store.health import Health

LARGE_LOG_BYTES: Final = 256 << 20
WASTE_BYTES: Final = 256 << 20
LATER_SECONDS: Final = 60.0
OLDER: Final = "is of version"
NEWER: Final = "was written by a newer"

MISSING = kind(
    "database-missing", WARNING, "the home has no database",
    "there are no tasks in it, or somebody removed them",
    cure="`sqlqueue recover --backup FILE`, or `sqlqueue recover FILES...` (docs/RECOVERY.md)",
)  # fmt: skip
UNUSABLE = kind(
    "database-unusable", PROBLEM, "the database cannot be used",
    "no task is handed out and no result stored",
    cure="`sqlqueue recover --backup FILE`, or `sqlqueue recover FILES...` (docs/RECOVERY.md): "
    "what stands there is kept, and the CSVs still have every row",
)  # fmt: skip
OLD = kind(
    "database-old", NOTE, "the database is of an older version than this sqlqueue",
    "`status` and `verify` do not read it before it is brought up to date",
    cure="`sqlqueue serve` brings it up to date",
)  # fmt: skip
NEW = kind(
    "database-new", PROBLEM, "the database is of a newer version than this sqlqueue",
    "it cannot tell what is in it, and leaves it alone",
    cure="install the sqlqueue that wrote it, or a later one",
)  # fmt: skip
DAMAGED = kind(
    "database-damaged", PROBLEM, "SQLite finds damage in the database",
    "tasks or results in the damaged pages are gone or wrong",
    cure="stop the manager, then `sqlqueue recover --backup FILE`, or `sqlqueue recover FILES...` "
    "(docs/RECOVERY.md): what stands there is kept",
)  # fmt: skip
LARGE_LOG = kind(
    "database-large-log", NOTE, "the write-ahead log is large",
    "reading becomes slower, and it takes room",
    cure="end what has read the database for long; a manager that starts anew empties it",
)  # fmt: skip
WASTE = kind(
    "database-free-pages", NOTE, "most of the database file is free pages",
    "it takes room that it does not need", cure="nothing must be done: they are used again",
)  # fmt: skip
LATER = kind(
    "clock-behind-queue", WARNING, "the queue has times that are still to come",
    "the clock was set back, or was ahead before; only times shown to people are wrong",
    cure="set the clock, for example with `chronyd` or `systemd-timesyncd`",
)  # fmt: skip


def check(home: Home) -> tuple[list[Finding], Health | None]:
    """The findings, and what else the database told."""
    if not home.database.exists():
        missing = [MISSING.at(home.database, "no such file")] if home.exists() else []
        return missing, None
    from sqlqueue.store import health

    try:
        told = health.look(home)
    except DatabaseError as error:
        return [_unusable(home, error)], None
    return list(_told(home, told)), told


def _unusable(home: Home, error: DatabaseError) -> Finding:
    found = error.message.removeprefix(f"{home.database}: ").partition("; ")[0]
    named = {OLDER: OLD, NEWER: NEW}
    kinds = next((named[each] for each in named if re.match(each, found)), UNUSABLE)
    return kinds.at(home.database, found)


def _told(home: Home, told: Health) -> Iterator[Finding]:
    for each in told.troubles:
        yield DAMAGED.at(home.database, each)
    log = home.database.with_name(home.database.name + "-wal")
    if log.exists() and (size := log.stat().st_size) > LARGE_LOG_BYTES:
        yield LARGE_LOG.at(log, f"{size >> 20} MiB")
    free = told.free_pages * told.page_bytes
    if free > WASTE_BYTES and 2 * told.free_pages > told.pages:
        yield WASTE.at(home.database, f"{free >> 20} MiB of {told.pages * told.page_bytes >> 20}")
    if (ahead := told.newest - time.time()) > LATER_SECONDS:
        yield LATER.at(home.database, f"its newest time is {ahead:.0f} s ahead of this clock")
