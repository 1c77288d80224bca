"""Names in a queue that begin with what was typed: for a shell's completion.  Read-only.

Said to sqlite3 itself, since importing SQLAlchemy takes longer than a person waits for a key.
Every function takes the path of the database, and returns no more than `MOST` names.
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Final

from sqlqueue.store.looking import look

MOST: Final = 200


def _found(database: Path, query: str, prefix: str) -> list[str]:
    """The first column of the rows of which it begins with the prefix, taken as it is."""
    like = prefix.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
    with closing(look(database)) as connection:
        rows = connection.execute(f"{query} LIMIT {MOST + 1}", (like,))
        return [str(name) for (name, *_) in rows]


def phases(database: Path, prefix: str) -> list[str]:
    """In the order in which they appeared."""
    query = "SELECT name FROM phases WHERE name LIKE ? ESCAPE '\\' ORDER BY id"
    return _found(database, query, prefix)[:MOST]


def task_ids(database: Path, prefix: str) -> list[str]:
    """Of too many their phases, with the line that every id goes on with."""
    end = prefix + "\U0010ffff"  # a range of the index: `LIKE` would read every task
    query = "SELECT task_id FROM tasks WHERE task_id >= ? AND task_id < ? ORDER BY task_id LIMIT ?"
    with closing(look(database)) as connection:
        rows = connection.execute(query, (prefix, end, MOST + 1)).fetchall()
    found = [str(name) for (name,) in rows]
    if len(found) <= MOST:
        return found
    return [f"{each}_" for each in phases(database, prefix)] or found[:MOST]


def _of_workers(database: Path, column: str, prefix: str) -> list[str]:
    query = f"SELECT DISTINCT {column} FROM workers WHERE {column} LIKE ? ESCAPE '\\' ORDER BY 1"
    return [each for each in _found(database, query, prefix) if each][:MOST]


def workers(database: Path, prefix: str) -> list[str]:
    """Those that ever announced themselves."""
    return _of_workers(database, "worker_id", prefix)


def hosts(database: Path, prefix: str) -> list[str]:
    """Where they work."""
    return _of_workers(database, "host", prefix)


def devices(database: Path, prefix: str) -> list[str]:
    """What they work on."""
    return _of_workers(database, "device", prefix)
