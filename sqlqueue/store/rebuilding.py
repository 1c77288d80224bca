"""Another database in the place of one that is lost, damaged or older than the CSVs.

It is made beside, from a base if there is one, from cells and from CSVs, and takes the place
only when it is complete and synced.  Promises: a death at any instant leaves what stood
there, or the new one, or a state that `finish` ends; what stood there is moved aside as a
whole and named, never removed.  The caller holds the home's lock, unless it only looks.

What is not here: sweep files, and what becomes of the CSVs (`adopting.py` reads them, and
the next opening mends them).
"""

from __future__ import annotations

import itertools
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from sqlqueue.disk import Disk
from sqlqueue.errors import DirectoryError, StorageFailure
from sqlqueue.home import Home
from sqlqueue.protocol import AddTasks, ExperimentMemory, PhaseCounts
from sqlqueue.store import adding, backup, condition, copies, engine, memory, queue, records
from sqlqueue.store.adopting import Adopted, Adoption
from sqlqueue.store.csv_file import MARKER, NAME, Record
from sqlqueue.store.directories import check_left, marker_of, stored_path

ENDS: Final = ("", *condition.COMPANIONS)


class Rebuild:
    """A database that nobody else knows of yet."""

    def __init__(self, connection: Connection, home: Home, disk: Disk, now: float) -> None:
        self._connection = connection
        self._home = home
        self._disk = disk
        self._now = now
        self._keys: dict[str, int] = {}
        self.changed = False

    def recall(self, names: Sequence[str]) -> list[ExperimentMemory]:
        """What the base remembers of experiments; with no names, of all."""
        return memory.recall(self._connection, names)

    def add_directories(self, output_dirs: Iterable[str], queue_id: str | None) -> None:
        """Makes directories known, as spelled; their folders are not touched.

        Raises `DirectoryError` that lists every one which is not this queue's.
        """
        paths = {each: stored_path(self._home, each) for each in output_dirs}
        known = records.directory_keys(self._connection, set(paths.values()))
        fresh = [path for path in dict.fromkeys(paths.values()) if path not in known]
        self._refuse_the_original_s(paths.values(), queue_id)
        self._refuse_others(fresh, queue_id)
        for path in fresh:
            known[path] = records.add_directory(self._connection, path, self._now)
        self.changed = self.changed or bool(fresh)
        self._keys = {each: known[path] for each, path in paths.items()}

    def _refuse_the_original_s(self, paths: Iterable[str], queue_id: str | None) -> None:
        """In a copy: what lies outside its root and bears its mark was not copied along."""
        original = copies.original_of(self._connection, self._home)
        outside = [each for each in dict.fromkeys(paths) if Path(each).is_absolute()]
        theirs = [each for each in outside if original and marker_of(Path(each)) == queue_id]
        if original is not None and theirs:
            why = (
                f"belongs to the queue of {original.get('home')}, of which this is a copy; choose "
                f"another output_dir, or remove its {MARKER} if that queue is gone"
            )
            raise DirectoryError("\n".join(f"{each}: {why}" for each in theirs))

    def _refuse_others(self, paths: Iterable[str], queue_id: str | None) -> None:
        problems = []
        for path in paths:
            try:
                check_left(self._home.absolute(path), queue_id)
            except (DirectoryError, OSError) as error:
                problems.append(f"{path}: {getattr(error, 'strerror', None) or error}")
        if problems:
            raise DirectoryError("\n".join(problems))

    def add(self, message: AddTasks) -> dict[str, PhaseCounts]:
        """Adds cells as a manager would; no row is delivered yet."""
        memory.remember(self._connection, message.experiments, self._now)
        before = self._links()
        added = adding.add(self._connection, message.tasks, self._keys, self._now)
        self.changed = self.changed or self._links() != before
        return added.phases

    def _links(self) -> int:
        return records.link_count(self._connection)

    def directories(self) -> dict[int, Path]:
        """Every output directory that it knows of, by key."""
        known = records.load(self._connection).items()
        return {key: self._home.absolute(path) for key, (path, _) in known}

    def csv_bytes(self) -> int:
        """How much there is to read."""
        return sum(_size(folder / NAME) for folder in self.directories().values())

    def adopt(self, advance: Callable[[int], None]) -> Adopted:
        """Adopts what stands in the CSVs of all directories.

        Raises `DirectoryError` that lists every CSV that could not be read: a database without
        its rows would have it moved aside, and no later recovery would look there.
        """
        content = self._content()
        adoption = Adoption(self._connection, self._home, self._disk, self._now)
        for key in content:
            adoption.directory(key, advance)
        if adoption.found.unread:
            raise DirectoryError("\n".join(adoption.found.unread))
        adoption.settle()
        self.changed = self.changed or self._content() != content
        return adoption.found

    def _content(self) -> dict[int, Record]:
        """What the CSVs are; how they look is nothing that another database is needed for."""
        known = records.load(self._connection).items()
        return {key: replace(record, look="") for key, (_, record) in known}

    def due(self) -> int:
        """How many rows are to be delivered to directories that do not have them."""
        return len(records.undelivered(self._connection))

    def counts(self) -> tuple[int, int]:
        """How many tasks there are, and how many have a result."""
        return records.task_counts(self._connection)

    def know_queue(self, queue_id: str) -> None:
        queue.know_queue(self._connection, queue_id)


