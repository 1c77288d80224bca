"""Rows of CSVs that are left become results of a database that does not have them.

Promises: a row is adopted only when the database, asked for it afterwards, writes the very
same line, but for the line ends and the byte order mark of a spreadsheet; whatever is not
adopted is told by file and line; the files are only read; one that the disk does not give is
told apart, since its rows would be missing for good.  A row
that no task wants is kept as a completed task of its own, so that its line stays, and is
what the cell gets when a sweep file names it again.  What a file is not, byte for byte,
the record does not say of it: recovery keeps it aside and writes it anew.

What is not here: which database, which directories (`rebuilding.py`), mending the files.
"""

from __future__ import annotations

import codecs
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import IO, Any, Final

from sqlalchemy import Connection

from sqlqueue.disk import Disk
from sqlqueue.home import Home
from sqlqueue.plan.nested import head
from sqlqueue.plan.reading_back import Torn, cells, value, whole
from sqlqueue.plan.rows import cell, line, row
from sqlqueue.plan.signature import canonical
from sqlqueue.plan.task import OWN_COLUMNS
from sqlqueue.store import csv_file, naming, reading, records, standing
from sqlqueue.store.csv_file import NAME, NotAsRecorded, Record
from sqlqueue.store.naming import Row
from sqlqueue.store.reading import TaskRow
from sqlqueue.store.recounting import counted

BATCH: Final = 500
Known = tuple[TaskRow, dict[str, Any] | None]
"""A task, and the metrics of its result if it has one."""


@dataclass
class Sheet:
    """One CSV while it is read: which of its lines were taken, and what those come to."""

    key: int
    name: str
    columns: tuple[str, ...]
    rows: int = 0
    length_bytes: int = 0
    checksum: str = csv_file.EMPTY
    exact: bool = True
    lacking: dict[str, None] = field(default_factory=dict)
    seen: dict[str, int] = field(default_factory=dict)

    def take(self, data: bytes) -> None:
        """One line that stands in the database as it stands in the file."""
        self.length_bytes += len(data)
        self.checksum = csv_file.extend(self.checksum, data)


@dataclass
class Adopted:
    """What came of it.  `troubles`: what was not adopted, and where it stands.

    `unread`: files that may hold rows and that the disk did not give.
    """

    files: int = 0
    rows: int = 0
    results: int = 0
    strays: int = 0
    troubles: list[str] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)


