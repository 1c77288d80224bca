"""Rows on their way: written into the CSVs in step with a transaction, or taken back.

A row that is new in a file is appended; one that replaces another comes with a new file
(`replacing.py`).  Either is synced when `write` returns, and true when the transaction commits.
Used from one thread only.  What is not here: what to do about a file that cannot be written
(`outputs.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from sqlalchemy import Connection

from sqlqueue.disk import Disk
from sqlqueue.home import Home
from sqlqueue.plan.rows import widened
from sqlqueue.store import csv_file, records
from sqlqueue.store.csv_file import Record, Written
from sqlqueue.store.lanes import Lanes
from sqlqueue.store.replacing import Lines, Prepared, Replacer, Share, Values
from sqlqueue.store.rewriting import settled

Known = Mapping[int, tuple[str, Record]]
Rows = Mapping[int, Mapping[str, Values]]
"""By directory and signature."""
Outcome = Record | Prepared | BaseException
"""What a CSV is now; or that it waits beside, for the transaction to be done again; or why not."""


def lacking(known: Known, rows: Rows) -> dict[int, tuple[str, ...]]:
    """The columns that CSVs must have first."""
    due = {}
    for key, (_, record) in known.items():
        have = frozenset(record.columns or ())
        if have and all(values.keys() <= have for values in rows[key].values()):
            continue
        names = dict.fromkeys(name for values in rows[key].values() for name in values)
        wide = widened(record.columns or (), names)
        if record.columns is None or len(wide) > len(record.columns):
            due[key] = tuple(wide)
    return due


def shares(
    connection: Connection,
    file_of: Callable[[str], Path],
    known: Known,
    rows: Rows,
    again: Collection[str],
) -> dict[int, Share]:
    """What each CSV gets.  `file_of`: the CSV by its directory's stored path; `again`: tasks that
    have rows, which are to be replaced there."""
    standing = records.standing(connection, again, known)
    lines = Lines()
    found = {}
    for key, (path, record) in known.items():
        new = [each for name, each in rows[key].items() if (name, key) not in standing]
        replacing = [each for name, each in rows[key].items() if (name, key) in standing]
        found[key] = Share(file_of(path), record, new, replacing, lines)
    return found


def number(connection: Connection, found: Mapping[int, Share]) -> None:
    """Writes down which rows the new ones are."""
    records.number_rows(
        connection,
        {
            key: (each.record.row_count + 1, [values["signature"] for values in each.new])
            for key, each in found.items()
        },
    )


class UnderWay:
    """The rows of the transaction under way."""

    def __init__(self, home: Home, disk: Disk, lanes: Lanes) -> None:
        self.replacer = Replacer(home, disk, lanes)
        self.written: dict[int, Written] = {}
        self._disk = disk
        self._lanes = lanes

    def write(self, connection: Connection, found: Mapping[int, Share]) -> Mapping[int, Outcome]:
        """Writes and syncs all, or, where new files are to be ready first, those alone."""
        noted = self.replacer.take_noted()
        replacing = {key: each for key, each in found.items() if each.replacing}
        ready = {k: noted[k] for k, e in replacing.items() if k in noted and noted[k].is_for(e)}
        if len(ready) < len(replacing):
            return self.replacer.prepare(connection, replacing, ready)
        calls: dict[int, Callable[[], Record]] = {}
        for key, each in found.items():
            if key in replacing:
                self.written[key] = Written(each.file, each.record.length_bytes, "", b"")
                calls[key] = partial(self.replacer.put_in_place, noted[key], each)
            else:
                calls[key] = self._appending(key, each)
        outcomes = self._lanes.run(calls)
        for key, outcome in outcomes.items():
            if isinstance(outcome, Record) and key not in replacing:
                self.written[key] = replace(self.written[key], look=outcome.look)
        return outcomes

    def _appending(self, key: int, share: Share) -> Callable[[], Record]:
        data, record = b"".join(share.lines()), settled(share.record)
        self.written[key] = Written(share.file, record.length_bytes, "", data)
        return partial(csv_file.append, self._disk, share.file, record, data, len(share.new))

    def data(self, key: int) -> bytes:
        """What may or may not stand at the end of a CSV."""
        return self.written[key].data if key in self.written else b""

    def take_back(self) -> Mapping[int, str | BaseException]:
        """Cuts off what was appended: how the files look then, or why they could not be cut."""
        calls = {
            key: partial(csv_file.cut, self._disk, each.path, each.length_before, each.look)
            for key, each in self.written.items()
            if each.look
        }
        return self._lanes.run(calls)

    def forget(self) -> None:
        """It is true, or taken back, or will be found out."""
        self.written.clear()
        self.replacer.take_noted()
