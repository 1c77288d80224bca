"""The audit as a running manager does it, for those who cannot read its database.

With the writer's own connection, while nothing is being written: so one look at each CSV
is enough.  Disk calls go through the lanes, so that a folder that hangs holds nothing up.
Promises: read-only; says what `audit.py` says, in fewer words.  What is not here: mending.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Final

from sqlalchemy import Connection

from sqlqueue.disk import Disk
from sqlqueue.errors import DirectoryUnavailable
from sqlqueue.home import Home
from sqlqueue.protocol import AuditedReply, Finding
from sqlqueue.store import audit, csv_file, records
from sqlqueue.store.condition import Damaged
from sqlqueue.store.csv_file import Kind, Record
from sqlqueue.store.lanes import Lanes
from sqlqueue.store.rewriting import SLOWEST_BYTES_A_SECOND, expected

MOST_FINDINGS: Final = 1000
LONGEST: Final = 1000
"""Characters of one message."""

_WORDS: Final = {
    Kind.ABSENT: "is missing",
    Kind.LONGER: "goes on after its last row",
    Kind.INTENDED: "was being written anew when that was cut short",
    Kind.FOREIGN: "is not what sqlqueue wrote",
    Kind.EXACT: "is there, but no row was written yet",
}


@dataclass(frozen=True, slots=True)
class Proof:
    """What is looked at, and how.  `go_on`: raises when the next directory is not to be."""

    connection: Connection
    home: Home
    disk: Disk
    lanes: Lanes
    go_on: Callable[[], None]


def answer(proof: Proof) -> AuditedReply:
    """The first findings, and whether there are more."""
    found = list(islice(_findings(proof), MOST_FINDINGS + 1))
    return AuditedReply(findings=found[:MOST_FINDINGS], more=len(found) > MOST_FINDINGS)


def _findings(proof: Proof) -> Iterator[Finding]:
    try:
        for each in audit.of_database(proof.home.database, proof.connection):
            yield _told(each)
    except Damaged as error:
        yield Finding(severity="error", where="queue.db", message=error.message[:LONGEST])
    for key, (path, record) in sorted(records.load(proof.connection).items()):
        proof.go_on()
        yield from _directory(proof, key, path, record)


def _told(found: audit.Finding) -> Finding:
    message = found.message[:LONGEST]
    return Finding(severity=found.severity, where=found.where, message=message)


def _directory(proof: Proof, key: int, path: str, record: Record) -> Iterator[Finding]:
    where = f"{path}/{csv_file.NAME}"
    if record.columns is not None and _of_rows(proof.connection, key, record) != record.checksum:
        message = "its record is not what the rows in the database make"
        yield Finding(severity="error", where=where, message=message)
    look = partial(_look, proof, path, record)
    try:
        yield from proof.lanes.one(key, look, record.length_bytes / SLOWEST_BYTES_A_SECOND)
    except (OSError, DirectoryUnavailable) as error:
        message = f"cannot be read: {getattr(error, 'strerror', None) or error}"
        yield Finding(severity="error", where=where, message=message)


def _look(proof: Proof, path: str, record: Record) -> list[Finding]:
    """In a lane: everything that touches the folder."""
    found = [_told(each) for each in audit.of_marker(proof.home, path, record)]
    csv = proof.home.absolute(path) / csv_file.NAME
    kind = csv_file.inspect(proof.disk, csv, record).kind
    if kind is not (Kind.ABSENT if record.columns is None else Kind.EXACT):
        where = f"{path}/{csv_file.NAME}"
        found.append(Finding(severity="error", where=where, message=_WORDS[kind]))
    return found


def _of_rows(connection: Connection, key: int, record: Record) -> str:
    checksum = csv_file.EMPTY
    for each in expected(connection, key, record.columns or ()):
        checksum = csv_file.extend(checksum, each)
    return checksum
