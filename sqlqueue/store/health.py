"""How a database is: what SQLite says of it, and what SQLite can do in a folder.

Promises: reads only; the database that `database_fails` tries is its own and gone afterwards.
What is not here: whether database and CSVs agree (`audit.py`).
"""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Collection
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, func, select, text

from sqlqueue.filesystems import on_network
from sqlqueue.home import Home
from sqlqueue.store import engine, records
from sqlqueue.store.csv_file import Record
from sqlqueue.store.schema import attempts, csv_rows, results, tasks

PREFIX: Final = ".sqlqueue-doctor-"
MOST_TROUBLES: Final = 3
OLDEST: Final = (3, 35, 0)
BAD: Final = (((3, 35, 0), (3, 37, 2), "may spoil a database when a savepoint is rolled back"),)
"""Versions from (inclusive) and up to (exclusive) which something that is relied on is broken.

The race in resetting the write-ahead log (3.7.0 to 3.51.2) is not among them: it takes two
connections that write or checkpoint, and a queue has one; all others are read-only.
"""


@dataclass
class Health:
    """What one look at a database told."""

    troubles: list[str] = field(default_factory=list)
    pages: int = 0
    free_pages: int = 0
    page_bytes: int = 0
    newest: float = 0.0
    directories: dict[str, Record] = field(default_factory=dict)
    set_aside: list[str] = field(default_factory=list)


def look(home: Home, check: bool = True) -> Health:
    """Raises `DatabaseError` when the database cannot be used; `check`: read every page."""
    with engine.Reader(home) as reader:
        return reader.read(lambda connection: _told(connection, check))


def _told(connection: Connection, check: bool) -> Health:
    return Health(
        troubles=_troubles(connection) if check else [],
        pages=_number(connection, "PRAGMA page_count"),
        free_pages=_number(connection, "PRAGMA freelist_count"),
        page_bytes=_number(connection, "PRAGMA page_size"),
        newest=_newest(connection),
        directories=dict(records.load(connection).values()),
        set_aside=records.set_aside_paths(connection),
    )


def with_rows(home: Home, signatures: Collection[str]) -> set[tuple[str, str]]:
    """Of these signatures those whose tasks have a row in a CSV, each with the task's id."""
    with engine.Reader(home) as reader:
        return reader.read(lambda connection: _with_rows(connection, signatures))


def _with_rows(connection: Connection, signatures: Collection[str]) -> set[tuple[str, str]]:
    query = select(tasks.c.task_id, tasks.c.signature).join(
        csv_rows, csv_rows.c.signature == tasks.c.signature
    )
    found = connection.execute(query.execution_options(yield_per=1000))
    return {(row.task_id, row.signature) for row in found if row.signature in signatures}


def _troubles(connection: Connection) -> list[str]:
    found = connection.execute(text(f"PRAGMA quick_check({MOST_TROUBLES})")).scalars()
    return [each for each in found if each != "ok"]


def _number(connection: Connection, pragma: str) -> int:
    return int(connection.execute(text(pragma)).scalar_one())


def _newest(connection: Connection) -> float:
    """The latest time that stands anywhere in the database."""
    columns = (tasks.c.created_at, attempts.c.started_at, attempts.c.ended_at, results.c.arrived_at)
    times = (connection.execute(select(func.max(each))).scalar() for each in columns)
    return max((float(each) for each in times if each is not None), default=0.0)


def database_fails(folder: Path) -> str | None:
    """Why a queue's database would not work in that folder; None when it does."""
    place = Path(tempfile.mkdtemp(prefix=PREFIX, dir=folder))
    try:
        return _fails(place / "tried.db", "DELETE" if on_network(folder) else "WAL")
    except sqlite3.Error as error:
        return str(error)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _fails(path: Path, mode: str) -> str | None:
    with closing(sqlite3.connect(path, isolation_level=None)) as writer:
        got = writer.execute(f"PRAGMA journal_mode = {mode}").fetchone()[0]
        writer.execute("PRAGMA synchronous = FULL")
        writer.execute("CREATE TABLE tried (number INTEGER)")
        writer.execute("INSERT INTO tried VALUES (1)")
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as reader:
            found = reader.execute("SELECT number FROM tried").fetchone()
    if got.upper() != mode:
        return f"the journal mode is {got}, not {mode}"
    return None if found == (1,) else "another connection does not see what was written"


def library_troubles() -> list[str]:
    """What is wrong with the SQLite that this Python has."""
    version, name = sqlite3.sqlite_version_info, f"SQLite {sqlite3.sqlite_version}"
    found = [
        f"{name} {what}; {'.'.join(map(str, end))} does not"
        for begin, end, what in BAD
        if begin <= version < end
    ]
    if version < OLDEST:
        found.append(f"{name} is too old; {'.'.join(map(str, OLDEST))} is needed")
    if sqlite3.threadsafety == 0:
        found.append(f"{name} was built without threads")
    return found