def _size(file: Path) -> int:
    """In bytes; nothing for what is no file, or cannot be looked at."""
    try:
        found = file.stat()
    except OSError:
        return 0
    return found.st_size if stat.S_ISREG(found.st_mode) else 0


@contextmanager
def building(
    home: Home, path: Path, base: Path | None, disk: Disk, now: float, advance: backup.Advance
) -> Iterator[Rebuild]:
    """A new database under that name, a copy of `base` if there is one, complete at the end.

    Raises `StorageFailure` when it could not be written.
    """
    backup.remove(path, disk)
    if base is not None:
        engine.refuse_newer(base)
        backup.snapshot(base, path, disk, advance)
    else:
        os.close(disk.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    try:
        writer = engine.open_alone(path)
        try:
            with writer.begin() as connection:
                yield Rebuild(connection, home, disk, now)
        finally:
            writer.dispose()
    except DBAPIError as error:
        raise StorageFailure(
            f"{path}: cannot be written: {error.orig}; nothing was changed: make room there, then "
            "run the same command again"
        ) from None


def part_of(home: Home) -> Path:
    """Where a database lies while it is being made; of no value until it is complete."""
    return home.path / f".{home.recovered.name}.part"


def standing(home: Home, disk: Disk) -> list[str]:
    """Ends a recovery that was interrupted; the names of what was moved aside by it."""
    if not home.recovered.exists():
        return []
    if os.path.lexists(home.database):
        backup.remove(home.recovered, disk)  # what it was made from is all still there
        return []
    return finish(home, disk)


def put_in_place(home: Home, disk: Disk) -> list[str]:
    """The database that was made takes its place; the names of what was moved aside for it."""
    part = part_of(home)
    fd = disk.open(part, os.O_RDONLY)
    try:
        disk.fsync(fd)
    finally:
        os.close(fd)
    disk.replace(part, home.recovered)
    return finish(home, disk)


def _free_name(home: Home) -> Path:
    """A name beside the database that is free, and free with what belongs to it."""
    stamp = f"{home.database.name}.set-aside-{time.strftime('%Y%m%d-%H%M%S')}"
    for number in itertools.count(1):
        target = home.path / (stamp if number == 1 else f"{stamp}-{number}")
        if not any(os.path.lexists(f"{target}{end}") for end in ENDS):
            break
    return target


def finish(home: Home, disk: Disk) -> list[str]:
    """Moves what stands there aside, first the database, then what belongs to it.

    In this order: a log that is left alone would be taken for the new database's own.  Before any
    of it goes, the sync that is part of `set_aside` makes the new database's name durable too.
    """
    target = _free_name(home)
    moved = []
    for end in ENDS:
        source = home.database.with_name(home.database.name + end)
        if os.path.lexists(source):
            aside = target.with_name(target.name + end)
            disk.set_aside(source, aside)
            moved.append(aside.name)
    disk.fsync_dir(home.path)
    disk.replace(home.recovered, home.database)
    disk.fsync_dir(home.path)
    return moved
