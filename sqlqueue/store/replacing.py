"""Rows that take the place of others: the CSV with them in it, ready before the transaction.

A result that replaces another changes a line in the middle of a file, so the whole file is
written anew, once for all rows of a transaction.  First beside, from what the transaction would
make true, which is then given up; then the database notes what is about to come, as for every
rewrite; then the transaction is done again, and in it the new file takes the place.  Until its
commit the database says the old row, and recovery brings the file back to that.

Promises: what is put in place is exactly what this transaction makes of the file, or it is written
beside once more.  What is not here: which rows those are (`delivering.py`).
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from sqlqueue.disk import Disk
from sqlqueue.home import Home
from sqlqueue.plan.rows import row
from sqlqueue.store.csv_file import Record
from sqlqueue.store.lanes import Lanes
from sqlqueue.store.rewriting import (
    New,
    Rewrite,
    Rewriter,
    Transaction,
    expected,
    portions,
    settled,
)

Values = Mapping[str, Any]


class Lines:
    """The lines of one transaction's rows: most directories have the same columns, and a row that
    goes into several is written out once."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, tuple[str, ...]], bytes] = {}
        self._values: list[Values] = []

    def of(self, columns: tuple[str, ...], values: Values) -> bytes:
        key = (id(values), columns)
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = row(columns, values)
            self._values.append(values)  # an id is good while its object is there
        return found


@dataclass(frozen=True, slots=True)
class Share:
    """What one CSV gets of a transaction: rows that are new in it, rows that replace others."""

    file: Path
    record: Record
    new: list[Values]
    replacing: list[Values]
    written_out: Lines

    def lines(self) -> list[bytes]:
        """The new ones."""
        columns = self.record.columns or ()
        return [self.written_out.of(columns, each) for each in self.new]

    def content(self) -> bytes:
        """All of them: what tells two shares of one file apart."""
        replacing = (row(self.record.columns or (), each) for each in self.replacing)
        return b"".join([*self.lines(), b"\n", *replacing])


@dataclass(frozen=True, slots=True)
class Prepared:
    """A file that lies beside a CSV, and for which share of a transaction it was written."""

    rewrite: Rewrite
    new: New
    content: bytes

    def is_for(self, share: Share) -> bool:
        """Whether the database says that this is about to come, and the share is the same."""
        _, length, checksum = self.new
        noted = (share.record.next_length_bytes, share.record.next_checksum) == (length, checksum)
        before = self.rewrite.record.checksum == share.record.checksum
        return noted and before and self.content == share.content()


class Replacer(Rewriter):
    """Files that wait beside their CSVs: those just written, and those noted since.

    What was noted is good for the very next transaction, and for no later one.
    """

    def __init__(self, home: Home, disk: Disk, lanes: Lanes) -> None:
        super().__init__(home, disk, lanes)
        self._beside: dict[int, Prepared] = {}
        self._noted: dict[int, Prepared] = {}

    def take_noted(self) -> dict[int, Prepared]:
        """What is ready for the transaction that has just begun."""
        noted, self._noted = self._noted, {}
        return noted

    def drop(self) -> None:
        """Nothing that lies beside is good for anything any more."""
        self._beside, self._noted = {}, {}

    def prepare(
        self, connection: Connection, shares: Mapping[int, Share], ready: Mapping[int, Prepared]
    ) -> dict[int, Prepared | BaseException]:
        """Writes beside each CSV what this transaction would make of it; or what went wrong.

        `ready`: those that lie there already, and are good for the next transaction too.
        """
        outcomes: dict[int, Prepared | BaseException] = dict(ready)
        fresh = {k: (e.file, settled(e.record)) for k, e in shares.items() if k not in ready}
        wanted: dict[int, Rewrite] = {}
        for key, look in self._looks(fresh).items():
            if isinstance(look, BaseException):
                outcomes[key] = look
            else:
                file, record = fresh[key]
                wanted[key] = Rewrite(file, record, record.columns or (), look)
        for portion in portions(wanted):
            lines = {
                key: [*expected(connection, key, each.columns), *shares[key].lines()]
                for key, each in portion.items()
            }
            for key, new in self._write(portion, lines).items():
                if isinstance(new, BaseException):
                    outcomes[key] = new
                else:
                    outcomes[key] = Prepared(portion[key], new, shares[key].content())
        self._beside = {key: each for key, each in outcomes.items() if isinstance(each, Prepared)}
        return outcomes

    def note(self, transaction: Transaction, but: Container[int]) -> None:
        """Has the database say what is about to come, but for files that were mended meanwhile."""
        ready = {key: each for key, each in self._beside.items() if key not in but}
        self._beside = {}
        wanted = {key: each.rewrite for key, each in ready.items()}
        self._note_intents(transaction, wanted, {key: each.new for key, each in ready.items()})
        self._noted = ready

    def put_in_place(self, prepared: Prepared, share: Share) -> Record:
        """The new file takes the CSV's place, durably; returns what the CSV then is."""
        path, length, checksum = prepared.new
        look = self._take_place(path, prepared.rewrite.file, prepared.rewrite.standing)
        return replace(
            settled(share.record),
            row_count=share.record.row_count + len(share.new),
            length_bytes=length,
            checksum=checksum,
            look=look,
        )
