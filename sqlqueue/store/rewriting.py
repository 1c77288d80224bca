"""Writing whole CSVs anew: created, widened, rebuilt; one, or thousands side by side.

The database knows of each new file before it takes the old one's place, so that a crash
leaves a file which is provably ours.  Promises: what stands there is replaced only while it looks
as the caller says; files that are written together share their transactions and wait for the
disk together, and each fails alone.  What is not here: when to do it, and what to do with a
file that is not as recorded (`recovery.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection

from sqlqueue.disk import Disk
from sqlqueue.errors import EpochLost
from sqlqueue.home import Home
from sqlqueue.plan.rows import line, row, widened
from sqlqueue.store import csv_file, records
from sqlqueue.store.csv_file import NotAsRecorded, Record
from sqlqueue.store.lanes import Lanes

Transaction = Callable[[], AbstractContextManager[Connection]]
"""Begins a transaction of its own and commits it."""

SLOWEST_BYTES_A_SECOND: Final = 5_000_000
MOST_TOGETHER: Final = 256
MOST_BYTES_TOGETHER: Final = 16 * 1024 * 1024
"""So much is held in memory of files that are written together; a larger one is alone."""

New = tuple[Path, int, str]
"""A file that is to take a CSV's place: its path, length and checksum."""


@dataclass(frozen=True, slots=True)
class Rewrite:
    """What is to be written, and how the file that it replaces looks; empty when there is none."""

    file: Path
    record: Record
    columns: tuple[str, ...]
    standing: str


class Rewriter:
    """Writes CSVs anew; disk calls go through the lanes.  Used from one thread only."""

    def __init__(self, home: Home, disk: Disk, lanes: Lanes) -> None:
        self.home = home
        self.disk = disk
        self.lanes = lanes
        self.epoch = 0

    def widen(self, transaction: Transaction, due: Mapping[int, tuple[str, ...]]) -> set[int]:
        """Gives CSVs that look as recorded those columns too; returns those that have them."""
        if not due:
            return set()
        wanted = self._as_recorded(transaction, due)
        done: set[int] = set()
        for portion in portions(wanted):
            outcomes = self._rewrite_all(transaction, portion)
            done |= {key for key, outcome in outcomes.items() if isinstance(outcome, Record)}
        return done

    def _as_recorded(
        self, transaction: Transaction, due: Mapping[int, tuple[str, ...]]
    ) -> dict[int, Rewrite]:
        with transaction() as connection:
            known = records.load(connection, due)
        files = {key: self.home.absolute(path) / csv_file.NAME for key, (path, _) in known.items()}
        looks = self._looks({key: (files[key], known[key][1]) for key in known})
        return {
            key: Rewrite(files[key], record, tuple(widened(record.columns or (), due[key])), look)
            for key, (_, record) in known.items()
            if isinstance(look := looks[key], str)
        }

    def _looks(self, files: Mapping[int, tuple[Path, Record]]) -> dict[int, str | BaseException]:
        """How each CSV looks, or why it is not to be written anew as it is."""
        return self.lanes.run({key: partial(self._standing, *each) for key, each in files.items()})

    def _standing(self, file: Path, record: Record) -> str:
        """How the CSV looks, or that there is none yet; raises unless that is as recorded."""
        look = csv_file.look_at(self.disk, file)
        fresh = record.columns is None and not look and (file.parent / csv_file.MARKER).exists()
        if look != record.look or record.next_checksum is not None or not (look or fresh):
            raise NotAsRecorded(f"{file} is not as recorded")
        return look

    def rewrite(
        self,
        transaction: Transaction,
        key: int,
        file: Path,
        record: Record,
        columns: tuple[str, ...],
        standing: str,
    ) -> Record:
        """Writes one file anew and returns its new record."""
        wanted = {key: Rewrite(file, record, columns, standing)}
        outcome = self._rewrite_all(transaction, wanted)[key]
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    def _rewrite_all(
        self, transaction: Transaction, wanted: Mapping[int, Rewrite]
    ) -> dict[int, Record | BaseException]:
        """Writes beside, notes, puts in place, notes; each with what it raised, or its record."""
        with transaction() as connection:
            lines = {k: list(expected(connection, k, e.columns)) for k, e in wanted.items()}
        outcomes: dict[int, Any] = dict(self._write(wanted, lines))
        written = {key: new for key, new in outcomes.items() if isinstance(new, tuple)}
        before = self._note_intents(transaction, wanted, written)
        takes = {
            key: partial(self._take_place, new[0], wanted[key].file, wanted[key].standing)
            for key, new in written.items()
        }
        outcomes |= self.lanes.run(takes)
        after = {
            key: replace(
                settled(before[key]),
                columns=wanted[key].columns,
                row_count=len(lines[key]) - 1,
                length_bytes=length,
                checksum=checksum,
                look=outcomes[key],
            )
            for key, (_, length, checksum) in written.items()
            if isinstance(outcomes[key], str)
        }
        self._save(transaction, after)
        return outcomes | after

    def _write(
        self, wanted: Mapping[int, Rewrite], lines: Mapping[int, list[bytes]]
    ) -> dict[int, New | BaseException]:
        extra = sum(len(each) for rows in lines.values() for each in rows) / SLOWEST_BYTES_A_SECOND
        writes = {
            key: partial(csv_file.write_new, self.disk, each.file.parent, lines[key], self.epoch)
            for key, each in wanted.items()
        }
        return self.lanes.run(writes, extra)

    def _note_intents(
        self, transaction: Transaction, wanted: Mapping[int, Rewrite], written: Mapping[int, New]
    ) -> dict[int, Record]:
        noted = {
            key: replace(
                wanted[key].record,
                look=wanted[key].standing,
                next_length_bytes=length,
                next_checksum=checksum,
            )
            for key, (_, length, checksum) in written.items()
        }
        try:
            self._save(transaction, noted)
        except EpochLost:
            self.lanes.run({k: partial(self.disk.unlink, new[0]) for k, new in written.items()})
            raise
        return noted

    def _take_place(self, new: Path, file: Path, standing: str) -> str:
        if csv_file.look_at(self.disk, file) != standing:
            raise NotAsRecorded(f"{file} was changed from outside")
        self.disk.replace(new, file)
        self.disk.fsync_dir(file.parent)
        return csv_file.look_at(self.disk, file)

    def _saved(self, transaction: Transaction, key: int, record: Record, **changes: Any) -> Record:
        changed = replace(settled(record), **changes)
        self._save(transaction, {key: changed})
        return changed

    @staticmethod
    def _save(transaction: Transaction, changed: dict[int, Record]) -> None:
        if changed:
            with transaction() as connection:
                records.save(connection, changed)


def expected(connection: Connection, key: int, columns: tuple[str, ...]) -> Iterator[bytes]:
    """The lines that the database makes of a CSV."""
    yield line(columns)
    for values in records.rows_of(connection, key):
        yield row(columns, values)


def settled(record: Record) -> Record:
    """The same with no rewrite under way."""
    return replace(record, next_length_bytes=None, next_checksum=None)


def portions(wanted: Mapping[int, Rewrite]) -> Iterator[dict[int, Rewrite]]:
    """So many at a time that what is held of them in memory is bounded."""
    portion: dict[int, Rewrite] = {}
    size = 0
    for key, each in wanted.items():
        size += each.record.length_bytes
        if portion and (len(portion) == MOST_TOGETHER or size > MOST_BYTES_TOGETHER):
            yield portion
            portion, size = {}, each.record.length_bytes
        portion[key] = each
    if portion:
        yield portion
