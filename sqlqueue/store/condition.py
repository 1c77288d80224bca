"""Whether the database can be used, and if not, why and what to do: before SQLite may touch it.

Promises: whatever stands under the database's name is told apart by looking alone, and what
cannot be used is refused with a `DatabaseError` that names the file and the way out; nothing
is changed, made or removed.  `problem` says the same in words.  What is not here: opening it
for use (`engine.py`), and rebuilding it (`rebuilding.py`).
"""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

from sqlalchemy.exc import DBAPIError

from sqlqueue.errors import DatabaseError, HomeError
from sqlqueue.home import Home
from sqlqueue.store import sealing
from sqlqueue.store.looking import look, steady

T = TypeVar("T")

SURELY_BYTES: Final = 64 * 1024 * 1024
"""Up to this size every page is looked at whenever the queue is opened for writing."""

MAGIC: Final = b"SQLite format 3\0"
MOST_TOLD: Final = 3
UNDECODABLE: Final = "Could not decode to UTF-8"
"""What the driver says of a text of which bytes were changed: it has no code for that."""

COMPANIONS: Final = ("-wal", "-shm", "-journal")
"""What SQLite keeps beside a database; each is good with that one database only."""

WAY_OUT: Final = (
    "put a backup in its place with `sqlqueue recover --backup FILE`, or rebuild it from the "
    "sweep files and the CSVs that are left with `sqlqueue recover FILES...`: what stands "
    "there is kept"
)


class Damaged(DatabaseError):
    """What is in the file does not fit together."""


class OutOfReach(DatabaseError):
    """What is in the file cannot be told just now: no permission, a disk that fails."""


def problem(home: Home) -> str | None:
    """Why the database cannot be used; None when it can, or when there is none yet."""
    try:
        check(home, surely=True)
    except (DatabaseError, HomeError) as error:
        return error.message
    return None


def check(home: Home, *, surely: bool = False) -> int:
    """`refuse`, and a look at the pages: what a writer asks before it opens the database.

    `surely`: at every page, however many there are; else only while that is quick, and where
    a process died, since a log that was left is about to become part of the database: unless it is
    sealed (`sealing.py`), which tells more of that than the pages do.
    """
    size, beside = refuse(home), companions(home.database)
    if size and not os.access(home.database, os.W_OK, effective_ids=True):
        raise OutOfReach(
            f"{home.database}: cannot be written by this user; check who owns it and its folder"
        )
    doubtful = size <= SURELY_BYTES or ("-wal" in beside and not sealing.holds(home))
    if size and (surely or doubtful) and "-journal" not in beside:
        check_pages(home.database, surely=surely)
    return size


def refuse(home: Home) -> int:
    """Raises `DatabaseError` for what is no database of this queue; returns its size.

    0 where there rightly is none yet.  Never where this process has the database open: a
    process that closes a file gives up every lock that it holds on it (POSIX), and the next
    stranger to close the database would take its log, with what was committed since, for
    nobody's and remove it.
    """
    path = home.database
    if size := _size(path, home):
        _check_head(path)
        version(path)
        _check_owner(home)
    return size


def glance(home: Home) -> None:
    """`refuse`, and a look at the pages where a log lies there and no manager runs: whoever
    reads would take it for part of the database, wherever it came from (`sealing.py`)."""
    left = refuse(home) and "-wal" in companions(home.database) and home.manager() is None
    if left and not sealing.holds(home):
        check_pages(home.database)


def check_file(path: Path, *, surely: bool = False) -> None:
    """Raises `DatabaseError` unless the file is a database of some queue's: a backup."""
    try:
        size = path.stat().st_size
    except OSError as error:
        raise OutOfReach(f"{path}: cannot be read: {error.strerror}") from None
    if not path.is_file() or not size:
        raise DatabaseError(
            f"{path}: {'is empty' if path.is_file() else _kind(path)}; name a backup"
        )
    _check_head(path)
    version(path)
    check_pages(path, surely=surely)


def companions(path: Path) -> list[str]:
    """Which of SQLite's own files lie beside a database."""
    return [end for end in COMPANIONS if os.path.lexists(path.with_name(path.name + end))]


def _size(path: Path, home: Home) -> int:
    """How long the file is; 0 where there rightly is none, or an empty one, yet."""
    try:
        found = path.stat(follow_symlinks=False)
    except FileNotFoundError:
        _refuse_missing(path, home)
        return 0
    except OSError as error:
        raise OutOfReach(f"{path}: cannot be read: {error.strerror}") from None
    if not stat.S_ISREG(found.st_mode):
        raise DatabaseError(f"{path}: {_kind(path)}; {WAY_OUT}")
    if found.st_size == 0 and home.had_database():
        raise DatabaseError(f"{path}: is empty, although this queue had tasks; {WAY_OUT}")
    return found.st_size


def _kind(path: Path) -> str:
    if path.is_symlink():
        where = "" if path.exists() else ", to something that is not there"
        return (
            f"is a symbolic link{where}; put the file itself there, since what SQLite keeps "
            "beside it must lie in the home (the home as a whole may be a link)"
        )
    return "is a folder" if path.is_dir() else "is not an ordinary file"


def _refuse_missing(path: Path, home: Home) -> None:
    """A database that was never made may be missing; one that was there may not."""
    if home.recovered.exists():
        raise DatabaseError(
            f"{path}: missing, since a recovery was interrupted; run the same "
            "`sqlqueue recover` again to finish it"
        )
    beside = companions(path)
    if home.had_database() or beside:
        left = f" ({path.name}{beside[0]} is still there)" if beside else ""
        raise DatabaseError(f"{path}: is missing, although this queue had one{left}; {WAY_OUT}")