class Adoption:
    """Reads CSVs one after the other into a database that nobody else has open."""

    def __init__(self, connection: Connection, home: Home, disk: Disk, now: float) -> None:
        self.found = Adopted()
        self._connection = connection
        self._home = home
        self._disk = disk
        self._naming = naming.Naming(connection, now)
        self._sources: dict[str, str] = {}

    def directory(self, key: int, advance: Callable[[int], None]) -> None:
        """Adopts the rows of one output directory's CSV, if it has one."""
        path, record = records.load(self._connection, [key])[key]
        name = f"{path}/{NAME}"
        file = self._home.absolute(path) / NAME
        try:
            with csv_file.opened(self._disk, file, os.O_RDONLY) as fd:
                self._read(fd, key, name, record, advance)
        except NotAsRecorded:
            if os.path.lexists(file):
                self._tell(name, "is not an ordinary file")
        except FileNotFoundError:
            return
        except OSError as error:
            why = f"cannot be read: {error.strerror}; make it readable, or move it away"
            self.found.unread.append(f"{file}: {why}")

    def settle(self) -> None:
        """Tasks whose ids belong to rows that were found get others."""
        self._naming.settle()

    # --- one file -----------------------------------------------------------------------

    def _read(
        self, fd: int, key: int, name: str, record: Record, advance: Callable[[int], None]
    ) -> None:
        look = csv_file.look_of(os.fstat(fd))
        with os.fdopen(os.dup(fd), "rb") as lines:
            saved = _Saved()
            header = saved.header(lines.readline())
            columns = self._columns(name, header)
            if columns is None:
                return
            self.found.files += 1
            records.unnumber(self._connection, key)
            sheet = Sheet(key, name, columns)
            sheet.take(header)
            for batch in _batches(lines):
                self._batch(sheet, [(number, saved.line(data)) for number, data in batch])
                advance(sum(len(data) for _, data in batch))
            sheet.exact = sheet.exact and not saved.changed
        self._note(sheet, record, look)

    def _columns(self, name: str, header: bytes) -> tuple[str, ...] | None:
        """The columns of a CSV of ours; None, and told, when the header is not one."""
        try:
            found = tuple(cells(header)) if header else ()
        except Torn:
            found = ()
        own = found[: len(OWN_COLUMNS)] == OWN_COLUMNS and len(set(found)) == len(found)
        if own and line(found) == header:
            return found
        self._tell(name, "line 1 is not the header of a CSV of sqlqueue's; nothing was adopted")
        return None

    def _note(self, sheet: Sheet, before: Record, look: str) -> None:
        """Records what the file is, or what it will be once it is written anew."""
        lacking = tuple(each for each in before.columns or () if each not in sheet.columns)
        columns = tuple(dict.fromkeys((*sheet.columns, *lacking, *sheet.lacking)))
        record = Record(columns, sheet.rows, sheet.length_bytes, sheet.checksum)
        if sheet.exact and columns == sheet.columns:
            record = replace(record, look=look)
        elif columns != sheet.columns:
            record = self._written(sheet.key, record)
        records.save(self._connection, {sheet.key: record})

    def _written(self, key: int, record: Record) -> Record:
        """The record of the file that the database would write."""
        assert record.columns is not None
        data = line(record.columns)
        length, checksum = len(data), csv_file.extend(csv_file.EMPTY, data)
        for values in records.rows_of(self._connection, key):
            data = row(record.columns, values)
            length, checksum = length + len(data), csv_file.extend(checksum, data)
        return replace(record, length_bytes=length, checksum=checksum)

    # --- rows ---------------------------------------------------------------------------

    def _batch(self, sheet: Sheet, batch: Sequence[tuple[int, bytes]]) -> None:
        rows = list(self._parsed(sheet, batch))
        known = reading.with_metrics(self._connection, {each.signature for each in rows})
        taken = [each for each in rows if self._row(sheet, each, known.get(each.signature))]
        with counted(self._connection):
            standing.link(self._connection, ((each.signature, sheet.key) for each in taken))
        signatures = [each.signature for each in taken]
        if signatures:
            records.number_rows(self._connection, {sheet.key: (sheet.rows + 1, signatures)})
        sheet.rows += len(taken)
        self.found.rows += len(taken)

    def _parsed(self, sheet: Sheet, batch: Sequence[tuple[int, bytes]]) -> Iterator[Row]:
        for number, data in batch:
            try:
                yield naming.parsed(sheet.columns, number, data)
            except Torn as error:
                self._refuse(sheet, number, str(error))

    def _row(self, sheet: Sheet, found: Row, known: Known | None) -> bool:
        """Whether the row could be adopted; told when it could not."""
        try:
            if found.signature in sheet.seen:
                raise Torn(f"is a second row of the task of line {sheet.seen[found.signature]}")
            values = self._adopt(sheet, found, known)
        except Torn as error:
            self._refuse(sheet, found.number, str(error))
            return False
        lacking = [n for n in values if n not in sheet.columns and values[n] is not None]
        sheet.lacking |= dict.fromkeys(lacking)
        sheet.seen[found.signature] = found.number
        sheet.take(found.data)
        return True

    def _adopt(self, sheet: Sheet, found: Row, known: Known | None) -> dict[str, Any]:
        """What the database says of the row's task from now on."""
        if known is not None and known[1] is not None:
            return self._compared(sheet, found, known[0].fixed | known[1])
        task = known[0] if known else None
        parameters = _parameters(found, task) if task else {}
        hidden = set(task.runtime_only) if task else set()
        own = {name: found.texts[name] for name in OWN_COLUMNS}
        fixed = own | {name: each for name, each in parameters.items() if name not in hidden}
        metrics = {n: value(text) for n, text in found.texts.items() if n not in fixed and text}
        values = fixed | metrics
        if row(sheet.columns, values) != found.data:
            raise Torn("is not as sqlqueue writes a row")
        self._naming.complete(found, task, parameters, metrics)
        self.found.results += 1
        self.found.strays += task is None
        self._sources[found.signature] = f"{sheet.name}:{found.number}"
        return values

    def _compared(self, sheet: Sheet, found: Row, stored: dict[str, Any]) -> dict[str, Any]:
        """The row of a task that has a result must be that result's."""
        if row(sheet.columns, stored) == found.data:
            return stored
        source = self._sources.get(found.signature, "the database")
        for name in sheet.columns:
            expected = cell(stored.get(name))
            if found.texts[name] != expected:
                raise Torn(
                    f"column {name} is {found.texts[name]!r:.80}, while {source} says "
                    f"{expected!r:.80}"
                )
        raise Torn("is not as sqlqueue writes a row")

    # --- telling ------------------------------------------------------------------------

    def _refuse(self, sheet: Sheet, number: int, why: str) -> None:
        sheet.exact = False
        self._tell(f"{sheet.name}:{number}", why)

    def _tell(self, where: str, why: str) -> None:
        self.found.troubles.append(f"{where}: {why}")


class _Saved:
    """Lines as they were before a spreadsheet saved them: what it adds is in no cell."""

    def __init__(self) -> None:
        self.changed = False

    def header(self, data: bytes) -> bytes:
        """The first line, without the mark that stands before it."""
        bare = data.removeprefix(codecs.BOM_UTF8)
        self.changed = bare != data
        return self.line(bare)

    def line(self, data: bytes) -> bytes:
        """A line that ends as ours do; no cell of ours holds a carriage return."""
        if not data.endswith(b"\r\n"):
            return data
        self.changed = True
        return data[:-2] + b"\n"


def _parameters(found: Row, task: TaskRow) -> dict[str, Any]:
    """The task's parameters as the row has them; raises `Torn` when they are others.

    A parameter without a cell came later than the row: the signature says that it agrees.
    """
    parameters: dict[str, Any] = dict(whole(found.texts, task.parameters))
    for name, expected in task.parameters.items():
        if head(name) in parameters:
            continue
        text = found.texts.get(name, "")
        if name in task.runtime_only or text == cell(expected):
            parameters[name] = expected
        elif text:
            parameters[name] = _alike(name, text, expected)
    return parameters


def _alike(name: str, text: str, expected: Any) -> Any:
    """Another spelling of the same value (`100` and `100.0`)."""
    given = value(text)
    if isinstance(given, str) or canonical(given) != canonical(expected):
        raise Torn(f"column {name} is {text!r:.80}, while its task has {cell(expected)!r:.80}")
    return given


def _batches(lines: IO[bytes]) -> Iterator[list[tuple[int, bytes]]]:
    """The lines below the header with their numbers, some at a time."""
    numbered = enumerate(lines, 2)
    while batch := list(islice(numbered, BATCH)):
        yield batch
