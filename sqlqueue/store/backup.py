"""A copy of the database in one file: consistent, beside a running manager too, and checked.

Promises: the copy is one state of the database, everything that was committed when it began
included; it is private (0600), complete and synced before it gets its name, and never takes
the place of a file that is there unless asked to.  What is not here: putting one back
(`rebuilding.py`).
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlqueue.disk import Disk
from sqlqueue.errors import DatabaseError, StorageFailure, UsageError
from sqlqueue.store import condition, engine, looking

PAGES: Final = 2000
"""Copied in one step; a Ctrl-C waits for no longer."""

UNWRITTEN: Final = tuple(
    f"SQLITE_IOERR_{what}" for what in ("WRITE", "FSYNC", "DIR_FSYNC", "TRUNCATE")
)
"""Errors that only the copy can have: the source is read."""

Advance = Callable[[int, int], None]
"""Told how many pages are done, and how many there are."""


@dataclass(frozen=True, slots=True)
class Holdings:
    """What a database holds, and whose it is."""

    queue: str | None
    version: str | None
    tasks: int
    results: int
    directories: int
    size_bytes: int


def back_up(source: Path, target: Path, *, force: bool, disk: Disk, advance: Advance) -> Holdings:
    """Copies `source` to `target`, which is there only once it is complete and good."""
    engine.refuse_newer(source)
    _refuse_taken(target, force)
    with beside(target, disk) as temporary:
        snapshot(source, temporary, disk, advance)
        condition.check_pages(temporary, surely=True, named=source)
        found = holdings(temporary)
        _name(temporary, target, force, disk)
    return found


def _refuse_taken(target: Path, force: bool) -> None:
    if target.is_dir() or not target.parent.is_dir():
        wrong = "is a folder" if target.is_dir() else f"there is no folder {target.parent}"
        raise UsageError(f"{target}: {wrong}; name a file for the backup")
    if os.path.lexists(target) and not force:
        raise UsageError(f"{target}: is there already; choose another name, or say --force")
    if os.path.lexists(target) and not _is_database(target):
        raise UsageError(f"{target}: is there already and no backup; choose another name")


def _is_database(path: Path) -> bool:
    """Whether it may be an older backup: --force replaces nothing else."""
    if path.is_symlink() or not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(condition.MAGIC)) in (b"", condition.MAGIC)


@contextmanager
def beside(target: Path, disk: Disk) -> Iterator[Path]:
    """A name for the file while it is being written; nothing of that name is left behind."""
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    with removed(temporary, disk):
        yield temporary


@contextmanager
def removed(path: Path, disk: Disk) -> Iterator[None]:
    """Inside, a database of ours may come to be there; what is left of it afterwards goes."""
    remove(path, disk)
    try:
        yield
    finally:
        remove(path, disk)


def remove(path: Path, disk: Disk) -> None:
    """Removes a database of ours that nobody needs, and what SQLite keeps beside it."""
    for end in ("", *condition.COMPANIONS):
        each = path.with_name(path.name + end)
        if os.path.lexists(each):
            disk.unlink(each)


def _name(temporary: Path, target: Path, force: bool, disk: Disk) -> None:
    try:
        if force:
            disk.replace(temporary, target)
        else:
            disk.set_aside(temporary, target)
    except FileExistsError:
        raise UsageError(f"{target}: has just been made by somebody else") from None
    disk.fsync_dir(target.parent)


def snapshot(source: Path, target: Path, disk: Disk, advance: Advance) -> None:
    """One state of `source`, its log included, as a new file that stands by itself; synced.

    One that is read without its log, since there is none, may be opened by a manager
    meanwhile: then it is read once more.
    """

    def copy() -> None:
        remove(target, disk)
        os.close(disk.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        _copy(source, target, advance)

    looking.steady(source, copy)
    fd = disk.open(target, os.O_RDONLY)
    try:
        disk.fsync(fd)
    finally:
        os.close(fd)


def _copy(source: Path, target: Path, advance: Advance) -> None:
    def progress(_status: int, left: int, total: int) -> None:
        advance(total - left, total)

    try:
        with closing(looking.look(source)) as old, closing(sqlite3.connect(target)) as new:
            old.isolation_level = new.isolation_level = None
            old.execute("BEGIN")  # or a commit between two steps would begin the copy anew
            old.execute("SELECT count(*) FROM sqlite_schema").fetchall()
            old.backup(new, pages=PAGES, progress=progress)
            new.execute("PRAGMA journal_mode = DELETE")
    except sqlite3.DatabaseError as error:
        raise _failed(source, target, error) from None


def _failed(source: Path, target: Path, error: sqlite3.Error) -> Exception:
    name = getattr(error, "sqlite_errorname", "") or ""
    if name.startswith("SQLITE_FULL"):
        return StorageFailure(f"{target}: no room for the copy; choose another disk")
    if name.startswith(UNWRITTEN):
        return StorageFailure(f"{target}: cannot be written ({error}); choose another disk")
    return condition.unreadable(source, error)


def holdings(path: Path) -> Holdings:
    """What a database that is good holds."""
    version, queue = condition.version(path), condition.queue_id(path)
    if version is None:
        raise DatabaseError(f"{path}: is an empty database, not a backup")
    counts = {
        "tasks": "SELECT count(*) FROM tasks",
        "results": "SELECT count(*) FROM results WHERE accepted",
        "directories": "SELECT count(*) FROM output_directories",
    }
    with closing(looking.look(path)) as connection:
        found = {name: connection.execute(text).fetchone()[0] for name, text in counts.items()}
    return Holdings(queue, version, size_bytes=path.stat().st_size, **found)