def _check_head(path: Path) -> None:
    """Refuses what is not an SQLite database, and one whose end is missing.

    Its head says how many pages there are; with a journal beside it, that is for SQLite to judge.
    """
    try:
        with path.open("rb") as file:
            head = file.read(100)
    except OSError as error:
        raise OutOfReach(
            f"{path}: cannot be read: {error.strerror}; check who owns it and its folder"
        ) from None
    if not head.startswith(MAGIC):
        raise DatabaseError(f"{path}: is not an SQLite database; {WAY_OUT}")
    if {"-wal", "-journal"} & set(companions(path)):
        return
    page_bytes = int.from_bytes(head[16:18], "big")
    expected = int.from_bytes(head[28:32], "big") * (65536 if page_bytes == 1 else page_bytes)
    size = path.stat().st_size  # last: a manager that began or ended meanwhile made it longer
    if size < max(expected, 100):
        raise DatabaseError(f"{path}: is cut short: {size} bytes of {expected}; {WAY_OUT}")


def version(path: Path) -> str | None:
    """The migration that the database stands at; None when it is empty."""
    return _looked(path, partial(_version, path))


def _version(path: Path, connection: sqlite3.Connection) -> str | None:
    names = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema")}
    if not names:
        return None
    if "alembic_version" not in names:
        raise DatabaseError(
            f"{path}: is a database, but not sqlqueue's; choose another home with "
            f"--home, or: {WAY_OUT}"
        )
    found = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    return str(found[0]) if found else None


def queue_id(path: Path) -> str | None:
    """The id of the queue whose database this is; None in one that never said."""
    return _looked(path, _queue_id)


def _queue_id(connection: sqlite3.Connection) -> str | None:
    try:
        found = connection.execute("SELECT value FROM meta WHERE key = 'queue'").fetchone()
    except sqlite3.OperationalError as error:
        if "no such table" in str(error):
            return None
        raise
    return str(found[0]) if found else None


def _check_owner(home: Home) -> None:
    """Another queue's database, or another queue's log beside ours, is not to be written to."""
    found = queue_id(home.database)
    if found is not None and home.exists() and found not in (home.queue_id(), home.former_id()):
        raise DatabaseError(
            f"{home.database}: holds queue {found}, while this home is of queue "
            f"{home.queue_id()} ({home.identity_file.name}): it, or a file beside it, was put "
            f"there from elsewhere; {WAY_OUT}"
        )


def check_pages(path: Path, *, surely: bool = False, named: Path | None = None) -> None:
    """Has SQLite look at every page and every row; raises `Damaged` if they do not fit together.

    `surely`: also whether each index has exactly the rows of its table, which takes longer.
    `named`: whose fault it is, where `path` is a copy.
    """
    shown = named or path
    _looked(path, lambda look: refuse_damage(shown, look.execute, surely=surely), named=shown)


def _looked(path: Path, ask: Callable[[sqlite3.Connection], T], *, named: Path | None = None) -> T:
    """What is found in a file; raises what `unreadable` makes of what SQLite raised."""

    def once() -> T:
        with closing(look(path)) as connection:
            return ask(connection)

    with legibly(named or path):
        return steady(path, once)


@contextmanager
def legibly(path: Path) -> Iterator[None]:
    """What SQLite raises within comes out as what `unreadable` makes of it."""
    try:
        yield
    except (sqlite3.DatabaseError, DBAPIError, UnicodeDecodeError) as error:
        raise unreadable(path, getattr(error, "orig", error)) from None


def refuse_damage(path: Path, execute: Callable[[str], Any], *, surely: bool = True) -> None:
    """The same through a connection that there is."""
    how = "integrity_check" if surely else "quick_check"
    found = [text for (text,) in execute(f"PRAGMA {how}({MOST_TOLD})")]
    if found != ["ok"]:
        told = "; ".join(" ".join(each.split()) for each in found)
        raise Damaged(f"{path}: is damaged ({told}); {WAY_OUT}")


def is_damage(error: BaseException | None) -> bool:
    """Whether SQLite says that the file itself is wrong, not that something is in the way."""
    if isinstance(error, UnicodeDecodeError) or UNDECODABLE in str(error):
        return True
    name = getattr(error, "sqlite_errorname", "") or ""
    return name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB"))


def why_failed(path: Path, error: BaseException | None) -> str:
    """What a statement or a commit raised, in words for whoever waits for it."""
    name = getattr(error, "sqlite_errorname", "") or ""
    if name.startswith("SQLITE_FULL"):
        return (
            f"{path}: there is no room left on its disk ({error}); make room: a manager that runs "
            "goes on by itself, and workers keep their results until then"
        )
    if name.startswith(("SQLITE_IOERR", "SQLITE_READONLY", "SQLITE_CANTOPEN")):
        return f"{path}: cannot be written just now ({error}); look after the disk that it is on"
    return f"{path}: the database failed: {error}"


def unreadable(path: Path, error: BaseException) -> DatabaseError:
    """What SQLite raised, with what to do about it."""
    if is_damage(error):
        return Damaged(f"{path}: is damaged ({error}); {WAY_OUT}")
    if isinstance(error, sqlite3.OperationalError):
        return OutOfReach(f"{path}: cannot be read as a database ({error}); try again")
    return DatabaseError(f"{path}: cannot be read as a database ({error}); {WAY_OUT}")
